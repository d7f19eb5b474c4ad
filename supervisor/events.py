"""Lifecycle events: what a supervisor tells its subscribers, in order, at most once each.

The reference's events under CamelCase names with its fields; each has a `type` string as in the
reference (``"child_migrated"``). Reasons are exit reasons: a string, ``("shutdown", detail)``, or
the exception of a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SupervisorStarted:
    """All initial children are up. `ref` is the handle (``ref.id``, ``ref.node_id``)."""

    ref: Any
    type: str = "supervisor_started"


@dataclass(frozen=True, slots=True)
class SupervisorStopped:
    """The last event of a supervisor.

    `reason`: what `stop` was given (``"normal"``, ``"shutdown"``), ``"max_restarts_exceeded"``,
    ``"shutdown"`` for an automatic shutdown, or the reason of the exit signal that ended it.
    """

    ref: Any
    reason: Any
    type: str = "supervisor_stopped"


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A child is up for the first time."""

    supervisor_id: str
    child_id: str
    node_id: str
    type: str = "child_started"


@dataclass(frozen=True, slots=True)
class ChildStopped:
    """A child has ended and was removed: it will not be restarted.

    `reason`: ``"shutdown"`` when it was stopped, its own exit reason, or ``"noconnection"`` when it
    was lost with its node.
    """

    supervisor_id: str
    child_id: str
    reason: Any
    type: str = "child_stopped"


@dataclass(frozen=True, slots=True)
class ChildRestarted:
    """A child is up again after it ended, as a bystander of a group restart, or on request.

    `attempt` is the child's `restart_count`, this restart included.
    """

    supervisor_id: str
    child_id: str
    node_id: str
    attempt: int
    type: str = "child_restarted"


@dataclass(frozen=True, slots=True)
class ChildMigrated:
    """A child that was lost with its node, or moved off a draining one, is up elsewhere."""

    supervisor_id: str
    child_id: str
    from_node: str
    to_node: str
    type: str = "child_migrated"


@dataclass(frozen=True, slots=True)
class NodeFailureDetected:
    """A node with children of this supervisor went down: once per node, with all its children."""

    supervisor_id: str
    node_id: str
    affected_children: tuple[str, ...]
    type: str = "node_failure_detected"


@dataclass(frozen=True, slots=True)
class ChildPending:
    """A child has no process and waits, with the reason; it is placed as soon as a node fits."""

    supervisor_id: str
    child_id: str
    reason: str
    type: str = "child_pending"


@dataclass(frozen=True, slots=True)
class ChildAdopted:
    """After a takeover: a child that runs was taken over as it is (same ref, same state).

    There is no takeover yet, so this is never sent.
    """

    supervisor_id: str
    child_id: str
    node_id: str
    type: str = "child_adopted"


@dataclass(frozen=True, slots=True)
class SupervisorTakenOver:
    """The node of a supervisor went down, and `to_node` now owns it, under a higher term.

    There is no takeover yet, so this is never sent.
    """

    supervisor_id: str
    from_node: str
    to_node: str
    term: int
    type: str = "supervisor_taken_over"


@dataclass(frozen=True, slots=True)
class EventsLost:
    """This subscriber missed `count` events here: it was too slow, or the link to it was full.

    `count` is 0 if nobody knows how many.
    """

    supervisor_id: str
    count: int
    type: str = "events_lost"


SupervisorEvent = (
    SupervisorStarted
    | SupervisorStopped
    | ChildStarted
    | ChildStopped
    | ChildRestarted
    | ChildMigrated
    | NodeFailureDetected
    | ChildPending
    | ChildAdopted
    | SupervisorTakenOver
    | EventsLost
)
