"""Classes with `blocking = True`: their callbacks run in a thread, for libraries that block.

For the process nothing changes. Each callback is stood for by a coroutine that waits for the
thread, which the worker of the process awaits like any other: one message at a time, crashes,
timeouts, continuations and stops are what they are elsewhere.

- The callback runs in a copy of the context of its process, since a context cannot be entered
  twice. The variables that it has set are taken over when it returns.
- A thread cannot be cancelled. What would cancel the handler reaches it where it waits in
  `self.run`; else it is waited for, until a kill has lasted `kill_grace`. Then the process is down
  and its thread a zombie: nobody looks at what it returns, and noex refuses to serve it.
- A handler for which no thread was free yet is cancelled at once, and never runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from _thread import allocate_lock, get_ident
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from noex.runtime import exits
from noex.runtime.crossing import Outcome
from noex.runtime.errors import InvalidOptionError, ProcessKilledError, WrongThreadError
from noex.runtime.states import CALLBACK_NAMES, DEAD
from noex.runtime.threads import Threads

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process

Handler = Callable[[Any, Any, Any], Any]

_UNSET: Final = object()


class Job:
    """One callback, to be run in a thread, and how it ended."""

    __slots__ = (
        "_args",
        "_cancelled",
        "_function",
        "_kwargs",
        "_process",
        "_taken",
        "_threads",
        "context",
        "error",
        "over",
        "value",
    )

    def __init__(
        self, process: Process, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> None:
        self.context = contextvars.copy_context()
        self.over: asyncio.Future[None] = process.kernel.loop.create_future()
        self.value: Any = None
        self.error: BaseException | None = None
        self._process = process
        self._threads = threads_of(process.kernel)
        self._function, self._args, self._kwargs = function, args, kwargs
        self._taken = allocate_lock()  # by the thread that runs it, or by who wants it no more
        self._cancelled = False  # while it was not waiting: to be raised where it waits next

    # ------------------------------------------------------------------ in the thread

    def run(self) -> None:
        """Run the callback, and send its outcome to the loop."""
        if not self._taken.acquire(blocking=False):
            return
        process = self._process
        process.thread = get_ident()
        try:
            self.value = self.context.run(self._function, *self._args, **self._kwargs)
        except BaseException as error:
            self.error = error
        process.thread = None
        self._threads.crossings.post(self._ended)

    def wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """Have `awaitable` awaited on the loop, and wait for what becomes of it."""
        crossings = self._threads.crossings
        outcome = crossings.expect()
        context = contextvars.copy_context()
        if not crossings.post(self._begin_waiting, outcome, awaitable, context):
            _discard(awaitable)
        with self._threads.parked():
            return outcome.wait()

    # ------------------------------------------------------------------ on the loop

    def submit(self) -> None:
        """Have it run, as soon as a thread is free."""
        self._process.job = self
        try:
            self._threads.submit(self)
        except RuntimeError:
            self._process.job = None
            raise

    def cancel(self) -> bool:
        """Cancel what the handler waits for. Whether no thread has it, so that it is over."""
        if self._taken.acquire(blocking=False):
            self._ended()
            return True
        process = self._process
        if process.runner is not None:
            process.runner.cancel()
            if process.status == DEAD:
                process.kernel.see_off(process.runner)
        else:
            self._cancelled = True
        return False

    def _ended(self) -> None:
        self._process.job = None
        if not self.over.done():
            self.over.set_result(None)

    def _begin_waiting(
        self, outcome: Outcome, awaitable: Awaitable[Any], context: contextvars.Context
    ) -> None:
        settle, process = self._threads.crossings.settle, self._process
        if process.status == DEAD or self._cancelled:
            self._cancelled = False
            _discard(awaitable)
            killed = ProcessKilledError(process.ref)
            settle(outcome, error=killed if process.status == DEAD else asyncio.CancelledError())
            return

        def ended(task: asyncio.Task[Any]) -> None:
            process.runner = None
            if task.cancelled():  # before its first step
                _discard(awaitable)
                settle(outcome, error=asyncio.CancelledError())
            else:
                settle(outcome, *task.result())

        loop = process.kernel.loop
        # Not by the loop's task factory, which may know of no contexts (see `run_as_worker`).
        process.runner = asyncio.Task(_outcome(awaitable), loop=loop, context=context)
        process.runner.add_done_callback(ended)


async def _outcome(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Hold back what a task would let out of the loop: it belongs to the handler that waits."""
    try:
        return await awaitable, None
    except GeneratorExit:
        raise
    except BaseException as error:
        return None, error


