"""The failure detector: what is seen, and what it means."""

from __future__ import annotations

import pytest

from noex.cluster.detector import Accusation, Detector, Stalled, same_host
from noex.cluster.events import BusyChanged
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member

SETTINGS = ClusterSettings()
HERE = "tcp://127.0.0.1:1"
PEER = Member("b@127.0.0.1:2", 5, control_endpoint="tcp://127.0.0.1:2")
FAR = Member("c@10.0.0.3:3", 6, control_endpoint="tcp://10.0.0.3:3")


class Watch:
    """A detector, its clock, and a peer that beats unless told otherwise."""

    def __init__(self, *peers: Member) -> None:
        self.now = 100.0
        self.peers = peers
        self.detector = Detector(HERE, SETTINGS, self.now)
        self.detector.watch(peers, self.now)
        self.findings: list[object] = []

    def linked(self) -> Watch:
        for peer in self.peers:
            self.detector.link_up(peer.control_endpoint, self.now)
        return self

    def run(self, seconds: float, *, beating: bool = False, lag: float = 0.0) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            self.findings += self.detector.look(self.now)
            if beating:
                for peer in self.peers:
                    self.detector.pulse(peer.uid, lag, self.now)
            self.findings += self.detector.tick(self.now)

    @property
    def accused(self) -> list[Accusation]:
        return self.detector.accusations


def test_a_beating_peer_is_neither_busy_nor_down() -> None:
    watch = Watch(PEER, FAR).linked()
    watch.run(60, beating=True)
    assert watch.accused == [] and watch.findings == []


def test_a_refused_connect_on_this_host_is_hard_evidence_at_once() -> None:
    watch = Watch(PEER).linked()
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    assert watch.accused == []
    watch.detector.refused(PEER.control_endpoint)
    assert watch.accused == [Accusation(PEER.uid, "connection_closed", True)]


def test_a_refused_connect_on_another_host_is_soft() -> None:
    watch = Watch(FAR).linked()
    watch.detector.link_down(FAR.control_endpoint, watch.now)
    watch.detector.refused(FAR.control_endpoint)
    assert watch.accused == [Accusation(FAR.uid, "connection_closed", False)]


def test_without_any_link_before_it_is_connection_refused() -> None:
    watch = Watch(PEER)
    watch.detector.refused(PEER.control_endpoint)
    assert watch.accused == [Accusation(PEER.uid, "connection_refused", True)]


def test_a_refusal_that_comes_while_the_link_stands_means_nothing() -> None:
    watch = Watch(PEER).linked()
    watch.detector.refused(PEER.control_endpoint)
    assert watch.accused == []


def test_a_heartbeat_from_a_buffer_does_not_take_back_hard_evidence() -> None:
    watch = Watch(PEER).linked()
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    watch.detector.refused(PEER.control_endpoint)
    watch.detector.pulse(PEER.uid, 0.0, watch.now + 0.01)
    assert len(watch.accused) == 1


def test_the_same_life_on_a_new_link_takes_it_back() -> None:
    watch = Watch(PEER).linked()
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    watch.detector.refused(PEER.control_endpoint)
    watch.detector.link_up(PEER.control_endpoint, watch.now + 0.1)
    watch.detector.answered(PEER.control_endpoint, PEER.uid, watch.now + 0.2)
    assert watch.accused == []


def test_a_later_life_at_the_same_address_supersedes() -> None:
    watch = Watch(PEER).linked()
    watch.detector.answered(PEER.control_endpoint, (PEER.node_id, 9), watch.now)
    assert watch.accused == [Accusation(PEER.uid, "superseded", True)]


def test_an_earlier_life_at_the_same_address_means_nothing() -> None:
    watch = Watch(PEER).linked()
    watch.detector.answered(PEER.control_endpoint, (PEER.node_id, 4), watch.now)
    assert watch.accused == []


def test_another_node_at_the_same_address_means_that_the_peer_is_gone() -> None:
    watch = Watch(PEER).linked()
    watch.detector.answered(PEER.control_endpoint, ("x@127.0.0.1:2", 1), watch.now)
    assert watch.accused == [Accusation(PEER.uid, "connection_closed", True)]


def test_an_answer_that_was_read_before_the_link_stood_means_nothing() -> None:
    watch = Watch(PEER).linked()
    watch.detector.answered(PEER.control_endpoint, (PEER.node_id, 9), watch.now - 1)
    assert watch.accused == []


def test_a_heartbeat_of_a_later_life_supersedes() -> None:
    watch = Watch(PEER).linked()
    watch.detector.pulse((PEER.node_id, 9), 0.0, watch.now)
    assert watch.accused == [Accusation(PEER.uid, "superseded", True)]


