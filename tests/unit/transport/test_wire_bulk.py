"""Frames that are followed by bare ones: what is packed comes back, everything else is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.transport import wire
from noex.transport.codec_apart import MOST_APART
from noex.transport.parcel import Parcel
from noex.transport.wire import WireError
from noex.transport.wire_bulk import Piece, pack_bulk, pack_piece, unpack_bulk, unpack_piece

DATA = st.binary(max_size=30)
PARCELS = st.builds(Parcel, DATA, st.lists(st.binary(min_size=1, max_size=9), min_size=1))
MESSAGES = st.lists(DATA | PARCELS, min_size=1, max_size=9)


@given(MESSAGES)
def test_a_bulk_batch_comes_back(messages: list[bytes | Parcel]) -> None:
    frame, rest = pack_bulk(7, 8, 9, messages, 2)
    assert (frame[0], wire.unpack_header(frame)) == (2, (wire.BULK, 7, 8, 9))
    assert unpack_bulk(frame, rest, 9) == messages


@given(MESSAGES, st.data())
def test_a_bulk_batch_whose_buffers_are_others_is_refused(
    messages: list[bytes | Parcel], data: st.DataObject
) -> None:
    frame, rest = pack_bulk(1, 1, 1, messages, 2)
    at = data.draw(st.integers(0, len(rest)))
    wrong = data.draw(st.sampled_from(["more", "fewer", "longer"] if at < len(rest) else ["more"]))
    changed = {
        "more": [*rest[:at], b"x", *rest[at:]],
        "fewer": [*rest[:at], *rest[at + 1 :]],
        "longer": [*rest[:at], bytes(rest[min(at, len(rest) - 1)]) + b"x", *rest[at + 1 :]]
        if rest
        else [],
    }[wrong]
    with pytest.raises(WireError):
        unpack_bulk(frame, changed, 9)


def _bulk(count: int, buffers: int, *numbers: int, data: bytes = b"") -> bytes:
    body = struct.pack(f"<{2 + len(numbers)}I", count, buffers, *numbers) + data
    return wire.frame_of(2, wire.Header(wire.BULK, 1, 2, 3), body)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (_bulk(0, 1), "0 messages"),
        (_bulk(10, 1), "10 messages"),
        (_bulk(1, 2), "2 buffers, 1 came"),
        (_bulk(2**32 - 1, 1), "messages"),
        (_bulk(1, 1, 3), "do not fit"),
        (_bulk(1, 1, 3, 1, 1, data=b"ab"), "do not add up"),
        (_bulk(1, 1, 2**32 - 1, 1, 1, data=b"ab"), "do not add up"),
        (_bulk(1, 1, 2, 0, 1, data=b"ab"), "do not add up"),
        (_bulk(1, 1, 2, 2, 1, data=b"ab"), "do not add up"),
        (_bulk(1, 1, 2, 1, 2, data=b"ab"), "other lengths"),
        (_bulk(1, 1, 2, 1, 1, data=b"ab")[: wire.HEADER_SIZE + 4], "without counts"),
    ],
)
def test_a_bulk_batch_that_lies_about_itself_is_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        unpack_bulk(frame, [b"x"], 9)


def test_a_message_with_too_many_buffers_is_refused() -> None:
    buffers = [b"x"] * (MOST_APART + 1)
    frame, rest = pack_bulk(1, 1, 1, [Parcel(b"a", buffers)], 2)
    with pytest.raises(WireError, match="1025 buffers"):
        unpack_bulk(frame, rest, 9)


NUMBERS = st.integers(0, 2**32 - 1)


@given(NUMBERS, st.integers(1, 2**64 - 1), st.lists(st.binary(min_size=1), min_size=1, max_size=4))
def test_a_piece_comes_back(number: int, offset: int, rest: list[bytes]) -> None:
    size = sum(map(len, rest))
    for piece in (Piece(number, offset, size), Piece(number, 0, size, (size, 7))):
        frame = pack_piece(4, 5, 6, piece, 2)
        assert wire.unpack_header(frame) == (wire.PIECE, 4, 5, 6)
        assert unpack_piece(frame, rest) == piece


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (Piece(1, 0, 3), "0 segments"),  # the first tells them
        (Piece(1, 5, 3, (9,)), "1 segments"),  # a later one does not
        (Piece(1, 0, 3, (1,) * (MOST_APART + 2)), "segments"),
        (Piece(1, 0, 4, (9,)), "4 bytes, 3 came"),
        (Piece(1, 0, 3, (3, 0)), "without bytes"),
    ],
)
def test_a_piece_that_lies_about_itself_is_refused(piece: Piece, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        unpack_piece(pack_piece(1, 2, 3, piece, 2), [b"ab", b"c"])


def test_a_piece_without_bytes_or_with_an_empty_frame_is_refused() -> None:
    with pytest.raises(WireError, match="0 bytes"):
        unpack_piece(pack_piece(1, 2, 3, Piece(1, 9, 0), 2), [])
    with pytest.raises(WireError, match="2 frames"):
        unpack_piece(pack_piece(1, 2, 3, Piece(1, 9, 1), 2), [b"a", b""])


@given(st.integers(0, 60))
def test_a_cut_piece_is_refused(end: int) -> None:
    frame = pack_piece(1, 2, 3, Piece(1, 0, 3, (3, 4)), 2)[wire.HEADER_SIZE :]
    cut = wire.frame_of(2, wire.Header(wire.PIECE, 1, 2, 3), frame[: min(end, len(frame) - 1)])
    with pytest.raises(WireError):
        unpack_piece(cut, [b"abc"])
