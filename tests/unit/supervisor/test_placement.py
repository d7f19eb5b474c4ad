"""Placement: who may get a child, and who does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from noex.runtime.errors import InvalidOptionError
from noex.supervisor.errors import DistributedBehaviorNotFoundError, NoAvailableNodeError
from noex.supervisor.placement import PLACEMENT_MEMORY, Placement, Wish
from noex.supervisor.selectors import find_selector, selector, unregister_selector


@dataclass(frozen=True)
class FakeNode:
    id: str
    status: str = "up"
    process_count: int = 0
    behaviors: tuple[str, ...] = ("worker",)


A, B, C = FakeNode("a@h:1"), FakeNode("b@h:2"), FakeNode("c@h:3")


def wish(selector="local_first", **more):
    return Wish("child", "worker", selector, **more)


@pytest.fixture
def placement():
    return Placement("a@h:1", choice=lambda ids: ids[-1], find_selector=find_selector)


def placed(placement, selector, nodes, count, **more):
    return [placement.choose(wish(selector, **more), nodes, 0.0) for _ in range(count)]


def test_local_first_stays_at_home(placement):
    assert placed(placement, "local_first", [A, B, C], 3) == [A.id] * 3


def test_local_first_goes_to_the_least_loaded_when_home_cannot(placement):
    busy = FakeNode(A.id, status="busy")
    assert placement.choose(wish(), [busy, FakeNode(B.id, process_count=9), C], 0.0) == C.id


def test_a_failover_of_local_first_children_spreads(placement):
    chosen = placed(placement, "local_first", [A, B], 6, failover=True)
    assert chosen.count(A.id) == chosen.count(B.id) == 3


def test_round_robin_goes_in_turn_in_age_order(placement):
    assert placed(placement, "round_robin", [A, B, C], 6) == [A.id, B.id, C.id] * 2


def test_round_robin_stays_even_when_members_come_and_go(placement):
    placed(placement, "round_robin", [A, B], 4)
    with_c = placed(placement, "round_robin", [A, B, C], 6)
    assert sorted(with_c) == sorted([A.id, B.id, C.id] * 2)
    assert with_c[0] == C.id
    without_b = placed(placement, "round_robin", [A, C], 4)
    assert without_b.count(A.id) == without_b.count(C.id) == 2


def test_least_loaded_counts_placements_that_the_node_has_not_told_yet(placement):
    nodes = [A, FakeNode(B.id, process_count=2)]
    assert placed(placement, "least_loaded", nodes, 4) == [A.id, A.id, A.id, B.id]


def test_least_loaded_trusts_a_fresh_count_and_forgets_old_placements(placement):
    placed(placement, "least_loaded", [A, B], 2)
    told = [FakeNode(A.id, process_count=1), FakeNode(B.id, process_count=5)]
    assert placement.choose(wish("least_loaded"), told, 1.0) == A.id
    later = 1.0 + PLACEMENT_MEMORY
    assert placement.choose(wish("least_loaded"), [told[0], FakeNode(B.id)], later) == B.id


def test_a_start_that_is_counted_before_it_is_known_to_have_ended_counts_once(placement):
    assert placed(placement, "least_loaded", [A, B], 4) == [A.id, B.id] * 2
    counted = [FakeNode(A.id, process_count=2), B]
    assert placed(placement, "least_loaded", counted, 2) == [A.id, B.id]


def test_random_asks_the_given_chance(placement):
    assert placement.choose(wish("random"), [A, B, C], 0.0) == C.id


def test_a_named_node_gets_it_or_nobody(placement):
    assert placement.choose(wish({"node": B.id}), [A, B], 0.0) == B.id
    with pytest.raises(NoAvailableNodeError, match="not a member"):
        placement.choose(wish({"node": "x@h:9"}), [A, B], 0.0)


@pytest.mark.parametrize("status", ["busy", "draining", "leaving"])
def test_a_node_that_is_not_up_gets_nothing(placement, status):
    with pytest.raises(NoAvailableNodeError) as caught:
        placement.choose(wish(), [FakeNode(A.id, status=status)], 0.0)
    assert caught.value.child_id == "child"
    assert caught.value.selector == "local_first"
    assert status in str(caught.value)


def test_only_nodes_that_advertise_the_behavior_are_eligible(placement):
    other = FakeNode(A.id, behaviors=("other",))
    assert placement.choose(wish(), [other, B], 0.0) == B.id


def test_a_behavior_that_nobody_has_is_an_error_of_its_own(placement):
    with pytest.raises(DistributedBehaviorNotFoundError) as caught:
        placement.choose(Wish("child", "ghost", "random"), [A, B], 0.0)
    assert (caught.value.behavior_name, caught.value.node_id) == ("ghost", A.id)
    with pytest.raises(DistributedBehaviorNotFoundError) as caught:
        placement.choose(Wish("child", "ghost", {"node": B.id}), [A, B], 0.0)
    assert caught.value.node_id == B.id


def test_excluded_nodes_are_passed_over_and_better_than_none(placement):
    excluding = wish("round_robin", exclude=frozenset({A.id}))
    assert placement.choose(excluding, [A, B], 0.0) == B.id
    with pytest.raises(NoAvailableNodeError, match="just tried"):
        placement.choose(excluding, [A], 0.0)
    assert placement.choose_softly(excluding, [A], 0.0) == A.id


def test_a_callable_sees_the_eligible_nodes_and_the_child(placement):
    seen = []

    def pick(nodes, child_id):
        seen.append(([n.id for n in nodes], child_id))
        return nodes[-1].id

    nodes = [A, FakeNode(B.id, status="busy"), C]
    assert placement.choose(wish(pick), nodes, 0.0) == C.id
    assert seen == [([A.id, C.id], "child")]


@pytest.mark.parametrize("answer", ["x@h:9", None, 7])
def test_a_wrong_answer_of_a_callable_is_named(placement, answer):
    with pytest.raises(NoAvailableNodeError, match="none of the nodes") as caught:
        placement.choose(wish(lambda nodes, child_id: answer), [A], 0.0)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_raising_callable_is_the_cause(placement):
    def broken(nodes, child_id):
        raise KeyError("region")

    with pytest.raises(NoAvailableNodeError) as caught:
        placement.choose(wish(broken), [A], 0.0)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.selector == "broken"


def test_a_registered_selector_is_used_by_name(placement):
    @selector("test-last")
    def last(nodes, child_id):
        return nodes[-1].id

    try:
        assert placement.choose(wish("test-last"), [A, B], 0.0) == B.id
    finally:
        assert unregister_selector("test-last")
    with pytest.raises(NoAvailableNodeError, match="no selector is registered"):
        placement.choose(wish("test-last"), [A, B], 0.0)


@pytest.mark.parametrize("name", ["", "random", 5])
def test_a_selector_name_must_be_free(name):
    with pytest.raises(InvalidOptionError):
        selector(name)


def test_a_selector_name_is_not_taken_over():
    selector("test-taken")(lambda nodes, child_id: nodes[0].id)
    try:
        with pytest.raises(InvalidOptionError, match="belongs to"):

            @selector("test-taken")
            def other(nodes, child_id):
                return nodes[0].id
    finally:
        unregister_selector("test-taken")
