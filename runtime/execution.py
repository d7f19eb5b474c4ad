"""How the messages of a process are handled: in slices, in a worker, in the turn of a caller.

- The scheduler gives a process a slice (`run_slice`): its messages are taken one by one, and their
  handlers run. A plain `def` handler is done when it returns.
- The first handler that is a coroutine gets a *worker*, a real asyncio Task (so that everything
  of asyncio works inside), which goes on with the mailbox itself, for a slice or as long as there
  is time in this iteration of the loop. However many workers go on at once, it is one time.
- A call to an idle process whose `handle_call` is plain runs at once in the caller's turn
  (`call_inline`), with the same rules.

All of it runs in the context of the process, what a handler's return or crash sets going included.
"""

from __future__ import annotations

from collections.abc import Coroutine
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Final

from noex.runtime import exits, outcome
from noex.runtime.awaitables import PLAIN, is_awaitable
from noex.runtime.calls import LocalCaller
from noex.runtime.current import NOBODY, handler_process, task_caller
from noex.runtime.process import INLINE
from noex.runtime.returns import UNCHANGED
from noex.runtime.states import CALL, CAST, IDLE, QUEUED, RUNNING, Item

if TYPE_CHECKING:
    from noex.runtime.process import Process

WORKER_SLICE: Final = 64  # messages that a worker takes before its process queues up again


_NOTHING: Final[Item] = (CAST, None, None)


class OpenReply:
    """What an inline call returns when the reply is still to come."""

    __slots__ = ("caller",)

    def __init__(self, caller: LocalCaller) -> None:
        self.caller = caller


def take(process: Process) -> Item | None:
    """The next message that still matters: calls that were given up are skipped."""
    mailbox = process.mailbox
    while mailbox:
        item = mailbox.popleft()
        if item[2] is not None and item[2].is_over():
            continue
        return item
    return None


# ---------------------------------------------------------------------- slices


def run_slice(process: Process, limit: int) -> None:
    """Handle up to `limit` messages; called by the scheduler only."""
    if process.status == QUEUED:
        process.status = RUNNING
        (process.kept_context or process.context).run(_work_off, process, limit)


def _work_off(process: Process, limit: int) -> None:
    """The loop through which every queued message goes: what is common is written out here, the
    rest is in `_conclude`. Each step counts, at two million messages a second."""
    mailbox, cast, call = process.mailbox, process.handler(CAST), process.handler(CALL)
    idle_ends = process.idle_deadline is not None
    left, item = limit, _NOTHING
    try:
        while mailbox and left:
            item = mailbox.popleft()
            kind, message, caller = item
            left -= 1
            if caller is not None and caller.is_over():
                continue
            if idle_ends:
                idle_ends = process.cancel_idle(kind)
            if kind == CAST:
                result = cast(message, process.state)
                if process.status == RUNNING:
                    if result is None:
                        continue
                    if type(result) in PLAIN:
                        process.state = result
                        continue
            elif kind == CALL:
                process.caller = caller
                result = call(message, process.state)
                if (
                    type(result) is tuple
                    and len(result) == 2
                    and process.status == RUNNING
                    and (type(result[0]) in PLAIN or not is_awaitable(result[0]))
                ):
                    process.caller = None
                    if result[1] is not UNCHANGED:
                        process.state = result[1]
                    caller.answer(result[0])  # type: ignore[union-attr]
                    continue
            else:
                result = process.handler(kind)(message, process.state)
            if not _conclude(process, item, result):
                return
            idle_ends = process.idle_deadline is not None
    except BaseException as error:
        _failed(process, item, error)
    else:
        process.rest()
    finally:
        process.handled += limit - left


def _conclude(process: Process, item: Item, result: Any) -> bool:
    """What is not written out above. Returns whether the process goes on with its mailbox."""
    caller = item[2]
    if caller is not None:
        process.caller = caller
        process.owe(caller)
    if iscoroutine(result):
        start_worker(process, item, result)
        return False
    outcome.finish(process, item, result)
    return process.status == RUNNING


def _failed(process: Process, item: Item, error: BaseException) -> None:
    process.last_message = item[1]
    if item[2] is not None:
        process.owe(item[2])
    exits.crashed(process, error)


# ---------------------------------------------------------------------- in the caller's turn


