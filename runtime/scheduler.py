"""The run queue of a node: which process is next, in slices that keep the loop responsive."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final

from noex.runtime.execution import run_slice
from noex.runtime.turns import TURN

if TYPE_CHECKING:
    from noex.runtime.process import Process

MESSAGES_PER_SLICE: Final = 64  # of one process, before the next one has its turn


class Scheduler:
    """Runs queued processes from `call_soon`, for `TURN` seconds of a loop iteration at most."""

    __slots__ = ("_loop", "_ready", "_scheduled", "_spent")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spent: Callable[[], float] = perf_counter
    ) -> None:
        self._loop = loop
        self._spent = spent
        self._ready: deque[Process] = deque()
        self._scheduled = False

    def add(self, process: Process) -> None:
        """Put a process with messages at the end of the run queue."""
        self._ready.append(process)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        ready, spent = self._ready, self._spent
        end = spent() + TURN
        try:
            while ready:
                run_slice(ready.popleft(), MESSAGES_PER_SLICE)
                if spent() > end:
                    break
        finally:  # also when a handler raised KeyboardInterrupt: the others go on
            if ready:
                self._loop.call_soon(self._drain)
            else:
                self._scheduled = False
