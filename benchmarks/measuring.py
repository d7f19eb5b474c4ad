"""What a load did to the machine: rates by both clocks, gaps of the loop, the collector, memory."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

STEPS_AT_MOST = 1_000_000  # of one measurement, whatever the clock says


class Meter:
    """Operations a second, by the wall clock and by the CPU time that this process had."""

    def __init__(self) -> None:
        self.done = 0
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._wall

    def figures(self) -> dict[str, float]:
        """What was measured so far."""
        wall, cpu = self.wall, time.process_time() - self._cpu
        return {"wall": self.done / wall, "cpu": self.done / max(cpu, 1e-9)}


async def measure_rate(step: Callable[[], Awaitable[int]], seconds: float) -> dict[str, float]:
    """Run `step`, which returns how many operations it did, for about `seconds`."""
    await step()  # warm
    with Collector() as collector:
        meter = Meter()
        for _ in range(STEPS_AT_MOST):
            meter.done += await step()
            if meter.wall >= seconds:
                break
        figures = meter.figures()
    return figures | collector.figures()


async def measure_gap(step: Callable[[], Awaitable[int]], seconds: float) -> float:
    """The longest time that the loop did not come round while `step` ran again and again."""
    with Ticker() as ticker:
        start = time.perf_counter()
        for _ in range(STEPS_AT_MOST):
            await step()
            if time.perf_counter() - start >= seconds:
                break
        await asyncio.sleep(0)
    return ticker.longest


class Ticker:
    """Runs once in every iteration of the loop and keeps the longest time between two."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = 0.0
        self._running = False

    def __enter__(self) -> Self:
        self._running = True
        self._last = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._tick)
        return self

    def __exit__(self, *exc: object) -> None:
        self._note()
        self._running = False

    def _tick(self) -> None:
        if self._running:
            self._note()
            self._loop.call_soon(self._tick)

    def _note(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        self._last = now


class Collector:
    """Watches Python's garbage collector: how often, how long, how long at once."""

    def __init__(self) -> None:
        self.longest = self.total = 0.0
        self.runs = 0
        self._start = 0.0

    def __enter__(self) -> Self:
        self._since = time.perf_counter()
        gc.callbacks.append(self._see)
        return self

    def __exit__(self, *exc: object) -> None:
        gc.callbacks.remove(self._see)

    def _see(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._start = time.perf_counter()
            return
        took = time.perf_counter() - self._start
        self.longest = max(self.longest, took)
        self.total += took
        self.runs += 1

    def figures(self) -> dict[str, float]:
        """Seconds at once, the part of all time, and the number of runs, since it was entered."""
        share = self.total / (time.perf_counter() - self._since)
        return {"gc_longest": self.longest, "gc_share": share, "gc_runs": self.runs}


def resident_bytes() -> int:
    """The memory of this process as the system counts it: now on Linux, else at its highest."""
    if sys.platform.startswith("linux"):
        import os

        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
