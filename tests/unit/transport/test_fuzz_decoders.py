"""Any bytes at any decoder: a value, or the decoder's own error, for little time and memory."""

from __future__ import annotations

import math
import struct
import time
from random import Random

import msgpack
import pytest
from decoders import CODEC, CONTROL, DECODERS, PULSES
from effort import FUZZ_SECONDS
from fuzzing import MIB, Decoder, anything, bombs, peak_of, run_for
from hypothesis import given, settings
from hypothesis import strategies as st

every_decoder = pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)

packed = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
).map(lambda value: _pack(value))


def _pack(value: object) -> bytes:
    try:
        return bytes(msgpack.packb(value))
    except OverflowError:  # a key beyond 64 bits
        return b""


@every_decoder
def test_what_the_fuzz_starts_from_is_taken(decoder: Decoder) -> None:
    taken = [frame for frame in decoder.valid if not isinstance(decoder.judge(frame), Exception)]
    assert taken


@every_decoder
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200), start=st.integers(0, 40), which=st.integers(0, 50))
def test_any_bytes(decoder: Decoder, data: bytes, start: int, which: int) -> None:
    decoder.judge(data)
    decoder.judge(decoder.valid[which % len(decoder.valid)][:start] + data)


@every_decoder
@settings(max_examples=30, deadline=None)
@given(data=packed, start=st.integers(0, 40), which=st.integers(0, 50))
def test_any_msgpack_in_any_place(decoder: Decoder, data: bytes, start: int, which: int) -> None:
    frame = decoder.valid[which % len(decoder.valid)]
    decoder.judge(frame[:start] + data)
    decoder.judge(frame[:start] + data + frame[start + len(data) :])


@every_decoder
def test_broken_copies_of_valid_frames(decoder: Decoder) -> None:
    for seed in range(1000):
        decoder.judge(anything(decoder.valid, Random(seed)))


@every_decoder
def test_every_beginning_of_a_valid_frame_and_every_frame_with_more(decoder: Decoder) -> None:
    for frame in decoder.valid:
        for cut in range(min(len(frame), 400)):
            decoder.judge(frame[:cut])
        decoder.judge(frame + b"\x00")
        decoder.judge(frame + frame)


@every_decoder
def test_a_length_of_a_gib_in_every_place_takes_no_memory(decoder: Decoder) -> None:
    # Mostly it is the same few bytes in other places, so a share of them does.
    some = list(bombs(decoder.valid))[:: 1 + sum(map(len, decoder.valid)) // 300]

    def judge_all() -> None:
        for bomb in some:
            decoder.judge(bomb)

    assert peak_of(judge_all) < 16 * MIB  # of all that this process does meanwhile


DEEP = {
    "lists": b"\x91" * 200_000,
    "lists of two": b"\x92\xc0" * 200_000,
    "maps": b"\x81\xa1a" * 100_000,
    "maps in lists": b"\x91\x81\xc0" * 100_000,
    "tagged tuples": b"\x92\x01" * 100_000,
    "a thousand lists": b"\x91" * 1000 + b"\xc0",
}


@every_decoder
@pytest.mark.parametrize("bomb", DEEP.values(), ids=DEEP.keys())
def test_a_depth_bomb_at_every_place(decoder: Decoder, bomb: bytes) -> None:
    def judge_all() -> None:
        for start in (0, 1, 2, 3, 4, 5, 10, 22, 30):
            for frame in decoder.valid[:3]:
                decoder.judge(frame[:start] + bomb)

    assert peak_of(judge_all) < 16 * MIB


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, (1 << 64) - 1, 1e308])
@pytest.mark.parametrize("name", ["processes", "load", "uptime", "view", "behaviors"])
def test_a_heartbeat_with_any_number_in_any_field(name: str, number: float) -> None:
    (heartbeat,) = (decoder for decoder in DECODERS if decoder.name == "heartbeat")
    head = list(msgpack.unpackb(PULSES[0][4:], use_list=False))
    for value in (number, (number,) * 3, ((number,) * 3, number, number)):
        fields = {**msgpack.unpackb(head[4]), name: value}
        data = PULSES[0][:4] + msgpack.packb((*head[:4], msgpack.packb(fields)))
        assert not isinstance(heartbeat.judge(data), Exception)  # that field counts as not given
    for place in (1, 2, 3):
        data = PULSES[0][:4] + msgpack.packb((*head[:place], number, *head[place + 1 :]))
        heartbeat.judge(data)


def test_a_map_with_the_same_key_twice_is_no_control_message() -> None:
    (control,) = (decoder for decoder in DECODERS if decoder.name == "cluster message")
    for data in CONTROL:
        assert isinstance(control.judge(b"\x82\xa1a\xc0\xa1a" + data), Exception)
    twice = b"\x82\xa1a\x01\xa1a\x02"
    assert CODEC.decode(twice) == {"a": 2}  # as everywhere else: the last one counts


@every_decoder
def test_what_a_frame_can_claim_is_bounded_by_its_bytes(decoder: Decoder) -> None:
    """A byte can claim no more than an empty map, of 64 bytes, and its place in a list."""
    size = 64 * 1024
    claims = (b"", struct.pack(">BI", 0xDD, size), b"\xc1\x01" + struct.pack(">BI", 0xDD, size))
    for fill in (b"\x00", b"\xff", b"\x90", b"\x80", b"\xa0", b"\xc1", b"\x01\x03"):
        for start in (*claims, decoder.valid[0][:2], decoder.valid[-1][:30]):
            data = start + fill * (size // len(fill))
            assert peak_of(lambda data=data: decoder.judge(data)) < 100 * size  # type: ignore[misc]


@pytest.mark.long
@every_decoder
def test_a_while_of_anything(decoder: Decoder) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    turns = run_for(
        FUZZ_SECONDS, seed, lambda chance: decoder.judge(anything(decoder.valid, chance))
    )
    assert turns > 100 * FUZZ_SECONDS
