"""xoscar: an actor pool in the server, and refs to its actors in the client."""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter
from typing import Any

import xoscar  # type: ignore[import-untyped, import-not-found, unused-ignore]

from distant.peer import BURST, MESSAGE, Distant


class Echo(xoscar.Actor):  # type: ignore[misc, unused-ignore]
    """Adds."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.casts = 0

    def handle(self, message: Any) -> int:
        if type(message) is bytes:
            return len(message)
        self.total += message[1]
        return self.total

    def note(self, message: Any) -> None:
        self.casts += 1
        self.total += message[1]

    def received(self) -> int:
        return self.casts


class Xoscar(Distant):
    """`tell` makes a task at the sender; what it sends is not awaited by anybody."""

    async def serve(self) -> str:
        self.pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        address: str = self.pool.external_address
        return address

    async def connect(self, address: str) -> None:
        self.address, self.uids = address, map(str, itertools.count())
        self.ref = await self.spawn()
        self.call = self.ref.handle
        self.other = (await self.spawn()).handle

    async def received(self) -> int:
        return int(await self.ref.received())

    async def spawn(self) -> Any:
        return await xoscar.create_actor(Echo, address=self.address, uid=next(self.uids))

    async def casts(self, seconds: float) -> int:
        before, sent, end = await self.received(), 0, perf_counter() + seconds
        tell = self.ref.note.tell
        while perf_counter() < end:
            await asyncio.gather(*(tell(MESSAGE) for _ in range(BURST)))
            sent += BURST
        await self.arrived(before + sent)
        return sent


__all__ = ["Xoscar"]
