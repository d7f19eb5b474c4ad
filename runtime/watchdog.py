"""The watchdog: a thread that says who holds the loop *while* it is held.

It looks at the frames of the loop's thread twice per limit (`noex.runtime.stacks`), which costs the
loop nothing and does not wake it. Only a loop that is seen at work is asked for a sign of life, by
`call_soon_threadsafe`. (One that is not asyncio's own, as uvloop, cannot be seen, and is asked each
time.) What is too long is decided in `noex.runtime.stalls`.

A C call that keeps the interpreter lock holds up this thread too: it is told as soon as it lets go.
The time in which the whole process was stopped or suspended is not blamed on a handler.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.frames import frame_of
from noex.runtime.stacks import Activity, activity, running_handle
from noex.runtime.stalls import Ask, Effect, Recovered, Sample, StallDetector, Stuck

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

STOP_TIMEOUT: Final = 2.0  # seconds; only a log handler that does not return needs them


class Watchdog:
    """Watches the loop of one kernel; `limit` is what one handler may hold it, in seconds.

    `start` on the loop's own thread; `stop` ends the thread. It ends by itself with the loop.
    """

    def __init__(self, kernel: Kernel, limit: float) -> None:
        self._kernel = kernel
        self._loop = kernel.loop
        self._loop_thread = threading.get_ident()
        self._detector = StallDetector(limit)
        self._wake = threading.Event()  # something to look at before the pause is over
        self._stopped = False
        self._ended = asyncio.Event()
        self._answered_at: float | None = None
        self._holder: weakref.ref[Any] | None = None  # the handle that was seen last
        self._holders = 0
        self._reported: Activity | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"noex-watchdog-{kernel.node_id}", daemon=True
        )

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread and wait for it, at most `STOP_TIMEOUT` seconds: it may be logging."""
        self._stopped = True
        self._wake.set()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._ended.wait()
        except TimeoutError:
            self._kernel.log.error("watchdog_stuck", seconds=STOP_TIMEOUT)
        else:
            self._thread.join(STOP_TIMEOUT)

    # ------------------------------------------------------------------ on the loop

    def _answer(self) -> None:
        self._loop_thread = threading.get_ident()
        self._answered_at = time.monotonic()
        if self._detector.is_reported:
            self._wake.set()  # so that the end is told now, not in half a limit

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while not (self._stopped or self._loop.is_closed()):
            with suppress(Exception):  # a log handler's own, or frames that changed meanwhile
                for effect in self._detector.handle(self._sample()):
                    self._carry_out(effect)
            self._wake.wait(self._detector.pause)
            self._wake.clear()
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._ended.set)

    def _sample(self) -> Sample:
        return Sample(time.monotonic(), _seconds_run(), self._look(), self._answered_at)

    def _look(self) -> int | None:
        """A number for the callback that is on, None for an idle loop."""
        frame = self._frame()
        if frame is None or not self._loop.is_running():
            return None
        at_work, handle = running_handle(frame)
        if not at_work:
            return None
        known = None if self._holder is None else self._holder()
        if handle is not known:
            self._holders += 1
            # Weakly: a callback must not outlive its turn because it was seen.
            self._holder = None if handle is None else weakref.ref(handle)
        return self._holders

    def _frame(self) -> FrameType | None:
        return frame_of(self._loop_thread)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Ask():
                self._answered_at = None
                self._loop.call_soon_threadsafe(self._answer)
            case Stuck(seconds):
                holder = self._holders
                who = activity(self._frame(), self._kernel)
                if self._look() == holder:  # else it ended while it was looked at
                    self._reported = who
                    self._report_stuck(who, round(seconds, 3))
            case Recovered(seconds):
                reported, self._reported = self._reported, None
                if reported is not None:
                    self._report_recovered(reported, round(seconds, 3))

    def _report_stuck(self, who: Activity, seconds: float) -> None:
        log, stack = self._kernel.log, list(who.stack)
        if who.elsewhere:
            return  # the watchdog of its own node reports it
        if who.behavior is None:
            log.warning("loop_blocked", seconds=seconds, stack=stack)
            return
        log.warning(
            "handler_stuck",
            behavior=who.behavior,
            name=who.name,
            handler=who.handler,
            ref=who.ref,
            seconds=seconds,
            stack=stack,
        )

    def _report_recovered(self, who: Activity, seconds: float) -> None:
        log = self._kernel.log
        if who.elsewhere:
            return
        if who.behavior is None:
            log.info("loop_recovered", seconds=seconds)
            return
        log.info(
            "handler_recovered",
            behavior=who.behavior,
            name=who.name,
            handler=who.handler,
            ref=who.ref,
            seconds=seconds,
        )


def _seconds_run() -> float:
    """Seconds that this process has certainly run: its CPU time, or its waiting for the lock.

    A thread that waits for the interpreter lock wakes up at every switch interval, which counts as
    a voluntary switch. So a C call that sleeps with the lock is told from a stopped process.
    """
    seconds = time.process_time()
    if resource is not None and hasattr(resource, "RUSAGE_THREAD"):
        switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        seconds += switches * sys.getswitchinterval()
    return seconds
