"""A peer: how to start its actors, and the loads that everybody is put under.

The loads here are for actors with `await actor.call(1)` and `actor.cast(1)`, as noex and the naive
actor have them, with nothing in between. Others write their own.
"""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter
from typing import Any, Self

DEF = "def"  # a handler that is a plain function
ASYNC = "async"  # one that is a coroutine function, and waits for nothing
WAITING = "waiting"  # one that waits for one iteration of the loop


class Peer:
    """One library. An actor keeps a number; a message adds to it; a call returns the sum."""

    has_loop = True  # whether the actors live on this loop, so that its gaps mean something
    handlers: tuple[str, ...] = (DEF, ASYNC, WAITING)  # kinds that there are
    is_flat_worth = True  # whether to measure it with ever more processes and messages
    spawns_at_most = 10_000_000  # in one run, whatever the clock says

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def start(self, handler: str = DEF) -> Any:
        """One more actor."""
        raise NotImplementedError

    async def start_many(self, count: int) -> list[Any]:
        """As many more actors, ready."""
        return [await self.start() for _ in range(count)]

    async def sequential(self, actor: Any, count: int) -> int:
        """One caller, one call after the other."""
        for _ in range(count):
            await actor.call(1)
        return count

    async def concurrent(self, actor: Any, count: int, callers: int) -> int:
        """`count` calls by `callers` tasks that do nothing but call."""
        tickets = iter(range(count))

        async def caller() -> None:
            for _ in tickets:
                await actor.call(1)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return count

    async def casts(self, actor: Any, count: int) -> int:
        """Casts in one turn, and one call to be sure that they have been handled."""
        for _ in range(count):
            actor.cast(1)
        await actor.call(1)
        return count

    async def call_until(self, actor: Any, end: float) -> int:
        """One call after the other until that time; how many there were."""
        for count in itertools.count(1):
            await actor.call(1)
            if perf_counter() >= end:
                return count
        return 0  # never reached

    async def call_each(self, actors: list[Any]) -> int:
        """One call to one actor after the other, by the same caller."""
        for actor in actors:
            await actor.call(1)
        return len(actors)

    async def cast_each(self, actors: list[Any], count: int) -> int:
        """As many casts to each, all in one turn, until they have been handled."""
        for actor in actors:
            for _ in range(count):
                actor.cast(1)
        await self.settle(actors[-1])
        return len(actors) * count

    async def settle(self, actor: Any) -> None:
        """Wait, however long, until what was sent so far has been handled: it was the last one."""
        await actor.call(1)

    async def start_holder(self) -> Any:
        """An actor for `hold`: it awaits an Event that is cast to it."""
        raise NotImplementedError

    async def hold(self, actor: Any, count: int) -> int:
        """As many casts to one that is busy waiting until all of them have been sent."""
        gate = asyncio.Event()
        actor.cast(gate)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(count):
            actor.cast(1)
        gate.set()
        await self.settle(actor)
        return count
