"""One library between two OS processes, and the loads that everybody is put under.

The same object serves at one end and calls at the other. An actor adds: the message ``("add", 1)``
is answered with the sum so far, a number of bytes with their length. Nothing is counted at the
sender: casts count when the receiver has handled them, calls when their answer is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any

MESSAGE = ("add", 1)
BURST = 500  # casts between two turns of the sender's loop
PATIENCE = 60.0  # for casts to arrive
SPAWNERS = 50


class Distant:
    """One library. The client's end keeps `call`, `cast` and `other`; they are called often."""

    name = ""
    has_server = True  # whether it wants a second OS process of ours, in which `serve` runs
    blocks = False  # whether `run` has to be called, which does not return
    server_pid = 0
    spawns_at_most = 100_000  # in one run, whatever the clock says
    largest = 64 << 20  # bytes of one message
    refused = 0  # small calls beside a transfer that had to be tried again
    call: Callable[[Any], Awaitable[Any]]  # answers the sum so far
    other: Callable[[Any], Awaitable[Any]]  # the same of another actor of the server
    cast: Callable[[Any], object]  # False: there is no room now

    def version(self) -> str:
        """What the library calls itself, if that is not known before it runs."""
        return ""

    async def serve(self) -> str:
        """In the server: start what answers, and return where. It lives as long as the process."""
        raise NotImplementedError

    def run(self) -> None:
        """In the server, if it blocks: answer for ever."""
        raise NotImplementedError

    async def connect(self, address: str) -> None:
        """In the client: be ready to call."""
        raise NotImplementedError

    async def close(self) -> None:
        """In the client: leave. The server is ended after that."""

    async def received(self) -> int:
        """How many casts the server has handled."""
        raise NotImplementedError

    async def length(self, data: bytes) -> int:
        """Have the server say how long `data` is; it gets a copy of its own."""
        size: int = await self.call(data)
        return size

    async def spawn(self) -> Any:
        """Start one more actor on the server, and be told when it is there."""
        raise NotImplementedError

    async def heartbeat_gaps(self) -> float | None:
        """Begin to watch heartbeats; then say the longest time between two, in seconds."""
        return None

    # ------------------------------------------------------------------ loads

    async def latencies(self, seconds: float) -> list[float]:
        """One caller, one call after the other: how long each took."""
        return await sequential(self.call, perf_counter() + seconds)

    async def calls(self, callers: int, seconds: float) -> int:
        """So many tasks that do nothing but call, each at least once: how many answers came."""
        end = perf_counter() + seconds
        call = self.call

        async def caller() -> int:
            done = 0
            while not done or perf_counter() < end:
                await call(MESSAGE)
                done += 1
            return done

        return sum(await asyncio.gather(*(caller() for _ in range(callers))))

    async def casts(self, seconds: float) -> int:
        """Casts for so long, until the last of them has been handled."""
        before, sent, end = await self.received(), 0, perf_counter() + seconds
        cast, burst = self.cast, [MESSAGE] * BURST
        while perf_counter() < end:
            for message in burst:
                if cast(message) is False:
                    sent -= 1
            sent += BURST
            await asyncio.sleep(0)
        await self.arrived(before + sent)
        return sent

    async def arrived(self, expected: int) -> None:
        """Wait until so many casts have been handled, altogether."""
        end = perf_counter() + PATIENCE
        while (count := await self.received()) < expected:
            if perf_counter() > end:
                raise TimeoutError(f"{expected - count} casts of {expected} did not arrive")

    async def payloads(self, callers: int, size: int, seconds: float) -> int:
        """Callers that have the server say how long `size` bytes are: how many answers."""
        data, end = bytes(size), perf_counter() + seconds

        async def caller() -> int:
            done = 0
            while not done or perf_counter() < end:
                _check(await self.length(data), size)
                done += 1
            return done

        return sum(await asyncio.gather(*(caller() for _ in range(callers))))

    async def spawns(self, seconds: float) -> int:
        """Start and keep actors: how many."""
        end, tickets = perf_counter() + seconds, iter(range(self.spawns_at_most))
        kept: list[Any] = []

        async def spawner(tickets: Iterator[int]) -> None:
            for _ in tickets:
                kept.append(await self.spawn())
                if perf_counter() >= end:
                    return

        await asyncio.gather(*(spawner(tickets) for _ in range(SPAWNERS)))
        return len(kept)

    async def beside(self, size: int, seconds: float) -> tuple[list[float], int]:
        """Small calls to one actor while `size` bytes at a time go to another.

        How long each took, and how many transfers were completed.
        """
        data, done, end = bytes(size), 0, perf_counter() + seconds
        small = asyncio.create_task(self.sequence(end))
        await asyncio.sleep(0)  # the first is on its way
        while not done or perf_counter() < end:
            _check(await self.length(data), size)
            done += 1
        return await small, done

    async def sequence(self, end: float) -> list[float]:
        """Calls to the other actor, one after the other, until that time: how long each took."""
        return await sequential(self.other, end)


async def sequential(call: Callable[[Any], Awaitable[Any]], end: float) -> list[float]:
    """One call after the other until that time: how long each took."""
    times: list[float] = []
    start = perf_counter()
    while not times or start < end:
        await call(MESSAGE)
        now = perf_counter()
        times.append(now - start)
        start = now
    return times


def _check(told: int, size: int) -> None:
    if told != size:
        raise ValueError(f"of {size} bytes {told} were seen")
