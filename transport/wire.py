"""The frames of the user lane: how they lie in memory, and what is checked on arrival.

One ZeroMQ message is one frame: a header of 26 bytes, then the body::

    u8   protocol version
    u8   kind
    u64  incarnation of the life it is meant for
    u32  connection: the number of the dial it belongs to
    u64  sequence number (BATCH: its own; OPEN: the next one expected; ACK: the last one taken)
    u32  length of the body

All numbers are little endian. Bodies:

- HELLO (dialler to listener): u64 incarnation of the dialler, u32 session, then the cluster name
  and the node id, each with a u16 length before it.
- OPEN: u64 window in bytes, u32 session of the listener.
- REFUSED: u8 code, then a text in UTF-8.
- BATCH: u32 count, count times u32 length, then the messages. The lengths stand together in front
  so that packing and unpacking are a few C calls for a batch and none for a message.
- ACK: empty.

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

VERSION: Final = 1

HELLO: Final = 1
OPEN: Final = 2
REFUSED: Final = 3
BATCH: Final = 4
ACK: Final = 5

HEADER: Final = struct.Struct("<BBQIQI")
HEADER_SIZE: Final = HEADER.size
MAX_ANSWER: Final = 4096
"""The largest frame that a listener sends back (OPEN, REFUSED, ACK)."""

_HELLO: Final = struct.Struct("<QI")
_OPEN: Final = struct.Struct("<QI")
_COUNT: Final = struct.Struct("<I")
_SHORT: Final = struct.Struct("<H")
_ROUTING_ID_LIMIT: Final = 255
_VIEW_FROM: Final = 64 * 1024
"""Messages from this size on are handed out as a view of their frame instead of a copy."""
_BIG_ENDIAN: Final = sys.byteorder == "big"

Message = bytes | memoryview


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
    """Who dials: the life, the cluster it believes in, and which of its sessions this is."""

    cluster: str
    node_id: str
    incarnation: int
    session: int


class Opened(NamedTuple):
    """The listener's answer: how much it takes at once, and which of its sessions this is."""

    window: int
    session: int


def make_routing_id(node_id: str, incarnation: int, connection: int) -> bytes:
    """The routing id of one dial: never used twice, at most 255 bytes.

    A node id too long to fit is replaced by its hash.
    """
    tail = f"#{incarnation}#{connection}".encode()
    name = node_id.encode()
    if len(name) + len(tail) > _ROUTING_ID_LIMIT:
        name = blake2b(name, digest_size=32).hexdigest().encode()
    return name + tail


def _frame(header: Header, body: bytes) -> bytes:
    kind, incarnation, connection, seq = header
    return HEADER.pack(VERSION, kind, incarnation, connection, seq, len(body)) + body


def pack_hello(incarnation: int, connection: int, hello: Hello) -> bytes:
    """A greeting to the life `incarnation`."""
    cluster, node_id = hello.cluster.encode(), hello.node_id.encode()
    body = b"".join(
        (
            _HELLO.pack(hello.incarnation, hello.session),
            _SHORT.pack(len(cluster)),
            cluster,
            _SHORT.pack(len(node_id)),
            node_id,
        )
    )
    return _frame(Header(HELLO, incarnation, connection, 0), body)


def pack_open(incarnation: int, connection: int, next_seq: int, opened: Opened) -> bytes:
    """The answer to a greeting: go on from `next_seq`."""
    return _frame(Header(OPEN, incarnation, connection, next_seq), _OPEN.pack(*opened))


def pack_refused(incarnation: int, connection: int, code: Refusal, text: str) -> bytes:
    """The answer to anything that is not wanted. The text is cut to fit."""
    body = bytes((code,)) + text.encode()[: MAX_ANSWER // 4]
    return _frame(Header(REFUSED, incarnation, connection, 0), body)


def pack_ack(incarnation: int, connection: int, seq: int) -> bytes:
    """All batches up to `seq` have been taken."""
    return HEADER.pack(VERSION, ACK, incarnation, connection, seq, 0)


def pack_batch(incarnation: int, connection: int, seq: int, messages: Sequence[bytes]) -> bytes:
    """One batch of encoded messages, in order."""
    count = len(messages)
    lengths = array("I", map(len, messages))
    size = _COUNT.size + 4 * count + sum(lengths)
    if _BIG_ENDIAN:
        lengths.byteswap()
    header = HEADER.pack(VERSION, BATCH, incarnation, connection, seq, size)
    return b"".join((header, _COUNT.pack(count), lengths.tobytes(), *messages))


def readdress(frame: bytes, connection: int) -> bytes:
    """The same batch for another connection: what is sent again after a redial."""
    version, kind, incarnation, _, seq, size = HEADER.unpack_from(frame)
    header = HEADER.pack(version, kind, incarnation, connection, seq, size)
    return b"".join((header, memoryview(frame)[HEADER_SIZE:]))


def unpack_header(frame: bytes) -> Header:
    """Check version and length of a frame and split off its header."""
    if len(frame) < HEADER_SIZE:
        raise WireError(Refusal.BAD_FRAME, f"a frame of {len(frame)} bytes has no header")
    version, kind, incarnation, connection, seq, size = HEADER.unpack_from(frame)
    if version != VERSION:
        raise WireError(
            Refusal.WRONG_VERSION, f"protocol version {version}, this node speaks {VERSION}"
        )
    if size != len(frame) - HEADER_SIZE:
        raise WireError(
            Refusal.BAD_FRAME, f"a body of {len(frame) - HEADER_SIZE} bytes says it has {size}"
        )
    return Header(kind, incarnation, connection, seq)


def unpack_hello(frame: bytes) -> Hello:
    """The body of a HELLO frame."""
    try:
        incarnation, session = _HELLO.unpack_from(frame, HEADER_SIZE)
        cluster, end = _text(frame, HEADER_SIZE + _HELLO.size)
        node_id, end = _text(frame, end)
    except (struct.error, UnicodeDecodeError) as error:
        raise WireError(Refusal.BAD_FRAME, f"malformed greeting: {error}") from None
    if end != len(frame):
        raise WireError(Refusal.BAD_FRAME, "malformed greeting: bytes are left over")
    return Hello(cluster, node_id, incarnation, session)


def _text(frame: bytes, at: int) -> tuple[str, int]:
    (length,) = _SHORT.unpack_from(frame, at)
    start, end = at + _SHORT.size, at + _SHORT.size + length
    if end > len(frame):
        raise WireError(Refusal.BAD_FRAME, "malformed greeting: a text runs past the end")
    return frame[start:end].decode(), end


def unpack_open(frame: bytes) -> Opened:
    """The body of an OPEN frame."""
    if len(frame) != HEADER_SIZE + _OPEN.size:
        raise WireError(Refusal.BAD_FRAME, f"an open answer of {len(frame)} bytes")
    return Opened(*_OPEN.unpack_from(frame, HEADER_SIZE))


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
