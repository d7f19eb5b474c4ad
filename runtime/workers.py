"""Workers that begin at once.

A handler that is a coroutine needs a current task that belongs to it and to nobody else, or
`asyncio.timeout`, task groups and their like would hit whoever called. But to make a task, and to
wait for the loop to run its first step, costs ten times what most handlers do; and many of them
never wait for anything. So the first step is made at once, in the name of a spare task that lies
ready (`asyncio` documents how a task is entered and left, for those who write their own tasks):

- the handler is done: the spare task lies ready for the next one;
- it waits: the spare task adopts it, and from then on is a task like any other.

What asks for the current task, cancels it, or sets a timeout during the first step has to do with
the task that goes on with the handler. A spare that was touched is used no more.

Classes whose handlers mostly wait get a new task at once, which is cheaper for them; now and then
they are tried again.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from noex.runtime.process import Process

    Ended = Callable[[Process, Coroutine[Any, Any, Any], asyncio.Task[Any]], None]

DEEPEST: Final = 16  # handlers that begin within each other, on one stack
SPARE: Final = 16  # tasks that lie ready in a node, at most
TRUST: Final = 8  # handlers that may wait before their class is taken for one that waits
DISTRUST: Final = -256  # handlers of such a class until it is tried again


class Worker(asyncio.Task[None]):
    """A task that lies ready to adopt a coroutine whose first step was made in its name."""

    work: Coroutine[Any, Any, Any] | None = None
    parked: asyncio.Future[None] | None = None

    def get_coro(self) -> Any:
        """The coroutine that it runs, for those who look where a task stands."""
        return self.work if self.work is not None else super().get_coro()

    def is_untouched(self) -> bool:
        """Whether it may lie ready again."""
        parked = self.parked
        if parked is None or parked.done() or self.cancelling():
            return False
        # Who asked to hear of the end of this task meant that of the handler. The task waits for
        # `parked`, and has no callbacks of its own.
        return not self._callbacks

    def adopt(self, work: Coroutine[Any, Any, Any], waits_for: Any, context: Context) -> None:
        """Go on with `work`, which waits for `waits_for`."""
        assert self.parked is not None
        self.work = work
        self._waits_for, self._context = waits_for, context
        if not self.parked.done():
            self.parked.set_result(None)

    def steps(self, cancelled: asyncio.CancelledError | None) -> Generator[Any, Any, None]:
        """The other steps of the work, in its own context."""
        work, run, waits_for = self.work, self._context.run, self._waits_for
        assert work is not None
        self._waits_for = None
        try:
            if cancelled is not None and (
                waits_for is None or not waits_for.cancel(*cancelled.args)
            ):
                if waits_for is not None:
                    waits_for._asyncio_future_blocking = False  # nobody will wait for it
                waits_for = run(work.throw, cancelled)
            while True:
                try:
                    value = yield waits_for
                except GeneratorExit:
                    work.close()
                    raise
                except BaseException as error:
                    step = partial(work.throw, error)
                else:
                    step = partial(work.send, value)
                waits_for = run(step)
        except StopIteration:
            return


class _Steps:
    __slots__ = ("_cancelled", "_worker")

    def __init__(self, worker: Worker, cancelled: asyncio.CancelledError | None) -> None:
        self._worker, self._cancelled = worker, cancelled

    def __await__(self) -> Generator[Any, Any, None]:
        return self._worker.steps(self._cancelled)


async def _fail(error: BaseException) -> None:
    raise error


class Workers:
    """The tasks that lie ready in one node."""

    __slots__ = ("_coming", "_depth", "_loop", "_spare")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._spare: list[Worker] = []
        self._depth = 0
        self._coming: Worker | None = None  # was made, and does not lie ready yet

    def begin(
        self,
        process: Process,
        work: Coroutine[Any, Any, Any],
        handler: Coroutine[Any, Any, Any],
        ended: Ended,
    ) -> None:
        """Have `work`, which awaits `handler`, done by a worker of `process`.

        Called inside of the context of the process. Whatever becomes of the worker, `ended` hears
        of it, from the loop.
        """
        worker = self._take(process)
        if worker is None:
            process.run_as_worker(work, handler, ended)
            return
        process.worker = worker
        try:
            waits_for = self._first_step(worker, work)
        except StopIteration:
            self._finished(worker, process, handler, ended)
            return
        except BaseException as error:  # Ctrl-C, which leaves the loop as it does out of any task
            work, waits_for = _fail(error), None
        else:
            process.callbacks.trust -= 1
        worker.adopt(work, waits_for, process.context)
        worker.add_done_callback(partial(ended, process, handler))

    def _take(self, process: Process) -> Worker | None:
        """A worker that lies ready, if it is worth it."""
        callbacks = process.callbacks
        if self._depth >= DEEPEST:  # A calls B calls C ...: the stack has an end
            return None
        if callbacks.trust <= 0:
            if callbacks.trust == 0:
                callbacks.trust = DISTRUST
            callbacks.trust += 1
            if callbacks.trust == 0:
                callbacks.trust = 1
            return None
        while self._spare:
            worker = self._spare.pop()
            if worker.is_untouched():
                return worker
        self._make()
        return None

    def _first_step(self, worker: Worker, work: Coroutine[Any, Any, Any]) -> Any:
        loop = self._loop
        outer = asyncio.current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, worker)
        self._depth += 1
        try:
            return work.send(None)
        finally:
            self._depth -= 1
            _leave_task(loop, worker)
            if outer is not None:
                _enter_task(loop, outer)

    def _finished(
        self, worker: Worker, process: Process, handler: Coroutine[Any, Any, Any], ended: Ended
    ) -> None:
        if process.worker is worker:  # the process is on its way out
            worker.add_done_callback(partial(ended, process, handler))
        elif worker.is_untouched():
            if process.callbacks.trust < TRUST:
                process.callbacks.trust += 1
            if len(self._spare) < SPARE:
                self._spare.append(worker)
                return
        worker.cancel()
        process.kernel.see_off(worker)

    def _make(self) -> None:
        if self._coming is not None and not self._coming.done():  # else it was cancelled
            return
        place: list[Worker] = []
        worker = Worker(self._lie_ready(place), loop=self._loop, name="noex worker")
        self._coming = worker
        place.append(worker)

    async def _lie_ready(self, place: list[Worker]) -> None:
        self._coming = None
        worker = place[0]
        worker.parked = self._loop.create_future()
        self._spare.append(worker)
        try:
            await worker.parked
        except asyncio.CancelledError as error:
            if worker.work is None:
                raise
            await _Steps(worker, error)
        else:
            await _Steps(worker, None)

    def close(self) -> list[Worker]:
        """End those that lie ready. Returns them, to be waited for."""
        spare, self._spare = self._spare, []
        if self._coming is not None and not self._coming.done():
            spare.append(self._coming)
        for worker in spare:
            worker.cancel()
        return spare
