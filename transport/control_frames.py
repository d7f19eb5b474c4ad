"""Frames of the control lane: ``version | kind | body``, one ZeroMQ frame each.

DATA carries the bytes of the machines above. PING asks the peer's thread for a sign of life; PONG
answers it with the peer's name, life and loop lag. Anything else is refused by `read_frame`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgpack

from noex.runtime.errors import NoexError

VERSION = 1
DATA = 1
PING = 2
PONG = 3

_DATA_HEAD = bytes((VERSION, DATA))
_PING_HEAD = bytes((VERSION, PING))
_PONG_HEAD = bytes((VERSION, PONG))
_MAX_SMALL = 1024
_U64 = (1 << 64) - 1


class BadControlFrameError(NoexError):
    """The bytes are no frame of this version of the control lane."""

    fields = ("reason",)

    def describe(self) -> str:
        return f"not a control frame: {self.args[0]}"


class PongContent(NamedTuple):
    """What a PONG says."""

    token: int
    node_id: str
    incarnation: int
    loop_lag: float


def data_frame(data: bytes) -> bytes:
    """A frame that carries `data`."""
    return _DATA_HEAD + data


def ping_frame(token: int) -> bytes:
    """A question to the peer's thread; the answer repeats `token` (u64)."""
    return _PING_HEAD + token.to_bytes(8, "big")


def pong_frame(content: PongContent) -> bytes:
    """The answer to a PING."""
    body: bytes = msgpack.packb(tuple(content))
    return _PONG_HEAD + body


def read_frame(frame: bytes) -> tuple[int, bytes]:
    """Kind and body of a frame; raises `BadControlFrameError` for another version or kind."""
    if len(frame) < 2:
        raise BadControlFrameError(f"{len(frame)} bytes")
    if frame[0] != VERSION:
        raise BadControlFrameError(f"version {frame[0]}, this node speaks {VERSION}")
    kind = frame[1]
    if kind not in (DATA, PING, PONG):
        raise BadControlFrameError(f"kind {kind}")
    if kind != DATA and len(frame) > _MAX_SMALL:
        raise BadControlFrameError(f"kind {kind} with {len(frame)} bytes")
    return kind, frame[2:]


def read_ping(body: bytes) -> int:
    """The token of a PING."""
    if len(body) != 8:
        raise BadControlFrameError(f"a ping of {len(body)} bytes")
    return int.from_bytes(body, "big")


def read_pong(body: bytes) -> PongContent:
    """What a PONG says, checked."""
    try:
        items: Any = msgpack.unpackb(body, use_list=False, max_array_len=4)
    except Exception as error:  # msgpack raises a dozen kinds for hostile bytes
        raise BadControlFrameError(f"pong: {type(error).__name__}") from error
    if not isinstance(items, tuple) or len(items) != 4:
        raise BadControlFrameError("a pong without four items")
    token, node_id, incarnation, loop_lag = items
    numbers = type(token) is int and type(incarnation) is int
    if not numbers or not (0 <= token <= _U64 and 0 <= incarnation <= _U64):
        raise BadControlFrameError("a pong without numbers")
    if not isinstance(node_id, str) or not isinstance(loop_lag, (int, float)):
        raise BadControlFrameError("a pong without a node id and a loop lag")
    if not math.isfinite(loop_lag) or loop_lag < 0:
        raise BadControlFrameError("a pong with a lag that is no duration")
    return PongContent(token, node_id, incarnation, float(loop_lag))
