"""`start` knows the arguments of `init`. Nothing here is an error."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar, assert_type

from noex import GenServer, Ignore, Node, Ok, Ref

T = TypeVar("T")


class Counter(GenServer[int]):
    """A plain `init`."""

    def init(self, start: int = 0, *, step: int = 1) -> int:
        return start * step


class Inherits(Counter):
    """The `init` of its parent."""


class Slow(GenServer[str]):
    """An `async` one."""

    async def init(self, path: str) -> str:
        return path


class Nothing(GenServer[None]):
    """No state."""

    def init(self) -> None:
        return None


class SlowNothing(GenServer[None]):
    """No state, and `async`."""

    async def init(self, *paths: str) -> None:
        return None


class Careful(GenServer[list[str]]):
    """Returns more than a state, but never `Ignore`."""

    def init(self, much: bool) -> Ok | list[str] | None:
        return Ok(["x"], timeout=1.0) if much else []


class Untold(GenServer[Any]):
    """Says nothing of what it returns."""

    def init(self, start: int) -> Any:
        return start


class Choosy(GenServer[int]):
    """May not want to start."""

    def init(self, start: int) -> int | Ignore:
        return start or Ignore()


class SlowChoosy(GenServer[Any]):
    """The same, with the class for an instance, and `async`."""

    async def init(self, start: int) -> dict[str, int] | type[Ignore]:
        return {"x": start} if start else Ignore


class Never(GenServer[int]):
    """Never starts."""

    def init(self) -> type[Ignore]:
        return Ignore


class Cell(GenServer[T]):
    """A generic one."""

    def init(self, value: T) -> T:
        return value


async def main(node: Node, anyone: type[GenServer[Any]], chosen: type[Counter]) -> None:
    assert_type(await node.start(Counter), Ref[Counter])
    assert_type(await node.start(Counter, 10, step=2), Ref[Counter])
    assert_type(await node.start(Inherits, start=10), Ref[Inherits])
    assert_type(await node.start(Slow, "x"), Ref[Slow])
    assert_type(await node.start(Nothing), Ref[Nothing])
    assert_type(await node.start(SlowNothing, "x", "y"), Ref[SlowNothing])
    assert_type(await node.start(Careful, True), Ref[Careful])
    assert_type(await node.start(Untold, 1), Ref[Untold])
    assert_type(await node.start(chosen, 1), Ref[Counter])
    assert_type(await node.start(Choosy, 1), Ref[Choosy] | None)
    assert_type(await node.start(SlowChoosy, 1), Ref[SlowChoosy] | None)
    assert_type(await node.start(Never), Ref[Never] | None)
    assert_type(await node.start(Cell[str], "x"), Ref[Cell[str]])
    (await node.start(anyone, 1, 2, three=3)).cast("x")

    named = node.options(name="x", init_timeout=None)
    assert_type(await named.start(Counter, 10), Ref[Counter])
    assert_type(await named.start(Slow, "x"), Ref[Slow])
    assert_type(await named.start(Choosy, 1), Ref[Choosy] | None)
    assert_type(await named.start(SlowChoosy, 1), Ref[SlowChoosy] | None)
    assert_type(await named.start(Nothing), Ref[Nothing])

    assert_type(await node.spawn("counter", 1, on="a@127.0.0.1:1"), Ref[Any])
    assert_type(await named.spawn("counter", 1), Ref[Any])
    counter: Ref[Counter] = await node.spawn("counter")
    assert_type(node.whereis("x"), Ref[Any] | None)
    assert_type(node.ref("x", on="a@127.0.0.1:1"), Ref[Any])

    several = await asyncio.gather(node.start(Counter, 1), node.start(Slow, "x"))
    assert_type(several, tuple[Ref[Counter], Ref[Slow]])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(node.start(Counter, 2))
    assert_type(task.result(), Ref[Counter])
    await counter.stop()
