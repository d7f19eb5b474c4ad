"""What became of a child: it came up, did not come up, ended, or was lost with its node."""

from __future__ import annotations

from typing import Any

from noex.runtime.errors import BehaviorNotFoundError
from noex.runtime.reasons import KILLED, NOCONNECTION, NOPROC, SHUTDOWN, is_orderly, says
from noex.supervisor import defaults
from noex.supervisor.errors import NoAvailableNodeError
from noex.supervisor.events import NodeFailureDetected
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_child import After, Child, Phase, Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_events import (
    ChildExited,
    ChildGone,
    NodeLost,
    StartFailed,
    StartIgnored,
    StartSucceeded,
)
from noex.supervisor.strategy_single import RestartStrategy

IGNORED = "ignored"
LIVES_REMEMBERED = 1024
"""Of so many node ids it is known which lives are over: late reports from there are few."""


def is_restarted(spec: ChildSpec, reason: Any) -> bool:
    """Whether a child that ended with `reason` is started again (rule 1)."""
    if spec.restart == "permanent":
        return True
    return spec.restart == "transient" and not is_orderly(reason)


class Outcomes:
    """Facts about children, turned into steps and into calls of the restart strategy."""

    def __init__(self, core: Core, strategy: RestartStrategy) -> None:
        self._core = core
        self._strategy = strategy
        self._lost_lives: dict[str, int] = {}  # node id -> its highest incarnation known to be gone

    # Starts.

    def succeeded(self, event: StartSucceeded) -> None:
        child = self._present(event.child_id, event.generation)
        if child is None:
            self._succeeded_beside(event)
        elif child.phase is Phase.STOPPING and child.ref is None:
            child.ref, child.node_id = event.ref, event.node_id  # now it is known what to stop
            self._core.order_stop(child)
        elif child.phase in (Phase.STARTING, Phase.UNCONFIRMED):
            self._up(child, event)

    def _up(self, child: Child, event: StartSucceeded) -> None:
        if self._is_lost(event):
            error = NoAvailableNodeError(child.id, child.spec.node_selector, "its node went down")
            self._not_up(child, error, "node_lost", event.node_id)
        elif child.after is not None:
            child.ref, child.node_id = event.ref, event.node_id
            child.incarnation = event.incarnation
            self._core.order_stop(child)
        else:
            early = child.early_exit
            child.early_exit = None
            self._core.running(child, event)
            if early is not None:
                self._ended(child, early[0])

    def _is_lost(self, event: StartSucceeded) -> bool:
        """Whether the node has gone down meanwhile, and the process with it."""
        return event.incarnation <= self._lost_lives.get(event.node_id, -1)

    def _succeeded_beside(self, event: StartSucceeded) -> None:
        """A successor is up, or an attempt that was given up: that must not leave a second copy."""
        if self._is_lost(event):
            self._ended_beside(event.child_id, event.generation)
            return
        child = self._core.children.get(event.child_id)
        if child is not None and child.successor == event.generation:
            self._core.succeed(child, event)
            return
        shutdown = child.spec.shutdown if child else defaults.SHUTDOWN_TIMEOUT
        key = (event.child_id, event.generation)
        life = (event.node_id, event.incarnation)
        self._core.strays.stop(key, event.ref, life, shutdown, SHUTDOWN)

    def _ended_beside(self, child_id: str, generation: int) -> None:
        """A successor did not come up: the process that runs stays. Or a stray is gone."""
        child = self._core.children.get(child_id)
        if child is not None and child.successor == generation:
            child.successor = 0
        self._core.strays.gone(child_id, generation)

    def failed(self, event: StartFailed) -> None:
        child = self._present(event.child_id, event.generation)
        if child is None and event.kind != "unknown":
            self._ended_beside(event.child_id, event.generation)
        if child is None or child.phase in (Phase.WAITING, Phase.RUNNING):
            return
        child.last_exit = event.error
        if event.kind == "unknown":
            if child.phase is Phase.STARTING:
                self._unconfirmed(child, event)
        elif child.phase is not Phase.STOPPING or child.ref is None:
            self._not_up(child, event.error, event.kind, event.node_id)

    def _unconfirmed(self, child: Child, event: StartFailed) -> None:
        """Silence: a copy may run there, so the child keeps its id and no other is started."""
        core = self._core
        child.phase, child.node_id, child.incarnation = (
            Phase.UNCONFIRMED,
            event.node_id,
            event.incarnation,
        )
        error = core.start_error(child, event.error, "unknown")
        if child.why == "initial":
            core.end((SHUTDOWN, error), SHUTDOWN, error)
            return
        if child.after is not None:
            core.order_stop(child)
            return
        child.tentative = child.tentative or child.starter is not None
        child.fallback = None
        core.fail_requests(child, error)
        core.tell_pending(child, f"unconfirmed: {event.node_id} has not answered")

    def _not_up(self, child: Child, error: BaseException, kind: str, node_id: str | None) -> None:
        """It is certain that nothing runs."""
        core = self._core
        if child.after is not None:
            core.gone(child, SHUTDOWN)
            return
        core.lose_process(child, Wait.TURN)
        first_time = node_id is not None and node_id not in child.exclude
        if node_id is not None:
            child.exclude[node_id] = None
        if kind == "node_lost" and first_time and not child.tentative:
            core.await_turn(child)
        elif kind == "init":
            self._attempt_failed(child, error, node_id)
        else:
            self._no_node(child, error)

    def _attempt_failed(self, child: Child, error: BaseException, node_id: str | None) -> None:
        core = self._core
        start_error = core.start_error(child, error)
        if child.why == "initial":
            core.end((SHUTDOWN, start_error), SHUTDOWN, start_error)
        elif child.starter is not None or child.tentative:
            core.fail_requests(child, start_error)
            core.remove(child, error)
        else:
            core.fail_requests(child, start_error)
            fallback, child.fallback = child.fallback, None
            if fallback is Wait.HOLD and not child.grouped:
                core.pend(child, Wait.HOLD, f"restart_child failed: {error!r}")
            else:
                core.report("start_failed", child, error, node_id)
                self._strategy.start_failed(child, counted=fallback is None)

    def _no_node(self, child: Child, error: BaseException) -> None:
        core = self._core
        if not isinstance(error, NoAvailableNodeError | BehaviorNotFoundError):
            selector = child.spec.node_selector or core.options.node_selector
            why = NoAvailableNodeError(child.id, selector, str(error))
            why.__cause__ = error
            error = why
        child.exclude.clear()
        if child.why == "initial":
            core.end((SHUTDOWN, error), SHUTDOWN, error)
        elif child.starter is not None or child.tentative:
            core.fail_requests(child, error)
            core.remove(child, error)
        else:
            core.fail_requests(child, error)
            child.fallback = None
            core.pend(child, Wait.NODE, str(error))

    def ignored(self, event: StartIgnored) -> None:
        """`init` said Ignore. A temporary or template child is not kept (cases 4, 5, 74)."""
        core = self._core
        child = self._present(event.child_id, event.generation)
        if child is None:
            self._ended_beside(event.child_id, event.generation)
        if child is None or child.phase in (Phase.WAITING, Phase.RUNNING):
            return
        if child.after is not None:
            core.gone(child, SHUTDOWN)
            return
        core.lose_process(child, Wait.IGNORED)
        child.fallback = child.reason = child.from_node = None
        child.node_failed = child.tentative = False
        for request_id in [child.starter, *child.waiters]:
            if request_id is not None:
                core.answer(request_id)
        child.starter = None
        child.waiters.clear()
        if child.spec.restart == "temporary" or core.options.is_simple:
            core.remove(child, IGNORED)

    # Ends.

    def ended(self, event: ChildExited | ChildGone) -> None:
        core = self._core
        child = self._present(event.child_id, event.generation)
        if child is None:
            self._ended_beside(event.child_id, event.generation)
            return
        if child.phase is Phase.STARTING and isinstance(event, ChildExited):
            child.early_exit = (event.reason,)
        elif child.phase is Phase.STOPPING:
            child.last_exit = event.reason
            self._report_stop(child, event.reason)
            core.gone(child, event.reason)
        elif child.phase is Phase.UNCONFIRMED:
            error = NoAvailableNodeError(
                child.id, child.spec.node_selector, f"{child.node_id} started nothing"
            )
            self._not_up(child, error, "node_lost", child.node_id)
        elif child.phase is Phase.RUNNING:
            self._ended(child, event.reason)

    def _ended(self, child: Child, reason: Any) -> None:
        core = self._core
        child.last_exit = reason
        if core.ending is not None:
            core.remove(child, reason)
            return
        again = is_restarted(child.spec, reason)
        if again or not is_orderly(reason):
            core.report("failed", child, reason, child.node_id)
        if again:
            core.lose_process(child, Wait.TURN)
            self._strategy.failed(child)
        else:
            core.ended_by_itself(child, reason)

    def _report_stop(self, child: Child, reason: Any) -> None:
        """It was told to stop: it was killed for taking too long, say, or crashed meanwhile."""
        killed_at_once = child.spec.shutdown == "brutal_kill" and says(reason, KILLED)
        lost = says(reason, NOCONNECTION) or says(reason, NOPROC)
        if not (is_orderly(reason) or killed_at_once or lost):
            self._core.report("shutdown_error", child, reason, child.node_id)

    # Nodes.

    def node_lost(self, event: NodeLost) -> None:
        """One event for all children of a node, however many (rule 2)."""
        if event.incarnation is not None:
            known = self._lost_lives.pop(event.node_id, -1)
            self._lost_lives[event.node_id] = max(known, event.incarnation)
            if len(self._lost_lives) > LIVES_REMEMBERED:
                del self._lost_lives[next(iter(self._lost_lives))]
        self._core.strays.node_lost(event.node_id, event.incarnation)
        hit = [child for child in self._core.children.values() if _was_on(child, event)]
        meant_to_live = [child for child in hit if child.after is not After.REMOVE]
        if meant_to_live and self._core.ending is None:
            ids = tuple(child.id for child in meant_to_live)
            self._core.emit(NodeFailureDetected(self._core.supervisor_id, event.node_id, ids))
        self._strategy_after_loss(hit, event.node_id, event.counted)

    def _strategy_after_loss(self, hit: list[Child], node_id: str, counted: bool) -> None:
        core = self._core
        fresh: list[Child] = []
        for child in hit:
            child.last_exit = NOCONNECTION
            if child.after is After.REMOVE or core.ending is not None:
                core.remove(child, NOCONNECTION)
            elif child.after is After.RESTART:  # it was on its way to be started again
                self._leave_node(child, node_id)
                core.await_turn(child)
            elif child.spec.restart == "temporary":
                core.ended_by_itself(child, NOCONNECTION)
            else:
                self._leave_node(child, node_id)
                fresh.append(child)
        if fresh and core.ending is None:
            self._strategy.lost(fresh, counted)

    def _leave_node(self, child: Child, node_id: str) -> None:
        self._core.lose_process(child, Wait.TURN)
        child.from_node, child.node_failed = node_id, True
        child.fallback, child.tentative = None, False
        child.exclude[node_id] = None

    def _present(self, child_id: str, generation: int) -> Child | None:
        """The child, if this report is about its latest attempt."""
        child = self._core.children.get(child_id)
        return child if child is not None and child.generation == generation else None


def _was_on(child: Child, event: NodeLost) -> bool:
    if child.node_id != event.node_id:
        return False
    return event.incarnation is None or child.incarnation <= event.incarnation
