"""Frames of the control lane: checked before anything is believed."""

from __future__ import annotations

import math

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noex.transport.control_frames import (
    DATA,
    PING,
    PONG,
    VERSION,
    BadControlFrameError,
    PongContent,
    data_frame,
    ping_frame,
    pong_frame,
    read_frame,
    read_ping,
    read_pong,
)

U64 = (1 << 64) - 1


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_data_survives_the_wire(data: bytes) -> None:
    assert read_frame(data_frame(data)) == (DATA, data)


@settings(deadline=None)
@given(st.integers(0, U64), st.text(max_size=50), st.integers(0, U64), st.floats(0, 1e6))
def test_ping_and_pong_survive_the_wire(token, node_id, incarnation, lag) -> None:
    kind, body = read_frame(ping_frame(token))
    assert (kind, read_ping(body)) == (PING, token)
    content = PongContent(token, node_id, incarnation, lag)
    kind, body = read_frame(pong_frame(content))
    assert (kind, read_pong(body)) == (PONG, content)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        bytes((VERSION + 1, DATA)),
        bytes((VERSION, 0)),
        bytes((VERSION, PONG + 1)),
        bytes((VERSION, PING)) + b"x" * 2000,
    ],
)
def test_another_version_kind_or_size_is_refused(frame: bytes) -> None:
    with pytest.raises(BadControlFrameError):
        read_frame(frame)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_random_bytes_are_no_ping_and_no_pong(body: bytes) -> None:
    if len(body) != 8:
        with pytest.raises(BadControlFrameError):
            read_ping(body)
    with pytest.raises(BadControlFrameError):
        read_pong(body)


@pytest.mark.parametrize(
    "items",
    [
        (),
        (1, "a@h:1", 1),
        (1, "a@h:1", 1, 0.0, 0),
        (-1, "a@h:1", 1, 0.0),
        (True, "a@h:1", 1, 0.0),
        (1, b"a@h:1", 1, 0.0),
        (1, "a@h:1", -1, 0.0),
        (1, "a@h:1", 1, -0.5),
        (1, "a@h:1", 1, math.nan),
        (1, "a@h:1", 1, math.inf),
        (1, "a@h:1", 1, "0"),
    ],
)
def test_a_pong_with_a_wrong_item_is_refused(items: tuple[object, ...]) -> None:
    with pytest.raises(BadControlFrameError):
        read_pong(msgpack.packb(items))
