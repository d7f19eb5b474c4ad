"""one_for_all and rest_for_one: group restarts (rules 3 to 5)."""

from __future__ import annotations

import pytest
from strategy_bench import Bench, bench, spec

from noex.supervisor import errors as e
from noex.supervisor.strategy_events import PlacementChanged


def starts(*child_ids: str) -> list[tuple[str, str]]:
    return [("start", child_id) for child_id in child_ids]


def stops(*child_ids: str) -> list[tuple[str, str]]:
    return [("stop", child_id) for child_id in child_ids]


def test_case_65_one_for_all_stops_in_reverse_and_starts_in_order() -> None:
    b = bench("one_for_all", "a", "b", "c", "d", most=2).begin().forget()
    b.crash("b")
    assert b.story == [*stops("d", "c", "a"), *starts("a", "b", "c", "d")]
    assert [b.info(c).restart_count for c in "abcd"] == [1, 1, 1, 1]
    assert b.told() == [("child_restarted", c) for c in "abcd"]
    b.crash("a")
    assert b.finish is None
    b.crash("d")
    assert b.finish is not None


def test_case_68_rest_for_one_leaves_the_earlier_ones_alone() -> None:
    b = bench("rest_for_one", "a", "b", "c").begin().forget()
    first = b.ref("a")
    b.crash("b")
    assert b.story == [*stops("c"), *starts("b", "c")]
    assert b.ref("a") == first


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_stops_and_starts_are_one_at_a_time(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c").begin().forget()
    b.held_stops.update("abc")
    b.crash("a")
    assert b.story == stops("c")
    b.release("c")
    assert b.story == stops("c", "b")
    b.plan("a", "hold").plan("b", "hold").release("b")
    assert b.story == [*stops("c", "b"), *starts("a")]
    b.release("a")
    assert b.story == [*stops("c", "b"), *starts("a", "b")]
    b.release("b")
    assert b.story == [*stops("c", "b"), *starts("a", "b", "c")]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_rule_5_two_deaths_in_one_instant_are_one_restart(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c", most=1).begin().forget()
    b.crash("a", "b", "c")
    assert b.finish is None
    assert b.story[-3:] == starts("a", "b", "c")
    assert len(b.machine._core.window.times) == 1


def test_a_member_that_dies_while_others_are_being_stopped_is_absorbed() -> None:
    b = bench("one_for_all", "a", "b", "c", most=1).begin().forget()
    b.held_stops.add("c")
    b.crash("b")
    b.crash("a")
    b.release("c")
    assert b.story == [*stops("c"), *starts("a", "b", "c")]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_cases_58_59_a_child_that_is_not_restarted_touches_no_sibling(
    strategy: str, restart: str
) -> None:
    b = bench(strategy, spec("a", restart), "b", "c").begin().forget()
    b.crash("a", reason="normal" if restart == "transient" else None)
    assert b.story == []
    assert b.ids == ["b", "c"]


def test_temporary_children_are_stopped_for_good_in_a_group_restart() -> None:
    b = bench("one_for_all", "a", spec("x", "temporary"), "b").begin().forget()
    b.crash("a")
    assert b.story == [*stops("b", "x"), *starts("a", "b")]
    assert b.ids == ["a", "b"]
    assert b.told("child_stopped") == [("child_stopped", "x")]


def test_a_transient_member_that_ended_normally_before_its_turn_stays_ended() -> None:
    b = bench("one_for_all", "a", spec("t", "transient"), "c").begin().forget()
    b.held_stops.add("c")
    b.crash("a")
    b.crash("t", reason="normal")
    b.release("c")
    assert b.ids == ["a", "c"]


def test_case_67_one_for_all_begins_anew_when_a_start_fails() -> None:
    b = bench("one_for_all", "a", "b").begin().plan("b", "init").forget()
    b.crash("a")
    assert b.story == [*stops("b"), *starts("a", "b"), *stops("a"), *starts("a", "b")]
    assert b.status == {"a": "running", "b": "running"}
    assert len(b.machine._core.window.times) == 2


def test_case_70_rest_for_one_retries_from_the_failed_child_on() -> None:
    b = bench("rest_for_one", "a", "b", "c").begin().plan("b", "init").forget()
    b.crash("a")
    assert b.story == [*stops("c", "b"), *starts("a", "b"), *starts("b", "c")]
    assert b.info("a").restart_count == 1


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_failed_starts_in_a_group_restart_end_the_supervisor_in_the_end(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c", most=2).begin().plan("b", *["init"] * 5)
    b.crash("c")
    if strategy == "rest_for_one":
        assert b.finish is None
        b.crash("a")
    assert b.finish is not None
    assert b.events[-1].reason == "max_restarts_exceeded"
    assert not b.alive


def waiting(strategy: str) -> Bench:
    """Of a, b, c: the group restart waits for the retry of b."""
    b = bench(strategy, "a", "b", "c", most=9).begin()
    b.hold_retries = True
    b.plan("b", "init").crash("a")
    b.forget()
    return b


def test_case_86_what_the_listing_shows_while_a_group_waits_for_a_retry() -> None:
    assert waiting("rest_for_one").status == {"a": "running", "b": "restarting", "c": "restarting"}
    assert waiting("one_for_all").status == dict.fromkeys("abc", "restarting")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_requests_are_served_while_a_group_waits_for_a_retry(strategy: str) -> None:
    b = waiting(strategy)
    assert b.answers[b.start_child(spec("d"))].error is None
    assert isinstance(b.answers[b.start_child(spec("b"))].error, e.DuplicateChildError)
    assert b.answers[b.terminate("c")].error is None
    b.fire()
    assert b.status == {"a": "running", "b": "running", "d": "running"}
    assert b.ids == ["a", "b", "d"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_terminate_of_the_retried_child_lets_the_others_go_on(strategy: str) -> None:
    b = waiting(strategy)
    assert b.answers[b.terminate("b")].error is None
    assert b.status == {"a": "running", "c": "running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("child_id", ["b", "c"])
def test_restart_child_while_the_group_waits(strategy: str, child_id: str) -> None:
    b = waiting(strategy)
    request = b.restart(child_id)
    b.fire()
    assert b.answers[request].value == b.ref(child_id)
    assert b.status == dict.fromkeys("abc", "running")


def test_a_failed_restart_child_of_the_retried_member_is_not_counted() -> None:
    b = waiting("rest_for_one")
    counted = len(b.machine._core.window.times)
    b.plan("b", "init")
    assert isinstance(b.answers[b.restart("b")].error, e.ChildStartError)
    assert len(b.machine._core.window.times) == counted
    b.fire()
    assert b.status == dict.fromkeys("abc", "running")


def test_case_88_an_earlier_child_dies_while_the_group_waits() -> None:
    b = waiting("rest_for_one")
    b.crash("a")
    assert b.story == starts("a", "b", "c")
    b.fire()
    assert b.status == dict.fromkeys("abc", "running")


def test_backoff_holds_back_the_whole_group() -> None:
    b = bench("one_for_all", "a", spec("b", backoff=2.0), "c", most=9).begin()
    b.plan("b", "init").crash("c")
    b.forget().pass_time(1.0)
    assert b.story == []
    b.pass_time(1.0)
    assert b.story == starts("a", "b", "c")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_requests_wait_while_a_group_stops_and_starts(strategy: str) -> None:
    b = bench(strategy, "a", "b").begin().forget()
    b.held_stops.add("b")
    b.crash("a")
    add, again = b.start_child(spec("c")), b.restart("a")
    assert not b.answers
    b.release("b")
    assert b.answers[add].value == b.ref("c")
    assert b.answers[again].value == b.ref("a")
    assert b.ids == ["a", "b", "c"]


def test_terminate_is_served_in_the_midst_of_a_group_restart() -> None:
    b = bench("one_for_all", "a", "b", "c", "d").begin().forget()
    b.held_stops.add("d")
    b.crash("a")
    assert b.answers[b.terminate("a")].error is None  # it had no process
    b.terminate("c")
    assert b.answers[b.terminate("b")].error is None
    b.release("d")
    assert b.ids == ["d"]
    assert b.story == [*stops("d", "c", "b"), *starts("d")]


def test_a_restarted_member_that_dies_while_later_ones_start_begins_anew() -> None:
    b = bench("one_for_all", "a", "b", "c").begin().plan("c", "hold").forget()
    b.crash("b")
    b.crash("a")
    assert b.canceled == ["c"]
    assert b.status["c"] == "stopping"
    b.release("c")  # it came up all the same: it is stopped first, as the last one
    assert b.story == [
        *stops("c", "a"),
        *starts("a", "b", "c"),
        *stops("c", "b"),
        *starts("a", "b", "c"),
    ]
    assert len(b.machine._core.window.times) == 2


def test_an_earlier_child_that_dies_while_later_ones_start_extends_the_group() -> None:
    b = bench("rest_for_one", "a", "b", "c").begin().plan("b", "hold").forget()
    b.crash("b")
    b.crash("a")
    b.release("b", "init")  # its outcome is not wanted any more, and is not counted
    assert b.story == [*stops("c"), *starts("b"), *starts("a", "b", "c")]
    assert len(b.machine._core.window.times) == 2


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_start_child_that_is_under_way_is_started_in_its_turn(strategy: str) -> None:
    b = bench(strategy, "a").begin().forget().plan("x", "hold")
    request = b.start_child(spec("x", "temporary"))
    b.crash("a")
    assert request not in b.answers
    b.release("x")
    assert b.story == [*starts("x"), *stops("x"), *starts("a", "x")]
    assert b.answers[request].value == b.ref("x")
    assert b.told("child_started") == [("child_started", "x")]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_start_child_whose_turn_in_a_group_fails_leaves_nothing(strategy: str) -> None:
    b = bench(strategy, "a", most=1).begin().forget().plan("x", "hold", "init")
    request = b.start_child(spec("x"))
    b.crash("a")
    b.release("x", "init")
    assert isinstance(b.answers[request].error, e.ChildStartError)
    assert b.status == {"a": "running"}
    assert b.finish is None


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_manual_restart_that_is_under_way_is_taken_over_by_the_group(strategy: str) -> None:
    b = bench(strategy, "a", "b").begin().forget()
    b.held_stops.add("b")
    request = b.restart("b")
    b.crash("a")
    assert b.story == stops("b")
    b.release("b")
    assert b.story == [*stops("b"), *starts("a", "b")]
    assert b.answers[request].value == b.ref("b")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_restart_child_restarts_that_child_alone(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c", most=0).begin().forget()
    b.restart("a")
    assert b.story == [*stops("a"), *starts("a")]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_member_without_a_node_is_pending_and_the_later_ones_wait_for_it(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c", most=1).begin().plan("b", "no_node").forget()
    b.crash("a")
    assert b.status == {"a": "running", "b": "pending", "c": "restarting"}
    assert b.answers[b.start_child(spec("d"))].error is None
    b.plan("b", "no_node").feed(PlacementChanged())
    assert b.told("child_pending") == [("child_pending", "b")]
    b.feed(PlacementChanged())
    assert b.status == dict.fromkeys("abcd", "running")
    assert len(b.machine._core.window.times) == 1


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_silent_host_holds_back_the_later_ones_and_is_never_passed_over(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c").begin().plan("b", "unknown").forget()
    b.crash("a")
    assert b.status == {"a": "running", "b": "pending", "c": "restarting"}
    b.pass_time(60).feed(PlacementChanged())
    assert b.status["b"] == "pending"
    b.release("b")
    assert b.status == dict.fromkeys("abc", "running")


def test_an_ignored_child_is_tried_again_by_the_next_group_restart() -> None:
    b = bench("one_for_all", "a", "b").plan("b", "ignore", "ignore", "ok").begin()
    b.crash("a")
    assert b.status == {"a": "running", "b": "ignored"}
    b.crash("a")
    assert b.status == {"a": "running", "b": "running"}
    assert b.told("child_started") == [("child_started", "a"), ("child_started", "b")]


def test_an_initially_ignored_child_that_then_fails_is_a_failed_restart() -> None:
    b = bench("one_for_all", "a", "b", most=2).plan("b", "ignore", "init", "ok").begin()
    b.crash("a")
    assert b.finish is None
    assert b.status == {"a": "running", "b": "running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_held_child_is_started_by_the_next_group_restart(strategy: str) -> None:
    b = bench(strategy, "a", "b").begin().plan("b", "init")
    b.restart("b")
    assert b.status == {"a": "running", "b": "pending"}
    b.crash("a")
    assert b.status == {"a": "running", "b": "running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_stop_in_the_midst_of_a_group_restart(strategy: str) -> None:
    b = bench(strategy, "a", "b", "c").begin().forget()
    b.held_stops.add("b")
    b.crash("a")
    queued = b.start_child(spec("d"))
    b.stop("shutdown")
    assert isinstance(b.answers[queued].error, e.SupervisorError)
    b.release("b")
    assert b.story == stops("c", "b")
    assert b.finish is not None
    assert b.told("child_stopped") == [("child_stopped", c) for c in "cba"]
