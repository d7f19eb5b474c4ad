"""The membership machine, driven by hand; whole clusters of it are in tests/sim."""

from __future__ import annotations

from noex.cluster import events as ev
from noex.cluster import messages as wire
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member, View, successor
from noex.cluster.views import Views

ME = Member("a@127.0.0.1:1", 5, control_endpoint="tcp://127.0.0.1:1")
PEER = Member(
    "b@127.0.0.1:2", 7, control_endpoint="tcp://127.0.0.1:2", pub_endpoint="tcp://127.0.0.1:22"
)
NOW = 100.0


def founder() -> Views:
    views = Views(ME, settings=ClusterSettings(), now=NOW)
    views.handle(ev.Tick(1000), NOW)
    assert views.view is not None
    return views


def view_of(views: Views) -> View:
    assert views.view is not None
    return views.view


def heard(body: wire.Body, *, view: View | None = None, sender: Member = PEER) -> ev.Heard:
    lineage, epoch, digest = (
        (view.lineage, view.epoch, view.digest()) if view is not None else (None, 0, 0)
    )
    return ev.Heard(b"o", wire.Envelope("noex", sender.uid, lineage, epoch, digest, body), NOW)


def kinds(effects: list[ev.Effect]) -> list[str]:
    return [type(e.body if isinstance(e, ev.Send) else e).__name__ for e in effects]


def test_a_joiner_is_asked_for_at_its_address_and_let_in_with_its_links() -> None:
    views = founder()
    effects = views.handle(heard(wire.Join(PEER)), NOW)
    assert ev.Ask(PEER.control_endpoint) in effects
    assert ev.SetLinks(frozenset({PEER.control_endpoint}), frozenset()) in effects
    views.handle(ev.Answered(PEER.control_endpoint, PEER.uid, NOW + 0.01), NOW + 0.01)
    assert len(view_of(views).members) == 1
    effects = views.handle(ev.Tick(1100), NOW + 0.1)
    assert kinds(effects) == ["Applied", "News", "SetLinks"]
    assert effects[-1] == ev.SetLinks(
        frozenset({PEER.control_endpoint}), frozenset({PEER.pub_endpoint})
    )


def test_c2_a_view_that_is_not_newer_changes_nothing() -> None:
    views = founder()
    first = view_of(views)
    second = successor(first, joins=[PEER])
    assert "Applied" in kinds(views.handle(heard(wire.News(second), view=second), NOW))
    for old in (first, second):
        assert "Applied" not in kinds(views.handle(heard(wire.News(old), view=old), NOW))
    assert view_of(views) == second


def test_whoever_is_behind_is_told_and_not_at_every_message() -> None:
    views = founder()
    first = view_of(views)
    views.handle(heard(wire.News(successor(first, joins=[PEER]))), NOW)
    told = [kinds(views.handle(heard(wire.Ack(), view=first), NOW + t)) for t in (0.1, 0.2, 0.8)]
    assert told == [["News"], [], ["News"]]


def test_whoever_is_ahead_is_shown_that_this_node_is_behind() -> None:
    views = founder()
    second = successor(view_of(views), joins=[PEER])
    views.handle(heard(wire.News(second), view=second), NOW)
    third = successor(second, statuses={PEER.uid: "draining"})
    assert kinds(views.handle(heard(wire.Ack(), view=third), NOW)) == ["Ack"]


def test_c5_a_joiner_that_was_removed_before_it_heard_takes_a_new_life() -> None:
    host = founder()
    let_in = successor(view_of(host), joins=[PEER])
    removed = successor(let_in, removals={PEER.uid: "connection_closed"})
    joiner = Views(PEER, seeds=(ME.control_endpoint,), settings=ClusterSettings(), now=NOW)
    effects = joiner.handle(heard(wire.News(removed), view=removed, sender=ME), NOW)
    assert effects == [ev.LifeOver("stale", PEER.incarnation, frozenset())]


def test_a_life_that_is_over_says_and_does_nothing_more() -> None:
    views = founder()
    without = successor(
        successor(view_of(views), joins=[PEER]), removals={ME.uid: "heartbeat_timeout"}
    )
    effects = views.handle(heard(wire.News(without), view=without), NOW)
    assert effects == [ev.LifeOver("removed", 5, frozenset({PEER.control_endpoint}))]
    assert views.handle(heard(wire.Hello("joining", PEER)), NOW) == []
    assert views.handle(ev.Tick(2000), NOW + 1) == []


def test_a_join_at_a_member_that_does_not_lead_goes_to_the_leader_once() -> None:
    leader = founder()
    both = successor(view_of(leader), joins=[PEER])
    other = Views(PEER, seeds=(ME.control_endpoint,), settings=ClusterSettings(), now=NOW)
    other.handle(heard(wire.News(both), view=both, sender=ME), NOW)
    guest = Member("c@127.0.0.1:3", 9, control_endpoint="tcp://127.0.0.1:3")
    effects = other.handle(heard(wire.Join(guest), sender=guest), NOW)
    relays = [e for e in effects if isinstance(e, ev.Send) and isinstance(e.body, wire.Join)]
    assert [(r.to, r.body) for r in relays] == [(ME.control_endpoint, wire.Join(guest, True))]
    again = other.handle(heard(wire.Join(guest, True), sender=guest), NOW)
    assert "Join" not in kinds(again)
    refusal = heard(wire.Refused(guest.uid, "unreachable"), view=both, sender=ME)
    back = other.handle(refusal, NOW)
    assert [(e.to, e.body) for e in back if isinstance(e, ev.Send)] == [
        (b"o", wire.Refused(guest.uid, "unreachable"))
    ]
