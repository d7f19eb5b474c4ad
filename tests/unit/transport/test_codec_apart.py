"""Large binaries beside a message: the same values come back, and nobody copies in vain."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noex.runtime.errors import MessageSerializationError
from noex.transport.codec import Codec, CodecLimits, DecodeError, Parcel, message
from noex.transport.codec_apart import APART_FROM, MOST_APART
from noex.transport.codec_tags import LISTS, TAGGED

BIG = bytes(range(256)) * (APART_FROM // 256)
CODEC = Codec()


@message
class Letter(NamedTuple):
    subject: str
    enclosure: Any


@message
@dataclass
class Folder:
    letters: list[Letter]


def sent(value: Any, codec: Codec = CODEC) -> Parcel:
    parcel = codec.encode(value, apart=True)
    assert isinstance(parcel, Parcel)
    return parcel


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict):
        one, other = list(one.items()), list(other.items())
    if isinstance(one, list | tuple):
        return all(map(same, one, other))
    if isinstance(one, Folder):
        return same(one.letters, other.letters)
    if isinstance(one, memoryview):
        return (one.format, one.shape) == (other.format, other.shape)
    return True


PLACES: dict[str, Any] = {
    "alone": BIG,
    "in a tuple": ("put", "key", BIG),
    "in a long tuple": (*range(50), BIG, *range(50)),
    "in a list": [1, BIG, [BIG + b"x"]],
    "in a dict": {"a": 1, "b": BIG},
    "as a key": {BIG: 1, (1, 2): BIG},
    "in a set": ({BIG, b"x"}, frozenset({BIG})),
    "in a record": Folder([Letter("one", BIG), Letter("two", b"small")]),
    "an exception": ["e", BIG, -(1 << 90)],
    "beside a lone surrogate": ("\ud800", BIG),
    "a bytearray": (bytearray(BIG), bytearray(b"small")),
    "a view": memoryview(BIG),
    "a view of a part": [memoryview(BIG + BIG)[7 : 7 + len(BIG)]],
    "a view of numbers": memoryview(BIG).cast("I"),
    "a view in two dimensions": memoryview(BIG).cast("B").cast("B", [256, len(BIG) // 256]),
    "every second byte": memoryview(BIG + BIG)[::2],
    "a view of a bytearray": memoryview(bytearray(BIG)),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_large_binary_lies_beside_its_message_and_comes_back(place: str) -> None:
    value = PLACES[place]
    parcel = sent(value)
    assert len(parcel.data) < 2000
    assert len(parcel) == len(parcel.data) + sum(map(len, parcel.buffers))
    assert same(CODEC.decode(parcel), value)


@pytest.mark.parametrize("place", PLACES)
def test_put_back_it_is_the_message_that_has_no_buffers(place: str) -> None:
    """What a peer gets that knows of none."""
    value = PLACES[place]
    joined = sent(value).joined()
    assert joined[:2] == TAGGED
    assert same(CODEC.decode(joined), value)


LEAVES = st.sampled_from([None, 7, -(1 << 80), 1.5, "text", "\ud800", b"small", BIG])
VALUES = st.recursive(
    LEAVES | st.sampled_from([bytearray(BIG), bytearray(b"x")]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=12).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | inner.map(lambda value: Folder([Letter("s", value)]))
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_any_value_comes_back_beside_or_within(value: Any) -> None:
    encoded = CODEC.encode(value, apart=True)
    assert same(CODEC.decode(encoded), value)
    assert same(CODEC.decode(CODEC.encode(value)), value)
    if isinstance(encoded, Parcel):
        framed = encoded.behind(b"header")
        assert (framed.start, len(framed)) == (6, len(encoded) + 6)
        assert same(CODEC.decode(framed), value)
        assert framed.joined()[:6] == b"header"
        assert same(CODEC.decode(framed.joined()[6:]), value)
    else:
        assert encoded == CODEC.encode(value)


@pytest.mark.parametrize(
    "value",
    [b"", BIG[1:], ("put", BIG[1:]), [BIG[1:]], "x" * 3 * APART_FROM, [b"x"] * 100_000, None],
    ids=["empty", "just below", "in a tuple", "in a list", "a str", "many", "None"],
)
def test_what_holds_no_large_binary_is_encoded_as_ever(value: Any) -> None:
    encoded = CODEC.encode(value, apart=True)
    assert type(encoded) is bytes
    assert encoded == CODEC.encode(value)


def test_immutable_bytes_are_not_copied_and_mutable_ones_once() -> None:
    changing = bytearray(BIG)
    parcel = sent((BIG, memoryview(BIG), changing, memoryview(changing), memoryview(BIG)[1:-1]))
    plain, view, *copies = parcel.buffers  # the last is too short for a place of its own
    changing[0] ^= 0xFF
    assert plain is BIG
    assert isinstance(view, memoryview) and view.obj is BIG
    assert [type(copy) for copy in copies] == [bytes, bytes]
    assert [copy == BIG for copy in copies] == [True, True]


def test_a_view_may_be_released_once_it_is_sent() -> None:
    view = memoryview(BIG)
    parcel = sent([view])
    view.release()
    assert CODEC.decode(parcel) == [BIG]


def test_encoding_and_decoding_take_one_copy_at_most() -> None:
    large = bytes(16 * 1024 * 1024)
    tracemalloc.start()
    try:
        parcel = sent(("put", large))
        _, peak = tracemalloc.get_traced_memory()
        assert peak < len(large) // 4
        frames = [memoryview(bytearray(buffer)) for buffer in parcel.buffers]
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        _, got = CODEC.decode(Parcel(parcel.data, frames))
        _, peak = tracemalloc.get_traced_memory()
        assert got == large
        assert peak - before < len(large) * 5 // 4
    finally:
        tracemalloc.stop()


def test_a_view_that_arrives_is_a_view_of_its_frame_and_cannot_change_it() -> None:
    parcel = sent(memoryview(BIG))
    frame = bytearray(BIG)
    view = CODEC.decode(Parcel(parcel.data, [memoryview(frame)]))
    assert view.obj is frame
    assert view.readonly


def test_beyond_the_limit_of_buffers_binaries_stay_within() -> None:
    parcel = sent([BIG] * (MOST_APART + 2), Codec(limits=CodecLimits(max_bytes=1 << 30)))
    assert len(parcel.buffers) == MOST_APART
    assert len(parcel.data) > 2 * APART_FROM


def test_the_limit_of_a_message_counts_its_buffers() -> None:
    small = Codec(limits=CodecLimits(max_bytes=APART_FROM + 100))
    assert sent([BIG], small)
    with pytest.raises(MessageSerializationError, match="max_bytes"):
        small.encode([BIG, BIG], apart=True)
    with pytest.raises(DecodeError, match="max_bytes"):
        small.decode(sent([BIG, BIG]))


PUT = TAGGED + b"\x92\x00"  # a list of one item
ONE = b"\xd5\x01\x00\x00"


@pytest.mark.parametrize(
    ("data", "buffers"),
    [
        (PUT + b"\xc0", [b"x"]),  # no place for it
        (PUT + ONE, []),  # not there
        (PUT + ONE, [b"x", b"y"]),  # one is left
        (TAGGED + b"\x93\x00" + ONE + ONE, [b"x"]),  # twice
        (TAGGED + b"\x93\x00" + ONE + ONE, [b"x", b"y"]),
        (PUT + b"\xd5\x01\x00\x01", [b"x"]),  # another one
        (PUT + b"\xd5\x09\x00\x00", [b"x"]),  # an unknown extension
        (PUT + b"\xd4\x01\x00", [b"x"]),  # a short number
        (PUT + b"\xc7\x03\x01\x00\x00\x00", [b"x"]),  # a long number
        (LISTS + b"\x91" + ONE, [b"x"]),
        (b"\x91" + ONE, [b"x"]),
        (b"", [b"x"]),
        (b"\xc1", [b"x"]),
        (TAGGED, [b"x"]),
        (PUT + ONE + b"\x00", [b"x"]),  # something follows
        (TAGGED + b"\x92\x04" + ONE, [b"x" * 9]),  # where an int is due, bytes: that is legal
    ],
)
def test_placeholders_and_buffers_that_do_not_fit_are_no_message(
    data: bytes, buffers: list[bytes]
) -> None:
    parcel = Parcel(data, buffers)
    if data[3:4] == b"\x04":
        assert type(CODEC.decode(parcel)) is int
        return
    with pytest.raises(DecodeError):
        CODEC.decode(parcel)


def test_a_placeholder_in_a_message_that_came_alone_is_refused() -> None:
    for data in (PUT + ONE, b"\x91" + ONE, LISTS + b"\x91" + ONE):
        with pytest.raises(DecodeError):
            CODEC.decode(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.lists(st.binary(max_size=5), max_size=3))
def test_any_bytes_with_any_buffers_are_a_value_or_an_error_of_ours(
    tail: bytes, buffers: list[bytes]
) -> None:
    try:
        CODEC.decode(Parcel(TAGGED + tail, buffers))
    except DecodeError as error:
        assert str(error)
    except Exception as error:
        assert type(error).__name__ == "UnknownTypeError"
