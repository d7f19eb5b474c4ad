"""What the system itself sends to `handle_info`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal


class _Timeout(Enum):
    TIMEOUT = "TIMEOUT"

    def __repr__(self) -> str:
        return "TIMEOUT"


TIMEOUT: Final[Literal[_Timeout.TIMEOUT]] = _Timeout.TIMEOUT
"""Delivered when the `timeout=` of the last return value has passed without a message."""


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored process is gone. Exactly one arrives for each monitor.

    `monitor` is what `self.monitor(ref)` returned. `reason` is the exit reason, ``"noproc"`` for a
    process that was gone before, or ``"noconnection"`` when its node was lost.
    """

    monitor: Any
    ref: Any
    reason: Any


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit signal, as a message, because this process traps exits.

    `ref` is the process it comes from: a linked one that has ended, or whoever said `ref.exit`.
    """

    ref: Any
    reason: Any


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A node is a member. It comes before the first message of that life."""

    node_id: str
    incarnation: int
    type: str = "node_up"


@dataclass(frozen=True, slots=True)
class NodeDown:
    """A life of a node has ended. It comes after the last message of that life.

    `reason`: ``heartbeat_timeout``, ``connection_closed``, ``connection_refused``,
    ``graceful_shutdown``, ``superseded`` or ``fenced``.
    """

    node_id: str
    incarnation: int
    reason: str
    type: str = "node_down"


@dataclass(frozen=True, slots=True)
class NodeBusy:
    """A node's heartbeat or loop is `lag` seconds late; no child is placed there meanwhile.

    It is not dead: its link stands. `NodeIdle` ends this, or `NodeDown` after `busy_cap`.
    """

    node_id: str
    incarnation: int
    lag: float
    type: str = "node_busy"


@dataclass(frozen=True, slots=True)
class NodeIdle:
    """A busy node answers in time again."""

    node_id: str
    incarnation: int
    type: str = "node_idle"


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """A view was applied; `members` are node ids, the oldest first."""

    epoch: int
    members: tuple[str, ...]
    type: str = "view_changed"


@dataclass(frozen=True, slots=True)
class Frozen:
    """This node hears no quorum: no failovers, no global names until `Thawed`.

    The present way of deciding, a leader without votes, never sends it.
    """

    type: str = "frozen"


@dataclass(frozen=True, slots=True)
class Thawed:
    """This node hears a quorum again. Never sent yet, as `Frozen`."""

    type: str = "thawed"


@dataclass(frozen=True, slots=True)
class LifeEnded:
    """The cluster has removed this life; the node joins again under a new incarnation.

    What it ran for distributed supervisors, and its own distributed supervisors, end with
    ``("shutdown", "superseded")``. Its other processes go on, and local refs to them stay valid.
    """

    incarnation: int
    reason: str
    type: str = "life_ended"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task of `spawn_task` has ended with `value`, or with `error` (`CancelledError` too)."""

    task: Any
    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class NameConflict:
    """This process lost the global name `name` to `winner`, after two clusters had met.

    An exit signal ``("shutdown", "name_conflict")`` follows; a process that traps exits gets it as
    an `Exit`, and may stay.
    """

    name: str
    winner: Any
