"""What the strategy machine is told: facts (past tense) and requests.

`generation` names one start attempt. It only grows within a supervisor, so a report about an
attempt that is no longer the child's present one is stale and is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from noex.supervisor.spec import ChildSpec

FailureKind = Literal["init", "no_node", "unknown", "node_lost"]
"""Why a start failed.

- ``init``: the child itself failed; nothing runs. Counted as a failed attempt in a restart.
- ``no_node``: no node fits now. Not counted; a restart or failover goes pending.
- ``unknown``: the host is silent. A copy may run there, so no other is started (unconfirmed).
- ``node_lost``: the chosen node refused, or left the view, before it answered; nothing runs.
  Not counted; another node is tried at once.
"""


@dataclass(frozen=True, slots=True)
class Begin:
    """The supervisor is up: start the initial children. `ref` is what its events carry."""

    ref: Any
    wall: float


@dataclass(frozen=True, slots=True)
class Running:
    """A child that runs, as its host reports it after a takeover."""

    child_id: str
    generation: int
    ref: Any
    node_id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class TookOver:
    """The first event of a machine that was made from a record: what runs, and what was lost.

    `lost`: the lives (node id, incarnation) that are gone, the one of the old owner among them.
    """

    ref: Any
    from_node: str
    to_node: str
    running: tuple[Running, ...]
    lost: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ChildExited:
    """The process of a child has ended, by itself or by somebody else's signal."""

    child_id: str
    generation: int
    reason: Any


@dataclass(frozen=True, slots=True)
class ChildGone:
    """A `StopChild` is done: nothing of this generation runs, or ever will."""

    child_id: str
    generation: int
    reason: Any


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A life of a node has ended, with all its children: one event for all of them.

    Children on this life or an earlier one of the node are lost; `incarnation` None means any
    life. Starts that are under way there are reported by `StartFailed` (``node_lost``). A node
    that left in order is no failure: `counted` False keeps it out of the restart window.
    """

    node_id: str
    incarnation: int | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class NodeDraining:
    """A node is about to leave: move its children elsewhere, one by one, uncounted."""

    node_id: str
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class StartSucceeded:
    """`init` has returned; the process runs on `node_id`. `wall` is unix time."""

    child_id: str
    generation: int
    ref: Any
    node_id: str
    wall: float
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A start attempt failed; `node_id` is where it was tried (if it came so far)."""

    child_id: str
    generation: int
    error: BaseException
    kind: FailureKind = "init"
    node_id: str | None = None
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class StartIgnored:
    """`init` said Ignore: there is no process, and that is no failure."""

    child_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class RetryDue:
    """The delay of a `ScheduleRetry` is over."""

    child_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class PlacementChanged:
    """A node joined, thawed, is idle again or can run more: try the pending children."""


@dataclass(frozen=True, slots=True)
class StartChildRequested:
    """`child` is a spec, or, for ``simple_one_for_one``, the args."""

    request_id: int
    child: ChildSpec | Sequence[Any]


@dataclass(frozen=True, slots=True)
class TerminateChildRequested:
    """Stop a child and remove it."""

    request_id: int
    child_id: str


@dataclass(frozen=True, slots=True)
class RestartChildRequested:
    """Stop a child and start it again, uncounted."""

    request_id: int
    child_id: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Stop all children, then the supervisor, which ends with `reason`."""

    reason: Any = "normal"


Event = (
    Begin
    | TookOver
    | ChildExited
    | ChildGone
    | NodeLost
    | NodeDraining
    | StartSucceeded
    | StartFailed
    | StartIgnored
    | RetryDue
    | PlacementChanged
    | StartChildRequested
    | TerminateChildRequested
    | RestartChildRequested
    | StopRequested
)
