"""The machine that cuts large messages into pieces, and lets those of other senders pass.

Theory. What one process sends to one peer is a *stream*; what no process sends is one, too. Small
messages of all streams leave in the order in which they were offered. A large one opens a queue for
its stream; while that is open,

- pieces of the large message at its head leave in turn with those of other streams,
- all that the same stream offers meanwhile, large or small, waits in the queue,
- nothing of another stream waits.

When the last piece has left, the small messages behind it join the others, up to the next large
one. A large message begins only when all small ones that were offered before it have left (`after`
counts them): one of its own stream may be among them. So the order within a stream is that of the
offers, whatever is cut.

The listener bounds how many large messages may be under way, and how many bytes they may have
together, the largest of them not counted: so a very large one does not keep the others back.

Pure: it decides what is next; numbering and sending are `noex.transport.link`'s.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from noex.transport.codec_apart import Buffer
from noex.transport.parcel import Parcel
from noex.transport.wire_bulk import Piece, besides_largest

Sendable = bytes | Parcel


class Waiting(NamedTuple):
    """A message in the queue of its stream, and what it costs."""

    data: Sendable
    cost: int
    is_large: bool


class Cut(NamedTuple):
    """What leaves next of a stream: a piece, the bytes that follow it, what it costs, and, after
    the last piece, the messages that waited behind it."""

    key: int
    piece: Piece
    frames: list[Buffer]
    cost: int
    released: list[Waiting]


class Limits(NamedTuple):
    """What the listener takes: bytes in one piece (and a quarter more in the last one), large
    messages at once, their bytes; and whether it takes buffers."""

    piece: int
    partials: int
    window: int
    buffers: bool


def with_slack(size: int) -> int:
    """How large a message, or the rest of one, may be to leave in one: a crumb is not worth it."""
    return size + size // 4


class _Large:
    """A large message of which the first piece has left or is leaving."""

    __slots__ = ("cost_left", "index", "number", "offset", "segments", "total", "within")

    def __init__(self, number: int, data: Sendable, cost: int) -> None:
        self.number = number
        self.segments: list[Buffer] = [data] if isinstance(data, bytes) else _segments(data)
        self.total = sum(map(len, self.segments))
        self.cost_left = cost
        self.offset = 0
        self.index = self.within = 0  # of the next byte: its segment, and where in that

    def take(self, size: int) -> list[Buffer]:
        """The next bytes, up to `size`, cut at the edges of segments."""
        frames: list[Buffer] = []
        while size and self.index < len(self.segments):
            segment = memoryview(self.segments[self.index])
            frame = segment[self.within : self.within + size]
            frames.append(frame)
            size -= len(frame)
            self.offset += len(frame)
            self.within += len(frame)
            if self.within == len(segment):
                self.index, self.within = self.index + 1, 0
        return frames


def _segments(parcel: Parcel) -> list[Buffer]:
    return [parcel.data, *parcel.buffers]


class _Stream:
    """The queue of one stream. A large message is at its head."""

    __slots__ = ("after", "large", "waiting")

    def __init__(self, after: int) -> None:
        self.after = after
        self.waiting: deque[Waiting] = deque()
        self.large: _Large | None = None


class Streams:
    """The streams of one session that have a large message."""

    __slots__ = ("_number", "_totals", "_turns", "by_key")

    def __init__(self) -> None:
        self.by_key: dict[int, _Stream] = {}
        self._turns: deque[int] = deque()
        self._number = 0
        self._totals: dict[int, int] = {}  # of the messages that have begun, by number

    def add(self, key: int, message: Waiting, offered: int) -> None:
        """A large message, or one behind it. `offered`: small ones up to now, all streams."""
        stream = self.by_key.get(key)
        if stream is None:
            stream = self.by_key[key] = _Stream(offered)
            self._turns.append(key)
        stream.waiting.append(message)

    def cut(self, taken: int, limits: Limits) -> Cut | None:
        """The next piece, if one may leave. `taken`: how many small messages have left."""
        for _ in range(len(self._turns)):
            key = self._turns[0]
            self._turns.rotate(-1)
            stream = self.by_key[key]
            if stream.large is None and not self._begin(stream, taken, limits):
                continue
            return self._cut(key, stream, limits.piece)
        return None

    def ready(self, taken: int) -> tuple[int, Waiting] | None:
        """A stream whose large message may leave in one, for a listener that takes no pieces."""
        for key in self._turns:
            if self.by_key[key].after <= taken:
                return key, self.by_key[key].waiting[0]
        return None

    def leave(self, key: int) -> list[Waiting]:
        """It has left. Returns the messages that waited behind it."""
        return self._leave(key, self.by_key[key])

    def hold(self, key: int, offered: int) -> None:
        """What was released has been offered: the next large message comes after it."""
        stream = self.by_key.get(key)
        if stream is not None:
            stream.after = offered

    def _begin(self, stream: _Stream, taken: int, limits: Limits) -> bool:
        data, cost, _ = stream.waiting[0]
        if stream.after > taken or len(self._totals) >= limits.partials:
            return False
        if besides_largest([*self._totals.values(), len(data)]) > limits.window:
            return False
        if isinstance(data, Parcel) and not limits.buffers:
            data = data.joined()
        self._number += 1
        stream.large = _Large(self._number, data, cost)
        self._totals[self._number] = stream.large.total
        return True

    def _cut(self, key: int, stream: _Stream, size: int) -> Cut:
        large = stream.large
        assert large is not None
        offset = large.offset
        lengths = tuple(map(len, large.segments)) if offset == 0 else ()
        left = large.total - offset
        frames = large.take(left if left <= with_slack(size) else size)
        piece = Piece(large.number, offset, large.offset - offset, lengths)
        if large.offset < large.total:
            cost = min(piece.size, large.cost_left)
            large.cost_left -= cost
            return Cut(key, piece, frames, cost, [])
        del self._totals[large.number]
        return Cut(key, piece, frames, large.cost_left, self._leave(key, stream))

    def _leave(self, key: int, stream: _Stream) -> list[Waiting]:
        """The head has left. Returns what waited for it, up to the next large message."""
        waiting, released = stream.waiting, []
        waiting.popleft()
        stream.large = None
        while waiting and not waiting[0].is_large:
            released.append(waiting.popleft())
        if not waiting:
            del self.by_key[key]
            self._turns.remove(key)
        return released
