"""The frames of the user lane: how they lie in memory, and what is checked on arrival.

A frame has a header of 26 bytes, then a body::

    u8   protocol version
    u8   kind
    u64  incarnation of the life it is meant for
    u32  connection: the number of the dial it belongs to
    u64  sequence number (BATCH, BULK, PIECE: its own; OPEN: the next one expected; ACK: the last
         one taken; others: 0)
    u32  length of the body

All numbers are little endian. One ZeroMQ message is one frame; only after BULK and PIECE
(`noex.transport.wire_bulk`) come further ZeroMQ frames, which are bare bytes. Bodies:

- HELLO (dialler to listener): u64 incarnation of the dialler, u32 session, then the cluster name
  and the node id, each with a u16 length before it; u8 highest version, u32 features. The version
  in its header is the lowest one that the dialler speaks. Without the last two fields that is also
  the highest.
- OPEN: u64 window in bytes, u32 session of the listener; from version 2 on u32 features, u16 how
  many large messages may be under way at once. The version in its header is the one agreed on.
- REFUSED: u8 code, then a text in UTF-8.
- BATCH: u32 count, count times u32 length, then the messages. The lengths stand together in front
  so that packing and unpacking are a few C calls for a batch and none for a message.
- ACK: empty.
- UNSUPPORTED: u8 kind of the frame that the receiver does not know.
- GOODBYE: a text in UTF-8.

The header, HELLO and REFUSED stay as they are for ever, so that any two versions can at least find
out that they do not fit. Bytes that follow in a HELLO, or in an OPEN of version 2 or later, are of
a newer version and not looked at. The whole protocol is in ``docs/wire.md``.

Pure: bytes in, values out. Everything illegal is a `WireError`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from noex.transport.parcel import Parcel

OLDEST: Final = 1
VERSION: Final = 2
"""The oldest and the newest protocol version that this code speaks."""

HELLO: Final = 1
OPEN: Final = 2
REFUSED: Final = 3
BATCH: Final = 4
ACK: Final = 5
BULK: Final = 6
PIECE: Final = 7
UNSUPPORTED: Final = 8
GOODBYE: Final = 9

BUFFERS: Final = 1
PIECES: Final = 2
FEATURES: Final = BUFFERS | PIECES
"""What a side may do in version 2 if the other can take it too, as bits."""

HEADER: Final = struct.Struct("<BBQIQI")
HEADER_SIZE: Final = HEADER.size
_MAX_TEXT: Final = 512
"""Bytes of a name in a greeting: strangers' names stand in the log, too."""
MAX_ANSWER: Final = 4096
"""The largest frame that a listener sends back."""

_HELLO: Final = struct.Struct("<QI")
_SPOKEN: Final = struct.Struct("<BI")
_OPEN: Final = struct.Struct("<QI")
_TERMS: Final = struct.Struct("<IH")
_COUNT: Final = struct.Struct("<I")
_SHORT: Final = struct.Struct("<H")
_ROUTING_ID_LIMIT: Final = 255
_VIEW_FROM: Final = 64 * 1024
"""Messages from this size on are handed out as a view of their frame instead of a copy."""
_BIG_ENDIAN: Final = sys.byteorder == "big"

Message = bytes | memoryview | Parcel

Uid = tuple[str, int]
"""A life of a node: (node id, incarnation)."""


class Refusal(IntEnum):
    """Why a listener refuses a connection."""

    BAD_FRAME = 1
    WRONG_VERSION = 2
    WRONG_CLUSTER = 3
    WRONG_LIFE = 4
    NOT_ADMITTED = 5
    STALE = 6
    WRONG_SESSION = 7
    UNKNOWN = 8


