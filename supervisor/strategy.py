"""The strategy machine: one supervisor's decisions, pure.

It is told what happened (`strategy_events`) and says what to do (`strategy_actions`); the shell
starts and stops processes, keeps time and answers callers. The same machine serves the local
Supervisor and the DistributedSupervisor.

Life of a supervisor::

    begin -> initial start, one by one -> running -> ending, in reverse order -> finished
                        \\_________ failure, stop __________/

After each event the machine does whatever can be done, so a state in which nothing is under way
and something is left to do cannot be reached; `validate` checks that and the other invariants.
A start that is under way is always waited for. So there are never two live generations of a child.
"""

from __future__ import annotations

from typing import Any

from noex.supervisor.info import ChildInfo, SupervisorStats
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.strategy_actions import Action
from noex.supervisor.strategy_checks import (
    check_children,
    check_ending,
    check_progress,
    check_requests,
)
from noex.supervisor.strategy_child import Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_events import (
    Begin,
    ChildExited,
    ChildGone,
    Event,
    NodeDraining,
    NodeLost,
    PlacementChanged,
    RestartChildRequested,
    RetryDue,
    StartChildRequested,
    StartFailed,
    StartIgnored,
    StartSucceeded,
    StopRequested,
    TerminateChildRequested,
    TookOver,
)
from noex.supervisor.strategy_explain import explain
from noex.supervisor.strategy_group import Grouped
from noex.supervisor.strategy_outcomes import Outcomes
from noex.supervisor.strategy_phases import Closing, Drains, Startup
from noex.supervisor.strategy_record import SupervisorRecord, restore, take_record
from noex.supervisor.strategy_requests import Requests
from noex.supervisor.strategy_single import RestartStrategy, Single
from noex.supervisor.strategy_takeover import Takeover

STARTING = "it is still starting its initial children"
STOPPING = "it is stopping"


