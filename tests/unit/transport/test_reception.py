"""Who may come in: current, waiting, refused and unknown connections."""

from __future__ import annotations

import itertools

from noex.transport import wire
from noex.transport.lane_settings import LaneSettings
from noex.transport.reception import (
    REFUSED_KEPT,
    Answer,
    Deliver,
    Outcome,
    Parted,
    Reception,
    Rejected,
    Strange,
)
from noex.transport.wire import Hello, Refusal
from noex.transport.wire_bulk import Piece, pack_piece

ME, A, C = ("b@h:2", 6), ("a@h:1", 5), ("c@h:3", 7)
SETTINGS = LaneSettings(hello_limit=2, hello_timeout=10.0, ack_batches=3)


def reception() -> Reception:
    return Reception(ME, cluster="c", settings=SETTINGS, numbers=itertools.count(1).__next__)


def hello(
    desk: Reception, uid: tuple[str, int], connection: int, now: float = 0.0, session: int = 1
) -> list[Outcome]:
    frame = wire.pack_hello(desk.me[1], connection, Hello("c", *uid, session))
    return desk.handle(wire.make_routing_id(*uid, connection), [frame], now)


def batch(desk: Reception, uid: tuple[str, int], connection: int, seq: int) -> list[Outcome]:
    frame = wire.pack_batch(ME[1], connection, seq, [b"%d" % seq])
    return desk.handle(wire.make_routing_id(*uid, connection), [frame], 0.0)


def codes(outcomes: list[Outcome]) -> list[Refusal]:
    return [outcome.code for outcome in outcomes if isinstance(outcome, Rejected)]


def kinds(outcomes: list[Outcome]) -> list[int]:
    return [wire.unpack_header(o.frame).kind for o in outcomes if isinstance(o, Answer)]


def test_an_admitted_life_is_answered_at_once_and_its_batches_are_delivered() -> None:
    desk = reception()
    desk.admit(A)
    assert kinds(hello(desk, A, 1)) == [wire.OPEN]
    assert batch(desk, A, 1, 1) == [Deliver(A, [b"1"])]


def test_a_life_not_yet_admitted_waits_and_is_answered_when_it_is() -> None:
    desk = reception()
    assert hello(desk, A, 1) == []
    assert hello(desk, A, 1) == []
    (answer,) = desk.admit(A)
    assert isinstance(answer, Answer)
    assert answer.routing_id == wire.make_routing_id(*A, 1)
    assert desk.deadline is None


def test_a_later_greeting_replaces_a_waiting_one() -> None:
    desk = reception()
    hello(desk, A, 2)
    assert hello(desk, A, 3) == []
    assert codes(hello(desk, A, 1)) == [Refusal.STALE]
    (answer,) = desk.admit(A)
    assert isinstance(answer, Answer)
    assert answer.routing_id == wire.make_routing_id(*A, 3)


def test_waiting_is_bounded_in_time() -> None:
    desk = reception()
    hello(desk, A, 1, now=5.0)
    assert desk.deadline == 15.0
    assert desk.tick(14.9) == []
    assert codes(desk.tick(15.0)) == [Refusal.NOT_ADMITTED]
    assert desk.deadline is None
    assert hello(desk, A, 1) == []  # that connection is over; it has been told
    assert hello(desk, A, 2) == []
    assert len(desk.admit(A)) == 1


def test_waiting_is_bounded_in_number_and_the_oldest_goes() -> None:
    desk = reception()
    for uid in (A, C):
        hello(desk, uid, 1)
    _, rejected = hello(desk, ("d@h:4", 1), 1)
    assert isinstance(rejected, Rejected)
    assert (rejected.uid, rejected.code) == (A, Refusal.NOT_ADMITTED)
    assert len(desk.admit(C)) == 1
    assert desk.admit(A) == []


