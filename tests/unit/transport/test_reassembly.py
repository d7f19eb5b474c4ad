"""Large messages in pieces, mixed: they come back whole, and what they may take is bounded."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.transport.parcel import Parcel
from noex.transport.reassembly import Reassembly
from noex.transport.streams import Limits, Streams, Waiting
from noex.transport.wire import Message, WireError
from noex.transport.wire_bulk import LEAST_PIECE, Piece

KIB = 1024
BIG = Limits(piece=2 * KIB, partials=4, window=1 << 40, buffers=True)


def reassembly(message: int = 1 << 30, window: int = 1 << 30, partials: int = 4) -> Reassembly:
    return Reassembly(max_message=message, max_bytes=window, max_partials=partials)


def shown(message: Message) -> list[bytes]:
    if isinstance(message, Parcel):
        return [bytes(message.data), *map(bytes, message.buffers)]
    return [bytes(message)]


SIZES = st.integers(1, 9 * KIB)
LARGE = st.builds(
    lambda sizes: [bytes([n % 251]) * size for n, size in enumerate(sizes)],
    st.lists(SIZES, min_size=1, max_size=5),
).filter(lambda parts: sum(map(len, parts)) > 2 * KIB)


def message_of(parts: list[bytes]) -> bytes | Parcel:
    return parts[0] if len(parts) == 1 else Parcel(parts[0], parts[1:])


@given(st.lists(st.tuples(st.integers(1, 4), LARGE), max_size=8))
def test_what_is_cut_comes_back_and_in_the_order_of_each_stream(
    offered: list[tuple[int, list[bytes]]],
) -> None:
    streams, back = Streams(), reassembly()
    for key, parts in offered:
        data = message_of(parts)
        streams.add(key, Waiting(data, len(data) + 64, True), 0)
    got: list[tuple[int, list[bytes]]] = []
    costs = 0
    while (cut := streams.cut(0, BIG)) is not None:
        costs += cut.cost
        message = back.take(cut.piece, cut.frames)
        if message is not None:
            got.append((cut.key, shown(message)))
    assert not streams.by_key
    assert (len(back), back.claimed) == (0, 0)
    assert costs == sum(len(message_of(parts)) + 64 for _, parts in offered)
    for key in range(1, 5):
        assert [m for k, m in got if k == key] == [m for k, m in offered if k == key]


def test_the_pieces_of_several_streams_take_turns() -> None:
    streams = Streams()
    for key in (1, 2, 3):
        streams.add(key, Waiting(bytes(6 * KIB), 0, True), 0)
    keys = [cut.key for cut in iter(lambda: streams.cut(0, BIG), None)]
    assert keys == [1, 2, 3] * 3


def test_a_large_message_begins_after_the_small_ones_before_it_and_frees_those_behind() -> None:
    streams = Streams()
    streams.add(1, Waiting(bytes(4 * KIB), 0, True), 10)
    for data in (b"a", b"b"):
        streams.add(1, Waiting(data, 0, False), 10)
    streams.add(1, Waiting(bytes(4 * KIB), 0, True), 10)
    streams.add(1, Waiting(b"c", 0, False), 10)
    assert streams.cut(9, BIG) is None
    first, last = streams.cut(10, BIG), streams.cut(10, BIG)
    assert first is not None and last is not None
    assert first.released == []
    assert [waiting.data for waiting in last.released] == [b"a", b"b"]
    streams.hold(1, 12)
    assert streams.cut(11, BIG) is None
    assert streams.cut(12, BIG) is not None
    last = streams.cut(12, BIG)
    assert last is not None
    assert [waiting.data for waiting in last.released] == [b"c"]
    assert not streams.by_key


def test_no_more_is_under_way_than_the_listener_takes() -> None:
    limits = Limits(piece=2 * KIB, partials=3, window=20 * KIB, buffers=True)
    streams, back = Streams(), reassembly(window=20 * KIB, partials=3)
    for key, size in enumerate((8, 8, 8, 16, 40, 4)):
        streams.add(key, Waiting(bytes(size * KIB), 0, True), 0)
    most = 0
    while (cut := streams.cut(0, limits)) is not None:
        back.take(cut.piece, cut.frames)  # raises if it is too much
        most = max(most, len(back))
    assert most == 3
    assert not streams.by_key


def test_a_peer_without_buffers_gets_none() -> None:
    from noex.transport.codec import Codec

    codec = Codec()
    value = ["x", bytes(100_000)]
    parcel = codec.encode(value, apart=True)
    assert isinstance(parcel, Parcel)
    streams, back = Streams(), reassembly()
    streams.add(0, Waiting(parcel, len(parcel) + 64, True), 0)
    costs, message = 0, None
    while (cut := streams.cut(0, BIG._replace(buffers=False))) is not None:
        costs += cut.cost
        message = back.take(cut.piece, cut.frames)
    assert isinstance(message, bytes)
    assert codec.decode(message) == value
    assert costs == len(parcel) + 64


# -- what breaks a rule


def first(number: int, *lengths: int, size: int = LEAST_PIECE) -> tuple[Piece, list[bytes]]:
    return Piece(number, 0, size, lengths), [bytes(size)]


def test_what_an_open_message_will_have_counts_from_its_first_piece_on() -> None:
    back = reassembly(window=100 * KIB, partials=3)
    back.take(*first(1, 60 * KIB))
    back.take(*first(2, 60 * KIB))
    with pytest.raises(WireError, match="window"):
        back.take(*first(3, 41 * KIB))
    back.take(*first(4, 40 * KIB))
    with pytest.raises(WireError, match="more than 3"):
        back.take(*first(5, 2 * KIB))
    assert (len(back), back.claimed) == (3, 160 * KIB)


def test_the_largest_does_not_count_for_the_window_but_has_a_limit() -> None:
    back = reassembly(message=200 * KIB, window=100 * KIB)
    with pytest.raises(WireError, match="max_message"):
        back.take(*first(1, 100 * KIB, 101 * KIB))
    back.take(*first(1, 200 * KIB))
    back.take(*first(2, 100 * KIB))
    with pytest.raises(WireError, match="window"):
        back.take(*first(3, 2 * KIB))


@pytest.mark.parametrize(
    ("piece", "rest", "reason"),
    [
        (Piece(1, 0, 2000, (9000,)), [bytes(2000)], "begins again"),
        (Piece(2, 500, 2000), [bytes(2000)], "of which 0 are here"),
        (Piece(1, 1999, 2000), [bytes(2000)], "of which 2000 are here"),
        (Piece(1, 2001, 2000), [bytes(2000)], "of which 2000 are here"),
        (Piece(1, 2000, LEAST_PIECE - 1), [bytes(LEAST_PIECE - 1)], "legal are 1024"),
        (Piece(1, 2000, 7000), [bytes(7000)], "does not end"),  # beyond its segment
        (Piece(1, 2000, 2000), [bytes(1000), bytes(1000)], "does not end"),  # crumbs
        (Piece(1, 2000, 4000), [bytes(3000), bytes(900), bytes(100)], "beyond the end"),
    ],
)
def test_a_piece_that_does_not_fit_is_refused_and_changes_nothing(
    piece: Piece, rest: list[bytes], reason: str
) -> None:
    back = reassembly()
    back.take(Piece(1, 0, 2000, (5000, 900)), [b"x" * 2000])
    with pytest.raises(WireError, match=reason):
        back.take(piece, rest)
    message = back.take(Piece(1, 2000, 3900), [b"y" * 3000, b"z" * 900])
    assert message is not None
    assert shown(message) == [b"x" * 2000 + b"y" * 3000, b"z" * 900]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from([0, 1, 1024, 2048, 4096]),
            st.lists(st.sampled_from([1, 512, 1024, 2048]), min_size=1, max_size=3),
            st.lists(st.sampled_from([1, 1024, 3000]), max_size=3),
        ),
        max_size=30,
    )
)
def test_any_pieces_keep_to_the_bounds(
    pieces: list[tuple[int, int, list[int], list[int]]],
) -> None:
    back = reassembly(message=8 * KIB, window=6 * KIB, partials=2)
    for number, offset, sizes, lengths in pieces:
        told = tuple(lengths) if offset == 0 else ()
        if bool(told) != (offset == 0):
            continue  # `unpack_piece` has refused that
        try:
            back.take(Piece(number, offset, sum(sizes), told), [bytes(size) for size in sizes])
        except WireError:
            pass
        held = sum(
            segment.tell() if isinstance(segment, BytesIO) else len(segment)
            for partial in back._partials.values()
            for segment in partial.segments
        )
        assert held <= back.claimed <= 8 * KIB + 6 * KIB
        assert len(back) <= 2
