"""Heartbeats as bytes: ``magic | msgpack(node id, incarnation, seq, loop lag, fields)``.

What the loop knows (`fields`) is packed once, when it changes; the control thread adds the rest at
each pulse, so that a pulse needs nothing from a busy loop. The fields travel as one binary inside
the pulse and are checked like everything else that comes from a peer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from noex.runtime.errors import MessageSerializationError, NoexError

MAGIC = b"nxp\x01"
"""Also the topic of the subscription: a pulse of another version is not even delivered."""

_MAX_ITEMS = 10_000
_U64 = (1 << 64) - 1


class BadPulseError(NoexError):
    """The bytes are no pulse of this version."""

    fields = ("reason",)

    def describe(self) -> str:
        return f"not a pulse: {self.args[0]}"


class PulseContent(NamedTuple):
    """A decoded pulse, without the time of its arrival."""

    node_id: str
    incarnation: int
    seq: int
    loop_lag: float
    fields: dict[str, Any]


def pack_fields(fields: Mapping[str, Any], limit: int) -> bytes:
    """Pack what the loop adds to pulses; raises `MessageSerializationError` naming the field."""
    for name, value in fields.items():
        try:
            msgpack.packb(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise MessageSerializationError("set_pulse", name, str(error)) from error
    packed: bytes = msgpack.packb(dict(fields))
    if len(packed) > limit:
        reason = f"{len(packed)} bytes of fields, at most {limit} fit in a pulse"
        raise MessageSerializationError("set_pulse", "", reason)
    return packed


def encode_pulse(
    node_id: str, incarnation: int, seq: int, loop_lag: float, packed_fields: bytes
) -> bytes:
    """The frame for one pulse; `packed_fields` comes from `pack_fields`."""
    head: bytes = msgpack.packb((node_id, incarnation, seq, loop_lag, packed_fields))
    return MAGIC + head


def decode_pulse(frame: bytes, limit: int) -> PulseContent:
    """Read a pulse of at most `limit` bytes; raises `BadPulseError` for anything else."""
    if not frame.startswith(MAGIC):
        raise BadPulseError("wrong magic or version")
    if len(frame) > limit + 1024:  # the head: a node id of at most 323 bytes and four numbers
        raise BadPulseError(f"{len(frame)} bytes")
    head = _unpack(frame[len(MAGIC) :])
    if not isinstance(head, tuple) or len(head) != 5:
        raise BadPulseError("the head does not have five items")
    node_id, incarnation, seq, loop_lag, packed_fields = head
    _check_head(node_id, incarnation, seq, loop_lag)
    if not isinstance(packed_fields, bytes):
        raise BadPulseError("the fields are not packed")
    return PulseContent(node_id, incarnation, seq, float(loop_lag), _read_fields(packed_fields))


def _check_head(node_id: object, incarnation: object, seq: object, loop_lag: object) -> None:
    if not isinstance(node_id, str) or not 0 < len(node_id) <= 400:
        raise BadPulseError("the node id is not a short string")
    for name, number in (("incarnation", incarnation), ("seq", seq)):
        if type(number) is not int or not 0 <= number <= _U64:
            raise BadPulseError(f"{name} is not a 64 bit number")
    if type(loop_lag) not in (int, float) or not _is_duration(loop_lag):
        raise BadPulseError("the loop lag is not a duration")


def _is_duration(value: Any) -> bool:
    return math.isfinite(value) and value >= 0


def _read_fields(packed: bytes) -> dict[str, Any]:
    fields = _unpack(packed)
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise BadPulseError("the fields are not a mapping with names")
    return fields


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(
            data, use_list=False, max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS, max_ext_len=0
        )
    except Exception as error:  # msgpack raises a dozen kinds for hostile bytes
        raise BadPulseError(f"{type(error).__name__}: {error}") from error
