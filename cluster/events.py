"""What the membership machines hear (events) and ask for (effects)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from noex.cluster.messages import Body, Envelope
from noex.cluster.view import Lineage, Member, Status, Uid, View

Address = str | bytes
"""Where a message came from or goes to: an endpoint we dialled, or the origin at our ROUTER."""

EndOfLife = Literal["removed", "outranked", "stale"]
"""A view without this life; a stronger lineage; refused, as a later life is known."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A control message has arrived; `at` is when the lane read it."""

    address: Address
    message: Envelope
    at: float


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Our dial to `endpoint` was answered."""

    endpoint: str
    at: float


@dataclass(frozen=True, slots=True)
class LinkDown:
    """Our connection to `endpoint` is lost."""

    endpoint: str
    at: float


@dataclass(frozen=True, slots=True)
class DialRefused:
    """The host of `endpoint` says that nobody listens there."""

    endpoint: str
    at: float


@dataclass(frozen=True, slots=True)
class Unwelcome:
    """Somebody listens at `endpoint`, and does not let this node in for want of the right key."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class PulseSeen:
    """A heartbeat of a peer, and which view it holds."""

    uid: Uid
    at: float
    loop_lag: float = 0.0
    lineage: Lineage | None = None
    epoch: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The thread of the process at `endpoint` says who it is (even if its loop is busy)."""

    endpoint: str
    uid: Uid
    at: float
    loop_lag: float = 0.0
    token: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. `wall_ms`: unix time; `chance`: a random number in [0, 1)."""

    wall_ms: int
    chance: float = 0.5


@dataclass(frozen=True, slots=True)
class LeaveWanted:
    """This node wants to drain, or to leave the cluster."""

    status: Status


Event = (
    Heard | LinkUp | LinkDown | DialRefused | Unwelcome | PulseSeen | Answered | Tick | LeaveWanted
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control message."""

    to: Address
    message: Envelope

    @property
    def body(self) -> Body:
        """What the message says."""
        return self.message.body


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the process at `endpoint` who it is; `Answered` comes back, with the `token`."""

    endpoint: str
    token: int = 0


@dataclass(frozen=True, slots=True)
class Redial:
    """Dial `endpoint` now, whatever pause was to come: somebody is known to be there again."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class SetLinks:
    """Keep connections to exactly these control and PUB endpoints."""

    control: frozenset[str]
    pub: frozenset[str]


@dataclass(frozen=True, slots=True)
class Applied:
    """A view was applied: first all that went, with the reason, then all that came (N2)."""

    view: View
    downs: tuple[tuple[Member, str], ...]
    ups: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class BusyChanged:
    """A peer has become busy (its heartbeat, or its loop, is `lag` s late), or is so no more."""

    uid: Uid
    busy: bool
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class LifeOver:
    """This life has ended. The next one takes an incarnation above `above` and joins again.

    `contacts` are the endpoints of the members known last, who will answer the next life.
    """

    reason: EndOfLife
    above: int
    contacts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Left:
    """The others know that this node has left (or there are none)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A member refuses to let this node in, for `reason`; it goes on asking."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Note:
    """Worth a log line."""

    level: Literal["info", "warning"]
    event: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdminAsked:
    """A message of an upper floor came over the control lane."""

    address: Address
    message: Envelope


Effect = (
    Send
    | Ask
    | Redial
    | SetLinks
    | Applied
    | BusyChanged
    | LifeOver
    | Left
    | Rejected
    | Note
    | AdminAsked
)
