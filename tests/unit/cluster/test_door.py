"""Who is let in, and how a joiner looks for those who let it in."""

from __future__ import annotations

from itertools import pairwise

import pytest

from noex.cluster.admission import MAX_GUESTS, Door, TurnAway
from noex.cluster.contacts import Contacts
from noex.cluster.joining import FRESH, Joining
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member, View, found
from noex.runtime.errors import InvalidOptionError

SETTINGS = ClusterSettings()
OWN = "tcp://h:1"
GUEST = Member("g@h:9", 50, control_endpoint="tcp://h:9")


def knocked() -> Door:
    door = Door(SETTINGS)
    assert door.knock(GUEST, b"o", 10.0)
    assert not door.knock(GUEST, b"o2", 10.1)
    return door


def reasons(turned: list[TurnAway]) -> list[str]:
    return [t.reason for t in turned]


def test_j2_a_guest_enters_when_its_own_address_answers_for_it() -> None:
    door = knocked()
    assert door.to_ask(10.1) == ["tcp://h:9"] and door.to_ask(10.15) == []
    assert door.ready(10.2, at_once=True) == []
    assert door.answered("tcp://h:9", GUEST.uid, 10.3) == []
    assert door.ready(10.3, at_once=False) == []
    assert door.ready(10.3 + SETTINGS.join_batch, at_once=False) == [GUEST]
    assert door.ready(10.3, at_once=True) == [GUEST]


def test_j2_an_old_life_that_answers_keeps_the_id() -> None:
    door = knocked()
    turned = door.answered("tcp://h:9", (GUEST.node_id, 49), 10.3)
    assert reasons(turned) == ["id_in_use"] and turned[0].guest.address == b"o2"
    assert door.guests == []


@pytest.mark.parametrize("who", [("x@h:9", 50), (GUEST.node_id, 51)])
def test_j2_an_answer_of_somebody_else_lets_nobody_in(who: tuple[str, int]) -> None:
    door = knocked()
    assert door.answered("tcp://h:9", who, 10.3) == []
    assert door.ready(20.0, at_once=True) == []


def test_j2_what_was_read_before_the_request_came_does_not_count() -> None:
    door = knocked()
    assert door.answered("tcp://h:9", (GUEST.node_id, 49), 9.9) == []
    assert door.guests == [GUEST.uid]


def test_whoever_cannot_be_dialled_is_turned_away() -> None:
    door = knocked()
    door.knock(GUEST, b"o2", 12.0)
    assert door.tick(10.0 + SETTINGS.guest_timeout - 0.1) == []
    assert reasons(door.tick(10.0 + SETTINGS.guest_timeout)) == ["unreachable"]


def test_whoever_asks_no_more_is_forgotten_silently() -> None:
    door = knocked()
    door.answered("tcp://h:9", GUEST.uid, 10.3)
    assert door.tick(10.1 + SETTINGS.guest_timeout) == []
    assert door.guests == [] and door.endpoints == set()


def test_a_later_life_takes_the_place_of_an_earlier_one_and_not_the_reverse() -> None:
    door = knocked()
    later, earlier = GUEST._replace(incarnation=51), GUEST._replace(incarnation=49)
    assert not door.knock(earlier, b"", 11.0)
    assert door.knock(later, b"", 11.0)
    assert door.guests == [later.uid]


def test_the_door_holds_a_bounded_crowd() -> None:
    door = Door(SETTINGS)
    for index in range(MAX_GUESTS + 10):
        door.knock(GUEST._replace(node_id=f"g{index}@h:9"), b"", 1.0)
    assert len(door.guests) == MAX_GUESTS


# -- the joiner -----------------------------------------------------------------------------------


def joining(name: str = "b@h:1", settings: ClusterSettings = SETTINGS) -> Joining:
    return Joining((name, 1), settings, 0.0)


def cluster(name: str, epoch: int, peak: int = 1) -> View:
    view = found(Member(name, 1), epoch)
    return View(view.lineage, view.epoch, view.members, {}, peak)


def test_b2_without_contacts_it_founds_at_once_else_after_alone_after() -> None:
    assert joining().may_found(0, 0.0)
    assert not joining().may_found(1, SETTINGS.alone_after - 0.1)
    assert joining().may_found(1, SETTINGS.alone_after)


def test_b2_among_joiners_the_smallest_id_founds_after_found_after() -> None:
    small, large = joining("a@h:1"), joining("c@h:1")
    for each in (small, large):
        each.joiner(("b@h:2", 1), "tcp://h:2", 1.0)
    assert not small.may_found(1, 1.0 + SETTINGS.found_after - 0.01)
    assert small.may_found(1, 1.0 + SETTINGS.found_after)
    assert not large.may_found(1, 1.0 + SETTINGS.found_after)


def test_b2_a_smaller_joiner_that_dies_is_waited_for_no_longer() -> None:
    large = joining("c@h:1")
    large.joiner(("a@h:2", 1), "tcp://h:2", 1.0)
    large.joiner(("d@h:3", 1), "tcp://h:3", 1.0)
    large.lost("tcp://h:2")
    assert large.may_found(1, 1.0 + SETTINGS.found_after)


