"""Virtual time: whole nodes on a loop whose clock jumps, so that an hour is over in a moment.

::

    def test_the_session_ends_after_an_hour():
        async def main():
            async with Node() as node:
                session = await node.start(Session)
                assert await session.wait(timeout=7200) == "normal"
                assert asyncio.get_running_loop().time() == 3600.0

        run_virtual(main())

1. While anything is ready to run, it runs, and no time passes.
2. When all wait, the time jumps to the next timer.
3. When all wait and there is no timer, nothing will ever happen: `DeadlockError`. The same when
   something is always ready, as in a loop that polls with ``sleep(0)`` for what only time brings.

Everything of a node goes by this time: timers, timeouts, restart windows, the wall clock, and the
budget of a turn, which counts steps. So a run depends on nothing but the program. Work in threads,
of `blocking = True` classes or by `loop.run_in_executor`, is waited for in real time, and meanwhile
no virtual time passes. It is for nodes without an id: sockets and other threads do not know of it.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from noex.runtime.kernel import _kernels

if TYPE_CHECKING:
    from noex.runtime.threads import Threads

T = TypeVar("T")
EPOCH: Final = 1_000_000_000.0  # what the wall clock says at the time 0: 2001-09-09 01:46:40 UTC
STEP: Final = 1e-6  # seconds that one look at the budget of a turn stands for
LIMIT: Final = 10 * 86400.0
THREAD_LIMIT = 60.0  # real seconds that a thread may work
THREAD_PAUSE: Final = 0.002  # real seconds; a thread that has told its result is at work a bit more
SPIN_LIMIT = 30.0  # real seconds in which some virtual time must pass
LOOKS_PER_CHECK: Final = 1024
SHOWN: Final = 20  # tasks that a `DeadlockError` names


class DeadlockError(RuntimeError):
    """Nothing will ever happen: all wait for nothing, time does not pass, or its limit is over."""


class VirtualClock:
    """The clock of nodes on a `VirtualLoop`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._steps = 0

    def now(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()

    def wall(self) -> float:
        """Unix seconds; it starts in 2001."""
        return EPOCH + self._loop.time()

    def spent(self) -> float:
        """Work, in steps instead of seconds: the same in every run."""
        self._steps += 1
        return self._steps * STEP


class _Jump(selectors.DefaultSelector):
    """Looks for input without waiting; who would wait moves the time of the loop on instead."""

    loop: VirtualLoop
    looks = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.looks += 1
        if self.looks % LOOKS_PER_CHECK == 0:
            self.loop.check_spinning()
        at_work = self.loop.threads_at_work()  # before the look for what they have told
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if at_work:
            self.loop.check_threads()
            return super().select(THREAD_PAUSE)
        if not self.loop.wake_settled():
            self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time: ``asyncio.Runner(loop_factory=VirtualLoop)``.

    `limit`: the virtual seconds after which it gives up, for programs that repeat something for
    ever. `noex_clock`: what nodes on it take for their clock.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self.noex_clock = VirtualClock(self)
        self._jobs = 0  # in executors
        self._now = 0.0
        self._passed_at = time.monotonic()  # real time
        self._settling: list[asyncio.Future[None]] = []
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)

    def time(self) -> float:
        """The virtual seconds since it was made."""
        return self._now

    def run_forever(self) -> None:
        """As any loop's."""
        self._passed_at = time.monotonic()
        super().run_forever()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """As any loop's. No time passes until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _future: Any) -> None:
        self._jobs -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As any loop's: it waits for a thread."""
        self._jobs += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jobs -= 1

    # ------------------------------------------------------------------ for the selector

    def threads_at_work(self) -> bool:
        """Whether a thread does something of which this loop will hear."""
        return self._jobs > 0 or any(_has_work(k.threads) for k in _kernels if k.loop is self)

    def advance(self, seconds: float | None) -> None:
        """Let time pass up to the next timer, in `seconds`; None: there is none."""
        if seconds is None:
            raise DeadlockError(f"all wait, and nothing will ever happen: {self._who_waits()}")
        self._now += seconds
        self._passed_at = time.monotonic()
        if self._now > self.limit:
            limit, self.limit = self.limit, float("inf")  # what ends now may take its time
            raise DeadlockError(f"not done after {limit:g} virtual seconds: {self._who_waits()}")

    def check_spinning(self) -> None:
        """Give up if no virtual time has passed for long, although nobody waits for a thread."""
        if self.threads_at_work() or time.monotonic() - self._passed_at < SPIN_LIMIT:
            return
        self._passed_at = time.monotonic()
        text = f"no virtual time has passed for {SPIN_LIMIT:g} s of real time, something is always"
        raise DeadlockError(f"{text} ready; wait with settle() or sleep(): {self._who_waits()}")

    def check_threads(self) -> None:
        """Give up on threads that have kept virtual time from passing for long."""
        if time.monotonic() - self._passed_at >= THREAD_LIMIT:
            self._passed_at = time.monotonic()
            raise DeadlockError(f"a thread has worked for {THREAD_LIMIT:g} s of real time")

    def wake_settled(self) -> bool:
        """Wake those who wait for a moment in which nothing is ready; False if there are none."""
        settling, self._settling = self._settling, []
        for future in settling:
            if not future.done():
                future.set_result(None)
        return bool(settling)

    async def settle(self) -> None:
        """See `noex.testing.settle`."""
        future = self.create_future()
        self._settling.append(future)
        await future

    def _who_waits(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        places = [f"{task.get_name()} {_place(task)}" for task in tasks[:SHOWN]]
        more = [f"and {len(tasks) - SHOWN} more"] if len(tasks) > SHOWN else []
        return "; ".join([*places, *more]) or "there is no task"


def _has_work(threads: Threads | None) -> bool:
    """Whether a thread of a node's blocking handlers works, or is about to, or to end."""
    if threads is None:
        return False
    with threads._changed:
        working = len(threads._threads) - threads._idle - threads._parked
        return working > 0 or bool(threads._line or (threads._closed and threads._threads))


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task stands: the innermost line of code that is not asyncio's own."""
    waiting: Any = task.get_coro()
    found: FrameType | None = None
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is None:
            break
        if found is None or Path(frame.f_code.co_filename).parent.name != "asyncio":
            found = frame
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    if found is None:
        return "somewhere"
    code = found.f_code
    return f"in {code.co_qualname} ({Path(code.co_filename).name}:{found.f_lineno})"


class VirtualTime:
    """Runs coroutines on a loop of virtual time; a context manager, which ends what is left.

    `limit`: the virtual seconds after which it gives up (default: ten days).
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self._runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(limit))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def loop(self) -> VirtualLoop:
        """The loop, which keeps its time from one `run` to the next."""
        loop = self._runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return loop

    @property
    def now(self) -> float:
        """The virtual seconds that have passed."""
        return self.loop.time()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end and return its result.

        Raises `DeadlockError` when nothing can happen any more; all tasks are cancelled then.
        """
        try:
            return self._runner.run(main)
        except DeadlockError:
            self._cancel_all()
            raise

    def _cancel_all(self) -> None:
        loop = self.loop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        with suppress(DeadlockError):  # the first one tells more
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def close(self) -> None:
        """Cancel what still runs, and close the loop. Idempotent."""
        self._runner.close()


def run_virtual(main: Coroutine[Any, Any, T], *, limit: float = LIMIT) -> T:
    """As `asyncio.run`, in virtual time; see `VirtualTime`."""
    with VirtualTime(limit) as virtual:
        return virtual.run(main)


async def settle() -> None:
    """Wait until nothing else is ready to run, without letting virtual time pass.

    So whatever is under way, and does not wait for time, is done when it returns. Raises
    RuntimeError on a loop in real time, where there is no such moment.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError(
            "settle() is for virtual time; use run_virtual or the virtual_time fixture"
        )
    await loop.settle()
