"""The two sessions, rule by rule."""

from __future__ import annotations

import itertools

import pytest

from noex.runtime.errors import InvalidOptionError
from noex.transport import wire
from noex.transport.lane_settings import LaneSettings
from noex.transport.link import (
    SIGNAL_WINDOWS,
    Dial,
    Effect,
    Hangup,
    Inbound,
    Outbound,
    Phase,
    Transmit,
    Trouble,
)
from noex.transport.wire import Header, Opened, Refusal, WireError

ME, PEER = ("a@h:1", 5), ("b@h:2", 6)
SETTINGS = LaneSettings(
    window_bytes=10_000, max_batch=1000, max_in_flight=4, ack_batches=2, ack_bytes=5000
)


class Sender:
    """An `Outbound` with a clock and its frames taken apart."""

    def __init__(self, settings: LaneSettings = SETTINGS) -> None:
        self.now = 0.0
        self.out = Outbound(
            ME,
            PEER,
            cluster="c",
            settings=settings,
            numbers=itertools.count(1).__next__,
            jitter=lambda: 1.0,
        )

    def open(self, next_seq: int = 1, window: int = 10_000, session: int = 1) -> list[Effect]:
        self.out.connected(self.now)
        return self.answer(next_seq, window, session)

    def answer(self, next_seq: int = 1, window: int = 10_000, session: int = 1) -> list[Effect]:
        opened = Opened(window, session)
        frame = wire.pack_open(ME[1], self.out.connection, next_seq, opened)
        return self.out.received(frame, self.now)

    def ack(self, seq: int) -> list[Effect]:
        return self.out.received(wire.pack_ack(ME[1], self.out.connection, seq), self.now)

    def send(self, *messages: bytes) -> list[Effect]:
        for data in messages:
            assert self.out.offer(data)
        return self.out.flush(self.now)

    def later(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.out.tick(self.now)


def opened() -> Sender:
    sender = Sender()
    assert [type(effect) for effect in sender.send(b"first")] == [Dial]
    sender.open()
    sender.ack(1)
    return sender


def batches(effects: list[Effect]) -> list[tuple[int, list[bytes]]]:
    found = []
    for effect in effects:
        if isinstance(effect, Transmit):
            header = wire.unpack_header(effect.frame)
            if header.kind == wire.BATCH:
                found.append((header.seq, [*map(bytes, wire.unpack_batch(effect.frame, 99999))]))
    return found


def test_the_first_message_dials_and_a_connection_greets() -> None:
    sender = Sender()
    assert sender.out.flush(0.0) == []  # nothing to send, nothing to do
    (dial,) = sender.send(b"x")
    assert isinstance(dial, Dial)
    (greeting,) = sender.out.connected(0.0)
    assert isinstance(greeting, Transmit)
    assert wire.unpack_hello(greeting.frame)[:3] == ("c", *ME)
    assert wire.unpack_header(greeting.frame) == (wire.HELLO, PEER[1], dial.connection, 0)
    assert batches(sender.answer()) == [(1, [b"x"])]


def test_what_is_offered_between_two_flushes_is_one_batch() -> None:
    assert batches(opened().send(b"a", b"b", b"c")) == [(2, [b"a", b"b", b"c"])]


def test_a_batch_ends_at_its_size_and_a_large_message_goes_alone() -> None:
    sent = batches(opened().send(b"a" * 600, b"b" * 600, b"c" * 2000, b"d"))
    assert [[len(data) for data in messages] for _, messages in sent] == [[600], [600], [2000], [1]]


def test_beyond_the_batches_in_flight_messages_wait_and_leave_together() -> None:
    sender = opened()
    seqs = [batches(sender.send(b"%d" % n)) for n in range(7)]
    assert [bool(sent) for sent in seqs] == [True] * 4 + [False] * 3
    assert batches(sender.ack(2)) == [(6, [b"4", b"5", b"6"])]


def test_the_receivers_window_holds_back_what_does_not_fit() -> None:
    sender = Sender()
    sender.send(b"x" * 300)
    sender.open(window=500)
    assert batches(sender.send(b"y" * 300)) == []
    assert batches(sender.ack(1)) == [(2, [b"y" * 300])]


def test_a_lost_connection_is_dialled_again_at_once_and_the_rest_is_sent_again() -> None:
    sender = opened()
    sender.send(b"two")
    sender.send(b"three")
    hangup, dial = sender.out.lost(sender.now)
    assert isinstance(hangup, Hangup)
    assert isinstance(dial, Dial)
    assert dial.connection == sender.out.connection
    sender.out.offer(b"four")
    assert batches(sender.open(next_seq=3)) == [(3, [b"three"]), (4, [b"four"])]


def test_pauses_between_dials_grow_until_something_is_acknowledged() -> None:
    sender = Sender()
    sender.send(b"x")
    pauses = []
    for _ in range(9):
        if sender.out.lost(sender.now)[-1] == Hangup():
            assert sender.out.deadline is not None
            pauses.append(round(sender.out.deadline - sender.now, 3))
            sender.later(pauses[-1])
        assert sender.out.phase is Phase.DIALLING
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    sender.open()
    assert len(sender.out.lost(sender.now)) == 1  # opened, but of no use yet: a pause again
    sender.later(1.0)
    sender.open()
    sender.ack(1)
    sender.send(b"y")
    assert len(sender.out.lost(sender.now)) == 2


def test_a_lost_connection_with_nothing_to_send_stays_closed() -> None:
    sender = opened()
    assert sender.out.lost(sender.now) == [Hangup()]
    assert (sender.out.phase, sender.out.deadline) == (Phase.IDLE, None)
    assert isinstance(sender.send(b"again")[0], Dial)


def test_a_dial_or_a_greeting_without_an_answer_is_given_up_in_time() -> None:
    sender = Sender()
    sender.send(b"x")
    assert sender.later(0.9) == []
    trouble, *_ = sender.later(0.2)
    assert isinstance(trouble, Trouble)
    assert sender.out.phase is Phase.DIALLING
    sender.out.connected(sender.now)
    trouble, *_ = sender.later(SETTINGS.open_timeout)
    assert trouble == Trouble("no answer to the greeting in time (attempt 2)")


def test_an_idle_connection_is_closed_but_not_one_that_waits_for_an_answer() -> None:
    sender = opened()
    sender.later(200.0)
    sender.send(b"x")
    assert sender.later(299.0) == []
    assert sender.later(1000.0) == []  # x is not acknowledged
    sender.ack(2)
    assert sender.later(1000.0) == [Hangup()]
    assert sender.out.phase is Phase.IDLE


@pytest.mark.parametrize("next_seq", [0, 1, 5, 1 << 63])
def test_an_open_that_would_lose_or_repeat_messages_ends_the_session(next_seq: int) -> None:
    sender = opened()  # 1 is acknowledged
    sender.send(b"two")
    sender.send(b"three")
    sender.out.lost(sender.now)
    trouble, hangup = sender.open(next_seq)
    assert isinstance(trouble, Trouble)
    assert "2 batches are lost" in trouble.text
    assert hangup == Hangup()
    assert sender.out.phase is Phase.BROKEN
    assert (sender.out.offer(b"x"), sender.out.queued) == (False, 0)


def test_a_receiver_that_forgot_the_session_ends_it() -> None:
    """It had expelled us and admitted us again: its numbers say nothing about ours."""
    sender = opened()
    sender.send(b"two")
    sender.out.lost(sender.now)
    sender.open(next_seq=2, session=2)
    assert sender.out.phase is Phase.BROKEN


@pytest.mark.parametrize("seq", [0, 4, 1 << 63])
def test_an_ack_of_what_is_not_under_way_drops_the_connection(seq: int) -> None:
    sender = opened()
    sender.send(b"two")
    sender.send(b"three")
    effects = sender.ack(seq)
    assert [type(effect) for effect in effects] == [Trouble, Hangup]
    assert sender.out.phase is Phase.PAUSED
    assert sender.out.queued > 0


def test_an_answer_for_another_connection_is_not_taken() -> None:
    sender = opened()
    sender.send(b"two")
    stale = wire.pack_ack(ME[1], sender.out.connection - 1, 2)
    assert isinstance(sender.out.received(stale, 0.0)[0], Trouble)
    assert sender.out.queued > 0


def test_a_refusal_is_told_and_tried_again_after_the_longest_pause() -> None:
    sender = Sender()
    sender.send(b"x")
    sender.out.connected(0.0)
    frame = wire.pack_refused(0, 0, Refusal.NOT_ADMITTED, "not a member here")
    trouble, hangup = sender.out.received(frame, 0.0)
    assert trouble == Trouble("refused (not_admitted): not a member here")
    assert hangup == Hangup()
    assert sender.out.deadline == SETTINGS.redial_max


def test_a_signal_passes_a_full_window_but_not_the_receivers() -> None:
    sender = Sender()
    while sender.out.offer(b"x" * 500):
        pass
    full = sender.out.queued
    assert sender.out.offer(b"y" * 500, signal=True)
    assert sender.out.queued > full
    sender.out.flush(0.0)
    assert [seq for seq, _ in batches(sender.open(window=1500))] == [1]


def test_signals_to_a_peer_that_reads_nothing_are_bounded_too() -> None:
    sender = Sender()
    while sender.out.offer(b"x" * 500, signal=True):
        pass
    assert sender.out.queued <= SIGNAL_WINDOWS * SETTINGS.window_bytes
    assert sender.out.queued > (SIGNAL_WINDOWS - 1) * SETTINGS.window_bytes


def test_each_session_has_a_number_of_its_own() -> None:
    """Or a peer admitted again would be taken for the session that it was expelled from."""
    numbers = itertools.count(1).__next__
    greetings = set()
    for _ in range(3):
        sender = Sender()
        sender.out = Outbound(
            ME, PEER, cluster="c", settings=SETTINGS, numbers=numbers, jitter=lambda: 1.0
        )
        sender.send(b"x")
        (greeting,) = sender.out.connected(0.0)
        assert isinstance(greeting, Transmit)
        greetings.add(wire.unpack_hello(greeting.frame).session)
    assert len(greetings) == 3


def test_a_closed_session_does_nothing_any_more() -> None:
    sender = opened()
    sender.out.offer(b"x")
    assert sender.out.close() == [Hangup()]
    assert (sender.out.queued, sender.out.deadline) == (0, None)
    assert not sender.out.offer(b"y")
    assert sender.out.flush(0.0) == sender.out.lost(0.0) == sender.out.tick(9e9) == []


# -- the receiver


def receiver() -> Inbound:
    inbound = Inbound(PEER, ME, session=9, settings=SETTINGS)
    inbound.greeted(b"r1", 1, 77)
    return inbound


def take(inbound: Inbound, connection: int, seq: int) -> list[bytes]:
    frame = wire.pack_batch(PEER[1], connection, seq, [b"%d" % seq])
    return [*map(bytes, inbound.take(wire.unpack_header(frame), frame))]


def test_batches_are_taken_in_order_and_acknowledged_now_and_then() -> None:
    inbound = receiver()
    assert take(inbound, 1, 1) == [b"1"]
    assert not inbound.is_ack_due
    assert take(inbound, 1, 2) == [b"2"]
    assert inbound.is_ack_due
    assert wire.unpack_header(inbound.acknowledge()) == Header(wire.ACK, ME[1], 1, 2)
    assert not inbound.is_ack_due


@pytest.mark.parametrize(("connection", "seq"), [(1, 1), (1, 3), (2, 2), (0, 2)])
def test_a_batch_out_of_turn_is_refused_and_changes_nothing(connection: int, seq: int) -> None:
    inbound = receiver()
    take(inbound, 1, 1)
    with pytest.raises(WireError, match="expected was 2 of 1"):
        take(inbound, connection, seq)
    assert take(inbound, 1, 2) == [b"2"]


def test_a_batch_that_is_torn_changes_nothing() -> None:
    inbound = receiver()
    frame = wire.pack_batch(PEER[1], 1, 1, [b"x"])[:-1]
    with pytest.raises(WireError):
        inbound.take(Header(wire.BATCH, PEER[1], 1, 1), frame)
    assert take(inbound, 1, 1) == [b"1"]


def test_a_later_connection_goes_on_where_the_earlier_was() -> None:
    inbound = receiver()
    take(inbound, 1, 1)
    answer = inbound.greeted(b"r2", 2, 77)
    assert wire.unpack_header(answer) == Header(wire.OPEN, ME[1], 2, 2)
    assert wire.unpack_open(answer) == Opened(SETTINGS.window_bytes, 9)
    assert inbound.owed == 0  # that answer has acknowledged it
    assert take(inbound, 2, 2) == [b"2"]


def test_an_earlier_connection_does_not_come_back() -> None:
    inbound = receiver()
    inbound.greeted(b"r2", 2, 77)
    with pytest.raises(WireError) as caught:
        inbound.greeted(b"r1", 1, 77)
    assert caught.value.code is Refusal.STALE


def test_another_session_of_the_same_life_is_refused() -> None:
    """It had expelled us and admitted us again: its numbers begin anew, ours do not."""
    inbound = receiver()
    with pytest.raises(WireError) as caught:
        inbound.greeted(b"r2", 2, 78)
    assert caught.value.code is Refusal.WRONG_SESSION


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window_bytes", 0),
        ("ack_delay", -1.0),
        ("max_message", 1 << 31),
        ("max_batch", True),
        ("ack_batches", 256),
        ("redial_max", 0.01),
        ("dial_timeout", "1"),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidOptionError, match=field):
        LaneSettings(**{field: value})  # type: ignore[arg-type]