def test_b2_a_joiner_that_falls_silent_counts_no_more() -> None:
    large = joining("c@h:1")
    large.joiner(("a@h:2", 1), "tcp://h:2", 1.0)
    assert not large.may_found(1, 1.0 + SETTINGS.alone_after - 0.1)
    assert large.may_found(1, 1.0 + max(SETTINGS.alone_after, FRESH))


def test_b3_with_expect_it_waits_for_that_many() -> None:
    few = joining("a@h:1", ClusterSettings(expect=3))
    few.joiner(("b@h:2", 1), "tcp://h:2", 0.0)
    assert not few.may_found(1, 100.0)
    few.joiner(("b@h:2", 1), "tcp://h:2", 100.0)
    few.joiner(("c@h:3", 1), "tcp://h:3", 100.0)
    assert few.may_found(1, 101.0)


def test_a_joiner_that_knows_a_member_asks_and_does_not_found() -> None:
    one = joining("a@h:1")
    one.host(("m@h:5", 1), "tcp://h:5", cluster("m@h:5", 100), 1.0)
    assert one.ask(1.0) == "tcp://h:5"
    assert one.ask(1.1) is None
    assert one.ask(1.0 + SETTINGS.join_retry) == "tcp://h:5"
    assert not one.may_found(0, 2.0)
    assert one.may_found(1, 1.0 + max(SETTINGS.alone_after, FRESH))


def test_it_asks_the_strongest_lineage_and_takes_turns() -> None:
    one = joining("a@h:1")
    one.host(("x@h:5", 1), "tcp://h:5", cluster("x@h:5", 50), 1.0)
    strong = cluster("m@h:6", 100, peak=3)
    one.host(("m@h:6", 1), "tcp://h:6", strong, 1.0)
    one.host(("n@h:7", 1), "tcp://h:7", strong, 1.0)
    asked = {one.ask(1.0 + i * SETTINGS.join_retry) for i in range(2)}
    assert asked == {"tcp://h:6", "tcp://h:7"}


# -- contacts -------------------------------------------------------------------------------------


def test_b1_greetings_go_on_for_ever_with_growing_pauses() -> None:
    contacts = Contacts(OWN, ["tcp://h:2", OWN], [], SETTINGS, 0.0)
    assert len(contacts) == 1
    times = [t / 100 for t in range(3000) if contacts.due(None, t / 100, 0.5)]
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses[0] < 0.2 and pauses[-1] == pytest.approx(SETTINGS.hello_cap, abs=0.02)
    assert times[-1] > 27


def test_b1_a_member_is_not_greeted_and_is_greeted_again_when_it_is_gone() -> None:
    contacts = Contacts(OWN, ["tcp://alias:2"], [], SETTINGS, 0.0)
    view = found(Member("b@h:2", 1, control_endpoint="tcp://h:2"), 1)
    assert contacts.due(view, 1.0, 0.5) == ["tcp://alias:2"]
    contacts.answered("tcp://alias:2", ("b@h:2", 1), 1.0)
    assert contacts.due(view, 5.0, 0.5) == [] and contacts.wanted(view) == set()
    other = found(Member("c@h:3", 1, control_endpoint="tcp://h:3"), 1)
    assert contacts.due(other, 9.0, 0.5) == ["tcp://alias:2"]
    assert contacts.wanted(other) == {"tcp://alias:2"}


def test_a_silent_seed_is_named_once_until_it_answers() -> None:
    contacts = Contacts(OWN, ["tcp://h:2"], ["tcp://h:3"], SETTINGS, 0.0)
    assert contacts.silent_seeds(None, SETTINGS.alone_after - 0.1) == []
    assert contacts.silent_seeds(None, SETTINGS.alone_after) == ["tcp://h:2"]
    assert contacts.silent_seeds(None, 99.0) == []
    contacts.answered("tcp://h:2", ("b@h:2", 1), 100.0)
    assert contacts.silent_seeds(None, 101.0) == []
    assert contacts.silent_seeds(None, 100.0 + SETTINGS.alone_after) == ["tcp://h:2"]


def test_a_seed_that_was_a_member_is_given_time_before_it_is_named() -> None:
    contacts = Contacts(OWN, ["tcp://h:2"], [], SETTINGS, 0.0)
    view = found(Member("b@h:2", 1, control_endpoint="tcp://h:2"), 1)
    assert contacts.silent_seeds(view, 100.0) == []
    assert contacts.silent_seeds(None, 100.1) == []
    assert contacts.silent_seeds(None, 100.0 + SETTINGS.alone_after) == ["tcp://h:2"]


def test_who_was_only_heard_of_is_greeted_for_a_while() -> None:
    contacts = Contacts(OWN, [], [], SETTINGS, 0.0)
    contacts.add("tcp://h:4", 0.0, keep=5.0)
    contacts.add("tcp://h:4", 3.0, keep=5.0)
    assert contacts.due(None, 7.9, 0.5) == ["tcp://h:4"]
    assert contacts.due(None, 8.1, 0.5) == [] and len(contacts) == 0


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("cluster", ""), ("expect", 0), ("busy_cap", 0.0), ("tick", -1), ("found_after", "1")],
)
def test_a_setting_that_cannot_work_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidOptionError) as error:
        ClusterSettings(**{field: value})  # type: ignore[arg-type]
    assert error.value.field == field  # type: ignore[attr-defined]
