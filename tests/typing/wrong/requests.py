"""Replies of requests, taken for what they are not."""

from __future__ import annotations

from dataclasses import dataclass

from noex import GenServer, Node, Ref, Request


class Get(Request[int]):
    pass


@dataclass
class Add(Request[str]):
    amount: int


class Counter(GenServer[int]):
    def init(self, start: int = 0) -> int:
        return start


def take(text: str) -> None: ...


async def main(node: Node) -> None:
    ref = await node.start(Counter, 10)
    # error: mypy[arg-type] pyright[reportArgumentType]
    take(await ref.call(Get()))
    # error: mypy[assignment] pyright[reportAssignmentType]
    text: str = await ref.call(Get())
    take(text)
    # error: mypy[assignment] pyright[reportAssignmentType]
    number: int = await ref.call(Add(5))
    take(str(number))
    # error: mypy[arg-type] pyright[reportArgumentType]
    await ref.call(Add("5"))
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await ref.call(Get(), timeout="5")
    # error: mypy[call-overload] pyright[reportCallIssue]
    await ref.call(Get(), 5.0)
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    ref.cast(Get()).bit_count().upper()
    # error: mypy[misc] pyright[reportGeneralTypeIssues]
    await ref.cast(Get())
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    (await ref.call(Add(5))).append(5)


def other(ref: Ref[Counter]) -> Ref[str]:
    # error: mypy[return-value] pyright[reportReturnType]
    return ref
