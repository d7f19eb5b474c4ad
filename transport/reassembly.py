"""The machine that puts large messages together again from their pieces.

Pieces of one message come in order; those of different messages are mixed. What is bounded: how
many messages are open at once, and the bytes that they will have together, the largest of them not
counted. What they *say* they will have counts, from their first piece on.

A segment that comes in one piece is not copied. One of several is put together piece by piece, so
that a large message costs no moment in which all of it is copied.

Pure: pieces in, messages out. What breaks a rule is a `WireError`, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from noex.transport.codec_apart import Buffer
from noex.transport.parcel import Parcel
from noex.transport.wire import Message, Refusal, WireError
from noex.transport.wire_bulk import LEAST_PIECE, Piece, besides_largest


class _Partial:
    """One message that is on its way."""

    __slots__ = ("lengths", "room", "segments", "taken", "total")

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.lengths = lengths
        self.total = sum(lengths)
        self.taken = 0
        self.segments: list[Buffer | BytesIO] = [b""]
        self.room = lengths[0]  # what the last of the segments still lacks

    def check(self, rest: Sequence[Buffer]) -> None:
        """Refuse frames that do not end where a segment or the piece ends."""
        index, room = len(self.segments) - 1, self.room
        for left, frame in zip(range(len(rest) - 1, -1, -1), rest, strict=True):
            if not room:
                index += 1
                if index == len(self.lengths):
                    raise _bad("a piece goes beyond the end of its message")
                room = self.lengths[index]
            if len(frame) > room or (len(frame) < room and left):
                raise _bad("a frame of a piece does not end where its segment or the piece ends")
            room -= len(frame)

    def add(self, rest: Sequence[Buffer]) -> None:
        """Take checked frames."""
        for frame in rest:
            if not self.room:
                self.room = self.lengths[len(self.segments)]
                self.segments.append(b"")
            self.segments[-1] = _longer(self.segments[-1], frame)
            self.room -= len(frame)
            self.taken += len(frame)

    def message(self) -> Message:
        """The whole."""
        first, *buffers = [
            segment.getvalue() if isinstance(segment, BytesIO) else segment
            for segment in self.segments
        ]
        return Parcel(first, buffers) if buffers else first


def _longer(segment: Buffer | BytesIO, frame: Buffer) -> Buffer | BytesIO:
    """A segment with more of it."""
    if isinstance(segment, BytesIO):
        segment.write(frame)
        return segment
    return _longer(_longer(BytesIO(), segment), frame) if segment else frame


class Reassembly:
    """All messages of one peer that are on their way in pieces."""

    __slots__ = ("_max_bytes", "_max_message", "_max_partials", "_partials")

    def __init__(self, *, max_message: int, max_bytes: int, max_partials: int) -> None:
        self._max_message = max_message
        self._max_bytes, self._max_partials = max_bytes, max_partials
        self._partials: dict[int, _Partial] = {}

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def claimed(self) -> int:
        """How many bytes the open messages will have."""
        return sum(self._totals())

    def _totals(self) -> list[int]:
        return [partial.total for partial in self._partials.values()]

    def take(self, piece: Piece, rest: Sequence[Buffer]) -> Message | None:
        """One piece. The message, if it is the last."""
        partial = self._partials.get(piece.number)
        if piece.offset == 0:
            if partial is not None:
                raise _bad(f"large message {piece.number} begins again")
            partial = _Partial(piece.lengths)
            self._check_room(partial.total)
        elif partial is None or piece.offset != partial.taken:
            there = 0 if partial is None else partial.taken
            raise _bad(f"a piece at {piece.offset} of {piece.number}, of which {there} are here")
        taken = partial.taken + piece.size
        if taken < partial.total and piece.size < LEAST_PIECE:
            raise _bad(f"a piece of {piece.size} bytes, legal are {LEAST_PIECE} or more")
        partial.check(rest)
        partial.add(rest)
        if piece.offset == 0:
            self._partials[piece.number] = partial
        if taken < partial.total:
            return None
        del self._partials[piece.number]
        return partial.message()

    def _check_room(self, total: int) -> None:
        if total > self._max_message:
            raise _bad(f"a message of {total} bytes, max_message is {self._max_message}")
        if len(self._partials) >= self._max_partials:
            raise _bad(f"more than {self._max_partials} large messages at once")
        counted = besides_largest([*self._totals(), total])
        if counted > self._max_bytes:
            raise _bad(
                f"large messages of {counted} bytes beside the largest, the window is "
                f"{self._max_bytes}"
            )


def _bad(reason: str) -> WireError:
    return WireError(Refusal.BAD_FRAME, reason)
