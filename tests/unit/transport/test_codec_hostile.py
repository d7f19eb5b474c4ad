"""Bytes from a stranger: two kinds of error may come out, and little memory is used."""

from __future__ import annotations

import random
import struct
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noex.runtime.errors import CallTimeoutError
from noex.runtime.messages import TIMEOUT, Down
from noex.transport.codec import Codec, CodecLimits, DecodeError, UnknownTypeError


class FakeRef:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class Refs:
    ref_type = FakeRef

    def dump(self, ref: FakeRef) -> Any:
        return ref.parts

    def load(self, node_id: str, incarnation: int, serial: int, name: str | None) -> FakeRef:
        return FakeRef(node_id, incarnation, serial, name)


CODEC = Codec(refs=Refs())
VALID = [
    CODEC.encode(value)
    for value in (
        ("add", 1),
        [1, [2, {"k": b"x"}]],
        ([1], {"k": [2]}),
        ("call", 7, ("set", [1, (2,)], {3}), {(1, 2): frozenset({4})}),
        (Decimal("1.5"), UUID(int=5), 1j, 1 << 99, "\ud800", bytearray(b"x"), memoryview(b"y")),
        (memoryview(b"12345678").cast("I"), PurePosixPath("/a")),
        (
            datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")),
            timedelta(1),
            timezone(timedelta(0, 60), "x"),
        ),
        (datetime(2026, 1, 1).date(), datetime(2026, 1, 1).time(), TIMEOUT),
        (FakeRef("a@h:1", 2, 3, None), Down(1, FakeRef("a@h:1", 2, 3, "n"), "normal")),
        [ValueError("x", 1), CallTimeoutError(1, 2.0), FileNotFoundError(2, "a", "b")],
        ExceptionGroup("g", [ValueError(1), KeyError(2)]),
    )
]


def outcome(data: bytes) -> Any:
    """The value, or the one of the two errors. Any other error goes through."""
    try:
        return CODEC.decode(data)
    except (DecodeError, UnknownTypeError) as error:
        str(error)
        return error


def test_what_the_fuzz_starts_from_is_valid() -> None:
    for data in VALID:
        CODEC.decode(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes(data: bytes) -> None:
    for form in (b"", b"\xc1", b"\xc1\x01", b"\xc1\x02", b"\xc1\x03"):
        outcome(form + data)


def test_mutations_of_valid_messages() -> None:
    chance = random.Random(20260101)
    for _ in range(20_000):
        data = bytearray(chance.choice(VALID))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    data[place] ^= 1 << chance.randrange(8)
                case 2 if len(data) > 1:
                    del data[place]
                case 3:
                    data[place:place] = chance.choice(VALID)[: chance.randrange(1, 9)]
        outcome(bytes(data))


def test_every_prefix_of_a_valid_message_is_an_error() -> None:
    for data in VALID:
        for cut in range(len(data)):
            assert isinstance(outcome(data[:cut]), DecodeError)
        assert isinstance(outcome(data + b"\x00"), DecodeError)


wild = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 30) | st.floats() | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.sampled_from(["builtins:ValueError", "noex.runtime.messages:Down"]),
    lambda inner: st.lists(inner, max_size=5)
    | st.builds(lambda tag, rest: [tag, *rest], st.integers(-1, 25), st.lists(inner, max_size=9))
    | st.dictionaries(st.integers(0, 3) | st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(wild)
def test_well_formed_nonsense(value: Any) -> None:
    data = msgpack.packb(value)
    for form in (b"", b"\xc1\x01", b"\xc1\x02", b"\xc1\x03"):
        outcome(form + data)


@pytest.mark.parametrize("tag", range(-1, 26))
def test_each_tag_with_wrong_contents(tag: int) -> None:
    pieces = [None, True, -1, 1 << 40, 1e300, "x", b"x", {}, {"a": 1}, [0], [1, 2], [1, "a:b"]]
    for count in range(10):
        for piece in pieces:
            outcome(b"\xc1\x03" + msgpack.packb([tag] + [piece] * count))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc1\x00{}",
        b"\xc1\x04\x90",
        b"\xc1\x02\x01",
        b"\xc1\x03\x90",
        b"\xd4\x05\x00",
        b"\x81\x90",
        b"\x81\x80\x01",
        b"\xc1\x01\x81\x90\x01",
        b"\xa2\xff\xfe",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xd7\xff" + b"\xff" * 8,
        b"\x80\x04\x95cos\nsystem\n.",
    ],
)
def test_particular_bytes_are_no_message(data: bytes) -> None:
    assert isinstance(outcome(data), DecodeError)


