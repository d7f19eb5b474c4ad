"""Every function of noex that reads bytes of another node, with frames that it takes."""

from __future__ import annotations

import enum
from collections.abc import Callable
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
from noex.transport import control_frames, ops, wire
from noex.transport.codec import Codec, CodecLimits, DecodeError, UnknownTypeError
from noex.transport.lane_settings import LaneSettings
from noex.transport.link import Effect, Outbound
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
LANE = LaneSettings(max_batch_messages=1000, hello_limit=8)
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


def lane_frames() -> tuple[bytes, ...]:
    """The frames of one session, from its greeting to its refusal, as both sides make them."""
    numbers = count(1).__next__
    sender = Outbound(A, B, cluster="noex", settings=LANE, numbers=numbers, jitter=lambda: 0.5)
    listener = Reception(B, cluster="noex", settings=LANE, numbers=numbers)
    listener.admit(A)
    frames: list[bytes] = []

    def there_and_back(effects: list[Effect]) -> None:
        for frame in sent(effects):
            frames.append(frame)
            routing_id = wire.make_routing_id(*A, sender.connection)
            for answer in listener.handle(routing_id, [frame], 0.0):
                if isinstance(answer, Answer):
                    frames.append(answer.frame)
                    there_and_back(sender.received(answer.frame, 0.0))

    for message_ in (b"one", b"", b"x" * 300, *MESSAGES):
        sender.offer(ops.pack_op(ops.CAST, 7, body=message_))
    sender.flush(0.0)
    there_and_back(sender.connected(0.0))
    sender.offer(b"more")
    there_and_back(sender.flush(0.0))
    frames += [a.frame for a in listener.acknowledge() if isinstance(a, Answer)]
    frames += [a.frame for a in listener.expel(A) if isinstance(a, Answer)]
    return tuple(frames)


def sent(effects: list[Effect]) -> list[bytes]:
    """The frames that these effects send."""
    return [effect.frame for effect in effects if hasattr(effect, "frame")]


FRAMES = lane_frames()
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


def _wire(name: str, read: Callable[[bytes], Any]) -> Decoder:
    return Decoder(name, read, (WireError,), FRAMES)


DECODERS: tuple[Decoder, ...] = (
    _wire("wire header", wire.unpack_header),
    _wire("wire hello", wire.unpack_hello),
    _wire("wire open", wire.unpack_open),
    _wire("wire refused", wire.unpack_refused),
    _wire("wire batch", lambda frame: wire.unpack_batch(frame, LANE.max_batch_messages)),
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
