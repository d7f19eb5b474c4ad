"""One direction between two lives: the sender's session and the receiver's session.

Theory. A session belongs to a pair of lives and outlives its connections. `Outbound` numbers its
batches 1, 2, 3, ... and keeps each until it is acknowledged. `Inbound` takes batch n only after
n - 1, and only from its current connection. A connection is one DEALER with a routing id of its
own, made for one dial and never reconnected; when it is lost, the next dial has a higher number.

1. Outbound dials (`Dial`), and greets when the socket is connected (HELLO).
2. Inbound answers OPEN with the number it expects next. From then on frames of earlier connections
   are ignored, however late they come: what was in them is sent again on this one.
3. Outbound drops what lies before that number, sends the rest again, in order, and goes on.
4. Inbound acknowledges now and then (ACK n: all up to n are taken). Outbound forgets those.

So each batch is taken exactly once and in order, or the session ends (the peer is expelled, or one
of both is a new life). What can't happen, and is checked: an OPEN outside the numbers that are
known here, or from another session of the same life (one side had expelled the other and forgot).
Then the session is broken for good: it could only lose or repeat messages.

Bounds: `queued` bytes (waiting or unacknowledged) never exceed the window, except for a single
message larger than it, and for signals; at most `max_in_flight` batches and about the receiver's
window are under way.

Pure: sockets, timers and ids are the caller's. Every method that may change what is to be done
returns effects; `deadline` is when `tick` wants to be called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from noex.transport import wire
from noex.transport.lane_settings import LaneSettings
from noex.transport.wire import Header, Hello, Message, Opened, Refusal, WireError

Uid = tuple[str, int]
"""A life of a node: (node id, incarnation)."""

MESSAGE_COST: Final = 64
"""What a waiting message takes beside its own bytes, so that tiny ones are bounded too."""

SIGNAL_WINDOWS: Final = 4
"""How many windows of the sender signals may fill before they, too, are refused."""


class Phase(Enum):
    """Where an `Outbound` stands."""

    IDLE = "idle"  # no connection, nothing to send
    DIALLING = "dialling"  # a socket is connecting
    GREETING = "greeting"  # HELLO is sent, OPEN is awaited
    OPEN = "open"
    PAUSED = "paused"  # waiting for the next dial
    BROKEN = "broken"  # the session cannot go on
    CLOSED = "closed"


class Dial(NamedTuple):
    """Open a fresh socket under this connection number."""

    connection: int


class Hangup(NamedTuple):
    """Close the socket."""


class Transmit(NamedTuple):
    """Send this frame on the open socket."""

    frame: bytes


class Trouble(NamedTuple):
    """Something that the owner of the lane should know."""

    text: str


Effect = Dial | Hangup | Transmit | Trouble


class _Sent(NamedTuple):
    cost: int
    frame: bytes


class Outbound:
    """The sender's session with one life of a peer.

    `numbers` gives the connection numbers: each larger than all before it, for all sessions of
    this process (a routing id must never come twice to a listener, whatever life used it).
    `jitter` gives a number from 0 to 1.
    """

    __slots__ = (
        "_acked",
        "_attempts",
        "_cluster",
        "_flying",
        "_has_ended",
        "_jitter",
        "_next",
        "_numbers",
        "_pending",
        "_pending_cost",
        "_session",
        "_settings",
        "_their_session",
        "_their_window",
        "_unacked",
        "_used_at",
        "_window",
        "connection",
        "deadline",
        "me",
        "peer",
        "phase",
        "queued",
    )

    def __init__(
        self,
        me: Uid,
        peer: Uid,
        *,
        cluster: str,
        settings: LaneSettings,
        numbers: Callable[[], int],
        jitter: Callable[[], float],
    ) -> None:
        self.me, self.peer = me, peer
        self.phase = Phase.IDLE
        self.deadline: float | None = None
        self.connection = 0
        self.queued = 0
        self._cluster, self._settings = cluster, settings
        self._numbers, self._jitter = numbers, jitter
        self._window = settings.window_bytes
        self._session = numbers()
        self._their_session = 0
        self._their_window = 0
        self._pending: list[bytes] = []
        self._pending_cost = 0
        self._unacked: deque[_Sent] = deque()  # batches _acked + 1 .. _next - 1
        self._acked = 0
        self._next = 1
        self._flying = 0  # cost of _unacked; queued == _flying + _pending_cost
        self._attempts = 0
        self._used_at = 0.0
        self._has_ended = False  # BROKEN or CLOSED; enum members are slow to reach in `offer`

    def offer(self, data: bytes, signal: bool = False) -> bool:
        """Queue one message. False: the window is full, or the session has ended.

        A signal (a reply, a Down) goes beyond the window, up to `SIGNAL_WINDOWS` of it: each
        answers for something that was opened before, so their number is bounded where those are.
        """
        cost = len(data) + MESSAGE_COST
        queued = self.queued
        limit = self._window * SIGNAL_WINDOWS if signal else self._window
        if queued and queued + cost > limit:
            return False
        if self._has_ended:
            return False
        self.queued = queued + cost
        self._pending_cost += cost
        self._pending.append(data)
        return True

    def flush(self, now: float) -> list[Effect]:
        """Send what has been offered, as far as the receiver takes it; dial if need be."""
        if self.phase is Phase.OPEN:
            self._used_at = now
            return self._cut_batches()
        if self.phase is Phase.IDLE and self.queued:
            return self._dial(now)
        return []

    def connected(self, now: float) -> list[Effect]:
        """The socket is connected."""
        if self.phase is not Phase.DIALLING:
            return []
        self.phase = Phase.GREETING
        self.deadline = now + self._settings.open_timeout
        hello = Hello(self._cluster, *self.me, self._session)
        return [Transmit(wire.pack_hello(self.peer[1], self.connection, hello))]

    def lost(self, now: float) -> list[Effect]:
        """The socket is not connected any more, or cannot be.

        The first redial comes at once. The pause grows until an acknowledgement shows that a
        connection was of use.
        """
        if self.phase not in (Phase.DIALLING, Phase.GREETING, Phase.OPEN):
            return []
        if not self.queued:
            self.phase, self.deadline = Phase.IDLE, None
            return [Hangup()]
        attempts = self._attempts
        self._attempts = attempts + 1
        if attempts == 0:
            return [Hangup(), *self._dial(now)]
        return self._pause(now, attempts)

    def received(self, frame: bytes, now: float) -> list[Effect]:
        """An answer of the listener."""
        try:
            return self._answered(frame, now)
        except WireError as error:
            return [Trouble(f"unusable answer: {error.reason}"), *self._back_off(now)]

    def tick(self, now: float) -> list[Effect]:
        """The deadline may have passed."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.phase is Phase.PAUSED:
            return self._dial(now)
        if self.phase is Phase.OPEN:
            return self._rest(now)
        what = "no connection" if self.phase is Phase.DIALLING else "no answer to the greeting"
        return [Trouble(f"{what} in time (attempt {self._attempts + 1})"), *self.lost(now)]

    def close(self) -> list[Effect]:
        """The peer is expelled or the lane stops: forget everything."""
        return self._end(Phase.CLOSED)

    def _dial(self, now: float) -> list[Effect]:
        self.phase = Phase.DIALLING
        self.connection = self._numbers()
        growth = min(10.0, 2.0 ** min(self._attempts, 10))
        self.deadline = now + self._settings.dial_timeout * growth
        return [Dial(self.connection)]

    def _pause(self, now: float, attempts: int) -> list[Effect]:
        settings = self._settings
        delay = min(settings.redial_max, settings.redial_min * 2.0 ** min(attempts - 1, 30))
        self.phase = Phase.PAUSED
        self.deadline = now + delay * (0.5 + 0.5 * self._jitter())
        return [Hangup()]

    def _back_off(self, now: float) -> list[Effect]:
        self._attempts = max(self._attempts, 16)  # straight to the longest pause
        return self.lost(now)

    def _rest(self, now: float) -> list[Effect]:
        rested_at = self._used_at + self._settings.idle_timeout
        if not self.queued and rested_at <= now:
            self.phase, self.deadline = Phase.IDLE, None
            return [Hangup()]
        self.deadline = max(rested_at, now + self._settings.idle_timeout / 2)
        return []

    def _end(self, phase: Phase) -> list[Effect]:
        self.phase, self.deadline, self._has_ended = phase, None, True
        self._pending, self._unacked = [], deque()
        self.queued = self._flying = self._pending_cost = 0
        return [Hangup()]

    def _break(self, reason: str) -> list[Effect]:
        text = (
            f"the session cannot go on, {self._next - 1 - self._acked} batches are lost: {reason}"
        )
        return [Trouble(text), *self._end(Phase.BROKEN)]

    def _answered(self, frame: bytes, now: float) -> list[Effect]:
        header = wire.unpack_header(frame)
        if header.kind == wire.REFUSED:  # may come from a life that knows neither of our numbers
            return self._refused(*wire.unpack_refused(frame), now)
        if (header.incarnation, header.connection) != (self.me[1], self.connection):
            raise WireError(Refusal.STALE, "it is for another connection")
        if header.kind == wire.ACK and self.phase is Phase.OPEN:
            self._acknowledge(header.seq)
            return self._cut_batches()
        if header.kind == wire.OPEN and self.phase is Phase.GREETING:
            return self._opened(header.seq, wire.unpack_open(frame), now)
        raise WireError(Refusal.BAD_FRAME, f"kind {header.kind} while {self.phase.value}")

    def _refused(self, code: Refusal, text: str, now: float) -> list[Effect]:
        if code is Refusal.WRONG_SESSION:
            return self._break(text)
        return [Trouble(f"refused ({code.name.lower()}): {text}"), *self._back_off(now)]

    def _opened(self, next_seq: int, opened: Opened, now: float) -> list[Effect]:
        if self._their_session not in (0, opened.session):
            return self._break("the receiver has forgotten this session")
        if not self._acked < next_seq <= self._next:
            return self._break(
                f"the receiver expects batch {next_seq}, not one of "
                f"{self._acked + 1} to {self._next}"
            )
        self._their_window, self._their_session = opened.window, opened.session
        self.phase = Phase.OPEN
        self._used_at, self.deadline = now, now + self._settings.idle_timeout
        self._acknowledge(next_seq - 1)
        again: list[Effect] = [
            Transmit(wire.readdress(sent.frame, self.connection)) for sent in self._unacked
        ]
        return again + self._cut_batches()

    def _acknowledge(self, seq: int) -> None:
        if not self._acked <= seq < self._next:
            raise WireError(
                Refusal.BAD_FRAME,
                f"batch {seq} is acknowledged, under way are {self._acked + 1} to {self._next - 1}",
            )
        for _ in range(seq - self._acked):
            cost = self._unacked.popleft().cost
            self._flying -= cost
            self.queued -= cost
            self._attempts = 0
        self._acked = seq

    def _cut_batches(self) -> list[Effect]:
        """Make batches of what is pending, up to the receiver's window."""
        effects: list[Effect] = []
        limit = self._settings.max_in_flight
        while self._pending and len(self._unacked) < limit:
            if self._flying and self._flying + self._first_cost() > self._their_window:
                break
            messages, cost = self._take()
            frame = wire.pack_batch(self.peer[1], self.connection, self._next, messages)
            self._unacked.append(_Sent(cost, frame))
            self._next += 1
            self._flying += cost
            effects.append(Transmit(frame))
        return effects

    def _first_cost(self) -> int:
        """A lower bound of the next batch: what would have to fit."""
        most = self._settings.max_batch
        return self._pending_cost if self._pending_cost <= most else most

    def _take(self) -> tuple[list[bytes], int]:
        """The next messages for one batch, at least one, and their cost."""
        settings, pending = self._settings, self._pending
        cost = self._pending_cost
        if cost <= settings.max_batch and len(pending) <= settings.max_batch_messages:
            self._pending, self._pending_cost = [], 0
            return pending, cost
        cost = count = 0
        for data in pending[: settings.max_batch_messages]:
            more = cost + len(data) + MESSAGE_COST
            if count and more > settings.max_batch:
                break
            cost, count = more, count + 1
        messages = pending[:count]
        del pending[:count]
        self._pending_cost -= cost
        return messages, cost


