"""The end of a supervisor, and significant children (rules 6, 8, 10; cases 91 to 116)."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_bench import Bench, bench, spec

from noex.supervisor import errors as e
from noex.supervisor.spec import ChildTemplate

STATIC = ["one_for_one", "one_for_all", "rest_for_one"]


@pytest.mark.parametrize("strategy", STATIC)
def test_rule_8_children_are_stopped_in_reverse_order_one_by_one(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c").begin().forget()
    b.held_stops.update("abc")
    b.stop()
    assert b.story == [("stop", "c")]
    b.release("c")
    assert b.story == [("stop", "c"), ("stop", "b")]
    b.release("b").release("a")
    assert b.finish is not None
    assert b.finish.reason == "normal"
    assert b.told() == [
        ("child_stopped", "c"),
        ("child_stopped", "b"),
        ("child_stopped", "a"),
        ("supervisor_stopped", ""),
    ]
    assert b.events[-1].reason == "normal"


def test_rule_8_template_children_are_stopped_all_at_once() -> None:
    b = bench("simple_one_for_one").begin()
    for _ in range(3):
        b.start_child([])
    b.held_stops.update(b.ids)
    b.forget().stop()
    assert b.story == [("stop", "child_3"), ("stop", "child_2"), ("stop", "child_1")]
    b.release("child_1").release("child_3").release("child_2")
    assert b.finish is not None


@pytest.mark.parametrize("shutdown", [1.5, "infinity", "brutal_kill"])
def test_a_stop_says_how_long_to_wait(shutdown: Any) -> None:
    b = bench("one_for_one", spec("a", shutdown=shutdown)).begin()
    b.held_stops.add("a")
    b.stop()
    (stop,) = b.stopping.values()
    assert (stop.shutdown, stop.reason) == (shutdown, "shutdown")


@pytest.mark.parametrize("strategy", STATIC)
def test_a_start_that_succeeds_after_the_stop_is_stopped(strategy: str) -> None:
    b = bench(strategy, "a").begin().plan("b", "hold")
    starter = b.start_child(spec("b"))
    b.forget().stop()
    assert b.canceled == ["b"]
    assert b.finish is None
    b.release("b")
    assert b.story == [("stop", "b"), ("stop", "a")]
    assert isinstance(b.answers[starter].error, e.ChildStartError)
    assert b.finish is not None


@pytest.mark.parametrize("outcome", ["init", "no_node", "ignore", "node_lost"])
def test_a_start_that_fails_after_the_stop_ends_it(outcome: str) -> None:
    b = bench("one_for_one", "a").begin().plan("a", "hold")
    b.crash("a").stop()
    b.release("a", outcome)
    assert b.finish is not None


def test_a_silent_host_is_barred_before_the_supervisor_ends() -> None:
    b = bench("one_for_one", "a").begin().plan("a", "hold").crash("a").stop()
    b.held_stops.add("a")
    b.release("a", "unknown")
    assert b.finish is None
    assert list(b.stopping) == [("a", b.info("a").generation)]
    b.release("a", "init")
    assert b.finish is not None


def test_an_exit_of_a_child_whose_turn_has_not_come() -> None:
    b = bench("one_for_one", "a", "b").begin()
    b.held_stops.add("b")
    b.forget().stop()
    b.crash("a", reason="normal")
    b.release("b")
    assert b.story == [("stop", "b")]
    assert [event.reason for event in b.events] == ["normal", "shutdown", "normal"]


def test_requests_while_it_stops() -> None:
    b = bench("one_for_one", "a", "b").begin()
    b.held_stops.update("ab")
    b.stop()
    for request in (b.start_child(spec("c")), b.restart("a"), b.terminate("x")):
        assert isinstance(b.answers[request].error, e.SupervisorError)
    gone = b.terminate("a")
    assert gone not in b.answers
    b.stop("shutdown")  # the first reason stands
    b.release("b").release("a")
    assert b.answers[gone].error is None
    assert b.finish is not None
    assert b.finish.reason == "normal"


def test_requests_after_it_gave_up_name_that_as_the_cause() -> None:
    """Rule 6."""
    b = bench("one_for_one", "a", "b", most=0, distributed=True).begin()
    b.held_stops.add("b")
    b.crash("a")
    for _ in range(2):
        error = b.answers[b.start_child(spec("c"))].error
        assert isinstance(error, e.DistributedSupervisorError)
        assert isinstance(error.__cause__, e.DistributedMaxRestartsExceededError)
        if b.finish is None:
            b.release("b")


@pytest.mark.parametrize("strategy", STATIC)
def test_giving_up_stops_the_rest_in_reverse_order(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c", most=0).begin().forget()
    b.crash("b")
    assert b.story == [("stop", "c"), ("stop", "a")]
    assert b.told()[-1] == ("supervisor_stopped", "")


def significant(
    strategy: str, mode: str, *restarts: str, others: tuple[str, ...] = ("z",), most: int = 9
) -> Bench:
    children = [
        spec(f"s{number}", restart, significant=True) for number, restart in enumerate(restarts)
    ]
    return bench(strategy, *children, *others, auto_shutdown=mode, most=most).begin()


@pytest.mark.parametrize("mode", ["never", "any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
def test_cases_106_107_a_child_that_is_not_significant_never_ends_the_supervisor(
    mode: str, restart: str
) -> None:
    b = bench("one_for_one", *[spec(c, restart) for c in "abc"], auto_shutdown=mode).begin()
    b.terminate("a")
    b.crash("b", reason="normal")
    b.crash("c", reason="killed")
    assert b.finish is None


def test_any_significant_fires_at_the_first_one() -> None:
    b = significant("one_for_one", "any_significant", "transient", "transient")
    b.crash("s0", reason="normal")
    assert b.finish is not None
    assert b.finish.reason == "shutdown"
    assert b.events[-1].reason == "shutdown"


def test_case_109_all_significant_fires_at_the_last_one() -> None:
    b = significant("one_for_one", "all_significant", "transient", "temporary")
    b.crash("s0", reason="normal")
    assert b.finish is None
    b.crash("s1")
    assert b.finish is not None


def test_case_110_only_an_end_by_itself_that_is_not_restarted_fires() -> None:
    b = significant("one_for_one", "any_significant", "transient", "transient")
    b.terminate("s0")
    b.crash("s1", reason="killed")
    b.restart("s1")
    assert b.finish is None
    b.crash("s1", reason="normal")
    assert b.finish is not None


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
def test_case_112_a_bystander_does_not_fire(strategy: str, mode: str, restart: str) -> None:
    first, second = "a", spec("s", restart, significant=True)
    b = bench(strategy, first, second, auto_shutdown=mode).begin()
    b.crash("a")
    assert b.finish is None


def test_case_115_a_removal_as_bystander_counts_later_for_all_significant() -> None:
    b = significant("one_for_all", "all_significant", "temporary", "transient")
    b.crash("z")
    assert b.ids == ["s1", "z"]
    b.crash("s1", reason="normal")
    assert b.finish is not None


def test_a_removal_by_terminate_counts_later_for_all_significant() -> None:
    b = significant("one_for_one", "all_significant", "transient", "transient")
    b.terminate("s0")
    b.crash("s1", reason="normal")
    assert b.finish is not None


def test_a_significant_child_that_is_restarting_is_left() -> None:
    b = significant("one_for_one", "all_significant", "transient", "transient")
    b.hold_retries = True
    b.plan("s0", "init").crash("s0")
    b.crash("s1", reason="normal")
    assert b.finish is None


def test_significant_children_of_a_template() -> None:
    template = ChildTemplate("worker", restart="transient", significant=True)
    b = bench("simple_one_for_one", child_template=template, auto_shutdown="all_significant")
    b.begin()
    b.start_child([])
    b.start_child([])
    b.crash("child_1", reason="normal")
    assert b.finish is None
    b.crash("child_2", reason="normal")
    assert b.finish is not None


def test_an_automatic_shutdown_in_the_midst_of_a_group_restart() -> None:
    b = significant("one_for_all", "any_significant", "temporary", others=("y", "z"))
    b.held_stops.add("z")
    b.crash("y")
    b.crash("s0")
    b.release("z")
    assert b.finish is not None
    assert b.events[-1].reason == "shutdown"
