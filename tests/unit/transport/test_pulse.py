"""Pulses: what goes in comes out, and nothing that a stranger sends does harm."""

from __future__ import annotations

import math

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noex.runtime.errors import MessageSerializationError
from noex.transport.pulse import (
    MAGIC,
    BadPulseError,
    PulseContent,
    decode_pulse,
    encode_pulse,
    pack_fields,
)

LIMIT = 4096
U64 = (1 << 64) - 1
GOOD = ("a@h:1", 1, 2, 0.5, b"\x80")

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), U64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def pulse_of(*head: object) -> bytes:
    return MAGIC + msgpack.packb(head)


@settings(deadline=None)
@given(
    st.text(min_size=1, max_size=60),
    st.integers(0, U64),
    st.integers(0, U64),
    st.floats(0, 1e6),
    st.dictionaries(st.text(max_size=10), values, max_size=4),
)
def test_a_pulse_survives_the_wire(node_id, incarnation, seq, lag, fields) -> None:
    packed = pack_fields(fields, 1 << 20)
    frame = encode_pulse(node_id, incarnation, seq, lag, packed)
    content = decode_pulse(frame, 1 << 20)
    assert content == PulseContent(node_id, incarnation, seq, lag, fields)


def test_sequences_arrive_as_tuples() -> None:
    frame = encode_pulse("a@h:1", 1, 1, 0.0, pack_fields({"behaviors": ["x", "y"]}, LIMIT))
    assert decode_pulse(frame, LIMIT).fields == {"behaviors": ("x", "y")}


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\n\r\n")
@example(MAGIC)
@example(MAGIC + b"\x91" * 5000)
@example(MAGIC + b"\xdd\xff\xff\xff\xff")
def test_random_bytes_are_refused(noise: bytes) -> None:
    for frame in (noise, MAGIC + noise):
        with pytest.raises(BadPulseError):
            decode_pulse(frame, LIMIT)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_pulse_is_read_or_refused_and_nothing_else(data) -> None:
    frame = bytearray(encode_pulse("a@h:1", 7, 9, 0.25, pack_fields({"epoch": 3}, LIMIT)))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    try:
        content = decode_pulse(bytes(frame), LIMIT)
    except BadPulseError:
        return
    assert isinstance(content, PulseContent)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, ""),
        (0, "n" * 401),
        (0, b"a@h:1"),
        (1, -1),
        (1, True),
        (1, 1.0),
        (2, "2"),
        (2, None),
        (3, -0.001),
        (3, math.nan),
        (3, math.inf),
        (3, True),
        (4, {}),
        (4, b"\x90"),
        (4, b"\x81\x01\x02"),
        (4, b"\xc1"),
        (4, b"\x80\x80"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(place: int, value: object) -> None:
    head = list(GOOD)
    decode_pulse(pulse_of(*head), LIMIT)
    head[place] = value
    with pytest.raises(BadPulseError):
        decode_pulse(pulse_of(*head), LIMIT)


@pytest.mark.parametrize("head", [GOOD[:4], (*GOOD, 1), ()])
def test_a_head_of_another_length_is_refused(head: tuple[object, ...]) -> None:
    with pytest.raises(BadPulseError, match="five"):
        decode_pulse(pulse_of(*head), LIMIT)


def test_a_pulse_beyond_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(BadPulseError, match="bytes"):
        decode_pulse(MAGIC + b"\xc1" * (LIMIT + 2000), LIMIT)


def test_the_largest_fields_fit_in_a_pulse() -> None:
    packed = pack_fields({"x": "y" * (LIMIT - 6)}, LIMIT)
    assert len(packed) == LIMIT
    assert decode_pulse(encode_pulse("n" * 323, U64, U64, 1e9, packed), LIMIT).fields


def test_a_field_that_cannot_travel_is_named() -> None:
    with pytest.raises(MessageSerializationError, match="worse"):
        pack_fields({"fine": 1, "worse": object()}, LIMIT)
    with pytest.raises(MessageSerializationError):
        pack_fields({"big": 1 << 64}, LIMIT)


def test_a_field_that_holds_itself_is_named() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(MessageSerializationError, match="circle"):
        pack_fields({"circle": circle}, LIMIT)


def test_fields_beyond_the_limit_are_refused_at_the_sender() -> None:
    with pytest.raises(MessageSerializationError, match="at most 4096"):
        pack_fields({"x": "y" * LIMIT}, LIMIT)
