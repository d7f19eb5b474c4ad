"""What a supervisor tells about itself and its children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from noex.supervisor.spec import ChildSpec

ChildStatus = Literal["starting", "running", "stopping", "restarting", "pending", "ignored"]


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child, as of now.

    `status`: ``starting`` (for the first time), ``running``, ``stopping``, ``restarting`` (its
    next start is under way or due), ``pending`` (waits for a node, a host's answer, or
    `restart_child`: see `reason`), ``ignored`` (its `init` said Ignore). `ref` and `node_id` are
    None without a process; `started_at` is unix time of the latest start; `(term, generation)` is
    the fence token of the latest start (`term` is in `SupervisorStats`). `restart_count` counts all
    restarts and moves of this child, those by `restart_child` included. `reason` says why it is
    pending, else None.
    """

    id: str
    ref: Any
    spec: ChildSpec
    node_id: str | None
    status: ChildStatus
    restart_count: int
    started_at: float | None
    generation: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SupervisorStats:
    """A supervisor in numbers. Times in seconds; `started_at` is unix time.

    `total_restarts` is the sum of all restart counts, removed children included;
    `node_failure_restarts` counts node-lost children that were placed again. `children_by_node`
    has the children that have a process, by node id; `child_count` counts all, `pending` those
    that wait. `term` is the first half of the fence tokens.
    """

    id: str
    strategy: str
    child_count: int
    children_by_node: Mapping[str, int]
    total_restarts: int
    node_failure_restarts: int
    started_at: float
    uptime: float
    pending: int
    term: int