class Inbound:
    """The receiver's session with one life of a peer."""

    __slots__ = (
        "_owed_bytes",
        "_settings",
        "_their_session",
        "connection",
        "expected",
        "me",
        "owed",
        "peer",
        "routing_id",
        "session",
    )

    def __init__(self, me: Uid, peer: Uid, *, session: int, settings: LaneSettings) -> None:
        self.me, self.peer, self.session = me, peer, session
        self.expected = 1
        self.connection = 0
        self.routing_id: bytes | None = None  # of the current connection
        self.owed = 0  # batches taken and not acknowledged yet
        self._owed_bytes = 0
        self._their_session = 0
        self._settings = settings

    def greeted(self, routing_id: bytes, connection: int, session: int) -> bytes:
        """Make this the current connection and answer OPEN."""
        if connection < self.connection or (
            connection == self.connection and routing_id != self.routing_id
        ):
            raise WireError(Refusal.STALE, f"connection {self.connection} has replaced it")
        if self._their_session not in (0, session):
            raise WireError(Refusal.WRONG_SESSION, "the sender has begun another session")
        self.connection, self.routing_id, self._their_session = connection, routing_id, session
        self.owed = self._owed_bytes = 0  # the OPEN acknowledges them
        opened = Opened(self._settings.window_bytes, self.session)
        return wire.pack_open(self.peer[1], connection, self.expected, opened)

    def take(self, header: Header, frame: bytes) -> list[Message]:
        """The messages of the next batch."""
        if header.connection != self.connection or header.seq != self.expected:
            raise WireError(
                Refusal.BAD_FRAME,
                f"batch {header.seq} of connection {header.connection}, expected was "
                f"{self.expected} of {self.connection}",
            )
        messages = wire.unpack_batch(frame, self._settings.max_batch_messages)
        self.expected += 1
        self.owed += 1
        self._owed_bytes += len(frame)
        return messages

    @property
    def is_ack_due(self) -> bool:
        """Whether so much has been taken that the sender should hear of it at once."""
        return (
            self.owed >= self._settings.ack_batches or self._owed_bytes >= self._settings.ack_bytes
        )

    def acknowledge(self) -> bytes:
        """The acknowledgement of all that was taken."""
        self.owed = self._owed_bytes = 0
        return wire.pack_ack(self.peer[1], self.connection, self.expected - 1)
