"""Methods marked @call and @cast keep their own signatures. Nothing here is an error."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, assert_type

from noex import GenServer, Node, NoReply, Ref, Reply, Stop, call, cast

T = TypeVar("T")


class Counter(GenServer[int]):
    """Methods of both kinds, `def` and `async def`."""

    def init(self, start: int = 0) -> int:
        return start

    @call
    def add(self, amount: int, *, twice: bool = False) -> int:
        """Adds."""
        assert_type(self.state, int)
        self.state += amount
        return self.state

    @call
    async def words(self, text: str, sep: str = " ") -> list[str]:
        assert_type(self.add(5), int)
        return text.split(sep)

    @call
    def nothing(self) -> None:
        self.note("x")

    @call
    def found(self, key: str) -> int | None:
        return self.state if key else None

    @call
    def close(self) -> str | Stop:
        return Stop("shutdown", reply="closed")

    @call
    async def wait(self) -> float | NoReply | Reply:
        return NoReply(timeout=1.0)

    @call
    def many(self, /, *items: int, **named: str) -> tuple[int, str]:
        return items[0], named["a"]

    @call
    def same(self, value: T) -> T:
        return value

    @cast
    def note(self, text: str) -> None:
        assert_type(self.add(1, twice=True), int)

    @cast
    async def end(self, reason: str = "shutdown") -> Stop | NoReply | None:
        await self.words("a b")
        return Stop(reason)


class Double(Counter):
    """Overrides."""

    @call
    def add(self, amount: int, *, twice: bool = False) -> int:
        return super().add(2 * amount, twice=twice)

    @cast
    def note(self, text: str) -> None:
        super().note(text)


class Named(GenServer[Any]):
    """A method for subclasses to write."""

    @call
    @abstractmethod
    def who(self) -> str: ...


async def main(node: Node, some: Ref[Any], named: Ref[Named]) -> None:
    ref = await node.start(Counter)
    assert_type(await ref.proxy.add(5), int)
    assert_type(await ref.proxy.add(amount=5, twice=True), int)
    assert_type(await ref.proxy.words("a b"), list[str])
    assert_type(await ref.proxy.words("a,b", sep=","), list[str])
    assert_type(await ref.proxy.nothing(), None)
    assert_type(await ref.proxy.found("x"), int | None)
    assert_type(await ref.proxy.close(), str)
    assert_type(await ref.proxy.wait(), float)
    assert_type(await ref.proxy.many(1, 2, a="x"), tuple[int, str])
    await ref.proxy.same("x")
    assert_type(ref.proxy.add.cast(5), bool)
    assert_type(ref.proxy.words.cast("x"), bool)
    assert_type(ref.proxy.note("x"), bool)
    assert_type(ref.proxy.note.cast(text="x"), bool)
    assert_type(ref.proxy.end(), bool)
    assert_type(await ref.proxy.add.with_timeout(0.5)(5), int)
    assert_type(await ref.proxy.words.with_timeout(None)("x"), list[str])
    coming = ref.proxy.add(5)
    assert_type(await coming, int)

    double = await node.start(Double)
    assert_type(await double.proxy.add(5), int)
    assert_type(double.proxy.note("x"), bool)
    assert_type(await named.proxy.who(), str)
    await some.proxy.whatever(1, 2, three=3)
    parent: Ref[Counter] = double
    each: Callable[[int], Coroutine[Any, Any, int]] = parent.proxy.add
    await each(5)
    assert_type(await node.ref("c", behavior=Counter).proxy.add(1), int)
