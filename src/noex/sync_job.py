"""Something to be done on a loop thread, and its one outcome, for the thread that waits."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import types
from _thread import allocate_lock
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from noex.runtime.errors import NodeStoppedError

if TYPE_CHECKING:
    from noex.sync_loop import LoopThread


class Job:
    """Something to be done on the loop, and its one outcome."""

    __slots__ = ("_args", "_context", "_done", "_error", "_function", "_over", "_task", "_value")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        self._function = function
        self._args = args
        self._context = context
        self._done = allocate_lock()  # held until there is an outcome
        self._done.acquire()
        self._over = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None

    # ------------------------------------------------------------------ on the loop thread

    def begin(self, thread: LoopThread) -> None:
        """Run it; the outcome may come later."""
        if self._over:  # given up meanwhile
            return
        try:
            value = self._context.run(self._function, *self._args)
            if inspect.isawaitable(value):
                self._continue(thread, value if asyncio.iscoroutine(value) else _await(value))
            else:
                self.settle(value)
        except BaseException as error:  # Ctrl-C too: it belongs to whoever waits
            thread.note(error)
            self.settle(error=error)

    def _continue(self, thread: LoopThread, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._task = thread.loop.create_task(coroutine, context=self._context)
        thread.jobs.add(self)
        self._task.add_done_callback(lambda task: self._ended(thread, task))

    def _ended(self, thread: LoopThread, task: asyncio.Task[Any]) -> None:
        thread.jobs.discard(self)
        self._task = None  # so it goes here: a Ctrl-C is lost in what runs when an object goes
        if task.cancelled():
            self.settle(error=_why_cancelled(thread))
        elif task.exception() is not None:
            self.settle(error=task.exception())
        else:
            self.settle(task.result())

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        """The outcome is there. Only the first one counts."""
        if not self._over:
            self._value, self._error = value, error
            self._over = True
            self._done.release()

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call it when the task of this job has ended; at once if it has none."""
        if self._task is None:
            callback()
        else:
            self._task.add_done_callback(lambda _task: callback())

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self._task is not None:
            self._task.cancel()
        else:
            self.settle(error=asyncio.CancelledError())

    # ------------------------------------------------------------------ on the calling thread

    def is_over(self, limit: float | None) -> bool:
        """Wait up to `limit` seconds (None: no limit) and say whether there is an outcome."""
        seconds = -1 if limit is None else min(limit, threading.TIMEOUT_MAX)
        return self._over or self._done.acquire(timeout=seconds)

    def result(self) -> Any:
        """The outcome: returned, or raised."""
        error = self._error
        if error is None:
            return self._value
        try:
            raise error
        finally:
            self = error = None  # type: ignore[assignment]  # no circle through the traceback


class QuickJob(Job):
    """A coroutine that is often done in its first step, and then needs no task.

    In that step there is no current task: not for code that needs one there.
    """

    __slots__ = ()

    def _continue(self, thread: LoopThread, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            waits_for = self._context.run(coroutine.send, None)
        except StopIteration as done:
            self.settle(done.value)
        else:
            super()._continue(thread, _await(_rest_of(coroutine, waits_for)))


@types.coroutine
def _rest_of(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that waits for something already."""
    while True:
        try:
            try:
                value = yield waits_for
            except BaseException as error:  # its cancellation, mostly
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(value)
        except StopIteration as done:
            return done.value


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _why_cancelled(thread: LoopThread) -> BaseException:
    if thread.unusable is not None:  # by the end of the loop
        return NodeStoppedError(thread.name(), thread.unusable)
    return asyncio.CancelledError()
