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
    """A monitored process is gone. Exactly one arrives for each monitor."""

    monitor: Any
    ref: Any
    reason: Any


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit signal, as a message, because this process traps exits."""

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
    """A node's heartbeat or loop is `lag` seconds late; no child is placed there meanwhile."""

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
    """This node hears no quorum: no failovers, no global names until `Thawed`."""

    type: str = "frozen"


@dataclass(frozen=True, slots=True)
class Thawed:
    """This node hears a quorum again."""

    type: str = "thawed"


@dataclass(frozen=True, slots=True)
class LifeEnded:
    """The cluster has removed this life; the node joins again under a new incarnation."""

    incarnation: int
    reason: str
    type: str = "life_ended"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task of `spawn_task` has ended with `value`, or with `error`."""

    task: Any
    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class NameConflict:
    """This process lost the global name `name` to `winner`."""

    name: str
    winner: Any