def test_silence_on_a_standing_link_is_busy_and_down_only_at_the_cap() -> None:
    watch = Watch(PEER).linked()
    watch.run(3, beating=True)
    watch.run(SETTINGS.busy_cap - 1)
    busy = watch.findings
    assert [type(f) for f in busy] == [BusyChanged]
    assert isinstance(busy[0], BusyChanged) and busy[0].busy
    assert SETTINGS.busy_after < busy[0].lag < SETTINGS.busy_after + 0.5
    assert watch.accused == []
    watch.run(2)
    assert watch.accused == [Accusation(PEER.uid, "heartbeat_timeout", False)]


def test_a_peer_that_beats_slowly_by_habit_is_not_busy() -> None:
    watch = Watch(PEER).linked()
    for _ in range(20):
        watch.run(1.5)
        watch.detector.pulse(PEER.uid, 0.0, watch.now)
    watch.findings.clear()
    watch.run(3)
    assert watch.findings == []


def test_a_late_loop_is_busy_although_it_beats_and_idle_again_afterwards() -> None:
    watch = Watch(PEER).linked()
    watch.run(2, beating=True, lag=SETTINGS.busy_lag + 0.5)
    watch.run(1, beating=True)
    assert watch.findings == [BusyChanged(PEER.uid, True, 1.5), BusyChanged(PEER.uid, False)]


def test_a_loop_that_stays_late_beyond_the_cap_is_down() -> None:
    watch = Watch(PEER).linked()
    watch.run(SETTINGS.busy_cap - 3, beating=True, lag=2.0)
    assert watch.accused == []
    watch.run(4, beating=True, lag=2.0)
    assert watch.accused == [Accusation(PEER.uid, "heartbeat_timeout", False)]


def test_silence_before_the_first_heartbeat_is_not_lateness() -> None:
    watch = Watch(PEER).linked()
    watch.run(10)
    assert watch.findings == [] and watch.accused == []


def test_silence_without_a_link_is_down_after_silence_after() -> None:
    watch = Watch(PEER).linked()
    watch.run(3, beating=True)
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    watch.run(SETTINGS.silence_after - 0.3)
    assert watch.accused == []
    watch.run(0.5)
    assert watch.accused == [Accusation(PEER.uid, "heartbeat_timeout", False)]
    watch.detector.life_sign(PEER.uid, watch.now)
    assert watch.accused == []


def test_a_peer_that_beats_although_its_link_is_down_is_not_accused() -> None:
    watch = Watch(PEER).linked()
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    watch.run(10, beating=True)
    assert watch.accused == []


def test_an_observer_that_was_stalled_withholds_and_measures_afresh() -> None:
    watch = Watch(PEER).linked()
    watch.run(3, beating=True)
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    watch.now += 20
    watch.run(0.1)
    (stalled,) = watch.findings
    assert isinstance(stalled, Stalled) and stalled.gap == pytest.approx(20.1)
    assert watch.detector.withholds(watch.now) and watch.accused == []
    watch.run(SETTINGS.silence_after - 0.3)
    assert watch.accused == []
    watch.run(0.5)
    assert len(watch.accused) == 1


def test_whoever_is_not_watched_any_more_is_not_accused() -> None:
    watch = Watch(PEER)
    watch.detector.refused(PEER.control_endpoint)
    watch.detector.watch([], watch.now)
    assert watch.accused == []


def test_a_peer_that_is_met_on_a_standing_link_counts_as_linked() -> None:
    watch = Watch()
    watch.detector.link_up(PEER.control_endpoint, watch.now)
    watch.detector.watch([PEER], watch.now)
    watch.run(10)
    assert watch.accused == []


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("tcp://127.0.0.1:1", "tcp://localhost:2", True),
        ("tcp://[::1]:1", "tcp://127.0.0.1:2", True),
        ("tcp://10.0.0.1:1", "tcp://10.0.0.1:2", True),
        ("tcp://10.0.0.1:1", "tcp://10.0.0.2:1", False),
        ("tcp://127.0.0.1:1", "tcp://10.0.0.2:1", False),
    ],
)
def test_what_counts_as_the_same_host(a: str, b: str, same: bool) -> None:
    assert same_host(a, b) is same


def test_what_is_superseded_stays_so_whatever_is_heard_of_it() -> None:
    watch = Watch(PEER).linked()
    watch.detector.answered(PEER.control_endpoint, (PEER.node_id, 9), watch.now)
    watch.detector.life_sign(PEER.uid, watch.now + 1)
    assert watch.accused == [Accusation(PEER.uid, "superseded", True)]


def test_whose_address_another_has_taken_comes_back_only_on_a_new_link() -> None:
    watch = Watch(PEER).linked()
    watch.detector.answered(PEER.control_endpoint, ("x@127.0.0.1:2", 1), watch.now)
    watch.detector.link_down(PEER.control_endpoint, watch.now)
    watch.detector.life_sign(PEER.uid, watch.now + 1)
    assert len(watch.accused) == 1
    watch.detector.link_up(PEER.control_endpoint, watch.now + 2)
    watch.detector.life_sign(PEER.uid, watch.now + 3)
    assert watch.accused == []
