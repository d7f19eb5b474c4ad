"""What has to survive a supervisor's node: its record, and how a machine goes on from one.

The record is taken after any event and replicated by the shell. When the supervisor's node is
gone, a new machine is made from it under a higher term, and is told by `TookOver` what runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from noex.supervisor.options import SupervisorOptions
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_child import After, Child, Phase, Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.window import RestartWindow

Wanted = Literal["run", "remove", "hold", "ignored"]


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """One child. `had_process`: something ran, or was about to, when the record was taken."""

    spec: ChildSpec
    wanted: Wanted
    had_process: bool
    announced: bool
    is_new: bool
    generation: int
    restart_count: int
    ref: Any
    node_id: str | None
    incarnation: int
    started_at: float | None
    from_node: str | None
    node_failed: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class SupervisorRecord:
    """One supervisor. `restart_ages`: how many seconds ago the counted restarts were."""

    supervisor_id: str
    options: SupervisorOptions
    term: int
    started_at: float
    last_generation: int
    last_dynamic: int
    total_restarts: int
    node_failure_restarts: int
    restart_ages: tuple[float, ...]
    children: tuple[ChildRecord, ...]


def take_record(core: Core, now: float) -> SupervisorRecord:
    """The record of a supervisor as it is now."""
    return SupervisorRecord(
        supervisor_id=core.supervisor_id,
        options=core.options,
        term=core.term,
        started_at=core.started_at,
        last_generation=core.last_generation,
        last_dynamic=core.last_dynamic,
        total_restarts=core.total_restarts,
        node_failure_restarts=core.node_failure_restarts,
        restart_ages=tuple(now - time for time in core.window.times),
        children=tuple(_record(child) for child in core.children.values()),
    )


def _record(child: Child) -> ChildRecord:
    return ChildRecord(
        spec=child.spec,
        wanted=_wanted(child),
        had_process=child.has_process,
        announced=child.announced,
        is_new=child.is_new,
        generation=child.generation,
        restart_count=child.restart_count,
        ref=child.ref,
        node_id=child.node_id,
        incarnation=child.incarnation,
        started_at=child.started_at,
        from_node=child.from_node,
        node_failed=child.node_failed,
        reason=child.reason,
    )


def _wanted(child: Child) -> Wanted:
    if child.after is After.REMOVE:
        return "remove"
    if child.wait is Wait.HOLD:
        return "hold"
    return "ignored" if child.wait is Wait.IGNORED else "run"


def restore(core: Core, record: SupervisorRecord, now: float) -> None:
    """Fill a fresh core. No child has a process yet: `Takeover` finds out what runs."""
    core.started_at = record.started_at
    core.last_generation = record.last_generation
    core.last_dynamic = record.last_dynamic
    core.total_restarts = record.total_restarts
    core.node_failure_restarts = record.node_failure_restarts
    times = tuple(now - age for age in record.restart_ages)
    core.window = RestartWindow(record.options.restart_intensity, times)
    for entry in record.children:
        _restore_child(core.add(entry.spec, "restart"), entry)


def _restore_child(child: Child, entry: ChildRecord) -> None:
    waits = {"hold": Wait.HOLD, "ignored": Wait.IGNORED}
    child.phase, child.wait = Phase.WAITING, waits.get(entry.wanted, Wait.TURN)
    child.announced, child.is_new = entry.announced, entry.is_new
    child.generation, child.restart_count = entry.generation, entry.restart_count
    child.started_at, child.reason = entry.started_at, entry.reason
    child.from_node, child.node_failed = entry.from_node, entry.node_failed
