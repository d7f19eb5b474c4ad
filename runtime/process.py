"""A process: an object with a mailbox on a run queue.

How a message goes its way:

1. `deliver` appends it to the mailbox; an idle process joins the node's run queue.
2. The scheduler gives the process a slice, in which its handlers run (`noex.runtime.execution`).
3. What a handler returned is carried out (`noex.runtime.outcome`).

One message at a time, always. What ends a process is in `noex.runtime.exits`.
"""

from __future__ import annotations

import asyncio
import contextvars
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.callbacks import Callbacks
from noex.runtime.calls import Caller, LocalCaller
from noex.runtime.current import current_process, task_caller
from noex.runtime.messages import TIMEOUT
from noex.runtime.reports import report_dead_letter
from noex.runtime.states import (
    CALLBACK_NAMES,
    CLOSED,
    CONTINUE,
    EXIT,
    IDLE,
    INFO,
    QUEUED,
    RUNNING,
    STARTING,
    SUSPENDED,
    SYSTEM,
    Item,
)

if TYPE_CHECKING:
    from noex.runtime.blocking import Job
    from noex.runtime.deadlines import Deadline
    from noex.runtime.genserver import GenServer, Timer
    from noex.runtime.kernel import Kernel
    from noex.runtime.mailboxes import Mailbox
    from noex.runtime.monitors import Monitor
    from noex.runtime.ref import Ref
    from noex.runtime.tracing import Tracing

NODE_DEFAULT: Final = -1.0
"""A `terminate_timeout` that is the node's own."""


SPARE_MAILBOXES: Final = 64  # of a node, for processes that were idle


class _CallInTurn(Caller):
    """Stands for the caller of an inline call until somebody asks for it."""

    __slots__ = ()


INLINE: Final = _CallInTurn()


