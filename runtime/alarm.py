"""The shell around `Deadlines`: one loop timer, armed for the earliest deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from noex.runtime.deadlines import Deadline, Deadlines

MOST: Final = 512  # deadlines that are looked after in one iteration of the loop


class Alarm:
    """All timeouts and timers of one node, on its loop."""

    __slots__ = ("_armed_for", "_deadlines", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadlines = Deadlines()
        self._handle: asyncio.Handle | None = None
        self._armed_for = float("inf")

    def __len__(self) -> int:
        return len(self._deadlines)

    def after(self, delay: float, callback: Callable[[], object]) -> Deadline:
        """Call `callback` in `delay` seconds, on the loop."""
        when = self._loop.time() + delay
        entry = self._deadlines.add(when, callback)
        if when < self._armed_for:
            self._arm(when)
        return entry

    def close(self) -> None:
        """Disarm; nothing fires any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._deadlines = Deadlines()
        self._armed_for = float("inf")

    def _arm(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = when
        self._handle = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._handle, self._armed_for = None, float("inf")
        # The loop may call a timer up to its clock's resolution early.
        now = max(self._loop.time(), 0.0) + 1e-6
        try:
            for callback in self._deadlines.due(now, MOST):
                self._loop.call_soon(callback)
        finally:
            upcoming = self._deadlines.next()
            if upcoming is not None and upcoming <= now:  # more than `MOST`: no time passes
                self._armed_for = upcoming
                self._handle = self._loop.call_soon(self._ring)
            elif upcoming is not None and upcoming < self._armed_for:
                self._arm(upcoming)
