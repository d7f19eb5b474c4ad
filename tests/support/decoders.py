"""Every function of noex that reads bytes of another node, with frames that it takes."""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import count
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fuzzing import Decoder

from noex import message
from noex.cluster import messages as cluster
from noex.cluster.info import SelfDescription, pulse_fields, read_pulse
from noex.cluster.view import Gone, Lineage, Member, View
from noex.runtime.errors import CallTimeoutError
from noex.runtime.messages import TIMEOUT, Down
from noex.transport import control_frames, ops, wire, wire_bulk
from noex.transport.codec import Codec, CodecLimits, DecodeError, UnknownTypeError
from noex.transport.codec_apart import APART_FROM
from noex.transport.lane_settings import LaneSettings
from noex.transport.link import Effect, Outbound, Transmit
from noex.transport.parcel import Parcel
from noex.transport.pulse import (
    BadPulseError,
    PulseContent,
    decode_pulse,
    encode_pulse,
    pack_fields,
)
from noex.transport.reception import Answer, Reception
from noex.transport.wire import WireError

A, B = ("a@127.0.0.1:1", 11), ("b@127.0.0.1:2", 22)
LANE = LaneSettings(max_batch_messages=1000, hello_limit=8, piece_size=4096)
MAX_PULSE = 64 * 1024


