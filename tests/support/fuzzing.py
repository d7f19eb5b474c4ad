"""What a stranger may send: bytes by chance, broken copies of valid frames, and bombs.

Everything here is made from a `random.Random`, so a failure names its seed and comes again.
"""

from __future__ import annotations

import itertools
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

MIB = 1 << 20
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 30, (1 << 31) - 1, (1 << 32) - 1)
_FIELDS = ("<H", ">H", "<I", ">I", "<Q", ">Q")


class Decoder(NamedTuple):
    """A function that reads bytes, the only errors it may raise, and frames that it takes."""

    name: str
    read: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    valid: tuple[bytes, ...]

    def judge(self, data: bytes) -> Any:
        """The value, or the decoder's own error; any other error names the bytes."""
        try:
            return self.read(data)
        except self.errors as error:
            str(error)  # it can be told, too
            return error
        except BaseException as error:
            shown = data.hex() if len(data) <= 400 else f"{data[:400].hex()}... ({len(data)} bytes)"
            error.add_note(f"{self.name} was given {shown}")
            raise


def _flip(data: bytearray, chance: Random, _others: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _replace(data: bytearray, chance: Random, _others: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(data: bytearray, chance: Random, _others: Sequence[bytes]) -> None:
    start = chance.randint(0, len(data))
    del data[start : start + chance.choice((1, 2, 8, len(data)))]


def _insert(data: bytearray, chance: Random, _others: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 16)))


def _double(data: bytearray, chance: Random, _others: Sequence[bytes]) -> None:
    start = chance.randint(0, len(data))
    piece = data[start : start + chance.randint(1, 32)]
    data[start:start] = piece * chance.choice((1, 2, 30))


def _splice(data: bytearray, chance: Random, others: Sequence[bytes]) -> None:
    other = chance.choice(others)
    data[chance.randint(0, len(data)) :] = other[chance.randint(0, len(other)) :]


def _set_field(data: bytearray, chance: Random, _others: Sequence[bytes]) -> None:
    """A number where perhaps a length, a count or an id stands."""
    form = chance.choice(_FIELDS)
    size = struct.calcsize(form)
    value = chance.choice(_EDGES) & ((1 << 8 * size) - 1)
    if len(data) >= size:
        at = chance.randint(0, len(data) - size)
        data[at : at + size] = struct.pack(form, value)


_CHANGES = (_flip, _replace, _cut, _insert, _double, _splice, _set_field, _set_field)


def broken(valid: Sequence[bytes], chance: Random) -> bytes:
    """A copy of one of these frames with one to four changes."""
    data = bytearray(chance.choice(valid))
    for _ in range(chance.randint(1, 4)):
        chance.choice(_CHANGES)(data, chance, valid)
    return bytes(data[: 1 << 16])


def anything(valid: Sequence[bytes], chance: Random) -> bytes:
    """Mostly a broken frame; sometimes nothing but noise, perhaps with the beginning of a frame."""
    kind = chance.random()
    if kind < 0.75:
        return broken(valid, chance)
    noise = chance.randbytes(chance.choice((0, 1, 3, 20, 200, 2000)))
    return noise if kind < 0.9 else chance.choice(valid)[: chance.randint(1, 8)] + noise


def bombs(valid: Sequence[bytes]) -> Iterator[bytes]:
    """Frames that claim a GiB, or 2**31, or 2**32 - 1, at each of their places in turn."""
    for frame in valid:
        for form, claim in itertools.product(
            ("<I", ">I", "<Q", ">Q"), (1 << 30, (1 << 31) - 1, (1 << 32) - 1)
        ):
            size = struct.calcsize(form)
            for at in range(min(len(frame), 400) - size + 1):
                yield frame[:at] + struct.pack(form, claim) + frame[at + size :]


def run_for(seconds: float, seed: int, once: Callable[[Random], object]) -> int:
    """Repeat `once` for so long; each turn has a seed of its own, which a failure names."""
    deadline, turns = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        try:
            once(Random(seed + turns))
        except BaseException as error:
            error.add_note(f"again: once(Random({seed + turns}))")
            raise
        turns += 1
    return turns


def peak_of(act: Callable[[], object]) -> int:
    """The bytes that Python's own memory grew by at most, while `act` ran."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
