"""The frame layout: what is packed comes back, and everything else is a `WireError`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.transport import wire
from noex.transport.wire import Hello, Opened, Refusal, WireError

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
ENDS = (wire.HEADER_SIZE, wire.HEADER_SIZE + 4)


@given(U64, U32, U64, st.lists(st.binary(max_size=300), min_size=1, max_size=50))
def test_a_batch_comes_back(life: int, connection: int, seq: int, messages: list[bytes]) -> None:
    frame = wire.pack_batch(life, connection, seq, messages)
    assert wire.unpack_header(frame) == (wire.BATCH, life, connection, seq)
    assert wire.unpack_batch(frame, 50) == messages


def test_a_batch_of_small_and_large_messages_comes_back() -> None:
    messages = [b"a", b"b" * 100_000, b"", b"c" * 65_536]
    back = wire.unpack_batch(wire.pack_batch(1, 1, 1, messages), 4)
    assert [bytes(message) for message in back] == messages
    assert [type(message) for message in back] == [bytes, memoryview, bytes, memoryview]


@given(U32, st.lists(st.binary(max_size=30), min_size=1, max_size=5))
def test_a_readdressed_batch_differs_in_the_connection_alone(
    connection: int, messages: list[bytes]
) -> None:
    frame = wire.readdress(wire.pack_batch(7, 8, 9, messages), connection)
    assert frame == wire.pack_batch(7, connection, 9, messages)


@given(U64, U32, U64, st.text(max_size=30), st.text(max_size=30), U32)
def test_a_greeting_comes_back(
    life: int, connection: int, mine: int, cluster: str, node_id: str, session: int
) -> None:
    hello = Hello(cluster, node_id, mine, session)
    frame = wire.pack_hello(life, connection, hello)
    assert wire.unpack_header(frame) == (wire.HELLO, life, connection, 0)
    assert wire.unpack_hello(frame) == hello


@given(U64, U32, U64, U64, U32)
def test_an_open_answer_comes_back(
    life: int, connection: int, seq: int, window: int, session: int
) -> None:
    frame = wire.pack_open(life, connection, seq, Opened(window, session))
    assert wire.unpack_header(frame) == (wire.OPEN, life, connection, seq)
    assert wire.unpack_open(frame) == (window, session)
    assert len(frame) <= wire.MAX_ANSWER


@given(st.sampled_from(Refusal), st.text(max_size=5000))
def test_a_refusal_comes_back_and_is_short(code: Refusal, text: str) -> None:
    frame = wire.pack_refused(1, 2, code, text)
    back, said = wire.unpack_refused(frame)
    assert back is code
    assert said[:200] == text[:200].encode().decode()
    assert len(frame) <= wire.MAX_ANSWER


def test_an_unknown_refusal_code_is_still_a_refusal() -> None:
    frame = bytearray(wire.pack_refused(1, 2, Refusal.STALE, "text"))
    frame[wire.HEADER_SIZE] = 200
    assert wire.unpack_refused(bytes(frame)) == (Refusal.UNKNOWN, "text")


@given(st.data())
def test_a_cut_or_lengthened_frame_is_refused(data: st.DataObject) -> None:
    frame = wire.pack_batch(1, 2, 3, [b"abc", b"defg"])
    size = data.draw(st.integers(0, len(frame) + 20).filter(lambda n: n != len(frame)))
    changed = (frame + bytes(20))[:size]
    with pytest.raises(WireError):
        wire.unpack_header(changed)


@given(st.binary(max_size=200), st.sampled_from([wire.HELLO, wire.OPEN, wire.REFUSED, wire.BATCH]))
def test_any_body_is_taken_or_refused_but_nothing_else(body: bytes, kind: int) -> None:
    frame = wire.HEADER.pack(wire.VERSION, kind, 1, 2, 3, len(body)) + body
    unpack = {
        wire.HELLO: wire.unpack_hello,
        wire.OPEN: wire.unpack_open,
        wire.REFUSED: wire.unpack_refused,
        wire.BATCH: lambda f: wire.unpack_batch(f, 10),
    }[kind]
    try:
        unpack(frame)
    except WireError as error:
        assert error.reason


def _batch(count: int, *lengths: int, rest: bytes) -> bytes:
    body = b"".join(n.to_bytes(4, "little") for n in (count, *lengths)) + rest
    return wire.HEADER.pack(wire.VERSION, wire.BATCH, 1, 2, 3, len(body)) + body


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (_batch(0, rest=b""), "0 messages"),
        (_batch(11, *[0] * 11, rest=b""), "11 messages"),
        (_batch(2**32 - 1, rest=b""), "messages"),
        (_batch(2, 1, rest=b"abc"), "do not fit"),
        (_batch(2, 1, 1, rest=b"abc"), "do not add up"),
        (_batch(2, 2**32 - 1, 4, rest=b"abc"), "do not add up"),
        (_batch(1, 4, rest=b"abc"), "do not add up"),
    ],
)
def test_a_batch_that_lies_about_itself_is_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        wire.unpack_batch(frame, 10)


def test_another_version_is_named() -> None:
    frame = bytearray(wire.pack_ack(1, 2, 3))
    frame[0] = wire.VERSION + 1
    with pytest.raises(WireError, match="speaks 1") as caught:
        wire.unpack_header(bytes(frame))
    assert caught.value.code is Refusal.WRONG_VERSION


def test_the_byte_order_is_fixed() -> None:
    frame = wire.pack_batch(0x0102, 3, 4, [b"x", b"yz"])
    assert frame.hex() == (
        "0104" "0201000000000000" "03000000" "0400000000000000" "0f000000"
        "02000000" "01000000" "02000000" "78797a"
    )  # fmt: skip


def test_a_routing_id_is_unique_and_short_enough() -> None:
    long = "n" * 63 + "@" + "h" * 253 + ":65535"
    made = {
        wire.make_routing_id(name, life, connection)
        for name in ("a@h:1", "a@h:2", long, long[:-1])
        for life in (1, 2, 2**64 - 1)
        for connection in (1, 2, 2**32 - 1)
    }
    assert len(made) == 36
    assert max(map(len, made)) <= 255
    assert wire.make_routing_id("a@h:1", 2, 3) == b"a@h:1#2#3"
