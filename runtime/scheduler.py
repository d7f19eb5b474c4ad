"""The run queue of a node: which process is next, in slices that keep the loop responsive."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from noex.runtime.execution import run_slice
from noex.runtime.states import MESSAGES_PER_SLICE
from noex.runtime.turns import TURN

if TYPE_CHECKING:
    from noex.runtime.process import Process


class Scheduler:
    """Runs queued processes from `call_soon`, for `TURN` seconds of a loop iteration at most."""

    __slots__ = ("_end", "_loop", "_ready", "_scheduled", "_spent")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spent: Callable[[], float] = perf_counter
    ) -> None:
        self._loop = loop
        self._spent = spent
        self._ready: deque[Process] = deque()
        self._scheduled = False
        self._end = 0.0  # of what is being drained; 0.0: nothing is

    def has_time(self) -> bool:
        """Whether a handler in progress was begun from here, and there is time for another."""
        return self._spent() < self._end

    def add(self, process: Process) -> None:
        """Put a process with messages at the end of the run queue."""
        self._ready.append(process)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def hold(self) -> bool:
        """Begin nothing until `release`. False: it was called for before, and goes on by itself."""
        if self._scheduled:
            return False
        self._scheduled = True
        return True

    def release(self) -> None:
        """Run what was added since `hold` (and returned True) at once, in the caller's turn."""
        self._drain()

    def _drain(self) -> None:
        ready, spent = self._ready, self._spent
        now = spent()
        self._end = end = now + TURN
        try:
            while ready:
                process, began = ready.popleft(), now
                limit, before = process.callbacks.slice, process.handled
                run_slice(process, limit)
                now = spent()
                if now - began > TURN or limit != MESSAGES_PER_SLICE:
                    _fit_slice(process, limit, process.handled - before, now - began)
                if now > end:
                    break
        finally:  # also when a handler raised KeyboardInterrupt: the others go on
            self._end = 0.0
            if ready:
                self._loop.call_soon(self._drain)
            else:
                self._scheduled = False


def _fit_slice(process: Process, limit: int, handled: int, took: float) -> None:
    """As many messages to processes of a class as fit into a turn, when its handlers are slow."""
    if took > TURN:
        process.callbacks.slice = max(1, int(handled * TURN / took))
    elif handled >= limit and took < TURN / 2:
        process.callbacks.slice = min(limit * 2, MESSAGES_PER_SLICE)
