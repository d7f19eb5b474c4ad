"""Going on after the supervisor's own node was lost (distributed rules 8 and 9).

1. A child that runs is adopted as it is: same ref, same state.
2. One that was being removed is removed; one that `start_child` had not brought up yet is dropped,
   since its caller was never told that it is there.
3. Children that are missing are restarted by the strategy, in one pass and counted once, whether
   they were lost with a node or ended while nobody looked. Temporary ones have ended.
4. What waited (for a retry or a node) goes on, uncounted.
"""

from __future__ import annotations

from noex.runtime.reasons import NOCONNECTION, NOPROC
from noex.supervisor.events import ChildAdopted, NodeFailureDetected, SupervisorTakenOver
from noex.supervisor.strategy_child import After, Child, Phase
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_events import Running, TookOver
from noex.supervisor.strategy_record import ChildRecord, SupervisorRecord
from noex.supervisor.strategy_single import RestartStrategy, admit_loss


class Takeover:
    """One supervisor's new beginning, from its record and from what its hosts report."""

    def __init__(self, core: Core, strategy: RestartStrategy, record: SupervisorRecord) -> None:
        self._core = core
        self._strategy = strategy
        self._entries = {entry.spec.id: entry for entry in record.children}

    def took_over(self, event: TookOver) -> None:
        core = self._core
        core.emit(
            SupervisorTakenOver(core.supervisor_id, event.from_node, event.to_node, core.term)
        )
        running = {found.child_id: found for found in event.running}
        for child in list(core.children.values()):
            if child.id in running:
                self._adopt(child, running[child.id])
        missing = [child for child in core.children.values() if child.phase is Phase.WAITING]
        self._tell_losses(missing, event)
        self._bring_back(self._drop_unwanted(missing))

    def _adopt(self, child: Child, found: Running) -> None:
        core = self._core
        core.adopt(child, found)
        core.emit(ChildAdopted(core.supervisor_id, child.id, found.node_id))
        if self._entries[child.id].wanted == "remove":
            core.stop(child, After.REMOVE)

    def _tell_losses(self, missing: list[Child], event: TookOver) -> None:
        """`NodeFailureDetected`, once per lost node with all its children."""
        for node_id, incarnation in event.lost:
            ids = []
            for child in missing:
                entry = self._entries[child.id]
                on_it = entry.had_process and entry.node_id == node_id
                if on_it and entry.incarnation <= incarnation and entry.wanted != "remove":
                    ids.append(child.id)
                    child.from_node, child.node_failed = node_id, True
                    child.exclude[node_id] = None
            if ids:
                self._core.emit(NodeFailureDetected(self._core.supervisor_id, node_id, tuple(ids)))

    def _drop_unwanted(self, missing: list[Child]) -> list[Child]:
        """The children that are to be started again."""
        core = self._core
        back = []
        for child in missing:
            entry = self._entries[child.id]
            never_told = entry.wanted == "run" and entry.is_new and not entry.announced
            if entry.wanted == "remove" or never_told:
                core.remove(child, NOCONNECTION)
            elif entry.had_process and child.spec.restart == "temporary":
                core.ended_by_itself(child, NOCONNECTION if child.node_failed else NOPROC)
            elif entry.wanted == "run":
                back.append(child)
        return back

    def _bring_back(self, back: list[Child]) -> None:
        core = self._core
        fresh = [child for child in back if self._was_running(self._entries[child.id])]
        if core.ending is None and back and admit_loss(core, len(fresh)):
            for child in back:
                child.why = "failover" if child.node_failed else "restart"
            self._strategy.go_on(back)

    @staticmethod
    def _was_running(entry: ChildRecord) -> bool:
        return entry.had_process and entry.ref is not None