@pytest.mark.parametrize("form", [b"", b"\xc1\x01", b"\xc1\x02", b"\xc1\x03"])
@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * 100_000,
        b"\x92\x00" * 100_000,
        b"\x81\x01" * 100_000,
        b"\x91" * 1030 + b"\xc0",
        b"\x92\x01" * 1030 + b"\xc0",
    ],
)
def test_a_deep_bomb_is_an_error(form: bytes, bomb: bytes) -> None:
    assert isinstance(outcome(form + bomb), DecodeError)


@pytest.mark.parametrize("form", [b"", b"\xc1\x01", b"\xc1\x02", b"\xc1\x03"])
@pytest.mark.parametrize("size", [1_000, 4_000, 5_000, 1_000_000])
@pytest.mark.parametrize("header", [b"\xdd", b"\xdc", b"\xdf", b"\xdb", b"\xc6", b"\x92\x01\xdd"])
def test_claims_of_absent_items_cost_no_memory(form: bytes, size: int, header: bytes) -> None:
    width = ">H" if header == b"\xdc" else ">I"
    for claim in (size // 2, 1 << 15, 0xFFFF, 1 << 22, 0xFFFFFFFF):
        if claim > 0xFFFF and width == ">H":
            continue
        one = header + struct.pack(width, claim)
        data = form + one * (size // len(one))
        tracemalloc.start()
        try:
            assert isinstance(outcome(data), DecodeError)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 32 << 20


def test_a_count_in_place_of_bytes_makes_no_buffer() -> None:
    for tag in (4, 5, 6, 7, 10):
        for count in (0, 1_000_000, 1 << 40):
            assert isinstance(outcome(b"\xc1\x03" + msgpack.packb([tag, count])), DecodeError)


def test_a_key_without_a_value_is_an_error() -> None:
    assert outcome(b"\xc1\x03" + msgpack.packb([23, "a", 1])) == {"a": 1}
    assert isinstance(outcome(b"\xc1\x03" + msgpack.packb([23, "a", 1, "b"])), DecodeError)


@settings(max_examples=150, deadline=None)
@given(wild)
def test_only_what_could_be_sent_is_ever_received(value: Any) -> None:
    for form in (b"", b"\xc1\x01", b"\xc1\x02", b"\xc1\x03"):
        arrived = outcome(form + msgpack.packb(value))
        assert type(outcome(CODEC.encode(arrived))) is type(arrived)


def test_a_timestamp_of_msgpack_is_a_datetime() -> None:
    stamp = msgpack.packb(msgpack.Timestamp(5))
    for data in (stamp, b"\xc1\x01" + stamp, b"\xc1\x03" + stamp):
        assert outcome(data) == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_limits_hold_on_arrival() -> None:
    small = Codec(limits=CodecLimits(max_bytes=100_000, max_items=5))
    for value in ([1] * 6, (1,) * 6, dict.fromkeys(range(6)), ([1] * 6,), [1, (2,)] + [3] * 10):
        with pytest.raises(DecodeError):
            small.decode(CODEC.encode(value))
    for value in ([1] * 5, (1,) * 5, dict.fromkeys(range(5)), [(1,), 2, 3, 4, 5]):
        assert small.decode(CODEC.encode(value)) == value
    with pytest.raises(DecodeError, match="max_bytes"):
        small.decode(CODEC.encode(b"x" * 100_000))


def test_a_ref_is_checked_before_the_hook_sees_it() -> None:
    seen = CODEC.decode(CODEC.encode([FakeRef("a@h:1", 2, 3, None)]))
    assert seen[0].parts == ("a@h:1", 2, 3, None)
    for parts in (("a", 1, 2), (b"a", 1, 2, None), ("a", 1.0, 2, None), ("a", 1, True, None)):
        assert isinstance(outcome(b"\xc1\x03" + msgpack.packb([20, *parts])), DecodeError)


def test_without_hooks_a_ref_is_an_unknown_type() -> None:
    with pytest.raises(UnknownTypeError, match="Ref"):
        Codec().decode(CODEC.encode(FakeRef("a@h:1", 2, 3, None)))
