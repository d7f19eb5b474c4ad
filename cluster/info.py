"""What a node tells about itself, and what is known of a member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from noex.cluster.view import Lineage, Member

NodeStatus = Literal["up", "busy", "draining", "leaving"]


@dataclass(frozen=True, slots=True)
class SelfDescription:
    """What this node says of itself: to members when it joins, then in its heartbeats.

    `load` is the load average of its machine over the last minute (0 where the system has none).
    """

    user_endpoint: str = ""
    pub_endpoint: str = ""
    behaviors: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    process_count: int = 0
    load: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A member as this node knows it.

    - `status`: ``up``, ``busy`` (late, but alive), ``draining`` or ``leaving``.
    - `process_count`, `load`, `behaviors`, `labels`: what the member tells of itself; the labels
      are those of its `NodeConfig`.
    - `last_heartbeat_at`: unix time, None before the first.
    - `uptime`, `loop_lag`: seconds, as of that heartbeat.
    """

    id: str
    incarnation: int
    status: NodeStatus
    process_count: int = 0
    last_heartbeat_at: float | None = None
    uptime: float = 0.0
    load: float = 0.0
    loop_lag: float = 0.0
    behaviors: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PulseNews:
    """What the last heartbeat of a member said."""

    wall_at: float
    loop_lag: float
    lineage: Lineage | None
    epoch: int
    digest: int
    process_count: int
    load: float
    uptime: float
    behaviors: tuple[str, ...] | None


def pulse_fields(
    description: SelfDescription, standing: tuple[Lineage | None, int, int], uptime: float
) -> dict[str, Any]:
    """The fields of this node's next heartbeats."""
    lineage, epoch, digest = standing
    return {
        "view": (lineage, epoch, digest),
        "processes": description.process_count,
        "load": description.load,
        "uptime": round(uptime, 3),
        "behaviors": description.behaviors,
    }


def read_pulse(fields: Mapping[str, Any], loop_lag: float, wall_at: float) -> PulseNews:
    """What a peer's heartbeat says; a field that is not what it should be counts as not given."""
    lineage, epoch, digest = _standing(fields.get("view"))
    behaviors = fields.get("behaviors")
    return PulseNews(
        wall_at,
        loop_lag,
        lineage,
        epoch,
        digest,
        int(_number(fields.get("processes"))),
        _number(fields.get("load")),
        _number(fields.get("uptime")),
        _texts(behaviors) if isinstance(behaviors, tuple) else None,
    )


def _standing(value: object) -> tuple[Lineage | None, int, int]:
    match value:
        case ((str(node_id), int(life), int(first)), int(epoch), int(digest)):
            return Lineage(node_id, life, first), epoch, digest
    return None, 0, 0


def _number(value: object) -> float:
    """A finite number; a NaN here would stop the reading, and reach selectors and JSON."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else 0.0


def _texts(values: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def node_info(member: Member, news: PulseNews | None, *, busy: bool) -> NodeInfo:
    """What is known of a member: what it said when it joined, and in its last heartbeat."""
    status: NodeStatus = "busy" if busy and member.status == "up" else member.status
    if news is None:
        return NodeInfo(
            member.node_id,
            member.incarnation,
            status,
            behaviors=member.behaviors,
            labels=dict(member.labels),
        )
    return NodeInfo(
        member.node_id,
        member.incarnation,
        status,
        news.process_count,
        news.wall_at,
        news.uptime,
        news.load,
        news.loop_lag,
        member.behaviors if news.behaviors is None else news.behaviors,
        dict(member.labels),
    )