class WireError(Exception):
    """A frame that breaks a rule. `code` is what its sender is told."""

    def __init__(self, code: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Header(NamedTuple):
    """What stands in front of every frame."""

    kind: int
    incarnation: int
    connection: int
    seq: int


class Hello(NamedTuple):
    """Who dials: the life, the cluster it believes in, which of its sessions this is; what it
    speaks."""

    cluster: str
    node_id: str
    incarnation: int
    session: int
    lowest: int = OLDEST
    highest: int = OLDEST
    features: int = 0


class Opened(NamedTuple):
    """The listener's answer: how much it takes at once, which of its sessions this is; what is
    spoken from here on."""

    window: int
    session: int
    version: int = OLDEST
    features: int = 0
    partials: int = 0


def make_routing_id(node_id: str, incarnation: int, connection: int) -> bytes:
    """The routing id of one dial: never used twice, at most 255 bytes.

    A node id too long to fit is replaced by its hash.
    """
    tail = f"#{incarnation}#{connection}".encode()
    name = node_id.encode()
    if len(name) + len(tail) > _ROUTING_ID_LIMIT:
        name = blake2b(name, digest_size=32).hexdigest().encode()
    return name + tail


def agree(lowest: int, highest: int, hello: Hello) -> int:
    """The version that both sides use: the highest that both speak."""
    version = min(highest, hello.highest)
    if version < max(lowest, hello.lowest):
        raise WireError(
            Refusal.WRONG_VERSION,
            f"{hello.node_id} speaks protocol versions {hello.lowest} to {hello.highest}, "
            f"this node {lowest} to {highest}",
        )
    return version


def frame_of(version: int, header: Header, body: bytes) -> bytes:
    """Header and body."""
    kind, incarnation, connection, seq = header
    return HEADER.pack(version, kind, incarnation, connection, seq, len(body)) + body


def pack_hello(incarnation: int, connection: int, hello: Hello) -> bytes:
    """A greeting to the life `incarnation`. One that speaks version 1 alone is as it was then."""
    spoken = _SPOKEN.pack(hello.highest, hello.features) if hello.highest > OLDEST else b""
    cluster, node_id = hello.cluster.encode(), hello.node_id.encode()
    body = b"".join(
        (
            _HELLO.pack(hello.incarnation, hello.session),
            _SHORT.pack(len(cluster)),
            cluster,
            _SHORT.pack(len(node_id)),
            node_id,
            spoken,
        )
    )
    return frame_of(hello.lowest, Header(HELLO, incarnation, connection, 0), body)


def pack_open(incarnation: int, connection: int, next_seq: int, opened: Opened) -> bytes:
    """The answer to a greeting: go on from `next_seq`."""
    window, session, version, features, partials = opened
    body = _OPEN.pack(window, session)
    if version > OLDEST:
        body += _TERMS.pack(features, partials)
    return frame_of(version, Header(OPEN, incarnation, connection, next_seq), body)


def pack_refused(incarnation: int, connection: int, code: Refusal, text: str) -> bytes:
    """The answer to anything that is not wanted. The text is cut to fit."""
    body = bytes((code,)) + text.encode()[: MAX_ANSWER // 4]
    return frame_of(OLDEST, Header(REFUSED, incarnation, connection, 0), body)


def pack_ack(incarnation: int, connection: int, seq: int, version: int = OLDEST) -> bytes:
    """All batches up to `seq` have been taken."""
    return HEADER.pack(version, ACK, incarnation, connection, seq, 0)


def pack_unsupported(incarnation: int, connection: int, kind: int, version: int) -> bytes:
    """The answer to a frame of a kind that is not known here."""
    return frame_of(version, Header(UNSUPPORTED, incarnation, connection, 0), bytes((kind,)))


def pack_goodbye(incarnation: int, connection: int, reason: str, version: int) -> bytes:
    """This side has ended the session, or itself. The reason is cut to fit."""
    body = reason.encode()[: MAX_ANSWER // 4]
    return frame_of(version, Header(GOODBYE, incarnation, connection, 0), body)


def pack_batch(
    incarnation: int,
    connection: int,
    seq: int,
    messages: Sequence[bytes],
    version: int = OLDEST,
) -> bytes:
    """One batch of encoded messages, in order."""
    count = len(messages)
    lengths = array("I", map(len, messages))
    size = _COUNT.size + 4 * count + sum(lengths)
    if _BIG_ENDIAN:
        lengths.byteswap()
    header = HEADER.pack(version, BATCH, incarnation, connection, seq, size)
    return b"".join((header, _COUNT.pack(count), lengths.tobytes(), *messages))


def readdress(frame: bytes, connection: int) -> bytes:
    """The same frame for another connection: what is sent again after a redial."""
    version, kind, incarnation, _, seq, size = HEADER.unpack_from(frame)
    header = HEADER.pack(version, kind, incarnation, connection, seq, size)
    return b"".join((header, memoryview(frame)[HEADER_SIZE:]))


def unpack_header(frame: bytes) -> Header:
    """Check the length of a frame and split off its header. The version is its first byte."""
    if len(frame) < HEADER_SIZE:
        raise WireError(Refusal.BAD_FRAME, f"a frame of {len(frame)} bytes has no header")
    _, kind, incarnation, connection, seq, size = HEADER.unpack_from(frame)
    if size != len(frame) - HEADER_SIZE:
        raise WireError(
            Refusal.BAD_FRAME, f"a body of {len(frame) - HEADER_SIZE} bytes says it has {size}"
        )
    return Header(kind, incarnation, connection, seq)


def check_version(frame: bytes, version: int) -> None:
    """Refuse a frame that is not of the version agreed on."""
    if frame[0] != version:
        raise WireError(
            Refusal.WRONG_VERSION,
            f"a frame of protocol version {frame[0]} on a connection that speaks {version}",
        )


def unpack_hello(frame: bytes) -> Hello:
    """A HELLO frame. What a newer version may have added at its end is not looked at."""
    lowest = highest = frame[0]
    features = 0
    try:
        incarnation, session = _HELLO.unpack_from(frame, HEADER_SIZE)
        cluster, end = _text(frame, HEADER_SIZE + _HELLO.size)
        node_id, end = _text(frame, end)
        if end < len(frame):
            highest, features = _SPOKEN.unpack_from(frame, end)
    except (struct.error, UnicodeDecodeError) as error:
        raise WireError(Refusal.BAD_FRAME, f"malformed greeting: {error}") from None
    if not 0 < lowest <= highest:
        raise WireError(Refusal.BAD_FRAME, f"malformed greeting: versions {lowest} to {highest}")
    return Hello(cluster, node_id, incarnation, session, lowest, highest, features)


def _text(frame: bytes, at: int) -> tuple[str, int]:
    (length,) = _SHORT.unpack_from(frame, at)
    if length > _MAX_TEXT:
        raise WireError(Refusal.BAD_FRAME, f"malformed greeting: a name of {length} bytes")
    start, end = at + _SHORT.size, at + _SHORT.size + length
    if end > len(frame):
        raise WireError(Refusal.BAD_FRAME, "malformed greeting: a text runs past the end")
    return frame[start:end].decode(), end


def unpack_open(frame: bytes) -> Opened:
    """An OPEN frame."""
    version, size = frame[0], len(frame) - HEADER_SIZE
    least = _OPEN.size if version == OLDEST else _OPEN.size + _TERMS.size
    if size < least or (version == OLDEST and size > least):
        raise WireError(Refusal.BAD_FRAME, f"an open answer of {len(frame)} bytes")
    window, session = _OPEN.unpack_from(frame, HEADER_SIZE)
    if version == OLDEST:
        return Opened(window, session)
    return Opened(window, session, version, *_TERMS.unpack_from(frame, HEADER_SIZE + _OPEN.size))


def unpack_unsupported(frame: bytes) -> int:
    """The kind that the other side does not know."""
    if len(frame) != HEADER_SIZE + 1:
        raise WireError(Refusal.BAD_FRAME, "an unsupported answer without a kind")
    return frame[HEADER_SIZE]


def unpack_goodbye(frame: bytes) -> str:
    """The reason in a GOODBYE frame."""
    return frame[HEADER_SIZE:MAX_ANSWER].decode(errors="replace")


def unpack_refused(frame: bytes) -> tuple[Refusal, str]:
    """The body of a REFUSED frame. A code not known here is `Refusal.UNKNOWN`."""
    if len(frame) <= HEADER_SIZE:
        raise WireError(Refusal.BAD_FRAME, "a refusal without a code")
    code = frame[HEADER_SIZE]
    known = Refusal(code) if code in Refusal._value2member_map_ else Refusal.UNKNOWN
    return known, frame[HEADER_SIZE + 1 : MAX_ANSWER].decode(errors="replace")


def unpack_batch(frame: bytes, max_messages: int) -> list[Message]:
    """The messages of a BATCH frame.

    Small ones are copies; one from 64 KiB on is a view, which keeps the frame alive.
    """
    table = HEADER_SIZE + _COUNT.size
    if len(frame) < table:
        raise WireError(Refusal.BAD_FRAME, "a batch without a count")
    (count,) = _COUNT.unpack_from(frame, HEADER_SIZE)
    if not 0 < count <= max_messages:
        raise WireError(
            Refusal.BAD_FRAME, f"a batch of {count} messages, legal are 1 to {max_messages}"
        )
    start = table + 4 * count
    if len(frame) < start:
        raise WireError(Refusal.BAD_FRAME, f"the lengths of {count} messages do not fit")
    lengths = array("I")
    lengths.frombytes(frame[table:start])
    if _BIG_ENDIAN:
        lengths.byteswap()
    if start + sum(lengths) != len(frame):
        raise WireError(Refusal.BAD_FRAME, "the lengths of a batch do not add up")
    edges = pairwise(accumulate(lengths, initial=start))
    if len(frame) < _VIEW_FROM or max(lengths) < _VIEW_FROM:
        return [frame[a:b] for a, b in edges]
    view = memoryview(frame)
    return [frame[a:b] if b - a < _VIEW_FROM else view[a:b] for a, b in edges]
