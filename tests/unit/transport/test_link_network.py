"""Two lives of sessions over a network that cuts, delays and repeats: exactly once, in order."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgpack import ExtType, packb

from noex.transport import wire
from noex.transport.codec import Codec
from noex.transport.codec_tags import TAGGED
from noex.transport.cutting import LARGE, MESSAGE_COST
from noex.transport.lane_settings import MIB, LaneSettings
from noex.transport.link import Dial, Hangup, Outbound, Phase, Transmit, Trouble
from noex.transport.parcel import Parcel
from noex.transport.reception import Answer, Deliver, Outcome, Reception, Rejected
from noex.transport.wire import Message

CODEC = Codec()
A, B = "a@127.0.0.1:1", "b@127.0.0.1:1"
SETTINGS = LaneSettings(
    window_bytes=3000,
    max_batch=400,
    max_batch_messages=5,
    max_in_flight=6,
    ack_batches=3,
    ack_bytes=900,
    idle_timeout=20.0,
    hello_limit=3,
)
# the same with everything that version 2 can do: buffers, pieces, streams that pass each other
FULL = replace(SETTINGS, window_bytes=80_000, piece_size=4096, max_partials=3, ack_bytes=9000)
PLAIN = replace(SETTINGS, max_version=1)
HARMLESS = {
    wire.Refusal.WRONG_LIFE,
    wire.Refusal.NOT_ADMITTED,
    wire.Refusal.UNKNOWN,  # after a receiver's change of life
}


class Wire:
    """One connection. What was under way when it broke may still arrive, or not."""

    def __init__(self, routing_id: bytes) -> None:
        self.routing_id = routing_id
        self.forth: deque[list[bytes | memoryview]] = deque()
        self.back: deque[bytes] = deque()
        self.passed: list[list[bytes | memoryview]] = []


class Network:
    """A sender's life, a receiver's life, all connections there ever were, and time."""

    def __init__(self, sender: LaneSettings = SETTINGS, listener: LaneSettings = SETTINGS) -> None:
        self.settings, self.their_settings = sender, listener
        self.now = 100.0
        self.numbers = itertools.count(1).__next__
        self.their_numbers = itertools.count(1).__next__
        self.lives = [1, 1]
        self.wires: list[Wire] = []
        self.current: Wire | None = None
        self.accepted: dict[tuple[int, int], list[bytes]] = {}
        self.delivered: dict[tuple[int, int], list[bytes]] = {}
        self.kinds: set[int] = set()
        self.passes = 0
        highest = min(sender.max_version, listener.max_version)
        meet = highest >= max(sender.min_version, listener.min_version)
        self.harmless = HARMLESS if meet else {*HARMLESS, wire.Refusal.WRONG_VERSION}
        self.largest = 0
        self.troubles: list[str] = []
        self.rejected: list[Rejected] = []
        self.serial = itertools.count()
        self.reception = self.new_reception()
        self.out = self.new_outbound()

    @property
    def pair(self) -> tuple[int, int]:
        return self.lives[0], self.lives[1]

    def new_outbound(self) -> Outbound:
        return Outbound(
            (A, self.lives[0]),
            (B, self.lives[1]),
            cluster="c",
            settings=self.settings,
            numbers=self.numbers,
            jitter=lambda: 0.5,
        )

    def new_reception(self) -> Reception:
        return Reception(
            (B, self.lives[1]),
            cluster="c",
            settings=self.their_settings,
            numbers=self.their_numbers,
        )

    # -- carrying out effects

    def perform(self, effects: list[Dial | Hangup | Transmit | Trouble]) -> None:
        for effect in effects:
            if isinstance(effect, Dial):
                routing_id = wire.make_routing_id(A, self.lives[0], effect.connection)
                assert all(routing_id != wire_.routing_id for wire_ in self.wires), "id reused"
                self.current = Wire(routing_id)
                self.wires.append(self.current)
            elif isinstance(effect, Hangup):
                self.current = None
            elif isinstance(effect, Transmit):
                assert self.current is not None
                self.kinds.add(effect.frame[1])
                self.current.forth.append([effect.frame, *effect.rest])
            else:
                self.troubles.append(effect.text)
        self.check_bounds()

    def check_bounds(self) -> None:
        assert self.out.queued <= self.settings.window_bytes + self.largest
        assert len(self.out._unacked) <= self.settings.max_in_flight

    def outcome(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Deliver):
                pair = (outcome.uid[1], self.reception.me[1])
                self.delivered.setdefault(pair, []).extend(map(told, outcome.messages))
            elif isinstance(outcome, Answer):
                for wire_ in self.wires:
                    if wire_.routing_id == outcome.routing_id:
                        wire_.back.append(outcome.frame)
            elif isinstance(outcome, Rejected):
                self.rejected.append(outcome)
                # a repeated frame of a connection that the sender has left may look wrong; what
                # an honest sender sends on its present one never does
                is_present = self.current and outcome.routing_id == self.current.routing_id
                assert not is_present or outcome.code in self.harmless, outcome

    # -- what may happen, each with a number that makes a choice

    def offer(self, n: int) -> None:
        stream, text = n % 3, b"%d:" % next(self.serial) + b"x" * (n * 7 % 300)
        data: bytes | Parcel = b"%d/" % stream + text
        if self.settings.piece_size < MIB and n % 5 == 0:
            data = made(stream, text, n)
        if self.out.offer(data, stream=stream):
            self.accepted.setdefault(self.pair, []).append(told(data))
            self.largest = max(self.largest, len(data) + MESSAGE_COST)

    def flush(self, n: int) -> None:
        self.perform(self.out.flush(self.now))

    def connect(self, n: int) -> None:
        self.perform(self.out.connected(self.now))

    def arrive(self, n: int) -> None:
        waiting = [wire_ for wire_ in self.wires if wire_.forth]
        if waiting:
            wire_ = waiting[-1 - n % len(waiting)]
            frames = wire_.forth.popleft()
            wire_.passed.append(frames)
            self.outcome(self.reception.handle(wire_.routing_id, frames, self.now))

    def answer(self, n: int) -> None:
        if self.current is not None and self.current.back:
            self.perform(self.out.received(self.current.back.popleft(), self.now))

    def cut(self, n: int) -> None:
        """The sender notices a cut; the last few frames are lost, the others are still coming."""
        if self.current is not None:
            for _ in range(n % (len(self.current.forth) + 1)):
                self.current.forth.pop()
            self.perform(self.out.lost(self.now))

    def repeat(self, n: int) -> None:
        """A frame of an earlier connection comes again."""
        passed = [
            (wire_.routing_id, frames)
            for wire_ in self.wires
            if wire_ is not self.current
            for frames in wire_.passed
        ]
        if passed:
            routing_id, frames = passed[n % len(passed)]
            self.outcome(self.reception.handle(routing_id, frames, self.now))

    def wait(self, n: int) -> None:
        self.now += (n % 40) / 10
        self.perform(self.out.tick(self.now))
        self.outcome(self.reception.tick(self.now))

    def acknowledge(self, n: int) -> None:
        self.outcome(self.reception.acknowledge())

    def admit(self, n: int) -> None:
        self.outcome(self.reception.admit((A, self.lives[0])))

    def restart_receiver(self, n: int) -> None:
        self.perform(self.out.close())
        self.lives[1] += 1
        self.reception = self.new_reception()
        self.out = self.new_outbound()

    def receiver_gets_new_life(self, n: int) -> None:
        self.perform(self.out.close())
        self.lives[1] += 1
        self.reception.new_life(self.lives[1])
        self.out = self.new_outbound()

    def restart_sender(self, n: int) -> None:
        self.perform(self.out.close())
        self.outcome(self.reception.expel((A, self.lives[0])))
        self.lives[0] += 1
        self.out = self.new_outbound()

    def settle(self) -> None:
        """The network is good again: everything that was accepted must arrive."""
        for _ in range(400):
            for step in (self.admit, self.flush, self.connect, self.arrive, self.answer):
                for _ in range(4):
                    step(0)
            self.acknowledge(0)
            self.wait(35)
            if not self.out.queued:
                return
        raise AssertionError(f"{self.out.queued} bytes are stuck while {self.out.phase}")

    def verify(self) -> None:
        for pair, got in self.delivered.items():
            sent = self.accepted.get(pair, [])
            for stream in (b"0/", b"1/", b"2/"):
                heard = [data for data in got if data.startswith(stream)]
                said = [data for data in sent if data.startswith(stream)]
                assert heard == said[: len(heard)], f"order or number is wrong between {pair}"
            self.passes += got != sent[: len(got)]
        accepted = self.accepted.get(self.pair, [])
        assert sorted(self.delivered.get(self.pair, [])) == sorted(accepted)
        assert not [text for text in self.troubles if "cannot go on" in text or "unusable" in text]


NORMAL: list[Callable[[Network, int], None]] = [
    Network.offer,
    Network.flush,
    Network.connect,
    Network.arrive,
    Network.answer,
    Network.admit,
]
ROUGH = [Network.cut, Network.repeat, Network.wait, Network.acknowledge]
LIVES = [Network.restart_receiver, Network.receiver_gets_new_life, Network.restart_sender]
STEPS = {step.__name__: step for step in NORMAL + ROUGH + LIVES}


def made(stream: int, text: bytes, n: int) -> bytes | Parcel:
    """A large message: of bytes, or with buffers beside it."""
    body = CODEC.encode(text + b"y" * (n * 31 % 20_000))
    header = b"%d/" % stream
    if n % 2:
        return header + body
    buffers = [b"z" * (LARGE + n * size % 9000) for size in range(1, 1 + n % 3)] or [b"z" * LARGE]
    placed = [ExtType(1, bytes((0, place))) for place in range(len(buffers))]
    return Parcel(TAGGED + packb([0, text, *placed]), buffers).behind(header)


def told(message: Message) -> bytes:
    """What a message says, whether its buffers lie beside it or within."""
    if isinstance(message, Parcel):
        head, body = bytes(message.data[:2]), Parcel(message.data[2:], message.buffers)
        return head + repr(CODEC.decode(body)).encode()
    data = bytes(message)
    if data[2:4] == TAGGED:
        return data[:2] + repr(CODEC.decode(data[2:])).encode()
    return data


def run(
    schedule: list[tuple[str, int]],
    sender: LaneSettings = SETTINGS,
    listener: LaneSettings = SETTINGS,
) -> Network:
    network = Network(sender, listener)
    for name, n in schedule:
        STEPS[name](network, n)
    network.settle()
    network.verify()
    return network


def schedule_of(seed: int, length: int) -> list[tuple[str, int]]:
    chance = random.Random(seed)
    weights = [30] * len(NORMAL) + [chance.choice((2, 10))] * len(ROUGH) + [0.3] * len(LIVES)
    names = chance.choices(list(STEPS), weights, k=length)
    return [(name, chance.randrange(1000)) for name in names]


@pytest.mark.parametrize("block", range(8))
def test_every_message_arrives_once_and_in_order_under_random_schedules(block: int) -> None:
    delivered = redials = lives = 0
    for seed in range(block * 40, block * 40 + 40):
        network = run(schedule_of(seed, 400))
        delivered += sum(map(len, network.delivered.values()))
        redials += len(network.wires)
        lives += len(network.delivered)
    # the schedules are worth something only if all of this happened
    assert delivered > 1000
    assert redials > 100
    assert lives > 40


ALL = {wire.HELLO, wire.BATCH, wire.BULK, wire.PIECE}


@pytest.mark.parametrize(
    ("sender", "listener", "kinds"),
    [
        (FULL, FULL, ALL),
        (FULL, replace(FULL, features=wire.BUFFERS), ALL - {wire.PIECE}),
        (replace(FULL, features=wire.PIECES), FULL, ALL - {wire.BULK}),
        (FULL, replace(FULL, features=0), ALL - {wire.BULK, wire.PIECE}),
        (FULL, replace(FULL, max_version=1), ALL - {wire.BULK, wire.PIECE}),
        (replace(FULL, max_version=1), FULL, ALL - {wire.BULK, wire.PIECE}),
        (replace(FULL, min_version=2), replace(FULL, max_partials=1), ALL),
    ],
    ids=["all", "no pieces", "no buffers", "neither", "to 1", "from 1", "one at a time"],
)
def test_large_messages_and_buffers_arrive_once_and_in_the_order_of_their_stream(
    sender: LaneSettings, listener: LaneSettings, kinds: set[int]
) -> None:
    seen: set[int] = set()
    delivered = redials = passes = 0
    for seed in range(1000, 1030):
        network = run(schedule_of(seed, 300), sender, listener)
        seen |= network.kinds
        delivered += sum(map(len, network.delivered.values()))
        redials += len(network.wires)
        passes += network.passes
    assert seen - {wire.GOODBYE} == kinds
    assert delivered > 300
    assert redials > 30
    assert passes or wire.PIECE not in kinds


@pytest.mark.parametrize(
    ("sender", "listener"),
    [(PLAIN, replace(SETTINGS, min_version=2)), (replace(SETTINGS, min_version=2), PLAIN)],
)
def test_versions_that_do_not_meet_are_refused_and_both_sides_can_say_why(
    sender: LaneSettings, listener: LaneSettings
) -> None:
    network = Network(sender, listener)
    for step in ("admit", "offer", "flush", "connect", "arrive", "answer"):
        STEPS[step](network, 0)
    (rejected,) = network.rejected
    assert rejected.code is wire.Refusal.WRONG_VERSION
    (trouble,) = network.troubles
    assert trouble == f"refused (wrong_version): {rejected.reason}"
    assert "speaks protocol versions" in trouble
    assert network.out.phase is Phase.PAUSED


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 999)), max_size=120))
@example(  # frames of the old connection come after the new greeting was answered
    [
        ("admit", 0), ("offer", 1), ("flush", 0), ("connect", 0), ("arrive", 0), ("answer", 0),
        ("offer", 2), ("flush", 0), ("cut", 0), ("connect", 0), ("arrive", 0), ("arrive", 1),
        ("answer", 0), ("arrive", 0), ("arrive", 1),
    ]
)  # fmt: skip
def test_every_message_arrives_once_and_in_order(schedule: list[tuple[str, int]]) -> None:
    run(schedule)
    run(schedule, FULL, FULL)


def test_a_restarted_receiver_never_gets_what_was_for_its_earlier_life() -> None:
    network = Network()
    for step in ("admit", "offer", "flush", "connect", "arrive", "answer"):
        STEPS[step](network, 0)
    for _ in range(3):
        network.offer(5)
        network.flush(0)
    network.restart_receiver(0)
    network.admit(0)
    for _ in range(20):
        network.arrive(0)
        network.repeat(0)
    assert network.delivered.get((1, 2), []) == []
    assert {rejected.code for rejected in network.rejected} == {wire.Refusal.WRONG_LIFE}
    network.offer(1)
    network.settle()
    network.verify()
    assert len(network.delivered[1, 2]) == 1
    assert network.out.phase in (Phase.OPEN, Phase.IDLE)


def test_the_window_bounds_what_is_queued() -> None:
    network = Network()
    while network.out.offer(b"x" * 100):
        pass
    assert network.out.queued <= SETTINGS.window_bytes
    assert network.out.queued + 100 + MESSAGE_COST > SETTINGS.window_bytes
    assert not network.out.offer(b"x" * 100)


def test_a_message_larger_than_the_window_leaves_half_of_it_to_others() -> None:
    network = Network()
    sent = [b"0/" + b"x" * 2 * SETTINGS.window_bytes]
    assert network.out.offer(sent[0])
    assert not network.out.offer(b"y" * 2 * SETTINGS.window_bytes)
    while network.out.offer(b"0/z" * 30):
        sent.append(b"0/z" * 30)
    assert 1 + SETTINGS.window_bytes // 2 // (90 + MESSAGE_COST) == len(sent)
    network.accepted[network.pair] = sent
    network.largest = network.out.queued
    network.settle()
    network.verify()
    assert network.out._forgiven == 0
    network.offer(1)
    assert network.out.offer(b"x" * 2 * SETTINGS.window_bytes)  # also beside small ones


def test_a_refused_message_is_not_forgiven_anything() -> None:
    network = Network()
    while network.out.offer(b"x" * 100):
        pass
    assert not network.out.offer(b"x" * 2 * SETTINGS.window_bytes)
    assert network.out._forgiven == 0
