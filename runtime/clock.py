"""Time as an argument: the clock of a node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Where a node reads the time. Tests hand in a clock that jumps."""

    def now(self) -> float:
        """Monotonic seconds, in the same time as the loop's timers."""
        ...

    def wall(self) -> float:
        """Unix seconds, for people."""
        ...

    def spent(self) -> float:
        """Seconds of work: how much of a turn of the loop is used up."""
        ...


class SystemClock:
    """The clock of the machine: the loop's monotonic time and the wall clock."""

    __slots__ = ("now", "spent", "wall")

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.wall: Callable[[], float] = time.time
        self.spent: Callable[[], float] = time.perf_counter


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """The clock that a loop brings along, if it has a time of its own, else the machine's."""
    clock: Clock | None = getattr(loop, "noex_clock", None)
    return clock or SystemClock(loop.time)
