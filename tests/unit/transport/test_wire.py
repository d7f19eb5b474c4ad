"""The frame layout: what is packed comes back, and everything else is a `WireError`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.transport import wire, wire_bulk
from noex.transport.wire import Hello, Opened, Refusal, WireError

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
KINDS = [kind for kind in range(wire.HELLO, wire.GOODBYE + 1) if kind != wire.ACK]
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


VERSIONS = st.tuples(st.integers(1, 255), st.integers(2, 255)).map(sorted)


@given(U64, U32, U64, st.text(max_size=30), st.text(max_size=30), U32, VERSIONS, U32)
def test_a_greeting_comes_back(
    life: int,
    connection: int,
    mine: int,
    cluster: str,
    node_id: str,
    session: int,
    spoken: list[int],
    features: int,
) -> None:
    hello = Hello(cluster, node_id, mine, session, *spoken, features)
    frame = wire.pack_hello(life, connection, hello)
    assert wire.unpack_header(frame) == (wire.HELLO, life, connection, 0)
    assert wire.unpack_hello(frame) == hello


@given(U64, U32, U64, U64, U32, st.integers(1, 255), U32, U16)
def test_an_open_answer_comes_back(
    life: int,
    connection: int,
    seq: int,
    window: int,
    session: int,
    version: int,
    features: int,
    partials: int,
) -> None:
    opened = Opened(window, session, version, features, partials)
    frame = wire.pack_open(life, connection, seq, opened)
    assert wire.unpack_header(frame) == (wire.OPEN, life, connection, seq)
    back = wire.unpack_open(frame)
    assert back == (opened if version > 1 else Opened(window, session))
    assert len(frame) <= wire.MAX_ANSWER


@given(U64, U32, st.integers(0, 255), st.integers(2, 255), st.text(max_size=3000))
def test_what_is_said_since_version_2_comes_back(
    life: int, connection: int, kind: int, version: int, reason: str
) -> None:
    unsupported = wire.pack_unsupported(life, connection, kind, version)
    assert wire.unpack_header(unsupported) == (wire.UNSUPPORTED, life, connection, 0)
    assert (unsupported[0], wire.unpack_unsupported(unsupported)) == (version, kind)
    goodbye = wire.pack_goodbye(life, connection, reason, version)
    assert wire.unpack_header(goodbye) == (wire.GOODBYE, life, connection, 0)
    assert wire.unpack_goodbye(goodbye)[:200] == reason[:200]
    assert len(goodbye) <= wire.MAX_ANSWER


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


@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_any_body_is_taken_or_refused_but_nothing_else(body: bytes, kind: int) -> None:
    frame = wire.HEADER.pack(wire.VERSION, kind, 1, 2, 3, len(body)) + body
    unpack = {
        wire.HELLO: wire.unpack_hello,
        wire.OPEN: wire.unpack_open,
        wire.REFUSED: wire.unpack_refused,
        wire.BATCH: lambda f: wire.unpack_batch(f, 10),
        wire.BULK: lambda f: wire_bulk.unpack_bulk(f, [], 10),
        wire.PIECE: lambda f: wire_bulk.unpack_piece(f, [b"x"]),
        wire.UNSUPPORTED: wire.unpack_unsupported,
        wire.GOODBYE: wire.unpack_goodbye,
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


def longer(frame: bytes, more: bytes) -> bytes:
    """The frame with something at its end that its header counts."""
    head = wire.HEADER.unpack_from(frame)
    return wire.HEADER.pack(*head[:-1], head[-1] + len(more)) + frame[wire.HEADER_SIZE :] + more


@given(st.binary(min_size=1, max_size=50))
def test_what_a_newer_version_adds_to_a_greeting_or_its_answer_is_not_looked_at(
    more: bytes,
) -> None:
    hello = Hello("c", "a@h:1", 7, 1, 2, 3, 4)
    assert wire.unpack_hello(longer(wire.pack_hello(1, 2, hello), more)) == hello
    opened = Opened(10, 1, 2, 3, 4)
    assert wire.unpack_open(longer(wire.pack_open(1, 2, 3, opened), more)) == opened


def test_a_greeting_of_version_1_is_as_it_always_was() -> None:
    frame = wire.pack_hello(0x0102, 3, Hello("c", "n", 5, 6))
    assert frame.hex() == (
        "0101" "0201000000000000" "03000000" "0000000000000000" "12000000"
        "0500000000000000" "06000000" "0100" "63" "0100" "6e"
    )  # fmt: skip
    assert wire.unpack_hello(frame) == Hello("c", "n", 5, 6, 1, 1, 0)
    assert len(wire.pack_open(1, 2, 3, Opened(4, 5))) == wire.HEADER_SIZE + 12
    for answer in (longer(wire.pack_open(1, 2, 3, Opened(4, 5)), b"x"),):
        with pytest.raises(WireError):
            wire.unpack_open(answer)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3, 2), (2, 1)])
def test_a_greeting_with_a_range_that_is_none_is_refused(low: int, high: int) -> None:
    hello = Hello("c", "a@h:1", 7, 1, 1, 2)
    frame = bytearray(wire.pack_hello(1, 2, hello))
    frame[0], frame[-5] = low, high
    with pytest.raises(WireError, match="versions"):
        wire.unpack_hello(bytes(frame))


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 2), (1, 2), 2),
        ((1, 2), (1, 1), 1),
        ((1, 1), (1, 2), 1),
        ((1, 2), (2, 3), 2),
        ((2, 2), (1, 9), 2),
        ((2, 2), (1, 1), None),
        ((1, 1), (2, 2), None),
        ((1, 2), (3, 4), None),
    ],
)
def test_both_use_the_highest_version_that_both_speak(
    ours: tuple[int, int], theirs: tuple[int, int], agreed: int | None
) -> None:
    hello = Hello("c", "a@h:1", 7, 1, *theirs)
    if agreed is not None:
        assert wire.agree(*ours, hello) == agreed
        return
    with pytest.raises(WireError, match=f"speaks protocol versions {theirs[0]} to") as caught:
        wire.agree(*ours, hello)
    assert caught.value.code is Refusal.WRONG_VERSION


def test_a_frame_of_another_version_than_the_one_agreed_on_is_refused() -> None:
    frame = wire.pack_ack(1, 2, 3, version=2)
    wire.check_version(frame, 2)
    with pytest.raises(WireError, match="speaks 1") as caught:
        wire.check_version(frame, 1)
    assert caught.value.code is Refusal.WRONG_VERSION


def test_a_refusal_can_be_read_by_every_version() -> None:
    assert wire.pack_refused(1, 2, Refusal.WRONG_VERSION, "text")[0] == wire.OLDEST


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


@pytest.mark.parametrize(
    "names", [("c" * 513, "a@h:1"), ("c", "a" * 513), ("\u00e9" * 300, "a@h:1")]
)
def test_names_in_a_greeting_are_short(names: tuple[str, str]) -> None:
    frame = wire.pack_hello(1, 1, Hello(*names, 1, 1))
    with pytest.raises(WireError, match="a name of"):
        wire.unpack_hello(frame)
