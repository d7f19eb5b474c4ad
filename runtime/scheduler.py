"""The run queue of a node: which process is next, in slices that keep the loop responsive."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from noex.runtime.process import Process

MESSAGES_PER_SLICE: Final = 64  # of one process, before the next one has its turn
TURN: Final = 0.002  # seconds of one loop iteration, for the run queue and for inline calls each


class Scheduler:
    """Runs queued processes from `call_soon`; bounds how long a loop iteration may take."""

    __slots__ = ("_inline_end", "_loop", "_ready", "_scheduled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[Process] = deque()
        self._scheduled = False
        self._inline_end = 0.0

    def add(self, process: Process) -> None:
        """Put a process with messages at the end of the run queue."""
        self._ready.append(process)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def may_inline(self) -> bool:
        """Whether a call may still run in its caller's turn.

        One budget per loop iteration, shared by all callers: a thousand tasks that do nothing
        but call still give way to the loop after `TURN` seconds together.
        """
        now = perf_counter()
        if self._inline_end == 0.0:
            self._inline_end = now + TURN
            self._loop.call_soon(self._new_iteration)
            return True
        return now < self._inline_end

    def _new_iteration(self) -> None:
        self._inline_end = 0.0

    def _drain(self) -> None:
        ready = self._ready
        end = perf_counter() + TURN
        try:
            while ready:
                ready.popleft().run_slice(MESSAGES_PER_SLICE)
                if perf_counter() > end:
                    break
        finally:  # also when a handler raised KeyboardInterrupt: the others go on
            if ready:
                self._loop.call_soon(self._drain)
            else:
                self._scheduled = False