class Ref:
    """What a ref is for the codec alone."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class RefHooks:
    """Refs travel as their parts."""

    ref_type = Ref

    def dump(self, ref: Ref) -> Any:
        return ref.parts

    def load(self, *parts: Any) -> Ref:
        return Ref(*parts)


@message
@dataclass(frozen=True)
class Order:
    """A message of a program."""

    ident: int
    lines: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


@message
class Colour(enum.Enum):
    """An Enum of a program."""

    RED = 1


CODEC = Codec(refs=RefHooks(), limits=CodecLimits(max_bytes=8 << 20))
VALUES: list[Any] = [
    ("add", 1),
    [1, [2, {"k": b"x"}]],
    ([1], {"k": [2]}),
    ("call", 7, ("set", [1, (2,)], {3}), {(1, 2): frozenset({4})}),
    (Decimal("1.5"), UUID(int=5), 1j, 1 << 99, "\ud800", bytearray(b"x"), memoryview(b"y")),
    (memoryview(b"12345678").cast("I"), PurePosixPath("/a"), Order(1, ("x",)), Colour.RED),
    (datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")), datetime(2026, 1, 1, tzinfo=UTC)),
    (timedelta(1), timezone(timedelta(0, 60), "x"), date(2026, 1, 1), time(1, 2), TIMEOUT),
    (Ref("a@h:1", 2, 3, None), Down(1, Ref("a@h:1", 2, 3, "n"), "normal")),
    [ValueError("x", 1), CallTimeoutError(1, 2.0), FileNotFoundError(2, "a", "b")],
    ExceptionGroup("g", [ValueError(1), KeyError(2)]),
    {"text": "x" * 100, "numbers": list(range(50)), "none": None},
]
MESSAGES = tuple(CODEC.encode(value) for value in VALUES)
APART = tuple(
    CODEC.encode(value, apart=True).data
    for value in (
        [b"x" * APART_FROM, memoryview(b"y" * APART_FROM)],
        {"a": bytearray(APART_FROM), "b": (1, b"z" * APART_FROM)},
    )
)


def joined(parts: Sequence[Any]) -> bytes:
    """A message of several frames as one piece of bytes; `parted` undoes it."""
    return b"".join(struct.pack("<H", len(part)) + bytes(part) for part in parts)


def parted(data: bytes) -> list[bytes]:
    """The frames in it; whatever the bytes are, they are some frames."""
    parts = []
    while len(data) >= 2 and len(parts) < 50:
        (size,) = struct.unpack_from("<H", data)
        parts.append(data[2 : 2 + size])
        data = data[2 + size :]
    return parts


def lane_messages() -> list[tuple[bytes, ...]]:
    """The messages of one session, from its greeting to its refusal, as both sides make them."""
    numbers = count(1).__next__
    sender = Outbound(A, B, cluster="noex", settings=LANE, numbers=numbers, jitter=lambda: 0.5)
    listener = Reception(B, cluster="noex", settings=LANE, numbers=numbers)
    listener.admit(A)
    messages: list[tuple[bytes, ...]] = []

    def there_and_back(effects: list[Effect]) -> None:
        for parts in sent(effects):
            messages.append(parts)
            routing_id = wire.make_routing_id(*A, sender.connection)
            for answer in listener.handle(routing_id, parts, 0.0):
                if isinstance(answer, Answer):
                    messages.append((answer.frame,))
                    there_and_back(sender.received(answer.frame, 0.0))

    for message_ in (b"one", b"", b"x" * 300, *MESSAGES):
        sender.offer(ops.pack_op(ops.CAST, 7, body=message_))
    sender.flush(0.0)
    there_and_back(sender.connected(0.0))
    sender.offer(b"more")
    there_and_back(sender.flush(0.0))
    sender.offer(bytes(100_000))  # in pieces
    there_and_back(sender.flush(0.0))
    few = [Parcel(b"with others beside it", [b"a" * 40, b"b" * 50]), b"plain"]
    frame, buffers = wire_bulk.pack_bulk(B[1], sender.connection, 9, few, wire.VERSION)
    messages.append((frame, *map(bytes, buffers)))
    messages += [(a.frame,) for a in listener.acknowledge() if isinstance(a, Answer)]
    messages.append((wire.pack_unsupported(A[1], 5, 99, wire.VERSION),))
    messages.append((wire.pack_goodbye(B[1], 5, "it stops", wire.VERSION),))
    messages += [(a.frame,) for a in listener.expel(A) if isinstance(a, Answer)]
    return messages


def sent(effects: list[Effect]) -> list[tuple[bytes, ...]]:
    """The messages that these effects send, each as its frames."""
    return [(e.frame, *map(bytes, e.rest)) for e in effects if isinstance(e, Transmit)]


LANE_MESSAGES = lane_messages()
FRAMES = tuple(parts[0] for parts in LANE_MESSAGES)
MANY = tuple(joined(parts) for parts in LANE_MESSAGES if len(parts) > 1)
OPS = (
    ops.pack_op(ops.CALL, 5, 7, 1000, MESSAGES[0]),
    ops.pack_op(ops.CAST, name="counter", body=MESSAGES[1]),
    ops.pack_op(ops.SYSTEM, 5, 8, 1000, CODEC.encode(("info",))),
    ops.pack_op(ops.EXIT, 5, body=CODEC.encode((None, "normal"))),
    ops.pack_op(ops.STOP, name="nobody", body=CODEC.encode("shutdown")),
    *(ops.pack_op(kind, 5, 6, body=CODEC.encode("normal")) for kind in range(1, 18)),
)

ME = Member(*A, "draining", "tcp://127.0.0.1:1", "tcp://h:2", "tcp://h:3", ("w",), (("z", "1"),), 7)
OTHER = Member(*B, "up", "tcp://127.0.0.1:2", "tcp://h:5", "tcp://h:6", born=8)
VIEW = View(Lineage(*A, 7), 9, (ME, OTHER), {"c@h:3": Gone(4, "connection_closed")}, 3, 1)
BODIES: tuple[cluster.Body, ...] = (
    cluster.Hello("joining", OTHER, (cluster.Known("c@127.0.0.1:3", 9, "tcp://127.0.0.1:3"),)),
    cluster.Welcome("member", OTHER, (), VIEW),
    cluster.Join(OTHER, True),
    cluster.Join(Member("d@127.0.0.1:4", 44, "up", "tcp://127.0.0.1:4")),
    cluster.Refused(B, "id_in_use", 12),
    cluster.Refused(A, "stale", 12),
    cluster.Alert(B, "connection_closed", True),
    cluster.Leave("leaving"),
    cluster.News(VIEW),
    cluster.Ack(),
    cluster.Admin(7, "status", b"\x00"),
    cluster.AdminReply(7, False, b"no"),
)
CONTROL = tuple(
    cluster.encode(cluster.Envelope("noex", B, VIEW.lineage, 9, VIEW.digest(), body))
    for body in BODIES
)
CONTROL_FRAMES = (
    *(control_frames.data_frame(data) for data in CONTROL),
    control_frames.ping_frame(5),
    control_frames.pong_frame(control_frames.PongContent(5, *B, 0.25)),
)


def _pulse(**changed: Any) -> bytes:
    description = SelfDescription("tcp://h:5", "tcp://h:6", ("worker",), {}, 7, 0.5)
    fields = pulse_fields(description, (VIEW.lineage, 9, VIEW.digest()), 12.5)
    return encode_pulse(*B, 3, 0.25, pack_fields({**fields, **changed}, MAX_PULSE))


PULSES = (
    _pulse(),
    _pulse(behaviors=("x",) * 50),
    _pulse(processes=1.5, load=7, uptime=None, view=(None, 0, 0), more={"deep": ((1,),)}),
)


def _control(frame: bytes) -> Any:
    """What the control thread does with a frame, and then the loop."""
    kind, body = control_frames.read_frame(frame)
    if kind == control_frames.PING:
        return control_frames.read_ping(body)
    if kind == control_frames.PONG:
        return control_frames.read_pong(body)
    return cluster.decode(body)


def _heard(frame: bytes) -> Any:
    """What becomes of a heartbeat."""
    content: PulseContent = decode_pulse(frame, MAX_PULSE)
    return read_pulse(content.fields, content.loop_lag, 0.0)


def _operation(data: bytes) -> Any:
    return CODEC.decode(ops.unpack_op(data).body)


def _repaired(frame: bytes) -> bytes:
    """With the size that it has: what is behind the header is to be read, too."""
    size = len(frame) - wire.HEADER_SIZE
    if size < 0:
        return frame
    return frame[: wire.HEADER_SIZE - 4] + struct.pack("<I", size) + frame[wire.HEADER_SIZE :]


def _wire(name: str, read: Callable[[bytes], Any]) -> Decoder:
    def read_body(frame: bytes) -> Any:
        frame = _repaired(frame)
        wire.unpack_header(frame)
        return read(frame)

    return Decoder(name, read_body, (WireError,), FRAMES)


def _wire_many(name: str, read: Callable[[bytes, Sequence[bytes]], Any]) -> Decoder:
    def read_parts(data: bytes) -> Any:
        frame, *rest = parted(data) or [b""]
        frame = _repaired(frame)
        wire.unpack_header(frame)
        return read(frame, rest)

    return Decoder(name, read_parts, (WireError,), MANY)


def _apart(data: bytes) -> Any:
    return CODEC.decode(Parcel(data, [b"x" * 100, memoryview(b"y" * 200)]))


DECODERS: tuple[Decoder, ...] = (
    Decoder("wire header", wire.unpack_header, (WireError,), FRAMES),
    _wire("wire hello", wire.unpack_hello),
    _wire("wire open", wire.unpack_open),
    _wire("wire refused", wire.unpack_refused),
    _wire("wire batch", lambda frame: wire.unpack_batch(frame, LANE.max_batch_messages)),
    _wire("wire unsupported", wire.unpack_unsupported),
    _wire("wire goodbye", wire.unpack_goodbye),
    _wire_many("wire bulk", lambda frame, rest: wire_bulk.unpack_bulk(frame, rest, 1000)),
    _wire_many("wire piece", wire_bulk.unpack_piece),
    Decoder("codec apart", _apart, (DecodeError, UnknownTypeError), APART),
    Decoder("operation", _operation, (DecodeError, UnknownTypeError), OPS),
    Decoder("codec", CODEC.decode, (DecodeError, UnknownTypeError), MESSAGES),
    Decoder(
        "control",
        _control,
        (control_frames.BadControlFrameError, cluster.BadControlMessageError),
        CONTROL_FRAMES,
    ),
    Decoder("cluster message", cluster.decode, (cluster.BadControlMessageError,), CONTROL),
    Decoder("heartbeat", _heard, (BadPulseError,), PULSES),
)
