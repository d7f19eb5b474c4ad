"""The rows of the table: each puts one peer under one load and returns its figures."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from measuring import Collector, Meter, Ticker, measure_gap, measure_rate, resident_bytes
from peers.peer import ASYNC, DEF, WAITING, Peer

CALLERS = 1000
Figures = dict[str, float]  # "wall" and "cpu" are rates; what is a time is in seconds


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: the figures of `--quick` serve as a test that it runs."""

    seconds: float = 1.0  # each measurement
    step: int = 2000  # calls or casts between two looks at the clock
    idle: int = 20_000  # processes whose memory is counted
    scale: int = 1_000_000  # processes of the scale run
    scale_seconds: float = 60.0  # and how long it may take


Measure = Callable[[Peer, Size], Awaitable[Figures | None]]  # None: the peer has no such thing


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what it is called, and how one peer is measured for it."""

    key: str
    title: str
    measure: Measure
    repeated: bool = True  # a median of several runs; else one, which takes long


async def _under_load(peer: Peer, size: Size, step: Callable[[], Awaitable[int]]) -> Figures:
    figures = await measure_rate(step, size.seconds)
    if peer.has_loop:
        figures["gap"] = await measure_gap(step, size.seconds / 2)
    return figures


def _sequential(handler: str) -> Measure:
    async def measure(peer: Peer, size: Size) -> Figures | None:
        if handler not in peer.handlers:
            return None
        actor = await peer.start(handler)
        return await _under_load(peer, size, lambda: peer.sequential(actor, size.step))

    return measure


async def _callers(peer: Peer, size: Size) -> Figures:
    actor = await peer.start()
    step = max(size.step * 10, 2 * CALLERS)
    return await _under_load(peer, size, lambda: peer.concurrent(actor, step, CALLERS))


async def _casts(peer: Peer, size: Size) -> Figures:
    actor = await peer.start()
    return await _under_load(peer, size, lambda: peer.casts(actor, size.step))


async def _spawns(peer: Peer, size: Size) -> Figures:
    """Every process is kept, so the collector has more to look through all the time."""
    kept: list[Any] = []

    async def step() -> int:
        started = await peer.start_many(min(1000, size.step))
        kept.extend(started)
        await asyncio.sleep(0)
        return len(started)

    return await _grow(peer, step, 100_000_000, size.seconds)


async def _scale(peer: Peer, size: Size) -> Figures:
    kept: list[Any] = []
    before = resident_bytes()

    async def step() -> int:
        started = await peer.start_many(min(1000, size.scale - len(kept)))
        kept.extend(started)
        await asyncio.sleep(0)
        return len(started)

    figures = await _grow(peer, step, size.scale, size.scale_seconds)
    return figures | {"kept": len(kept), "resident": (resident_bytes() - before) / len(kept)}


async def _grow(
    peer: Peer, step: Callable[[], Awaitable[int]], count: int, seconds: float
) -> Figures:
    """Run `step` until there are `count` or the time is over, with an eye on loop and collector."""
    count = min(count, peer.spawns_at_most)
    with Collector() as collector, Ticker() as ticker:
        meter = Meter()
        while meter.done < count and meter.wall < seconds:
            meter.done += await step()
        figures = meter.figures()
    if peer.has_loop:
        figures["gap"] = ticker.longest
    return figures | collector.figures()


async def _memory(peer: Peer, size: Size) -> Figures:
    """What one more idle process costs: the objects of Python."""
    count = min(size.idle, peer.spawns_at_most)
    await peer.start_many(100)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = await peer.start_many(count)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"wall": (after - before) / len(kept)}


ROWS = (
    Row("sequential", "sequential calls/s, def handler", _sequential(DEF)),
    Row("async", "sequential calls/s, async def handler", _sequential(ASYNC)),
    Row("waiting", "sequential calls/s, handler that waits", _sequential(WAITING)),
    Row("callers", "calls/s, 1000 callers", _callers),
    Row("casts", "casts/s", _casts),
    Row("spawns", "spawns/s, all kept", _spawns),
    Row("memory", "bytes per idle process", _memory),
    Row("scale", "processes kept", _scale, repeated=False),
)
