"""The leader that decides alone: who leads, what it removes, whom others tell."""

from __future__ import annotations

from noex.cluster.decider import FRESH, Leader
from noex.cluster.detector import Detector
from noex.cluster.messages import Alert
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Lineage, Member, View

SETTINGS = ClusterSettings()


def member(index: int) -> Member:
    port = 10 + index
    return Member(f"n{index}@127.0.0.1:{port}", 1, control_endpoint=f"tcp://127.0.0.1:{port}")


M = [member(i) for i in range(5)]


class Seat:
    """Member number `me` of a view of `size`, at time 0."""

    def __init__(self, me: int, size: int, peak: int | None = None) -> None:
        self.view = View(Lineage("n0", 1, 1), 1, tuple(M[:size]), {}, peak or size)
        self.detector = Detector(M[me].control_endpoint, SETTINGS, 0.0)
        self.detector.watch([m for m in M[:size] if m is not M[me]], 0.0)
        self.leader = Leader(M[me], self.detector, SETTINGS)

    def crash_of(self, index: int) -> None:
        self.detector.refused(M[index].control_endpoint)

    def silence_of(self, *indices: int) -> None:
        for each in [m for m in self.view.members if M.index(m) not in indices]:
            self.detector.link_up(each.control_endpoint, 0.0)
        self.detector.tick(SETTINGS.silence_after + 0.1)

    @property
    def leads(self) -> Member | None:
        return self.leader.of(self.view)

    @property
    def removals(self) -> dict[tuple[str, int], str]:
        return self.leader.ballot(self.view, None).removals


def test_the_oldest_leads_and_the_next_when_it_is_suspected() -> None:
    seat = Seat(2, 3)
    assert seat.leads == M[0]
    seat.crash_of(0)
    assert seat.leads == M[1]
    seat.crash_of(1)
    assert seat.leads == M[2]


def test_the_next_leads_as_soon_as_another_has_proof_against_the_oldest() -> None:
    seat = Seat(1, 3)
    seat.leader.alert(M[2].uid, M[0].uid, "connection_closed", True, 0.0)
    assert seat.leads == M[1]
    assert seat.removals == {M[0].uid: "connection_closed"}


def test_a_suspicion_of_another_unseats_nobody() -> None:
    seat = Seat(1, 3)
    seat.leader.alert(M[2].uid, M[0].uid, "heartbeat_timeout", False, 0.0)
    assert seat.leads == M[0] and seat.removals == {}


def test_p3_silence_removes_only_what_a_quorum_accuses() -> None:
    seat = Seat(0, 5)
    seat.silence_of(4)
    assert seat.removals == {}
    seat.leader.alert(M[1].uid, M[4].uid, "heartbeat_timeout", False, 0.0)
    assert seat.removals == {}
    seat.leader.alert(M[2].uid, M[4].uid, "heartbeat_timeout", False, 0.0)
    assert seat.removals == {M[4].uid: "heartbeat_timeout"}


def test_p3_whom_the_leader_hears_is_not_removed_for_silence() -> None:
    seat = Seat(0, 3)
    for accuser in M[1:2]:
        seat.leader.alert(accuser.uid, M[2].uid, "heartbeat_timeout", False, 0.0)
    assert seat.removals == {}


def test_reports_that_are_not_repeated_and_reports_of_strangers_are_forgotten() -> None:
    seat = Seat(0, 3)
    seat.leader.alert(M[1].uid, M[2].uid, "connection_closed", True, 0.0)
    seat.leader.prune(seat.view, FRESH - 0.1)
    assert seat.removals == {M[2].uid: "connection_closed"}
    seat.leader.prune(seat.view, FRESH + 0.1)
    assert seat.removals == {}
    seat.leader.alert(M[4].uid, M[2].uid, "connection_closed", True, 10.0)
    seat.leader.prune(seat.view, 10.0)
    assert seat.removals == {}


def test_nobody_is_talked_into_removing_itself() -> None:
    seat = Seat(0, 3)
    seat.leader.alert(M[1].uid, M[0].uid, "connection_closed", True, 0.0)
    seat.leader.prune(seat.view, 0.0)
    assert seat.leads == M[0] and seat.removals == {}


def test_p4_whoever_hears_no_quorum_decides_nothing() -> None:
    seat = Seat(0, 5)
    seat.silence_of(3, 4)
    assert seat.leader.hears_quorum(seat.view)
    seat = Seat(0, 5)
    seat.silence_of(2, 3, 4)
    assert not seat.leader.hears_quorum(seat.view)


def test_p4_the_proven_dead_do_not_count_as_unheard() -> None:
    seat = Seat(0, 5)
    for index in (1, 2, 3, 4):
        seat.crash_of(index)
    assert seat.leader.hears_quorum(seat.view)
    assert len(seat.removals) == 4


def test_a_cluster_that_never_had_more_than_two_goes_on_on_both_sides() -> None:
    for me, other in ((0, 1), (1, 0)):
        seat = Seat(me, 2)
        seat.silence_of(other)
        assert seat.leader.hears_quorum(seat.view)
        assert seat.removals == {M[other].uid: "heartbeat_timeout"}


def test_of_two_that_were_three_only_the_older_goes_on() -> None:
    older, younger = Seat(0, 2, peak=3), Seat(1, 2, peak=3)
    older.silence_of(1)
    younger.silence_of(0)
    assert older.removals == {M[1].uid: "heartbeat_timeout"}
    assert younger.removals == {}


def test_a_wish_to_leave_needs_no_accuser_and_draining_is_a_status() -> None:
    seat = Seat(0, 3)
    seat.leader.leave(M[1].uid, "leaving", b"origin")
    seat.leader.leave(M[2].uid, "draining", b"other")
    ballot = seat.leader.ballot(seat.view, None)
    assert ballot.removals == {M[1].uid: "graceful_shutdown"}
    assert ballot.statuses == {M[2].uid: "draining"}
    assert seat.leader.address(M[1].uid) == b"origin"


def test_whoever_leaves_and_then_dies_has_left() -> None:
    seat = Seat(0, 3)
    seat.leader.leave(M[1].uid, "leaving", b"origin")
    seat.crash_of(1)
    assert seat.removals == {M[1].uid: "graceful_shutdown"}


def test_an_accusation_is_reported_again_after_a_while_and_at_once_to_a_new_leader() -> None:
    seat = Seat(3, 4)
    seat.crash_of(2)
    report = Alert(M[2].uid, "connection_refused", True)
    assert seat.leader.reports(seat.view, 1.0) == [(M[0], report)]
    assert seat.leader.reports(seat.view, 1.1) == []
    assert seat.leader.reports(seat.view, 1.0 + SETTINGS.alert_every) == [(M[0], report)]
    seat.crash_of(0)
    told = seat.leader.reports(seat.view, 1.01 + SETTINGS.alert_every)
    assert (M[1], report) in told and {leader for leader, _ in told} == {M[1]}
