"""Large binaries that lie beside a message instead of within it, so that nobody copies them.

In the message stands a placeholder: a msgpack extension whose type says what comes back, and whose
two bytes (big endian) say which buffer it is. Only the tagged form has placeholders.

=========== ==========================================
extension   comes back as
=========== ==========================================
1           bytes
2           bytearray
3           memoryview, of bytes and one dimension
=========== ==========================================

Every buffer is named exactly once. On the way out immutable bytes stay where they are; what may be
changed later (a bytearray, a view of one) is copied once. On the way in bytes are copied at most
once out of the frame, and a view is a view of the frame itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgpack import ExtType, packb, unpackb

from noex.transport.codec_errors import DecodeError
from noex.transport.codec_tags import ATOMS, TAGGED, Tag

APART_FROM: Final = 64 * 1024
"""Bytes: from here on two frames cost less than a copy at each end."""
MOST_APART: Final = 1024
"""Buffers beside one message; further ones stay within it."""

BYTES: Final = 1
BYTEARRAY: Final = 2
VIEW: Final = 3

SCALARS: Final = ATOMS - {bytes}
only_scalars = SCALARS.issuperset

Buffer = bytes | memoryview


class Aside:
    """The buffers that one message leaves out, in order."""

    __slots__ = ("buffers", "size")

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.size = 0

    def takes(self, size: int) -> bool:
        """Whether a binary of so many bytes is to lie beside its message."""
        return size >= APART_FROM and len(self.buffers) < MOST_APART

    def put(self, code: int, buffer: Buffer) -> ExtType:
        """Puts one aside. Returns what stands in its place."""
        index = len(self.buffers)
        self.buffers.append(buffer)
        self.size += len(buffer)
        return ExtType(code, index.to_bytes(2, "big"))

    def put_view(self, value: memoryview) -> Any:
        """A view: its items as they lie in memory, and what they are."""
        if value.format == "B" and value.ndim == 1:
            return self.put(VIEW, lasting(value))
        shape = value.shape or ()
        return [Tag.MEMORYVIEW, self.put(BYTES, lasting(value)), value.format, *shape]


def lasting(value: memoryview) -> Buffer:
    """The bytes of a view, which nobody can change later. A copy only where somebody could."""
    if type(value.obj) is bytes and value.c_contiguous:
        return memoryview(value).cast("B")
    return value.tobytes()


class Brought:
    """The extension hook of one message: gives the buffers that came beside it."""

    __slots__ = ("_buffers", "_left")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers = buffers
        self._left = set(range(len(buffers)))

    def __call__(self, code: int, data: bytes) -> Any:
        index = int.from_bytes(data, "big")
        if len(data) != 2 or index not in self._left:
            raise DecodeError(f"a placeholder for buffer {index}, which is not there (any more)")
        self._left.remove(index)
        buffer = self._buffers[index]
        if code == BYTES:
            return bytes(buffer)
        if code == BYTEARRAY:
            return bytearray(buffer)
        if code == VIEW:
            return memoryview(buffer).toreadonly()
        raise DecodeError(f"an extension of type {code}")

    def check(self) -> None:
        """Raises DecodeError unless each buffer was used."""
        if self._left:
            raise DecodeError(f"{len(self._left)} buffers came beside a message without a place")


_WITHIN: Final[dict[int, Any]] = {
    BYTES: lambda data: data,
    BYTEARRAY: lambda data: [Tag.BYTEARRAY, data],
    VIEW: lambda data: [Tag.MEMORYVIEW, data],
}


def within(body: bytes | memoryview, buffers: Sequence[Buffer]) -> bytes:
    """The same message with its buffers put back: for a peer that knows of no others."""

    def put_back(code: int, data: bytes) -> Any:
        return _WITHIN[code](bytes(buffers[int.from_bytes(data, "big")]))

    start = len(TAGGED)
    plain = unpackb(body[start:], strict_map_key=False, timestamp=3, ext_hook=put_back)
    return TAGGED + bytes(packb(plain))