def call_inline(process: Process, message: Any) -> Any:
    """Handle a call at once, in the caller's turn: the reply, or an `OpenReply`."""
    process.status = RUNNING
    process.caller = INLINE
    if process.idle_deadline is not None:
        process.cancel_idle(CALL)
    handlers, context = process.callbacks.handlers, process.kept_context or process.context
    try:
        if handlers is None:
            result = context.run(process.server.handle_call, message, process.state)
        else:
            result = context.run(handlers[CALL], process.server, message, process.state)
    except BaseException as error:
        caller = process.promise_reply()
        context.run(_failed, process, (CALL, message, caller), error)
        return OpenReply(caller)
    process.handled += 1
    if (
        type(result) is tuple
        and len(result) == 2
        and process.caller is INLINE
        and process.status == RUNNING
        and (type(result[0]) in PLAIN or not is_awaitable(result[0]))
    ):
        process.caller = None
        if result[1] is not UNCHANGED:
            process.state = result[1]
        if process.mailbox:
            process.rest()
        else:
            process.status = IDLE
        return result[0]
    # A coroutine may begin at once, and call whoever has called.
    handler = handler_process()
    if handler is None:
        return context.run(_conclude_inline, process, message, result)
    handler.waiting_on = process
    try:
        return context.run(_conclude_inline, process, message, result)
    finally:
        handler.waiting_on = None


def _conclude_inline(process: Process, message: Any, result: Any) -> OpenReply:
    """The rare ends of an inline call: a coroutine, a special return value, a stop."""
    caller = process.promise_reply()
    item = (CALL, message, caller)
    if iscoroutine(result):
        start_worker(process, item, result)
    else:
        outcome.finish(process, item, result)
        if process.status == RUNNING:
            process.rest()
    return OpenReply(caller)


# ---------------------------------------------------------------------- the worker


def start_worker(process: Process, item: Item, handler: Coroutine[Any, Any, Any]) -> None:
    """Await a handler in a task of the process, which then goes on with the mailbox."""
    if process.doomed is not None:  # it was killed before the coroutine began
        handler.close()
        exits.doom_fulfilled(process)
        return
    work = _work(process, item, handler)
    process.kernel.workers.begin(process, work, handler, exits.worker_ended)


async def _work(process: Process, item: Item, handler: Coroutine[Any, Any, Any]) -> None:
    """The worker: await the handler, then go on with the mailbox while there is any."""
    pending: Coroutine[Any, Any, Any] | None = handler
    scheduler, turns = process.kernel.scheduler, process.kernel.turns
    left = min(process.callbacks.slice, WORKER_SLICE)
    while True:
        if pending is not None:
            caller = process.caller
            if caller is not None:
                task_caller.set((process, caller))  # for the tasks that the handler starts
            try:
                result = await pending
            except GeneratorExit:  # the loop is gone and with it everything
                raise
            except BaseException as error:
                _failed(process, item, error)
            else:
                if caller is not None:
                    task_caller.set(NOBODY)
                _returned(process, item, result)
                result = None  # it may be large, and the next handler may take long
        if process.status != RUNNING:
            return
        left -= 1
        following = None
        # Not each handler is followed by a look at the clock: most of them are quick.
        if process.mailbox and left and (left & 3 or scheduler.has_time() or turns.may_run()):
            following = take(process)
        if following is None:  # the rest, if there is any, takes its turn on the run queue
            process.worker = None
            process.rest()
            return
        item = following
        pending = _begin(process, item)


def in_progress(process: Process) -> Item | None:
    """The message whose handler the worker awaits. It is read out of the worker's frame, since to
    keep it elsewhere would cost each message something."""
    work: Any = process.worker.get_coro() if process.worker is not None else None
    frame = getattr(work, "cr_frame", None)
    if frame is None or frame.f_code is not _work.__code__:
        return None
    item: Item = frame.f_locals["item"]
    return item


def _begin(process: Process, item: Item) -> Coroutine[Any, Any, Any] | None:
    """Run the handler of one message. Returns its coroutine when it is not done yet."""
    kind, message, caller = item
    if process.idle_deadline is not None:
        process.cancel_idle(kind)
    process.handled += 1
    process.caller = caller
    if caller is not None:
        process.owe(caller)
    try:
        result = process.handler(kind)(message, process.state)
    except BaseException as error:
        _failed(process, item, error)
        return None
    if iscoroutine(result):
        return result
    outcome.finish(process, item, result)
    return None


def _returned(process: Process, item: Item, result: Any) -> None:
    """A coroutine has returned: as `outcome.finish`, in fewer steps for what is common."""
    if (
        type(result) is tuple
        and len(result) == 2
        and item[0] == CALL
        and process.status == RUNNING
        and process.doomed is None
        and (type(result[0]) in PLAIN or not is_awaitable(result[0]))
    ):
        process.caller = None
        if result[1] is not UNCHANGED:
            process.state = result[1]
        try:
            item[2].answer(result[0])  # type: ignore[union-attr]
        except Exception as error:  # a codec of the program's own
            _failed(process, item, error)
    else:
        outcome.finish(process, item, result)