def test_acknowledgements_are_put_off_and_come_together() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    assert kinds(batch(desk, A, 1, 1)) == kinds(batch(desk, A, 1, 2)) == []
    assert desk.owes_acks
    delivery, ack = batch(desk, A, 1, 3)
    assert isinstance(delivery, Deliver)
    assert kinds([ack]) == [wire.ACK]
    assert not desk.owes_acks
    batch(desk, A, 1, 4)
    (answer,) = desk.acknowledge()
    assert isinstance(answer, Answer)
    assert wire.unpack_header(answer.frame).seq == 4
    assert desk.acknowledge() == []


def test_an_acknowledgement_that_did_not_fit_comes_again() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    batch(desk, A, 1, 1)
    (answer,) = desk.acknowledge()
    assert isinstance(answer, Answer)
    desk.undelivered(answer.routing_id)
    assert desk.acknowledge() == [answer]
    desk.undelivered(b"nobody")
    assert not desk.owes_acks


def test_frames_of_a_replaced_connection_are_dropped_without_a_word() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    batch(desk, A, 1, 1)
    hello(desk, A, 2)
    assert batch(desk, A, 1, 2) == []
    assert hello(desk, A, 1) == []
    assert batch(desk, A, 2, 2) == [Deliver(A, [b"2"])]


def test_a_rule_broken_costs_the_connection_but_not_the_session() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    batch(desk, A, 1, 1)
    refused = batch(desk, A, 1, 3)
    assert codes(refused) == [Refusal.BAD_FRAME]
    assert kinds(refused) == [wire.REFUSED]
    assert batch(desk, A, 1, 2) == []
    (answer,) = hello(desk, A, 2)
    assert isinstance(answer, Answer)
    assert wire.unpack_header(answer.frame).seq == 2
    assert not desk.owes_acks


def test_expelled_means_told_and_never_heard_again() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    batch(desk, A, 1, 1)
    assert kinds(desk.expel(A)) == [wire.REFUSED]
    assert batch(desk, A, 1, 2) == []
    assert desk.acknowledge() == []
    assert desk.expel(A) == []


def test_a_life_admitted_again_cannot_go_on_with_old_numbers() -> None:
    desk = reception()
    desk.admit(A)
    (before,) = hello(desk, A, 1)
    desk.expel(A)
    desk.admit(A)
    (after,) = hello(desk, A, 2)
    assert isinstance(before, Answer)
    assert isinstance(after, Answer)
    assert wire.unpack_open(before.frame).session != wire.unpack_open(after.frame).session


def test_a_new_life_knows_nobody() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    desk.new_life(8)
    assert codes(batch(desk, A, 1, 1)) == [Refusal.WRONG_LIFE]
    assert hello(desk, A, 2) == []
    assert desk.deadline is not None


def test_a_connection_that_is_gone_is_forgotten() -> None:
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    batch(desk, A, 1, 1)
    desk.unreachable(wire.make_routing_id(*A, 1))
    assert not desk.owes_acks
    assert batch(desk, A, 1, 2) == []  # it was still in the socket
    (answer,) = hello(desk, A, 2)
    assert isinstance(answer, Answer)
    assert wire.unpack_header(answer.frame).seq == 2


def test_the_memory_of_refused_connections_is_bounded() -> None:
    desk = reception()
    for n in range(REFUSED_KEPT + 500):
        assert codes(desk.handle(b"%d" % n, [b"noise"], 0.0)) == [Refusal.BAD_FRAME]
    assert len(desk._refused) == REFUSED_KEPT
    assert desk.handle(b"%d" % (REFUSED_KEPT + 499), [b"noise"], 0.0) == []
    assert codes(desk.handle(b"0", [b"noise"], 0.0)) == [Refusal.BAD_FRAME]


# -- version 2


def hello_v2(desk: Reception, connection: int = 1, low: int = 1, high: int = 2) -> list[Outcome]:
    greeting = Hello("c", *A, 1, low, high, wire.FEATURES)
    frame = wire.pack_hello(desk.me[1], connection, greeting)
    return desk.handle(wire.make_routing_id(*A, connection), [frame], 0.0)


def say(desk: Reception, kind: int, body: bytes = b"", version: int = 2) -> list[Outcome]:
    frame = wire.frame_of(version, wire.Header(kind, ME[1], 1, 0), body)
    return desk.handle(wire.make_routing_id(*A, 1), [frame], 0.0)


