"""A node without await, used as it cannot be."""

from __future__ import annotations

import noex
from noex import GenServer, Node, Request, Supervisor


class Get(Request[int]):
    pass


class Counter(GenServer[int]):
    def init(self, start: int = 0) -> int:
        return start


async def double(number: int) -> int:
    return 2 * number


def main() -> None:
    with noex.blocking(Node()) as node:
        # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
        node.start(Counter, "10")
        ref = node.start(Counter)
        # error: mypy[assignment] pyright[reportAssignmentType]
        text: str = ref.call(Get())
        print(text)
        # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
        node.run(double, "1")
        # error: mypy[call-arg] pyright[reportCallIssue]
        node.wait_for_members(1, timeouts=1.0)
        # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
        ref.no_such_thing()
        # error: mypy[arg-type] pyright[reportArgumentType]
        noex.blocking(node)
        sup = node.run(Supervisor.start, node)
        # error: mypy[arg-type] pyright[reportArgumentType]
        sup.get_child(1)
