"""One direction between two lives: the machine of the sender's session.

Theory. A session belongs to a pair of lives and outlives its connections. `Outbound` numbers its
batches 1, 2, 3, ... and keeps each until it is acknowledged. `Inbound` (of
`noex.transport.link_inbound`) takes batch n only after
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

What leaves next, and in what frames, is `noex.transport.cutting`'s to say. The greeting agrees on a
protocol version and on features: what is sent depends on both. Each side may say GOODBYE: it has
ended the session, or itself. The other side drops what it has for it, takes what is still offered
without sending it, and does not dial that life again.

Bounds: `queued` bytes (waiting or unacknowledged) never exceed the window, except for signals, and
for one message larger than half of it: that counts as half, so that others can still be queued
beside it. At most `max_in_flight` batches and about the receiver's
window are under way.

Pure: sockets, timers and ids are the caller's. Every method that may change what is to be done
returns effects; `deadline` is when `tick` wants to be called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from noex.transport import wire
from noex.transport.codec_apart import Buffer
from noex.transport.cutting import LARGE, MESSAGE_COST, Cutter, Sent, UnderWay
from noex.transport.lane_settings import LaneSettings
from noex.transport.streams import Sendable
from noex.transport.wire import Hello, Opened, Refusal, WireError

Uid = wire.Uid

SIGNAL_WINDOWS: Final = 4
"""How many windows of the sender signals may fill before they, too, are refused."""


_ORDINARY: Final = {Refusal.NOT_ADMITTED, Refusal.WRONG_LIFE, Refusal.STALE, Refusal.UNKNOWN}
"""Refusals that go with nodes that come and go. All others need somebody to look."""


class Phase(Enum):
    """Where an `Outbound` stands."""

    IDLE = "idle"  # no connection, nothing to send
    DIALLING = "dialling"  # a socket is connecting
    GREETING = "greeting"  # HELLO is sent, OPEN is awaited
    OPEN = "open"
    PAUSED = "paused"  # waiting for the next dial
    BROKEN = "broken"  # the session cannot go on
    PARTED = "parted"  # the peer has said goodbye
    CLOSED = "closed"


class Dial(NamedTuple):
    """Open a fresh socket under this connection number."""

    connection: int


class Hangup(NamedTuple):
    """Close the socket, once the goodbye before it has left if there is one."""

    lingers: bool = False


class Transmit(NamedTuple):
    """Send this frame on the open socket, and the bare ones after it with it."""

    frame: bytes
    rest: Sequence[Buffer] = ()


class Weight(Enum):
    """What kind of trouble it is."""

    PASSING = "passing"  # it is tried again
    REFUSED = "refused"  # it is tried again, but somebody should look
    GOODBYE = "goodbye"  # the peer has ended the session


class Trouble(NamedTuple):
    """Something that the owner of the lane should know."""

    text: str
    weight: Weight = Weight.PASSING


Effect = Dial | Hangup | Transmit | Trouble


class Outbound:
    """The sender's session with one life of a peer.

    `numbers` gives the connection numbers: each larger than all before it, for all sessions of
    this process (a routing id must never come twice to a listener, whatever life used it).
    `jitter` gives a number from 0 to 1.
    """

    __slots__ = (
        "_acked",
        "_append",
        "_attempts",
        "_ceiling",
        "_cluster",
        "_flying",
        "_flying_pieces",
        "_forgiven",
        "_half",
        "_has_ended",
        "_held",
        "_jitter",
        "_next",
        "_numbers",
        "_queue",
        "_session",
        "_settings",
        "_their_session",
        "_unacked",
        "_used_at",
        "_window",
        "connection",
        "deadline",
        "me",
        "peer",
        "phase",
        "queued",
        "version",
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
        self._half = settings.window_bytes // 2
        self._forgiven = 0  # bytes of one very large message that do not count
        self._session = numbers()
        self._their_session = 0
        self.version = 0  # agreed on; 0: never opened
        self._ceiling = settings.window_bytes  # 0 when it has ended: then all is done with care
        self._empty()
        self._unacked: deque[Sent] = deque()  # batches _acked + 1 .. _next - 1
        self._acked = 0
        self._next = 1
        self._flying = 0  # cost of _unacked; queued == _flying + what waits
        self._flying_pieces = 0
        self._attempts = 0
        self._used_at = 0.0
        self._has_ended = False  # BROKEN or CLOSED; enum members are slow to reach in `offer`

    def offer(self, data: Sendable, signal: bool = False, stream: int = 0) -> bool:
        """Queue one message. False: the window is full, or the session has ended.

        A signal (a reply, a Down) goes beyond the window, up to `SIGNAL_WINDOWS` of it: each
        answers for something that was opened before, so their number is bounded where those are.
        Order holds within a `stream`; a large message is passed by those of other streams.
        """
        cost = len(data) + MESSAGE_COST
        queued = self.queued + cost
        if cost > LARGE or queued > self._ceiling or self._held:
            return self._offer_with_care(data, cost, signal, stream)
        self.queued = queued
        self._append(data)
        return True

    def _offer_with_care(self, data: Sendable, cost: int, signal: bool, stream: int) -> bool:
        limit = self._window * SIGNAL_WINDOWS if signal else self._window
        if (cost > self._half or self.queued + cost > limit) and not self._admits(cost, limit):
            return False
        if self._has_ended:
            return self.phase is Phase.PARTED  # its calls and monitors end with the peer's life
        self.queued += cost
        self._queue.place(data, cost, stream)
        return True

    def _admits(self, cost: int, limit: int) -> bool:
        """Whether a message may be queued that fills the window, or half of it."""
        half, forgiven = self._half, self._forgiven
        counts = half if cost > half and not forgiven else cost
        if self.queued and self.queued - forgiven + counts > limit:
            return False
        if not self._has_ended:
            self._forgiven += cost - counts
        return True

    def flush(self, now: float) -> list[Effect]:
        """Send what has been offered, as far as the receiver takes it; dial if need be."""
        if self.phase is Phase.OPEN:
            self._used_at = now
            return self._cut()
        if self.phase is Phase.IDLE and self.queued:
            return self._dial(now)
        return []

    def connected(self, now: float) -> list[Effect]:
        """The socket is connected."""
        if self.phase is not Phase.DIALLING:
            return []
        self.phase = Phase.GREETING
        self.deadline = now + self._settings.open_timeout
        settings = self._settings
        spoken = settings.min_version, settings.max_version, settings.features
        hello = Hello(self._cluster, *self.me, self._session, *spoken)
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

    def close(self, reason: str = "closed") -> list[Effect]:
        """The peer is expelled or the lane stops: say goodbye, and forget everything."""
        if self.phase is Phase.OPEN and self.version > wire.OLDEST:
            text = wire.pack_goodbye(self.peer[1], self.connection, reason, self.version)
            self._end(Phase.CLOSED)
            return [Transmit(text), Hangup(lingers=True)]
        return self._end(Phase.CLOSED)

    def parted(self, reason: str) -> list[Effect]:
        """The peer has said goodbye, here or where it dials us."""
        if self._has_ended:
            return []
        return [Trouble(f"said goodbye: {reason}", Weight.GOODBYE), *self._end(Phase.PARTED)]

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
        self._empty()
        self._unacked.clear()
        self._ceiling = 0
        self.queued = self._flying = self._flying_pieces = self._forgiven = 0
        return [Hangup()]

    def _empty(self) -> None:
        self._queue = Cutter(self.peer[1], self._settings)
        self._append, self._held = self._queue.pending.append, self._queue.held

    def _break(self, reason: str) -> list[Effect]:
        text = (
            f"the session cannot go on, {self._next - 1 - self._acked} batches are lost: {reason}"
        )
        return [Trouble(text), *self._end(Phase.BROKEN)]

    def _answered(self, frame: bytes, now: float) -> list[Effect]:
        header = wire.unpack_header(frame)
        kind = header.kind
        if kind == wire.REFUSED:  # may come from a life that knows neither of our numbers
            return self._refused(*wire.unpack_refused(frame), now)
        if header.connection != self.connection or header.incarnation != self.me[1]:
            raise WireError(Refusal.STALE, "it is for another connection")
        if kind == wire.OPEN and self.phase is Phase.GREETING:
            return self._opened(header.seq, wire.unpack_open(frame), now)
        if frame[0] != self.version:
            wire.check_version(frame, self.version)
        if kind == wire.ACK and self.phase is Phase.OPEN:
            self._acknowledge(header.seq)
            return self._cut()
        if self.version > wire.OLDEST and header.kind not in (wire.OPEN, wire.ACK):
            return self._told(header.kind, frame)
        raise WireError(Refusal.BAD_FRAME, f"kind {header.kind} while {self.phase.value}")

    def _told(self, kind: int, frame: bytes) -> list[Effect]:
        """What a listener may say since version 2; or what a later one says that we know not."""
        if kind == wire.GOODBYE:
            return self.parted(wire.unpack_goodbye(frame))
        if kind == wire.UNSUPPORTED:
            what = f"it does not support frames of kind {wire.unpack_unsupported(frame)}"
            return [Trouble(what, Weight.REFUSED)]
        if kind <= wire.GOODBYE:
            raise WireError(Refusal.BAD_FRAME, f"a listener sends no frames of kind {kind}")
        return [Trouble(f"it sends frames of kind {kind}, which is not known here")]

    def _refused(self, code: Refusal, text: str, now: float) -> list[Effect]:
        if code is Refusal.WRONG_SESSION:
            return self._break(text)
        weight = Weight.PASSING if code in _ORDINARY else Weight.REFUSED
        return [Trouble(f"refused ({code.name.lower()}): {text}", weight), *self._back_off(now)]

    def _opened(self, next_seq: int, opened: Opened, now: float) -> list[Effect]:
        settings = self._settings
        if not settings.min_version <= opened.version <= settings.max_version:
            raise WireError(Refusal.WRONG_VERSION, f"it wants to speak version {opened.version}")
        if self._their_session not in (0, opened.session):
            return self._break("the receiver has forgotten this session")
        if self.version not in (0, opened.version):
            return self._break(f"it spoke version {self.version}, and now {opened.version}")
        if not self._acked < next_seq <= self._next:
            return self._break(
                f"the receiver expects batch {next_seq}, not one of "
                f"{self._acked + 1} to {self._next}"
            )
        self.version, self._their_session = opened.version, opened.session
        self._queue.agree(opened)
        self.phase = Phase.OPEN
        self._used_at, self.deadline = now, now + self._settings.idle_timeout
        self._acknowledge(next_seq - 1)
        return [*self._again(), *self._cut()]

    def _again(self) -> list[Effect]:
        """What was sent and not acknowledged, for this connection; the old frames make room."""
        again: list[Effect] = []
        for _ in range(len(self._unacked)):
            sent = self._unacked.popleft()
            sent = sent._replace(frame=wire.readdress(sent.frame, self.connection))
            self._unacked.append(sent)
            again.append(Transmit(sent.frame, sent.rest))
        return again

    def _acknowledge(self, seq: int) -> None:
        if not self._acked <= seq < self._next:
            raise WireError(
                Refusal.BAD_FRAME,
                f"batch {seq} is acknowledged, under way are {self._acked + 1} to {self._next - 1}",
            )
        for _ in range(seq - self._acked):
            cost, _, _, is_piece = self._unacked.popleft()
            self._flying -= cost
            self.queued -= cost
            if is_piece:
                self._flying_pieces -= cost
            self._attempts = 0
        self._acked = seq
        if self._forgiven:
            self._forgiven = max(0, min(self._forgiven, self.queued - self._half))

    def _cut(self) -> list[Effect]:
        """Number and send what is waiting, as far as the receiver takes it."""
        effects: list[Effect] = []
        queue, unacked = self._queue, self._unacked
        while True:
            small = self.queued - self._flying - queue.held_cost
            if queue.held:
                under_way = UnderWay(len(unacked), self._flying, self._flying_pieces)
                sent = queue.next(self.connection, self._next, under_way, small)
            elif small:
                sent = queue.batch(self.connection, self._next, len(unacked), self._flying, small)
            else:
                break
            if sent is None:
                break
            unacked.append(sent)
            self._next += 1
            self._flying += sent.cost
            if sent.is_piece:
                self._flying_pieces += sent.cost
            effects.append(Transmit(sent.frame, sent.rest))
        return effects