def test_the_answer_has_the_agreed_version_also_for_one_who_waited() -> None:
    for high, agreed in ((1, 1), (2, 2), (9, 2)):
        desk = reception()
        hello_v2(desk, high=high)
        (answer,) = desk.admit(A)
        assert isinstance(answer, Answer)
        assert wire.unpack_open(answer.frame).version == agreed


def test_versions_that_do_not_meet_are_refused_before_anything_else() -> None:
    desk = reception()
    assert codes(hello_v2(desk, low=3, high=4)) == [Refusal.WRONG_VERSION]
    assert desk.admit(A) == []


def test_a_frame_of_an_unknown_kind_is_answered_and_the_connection_lives() -> None:
    desk = reception()
    desk.admit(A)
    hello_v2(desk)
    answer, strange = say(desk, 99)
    assert isinstance(answer, Answer)
    assert wire.unpack_unsupported(answer.frame) == 99
    assert strange == Strange(A, 99)
    frame = wire.pack_batch(ME[1], 1, 1, [b"x"], 2)
    assert desk.handle(wire.make_routing_id(*A, 1), [frame], 0.0) == [Deliver(A, [b"x"])]


def test_known_kinds_that_a_dialler_does_not_send_and_other_versions_are_refused() -> None:
    for kind, version in ((wire.OPEN, 2), (wire.ACK, 2), (99, 1), (wire.GOODBYE, 1)):
        desk = reception()
        desk.admit(A)
        hello_v2(desk)
        (code,) = codes(say(desk, kind, version=version))
        assert code is (Refusal.BAD_FRAME if version == 2 else Refusal.WRONG_VERSION)
    desk = reception()
    desk.admit(A)
    hello(desk, A, 1)
    assert codes(say(desk, 99, version=1)) == [Refusal.BAD_FRAME]


def test_a_goodbye_is_told_and_nothing_more_is_heard_on_that_connection() -> None:
    desk = reception()
    desk.admit(A)
    hello_v2(desk)
    assert say(desk, wire.GOODBYE, b"node stops") == [Parted(A, "node stops")]
    assert batch(desk, A, 1, 1) == []
    assert not desk.owes_acks


def test_all_who_are_connected_are_told_a_goodbye() -> None:
    desk = reception()
    for uid in (A, C):
        desk.admit(uid)
    hello_v2(desk)
    hello(desk, C, 1)
    assert kinds(desk.farewell("node stops")) == [wire.GOODBYE, wire.REFUSED]
    (answer,) = desk.expel(A, "expelled")
    assert isinstance(answer, Answer)
    assert wire.unpack_goodbye(answer.frame) == "expelled"
    assert answer.frame[0] == 2


def test_bare_frames_come_after_kinds_that_have_them_only() -> None:
    desk = reception()
    desk.admit(A)
    hello_v2(desk)
    frame = wire.pack_batch(ME[1], 1, 1, [b"x"], 2)
    refused = desk.handle(wire.make_routing_id(*A, 1), [frame, b"more"], 0.0)
    assert codes(refused) == [Refusal.BAD_FRAME]
    assert codes(desk.handle(b"stranger", [], 0.0)) == [Refusal.BAD_FRAME]


def test_a_piece_that_is_not_the_last_delivers_nothing_and_is_acknowledged() -> None:
    desk = reception()
    desk.admit(A)
    hello_v2(desk)
    routing_id = wire.make_routing_id(*A, 1)
    for seq, offset, lengths in ((1, 0, (4000,)), (2, 2000, ())):
        piece = Piece(1, offset, 2000, lengths)
        frame = pack_piece(ME[1], 1, seq, piece, 2)
        outcomes = desk.handle(routing_id, [frame, bytes(2000)], 0.0)
        assert outcomes == ([] if seq == 1 else [Deliver(A, [bytes(4000)])])
    (answer,) = desk.acknowledge()
    assert isinstance(answer, Answer)
    assert wire.unpack_header(answer.frame).seq == 2
