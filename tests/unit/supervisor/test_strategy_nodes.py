"""Nodes that go down, drain or come (distributed rules 2, 3, 5, 10, 11; cases 233 to 238)."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_bench import HOME, Bench, FakeRef, bench, spec

from noex.supervisor import errors as e
from noex.supervisor.events import ChildMigrated, NodeFailureDetected
from noex.supervisor.strategy_events import (
    ChildGone,
    NodeDraining,
    NodeLost,
    PlacementChanged,
    StartSucceeded,
)

B, C = "b@h:2", "c@h:3"
STATIC = ["one_for_one", "one_for_all", "rest_for_one"]


def spread(strategy: str, *children: Any, on: dict[str, str], **options: Any) -> Bench:
    """A distributed supervisor with children on these nodes; what is lost goes to C."""
    made = bench(strategy, *children, distributed=True, **options)
    made.nodes.update(on)
    made.begin()
    made.nodes.update(dict.fromkeys(on, C))
    return made.forget()


def test_case_233_lost_children_are_migrated_temporary_ones_removed() -> None:
    b = spread(
        "one_for_one", "p", spec("t", "transient"), spec("x", "temporary"), "q",
        on=dict.fromkeys("ptx", B),
    )  # fmt: skip
    other = b.ref("q")
    b.lose(B)
    assert b.events[0] == NodeFailureDetected("sup", B, ("p", "t", "x"))
    assert b.told()[1:] == [
        ("child_stopped", "x"),
        ("child_migrated", "p"),
        ("child_migrated", "t"),
    ]
    assert b.events[-1] == ChildMigrated("sup", "t", B, C)
    assert b.ref("q") == other
    assert b.ids == ["p", "t", "q"]
    stats = b.machine.stats(0)
    assert (stats.node_failure_restarts, stats.total_restarts) == (2, 2)
    assert stats.children_by_node == {C: 2, HOME: 1}


@pytest.mark.parametrize("strategy", STATIC)
@pytest.mark.parametrize("lost", [1, 4, 10])
def test_case_235_n_lost_children_are_n_starts_and_count_once(strategy: str, lost: int) -> None:
    ids = [f"c{number}" for number in range(lost)]
    b = spread(strategy, *ids, on=dict.fromkeys(ids, B), most=1)
    b.lose(B)
    assert b.finish is None
    assert b.story == [("start", child_id) for child_id in ids]
    assert len(b.machine._core.window.times) == 1
    assert b.told("child_migrated") == [("child_migrated", child_id) for child_id in ids]


@pytest.mark.parametrize("strategy", STATIC)
def test_a_node_that_left_in_order_does_not_count(strategy: str) -> None:
    """Its children could not be moved in time; they are started elsewhere all the same."""
    b = spread(strategy, "a", "b", on=dict.fromkeys("ab", B), most=0)
    b.lose(B, counted=False)
    assert b.finish is None
    assert b.told("child_migrated") == [("child_migrated", "a"), ("child_migrated", "b")]


@pytest.mark.parametrize(("counts", "most", "survives"), [
    ("once", 0, False), ("once", 1, True),
    ("none", 0, True),
    ("each", 2, False), ("each", 3, True),
])  # fmt: skip
@pytest.mark.parametrize("strategy", STATIC)
def test_how_a_lost_node_counts(strategy: str, counts: str, most: int, survives: bool) -> None:
    b = spread(
        strategy, "a", "b", "c", on=dict.fromkeys("abc", B), most=most, node_failure_counts=counts
    )
    b.lose(B)
    assert (b.finish is None) is survives


def test_a_node_with_temporary_children_only_does_not_count() -> None:
    b = spread("one_for_one", spec("x", "temporary"), "a", on={"x": B}, most=0)
    b.lose(B)
    assert b.finish is None
    assert b.ids == ["a"]


def test_a_node_without_children_is_no_event_of_this_supervisor() -> None:
    b = spread("one_for_all", "a", on={"a": C}, most=0)
    b.lose(B)
    assert b.events == []


def test_failovers_of_one_for_one_are_concurrent() -> None:
    b = spread("one_for_one", "a", "b", "c", on=dict.fromkeys("abc", B))
    for child_id in "abc":
        b.plan(child_id, "hold")
    b.lose(B)
    assert sorted(key[0] for key in b.flying) == ["a", "b", "c"]
    assert {action.exclude_nodes for action in b.flying.values()} == {(B,)}
    assert {action.why for action in b.flying.values()} == {"failover"}


def test_one_for_all_stops_the_survivors_and_starts_all() -> None:
    """Rule D11: ChildMigrated for the lost ones, ChildRestarted for the bystanders."""
    b = spread("one_for_all", "a", "b", "c", "d", on={"b": B, "d": B})
    b.lose(B)
    assert b.story == [("stop", "c"), ("stop", "a"), *[("start", c) for c in "abcd"]]
    assert b.told()[1:] == [
        ("child_restarted", "a"),
        ("child_migrated", "b"),
        ("child_restarted", "c"),
        ("child_migrated", "d"),
    ]
    stats = b.machine.stats(0)
    assert (stats.node_failure_restarts, stats.total_restarts) == (2, 4)


def test_rest_for_one_starts_from_the_first_lost_child_on() -> None:
    b = spread("rest_for_one", "a", "b", "c", "d", on={"b": B, "d": B})
    first = b.ref("a")
    b.lose(B)
    assert b.story == [("stop", "c"), *[("start", c) for c in "bcd"]]
    assert b.ref("a") == first


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_a_significant_temporary_child_lost_with_its_node_has_ended_by_itself(mode: str) -> None:
    b = spread(
        "one_for_one", spec("s", "temporary", significant=True), "a",
        on={"s": B, "a": B}, auto_shutdown=mode,
    )  # fmt: skip
    b.lose(B)
    assert b.finish is not None
    assert b.finish.reason == "shutdown"
    assert b.story == []  # nothing is migrated by a supervisor that ends


def test_a_significant_transient_child_lost_with_its_node_is_migrated() -> None:
    b = spread(
        "one_for_one", spec("s", "transient", significant=True),
        on={"s": B}, auto_shutdown="any_significant",
    )  # fmt: skip
    b.lose(B)
    assert b.status == {"s": "running"}


def test_case_236_a_failed_failover_is_tried_elsewhere_until_the_window_trips() -> None:
    b = spread("one_for_one", "a", on={"a": B}, most=3)
    b.nodes["a"] = C
    b.plan("a", "init", "init", "ok").lose(B)
    assert b.story == [("start", "a")] * 3
    assert b.status == {"a": "running"}
    b = spread("one_for_one", "a", on={"a": B}, most=3)
    b.plan("a", *["init"] * 9).lose(B)
    assert b.finish is not None


def test_a_failed_failover_avoids_the_node_where_it_failed() -> None:
    b = spread("one_for_one", "a", on={"a": B})
    b.plan("a", "init", "hold").lose(B)
    (action,) = b.flying.values()
    assert action.exclude_nodes == (B, C)


def test_case_238_without_a_node_a_child_is_pending_until_one_joins() -> None:
    b = spread("one_for_one", "a", "b", on={"a": B, "b": B}, most=1)
    b.plan("a", "no_node", "no_node").plan("b", "no_node").lose(B)
    assert b.status == {"a": "pending", "b": "pending"}
    assert b.told("child_pending") == [("child_pending", "a"), ("child_pending", "b")]
    assert b.machine.stats(0).pending == 2
    assert "no node for child 'a'" in b.machine.explain("a")
    b.feed(PlacementChanged())
    assert b.status == {"a": "pending", "b": "running"}
    assert b.told("child_pending") == [("child_pending", "a"), ("child_pending", "b")]
    b.feed(PlacementChanged())
    assert b.status == {"a": "running", "b": "running"}
    assert b.told("child_migrated") == [("child_migrated", "b"), ("child_migrated", "a")]


def test_a_pending_child_is_looked_at_again_even_if_nobody_reports_a_node() -> None:
    b = spread("one_for_one", "a", on={"a": B})
    b.plan("a", "no_node").lose(B)
    b.pass_time(1.0)
    assert b.status == {"a": "running"}


def test_a_start_whose_node_is_lost_is_tried_elsewhere_uncounted() -> None:
    b = spread("one_for_one", "a", on={"a": B}, most=1)
    b.plan("a", "node_lost", "ok").lose(B)
    assert b.status == {"a": "running"}


def test_a_node_that_refuses_twice_leaves_the_child_pending_not_spinning() -> None:
    b = spread("one_for_one", "a", on={"a": B}, most=1)
    b.plan("a", *["node_lost"] * 5).lose(B)
    assert len(b.story) == 2
    assert b.status == {"a": "pending"}


def test_a_success_on_a_life_that_is_gone_is_a_lost_start() -> None:
    b = bench("one_for_one", "a", distributed=True).begin().plan("a", "hold")
    b.crash("a").feed(NodeLost(B, 5))
    (action,) = b.flying.values()
    b.flying.clear()
    b.plan("a", "hold")
    ref = FakeRef("a", action.generation, B)
    b.feed(StartSucceeded("a", action.generation, ref, B, 1.0, incarnation=5))
    (again,) = b.flying.values()
    assert again.generation > action.generation
    assert B in again.exclude_nodes


def test_the_loss_of_an_earlier_life_does_not_touch_children_of_a_later_one() -> None:
    b = bench("one_for_one", "a", distributed=True).plan("a", "hold").begin()
    (action,) = b.flying.values()
    b.flying.clear()
    ref = FakeRef("a", action.generation, B)
    b.alive[ref] = None
    b.feed(StartSucceeded("a", action.generation, ref, B, 1.0, incarnation=7))
    b.forget().feed(NodeLost(B, 6))
    assert b.events == []
    assert b.ref("a") == ref


@pytest.mark.parametrize("strategy", STATIC)
def test_a_child_that_was_being_removed_is_gone_with_its_node(strategy: str) -> None:
    b = spread(strategy, "a", "b", on={"b": B}, most=0)
    b.held_stops.add("b")
    request = b.terminate("b")
    b.lose(B)
    assert b.answers[request].error is None
    assert b.ids == ["a"]
    assert b.told() == [("child_stopped", "b")]


@pytest.mark.parametrize("strategy", STATIC)
def test_a_child_that_was_being_restarted_by_hand_is_gone_with_its_node(strategy: str) -> None:
    b = spread(strategy, "a", "b", on={"b": B}, most=0)
    b.held_stops.add("b")
    request = b.restart("b")
    b.lose(B)
    assert b.answers[request].value == b.ref("b")
    assert b.told("child_migrated") == [("child_migrated", "b")]


@pytest.mark.parametrize("stopping", ["c", "d"])
def test_a_node_lost_while_a_group_stops_is_part_of_that_restart(stopping: str) -> None:
    b = spread("one_for_all", "a", "b", "c", "d", on={"c": B, "d": B}, most=1)
    b.held_stops.add(stopping)
    b.crash("a")
    b.lose(B)
    assert b.finish is None
    assert b.status == dict.fromkeys("abcd", "running")
    assert b.told("child_migrated", "node_failure_detected")[0] == ("node_failure_detected", "")


def test_a_node_lost_while_a_group_starts_begins_anew_from_its_children() -> None:
    b = spread("rest_for_one", "a", "b", "c", "d", on={"b": B}, most=2)
    b.plan("d", "hold")
    b.crash("c")
    b.lose(B)
    b.release("d", "init")
    assert b.status == dict.fromkeys("abcd", "running")
    assert b.told("child_migrated") == [("child_migrated", "b")]
    assert b.story[-3:] == [("start", "b"), ("start", "c"), ("start", "d")]


def test_a_node_lost_while_the_supervisor_stops() -> None:
    b = spread("one_for_one", "a", "b", "c", on={"b": B, "c": B})
    b.held_stops.add("c")
    b.stop()
    b.lose(B)
    assert b.finish is not None
    assert b.told("node_failure_detected", "child_migrated") == []


def test_a_silent_host_is_not_passed_over_until_it_leaves_the_view() -> None:
    b = spread("one_for_one", "a", on={"a": B}, most=1)
    b.plan("a", "unknown").lose(B)
    assert b.status == {"a": "pending"}
    b.feed(PlacementChanged()).pass_time(60)
    assert b.story == [("start", "a")]
    b.flying.clear()
    b.nodes["a"] = HOME
    b.now += 60
    b.lose(C)
    assert b.status == {"a": "running"}
    assert b.events[-1] == ChildMigrated("sup", "a", C, HOME)


def test_a_silent_host_that_says_it_started_nothing_frees_the_child() -> None:
    b = spread("one_for_one", "a", on={"a": B}, most=1)
    b.plan("a", "unknown").lose(B)
    b.flying.clear()
    b.feed(ChildGone("a", b.info("a").generation, "noproc"))
    assert b.status == {"a": "running"}


def test_a_late_success_of_a_barred_start_is_stopped_by_its_ref() -> None:
    b = spread("one_for_one", "a", on={"a": B})
    b.plan("a", "unknown").lose(B)
    b.held_stops.add("a")
    b.terminate("a")
    generation = b.info("a").generation
    ref = FakeRef("a", generation, C)
    b.alive[ref] = None
    b.feed(StartSucceeded("a", generation, ref, C, 1.0))
    assert b.stopping["a", generation].ref == ref
    b.release("a")
    assert b.ids == []


def test_a_draining_node_is_left_one_by_one_uncounted() -> None:
    """Rule D10: not a failure."""
    b = spread("one_for_all", "a", "b", "c", on={"a": B, "c": B}, most=0)
    b.plan("a", "hold")
    b.feed(NodeDraining(B))
    assert b.story == [("stop", "a"), ("start", "a")]
    b.release("a")
    assert b.story[2:] == [("stop", "c"), ("start", "c")]
    assert b.told() == [("child_migrated", "a"), ("child_migrated", "c")]
    assert b.machine.stats(0).node_failure_restarts == 0
    assert b.finish is None


def test_a_drain_goes_on_when_a_child_finds_no_node() -> None:
    b = spread("one_for_one", "a", "b", on={"a": B, "b": B})
    b.plan("a", "no_node").feed(NodeDraining(B))
    assert b.status == {"a": "pending", "b": "running"}
    assert b.told("child_migrated") == [("child_migrated", "b")]


def overlapping(*outcomes: str, others: tuple[str, ...] = ()) -> Bench:
    """A child `a` with overlap on a node that drains."""
    b = spread("one_for_one", spec("a", overlap=True), *others, on={"a": B, "b": B}, most=1)
    return b.plan("a", *outcomes).feed(NodeDraining(B))


def test_overlap_starts_the_new_one_before_the_old_one_is_told_to_stop() -> None:
    b = overlapping("hold")
    old = b.ref("a")
    assert b.story == [("start", "a")]
    assert b.status == {"a": "running"}
    b.held_stops.add("a")
    b.release("a")
    assert b.story == [("start", "a"), ("stop", "a")]
    assert b.ref("a").node_id == C
    assert b.machine.which(old) is None
    assert b.told() == [("child_migrated", "a")]
    assert b.info("a").restart_count == 1
    b.release("a")
    assert list(b.alive) == [b.ref("a")]


def test_the_next_child_is_moved_when_the_old_process_is_gone() -> None:
    b = overlapping("hold", others=("b",))
    b.held_stops.add("a")
    b.release("a")
    assert b.story == [("start", "a"), ("stop", "a")]
    b.release("a")
    assert b.story[2:] == [("stop", "b"), ("start", "b")]


@pytest.mark.parametrize("outcome", ["init", "no_node", "node_lost", "ignore"])
def test_a_successor_that_does_not_come_up_leaves_the_old_one_running(outcome: str) -> None:
    b = overlapping(outcome)
    assert b.status == {"a": "running"}
    assert b.ref("a").node_id == B
    assert b.machine._core.window.times == ()
    b.feed(PlacementChanged())
    assert b.ref("a").node_id == C


@pytest.mark.parametrize("late", ["ok", "init"])
def test_terminate_during_an_overlap_leaves_neither(late: str) -> None:
    b = overlapping("hold")
    request = b.terminate("a")
    assert b.canceled == ["a"]
    assert b.ids == []
    assert request not in b.answers
    b.release("a", late)
    assert b.answers[request].error is None
    assert not b.alive


def test_a_restart_waits_for_the_end_of_an_unwanted_successor() -> None:
    b = overlapping("hold")
    b.crash("a")
    assert b.story == [("start", "a")]
    b.release("a", "init")
    assert b.story == [("start", "a"), ("start", "a")]
    assert b.status == {"a": "running"}


def test_the_loss_of_the_draining_node_during_an_overlap() -> None:
    b = overlapping("hold")
    b.lose(B)
    b.release("a")  # the successor of one that is lost: it goes, and a failover follows
    assert b.status == {"a": "running"}
    assert len(b.alive) == 1
    assert b.told("child_migrated") == [("child_migrated", "a")]


def test_a_stop_during_an_overlap_ends_both() -> None:
    b = overlapping("hold")
    b.stop()
    assert b.finish is None
    b.release("a")
    assert b.finish is not None


def test_a_child_that_comes_up_on_a_draining_node_is_moved_on() -> None:
    b = spread("one_for_one", "a", on={"a": C})
    b.nodes["a"] = B
    b.plan("a", "hold").crash("a")
    b.feed(NodeDraining(B))
    b.release("a")
    b.nodes["a"] = C
    assert b.story == [("start", "a"), ("stop", "a"), ("start", "a")]


def test_errors_are_of_the_distributed_family() -> None:
    b = spread("one_for_one", "a", on={"a": B})
    assert isinstance(b.answers[b.start_child(spec("a"))].error, e.DistributedDuplicateChildError)