class Process:
    """One process of a node. Users hold its `Ref`."""

    # What each process needs has a slot. The rest is the same for most of them, and is kept in
    # `__dict__` once it differs: a million idle processes do not pay for links they do not have.
    __slots__ = (
        "__dict__",
        "callbacks",
        "caller",
        "handled",
        "idle_deadline",
        "kept_context",
        "kernel",
        "mailbox",
        "ref",
        "server",
        "started_at",
        "state",
        "status",
        "worker",
    )

    name: str | None = None  # by which it is found on its node
    parent: Ref[Any] | None = None
    fence: Any = None
    trap_exits: bool = False
    terminate_timeout: float | None = NODE_DEFAULT  # seconds; None: no limit
    doomed: tuple[Any] | None = None  # the reason for which the handler must end
    reason: Any = None  # for which it has ended
    zombie: bool = False
    last_message: Any = None  # the one whose handler failed
    waiting_on: Process | None = None  # whom this handler is calling
    links: set[Ref[Any]] | None = None
    watchers: dict[Any, Any] | None = None  # who monitors this process
    monitoring: set[Monitor] | None = None  # whom this process monitors
    open_calls: set[Caller] | None = None  # taken from the mailbox, to be answered later
    tasks: set[asyncio.Task[Any]] | None = None
    timers: set[Timer] | None = None  # of `send_after`, still to come
    starter: Ref[Any] | None = None  # while `init` runs: the link that `start` made
    # Of a class with `blocking = True`, while a callback is in its thread:
    job: Job | None = None  # the callback
    thread: int | None = None  # that runs it
    runner: asyncio.Task[Any] | None = None  # for which it waits (`self.run`)
    tracing: Tracing | None = None
    bound: Mailbox | None = None  # how many messages may wait
    dropped = 0  # messages, because too many waited

    def __init__(
        self,
        kernel: Kernel,
        ref: Ref[Any],
        server: GenServer[Any],
        callbacks: Callbacks,
        started_at: float,
    ) -> None:
        self.kernel = kernel
        self.ref = ref
        self.server = server
        self.callbacks = callbacks
        self.state: Any = None
        self.status = STARTING
        self.mailbox: deque[Item] | None = None
        self.kept_context: contextvars.Context | None = None
        self.worker: asyncio.Task[Any] | None = None
        self.caller: Caller | None = None  # of the message being handled
        self.idle_deadline: Deadline | None = None
        self.handled = 0  # messages, since it was started
        self.started_at = started_at

    # ------------------------------------------------------------------ delivery

    def deliver(self, item: Item) -> bool:
        """Append a message. False when the process is dead or killed."""
        status = self.status
        if status >= CLOSED:
            self._lose(item)
            return False
        mailbox = self.mailbox
        if mailbox is None:
            mailbox = self.take_mailbox()
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
            mailbox = self.take_mailbox()
        if not mailbox or mailbox[0][0] != EXIT:
            mailbox.appendleft(item)
        elif item[0] != EXIT:
            mailbox.insert(1, item)
        if self.status == IDLE or self.status == SUSPENDED:  # orders to end are not held up
            self.status = QUEUED
            self.kernel.scheduler.add(self)

    def deliver_info(self, message: Any) -> bool:
        """Append a message for `handle_info`."""
        return self.deliver((INFO, message, None))

    def _lose(self, item: Item) -> None:
        self.kernel.dead_letters += 1
        report_dead_letter(self.kernel, self.ref, item[0], item[1])

    def rest(self) -> None:
        """The handler is done: wait for messages, or for the next slice if there are any."""
        mailbox = self.mailbox
        if mailbox:
            self.status = QUEUED
            self.kernel.scheduler.add(self)
            return
        self.status = IDLE
        # An empty deque is larger than the rest of a process: who needs one next gets this one.
        if type(mailbox) is deque:
            self.mailbox = None
            spare = self.kernel.spare_mailboxes
            if len(spare) < SPARE_MAILBOXES:
                spare.append(mailbox)

    def take_mailbox(self) -> deque[Item]:
        """A mailbox for a process that has none, because it was idle."""
        spare = self.kernel.spare_mailboxes
        mailbox = self.mailbox = spare.pop() if spare else deque()
        return mailbox

    # ------------------------------------------------------------------ running

    @property
    def context(self) -> contextvars.Context:
        """The context in which the callbacks run."""
        context = self.kept_context
        if context is None:
            context = self.kept_context = contextvars.Context()
            context.run(current_process.set, self)
        return context

    def spare_context(self) -> None:
        """Drop the context while it says no more than whose it is: it is quickly made again, and
        of the few objects of an idle process it would be half."""
        if self.kept_context is not None and len(self.kept_context) == 1:
            self.kept_context = None

    def handler(self, kind: int) -> Callable[[Any, Any], Any]:
        """The callback for a kind of message, as ``handler(message, state)``."""
        handlers = self.callbacks.handlers
        if handlers is None:
            return getattr(self.server, CALLBACK_NAMES[kind])  # type: ignore[no-any-return]
        return partial(handlers[kind], self.server)

    def run_as_worker(
        self,
        work: Coroutine[Any, Any, Any],
        handler: Coroutine[Any, Any, Any],
        ended: Callable[[Process, Coroutine[Any, Any, Any], asyncio.Task[Any]], None],
    ) -> None:
        """Make a Task for `work`, which awaits `handler`, the worker. Whatever becomes of it,
        `ended` hears of it (a task that is cancelled before its first step runs no `finally`)."""
        # Not by the loop's task factory: one that begins tasks at once would enter this context a
        # second time, and others know of no contexts.
        self.worker = asyncio.Task(work, loop=self.kernel.loop, context=self.context)
        self.worker.add_done_callback(partial(ended, self, handler))

    # ------------------------------------------------------------------ who is who

    def in_handler(self) -> bool:
        """Whether the code that asks is the handler in progress, not a task beside it.

        Such code is also inside of the context of this process, which cannot be entered twice
        (in a thread: of a copy of it).
        """
        if self.thread is not None:
            return get_ident() == self.thread
        if self.worker is None:  # then the handler is on the stack, and nothing beside it runs
            return self.status == RUNNING
        return asyncio.current_task(self.kernel.loop) is self.worker

    def current_caller(self) -> Caller | None:
        """The caller of the message being handled; made on demand for an inline call."""
        if not self.in_handler():
            owner, caller = task_caller.get()
            return caller if owner is self else None
        if self.caller is INLINE:
            return self.promise_reply()
        return self.caller

    def promise_reply(self) -> LocalCaller:
        """The caller of an inline call, which now waits in the ordinary way."""
        if not isinstance(self.caller, LocalCaller):
            self.caller = LocalCaller(self.kernel.loop.create_future(), self.ref)
            self.owe(self.caller)
        return self.caller

    # ------------------------------------------------------------------ idle timeout

    def await_messages(self, timeout: float) -> None:
        """Deliver `TIMEOUT` unless something arrives within `timeout` seconds."""
        if self.idle_deadline is not None:  # asked for before this continuation
            self.idle_deadline.cancel()
        self.idle_deadline = self.kernel.alarm.after(timeout, self._idle_expired)

    def _idle_expired(self) -> None:
        if self.idle_deadline is not None and self.idle_deadline.callback is None:
            self.idle_deadline = None
            if all(item[0] == SYSTEM for item in self.mailbox or ()):
                self.deliver_info(TIMEOUT)

    def cancel_idle(self, kind: int) -> bool:
        """A message has come: no `TIMEOUT`. Returns whether it is still to come, because that was
        a system message, or the continuation that was asked for together with the timeout."""
        if kind in (SYSTEM, CONTINUE):
            return True
        assert self.idle_deadline is not None
        self.idle_deadline.cancel()
        self.idle_deadline = None
        return False

    # ------------------------------------------------------------------ tables

    def owe(self, caller: Caller) -> None:
        """The answer to this call comes later, at the latest when the process ends."""
        if caller.is_answered:  # its handler was quicker: nothing would ever forget it
            return
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
