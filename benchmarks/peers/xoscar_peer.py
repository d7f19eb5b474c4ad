"""xoscar: one pool without sub-processes, so that its actors live on this loop."""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter
from typing import Any, Self

import xoscar  # type: ignore[import-untyped, unused-ignore]

from peers.peer import ASYNC, DEF, Peer


class Counter(xoscar.Actor):  # type: ignore[misc, unused-ignore]
    """Adds. One message at a time: a lock for each actor."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def add(self, number: int) -> int:
        self.total += number
        return self.total


class AsyncCounter(Counter):
    """With a coroutine as its handler."""

    async def add(self, number: int) -> int:  # type: ignore[override]
        self.total += number
        return self.total


class WaitingCounter(Counter):
    """Whose handler waits for one iteration of the loop."""

    async def add(self, number: int) -> int:  # type: ignore[override]
        await asyncio.sleep(0)
        self.total += number
        return self.total


class Xoscar(Peer):
    """Its refs are local ones: a call takes the lock and runs in the caller's task."""

    is_flat_worth = False

    async def __aenter__(self) -> Self:
        self.uids = map(str, itertools.count())
        self.pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.pool.stop()

    async def start(self, handler: str = DEF) -> Any:
        cls = {DEF: Counter, ASYNC: AsyncCounter}.get(handler, WaitingCounter)
        address = self.pool.external_address
        ref = await xoscar.create_actor(cls, address=address, uid=next(self.uids))
        return await xoscar.actor_ref(ref)  # a local one: its calls do not go through the pool

    async def start_many(self, count: int) -> list[Any]:
        create, address, uids = xoscar.create_actor, self.pool.external_address, self.uids
        return [await create(Counter, address=address, uid=next(uids)) for _ in range(count)]

    async def sequential(self, actor: Any, count: int) -> int:
        for _ in range(count):
            await actor.add(1)
        return count

    async def concurrent(self, actor: Any, count: int, callers: int) -> int:
        tickets = iter(range(count))

        async def caller() -> None:
            for _ in tickets:
                await actor.add(1)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return count

    async def casts(self, actor: Any, count: int) -> int:
        """`tell` makes a task, and gives way once if it is awaited."""
        for _ in range(count):
            await actor.add.tell(1)
        await actor.add(1)
        return count

    async def call_until(self, actor: Any, end: float) -> int:
        for count in itertools.count(1):
            await actor.add(1)
            if perf_counter() >= end:
                return count
        return 0  # never reached


PEER = Xoscar