class StrategyMachine:
    """The decisions of the supervisor `supervisor_id` with `options`, checked by `check` before."""

    def __init__(self, supervisor_id: str, options: SupervisorOptions, term: int = 0) -> None:
        self._core = Core(supervisor_id, options, term)
        self._strategy: RestartStrategy = (
            Grouped(self._core)
            if options.strategy in ("one_for_all", "rest_for_one")
            else Single(self._core)
        )
        self._outcomes = Outcomes(self._core, self._strategy)
        self._requests = Requests(self._core, self._strategy)
        self._startup = Startup(self._core)
        self._drains = Drains(self._core)
        self._closing = Closing(self._core, self._startup)
        self._begun = False
        self._takeover: Takeover | None = None
        self._deferred: list[Event] = []  # ends of children during the initial start

    @classmethod
    def resumed(cls, record: SupervisorRecord, term: int, now: float) -> StrategyMachine:
        """A machine that goes on from `record` under a higher `term`. First tell it `TookOver`."""
        machine = cls(record.supervisor_id, record.options, term)
        restore(machine._core, record, now)
        machine._takeover = Takeover(machine._core, machine._strategy, record)
        return machine

    def record(self, now: float) -> SupervisorRecord:
        """What has to survive the node of this supervisor."""
        return take_record(self._core, now)

    @property
    def term(self) -> int:
        """The first half of all fence tokens of this supervisor's children."""
        return self._core.term

    @property
    def options(self) -> SupervisorOptions:
        """What it was started with."""
        return self._core.options

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in `event` at monotonic time `now`; what to do, in order."""
        self._core.now = now
        self._dispatch(event)
        self._advance()
        actions, self._core.out = self._core.out, []
        return actions

    @property
    def is_finished(self) -> bool:
        """Whether `Finish` was said."""
        return self._closing.is_finished

    # Queries.

    def children(self) -> list[ChildInfo]:
        """All children, in start order."""
        return [child.info() for child in self._core.children.values()]

    def child(self, child_id: str) -> ChildInfo | None:
        """One child, or None."""
        child = self._core.children.get(child_id)
        return child.info() if child else None

    def count(self) -> int:
        """How many children there are, in any status."""
        return len(self._core.children)

    def which(self, ref: Any) -> str | None:
        """The id of the child whose process is `ref`."""
        return self._core.by_ref.get(ref)

    def explain(self, child_id: str) -> str:
        """Why this child is where it is, or why it is pending: one sentence."""
        return explain(self._core, child_id)

    def stats(self, wall: float) -> SupervisorStats:
        """The supervisor in numbers, at unix time `wall`."""
        core = self._core
        by_node: dict[str, int] = {}
        for child in core.children.values():
            if child.ref is not None and child.node_id is not None:
                by_node[child.node_id] = by_node.get(child.node_id, 0) + 1
        return SupervisorStats(
            id=core.supervisor_id,
            strategy=core.options.strategy,
            child_count=len(core.children),
            children_by_node=by_node,
            total_restarts=core.total_restarts,
            node_failure_restarts=core.node_failure_restarts,
            started_at=core.started_at,
            uptime=max(0.0, wall - core.started_at),
            pending=sum(child.status == "pending" for child in core.children.values()),
            term=core.term,
        )

    def validate(self) -> None:
        """Raise AssertionError if an invariant is broken. Tests call it after each event."""
        check_children(self._core)
        check_requests(self._core, self._requests.waiting_ids)
        if self._core.ending is not None:
            check_ending(self._core, self.is_finished)
        elif self._startup.is_done:
            check_progress(self._core, self._strategy)

    # Events.

    def _dispatch(self, event: Event) -> None:
        if self._is_deferred(event):
            self._deferred.append(event)
            return
        match event:
            case StartSucceeded():
                self._outcomes.succeeded(event)
            case StartFailed():
                self._outcomes.failed(event)
            case StartIgnored():
                self._outcomes.ignored(event)
            case ChildExited() | ChildGone():
                self._outcomes.ended(event)
            case NodeLost():
                self._drains.node_lost(event.node_id)
                self._outcomes.node_lost(event)
            case NodeDraining():
                self._drains.draining(event)
            case RetryDue():
                self._retry_due(event)
            case PlacementChanged():
                self._placement_changed()
            case StartChildRequested() | RestartChildRequested() | TerminateChildRequested():
                self._request(event)
            case StopRequested():
                self._requests.stop_requested(event)
            case Begin():
                self._begin(event)
            case TookOver():
                self._take_over(event)

    def _is_deferred(self, event: Event) -> bool:
        """As in OTP: what ends during the initial start is looked at when that is over."""
        if self._startup.is_done or self._core.ending is not None:
            return False
        return isinstance(event, ChildExited | NodeLost | NodeDraining)

    def _begin(self, event: Begin) -> None:
        self._begun = True
        self._core.ref, self._core.started_at = event.ref, event.wall

    def _take_over(self, event: TookOver) -> None:
        self._begun = True
        self._core.ref = event.ref
        self._startup.skip()
        if self._takeover is not None:
            self._takeover.took_over(event)
            self._takeover = None

    def _request(
        self, event: StartChildRequested | RestartChildRequested | TerminateChildRequested
    ) -> None:
        ending = self._core.ending is not None
        if isinstance(event, TerminateChildRequested):
            if ending and event.child_id not in self._core.children:
                self._requests.refuse(event, STOPPING)
            elif self._startup.is_done or ending:
                self._requests.terminate(event)
            else:
                self._requests.refuse(event, STARTING)
        elif ending:
            self._requests.refuse(event, STOPPING)
        elif not self._startup.is_done:
            self._requests.refuse(event, STARTING)
        else:
            self._requests.asked(event)

    def _retry_due(self, event: RetryDue) -> None:
        child = self._core.children.get(event.child_id)
        if child is None or child.generation != event.generation or child.has_process:
            return
        self._strategy.retry_due(child)

    def _placement_changed(self) -> None:
        self._drains.placement_changed()
        for child in self._core.children.values():
            if child.wait is Wait.NODE:
                self._core.await_turn(child)

    # Progress.

    def _advance(self) -> None:
        if not self._begun:
            return
        if self._core.ending is None and not self._startup.is_done:
            self._startup.advance()
        if self._deferred and (self._startup.is_done or self._core.ending is not None):
            self._replay()
        if self._core.ending is None and self._startup.is_done:
            self._serve()
        if self._core.ending is not None:
            self._requests.refuse_queued(STOPPING)
            self._closing.advance()

    def _replay(self) -> None:
        deferred, self._deferred = self._deferred, []
        for event in deferred:
            self._dispatch(event)

    def _serve(self) -> None:
        self._strategy.advance()
        while self._requests.serve():
            self._strategy.advance()
        if not self._strategy.is_busy:
            self._drains.advance()
