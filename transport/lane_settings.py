"""What can be set on the user lane, checked once."""

from __future__ import annotations

from dataclasses import dataclass, fields

from noex.runtime.checks import check_count, check_limit
from noex.runtime.errors import InvalidOptionError
from noex.transport.wire import FEATURES, OLDEST, VERSION

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Limits and times of the user lane. Sizes are bytes, times are seconds.

    `max_message`: the largest message that may be sent. `window_bytes`: how much may wait for one
    peer (queued, or sent and not acknowledged); beyond it `send` returns False. `max_batch` and
    `max_batch_messages`: where one ZeroMQ message ends and the next begins (a larger message
    travels alone). `max_in_flight`: batches on the way before the rest is held back to be packed
    together.

    `ack_batches`, `ack_bytes`, `ack_delay`: the receiver acknowledges after that many batches or
    bytes, or that much time, whichever comes first.

    `dial_timeout`: how long a TCP connect and handshake may take at the first attempt; it doubles
    up to ten times that. `open_timeout`: how long an open answer may be awaited from a peer that
    is connected. `redial_min`, `redial_max`: pause between attempts, doubling, with jitter.
    `idle_timeout`: an unused connection is closed after that.

    `hello_limit`, `hello_timeout`: how many greetings of lives that are not admitted (yet) are
    kept, and how long.

    `piece_size`: a message that is larger by more than a quarter travels in pieces of that size, so
    that those of other senders can pass.
    `max_partials`: how many such messages one peer may have under way to here.

    `min_version`, `max_version`: the protocol versions that may be spoken; two nodes use the
    highest that both speak. `features`: what may be used of version 2, as bits (see
    `noex.transport.wire`).

    `heartbeat_interval`, `heartbeat_timeout`, `handshake_timeout`: ZeroMQ's own.
    """

    max_message: int = 64 * MIB
    window_bytes: int = 32 * MIB
    max_batch: int = MIB
    max_batch_messages: int = 2048
    max_in_flight: int = 256
    piece_size: int = MIB
    max_partials: int = 16
    ack_batches: int = 64
    ack_bytes: int = 256 * KIB
    ack_delay: float = 0.02
    dial_timeout: float = 1.0
    open_timeout: float = 45.0
    redial_min: float = 0.05
    redial_max: float = 1.0
    idle_timeout: float = 300.0
    hello_limit: int = 256
    hello_timeout: float = 30.0
    min_version: int = OLDEST
    max_version: int = VERSION
    features: int = FEATURES
    heartbeat_interval: float = 1.0
    heartbeat_timeout: float = 5.0
    handshake_timeout: float = 3.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "features":
                check = check_count if field.type == "int" else check_limit
                check(getattr(self, field.name), field.name)
        self._check_protocol()
        if self.max_message >= 1 << 31:
            raise InvalidOptionError("max_message", self.max_message, "it must be below 2 GiB")
        if self.window_bytes >= 1 << 40:
            raise InvalidOptionError("window_bytes", self.window_bytes, "it must be below 1 TiB")
        if self.ack_batches >= self.max_in_flight:
            raise InvalidOptionError(
                "ack_batches",
                self.ack_batches,
                f"it must be below max_in_flight={self.max_in_flight}, or every pause ends in a "
                "delayed acknowledgement",
            )
        if self.redial_max < self.redial_min:
            raise InvalidOptionError(
                "redial_max", self.redial_max, f"it is below redial_min={self.redial_min}"
            )

    def _check_protocol(self) -> None:
        if not OLDEST <= self.min_version <= self.max_version <= VERSION:
            raise InvalidOptionError(
                "min_version",
                (self.min_version, self.max_version),
                f"min_version and max_version lie, in this order, from {OLDEST} to {VERSION}",
            )
        if type(self.features) is not int or self.features & ~FEATURES:
            raise InvalidOptionError("features", self.features, f"bits of {FEATURES:#x}")
        if not 4096 <= self.piece_size < 1 << 31:
            raise InvalidOptionError("piece_size", self.piece_size, "from 4 KiB to below 2 GiB")
        if self.max_partials >= 1 << 16:
            raise InvalidOptionError("max_partials", self.max_partials, "it must be below 65536")
