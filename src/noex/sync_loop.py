"""The loop thread of a blocking node, and how other threads have things done on it.

One call, from any thread:

1. `submit` puts a `Job` into the queue and wakes the loop.
2. The loop thread takes all that is queued and begins it: a plain function is done at once, a
   coroutine gets a task. It runs in a copy of the calling thread's context.
3. `Job.is_over` waits for the outcome; `Job.result` returns it, or raises it: the very exception.

Who gives up waiting (Ctrl-C, a time limit) cancels the job. A KeyboardInterrupt that comes out of a
handler leaves the loop, which goes on so that the node can stop, and is handed to the main thread:
to the call in which it waits, else to its next one.

The thread is a daemon, so that a forgotten node does not keep a program from ending. Every job has
an outcome, whatever becomes of the loop: what is left when it ends fails with `NodeStoppedError`.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from weakref import WeakSet

from noex.runtime.errors import NodeStoppedError
from noex.sync_errors import BlockingCallError, LoopHeldError
from noex.sync_job import Job

POST_BOUND: Final = 10_000
"""Casts that may wait for the loop; the next one waits until it has caught up."""
POST_LIMIT: Final = 10.0
ANSWER: Final = 1.0  # seconds that the loop may take for a sign of life, when something is late
CANCEL_GRACE: Final = 1.0  # seconds for tasks to heed their cancellation when the loop ends
LAST_WORD: Final = 3.0  # seconds for what is to be done when the end is hurried
JOIN_LIMIT: Final = 10.0
NOT_STARTED: Final = "it has not been started"
STARTED: Final = "it was started before; make a new Node"
STOPPED: Final = "it was stopped"
FORKED: Final = "it was carried through a fork; start a new one"
INTERRUPTED: Final = "Ctrl-C came out of a handler"

_threads: WeakSet[LoopThread] = WeakSet()


def _refuse_use_after_fork() -> None:
    """The thread is not in the child: whoever waited for it would wait for ever."""
    for thread in list(_threads):
        thread.unusable = FORKED


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refuse_use_after_fork)


class LoopThread:
    """An asyncio loop in a thread of its own. `name` tells the node id, for people."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, name: Callable[[], str]) -> None:
        self.name = name
        self.unusable: str | None = NOT_STARTED
        self.kernel: Any = None  # of the node that lives on it
        self.jobs: set[Job] = set()  # those with a task
        self._queue: deque[Callable[[LoopThread], None]] = deque()
        self._drains = 0  # how often the queue was worked off
        self._woken_for = -1  # the value of `_drains` at the latest wake-up
        self._interrupt: KeyboardInterrupt | None = None  # came out of a handler, for `main`
        self._main_waits_for: Job | None = None
        self._stop_has_begun = False
        self._thread: threading.Thread | None = None

    def check_startable(self) -> None:
        """Once only (`NodeStoppedError`), and not beside a loop."""
        if self.unusable is not NOT_STARTED:
            raise NodeStoppedError(self.name(), self.unusable or STARTED)
        self._refuse_loops()

    def start(self) -> None:
        """Make the loop and the thread."""
        self.loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(thread_name_prefix=f"noex {self.name()} pool")
        self.loop.set_default_executor(self._pool)
        thread = threading.Thread(target=self._main, name=f"noex {self.name()}", daemon=True)
        _threads.add(self)
        self._thread, self.unusable = thread, None
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._thread = None
            self.loop.close()
            raise

    # ------------------------------------------------------------------ for all other threads

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        limit: float | None = None,
        kind: type[Job] = Job,
    ) -> Any:
        """Have `function(*args)` done on the loop, awaited if need be; returns the result.

        Raises what it raises, `BlockingCallError` on a thread that runs a loop, and
        `NodeStoppedError`. After `limit` seconds (None: no limit) it looks whether the loop is
        held, and raises `LoopHeldError`; a loop that is not will end this by itself.
        """
        self.check_usable()
        job = kind(function, args, contextvars.copy_context())
        if threading.current_thread() is not threading.main_thread():
            return self._run(job, limit)
        self.raise_interrupt()
        outer, self._main_waits_for = self._main_waits_for, job
        try:
            return self._run(job, limit)
        except KeyboardInterrupt:
            self._interrupt = None
            raise
        finally:
            self._main_waits_for = outer

    def _run(self, job: Job, limit: float | None) -> Any:
        try:
            self.submit(job.begin)
            while not job.is_over(limit):
                if not self.answers(ANSWER):
                    raise LoopHeldError(self.name(), limit or 0.0)
        except BaseException:
            self.give_up(job)
            raise
        try:
            return job.result()
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise
            # Ctrl-C is for the main thread: this one hears that the node is going.
            raise NodeStoppedError(self.name(), INTERRUPTED) from error

    def answers(self, limit: float) -> bool:
        """Whether the loop gives a sign of life within `limit` seconds."""
        sign = Job(_nothing, (), contextvars.Context())
        self.submit(sign.begin)
        return sign.is_over(limit)

    def begin(self, function: Callable[[], Awaitable[Any]]) -> Job:
        """Have it begun; the caller waits for the job itself, and hears of no Ctrl-C of others."""
        self.check_usable()
        job = Job(function, (), contextvars.copy_context())
        self.submit(job.begin)
        return job

    def check_usable(self) -> None:
        """Refuse a thread that must not wait, and a loop that is not there."""
        if self.unusable is not None:
            raise NodeStoppedError(self.name(), self.unusable)
        if self.is_current():
            raise BlockingCallError(self.name(), "its own loop thread (a handler)")
        self._refuse_loops()

    def _refuse_loops(self) -> None:
        if asyncio._get_running_loop() is not None:
            raise BlockingCallError(self.name(), "a thread that runs an asyncio loop")

    def is_current(self) -> bool:
        """Whether this is the loop thread itself."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def raise_interrupt(self) -> None:
        """In the main thread: raise the Ctrl-C that came out of a handler, if it has not yet."""
        if threading.current_thread() is threading.main_thread():
            error, self._interrupt = self._interrupt, None
            if error is not None:
                raise error

    def post(self, function: Callable[..., Any], *args: Any) -> bool:
        """Have `function(*args)` done on the loop, in order with all else, and do not wait.

        Only when `POST_BOUND` of them wait already, it waits until the loop has caught up. Returns
        False when the loop is gone, or held for too long, or when this thread must not wait.
        """
        if not self.may_post():
            return False
        try:
            if len(self._queue) >= POST_BOUND:
                self.run(_nothing, limit=POST_LIMIT)
            self.submit(lambda _thread: function(*args))
        except (NodeStoppedError, LoopHeldError, BlockingCallError):
            return False
        return True

    @property
    def was_stopped(self) -> bool:
        """Whether it is gone in order (and not only absent in a fork)."""
        return self.unusable is STOPPED

    def may_post(self) -> bool:
        """Whether there is a loop. Raises `NodeStoppedError` in a fork, as sending does there."""
        if self.unusable is FORKED:
            raise NodeStoppedError(self.name(), FORKED)
        return self.unusable is None

    def submit(self, begin: Callable[[LoopThread], None]) -> None:
        """Queue `begin(self)` for the loop. Raises `NodeStoppedError`."""
        self._queue.append(begin)
        # Any number of threads come by here, and Ctrl-C may come between any two lines: either
        # leaves at most a wake-up too many. While the two are equal one is still to be heeded.
        drains = self._drains
        if self._woken_for != drains:
            self._wake()
            self._woken_for = drains

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # it is closed
            raise NodeStoppedError(self.name(), STOPPED) from None

    def give_up(self, job: Job) -> None:
        """Nobody waits for it any more: cancel it."""
        try:
            self.submit(lambda _thread: job.cancel())
        except NodeStoppedError:
            pass

    # ------------------------------------------------------------------ its end

    def end(self, last: Callable[[], Awaitable[Any]] | None = None) -> None:
        """Cancel what is left, close the loop, and wait for the thread. Idempotent.

        With `last` the end is hurried: that is awaited for a moment, and no error matters. Raises
        `LoopHeldError` when a handler holds the loop (unless it is hurried).
        """
        self.end_soon(last)
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        thread.join(CANCEL_GRACE)
        if self._stop_has_begun:
            thread.join(JOIN_LIMIT if last is None else LAST_WORD + CANCEL_GRACE)
        if thread.is_alive() and last is None:
            raise LoopHeldError(self.name(), JOIN_LIMIT)

    def end_soon(self, last: Callable[[], Awaitable[Any]] | None = None) -> None:
        """As `end`, without waiting."""
        self.unusable = STOPPED
        if self._thread is None:
            return
        try:
            self.submit(lambda _thread: self._stop(last))
        except NodeStoppedError:
            pass  # it has ended

    def _stop(self, last: Callable[[], Awaitable[Any]] | None) -> None:
        self._stop_has_begun = True
        if last is None:
            self.loop.stop()
            return
        self.loop.set_exception_handler(_say_nothing)
        job = Job(last, (), contextvars.copy_context())
        job.begin(self)
        job.when_over(self.loop.stop)
        self.loop.call_later(LAST_WORD, self.loop.stop)

    # ------------------------------------------------------------------ the loop thread

    def _main(self) -> None:
        try:
            self._run_until_stopped()
            self._finish(self._cancel_all())
            self._finish(self.loop.shutdown_asyncgens())
        finally:
            self.unusable = STOPPED
            self.loop.set_exception_handler(_say_nothing)  # of tasks that cling to life
            self.loop.close()
            self._fail_the_rest()
            self._close_pool()

    def _run_until_stopped(self) -> None:
        while True:
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                self.note(error)
            else:
                return

    def _finish(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            self.loop.run_until_complete(coroutine)
        except (KeyboardInterrupt, SystemExit) as error:
            self.note(error)

    def note(self, error: BaseException) -> None:
        """Keep a Ctrl-C that came out of a handler for the main thread."""
        if isinstance(error, KeyboardInterrupt):
            self._interrupt = error
            job = self._main_waits_for
            if job is not None:
                job.settle(error=error)
                job.cancel()

    def _drain(self) -> None:
        self._drains += 1  # before the queue is read: who appends later, wakes us
        queue = self._queue
        for _ in range(len(queue)):
            begin = queue.popleft()
            try:
                begin(self)
            except Exception as error:
                context = {"message": "a message was not delivered", "exception": error}
                self.loop.call_exception_handler(context)
        if queue:
            self.loop.call_soon(self._drain)

    async def _cancel_all(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_GRACE)

    def _fail_the_rest(self) -> None:
        """Every job has an outcome, those too that came while the loop was closing."""
        gone = NodeStoppedError(self.name(), STOPPED)
        for job in list(self.jobs):
            job.settle(error=gone)
        while self._queue:
            queued = getattr(self._queue.popleft(), "__self__", None)
            if isinstance(queued, Job):
                queued.settle(error=gone)

    def _close_pool(self) -> None:
        """End the threads of `asyncio.to_thread`; one that is stuck is left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        closer = threading.Thread(target=self._pool.shutdown, daemon=True)
        try:
            closer.start()
        except RuntimeError:  # at the exit of the program, which has ended those threads before
            return
        closer.join(CANCEL_GRACE)


def _say_nothing(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    """An exception handler for a loop that has been abandoned."""


def _nothing() -> None:
    """Done when all that was queued before has begun."""
