"""Frames that are followed by bare ones: messages with buffers beside them, pieces of large ones.

Both are numbered like a batch. Bodies (all numbers little endian):

- BULK: u32 count of messages, u32 count of buffers; count times u32 length of a message without its
  buffers; count times u32 how many buffers it has; for each buffer its u32 length; then the
  messages. The buffers follow as ZeroMQ frames, in order.
- PIECE: u32 number of the message in its session, u64 offset, u32 bytes that follow, u32 count of
  segments, then for each its u32 length. The segments of a message are its own bytes, then its
  buffers; only the piece at offset 0 tells them (else the count is 0). The bytes from the offset on
  follow as ZeroMQ frames, none of which goes beyond the end of a segment.

Pure: bytes in, values out. Everything illegal is a `WireError`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from noex.transport.codec_apart import MOST_APART, Buffer
from noex.transport.parcel import Parcel
from noex.transport.wire import (
    BULK,
    HEADER_SIZE,
    PIECE,
    Header,
    Message,
    Refusal,
    WireError,
    frame_of,
)

MOST_FRAMES: Final = 16 * MOST_APART
"""ZeroMQ frames in one message; a receiver keeps no more of them."""
LEAST_PIECE: Final = 1024
"""Bytes in every piece but the last: or a message could be more crumbs than bytes."""

_COUNTS: Final = struct.Struct("<II")
_PIECE: Final = struct.Struct("<IQII")
_BIG_ENDIAN: Final = sys.byteorder == "big"


class Piece(NamedTuple):
    """A part of a large message. `lengths`: of all its segments, in the first piece."""

    number: int
    offset: int
    size: int
    lengths: tuple[int, ...] = ()


def besides_largest(totals: Sequence[int]) -> int:
    """What large messages under way count for the window: all their bytes but the largest's."""
    return sum(totals) - max(totals, default=0)


def _pack_numbers(*columns: Sequence[int]) -> bytes:
    numbers = array("I")
    for column in columns:
        numbers.extend(column)
    if _BIG_ENDIAN:
        numbers.byteswap()
    return numbers.tobytes()


def _unpack_numbers(frame: bytes, at: int, count: int) -> list[int]:
    numbers = array("I")
    numbers.frombytes(frame[at : at + 4 * count])
    if _BIG_ENDIAN:
        numbers.byteswap()
    return list(numbers)


def pack_bulk(
    incarnation: int, connection: int, seq: int, messages: Sequence[Message], version: int
) -> tuple[bytes, list[Buffer]]:
    """One batch of messages, some with buffers: the frame, and the bare ones that follow it."""
    data = [message.data if type(message) is Parcel else message for message in messages]
    beside = [message.buffers if type(message) is Parcel else () for message in messages]
    buffers: list[Buffer] = [buffer for group in beside for buffer in group]
    columns = ([*map(len, data)], [*map(len, beside)], [*map(len, buffers)])
    body = b"".join((_COUNTS.pack(len(messages), len(buffers)), _pack_numbers(*columns), *data))
    return frame_of(version, Header(BULK, incarnation, connection, seq), body), buffers


def unpack_bulk(frame: bytes, rest: Sequence[Buffer], max_messages: int) -> list[Message]:
    """The messages of a BULK frame."""
    start = HEADER_SIZE + _COUNTS.size
    if len(frame) < start:
        raise _bad("a bulk batch without counts")
    count, beside = _COUNTS.unpack_from(frame, HEADER_SIZE)
    if not 0 < count <= max_messages:
        raise _bad(f"a bulk batch of {count} messages, legal are 1 to {max_messages}")
    if beside != len(rest):
        raise _bad(f"a bulk batch says it has {beside} buffers, {len(rest)} came")
    table = 2 * count + beside
    data_at = start + 4 * table
    if len(frame) < data_at:
        raise _bad(f"the lengths of {count} messages and {beside} buffers do not fit")
    numbers = _unpack_numbers(frame, start, table)
    lengths, groups, sizes = numbers[:count], numbers[count : 2 * count], numbers[2 * count :]
    if data_at + sum(lengths) != len(frame) or sum(groups) != beside:
        raise _bad("the lengths of a bulk batch do not add up")
    if sizes != [*map(len, rest)]:
        raise _bad("the buffers of a bulk batch have other lengths than it says")
    if max(groups) > MOST_APART:
        raise _bad(f"a message with {max(groups)} buffers, legal are {MOST_APART}")
    edges = pairwise(accumulate(lengths, initial=data_at))
    after = iter(rest)
    return [
        Parcel(frame[a:b], [next(after) for _ in range(group)]) if group else frame[a:b]
        for (a, b), group in zip(edges, groups, strict=True)
    ]


def pack_piece(incarnation: int, connection: int, seq: int, piece: Piece, version: int) -> bytes:
    """The frame before the bytes of a piece."""
    number, offset, size, lengths = piece
    body = _PIECE.pack(number, offset, size, len(lengths)) + _pack_numbers(lengths)
    return frame_of(version, Header(PIECE, incarnation, connection, seq), body)


def unpack_piece(frame: bytes, rest: Sequence[Buffer]) -> Piece:
    """The frame before a piece; what follows it has the size that it says."""
    start = HEADER_SIZE + _PIECE.size
    if len(frame) < start:
        raise _bad("a piece without its numbers")
    number, offset, size, count = _PIECE.unpack_from(frame, HEADER_SIZE)
    if len(frame) != start + 4 * count:
        raise _bad(f"the lengths of {count} segments do not fit")
    if bool(count) != (offset == 0) or count > MOST_APART + 1:
        raise _bad(f"{count} segments in the piece at {offset}")
    sizes = [*map(len, rest)]
    if size != sum(sizes) or 0 in sizes or not size:
        raise _bad(f"a piece says it has {size} bytes, {sum(sizes)} came in {len(sizes)} frames")
    lengths = tuple(_unpack_numbers(frame, start, count))
    if 0 in lengths:
        raise _bad("a segment without bytes")
    return Piece(number, offset, size, lengths)


def _bad(reason: str) -> WireError:
    return WireError(Refusal.BAD_FRAME, reason)
