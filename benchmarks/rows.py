"""The rows of the table: each puts one peer under one load and returns its figures."""

from __future__ import annotations

import asyncio
import gc
import time
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
    scale: int = 1_000_000  # processes, or queued messages, at the most
    scale_seconds: float = 60.0  # and how long that may take


Measure = Callable[[Peer, Size], Awaitable[Figures | None]]  # None: the peer has no such thing


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what it is called, and how one peer is measured for it."""

    key: str
    title: str
    measure: Measure
    figure: str = "rate"  # which of the figures stands in the table
    repeated: bool = True  # a median of several runs; else one, which takes long
    also: tuple[tuple[str, str], ...] = ()  # more lines of the same run: title, figure

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What stands in the first table: titles and figures. Gaps are in the second."""
        own = () if self.figure == "gap" else ((self.title, self.figure),)
        return (*own, *self.also)


async def _under_load(peer: Peer, size: Size, step: Callable[[], Awaitable[int]]) -> Figures:
    figures = await measure_rate(step, size.seconds)
    if peer.has_loop:  # measured apart, and the collector makes gaps in the first part, too
        gap = await measure_gap(step, size.seconds / 2)
        figures["gap"] = max(gap, figures["gc_longest"])
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
    return await _under_load(peer, size, lambda: peer.casts(actor, size.step * 5))


async def _spawns(peer: Peer, size: Size) -> Figures:
    """Every process is kept, so the collector has more to look through all the time."""
    return await _grow(peer, [], peer.spawns_at_most, size.step // 2, size.seconds)


async def _scale(peer: Peer, size: Size) -> Figures:
    kept: list[Any] = []
    before = resident_bytes()
    figures = await _grow(peer, kept, size.scale, 1000, size.scale_seconds)
    return figures | {"kept": len(kept), "resident": (resident_bytes() - before) / len(kept)}


async def _grow(peer: Peer, kept: list[Any], count: int, step: int, seconds: float) -> Figures:
    """Start and keep processes until there are `count` or the time is over."""
    count = min(count, peer.spawns_at_most)
    with Collector() as collector, Ticker() as ticker:
        meter = Meter()
        while meter.done < count and meter.wall < seconds:
            kept.extend(await peer.start_many(min(step, count - meter.done)))
            meter.done = len(kept)
            await asyncio.sleep(0)
        figures = meter.figures()
    if peer.has_loop:
        figures["gap"] = ticker.longest
    return figures | collector.figures()


async def _memory(peer: Peer, size: Size) -> Figures:
    """What one more idle process costs in objects of Python (threads have stacks as well)."""
    count = min(size.idle, peer.spawns_at_most)
    await peer.casts((await peer.start_many(100))[0], 1)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = await peer.start_many(count)
    gc.collect()
    fresh = tracemalloc.get_traced_memory()[0]
    for actor in kept:
        await peer.casts(actor, 1)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"bytes": (fresh - before) / len(kept), "bytes_used": (used - before) / len(kept)}


def _fairness(callers: int) -> Measure:
    """Tasks that do nothing but call, for a while: how long may nobody else run?"""

    async def measure(peer: Peer, size: Size) -> Figures | None:
        if not peer.has_loop:
            return None
        actor = await peer.start()
        with Ticker() as ticker, Collector() as collector:
            end = time.perf_counter() + size.seconds
            counts = await asyncio.gather(*(peer.call_until(actor, end) for _ in range(callers)))
        share = 100 * min(counts) * len(counts) / sum(counts)  # of the mean; all the same: 100
        return {"gap": ticker.longest, "least": share, **collector.figures()}

    return measure


AFTERWARDS = (("bytes, once it has handled a cast", "bytes_used"),)
SHARES = (("calls of the last of 1000 that loop, % of the mean", "least"),)
MORE_OF_SCALE = (
    ("spawns/s on the way there", "rate"),
    ("resident bytes per process then", "resident"),
)
ROWS = (
    Row("sequential", "sequential calls/s, `def` handler", _sequential(DEF)),
    Row("async", "sequential calls/s, `async def` handler", _sequential(ASYNC)),
    Row("waiting", "sequential calls/s, handler that waits", _sequential(WAITING)),
    Row("callers", "calls/s, 1000 callers", _callers),
    Row("casts", "casts/s", _casts),
    Row("spawns", "spawns/s, all kept", _spawns),
    Row("memory", "bytes per idle process", _memory, "bytes", also=AFTERWARDS),
    Row("fair-1", "fairness: 1 caller that loops", _fairness(1), "gap"),
    Row("fair-1000", "fairness: 1000 callers that loop", _fairness(CALLERS), "gap", also=SHARES),
    Row("scale", "processes kept in one node", _scale, "kept", False, MORE_OF_SCALE),
)
