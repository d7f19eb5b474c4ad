"""The machine that says what leaves next for one peer, and in what frames.

Small messages wait in order and leave as batches. Large ones, and what waits behind them, are in
`streams` and leave as pieces, by turns with the batches. So that neither keeps the other from
leaving, pieces have a sixteenth of the receiver's window, and batches the rest, while there are
both. That sixteenth is also what a small message of another sender may find under way before it.

A peer that has not agreed to buffers gets messages without (put back within), one that has not
agreed to pieces gets large messages whole.

Pure: sessions number and keep what this gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from noex.transport import wire, wire_bulk
from noex.transport.codec_apart import Buffer
from noex.transport.lane_settings import LaneSettings
from noex.transport.parcel import Parcel
from noex.transport.streams import Limits, Sendable, Streams, Waiting, with_slack
from noex.transport.wire import Opened, pack_batch

MESSAGE_COST: Final = 64
"""What a waiting message takes beside its own bytes, so that tiny ones are bounded too."""
LARGE: Final = 1024
"""Bytes: a message that costs no more is never a parcel, and needs no pieces."""

SHARE: Final = 16
"""Pieces have one part in so many of the window for themselves, and batches the rest."""
_NO_LIMIT: Final = 1 << 62


class Sent(NamedTuple):
    """One numbered frame, and the bare ones after it."""

    cost: int
    frame: bytes
    rest: Sequence[Buffer] = ()
    is_piece: bool = False


class UnderWay(NamedTuple):
    """What is sent and not acknowledged: its number, its cost, the cost of the pieces of it."""

    number: int
    cost: int
    pieces: int


class Cutter:
    """What waits to be sent to one life of a peer."""

    __slots__ = (
        "_features",
        "_is_batch_next",
        "_opened",
        "_parcels",
        "_piece_from",
        "_settings",
        "_taken",
        "_to",
        "held",
        "held_cost",
        "pending",
        "streams",
    )

    def __init__(self, to: int, settings: LaneSettings) -> None:
        self.pending: list[Sendable] = []  # small messages, in order; always this very list
        self.streams = Streams()
        self.held = self.streams.by_key  # what is true of it shows whether any stream waits
        self.held_cost = 0  # of what is in the streams
        self._to, self._settings = to, settings
        self._opened = Opened(0, 0)
        self._features = 0
        self._piece_from = with_slack(settings.piece_size)
        self._parcels = 0  # how many of `pending` are none of bytes
        self._taken = 0  # how many have been in `pending`, and have left
        self._is_batch_next = False

    def place(self, data: Sendable, cost: int, stream: int) -> None:
        """Where a message goes that is not small, or not alone."""
        is_large = len(data) > self._piece_from
        if is_large or stream in self.held:
            offered = self._taken + len(self.pending)
            self.streams.add(stream, Waiting(data, cost, is_large), offered)
            self.held_cost += cost
        else:
            self._pend(data)

    def agree(self, opened: Opened) -> None:
        """The listener has said what it takes."""
        self._opened = opened
        self._features = opened.features & self._settings.features
        if not self._takes_pieces:
            self._piece_from = _NO_LIMIT

    def next(self, connection: int, seq: int, under_way: UnderWay, small: int) -> Sent | None:
        """What leaves now, under this number; None for nothing. `small`: the cost of `pending`."""
        if not self._takes_pieces:
            return self._whole_or_batch(connection, seq, under_way, small)
        ways = [self._piece, self._batch_beside]
        for way in reversed(ways) if self._is_batch_next else ways:
            sent = way(connection, seq, under_way, small)
            if sent is not None:
                self._is_batch_next = sent.is_piece
                return sent
        return None

    def batch(
        self, connection: int, seq: int, number: int, flying: int, small: int, share: int = 0
    ) -> Sent | None:
        """The next batch, if it may leave. `number` and `flying`: how many frames are under way,
        and their cost; `share`: what of everything is left to pieces, as a divisor."""
        room, most = self._opened.window, self._settings.max_in_flight
        if share:
            room -= room // share
            most -= most // share
        max_batch = self._settings.max_batch
        least = small if small <= max_batch else max_batch
        if number >= most or (flying and flying + least > room):
            return None
        messages, cost = self._take(small)
        version = self._opened.version
        if self._parcels:
            return Sent(cost, *self._packed(messages, connection, seq))
        plain: list[bytes] = messages  # type: ignore[assignment]
        return Sent(cost, pack_batch(self._to, connection, seq, plain, version))

    @property
    def _takes_pieces(self) -> bool:
        return bool(self._features & wire.PIECES and self._opened.partials)

    def _pend(self, data: Sendable) -> None:
        self.pending.append(data)
        self._parcels += type(data) is Parcel

    def _release(self, key: int, released: list[Waiting]) -> None:
        """What waited behind a large message goes on as small ones."""
        for data, cost, _ in released:
            self.held_cost -= cost
            self._pend(data)
        self.streams.hold(key, self._taken + len(self.pending))

    # ------------------------------------------------------------------ pieces

    def _piece(self, connection: int, seq: int, under_way: UnderWay, _small: int) -> Sent | None:
        window = self._opened.window
        size = min(self._settings.piece_size, max(window // (2 * SHARE), 4096))
        if under_way.number >= self._settings.max_in_flight:
            return None
        if under_way.pieces and under_way.pieces + size > window // SHARE:
            return None
        buffers = bool(self._features & wire.BUFFERS)
        limits = Limits(size, self._opened.partials, window, buffers)
        cut = self.streams.cut(self._taken, limits)
        if cut is None:
            return None
        self.held_cost -= cut.cost
        self._release(cut.key, cut.released)
        version = self._opened.version
        frame = wire_bulk.pack_piece(self._to, connection, seq, cut.piece, version)
        return Sent(cut.cost, frame, cut.frames, is_piece=True)

    def _whole_or_batch(
        self, connection: int, seq: int, under_way: UnderWay, small: int
    ) -> Sent | None:
        """For a listener that takes no pieces: what was offered before that was known."""
        ready = self.streams.ready(self._taken)
        if ready is None:
            return self.batch(connection, seq, under_way.number, under_way.cost, small)
        key, (data, cost, _) = ready
        if under_way.number >= self._settings.max_in_flight:
            return None
        if under_way.cost and under_way.cost + cost > self._opened.window:
            return None
        self.held_cost -= cost
        self._release(key, self.streams.leave(key))
        self._parcels += type(data) is Parcel
        return Sent(cost, *self._packed([data], connection, seq))

    # ------------------------------------------------------------------ batches

    def _batch_beside(
        self, connection: int, seq: int, under_way: UnderWay, small: int
    ) -> Sent | None:
        if not small:
            return None
        flying = under_way.cost - under_way.pieces
        return self.batch(connection, seq, under_way.number, flying, small, share=SHARE)

    def _take(self, cost: int) -> tuple[list[Sendable], int]:
        """The next messages for one batch, at least one, and their cost. All have `cost`."""
        settings, pending = self._settings, self.pending
        if cost <= settings.max_batch and len(pending) <= settings.max_batch_messages:
            messages = pending[:]
            pending.clear()
            self._taken += len(messages)
            return messages, cost
        cost = count = 0
        for data in pending[: settings.max_batch_messages]:
            more = cost + len(data) + MESSAGE_COST
            if count and more > settings.max_batch:
                break
            cost, count = more, count + 1
        messages = pending[:count]
        del pending[:count]
        self._taken += count
        return messages, cost

    def _packed(
        self, messages: list[Sendable], connection: int, seq: int
    ) -> tuple[bytes, Sequence[Buffer]]:
        version = self._opened.version
        held = sum(type(message) is Parcel for message in messages) if self._parcels else 0
        self._parcels -= held
        if held and self._features & wire.BUFFERS:
            return wire_bulk.pack_bulk(self._to, connection, seq, messages, version)
        plain = [one.joined() if isinstance(one, Parcel) else one for one in messages]
        return pack_batch(self._to, connection, seq, plain, version), ()
