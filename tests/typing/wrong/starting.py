"""Arguments that `init` does not take, and refs that may not be there."""

from __future__ import annotations

from typing import Any

from noex import GenServer, Ignore, Node, Ref


class Counter(GenServer[int]):
    def init(self, start: int = 0, *, step: int = 1) -> int:
        return start * step


class Slow(GenServer[str]):
    async def init(self, path: str) -> str:
        return path


class Choosy(GenServer[int]):
    def init(self, start: int) -> int | Ignore:
        return start or Ignore()


class SlowChoosy(GenServer[Any]):
    async def init(self, start: int) -> int | type[Ignore]:
        return start or Ignore


async def main(node: Node) -> None:
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.start(Counter, "10")
    # error: mypy[call-overload] pyright[reportCallIssue]
    await node.start(Counter, 1, 2)
    # error: mypy[call-overload] pyright[reportCallIssue]
    await node.start(Counter, stop=1)
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.start(Counter, step="1")
    # error: mypy[call-overload] pyright[reportCallIssue]
    await node.start(Slow)
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.start(Slow, 5)
    # error: mypy[call-overload] pyright[reportCallIssue]
    await node.start(Choosy)
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.start(SlowChoosy, "1")
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.start(int, 5)
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.start("counter")
    # error: mypy[call-overload] pyright[reportCallIssue]
    await node.start()
    # error: mypy[union-attr] pyright[reportOptionalMemberAccess]
    (await node.start(Choosy, 1)).cast("x")
    # error: mypy[union-attr] pyright[reportOptionalMemberAccess]
    (await node.start(SlowChoosy, 1)).cast("x")
    # error: mypy[union-attr] pyright[reportOptionalMemberAccess]
    (await node.options(name="x").start(Choosy, 1)).cast("x")
    # error: mypy[union-attr] pyright[reportOptionalMemberAccess]
    (await node.options(name="x").start(SlowChoosy, 1)).cast("x")
    # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
    await node.options(name="x").start(int)
    # error: mypy[call-overload] pyright[reportAssignmentType]
    slow: Ref[Slow] = await node.start(Counter)
    await slow.stop()
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    node.start(Counter, 1).cast("x")
    # error: mypy[arg-type] pyright[reportArgumentType]
    await node.spawn(Counter, 1)
    # error: mypy[union-attr] pyright[reportOptionalMemberAccess]
    node.whereis("x").cast("x")
