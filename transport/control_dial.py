"""When to dial a peer, and what to say about the link: a pure machine, one per endpoint.

States::

    WAITING --due--> PROBING --accepted--> OPENING --handshake--> UP
       ^                |                     |                    |
       |<---refused-----+<---lost or late-----+                    |
       |                ^------------------------------lost--------+

1. PROBING is a raw TCP connect. Refused: nobody listens there, hard evidence, `DialRefused`.
   It comes first in every dial, so a dead peer costs one refused connect a second and no socket
   of ZeroMQ; and it comes at once when a link breaks, so a crash is known within milliseconds.
2. OPENING is a fresh socket with the next connection number: a routing id is never used twice,
   because a ROUTER that still holds a half-open pipe of that id swallows what the new one sends.
3. A link that held for `SETTLED` seconds is dialled again at once, with the shortest backoff. One
   that breaks faster is probed at once too, but opened only after the backoff, which goes on
   growing: a peer that accepts and closes would else be dialled in a circle.

Results that name another attempt than the present one are late and ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

SETTLED = 1.0


class DialState(Enum):
    """Where a link stands."""

    WAITING = "waiting"
    PROBING = "probing"
    OPENING = "opening"
    UP = "up"


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The clock moved; `due` may have been reached."""


@dataclass(frozen=True, slots=True)
class ProbeAccepted:
    """Somebody listens at the endpoint."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ProbeRefused:
    """Nobody listens at the endpoint."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """The connect ended in another error (no route, no such host): no evidence either way."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Shaken:
    """The ZMTP handshake of the socket is done."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The socket lost its connection, failed its handshake, or could not be opened."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StartProbe:
    """Begin a raw TCP connect."""

    attempt: int


@dataclass(frozen=True, slots=True)
class EndProbe:
    """Give up the raw TCP connect."""


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Open a DEALER whose routing id carries `attempt`."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the DEALER."""


@dataclass(frozen=True, slots=True)
class ReportUp:
    """Tell the loop: `LinkUp`."""


@dataclass(frozen=True, slots=True)
class ReportDown:
    """Tell the loop: `LinkDown`."""


@dataclass(frozen=True, slots=True)
class ReportRefused:
    """Tell the loop: `DialRefused`."""


DialEvent = TimePassed | ProbeAccepted | ProbeRefused | ProbeFailed | Shaken | Lost
DialEffect = (
    StartProbe | EndProbe | OpenSocket | CloseSocket | ReportUp | ReportDown | ReportRefused
)


class Dial:
    """The dialling of one endpoint. `jitter` yields numbers in [0, 1).

    Invariants: a DEALER is open in OPENING and UP alone, a raw connect in PROBING alone;
    `ReportUp` and `ReportDown` alternate; `attempt` only grows.
    """

    def __init__(
        self,
        *,
        backoff_min: float,
        backoff_max: float,
        timeout: float,
        jitter: Callable[[], float],
        now: float,
    ) -> None:
        self._backoff_min = backoff_min
        self._backoff_max = backoff_max
        self._backoff = backoff_min
        self._timeout = timeout
        self._jitter = jitter
        self._up_since = now
        self._hold = False  # the link broke young: look at the port at once, but open later
        self.state = DialState.WAITING
        self.attempt = 0
        self.due: float | None = now
        """When `TimePassed` has something to do; None: nothing is awaited but the link's end."""

    def handle(self, event: DialEvent, now: float) -> list[DialEffect]:
        """Take one event; returns what to do, in order."""
        match event:
            case TimePassed():
                return self._time_passed(now)
            case ProbeAccepted(attempt) if self._awaits(DialState.PROBING, attempt):
                return self._open(now)
            case ProbeRefused(attempt) if self._awaits(DialState.PROBING, attempt):
                return [*self._wait(now), ReportRefused()]
            case ProbeFailed(attempt) if self._awaits(DialState.PROBING, attempt):
                return self._wait(now)
            case Shaken(attempt) if self._awaits(DialState.OPENING, attempt):
                return self._up(now)
            case Lost(attempt) if attempt == self.attempt:
                return self._lost(now)
        return []

    def _awaits(self, state: DialState, attempt: int) -> bool:
        return self.state is state and self.attempt == attempt

    def _time_passed(self, now: float) -> list[DialEffect]:
        if self.due is None or now < self.due:
            return []
        match self.state:
            case DialState.WAITING:
                return self._probe(now)
            case DialState.PROBING:
                return [EndProbe(), *self._wait(now)]
            case DialState.OPENING:
                return [CloseSocket(), *self._wait(now)]
        return []

    def _probe(self, now: float) -> list[DialEffect]:
        self.state = DialState.PROBING
        self.attempt += 1
        self.due = now + self._timeout
        return [StartProbe(self.attempt)]

    def _open(self, now: float) -> list[DialEffect]:
        if self._hold:
            return self._wait(now)
        self.state = DialState.OPENING
        self.due = now + self._timeout
        return [OpenSocket(self.attempt)]

    def _up(self, now: float) -> list[DialEffect]:
        self.state = DialState.UP
        self.due = None
        self._up_since = now
        return [ReportUp()]

    def _lost(self, now: float) -> list[DialEffect]:
        match self.state:
            case DialState.UP:
                return [CloseSocket(), ReportDown(), *self._probe_broken(now)]
            case DialState.OPENING:
                return [CloseSocket(), *self._wait(now)]
        return []

    def _probe_broken(self, now: float) -> list[DialEffect]:
        if now - self._up_since >= SETTLED:
            self._backoff = self._backoff_min
        else:
            self._hold = True
        return self._probe(now)

    def _wait(self, now: float) -> list[DialEffect]:
        self.state = DialState.WAITING
        self._hold = False
        self.due = now + self._backoff * (0.5 + 0.5 * self._jitter())
        self._grow()
        return []

    def _grow(self) -> None:
        self._backoff = min(2 * self._backoff, self._backoff_max)
