"""Operations between processes on the wire: a fixed header, then a body for the codec.

Header (21 bytes, big endian): kind u8, target u64, ident u64, extra u32.

=========== ================= ================ ============ =========================
kind        target            ident            extra        body
=========== ================= ================ ============ =========================
CALL        serial            call id          timeout ms   message
REPLY       0                 call id                       reply
ERROR       0                 call id                       exception
CANCEL      0                 call id
CAST, INFO  serial                                          message
EXIT        serial                                          (sender ref or None, reason)
STOP        serial                                          reason
MONITOR     serial            monitor id
DEMONITOR   0                 monitor id
DOWN        0                 monitor id                    reason
LINK        serial            sender's serial
UNLINK      serial            sender's serial               (answered by UNLINKED)
UNLINKED    serial            sender's serial
LINK_EXIT   survivor serial   dead one's serial             reason
ALIVE       serial            call id                       (answered by REPLY)
SYSTEM      serial            call id          timeout ms   (operation, *arguments)
UNSUPPORTED 0                 as it was        the kind     (answers any kind not known here)
=========== ================= ================ ============ =========================

With bit 0x80 in the kind the target is a name: u16 length and UTF-8 text before the body.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from noex.runtime.errors import NoexError
from noex.transport.codec_errors import DecodeError
from noex.transport.parcel import Parcel

CALL: Final = 1
REPLY: Final = 2
ERROR: Final = 3
CANCEL: Final = 4
CAST: Final = 5
INFO: Final = 6
EXIT: Final = 7
STOP: Final = 8
MONITOR: Final = 9
DEMONITOR: Final = 10
DOWN: Final = 11
LINK: Final = 12
UNLINK: Final = 13
LINK_EXIT: Final = 14
ALIVE: Final = 15
SYSTEM: Final = 16
UNLINKED: Final = 17
UNSUPPORTED: Final = 18

NAMED: Final = 0x80
_header = Struct(">BQQI")
unpack_head = _header.unpack_from
"""Kind, target, ident and extra of an operation; struct.error if it is cut short."""
target_of = Struct(">xQ").unpack_from
HEAD_SIZE: Final = _header.size
_length = Struct(">H")
MAX_TIMEOUT_MS: Final = 2**32 - 1
OVERHEAD: Final = 8 * 1024
"""More than an operation has besides its body: the header, and a name."""


class Op(NamedTuple):
    """One operation, taken apart. `body` is still encoded."""

    kind: int
    target: int
    ident: int
    extra: int
    name: str | None
    body: memoryview | Parcel


class UnsupportedOperationError(NoexError):
    """A node does not know an operation that it was asked for: it runs another version."""

    fields = ("node_id", "kind")

    def __init__(self, node_id: str, kind: int) -> None:
        super().__init__(node_id, kind)

    def describe(self) -> str:
        node_id, kind = self.args
        return (
            f"node {node_id} does not know operations of kind {kind}; it runs an older version of "
            "noex"
        )


def pack_op(
    kind: int,
    target: int = 0,
    ident: int = 0,
    extra: int = 0,
    body: bytes | Parcel = b"",
    name: str | None = None,
) -> bytes | Parcel:
    """The bytes of one operation; a parcel if its body is one."""
    if name is None:
        header = _header.pack(kind, target, ident, extra)
    else:
        header = _header.pack(kind | NAMED, 0, ident, extra) + _name_part(name)
    return body.behind(header) if isinstance(body, Parcel) else header + body


@lru_cache(maxsize=1024)  # a program sends to few names, and often
def _name_part(name: str) -> bytes:
    text = name.encode()
    return _length.pack(len(text)) + text


def split_name(data: bytes | memoryview) -> tuple[str, bytes | memoryview]:
    """Name and body of a named operation. Raises `DecodeError` for what is none."""
    start = HEAD_SIZE + _length.size
    if len(data) < start:
        raise DecodeError("a named operation is cut short")
    end = start + _length.unpack_from(data, HEAD_SIZE)[0]
    if len(data) < end:
        raise DecodeError("the name of an operation is cut short")
    try:
        return str(data[start:end], "utf-8"), data[end:]
    except UnicodeDecodeError as error:
        raise DecodeError(f"the name of an operation is not UTF-8: {error}") from None


def unpack_op(data: bytes | memoryview | Parcel) -> Op:
    """Take one operation apart. Raises `DecodeError` when it is cut short or badly named."""
    if type(data) is Parcel:
        op = unpack_op(data.data)
        return op._replace(body=Parcel(op.body, data.buffers))  # type: ignore[arg-type]
    view = memoryview(data)
    if len(view) < HEAD_SIZE:
        raise DecodeError(f"an operation of {len(view)} bytes is shorter than its header")
    kind, target, ident, extra = unpack_head(view)
    if not kind & NAMED:
        return Op(kind, target, ident, extra, None, view[HEAD_SIZE:])
    name, body = split_name(view)
    return Op(kind & ~NAMED, 0, ident, extra, name, memoryview(body))
