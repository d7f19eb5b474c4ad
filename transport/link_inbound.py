"""One direction between two lives: the machine of the receiver's session.

The other half, and the theory of both, is `noex.transport.link`. Pure: frames in, messages out.
"""

from __future__ import annotations

from collections.abc import Sequence

from noex.transport import wire, wire_bulk
from noex.transport.codec_apart import Buffer
from noex.transport.lane_settings import LaneSettings
from noex.transport.reassembly import Reassembly
from noex.transport.wire import Header, Message, Opened, Refusal, Uid, WireError


class Inbound:
    """The receiver's session with one life of a peer."""

    __slots__ = (
        "_most",
        "_owed_bytes",
        "_partials",
        "_settings",
        "_their_session",
        "connection",
        "expected",
        "features",
        "me",
        "owed",
        "peer",
        "routing_id",
        "session",
        "version",
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
        self.version = wire.OLDEST  # agreed on in the last greeting, as are the features
        self.features = 0
        self._most = settings.max_message + settings.max_batch  # bytes after one frame
        self._partials = Reassembly(
            max_message=settings.max_message,
            max_bytes=settings.window_bytes,
            max_partials=settings.max_partials,
        )

    def greeted(
        self,
        routing_id: bytes,
        connection: int,
        session: int,
        version: int = wire.OLDEST,
        features: int = 0,
    ) -> bytes:
        """Make this the current connection and answer OPEN.

        `version` is the one agreed on, `features` are the sender's.
        """
        if connection < self.connection or (
            connection == self.connection and routing_id != self.routing_id
        ):
            raise WireError(Refusal.STALE, f"connection {self.connection} has replaced it")
        if self._their_session not in (0, session):
            raise WireError(Refusal.WRONG_SESSION, "the sender has begun another session")
        self.connection, self.routing_id, self._their_session = connection, routing_id, session
        self.owed = self._owed_bytes = 0  # the OPEN acknowledges them
        settings = self._settings
        self.version = version
        self.features = settings.features & features if version > wire.OLDEST else 0
        opened = Opened(
            settings.window_bytes, self.session, version, self.features, settings.max_partials
        )
        return wire.pack_open(self.peer[1], connection, self.expected, opened)

    def take(self, header: Header, frame: bytes, rest: Sequence[Buffer] = ()) -> list[Message]:
        """The messages of the next batch; or of the next piece, if it is the last of its own."""
        if header.connection != self.connection or header.seq != self.expected:
            raise WireError(
                Refusal.BAD_FRAME,
                f"batch {header.seq} of connection {header.connection}, expected was "
                f"{self.expected} of {self.connection}",
            )
        if header.kind == wire.BATCH:
            messages = wire.unpack_batch(frame, self._settings.max_batch_messages)
        else:
            size = sum(map(len, rest))
            if size > self._most:
                raise WireError(Refusal.BAD_FRAME, f"{size} bytes after one frame")
            messages = self._unpacked(header.kind, frame, rest)
            self._owed_bytes += size
        self.expected += 1
        self.owed += 1
        self._owed_bytes += len(frame)
        return messages

    def _unpacked(self, kind: int, frame: bytes, rest: Sequence[Buffer]) -> list[Message]:
        feature = wire.BUFFERS if kind == wire.BULK else wire.PIECES
        if not self.features & feature:
            raise WireError(Refusal.BAD_FRAME, f"a frame of kind {kind} that was not agreed on")
        if kind == wire.BULK:
            return wire_bulk.unpack_bulk(frame, rest, self._settings.max_batch_messages)
        message = self._partials.take(wire_bulk.unpack_piece(frame, rest), rest)
        return [] if message is None else [message]

    @property
    def is_ack_due(self) -> bool:
        """Whether so much has been taken that the sender should hear of it at once."""
        return (
            self.owed >= self._settings.ack_batches or self._owed_bytes >= self._settings.ack_bytes
        )

    def acknowledge(self) -> bytes:
        """The acknowledgement of all that was taken."""
        self.owed = self._owed_bytes = 0
        return wire.pack_ack(self.peer[1], self.connection, self.expected - 1, self.version)

    def farewell(self, reason: str) -> bytes:
        """This side has ended the session, or itself."""
        life, connection = self.peer[1], self.connection
        if self.version == wire.OLDEST:
            return wire.pack_refused(life, connection, Refusal.NOT_ADMITTED, reason)
        return wire.pack_goodbye(life, connection, reason, self.version)
