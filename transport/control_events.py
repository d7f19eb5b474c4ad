"""What the control lane tells the loop, and the settings it runs under.

Every event carries `at`: monotonic seconds, stamped in the control thread when it happened. A loop
that was busy reads late, but it reads true times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from noex.runtime.checks import check_count, check_limit
from noex.runtime.errors import InvalidOptionError


@dataclass(frozen=True, slots=True)
class Received:
    """A message. Exactly one of `origin` and `endpoint` is set.

    `origin`: it came in at our ROUTER; `ControlLane.answer` takes it. `endpoint`: it came back
    on the link that we dialled to that endpoint. `peer`: the node, or ``client:name``, whose key
    it came with; None where keys are not bound to names.
    """

    origin: bytes | None
    endpoint: str | None
    data: bytes
    at: float
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link to `endpoint` stands: the handshake is done, `send` reaches the peer."""

    endpoint: str
    at: float


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link to `endpoint` broke. It is dialled again until `disconnect`."""

    endpoint: str
    at: float


@dataclass(frozen=True, slots=True)
class DialRefused:
    """A TCP connect to `endpoint` was refused: nobody listens there. Repeated at each dial."""

    endpoint: str
    at: float


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """A node listens at `endpoint`, and its keys and ours do not fit. Repeated at each dial.

    `reason`: ``unknown key``, ``wrong secret``, ``no security``, ``unexpected security``, or
    ``no key`` (there is none for that address, so it is not dialled).
    """

    endpoint: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """A heartbeat of a peer: a life sign of its process, and how late its loop runs.

    `loop_lag` is in seconds; `fields` is what the peer gave to `set_pulse` (sequences arrive as
    tuples). `seq` grows by one per pulse of a life.
    """

    node_id: str
    incarnation: int
    seq: int
    loop_lag: float
    fields: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `ControlLane.ping`, given by the peer's thread even when its loop is busy."""

    endpoint: str
    token: int
    node_id: str
    incarnation: int
    loop_lag: float
    at: float


ControlEvent = Received | LinkUp | LinkDown | DialRefused | HandshakeFailed | Pulse | Pong


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Times in seconds, sizes in bytes. Raises `InvalidOptionError` for a value that cannot work.

    A stopped peer is noticed after at most `heartbeat_interval` and `heartbeat_timeout` together;
    a killed one within milliseconds.
    """

    pulse_interval: float = 1.0
    heartbeat_interval: float = 1.0
    heartbeat_timeout: float = 2.0
    handshake_timeout: float = 3.0
    dial_timeout: float = 3.0
    dial_backoff_min: float = 0.05
    dial_backoff_max: float = 1.0
    linger: float = 0.1
    start_timeout: float = 10.0
    stop_timeout: float = 5.0
    max_message: int = 4 * 1024 * 1024
    max_pulse: int = 64 * 1024
    max_commands: int = 10_000
    max_command_bytes: int = 32 * 1024 * 1024
    max_received: int = 10_000
    max_received_per_origin: int = 256
    max_received_bytes: int = 32 * 1024 * 1024
    max_pulses_per_peer: int = 8
    max_pulses: int = 4096

    def __post_init__(self) -> None:
        for field in fields(self):
            check = check_count if field.type == "int" else check_limit
            check(getattr(self, field.name), f"control.{field.name}")
        if self.heartbeat_timeout <= self.heartbeat_interval:
            raise InvalidOptionError(
                "control.heartbeat_timeout",
                self.heartbeat_timeout,
                f"it must be longer than heartbeat_interval={self.heartbeat_interval:g}",
            )
        if self.dial_backoff_max < self.dial_backoff_min:
            raise InvalidOptionError(
                "control.dial_backoff_max",
                self.dial_backoff_max,
                f"it must not be below dial_backoff_min={self.dial_backoff_min:g}",
            )


@dataclass(frozen=True, slots=True)
class ControlStats:
    """Counters of a control lane since its start, and what waits in it now."""

    links: int
    links_up: int
    pulses_sent: int
    commands_dropped: int
    sends_dropped: int
    frames_refused: int
    events_dropped: int
    events_waiting: int