def _discard(awaitable: Awaitable[Any]) -> None:
    if asyncio.iscoroutine(awaitable):
        awaitable.close()


async def in_thread(
    process: Process, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    """Run a callback of `process` in a thread; awaited by its worker."""
    job = Job(process, function, args, kwargs)
    job.submit()
    cancelled: asyncio.CancelledError | None = None
    while not job.over.done():
        try:
            await asyncio.shield(job.over)
        except asyncio.CancelledError as error:
            cancelled = error
            if job.over.done():
                break
            is_over = job.cancel()
            if process.status == DEAD:  # nobody waits for the thread any more
                raise
            if not is_over and process.doomed is None:
                exits.kill_if_it_clings(process)  # somebody else has cancelled the worker
    try:
        if job.error is not None:
            raise job.error
        if cancelled is not None:
            raise cancelled
        _take_over(job.context)
        return job.value
    finally:
        del job, cancelled  # an error holds this frame, which would hold the error


def _take_over(context: contextvars.Context) -> None:
    """Set the context variables that were set in a copy of this context."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)


def wait_in_handler(process: Process, what: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`GenServer.run`: wait in the thread of a handler for what only the loop can do."""
    if inspect.isawaitable(what) and not args and not kwargs:
        awaitable: Awaitable[Any] = what
    elif callable(what):
        awaitable = _called(what, args, kwargs)
    else:
        raise InvalidOptionError("what", what, "a coroutine, or a function and its arguments")
    job = process.job
    if job is None or process.thread != get_ident():
        _discard(awaitable)
        advice = (
            "it is for the callbacks of a class with blocking = True, in the thread they run in"
        )
        raise WrongThreadError("self.run", f"{advice}; on the loop, await the coroutine")
    return job.wait_for(awaitable)


async def _called(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def threads_of(kernel: Kernel) -> Threads:
    """The threads of a node, made at their first use."""
    if kernel.threads is None:
        kernel.threads = Threads(kernel, kernel.blocking_threads)
        kernel.guarded = True
    return kernel.threads


# ---------------------------------------------------------------------- the class


def is_blocking(cls: Any) -> bool:
    """Whether the callbacks of a class run in threads."""
    blocking = cls.blocking
    if not isinstance(blocking, bool):
        raise InvalidOptionError(
            "blocking", blocking, f"{cls.__qualname__}.blocking is True or False"
        )
    return blocking


def in_threads(
    cls: type, root: type, handlers: tuple[Handler, ...], methods: tuple[str, ...]
) -> tuple[Handler, ...]:
    """The handlers of a blocking class: those that it has itself run in a thread.

    Raises `InvalidOptionError` if one of its callbacks, or of `methods`, is ``async def``.
    """
    _refuse_coroutines(cls, methods)
    return tuple(_each(cls, root, handlers, methods))


def _each(
    cls: type, root: type, handlers: tuple[Handler, ...], methods: tuple[str, ...]
) -> Iterator[Handler]:
    for handler, name in zip(handlers, CALLBACK_NAMES, strict=True):
        leads_to_methods = bool(methods) and name in ("handle_call", "handle_cast")
        overridden = getattr(cls, name) is not getattr(root, name)
        is_own = name != "handle_stop" and (overridden or leads_to_methods)
        yield _threaded(handler) if is_own else handler


def _threaded(handler: Handler) -> Handler:
    def handle(server: Any, message: Any, state: Any) -> Coroutine[Any, Any, Any]:
        return in_thread(server._process, handler, (server, message, state), {})

    return handle


def _refuse_coroutines(cls: type, methods: tuple[str, ...]) -> None:
    for name in ("init", *CALLBACK_NAMES, *methods):
        if inspect.iscoroutinefunction(getattr(cls, name)):
            reason = (
                f"{cls.__qualname__}.{name} is `async def`; the callbacks of a class with "
                "blocking = True run in a thread and are `def`. To wait for a coroutine there, "
                "use self.run(...)"
            )
            raise InvalidOptionError("blocking", True, reason)
