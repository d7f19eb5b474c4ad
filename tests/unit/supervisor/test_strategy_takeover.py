"""A machine that goes on from a record after its node was lost (distributed rules 8 and 9)."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_bench import HOME, Bench, Crash, bench, spec

from noex.supervisor.events import ChildAdopted, NodeFailureDetected, SupervisorTakenOver
from noex.supervisor.strategy import StrategyMachine
from noex.supervisor.strategy_events import Running, TookOver

B, C = "b@h:2", "c@h:3"
STATIC = ["one_for_one", "one_for_all", "rest_for_one"]


def spread(strategy: str, *children: Any, on: dict[str, str], **options: Any) -> Bench:
    made = bench(strategy, *children, distributed=True, **options)
    made.nodes.update(on)
    return made.begin()


def take_over(old: Bench, *lost: str) -> Bench:
    """The supervisor on a new node, after these nodes have gone (its own, HOME, among them)."""
    new = Bench(old.options, now=5_000.0)
    new.nodes.update(dict.fromkeys(old.nodes, C))
    new.machine = StrategyMachine.resumed(old.machine.record(old.now), 2, new.now)
    new.alive.update({ref: None for ref in old.alive if ref.node_id not in (HOME, *lost)})
    running = tuple(Running(r.child_id, r.generation, r, r.node_id, 0) for r in new.alive)
    gone = tuple((node_id, 0) for node_id in (HOME, *lost))
    new._requests = old._requests
    return new.feed(TookOver("new handle", HOME, C, running, gone))


@pytest.mark.parametrize("strategy", STATIC)
def test_what_runs_is_adopted_as_it_is(strategy: str) -> None:
    old = spread(strategy, "a", "b", on={"a": B, "b": B}, most=0)
    old.restart("a")
    new = take_over(old)
    assert new.story == []
    assert new.events == [
        SupervisorTakenOver("sup", HOME, C, 2),
        ChildAdopted("sup", "a", B),
        ChildAdopted("sup", "b", B),
    ]
    assert new.ref("a") == old.ref("a")
    assert [info.restart_count for info in new.machine.children()] == [1, 0]
    assert new.machine.stats(0).total_restarts == 1
    assert new.machine.stats(0).term == 2


@pytest.mark.parametrize("strategy", STATIC)
def test_what_died_with_the_node_is_restarted_once_and_counted_once(strategy: str) -> None:
    on = {"a": HOME, "b": B, "c": HOME}
    old = spread(strategy, "a", "b", "c", on=on, most=1)
    last = max(info.generation for info in old.machine.children())
    new = take_over(old)
    assert new.status == dict.fromkeys("abc", "running")
    assert NodeFailureDetected("sup", HOME, ("a", "c")) in new.events
    assert new.told("child_migrated") == [("child_migrated", "a"), ("child_migrated", "c")]
    bystander = strategy != "one_for_one"
    assert (("child_restarted", "b") in new.told()) is bystander
    assert new.ref("a").generation > last
    assert new.machine.stats(0).node_failure_restarts == 2
    assert len(new.machine._core.window.times) == 1


@pytest.mark.parametrize("strategy", STATIC)
def test_case_9_both_die_at_once(strategy: str) -> None:
    old = spread(strategy, "a", "b", "c", on={"a": HOME, "b": B, "c": C}, most=1)
    new = take_over(old, B)
    assert new.status == dict.fromkeys("abc", "running")
    detected = [event for event in new.events if event.type == "node_failure_detected"]
    assert [(e.node_id, e.affected_children) for e in detected] == [(HOME, ("a",)), (B, ("b",))]
    assert len(new.machine._core.window.times) == 1


def test_the_restart_window_survives() -> None:
    old = spread("one_for_one", "a", on={"a": B}, most=2)
    old.crash("a")
    old.now += 1.0
    new = take_over(old)
    new.crash("a")
    assert new.finish is None
    new.crash("a")
    assert new.finish is not None


def test_a_temporary_child_that_died_with_the_node_has_ended() -> None:
    old = spread("one_for_one", spec("x", "temporary"), "a", on={"x": HOME, "a": B})
    new = take_over(old)
    assert new.ids == ["a"]
    assert new.told("child_stopped") == [("child_stopped", "x")]


def test_a_significant_temporary_child_that_died_with_the_node_ends_the_supervisor() -> None:
    x = spec("x", "temporary", significant=True)
    on = {"x": HOME, "a": B}
    old = spread("one_for_one", x, "a", on=on, auto_shutdown="any_significant")
    new = take_over(old)
    assert new.finish is not None
    assert new.story == [("stop", "a")]


def test_a_child_that_was_being_removed_is_removed() -> None:
    old = spread("one_for_one", "a", "b", on={"a": B, "b": HOME})
    old.held_stops.update("ab")
    old.terminate("a")
    old.terminate("b")
    new = take_over(old)
    assert new.story == [("stop", "a")]
    assert new.ids == []


def test_a_start_child_that_was_under_way_is_dropped_unless_it_runs() -> None:
    old = spread("one_for_one", on={}).plan("a", "hold")
    old.start_child(spec("a"))
    assert take_over(old).ids == []


@pytest.mark.parametrize("strategy", STATIC)
@pytest.mark.parametrize("outcome", ["init", "no_node", "hold", "unknown"])
def test_a_restart_that_was_under_way_goes_on_uncounted(strategy: str, outcome: str) -> None:
    old = spread(strategy, "a", "b", "c", on=dict.fromkeys("abc", B), most=9)
    old.hold_retries = True
    old.plan("b", outcome)
    old.crash("b")
    counted = len(old.machine._core.window.times)
    new = take_over(old)
    assert new.status == dict.fromkeys("abc", "running")
    assert len(new.machine._core.window.times) == counted
    assert len(new.alive) == 3


def test_held_and_ignored_children_stay_what_they_are() -> None:
    old = bench("one_for_one", "a", "b", distributed=True).plan("b", "ignore").begin()
    old.plan("a", "init")
    old.restart("a")
    new = take_over(old)
    assert new.status == {"a": "pending", "b": "ignored"}
    assert "restart_child failed" in new.machine.explain("a")


def test_a_child_that_ended_while_nobody_looked_is_restarted() -> None:
    old = spread("one_for_one", "a", "b", on={"a": B, "b": B}, most=1)
    del old.alive[old.ref("a")]
    new = take_over(old)
    assert new.status == {"a": "running", "b": "running"}
    assert new.told("child_restarted") == [("child_restarted", "a")]


def test_life_goes_on_after_a_takeover() -> None:
    old = bench("simple_one_for_one", distributed=True).begin()
    old.start_child([])
    new = take_over(old)
    request = new.start_child([])
    assert new.answers[request].value == new.ref("child_2")
    assert new.ids == ["child_1", "child_2"]
    new.crash("child_2", reason=Crash("x"))
    assert new.status == {"child_1": "running", "child_2": "running"}
    new.stop()
    assert new.events[-1].ref == "new handle"
