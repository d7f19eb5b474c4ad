"""The state of one supervisor, and the steps that every rule is made of.

A step changes a child and notes the action that the shell has to carry out. Which step is taken
when is decided by the modules beside this one:

- `strategy_single`, `strategy_group`: the restart strategies;
- `strategy_phases`: the initial start, the end, and drains;
- `strategy_requests`: what users ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noex.supervisor.errors import ChildStartError, StartOutcome
from noex.supervisor.events import (
    ChildMigrated,
    ChildPending,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    SupervisorEvent,
)
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_actions import (
    Action,
    Answer,
    CancelStart,
    Emit,
    Report,
    ScheduleRetry,
    StartChild,
    StopChild,
    Trouble,
    Why,
)
from noex.supervisor.strategy_child import After, Child, Phase, Wait
from noex.supervisor.strategy_events import Running, StartSucceeded
from noex.supervisor.strategy_strays import Strays
from noex.supervisor.window import RestartWindow

SHUTDOWN = "shutdown"
GAVE_UP = "max_restarts_exceeded"
PENDING_RECHECK = 1.0
"""Seconds after which a pending child is tried again, even if nobody reports a better node."""


@dataclass(slots=True)
class Ending:
    """Why the supervisor ends: its exit reason, the reason in the event, what `start` raises."""

    exit_reason: Any
    event_reason: Any
    error: BaseException | None = None


class Core:
    """Children, counters and the list of actions of one supervisor."""

    def __init__(self, supervisor_id: str, options: SupervisorOptions, term: int = 0) -> None:
        self.supervisor_id = supervisor_id
        self.options = options
        self.errors = options.errors
        self.term = term
        self.ref: Any = None  # what SupervisorStarted and SupervisorStopped carry
        self.started_at = 0.0
        self.now = 0.0
        self.children: dict[str, Child] = {}  # in start order
        self.by_ref: dict[Any, str] = {}
        self.ready: dict[str, Child] = {}  # outside of a group restart, to be started now
        self.window = RestartWindow(options.restart_intensity)
        self.ending: Ending | None = None
        self.total_restarts = 0
        self.node_failure_restarts = 0
        self.last_generation = 0
        self.last_order = 0
        self.last_dynamic = 0
        self.open_requests: set[int] = set()
        self.out: list[Action] = []
        self.strays = Strays(self.act, self.answer)

    # What leaves the machine.

    def act(self, action: Action) -> None:
        self.out.append(action)

    def emit(self, event: SupervisorEvent) -> None:
        self.out.append(Emit(event))

    def report(self, what: Trouble, child: Child, reason: Any, node_id: str | None) -> None:
        """Have the log tell what a child did."""
        spec, count = child.spec, child.restart_count
        self.out.append(Report(what, child.id, node_id, reason, spec.restart, count))

    def answer(
        self, request_id: int, value: Any = None, error: BaseException | None = None
    ) -> None:
        """Answer a request. Each is answered exactly once: a second answer is a bug of ours."""
        self.open_requests.remove(request_id)
        self.out.append(Answer(request_id, value, error))

    def start_error(
        self, child: Child, cause: BaseException, outcome: StartOutcome = "failed"
    ) -> ChildStartError:
        error = ChildStartError(self.supervisor_id, child.id, outcome)
        error.__cause__ = cause
        return error

    # A child comes up.

    def add(self, spec: ChildSpec, why: Why, starter: int | None = None) -> Child:
        """A new child, at the end of the start order."""
        self.last_order += 1
        child = Child(spec, self.last_order, why, starter)
        self.children[spec.id] = child
        return child

    def await_turn(self, child: Child, why: Why | None = None) -> None:
        """A child without a process is to be started: at once, or by the group it is in."""
        child.wait = Wait.TURN
        child.why = why or child.why
        if not child.grouped:
            self.ready[child.id] = child

    def start(self, child: Child) -> None:
        """Begin an attempt, unless something of this child is not gone yet: then its turn stays."""
        if self.strays.has(child.id):
            return
        self.ready.pop(child.id, None)
        child.generation = self._order_start(child)
        child.phase, child.wait = Phase.STARTING, None

    def start_successor(self, child: Child) -> None:
        """Begin an attempt beside the process that runs; it takes over when it is up."""
        child.successor = self._order_start(child)

    def _order_start(self, child: Child) -> int:
        self.last_generation += 1
        exclude = tuple(child.exclude)
        self.act(StartChild(child.id, self.last_generation, child.spec, exclude, child.why))
        return self.last_generation

    def running(self, child: Child, event: StartSucceeded) -> None:
        """An attempt has succeeded, and the process is wanted."""
        child.phase, child.wait = Phase.RUNNING, None
        child.ref, child.node_id, child.incarnation = event.ref, event.node_id, event.incarnation
        child.started_at = event.wall
        self.by_ref[event.ref] = child.id
        self._tell_running(child)
        child.is_new = child.tentative = child.node_failed = False
        child.announced = True
        child.from_node = child.reason = child.fallback = None
        child.exclude.clear()
        self._answer_running(child)

    def _tell_running(self, child: Child) -> None:
        node_id = child.node_id or ""
        if not child.is_new:
            child.restart_count += 1
            self.total_restarts += 1
        if child.node_failed:
            self.node_failure_restarts += 1
        if child.from_node is not None:
            self.emit(ChildMigrated(self.supervisor_id, child.id, child.from_node, node_id))
        elif child.is_new:
            self.emit(ChildStarted(self.supervisor_id, child.id, node_id))
        else:
            self.emit(ChildRestarted(self.supervisor_id, child.id, node_id, child.restart_count))

    def _answer_running(self, child: Child) -> None:
        if child.starter is not None:
            self.answer(child.starter, child.ref)
            child.starter = None
        for request_id in child.waiters:
            self.answer(request_id, child.ref)
        child.waiters.clear()

    def adopt(self, child: Child, found: Running) -> None:
        """A process that runs already is the child's."""
        self.last_generation = max(self.last_generation, found.generation)
        child.generation = found.generation
        child.phase, child.wait = Phase.RUNNING, None
        child.ref, child.node_id, child.incarnation = found.ref, found.node_id, found.incarnation
        child.is_new, child.announced, child.reason = False, True, None
        child.from_node, child.node_failed = None, False
        self.by_ref[found.ref] = child.id

    def succeed(self, child: Child, event: StartSucceeded) -> None:
        """The successor is up: the old process is told to stop now."""
        key, ref = (child.id, child.generation), child.ref
        life = (child.node_id, child.incarnation)
        self.by_ref.pop(ref, None)
        child.generation, child.successor = event.generation, 0
        self.running(child, event)
        self.strays.stop(key, ref, life, child.spec.shutdown, SHUTDOWN)

    # A child goes down.

    def stop(self, child: Child, after: After) -> None:
        """Bring a child to an end, whatever it is doing. REMOVE wins over RESTART."""
        if child.phase is Phase.WAITING:
            if after is After.REMOVE:
                self.remove(child, SHUTDOWN)
            return
        self.give_up_successor(child)
        told = child.after is not None
        if child.after is not After.REMOVE:
            child.after = after
        if child.phase is Phase.STARTING and not told:
            self.act(CancelStart(child.id, child.generation))
        elif child.phase in (Phase.RUNNING, Phase.UNCONFIRMED):
            self.order_stop(child)

    def order_stop(self, child: Child) -> None:
        """Tell a process that runs, or may run, to end."""
        child.phase = Phase.STOPPING
        self.act(
            StopChild(
                child.id,
                child.generation,
                child.ref,
                child.node_id,
                child.spec.shutdown,
                SHUTDOWN,
            )
        )

    def give_up_successor(self, child: Child) -> None:
        """Whatever else happens to a child comes before a move without a gap."""
        if child.successor:
            self.strays.cancel(child.id, child.successor)
            child.successor = 0

    def lose_process(self, child: Child, wait: Wait) -> None:
        """The process of a child is gone."""
        self.give_up_successor(child)
        if child.ref is not None and self.by_ref.get(child.ref) == child.id:
            del self.by_ref[child.ref]
        child.clear_process(wait)

    def gone(self, child: Child, reason: Any) -> None:
        """The end of a child that was ordered."""
        if child.after is After.RESTART and self.ending is None:
            self.lose_process(child, Wait.TURN)
            self.await_turn(child)
        else:
            self.remove(child, reason)

    def remove(self, child: Child, reason: Any) -> None:
        """Forget a child; whoever waits for it is answered."""
        self.lose_process(child, Wait.TURN)
        del self.children[child.id]
        self.ready.pop(child.id, None)
        child.grouped = child.must_stop = False
        if child.announced:
            self.emit(ChildStopped(self.supervisor_id, child.id, reason))
        self.strays.wait(child.id, child.terminators)
        child.terminators = []
        cause = self.errors.supervisor(self.supervisor_id, f"the child was stopped: {reason!r}")
        self.fail_requests(child, self.start_error(child, cause))

    def fail_requests(self, child: Child, error: BaseException) -> None:
        """Whoever waits for this child to be up gets `error`."""
        if child.starter is not None:
            self.answer(child.starter, error=error)
            child.starter = None
        for request_id in child.waiters:
            self.answer(request_id, error=error)
        child.waiters.clear()

    # A child waits.

    def pend(self, child: Child, wait: Wait, reason: str) -> None:
        """A child without a process waits, visibly."""
        child.wait = wait
        self.tell_pending(child, reason)
        if wait is Wait.NODE:
            self.act(ScheduleRetry(child.id, child.generation, PENDING_RECHECK))

    def tell_pending(self, child: Child, reason: str) -> None:
        if child.reason != reason:
            child.reason = reason
            child.announced = True
            self.emit(ChildPending(self.supervisor_id, child.id, reason))

    def schedule_retry(self, child: Child) -> None:
        self.act(ScheduleRetry(child.id, child.generation, child.spec.backoff or 0.0))

    # The supervisor ends.

    def admit(self) -> bool:
        """Whether one more restart is allowed now; if not, the supervisor gives up."""
        if self.ending is not None:
            return False
        if self.window.admit(self.now):
            return True
        intensity = self.options.restart_intensity
        error = self.errors.max_restarts(
            self.supervisor_id, intensity.max_restarts, intensity.within
        )
        self.end((SHUTDOWN, error), GAVE_UP)
        return False

    def end(self, exit_reason: Any, event_reason: Any, error: BaseException | None = None) -> None:
        """Begin to end. The first reason stands."""
        if self.ending is None:
            self.ending = Ending(exit_reason, event_reason, error)

    def ended_by_itself(self, child: Child, reason: Any) -> None:
        """A child has ended and is not restarted: remove it, and look at `auto_shutdown`."""
        self.remove(child, reason)
        mode = self.options.auto_shutdown
        if not child.spec.significant or mode == "never":
            return
        if mode == "any_significant" or not self._significant_left():
            self.end(SHUTDOWN, SHUTDOWN)

    def _significant_left(self) -> bool:
        return any(
            child.spec.significant and child.wait is not Wait.IGNORED
            for child in self.children.values()
        )
