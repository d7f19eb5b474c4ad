"""The initial start, and what a user can start later (rules 7 and 9; cases 1 to 47)."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_bench import HOME, Crash, FakeRef, bench, spec

from noex.runtime.errors import InvalidChildSpecError
from noex.supervisor import errors as e
from noex.supervisor.spec import ChildTemplate
from noex.supervisor.strategy_events import ChildExited, ChildGone, StartFailed, StartSucceeded


def test_children_start_one_by_one_in_order() -> None:
    b = bench("one_for_one", "a", "b", "c").plan("a", "hold")
    b.begin()
    assert b.story == [("start", "a")]
    assert not b.started
    b.release("a")
    assert b.story == [("start", "a"), ("start", "b"), ("start", "c")]
    assert b.started
    assert b.ids == ["a", "b", "c"]
    assert b.told() == [
        ("child_started", "a"),
        ("child_started", "b"),
        ("child_started", "c"),
        ("supervisor_started", ""),
    ]


def test_case_1_a_supervisor_without_children_starts_and_stops() -> None:
    b = bench("one_for_one").begin()
    assert b.started
    b.stop("shutdown")
    assert b.finish is not None
    assert b.finish.reason == "shutdown"
    assert b.told() == [("supervisor_started", ""), ("supervisor_stopped", "")]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_case_10_an_initial_failure_stops_what_is_up_in_reverse_order(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c", "d").plan("c", "init").begin()
    assert b.story == [
        ("start", "a"),
        ("start", "b"),
        ("start", "c"),
        ("stop", "b"),
        ("stop", "a"),
    ]
    assert b.finish is not None
    error = b.finish.error
    assert isinstance(error, e.ChildStartError)
    assert (error.child_id, error.outcome) == ("c", "failed")
    assert isinstance(error.__cause__, Crash)
    assert not b.started


def test_an_initial_child_without_a_node_raises_that() -> None:
    b = bench("one_for_one", "a", "b").plan("b", "no_node").begin()
    assert b.finish is not None
    assert isinstance(b.finish.error, e.NoAvailableNodeError)
    assert not b.alive


def test_an_initial_child_with_a_silent_host_is_barred_before_start_raises() -> None:
    b = bench("one_for_one", "a", "b").plan("b", "unknown").begin()
    assert b.story[-2:] == [("stop", "b"), ("stop", "a")]
    assert b.finish is not None
    assert isinstance(b.finish.error, e.ChildStartError)
    assert b.finish.error.outcome == "unknown"


def test_an_initial_child_whose_node_is_lost_is_tried_elsewhere() -> None:
    b = bench("one_for_one", "a").plan("a", "node_lost", "ok").begin()
    assert b.started
    assert b.story == [("start", "a"), ("start", "a")]


def test_what_ends_during_the_initial_start_is_looked_at_when_it_is_over() -> None:
    b = bench("one_for_one", "a", "b").plan("b", "hold").begin()
    b.crash("a")
    assert b.story == [("start", "a"), ("start", "b")]
    b.release("b")
    assert b.story[2:] == [("start", "a")]
    assert b.told("supervisor_started", "child_restarted") == [
        ("supervisor_started", ""),
        ("child_restarted", "a"),
    ]


def test_requests_during_the_initial_start_are_refused_not_left_waiting() -> None:
    """Rule 12: a child that calls its own supervisor from init gets an error, not a deadlock."""
    b = bench("one_for_one", "a").plan("a", "hold").begin()
    for request in (b.start_child(spec("x")), b.restart("a"), b.terminate("a")):
        assert isinstance(b.answers[request].error, e.SupervisorError)
    b.release("a")
    assert b.started


def test_a_stop_during_the_initial_start_ends_it() -> None:
    b = bench("one_for_one", "a", "b", "c").plan("b", "hold").begin()
    b.stop()
    assert b.canceled == ["b"]
    b.release("b")
    assert b.story[-2:] == [("stop", "b"), ("stop", "a")]
    assert b.finish is not None
    assert not b.started


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_a_child_that_ignores_is_kept_and_listed(restart: str) -> None:
    b = bench("one_for_one", spec("a", restart), "b").plan("a", "ignore").begin()
    assert b.started
    assert b.status == {"a": "ignored", "b": "running"}
    request = b.restart("a")
    assert b.answers[request].value == b.ref("a")
    assert b.info("a").restart_count == 0


def test_case_4_a_temporary_child_that_ignores_is_not_kept() -> None:
    b = bench("one_for_one", spec("a", "temporary"), "b").plan("a", "ignore").begin()
    assert b.ids == ["b"]
    assert b.told() == [("child_started", "b"), ("supervisor_started", "")]


def test_case_5_the_same_through_start_child() -> None:
    b = bench("one_for_one").begin().plan("a", "ignore").plan("b", "ignore")
    first = b.start_child(spec("a", "temporary"))
    second = b.start_child(spec("b"))
    for request in (first, second):
        assert (b.answers[request].value, b.answers[request].error) == (None, None)
    assert b.status == {"b": "ignored"}


def test_start_child_adds_at_the_end() -> None:
    b = bench("one_for_one", "a", "b").begin()
    request = b.start_child(spec("c"))
    assert b.answers[request].value == b.ref("c")
    assert b.ids == ["a", "b", "c"]
    assert b.machine.which(b.ref("c")) == "c"


@pytest.mark.parametrize("plan", ["ok", "hold"])
def test_case_26_a_duplicate_id_is_an_error(plan: str) -> None:
    b = bench("one_for_one", "a").begin().plan("b", plan)
    b.start_child(spec("b"))
    for child_id in ("a", "b"):
        error = b.answers[b.start_child(spec(child_id))].error
        assert isinstance(error, e.DuplicateChildError)
        assert (error.supervisor_id, error.child_id) == ("sup", child_id)


@pytest.mark.parametrize("plan", [("no_node",), ("init", "hold")])
def test_case_85_a_restarting_or_pending_child_holds_its_id(plan: tuple[str, ...]) -> None:
    b = bench("one_for_one", "a").begin().plan("a", *plan)
    b.crash("a")
    error = b.answers[b.start_child(spec("a"))].error
    assert isinstance(error, e.DuplicateChildError)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_a_start_that_fails_leaves_nothing_behind(restart: str) -> None:
    b = bench("one_for_one").begin().forget().plan("a", "init")
    error = b.answers[b.start_child(spec("a", restart))].error
    assert isinstance(error, e.ChildStartError)
    assert isinstance(error.__cause__, Crash)
    assert b.ids == []
    assert b.told() == []
    assert b.answers[b.start_child(spec("a", restart))].error is None


def test_start_child_without_a_node_raises_and_leaves_nothing() -> None:
    b = bench("one_for_one").begin().plan("a", "no_node")
    error = b.answers[b.start_child(spec("a"))].error
    assert isinstance(error, e.NoAvailableNodeError)
    assert error.child_id == "a"
    assert b.ids == []


def test_case_43_the_id_of_a_removed_child_is_free_at_once() -> None:
    b = bench("one_for_one", spec("x", "temporary"), spec("t", "transient"), "p").begin()
    first = b.ref("x")
    b.crash("x", reason="killed").terminate("p")
    b.crash("t", reason="normal")
    assert b.ids == []
    for child_id in ("x", "t", "p"):
        assert b.answers[b.start_child(spec(child_id))].error is None
    assert b.ref("x").generation > first.generation


def test_case_40_a_restarted_child_keeps_its_place() -> None:
    b = bench("one_for_one", "a", "b", "c").begin()
    b.restart("a")
    b.crash("b")
    b.start_child(spec("d"))
    assert b.ids == ["a", "b", "c", "d"]


def test_a_significant_child_is_checked_against_the_options() -> None:
    b = bench("one_for_one").begin()
    error = b.answers[b.start_child(spec("a", "transient", significant=True))].error
    assert isinstance(error, InvalidChildSpecError)


@pytest.mark.parametrize("distributed", [False, True])
def test_the_wrong_kind_of_argument_is_refused(distributed: bool) -> None:
    simple = bench("simple_one_for_one", distributed=distributed).begin()
    plain = bench("one_for_one", distributed=distributed).begin()
    wrong: list[tuple[Any, Any]] = [(simple, spec("a")), (simple, "abc"), (plain, [1, 2])]
    for b, child in wrong:
        error = b.answers[b.start_child(child)].error
        assert isinstance(error, b.options.errors.invalid_simple)
        assert error.supervisor_id == "sup"


def test_dynamic_ids_are_never_reused() -> None:
    template = ChildTemplate("worker", args=("t",), restart="temporary")
    b = bench("simple_one_for_one", child_template=template).begin()
    b.start_child([1])
    b.start_child([2])
    b.terminate("child_2")
    b.start_child([3])
    assert b.ids == ["child_1", "child_3"]
    assert b.info("child_3").spec.args == ("t", 3)


def test_case_74_a_template_child_that_ignores_its_restart_is_removed() -> None:
    b = bench("simple_one_for_one").begin()
    b.start_child([])
    b.plan("child_1", "ok", "ok", "ignore")
    for _ in range(3):
        b.crash("child_1")
    assert b.ids == []
    assert b.finish is None


def test_case_62_a_static_child_that_ignores_its_restart_is_kept() -> None:
    b = bench("one_for_one", "a").begin().plan("a", "ignore")
    b.crash("a")
    assert b.status == {"a": "ignored"}


def test_a_silent_host_leaves_the_child_unconfirmed() -> None:
    """Rule D3: the caller hears unknown, the id stays taken until the host confirms."""
    b = bench("one_for_one").begin().plan("a", "unknown")
    error = b.answers[b.start_child(spec("a"))].error
    assert isinstance(error, e.ChildStartError)
    assert error.outcome == "unknown"
    assert b.status == {"a": "pending"}
    assert "unconfirmed" in b.machine.explain("a")
    assert isinstance(b.answers[b.start_child(spec("a"))].error, e.DuplicateChildError)
    b.release("a", "ok")
    assert b.status == {"a": "running"}
    assert b.told("child_started") == [("child_started", "a")]


@pytest.mark.parametrize("late", ["init", "no_node", "node_lost"])
def test_an_unconfirmed_start_child_that_failed_after_all_leaves_nothing(late: str) -> None:
    b = bench("one_for_one").begin().plan("a", "unknown")
    b.start_child(spec("a"))
    b.release("a", late)
    assert b.ids == []
    assert b.told("child_stopped") == [("child_stopped", "a")]


def test_an_unconfirmed_child_whose_host_leaves_the_view_is_placed_elsewhere() -> None:
    b = bench("one_for_one").begin().plan("a", "unknown")
    b.start_child(spec("a"))
    b.flying.clear()
    b.lose(HOME)
    assert b.status == {"a": "running"}
    assert b.told("child_migrated") == [("child_migrated", "a")]


def test_terminate_of_an_unconfirmed_child_waits_until_its_host_has_barred_it() -> None:
    b = bench("one_for_one").begin().plan("a", "unknown")
    b.start_child(spec("a"))
    b.held_stops.add("a")
    request = b.terminate("a")
    assert request not in b.answers
    b.held_stops.clear()
    (stop,) = b.stopping.values()
    assert stop.ref is None
    b.feed(ChildGone("a", stop.generation, "shutdown"))
    assert b.answers[request].error is None
    assert b.ids == []


def test_a_success_that_nobody_waits_for_is_stopped() -> None:
    b = bench("one_for_one", "a").begin()
    old = b.ref("a").generation
    b.crash("a")
    b.forget().feed(StartSucceeded("a", old, FakeRef("a", old, HOME), HOME, 1.0))
    assert b.story == [("stop", "a")]
    assert b.status == {"a": "running"}


def test_an_end_that_is_seen_before_the_start_counts_as_an_end() -> None:
    b = bench("one_for_one").begin().plan("a", "hold")
    request = b.start_child(spec("a", "transient"))
    (generation,) = (key[1] for key in b.flying)
    b.feed(ChildExited("a", generation, "normal"))
    (action,) = b.flying.values()
    del b.flying["a", generation]
    ref = FakeRef("a", action.generation, HOME)
    b.feed(StartSucceeded("a", generation, ref, HOME, 1.0))
    assert b.answers[request].value == ref
    assert b.ids == []
    assert b.told("child_started", "child_stopped") == [
        ("child_started", "a"),
        ("child_stopped", "a"),
    ]


def test_a_behavior_that_no_node_knows_is_raised_as_it_is() -> None:
    """As the reference says of `start`."""
    for plan_initial in (True, False):
        children = [spec("a")] if plan_initial else []
        b = bench("one_for_one", *children, distributed=True).plan("a", "hold").begin()
        if not plan_initial:
            b.start_child(spec("a"))
        (action,) = b.flying.values()
        b.flying.clear()
        error = e.DistributedBehaviorNotFoundError("worker", HOME)
        b.feed(StartFailed("a", action.generation, error, "no_node"))
        told = b.finish.error if b.finish is not None else b.answers[1].error
        assert told is error
