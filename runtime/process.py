"""A process: an object with a mailbox on a run queue.

How a message goes its way:

1. `deliver` appends it to the mailbox; an idle process joins the node's run queue.
2. The scheduler gives the process a slice: `run_slice` takes messages one by one and runs their
   handlers. A plain `def` handler is done when it returns.
3. The first handler that is a coroutine gets a *worker*, a real asyncio Task (so that everything
   of asyncio works inside), which goes on with the mailbox itself until it is empty.
4. A call to an idle process whose `handle_call` is plain runs at once in the caller's turn
   (`call_inline`), with the same rules.

One message at a time, always. What ends a process is in `noex.runtime.exits`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Final

from noex.runtime import exits
from noex.runtime.callbacks import Callbacks, is_awaitable
from noex.runtime.calls import Caller, LocalCaller
from noex.runtime.current import current_process, task_caller
from noex.runtime.errors import BadReturnValueError
from noex.runtime.messages import TIMEOUT
from noex.runtime.reports import report_stop
from noex.runtime.returns import (
    NO_TOKEN,
    UNCHANGED,
    NoReply,
    Reply,
    Stop,
    _Next,
    is_no_state,
)
from noex.runtime.states import (
    CALL,
    CALLBACK_NAMES,
    CLOSED,
    CONTINUE,
    EXIT,
    IDLE,
    INFO,
    QUEUED,
    RUNNING,
    STARTING,
    Item,
)

if TYPE_CHECKING:
    from noex.runtime.deadlines import Deadline
    from noex.runtime.genserver import GenServer, Timer
    from noex.runtime.kernel import Kernel
    from noex.runtime.monitors import Monitor
    from noex.runtime.ref import Ref

WORKER_SLICE: Final = 64  # `def` messages that a worker takes before it gives way to the loop


class OpenReply:
    """What an inline call returns when the reply is still to come."""

    __slots__ = ("caller",)

    def __init__(self, caller: LocalCaller) -> None:
        self.caller = caller


class Process:
    """One process of a node. Users hold its `Ref`."""

    __slots__ = (
        "callbacks",
        "caller",
        "context",
        "doomed",
        "fence",
        "idle_deadline",
        "inline",
        "kernel",
        "last_message",
        "links",
        "mailbox",
        "monitoring",
        "name",
        "open_calls",
        "parent",
        "reason",
        "ref",
        "server",
        "started_at",
        "starter",
        "state",
        "status",
        "tasks",
        "terminate_timeout",
        "timers",
        "trap_exits",
        "waiting_on",
        "watchers",
        "worker",
        "zombie",
    )

    def __init__(
        self,
        kernel: Kernel,
        ref: Ref[Any],
        server: GenServer[Any],
        callbacks: Callbacks,
        name: str | None,
        parent: Ref[Any] | None,
    ) -> None:
        self.kernel = kernel
        self.ref = ref
        self.server = server
        self.callbacks = callbacks
        self.name = name
        self.parent = parent
        self.fence: Any = None
        self.state: Any = None
        self.status = STARTING
        self.mailbox: deque[Item] | None = None
        self.context: contextvars.Context | None = None
        self.worker: asyncio.Task[Any] | None = None
        self.caller: Caller | None = None  # of the message being handled
        self.inline = False  # the message being handled is a call in its caller's turn
        self.doomed: tuple[Any] | None = None  # the reason for which the handler must end
        self.reason: Any = None
        self.zombie = False
        self.terminate_timeout = kernel.terminate_timeout  # seconds; None: no limit
        self.trap_exits = False
        self.waiting_on: Process | None = None  # whom this handler is calling
        self.last_message: Any = None
        self.links: set[Ref[Any]] | None = None
        self.watchers: dict[Any, Any] | None = None  # who monitors this process
        self.monitoring: set[Monitor] | None = None  # whom this process monitors
        self.open_calls: set[Caller] | None = None  # taken from the mailbox, not yet answered
        self.tasks: set[asyncio.Task[Any]] | None = None
        self.timers: set[Timer] | None = None  # of `send_after`, still to come
        self.idle_deadline: Deadline | None = None
        self.started_at = kernel.clock.wall()
        self.starter: Ref[Any] | None = None  # while `init` runs: the link that `start` made

    # ------------------------------------------------------------------ delivery

    def deliver(self, item: Item) -> bool:
        """Append a message. False when the process is dead or killed."""
        status = self.status
        if status >= CLOSED:
            self.kernel.dead_letters += 1
            return False
        mailbox = self.mailbox
        if mailbox is None:
            mailbox = self.mailbox = deque()
        mailbox.append(item)
        if status == IDLE:
            self.status = QUEUED
            self.kernel.scheduler.add(self)
        return True

    def deliver_first(self, item: Item) -> None:
        """Put a message before all that are queued (a continuation, an exit signal).

        An exit signal comes first of all, and of several the first decides.
        """
        if self.status >= CLOSED:
            return
        mailbox = self.mailbox
        if mailbox is None:
            mailbox = self.mailbox = deque()
        if not mailbox or mailbox[0][0] != EXIT:
            mailbox.appendleft(item)
        elif item[0] != EXIT:
            mailbox.insert(1, item)
        if self.status == IDLE:
            self.status = QUEUED
            self.kernel.scheduler.add(self)

    def deliver_info(self, message: Any) -> bool:
        """Append a message for `handle_info`."""
        return self.deliver((INFO, message, None))

    # ------------------------------------------------------------------ running

    def own_context(self) -> contextvars.Context:
        """The context in which the callbacks of this process run."""
        context = self.context
        if context is None:
            context = self.context = contextvars.copy_context()
            context.run(current_process.set, self)
            context.run(task_caller.set, None)
        return context

    def run_callback(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call a callback in the context of this process, which its worker is in already."""
        worker = self.worker
        if worker is not None and asyncio.current_task(self.kernel.loop) is worker:
            return callback(*args)
        return self.own_context().run(callback, *args)

    def run_slice(self, limit: int) -> None:
        """Handle up to `limit` messages; called by the scheduler only."""
        if self.status != QUEUED:
            return
        self.status = RUNNING
        while limit > 0:
            item = self._take()
            if item is None:
                self.status = IDLE
                return
            limit -= 1
            handler = self._begin(item)
            if handler is not None:
                self._start_worker(item, handler)
                return
            if self.status != RUNNING:
                return
        if self.mailbox:
            self.status = QUEUED
            self.kernel.scheduler.add(self)
        else:
            self.status = IDLE

    def call_inline(self, message: Any) -> Any:
        """Handle a call at once, in the caller's turn: the reply, or an `OpenReply`."""
        self.status = RUNNING
        self.inline = True
        self.last_message = message
        if self.idle_deadline is not None:
            self._cancel_idle()
        context = self.context or self.own_context()
        try:
            result = context.run(self.server.handle_call, message, self.state)
        except BaseException as error:
            caller = self._promise_reply()
            self.inline = False
            exits.crashed(self, error)
            return OpenReply(caller)
        if type(result) is tuple and len(result) == 2 and self.caller is None:
            reply, state = result
            if self.status == RUNNING and state is not UNCHANGED and not is_awaitable(reply):
                self.inline = False
                self.state = state
                self._rest()
                return reply
        return self._finish_inline(message, result)

    def _finish_inline(self, message: Any, result: Any) -> OpenReply:
        """The rare ends of an inline call: a coroutine, a special return value, a stop."""
        caller = self._promise_reply()
        self.inline = False
        item: Item = (CALL, message, caller)
        if iscoroutine(result):
            self._start_worker(item, result)
            return OpenReply(caller)
        self._finish(item, result)
        if self.status == RUNNING:
            self._rest()
        return OpenReply(caller)

    def in_handler(self) -> bool:
        """Whether the code that asks is the handler in progress, not a task beside it."""
        if self.worker is None:  # then the handler is on the stack, and nothing beside it runs
            return self.status == RUNNING
        return asyncio.current_task(self.kernel.loop) is self.worker

    def current_caller(self) -> Caller | None:
        """The caller of the message being handled; made on demand for an inline call."""
        if not self.in_handler():
            return task_caller.get()
        if self.caller is None and self.inline:
            self._promise_reply()
        return self.caller

    def _promise_reply(self) -> LocalCaller:
        if not isinstance(self.caller, LocalCaller):
            self.caller = LocalCaller(self.kernel.loop.create_future(), self.ref)
            self._owe(self.caller)
        return self.caller

    def _rest(self) -> None:
        if self.mailbox:
            self.status = QUEUED
            self.kernel.scheduler.add(self)
        else:
            self.status = IDLE

    def _take(self) -> Item | None:
        """The next message that still matters: the one place that skips calls given up."""
        mailbox = self.mailbox
        while mailbox:
            item = mailbox.popleft()
            if item[0] == CALL and item[2] is not None and item[2].is_over():
                continue
            return item
        return None

    def _begin(self, item: Item) -> Coroutine[Any, Any, Any] | None:
        """Run the handler of `item`. Returns the coroutine when it is not done yet."""
        kind, message, caller = item
        if self.idle_deadline is not None:
            self._cancel_idle()
        self.caller = caller
        if caller is not None:
            self._owe(caller)
        self.last_message = message
        handler = getattr(self.server, CALLBACK_NAMES[kind])
        try:
            if self.worker is not None:  # only the worker comes here with one: it is inside
                result = handler(message, self.state)
            else:
                result = (self.context or self.own_context()).run(handler, message, self.state)
        except BaseException as error:
            exits.crashed(self, error)
            return None
        if iscoroutine(result):
            return result
        self._finish(item, result)
        return None

    def _start_worker(self, item: Item, handler: Coroutine[Any, Any, Any]) -> None:
        if self.doomed is not None:  # it was killed before the coroutine began
            handler.close()
            exits.doom_fulfilled(self)
            return
        self.run_as_worker(self._work(item, handler), handler)

    def run_as_worker(
        self, work: Coroutine[Any, Any, Any], handler: Coroutine[Any, Any, Any]
    ) -> None:
        """Make a Task for `work` the worker. Whatever becomes of it, `worker_ended` hears of it
        (a task that is cancelled before its first step runs no `finally`)."""
        self.worker = self.kernel.loop.create_task(work, context=self.own_context())
        self.worker.add_done_callback(partial(exits.worker_ended, self, handler))

    async def _work(self, item: Item, handler: Coroutine[Any, Any, Any]) -> None:
        """The worker: await the handler, then go on with the mailbox while there is any."""
        pending: Coroutine[Any, Any, Any] | None = handler
        since_pause = 0
        while True:
            if pending is not None and not await self._await_handler(item, pending):
                return
            if self.status != RUNNING:
                return
            since_pause += 1
            if since_pause > WORKER_SLICE:
                since_pause = 0
                await asyncio.sleep(0)
            following = self._take()
            if following is None:
                self.worker = None
                self.status = IDLE
                return
            item = following
            pending = self._begin(item)

    async def _await_handler(self, item: Item, handler: Coroutine[Any, Any, Any]) -> bool:
        """Await one handler. False when the process is on its way out."""
        caller = self.caller
        if caller is not None:
            task_caller.set(caller)  # for the tasks that the handler starts
        try:
            result = await handler
        except GeneratorExit:  # the loop is gone and with it everything
            raise
        except BaseException as error:
            exits.crashed(self, error)
            return False
        if caller is not None:
            task_caller.set(None)
        self._finish(item, result)
        return self.status == RUNNING

    # ------------------------------------------------------------------ results

    def _finish(self, item: Item, result: Any) -> None:
        """Carry out what a handler returned."""
        if self.doomed is not None:  # cancelled, or killed from inside its own handler
            exits.doom_fulfilled(self)
        elif self.status == RUNNING:
            try:
                self._obey(item, result)
            except Exception as error:  # an awaitable as the reply of a `Stop`, a bad timeout
                exits.crashed(self, error)
            self.caller = None

    def _obey(self, item: Item, result: Any) -> None:
        kind = item[0]
        if type(result) is Stop:
            self._stop_as_told(item, result)
        elif kind == CALL:
            self._finish_call(item, result)
        elif result is None:
            pass
        elif type(result) is NoReply:
            self._follow(result)
        elif is_no_state(result):
            exits.crashed(self, BadReturnValueError(CALLBACK_NAMES[kind], result))
        else:
            self.state = result

    def _finish_call(self, item: Item, result: Any) -> None:
        caller = item[2] if item[2] is not None else self.caller
        assert caller is not None
        if type(result) is tuple and len(result) == 2:
            reply, state = result
            follow: _Next | None = None
        elif type(result) is Reply:
            reply, state, follow = result.value, result.state, result
        elif type(result) is NoReply:
            self._follow(result)
            return
        else:
            exits.crashed(self, BadReturnValueError("handle_call", result))
            return
        if is_awaitable(reply):
            exits.crashed(self, BadReturnValueError("handle_call", reply))
            return
        if state is not UNCHANGED:
            self.state = state
        caller.reply(reply)
        if follow is not None:
            self._follow(follow)

    def _stop_as_told(self, item: Item, stop: Stop) -> None:
        if stop.state is not UNCHANGED:
            self.state = stop.state
        caller = self.caller
        if item[0] == CALL and caller is not None and stop.reply is not UNCHANGED:
            caller.reply(stop.reply)
        report_stop(self, stop.reason)
        exits.begin(self, stop.reason)

    def _follow(self, result: _Next) -> None:
        if result.state is not UNCHANGED:
            self.state = result.state
        self.follow_up(result)

    def follow_up(self, result: _Next) -> None:
        """Arrange the continuation and the idle timeout that a return value asks for."""
        if result.continue_with is not NO_TOKEN:
            self.deliver_first((CONTINUE, result.continue_with, None))
        elif result.timeout is not None:
            if result.timeout <= 0:
                self.deliver_first((INFO, TIMEOUT, None))
            else:
                self.idle_deadline = self.kernel.alarm.after(result.timeout, self._idle_expired)

    def _idle_expired(self) -> None:
        if self.idle_deadline is not None and self.idle_deadline.callback is None:
            self.idle_deadline = None
            if not self.mailbox and self.status == IDLE:
                self.deliver_info(TIMEOUT)

    def _cancel_idle(self) -> None:
        assert self.idle_deadline is not None
        self.idle_deadline.cancel()
        self.idle_deadline = None

    # ------------------------------------------------------------------ tables

    def _owe(self, caller: Caller) -> None:
        caller.process = self
        if self.open_calls is None:
            self.open_calls = set()
        self.open_calls.add(caller)

    def forget_caller(self, caller: Caller) -> None:
        """The call is answered, or given up."""
        if self.open_calls is not None:
            self.open_calls.discard(caller)

    def drop_monitor(self, monitor: Monitor) -> None:
        """This process no longer watches through `monitor`."""
        if self.monitoring is not None:
            self.monitoring.discard(monitor)

    def is_alive(self) -> bool:
        """Whether it still answers: not dead and not killed."""
        return self.status < CLOSED
