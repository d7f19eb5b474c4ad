"""Marked methods, marked or used wrongly."""

from __future__ import annotations

from noex import GenServer, Node, NoReply, Ref, Stop, call, cast


class Counter(GenServer[int]):
    def init(self, start: int = 0) -> int:
        return start

    @call
    def add(self, amount: int, *, twice: bool = False) -> int:
        return self.state

    @call
    async def words(self, text: str) -> list[str]:
        return text.split()

    @call
    def close(self) -> str | Stop:
        return Stop("shutdown")

    @cast
    def note(self, text: str) -> None:
        # error: mypy[arg-type] pyright[reportArgumentType]
        self.add("5")
        # error: mypy[assignment] pyright[reportAttributeAccessIssue]
        self.state = "text"

    @call
    def uses(self) -> None:
        # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
        self.words("x").append("y")

    # error: mypy[type-var] pyright[reportArgumentType]
    @cast
    def told(self) -> int:
        return 5

    # error: mypy[type-var] pyright[reportArgumentType]
    @cast
    async def told_later(self) -> str:
        return "x"

    # error: mypy[arg-type] pyright[reportArgumentType]
    @call
    def nobody() -> int:
        return 5

    @call
    def lies(self) -> int:
        # error: mypy[return-value] pyright[reportReturnType]
        return "x"

    def unmarked(self) -> int:
        return 5


class Double(Counter):
    @call
    # error: mypy[override] pyright[reportIncompatibleVariableOverride]
    def add(self, amount: str, *, twice: bool = False) -> int:
        return 5

    @cast
    # error: mypy[override] pyright[reportIncompatibleVariableOverride]
    def note(self, text: int) -> None: ...


def take(text: str) -> None: ...


async def main(node: Node, untyped: Ref[NoReply]) -> None:
    ref = await node.start(Counter, 10)
    # error: mypy[arg-type] pyright[reportArgumentType]
    await ref.proxy.add("5")
    # error: mypy[call-arg] pyright[reportCallIssue]
    await ref.proxy.add()
    # error: mypy[arg-type, call-arg] pyright[reportCallIssue]
    await ref.proxy.add(5, 6)
    # error: mypy[call-arg] pyright[reportCallIssue]
    await ref.proxy.add(5, thrice=True)
    # error: mypy[arg-type] pyright[reportArgumentType]
    ref.proxy.add.cast("5")
    # error: mypy[call-arg] pyright[reportCallIssue]
    ref.proxy.add.cast(5, thrice=True)
    # error: mypy[misc] pyright[reportGeneralTypeIssues]
    await ref.proxy.add.cast(5)
    # error: mypy[arg-type] pyright[reportArgumentType]
    await ref.proxy.add.with_timeout("x")(5)
    # error: mypy[arg-type] pyright[reportArgumentType]
    await ref.proxy.add.with_timeout(2.0)("5")
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    await ref.proxy.add.timeout(2.0)(5)
    # error: mypy[arg-type] pyright[reportArgumentType]
    take(await ref.proxy.add(5))
    # error: mypy[arg-type] pyright[reportArgumentType]
    take(await ref.proxy.words("x"))
    # error: mypy[arg-type] pyright[reportArgumentType]
    take(ref.proxy.close())
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    ref.proxy.add(5).bit_length()
    # error: mypy[misc] pyright[reportGeneralTypeIssues]
    await ref.proxy.note("x")
    # error: mypy[arg-type] pyright[reportArgumentType]
    ref.proxy.note(5)
    # error: mypy[call-arg] pyright[reportCallIssue]
    ref.proxy.note.cast()
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    await ref.proxy.sub(5)
    # error: mypy[call-arg, misc] pyright[reportCallIssue]
    await ref.proxy.unmarked()
    # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
    untyped.proxy.add(5)
