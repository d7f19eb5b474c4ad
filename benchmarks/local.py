"""One node against a naive actor (a Task and an asyncio.Queue each), in one run, with ratios.

    python benchmarks/local.py [--seconds 1]

Plain asyncio, the garbage collector as it is by default. Figures drift with the machine; the ratio
is what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from noex import GenServer, Node


class Counter(GenServer[int]):
    """Adds."""

    def init(self) -> int:
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        return state + message, state + message

    def handle_cast(self, message: Any, state: int) -> int:
        return state + message


class Naive:
    """The usual home-made actor."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue()
        self.total = 0
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        while True:
            number, reply = await self.queue.get()
            self.total += number
            if reply is not None:
                reply.set_result(self.total)

    async def call(self, number: int) -> int:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((number, reply))
        return await reply

    def cast(self, number: int) -> None:
        self.queue.put_nowait((number, None))


async def rate(step: Callable[[], Awaitable[int]], seconds: float) -> float:
    """Operations a second of `step`, which returns how many it did."""
    await step()
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        done += await step()
    return done / elapsed


async def sequential(actor: Any) -> int:
    for _ in range(2000):
        await actor.call(1)
    return 2000


async def concurrent(actor: Any) -> int:
    async def caller() -> None:
        for _ in range(20):
            await actor.call(1)

    await asyncio.gather(*(caller() for _ in range(1000)))
    return 20_000


async def casts(actor: Any) -> int:
    for _ in range(20_000):
        actor.cast(1)
    await actor.call(1)
    return 20_000


async def measure(seconds: float) -> dict[str, tuple[float, float]]:
    """(noex, naive) for each figure."""
    async with Node() as node:
        ours, naive = await node.start(Counter), Naive()
        table = {
            name: (
                await rate(lambda step=step: step(ours), seconds),  # type: ignore[misc]
                await rate(lambda step=step: step(naive), seconds),  # type: ignore[misc]
            )
            for name, step in (
                ("sequential calls/s", sequential),
                ("calls/s, 1000 callers", concurrent),
                ("casts/s", casts),
            )
        }
        naive.task.cancel()
        kept: list[Any] = []

        async def spawn_ours() -> int:
            kept.extend([await node.start(Counter) for _ in range(5000)])
            return 5000

        async def spawn_naive() -> int:
            kept.extend([Naive() for _ in range(5000)])
            await asyncio.sleep(0)
            return 5000

        table["spawns/s, all kept"] = (
            await rate(spawn_ours, seconds / 2),
            await rate(spawn_naive, seconds / 2),
        )
        for one in kept:
            if isinstance(one, Naive):
                one.task.cancel()
        await asyncio.sleep(0)
    return table


async def bytes_per_process() -> float:
    async with Node() as node:
        await node.start(Counter)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = [await node.start(Counter) for _ in range(20_000)]
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description="One node against a naive actor.")
    parser.add_argument("--seconds", type=float, default=1.0, help="per figure")
    seconds = parser.parse_args().seconds
    print(f"Python {platform.python_version()}, {platform.machine()}, plain asyncio")
    print(f"{'':24}{'noex':>12}{'naive':>12}{'ratio':>8}")
    for name, (ours, naive) in asyncio.run(measure(seconds)).items():
        print(f"{name:24}{ours:12,.0f}{naive:12,.0f}{ours / naive:8.2f}")
    print(f"{'bytes per idle process':24}{asyncio.run(bytes_per_process()):12,.0f}")


if __name__ == "__main__":
    main()
