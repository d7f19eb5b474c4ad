"""A message with large binaries beside it.

Only the codec looks inside. Between two codecs a parcel is handed on like bytes; `len` is its size
with everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from noex.transport.codec_apart import Buffer, within


@final
class Parcel:
    """`data` holds a placeholder for each of `buffers`; the codec's part begins at `start`."""

    __slots__ = ("_size", "buffers", "data", "start")

    def __init__(
        self, data: bytes | memoryview, buffers: Sequence[Buffer], *, start: int = 0
    ) -> None:
        self.data = data
        self.buffers = buffers
        self.start = start
        self._size = len(data) + sum(map(len, buffers))

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parcel):
            return NotImplemented
        return self.data == other.data and list(self.buffers) == list(other.buffers)

    def __repr__(self) -> str:
        return f"<Parcel of {len(self.data)} bytes and {len(self.buffers)} buffers>"

    def behind(self, header: bytes) -> Parcel:
        """The same with `header` before it."""
        return Parcel(header + bytes(self.data), self.buffers, start=len(header) + self.start)

    def joined(self) -> bytes:
        """The same message in one: it takes a copy of everything."""
        return bytes(self.data[: self.start]) + within(self.data[self.start :], self.buffers)
