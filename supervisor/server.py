"""The process of a supervisor: the shell around the strategy machine. It decides nothing.

- Starts and stops run in tasks; what comes of them is put into `_reports`, and a wake-up into the
  mailbox. So the process stays responsive whatever a child does.
- During `init` (the initial start) and `terminate` (an exit signal ends the supervisor) no message
  is handled; the reports are then awaited directly.
- Children are watched by monitors, so one that has unlinked itself cannot hang anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from noex.runtime.calls import Caller
from noex.runtime.errors import UnhandledMessageError
from noex.runtime.genserver import GenServer
from noex.runtime.messages import Down, TaskResult
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply, Stop
from noex.supervisor.errors import SupervisorError
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.lifecycle import lifecycle_of
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.reports import SupervisorReports
from noex.supervisor.starter import Starter
from noex.supervisor.strategy import StrategyMachine
from noex.supervisor.strategy_actions import (
    Action,
    Answer,
    CancelStart,
    Emit,
    Finish,
    Report,
    ScheduleRetry,
    StartChild,
    Started,
    StopChild,
)
from noex.supervisor.strategy_events import (
    Begin,
    ChildExited,
    ChildGone,
    Event,
    RestartChildRequested,
    RetryDue,
    StartChildRequested,
    StartFailed,
    StartSucceeded,
    StopRequested,
    TerminateChildRequested,
)
from noex.supervisor.subscribers import SUBSCRIBE, Subscribers

Key = tuple[str, int]  # child id, generation

REQUESTS: Final[dict[str, Callable[[int, Any], Event]]] = {
    "start_child": StartChildRequested,
    "terminate_child": TerminateChildRequested,
    "restart_child": RestartChildRequested,
}


class _Wake:
    """There are reports."""


WAKE: Final = _Wake()


class SupervisorServer(GenServer[StrategyMachine]):
    """A supervisor's process. Subclasses say how children are started (`make_starter`)."""

    handle: SupervisorHandle
    machine: StrategyMachine
    starter: Starter

    def make_starter(self, options: SupervisorOptions) -> Starter:
        """How this kind of supervisor starts and stops children."""
        raise NotImplementedError

    # ------------------------------------------------------------------ start and end

    def set_up(self, supervisor_id: str, options: SupervisorOptions, term: int = 0) -> None:
        """Everything but the children. Called first in `init`."""
        options.check(supervisor_id)
        self.trap_exits = True
        self.handle = SupervisorHandle(supervisor_id, self.ref, options.distributed)
        self.machine = StrategyMachine(supervisor_id, options, term)
        self.starter = self.make_starter(options)
        self._say = SupervisorReports(self.kernel.log, supervisor_id, options)
        self._reports: deque[Event] = deque()
        self._awaited: asyncio.Event | None = None  # who waits for reports outside of a handler
        self._woken = False
        self._starts: dict[asyncio.Task[Any], StartChild] = {}
        self._monitors: dict[Any, Key] = {}
        self._callers: dict[int, Caller] = {}
        self._requests = 0
        self._finish: Finish | None = None
        self._started = False
        self._subscribers = Subscribers(self)

    async def start_children(self) -> StrategyMachine:
        """The initial start: returns when all are up, or raises when nothing is left of it."""
        self.tell(Begin(self.handle, self.kernel.clock.wall()))
        await self._reports_until(self._is_up)
        if self._finish is not None:
            raise self._finish.error or SupervisorError(
                self.handle.id, "it was stopped while it started its children"
            )
        return self.machine

    async def terminate(self, reason: Any, state: Any) -> None:
        """An exit signal, or a fault of our own, ends the supervisor: children first."""
        self.tell(StopRequested(reason))
        await self._reports_until(self._has_ended)

    def handle_stop(self, reason: Any, state: Any) -> Any:
        self.tell(StopRequested(reason))
        return self._next()

    async def _reports_until(self, is_over: Callable[[], bool]) -> None:
        """Go on with reports alone, outside of the mailbox."""
        self._awaited = asyncio.Event()
        self._take_reports()
        while not is_over():
            await self._awaited.wait()
            self._awaited.clear()
            self._take_reports()
        self._awaited = None

    def _is_up(self) -> bool:
        return self._started or self._has_ended()

    def _has_ended(self) -> bool:
        return self._finish is not None

    # ------------------------------------------------------------------ messages

    def handle_call(self, message: Any, state: StrategyMachine) -> Any:
        match message:
            case ("start_child" as kind, subject):
                self._ask(kind, subject)
                return self._next()
            case ("terminate_child" | "restart_child" as kind, str() as subject):
                self._ask(kind, subject)
                return self._next()
            case ("children",):
                return state.children(), state
            case ("child", str() as child_id):
                return state.child(child_id), state
            case ("count",):
                return state.count(), state
            case ("which", Ref() as ref):
                return state.which(ref), state
            case ("explain", str() as child_id):
                return state.explain(child_id), state
            case ("stats",):
                return state.stats(self.kernel.clock.wall()), state
            case ("describe",):
                return (self.handle.id, self.handle.distributed), state
        return self.answer_other(message)

    def answer_other(self, message: Any) -> Any:
        """A call that no supervisor knows: an error for the caller, and no harm here."""
        caller = self.caller
        if caller is not None:
            caller.fail(UnhandledMessageError(message))
        return NoReply()

    def handle_cast(self, message: Any, state: StrategyMachine) -> Any:
        """Nothing is cast to a supervisor; an unknown message does not hurt it."""

    def handle_info(self, message: Any, state: StrategyMachine) -> Any:
        match message:
            case _Wake():
                self._woken = False
                self._take_reports()
            case Down(ref=ref, reason=reason):
                self._down(ref, reason)
            case TaskResult(task=task) if task in self._starts:
                self._start_task_ended(message)
            case TaskResult(error=error) if error is not None:
                self._task_failed(error)
            case _Retry():
                self.tell(message.event)
            case (tag, subscriber) if tag == SUBSCRIBE:
                self._subscribers.add(subscriber)
            case _:
                self.hear_other(message)
        return self._next()

    def hear_other(self, message: Any) -> None:
        """A message that no supervisor knows: an exit of a stranger, say. It is ignored."""

    def _next(self) -> Any:
        """What a handler returns: go on, or end."""
        return NoReply() if self._finish is None else Stop(self._finish.reason)

    # ------------------------------------------------------------------ the machine

    def tell(self, event: Event) -> None:
        """Feed the machine, and carry out what it says."""
        for action in self.machine.handle(event, self.kernel.clock.now()):
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case StartChild():
                task = self.spawn_task(self.starter.start(action, self.report))
                self._starts[task] = action
            case CancelStart(child_id, generation):
                self.spawn_task(self.starter.cancel(child_id, generation))
            case StopChild():
                self.spawn_task(self._stop_child(action))
            case ScheduleRetry(child_id, generation, delay):
                self._schedule(delay, RetryDue(child_id, generation))
            case Answer(request_id, value, error):
                self._answer(request_id, value, error)
            case Emit(event):
                self.publish(event)
            case Report():
                self._say.failure(action)
            case Started():
                self._started = True
            case Finish():
                self._finish = action

    def publish(self, event: Any) -> None:
        """Tell the log, and the subscribers on this node and on others."""
        self._say.event(event)
        lifecycle_of(self.kernel).publish(self.ref, event)
        self._subscribers.publish(event)

    def _schedule(self, delay: float, event: RetryDue) -> None:
        if delay > 0:
            self.send_after(delay, _Retry(event))
        else:
            self._process.deliver_info(_Retry(event))

    def _ask(self, kind: str, subject: Any) -> None:
        caller = self.caller
        assert caller is not None
        self._requests += 1
        self._callers[self._requests] = caller
        self.tell(REQUESTS[kind](self._requests, subject))

    def _answer(self, request_id: int, value: Any, error: BaseException | None) -> None:
        caller = self._callers.pop(request_id)
        if error is not None:
            caller.fail(error)
        else:
            caller.reply(value)

    # ------------------------------------------------------------------ reports

    def report(self, event: Event) -> None:
        """A task says what came of a start or stop. A new process is watched from now on."""
        if isinstance(event, StartSucceeded):
            self._monitors[event.ref] = (event.child_id, event.generation)
            self.monitor(event.ref)
        self._reports.append(event)
        if self._awaited is not None:
            self._awaited.set()
        else:
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._process.deliver_info(WAKE)

    def _take_reports(self) -> None:
        while self._reports and self._finish is None:
            self.tell(self._reports.popleft())

    def _stop_child(self, action: StopChild) -> Coroutine[Any, Any, None]:
        return _stop_and_report(self, action)

    def _down(self, ref: Any, reason: Any) -> None:
        self._subscribers.discard(ref)
        key = self._monitors.pop(ref, None)
        if key is not None:
            self.starter.forget(*key)
            self.tell(ChildExited(*key, self.exit_reason(ref, reason)))

    def exit_reason(self, ref: Any, reason: Any) -> Any:
        """The reason of a child's end, as the machine should see it."""
        return reason

    def _start_task_ended(self, result: TaskResult) -> None:
        """A task that ended without a report (it failed, or was cancelled too early) reports."""
        action = self._starts.pop(result.task)
        if result.error is not None:
            failed = StartFailed(action.child_id, action.generation, result.error)
            self.tell(failed)

    def _task_failed(self, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            self.log.error("supervisor_task_failed", supervisor=self.handle.id, error=repr(error))


class _Retry:
    """A retry that is due. It comes through the mailbox, behind what is there already."""

    __slots__ = ("event",)

    def __init__(self, event: RetryDue) -> None:
        self.event = event


async def _stop_and_report(server: SupervisorServer, action: StopChild) -> None:
    try:
        server.report(await server.starter.stop(action))
    except Exception as error:
        # Nobody would ever hear of this stop again, and the supervisor would wait for ever.
        server.report(ChildGone(action.child_id, action.generation, error))
        raise
