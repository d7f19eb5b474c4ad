"""The listener's machine of the user lane: which routing id is whose, and who may come in.

Theory. A routing id is at any time one of these:

- *current*: the connection that an admitted life greeted with last. Its batches are taken.
- *waiting*: it has greeted, and its life is not admitted here (yet). It gets its answer from
  `admit`, or is refused after `hello_timeout`. At most `hello_limit` wait; one per life.
- *refused*: it broke a rule, was expelled, or was replaced by a later connection of the same life.
  Whatever it still sends is dropped without a word. (A ROUTER cannot close one connection, so
  "dropping a connection" means this.) The memory of refused ids is bounded; one that falls out of
  it is a stranger again and is refused again.
- *unknown*: a greeting makes it current or waiting; anything else makes it refused.

A rule that is broken costs that connection alone. The session stays: the sender's next dial goes
on where it was.

A greeting whose versions do not meet ours is refused at once, whoever it is from. On an open
connection every frame is of the version agreed on; one of a kind that is not known here is answered
(UNSUPPORTED) and else not looked at.

Pure: frames in, effects out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from noex.transport import wire
from noex.transport.codec_apart import Buffer
from noex.transport.lane_settings import LaneSettings
from noex.transport.link_inbound import Inbound
from noex.transport.wire import Header, Hello, Message, Refusal, Uid, WireError

REFUSED_KEPT: Final = 4096
_NUMBERED: Final = frozenset({wire.BATCH, wire.BULK, wire.PIECE})


class Answer(NamedTuple):
    """Send this frame back to that routing id."""

    routing_id: bytes
    frame: bytes


class Deliver(NamedTuple):
    """Messages of an admitted life, in order."""

    uid: Uid
    messages: list[Message]


class Rejected(NamedTuple):
    """A connection was refused. `uid` is known if it had greeted."""

    routing_id: bytes
    uid: Uid | None
    code: Refusal
    reason: str


class Parted(NamedTuple):
    """An admitted life has said goodbye."""

    uid: Uid
    reason: str


class Strange(NamedTuple):
    """An admitted life has sent a frame of a kind that is not known here."""

    uid: Uid
    kind: int


Outcome = Answer | Deliver | Rejected | Parted | Strange


class _Waiting(NamedTuple):
    routing_id: bytes
    connection: int
    hello: Hello
    version: int
    until: float


class Reception:
    """All receiver sessions of one lane. `numbers` gives session numbers, each a new one."""

    def __init__(
        self, me: Uid, *, cluster: str, settings: LaneSettings, numbers: Callable[[], int]
    ) -> None:
        self.me = me
        self._cluster, self._settings, self._numbers = cluster, settings, numbers
        self._sessions: dict[Uid, Inbound] = {}
        self._current: dict[bytes, Inbound] = {}
        self._waiting: dict[Uid, _Waiting] = {}  # in order of `until`
        self._refused: dict[bytes, int] = {}  # oldest first
        self._owing: dict[Uid, Inbound] = {}

    @property
    def refused(self) -> dict[bytes, int]:
        """The routing ids that are refused. Who reads may count at each what it says since."""
        return self._refused

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        return next((waiting.until for waiting in self._waiting.values()), None)

    @property
    def owes_acks(self) -> bool:
        """Whether `acknowledge` has something to do."""
        return bool(self._owing)

    def handle(self, routing_id: bytes, frames: Sequence[Any], now: float) -> list[Outcome]:
        """One ZeroMQ message from this routing id: a frame as bytes, and the bare ones after it."""
        if routing_id in self._refused:
            return []
        try:
            inbound = self._current.get(routing_id)
            if inbound is not None and len(frames) == 1:  # most are one more batch
                frame = frames[0]
                header = wire.unpack_header(frame)
                if (
                    header.kind == wire.BATCH
                    and header.incarnation == self.me[1]
                    and frame[0] == inbound.version
                ):
                    return self._take(routing_id, inbound, inbound.take(header, frame))
            if not frames:
                raise WireError(Refusal.BAD_FRAME, "a message without a frame")
            return self._frame(routing_id, frames[0], frames[1:], now)
        except WireError as error:
            return self._refuse(routing_id, error)

    def admit(self, uid: Uid) -> list[Outcome]:
        """This life may come in."""
        if uid in self._sessions:
            return []
        self._sessions[uid] = Inbound(
            self.me, uid, session=self._numbers(), settings=self._settings
        )
        waiting = self._waiting.pop(uid, None)
        if waiting is None:
            return []
        return self._open(uid, *waiting[:4])

    def expel(self, uid: Uid, reason: str = "expelled") -> list[Outcome]:
        """This life may not come in any more; what it still sends is dropped."""
        inbound = self._sessions.pop(uid, None)
        self._owing.pop(uid, None)
        if inbound is None or inbound.routing_id is None:
            return []
        routing_id = inbound.routing_id
        self._drop(routing_id)
        return [Answer(routing_id, inbound.farewell(reason))]

    def farewell(self, reason: str) -> list[Outcome]:
        """This life ends: what all who are connected are told."""
        return [
            Answer(routing_id, inbound.farewell(reason))
            for routing_id, inbound in self._current.items()
        ]

    def new_life(self, incarnation: int) -> None:
        """Go on as another life: nobody is admitted, all sessions are gone."""
        self.me = (self.me[0], incarnation)
        for table in (self._sessions, self._current, self._waiting, self._owing, self._refused):
            table.clear()

    def unreachable(self, routing_id: bytes) -> None:
        """An answer could not be sent: that connection is gone."""
        if routing_id in self._current:
            self._drop(routing_id)  # what of it waits in the socket is sent again on the next one

    def undelivered(self, routing_id: bytes) -> None:
        """An answer did not fit just now: acknowledge again later."""
        inbound = self._current.get(routing_id)
        if inbound is not None:
            self._owing[inbound.peer] = inbound

    def acknowledge(self) -> list[Outcome]:
        """The acknowledgements that were put off."""
        owing, self._owing = self._owing, {}
        return [
            Answer(inbound.routing_id, inbound.acknowledge())
            for inbound in owing.values()
            if inbound.routing_id is not None
        ]

    def tick(self, now: float) -> list[Outcome]:
        """Refuse those who have waited too long."""
        late = [uid for uid, waiting in self._waiting.items() if waiting.until <= now]
        return [outcome for uid in late for outcome in self._turn_away(uid)]

    def _frame(
        self, routing_id: bytes, frame: bytes, rest: Sequence[Buffer], now: float
    ) -> list[Outcome]:
        header = wire.unpack_header(frame)
        if rest and header.kind not in (wire.BULK, wire.PIECE):
            raise WireError(Refusal.BAD_FRAME, f"{len(rest) + 1} frames in one message")
        if header.kind == wire.HELLO:
            hello = wire.unpack_hello(frame)
            version = wire.agree(self._settings.min_version, self._settings.max_version, hello)
            self._check_life(header)
            return self._hello(routing_id, header, hello, version, now)
        self._check_life(header)
        inbound = self._current.get(routing_id)
        if inbound is None:
            raise WireError(Refusal.UNKNOWN, f"kind {header.kind} of a connection that is not open")
        wire.check_version(frame, inbound.version)
        if header.kind in _NUMBERED:
            return self._take(routing_id, inbound, inbound.take(header, frame, rest))
        return self._other(routing_id, inbound, header, frame)

    def _check_life(self, header: Header) -> None:
        if header.incarnation != self.me[1]:
            raise WireError(
                Refusal.WRONG_LIFE,
                f"meant for incarnation {header.incarnation}, this is {self.me[1]}",
            )

    def _take(self, routing_id: bytes, inbound: Inbound, messages: list[Message]) -> list[Outcome]:
        outcomes: list[Outcome] = [Deliver(inbound.peer, messages)] if messages else []
        if inbound.is_ack_due:
            self._owing.pop(inbound.peer, None)
            outcomes.append(Answer(routing_id, inbound.acknowledge()))
        else:
            self._owing[inbound.peer] = inbound
        return outcomes

    def _other(
        self, routing_id: bytes, inbound: Inbound, header: Header, frame: bytes
    ) -> list[Outcome]:
        """A frame without a number."""
        kind = header.kind
        if inbound.version > wire.OLDEST and header.connection == inbound.connection:
            if kind == wire.GOODBYE:
                self._drop(routing_id)
                return [Parted(inbound.peer, wire.unpack_goodbye(frame))]
            if kind == wire.UNSUPPORTED or not wire.HELLO <= kind <= wire.GOODBYE:
                return self._unsupported(routing_id, inbound, kind)
        raise WireError(Refusal.BAD_FRAME, f"a frame of kind {kind}")

    def _unsupported(self, routing_id: bytes, inbound: Inbound, kind: int) -> list[Outcome]:
        life, connection = inbound.peer[1], inbound.connection
        answer = wire.pack_unsupported(life, connection, kind, inbound.version)
        return [Answer(routing_id, answer), Strange(inbound.peer, kind)]

    def _hello(
        self, routing_id: bytes, header: Header, hello: Hello, version: int, now: float
    ) -> list[Outcome]:
        uid = (hello.node_id, hello.incarnation)
        if hello.cluster != self._cluster:
            raise WireError(
                Refusal.WRONG_CLUSTER, f"cluster {hello.cluster!r}, this is {self._cluster!r}"
            )
        if routing_id != wire.make_routing_id(*uid, header.connection):
            raise WireError(Refusal.BAD_FRAME, "the greeting does not match its routing id")
        if uid in self._sessions:
            return self._open(uid, routing_id, header.connection, hello, version)
        return self._wait(uid, _Waiting(routing_id, header.connection, hello, version, now))

    def _open(
        self, uid: Uid, routing_id: bytes, connection: int, hello: Hello, version: int
    ) -> list[Outcome]:
        inbound = self._sessions[uid]
        replaced = inbound.routing_id
        try:
            answer = inbound.greeted(routing_id, connection, hello.session, version, hello.features)
        except WireError as error:
            self._drop(routing_id)
            return self._rejection(routing_id, uid, connection, error)
        if replaced is not None and replaced != routing_id:
            self._drop(replaced)
            inbound.routing_id = routing_id
        self._owing.pop(uid, None)
        self._current[routing_id] = inbound
        return [Answer(routing_id, answer)]

    def _wait(self, uid: Uid, waiting: _Waiting) -> list[Outcome]:
        connection = waiting.connection
        before = self._waiting.get(uid)
        if before is not None:
            if before.connection > connection:
                raise WireError(Refusal.STALE, f"connection {before.connection} has replaced it")
            if before.connection == connection:
                return []
            del self._waiting[uid]
            self._remember_refused(before.routing_id)
        outcomes: list[Outcome] = []
        if len(self._waiting) >= self._settings.hello_limit:
            outcomes = self._turn_away(next(iter(self._waiting)))
        until = waiting.until + self._settings.hello_timeout
        self._waiting[uid] = waiting._replace(until=until)
        return outcomes

    def _turn_away(self, uid: Uid) -> list[Outcome]:
        waiting = self._waiting.pop(uid)
        self._remember_refused(waiting.routing_id)
        error = WireError(Refusal.NOT_ADMITTED, "not a member here")
        return self._rejection(waiting.routing_id, uid, waiting.connection, error)

    def _refuse(self, routing_id: bytes, error: WireError) -> list[Outcome]:
        """Drop a connection that broke a rule, and tell it."""
        inbound = self._current.get(routing_id)
        uid = inbound.peer if inbound is not None else None
        connection = inbound.connection if inbound is not None else 0
        for waiting_uid, waiting in list(self._waiting.items()):
            if waiting.routing_id == routing_id:
                uid, connection = waiting_uid, waiting.connection
                del self._waiting[waiting_uid]
        self._drop(routing_id)
        return self._rejection(routing_id, uid, connection, error)

    def _rejection(
        self, routing_id: bytes, uid: Uid | None, connection: int, error: WireError
    ) -> list[Outcome]:
        return [
            self._refusal(routing_id, uid, connection, error.code, error.reason),
            Rejected(routing_id, uid, error.code, error.reason),
        ]

    def _refusal(
        self, routing_id: bytes, uid: Uid | None, connection: int, code: Refusal, reason: str
    ) -> Answer:
        incarnation = uid[1] if uid is not None else 0
        return Answer(routing_id, wire.pack_refused(incarnation, connection, code, reason))

    def _drop(self, routing_id: bytes) -> None:
        """What this connection still sends is not looked at any more."""
        inbound = self._current.pop(routing_id, None)
        if inbound is not None:
            inbound.routing_id = None
            self._owing.pop(inbound.peer, None)
        self._remember_refused(routing_id)

    def _remember_refused(self, routing_id: bytes) -> None:
        self._refused[routing_id] = 0
        if len(self._refused) > REFUSED_KEPT:
            del self._refused[next(iter(self._refused))]
