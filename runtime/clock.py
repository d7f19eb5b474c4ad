"""Time as an argument: the clock of a node."""

from __future__ import annotations

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


class SystemClock:
    """The clock of the machine: the loop's monotonic time and the wall clock."""

    __slots__ = ("now",)

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()
