"""The two sessions, rule by rule."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from noex.runtime.errors import InvalidOptionError
from noex.transport import wire, wire_bulk
from noex.transport.cutting import MESSAGE_COST
from noex.transport.lane_settings import LaneSettings
from noex.transport.link import (
    SIGNAL_WINDOWS,
    Dial,
    Effect,
    Hangup,
    Outbound,
    Phase,
    Transmit,
    Trouble,
    Weight,
)
from noex.transport.link_inbound import Inbound
from noex.transport.parcel import Parcel
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


# -- version 2

V2 = replace(SETTINGS, window_bytes=200_000, max_batch=8000, piece_size=4096)
TERMS = Opened(200_000, 1, 2, wire.FEATURES, 2)


def speaking(terms: Opened = TERMS, settings: LaneSettings = V2) -> Sender:
    """A sender that is open under these terms."""
    sender = Sender(settings)
    sender.send(b"first")
    sender.out.connected(sender.now)
    frame = wire.pack_open(ME[1], sender.out.connection, 1, terms)
    assert kinds(sender.out.received(frame, sender.now)) == [wire.BATCH]
    sender.out.received(ack_of(sender, 1), sender.now)
    return sender


def ack_of(sender: Sender, seq: int) -> bytes:
    return wire.pack_ack(ME[1], sender.out.connection, seq, sender.out.version)


def kinds(effects: list[Effect]) -> list[int]:
    return [effect.frame[1] for effect in effects if isinstance(effect, Transmit)]


def test_a_greeting_says_what_is_spoken_and_every_frame_after_it_has_the_agreed_version() -> None:
    sender = Sender(V2)
    sender.send(b"x")
    (greeting,) = sender.out.connected(0.0)
    assert isinstance(greeting, Transmit)
    assert wire.unpack_hello(greeting.frame)[4:] == (1, 2, wire.FEATURES)
    assert greeting.frame[0] == 1
    for version in (1, 2):
        effects = speaking(TERMS._replace(version=version)).send(b"y")
        assert [effect.frame[0] for effect in effects if isinstance(effect, Transmit)] == [version]


def test_a_message_with_buffers_leaves_as_such_and_a_large_one_in_pieces() -> None:
    sender = speaking()
    parcel = Parcel(b"data", [b"z" * 4000])
    sender.out.offer(parcel)
    sender.out.offer(b"small")
    (bulk,) = sender.out.flush(0.0)
    assert isinstance(bulk, Transmit)
    assert wire_bulk.unpack_bulk(bulk.frame, bulk.rest, 9) == [parcel, b"small"]
    assert kinds(sender.send(b"l" * 9500)) == [wire.PIECE] * 3
    assert kinds(sender.send(b"s" * 4096)) == []  # four are under way
    assert kinds(sender.out.received(ack_of(sender, 5), 0.0)) == [wire.BATCH]


def test_what_came_back_unacknowledged_is_sent_again_with_all_its_frames() -> None:
    sender = speaking()
    before = sender.send(b"l" * 9500)
    sender.out.lost(sender.now)
    sender.out.connected(sender.now)
    frame = wire.pack_open(ME[1], sender.out.connection, 3, TERMS)
    after = sender.out.received(frame, sender.now)
    assert kinds(after) == [wire.PIECE] * 2
    for one, again in zip(before[1:], after, strict=True):
        assert isinstance(one, Transmit) and isinstance(again, Transmit)
        assert again.rest == one.rest
        assert wire_bulk.unpack_piece(again.frame, again.rest) == wire_bulk.unpack_piece(
            one.frame, one.rest
        )
        assert wire.unpack_header(again.frame).connection == sender.out.connection


def test_a_small_message_of_another_stream_passes_a_large_one_and_one_of_its_own_does_not() -> None:
    sender = speaking()
    sender.out.offer(b"l" * 30_000, stream=1)
    sender.out.offer(b"own", stream=1)
    sender.out.offer(b"other", stream=2)
    sent = sender.out.flush(0.0)
    assert batches(sent) == [(3, [b"other"])]
    rest = []
    for seq in range(2, 20):
        if sender.out.queued:
            rest += sender.out.received(ack_of(sender, seq), 0.0)
    assert batches(rest)[-1][1] == [b"own"]
    assert kinds(rest).count(wire.PIECE) == kinds(rest).index(wire.BATCH)


def test_pieces_leave_a_part_of_the_window_to_batches_and_the_other_way_round() -> None:
    sender = speaking()
    for _ in range(3):
        assert sender.out.offer(b"l" * 50_000, stream=1)
    sender.out.flush(0.0)
    assert sender.out._flying <= V2.window_bytes // 4 + 2 * MESSAGE_COST
    many = Sender(replace(V2, max_in_flight=200))
    many.out = speaking(settings=many.out._settings).out
    many.out.offer(b"l" * 20_000, stream=1)
    while many.out.offer(b"s" * 900, stream=2):
        pass
    assert wire.PIECE in kinds(many.out.flush(0.0))
    assert many.out._flying <= V2.window_bytes


def test_a_peer_without_pieces_gets_a_large_message_whole_and_later_ones_in_their_turn() -> None:
    sender = Sender(V2)
    sender.send(b"l" * 9000)
    sender.send(b"after")
    sender.out.connected(sender.now)
    terms = TERMS._replace(features=wire.BUFFERS)
    first = sender.out.received(wire.pack_open(ME[1], sender.out.connection, 1, terms), 0.0)
    assert [[len(data) for data in one] for _, one in batches(first)] == [[9000], [5]]
    assert len(batches(sender.send(b"l" * 9000, b"x"))) == 2


def test_who_closes_says_goodbye_where_the_other_side_understands_it() -> None:
    goodbye, hangup = speaking().out.close("node stops")
    assert isinstance(goodbye, Transmit)
    assert goodbye.frame[1] == wire.GOODBYE
    assert wire.unpack_goodbye(goodbye.frame) == "node stops"
    assert hangup == Hangup(lingers=True)
    assert speaking(TERMS._replace(version=1)).out.close("node stops") == [Hangup()]


def test_a_peer_that_has_said_goodbye_is_not_dialled_any_more() -> None:
    sender = speaking()
    sender.send(b"under way")
    frame = wire.pack_goodbye(ME[1], sender.out.connection, "node stops", 2)
    trouble, hangup = sender.out.received(frame, 0.0)
    assert trouble == Trouble("said goodbye: node stops", Weight.GOODBYE)
    assert (hangup, sender.out.phase) == (Hangup(), Phase.PARTED)
    assert sender.send(b"for nobody") == []  # taken: it ends with the peer's life, not here
    assert (sender.out.queued, sender.out.deadline) == (0, None)
    assert sender.out.parted("again") == sender.out.lost(0.0) == []


def test_frames_of_unknown_kinds_are_said_and_not_fatal() -> None:
    sender = speaking()
    answer = wire.pack_unsupported(ME[1], sender.out.connection, 77, 2)
    (told,) = sender.out.received(answer, 0.0)
    assert told == Trouble("it does not support frames of kind 77", Weight.REFUSED)
    strange = wire.frame_of(2, Header(99, ME[1], sender.out.connection, 0), b"whatever")
    (told,) = sender.out.received(strange, 0.0)
    assert isinstance(told, Trouble)
    assert sender.out.phase is Phase.OPEN
    wrong = wire.frame_of(2, Header(wire.BATCH, ME[1], sender.out.connection, 0), b"")
    assert isinstance(sender.out.received(wrong, 0.0)[-1], Hangup)


def test_a_version_that_nobody_agreed_on_is_not_spoken() -> None:
    for frame_version in (1, 3):
        sender = speaking()
        sender.send(b"x")
        ack = wire.pack_ack(ME[1], sender.out.connection, 2, frame_version)
        trouble, *_ = sender.out.received(ack, 0.0)
        assert isinstance(trouble, Trouble)
        assert f"version {frame_version}" in trouble.text
    sender = Sender(V2)
    sender.send(b"x")
    sender.out.connected(0.0)
    frame = wire.pack_open(ME[1], sender.out.connection, 1, TERMS._replace(version=3))
    trouble, *_ = sender.out.received(frame, 0.0)
    assert trouble == Trouble("unusable answer: it wants to speak version 3")
    assert sender.out.phase is Phase.PAUSED


def test_a_peer_that_changes_its_version_within_a_session_ends_it() -> None:
    sender = speaking()
    sender.send(b"x")
    sender.out.lost(0.0)
    sender.out.connected(0.0)
    frame = wire.pack_open(ME[1], sender.out.connection, 2, TERMS._replace(version=1))
    sender.out.received(frame, 0.0)
    assert sender.out.phase is Phase.BROKEN


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
        ("min_version", 3),
        ("max_version", 3),
        ("min_version", 0),
        ("features", 4),
        ("features", None),
        ("piece_size", 4095),
        ("max_partials", 1 << 16),
        ("dial_timeout", "1"),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidOptionError, match=field):
        LaneSettings(**{field: value})  # type: ignore[arg-type]


def test_an_inbound_session_takes_only_what_was_agreed_on() -> None:
    parcel = Parcel(b"data", [b"zz"])
    bulk, rest = wire_bulk.pack_bulk(PEER[1], 1, 1, [parcel], 2)
    piece = wire_bulk.Piece(1, 0, 3, (3,))
    large = wire_bulk.pack_piece(PEER[1], 1, 1, piece, 2)
    for frame, more, feature, got in (
        (bulk, rest, wire.BUFFERS, [parcel]),
        (large, [b"abc"], wire.PIECES, [b"abc"]),
    ):
        for features in (0, wire.BUFFERS, wire.PIECES, wire.FEATURES):
            inbound = Inbound(PEER, ME, session=9, settings=SETTINGS)
            inbound.greeted(b"r1", 1, 77, version=2, features=features)
            header = wire.unpack_header(frame)
            if features & feature:
                assert inbound.take(header, frame, more) == got
                continue
            with pytest.raises(WireError, match="not agreed on"):
                inbound.take(header, frame, more)
            assert inbound.expected == 1


def test_a_message_in_pieces_survives_a_lost_connection() -> None:
    inbound = Inbound(PEER, ME, session=9, settings=SETTINGS)
    for seq, (offset, lengths) in enumerate(((0, (4000,)), (2000, ())), 1):
        inbound.greeted(b"r%d" % seq, seq, 77, version=2, features=wire.PIECES)
        piece = wire_bulk.Piece(1, offset, 2000, lengths)
        frame = wire_bulk.pack_piece(PEER[1], seq, seq, piece, 2)
        got = inbound.take(wire.unpack_header(frame), frame, [b"%d" % seq * 2000])
    assert got == [b"1" * 2000 + b"2" * 2000]


def test_more_bytes_after_a_frame_than_a_message_may_have_are_refused() -> None:
    settings = LaneSettings(max_message=1000, max_batch=500)
    inbound = Inbound(PEER, ME, session=9, settings=settings)
    inbound.greeted(b"r1", 1, 77, version=2, features=wire.FEATURES)
    frame, rest = wire_bulk.pack_bulk(PEER[1], 1, 1, [Parcel(b"d", [b"z" * 1501])], 2)
    with pytest.raises(WireError, match="1501 bytes after one frame"):
        inbound.take(wire.unpack_header(frame), frame, rest)
    assert (inbound.expected, inbound.owed) == (1, 0)
