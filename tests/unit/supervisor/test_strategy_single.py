"""one_for_one and simple_one_for_one: restart types, intensity, retries, requests in between."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_bench import Bench, Crash, bench, spec

from noex.supervisor import errors as e
from noex.supervisor.strategy_events import RetryDue

ORDERLY = ["normal", "shutdown", ("shutdown", "x")]
ABNORMAL: list[Any] = ["killed", "noproc", ("shutdown",), ("shutdown", 1, 2), 7, None, Crash("c")]


@pytest.mark.parametrize("reason", [*ORDERLY, *ABNORMAL], ids=repr)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_cases_49_to_56_restart_types(restart: str, reason: Any) -> None:
    b = bench("one_for_one", spec("a", restart), "b").begin()
    other = b.ref("b")
    restarted = restart == "permanent" or (restart == "transient" and reason not in ORDERLY)
    b.crash("a", reason=reason if reason is not None else "None")
    assert ("a" in b.ids) is restarted
    assert b.told("child_restarted", "child_stopped") == [
        ("child_restarted" if restarted else "child_stopped", "a")
    ]
    assert b.ref("b") == other


def test_only_the_failed_child_is_restarted() -> None:
    b = bench("one_for_one", "a", "b", "c").begin().forget()
    b.crash("b")
    assert b.story == [("start", "b")]
    assert [b.info(c).restart_count for c in "abc"] == [0, 1, 0]


def test_rule_5_two_deaths_in_one_instant_are_two_restarts() -> None:
    b = bench("one_for_one", "a", "b", most=1).begin()
    b.crash("a", "b")
    assert b.finish is not None
    b = bench("one_for_one", "a", "b", most=2).begin()
    b.crash("a", "b")
    assert b.status == {"a": "running", "b": "running"}
    assert b.machine.stats(0).total_restarts == 2


@pytest.mark.parametrize("most", [0, 1, 3])
def test_cases_71_77_one_restart_too_many_ends_the_supervisor(most: int) -> None:
    b = bench("one_for_one", "a", "b", most=most).begin()
    for _ in range(most):
        b.crash("a")
    assert b.finish is None
    b.forget().crash("a")
    assert b.story == [("stop", "b")]
    assert b.finish is not None
    kind, error = b.finish.reason
    assert kind == "shutdown"
    assert isinstance(error, e.MaxRestartsExceededError)
    assert (error.max_restarts, error.within) == (most, 5.0)
    assert b.events[-1].reason == "max_restarts_exceeded"


def test_a_distributed_supervisor_gives_up_with_its_own_error() -> None:
    b = bench("one_for_one", "a", most=0, distributed=True).begin()
    b.crash("a")
    assert b.finish is not None
    assert isinstance(b.finish.reason[1], e.DistributedMaxRestartsExceededError)


def test_case_76_restarts_further_apart_than_the_window() -> None:
    b = bench("one_for_one", "a", most=1, within=1.0).begin()
    for _ in range(4):
        b.now += 2.0
        b.crash("a")
    assert b.finish is None
    assert b.info("a").restart_count == 4


@pytest.mark.parametrize(("gap", "ends"), [(5.0, True), (5.001, False)])
def test_case_80_the_window_boundary(gap: float, ends: bool) -> None:
    b = bench("one_for_one", "a", most=1, within=5.0).begin()
    b.crash("a")
    b.now += gap
    b.crash("a")
    assert (b.finish is not None) is ends


def test_case_82_a_permanent_child_that_ends_normally_uses_up_intensity() -> None:
    b = bench("one_for_one", "a", most=1).begin()
    b.crash("a", reason="normal")
    b.crash("a", reason="normal")
    assert b.finish is not None


@pytest.mark.parametrize(("most", "survives"), [(3, True), (2, False)])
def test_case_79_each_failed_attempt_counts(most: int, survives: bool) -> None:
    b = bench("one_for_one", "a", most=most, within=60).begin().plan("a", "init", "init", "ok")
    b.crash("a")
    assert (b.finish is None) is survives
    if survives:
        assert b.info("a").restart_count == 1
        b.crash("a")
        assert b.finish is not None


def test_case_83_a_second_attempt_works() -> None:
    b = bench("one_for_one", "a", most=2).begin().plan("a", "init")
    b.forget().crash("a")
    assert b.story == [("start", "a"), ("start", "a")]
    assert b.status == {"a": "running"}


def test_case_64_a_start_that_always_fails_ends_the_supervisor_and_its_siblings() -> None:
    b = bench("one_for_one", "a", "b", most=4).begin().plan("a", *["init"] * 9)
    b.forget().crash("a")
    assert b.story == [*[("start", "a")] * 4, ("stop", "b")]
    assert b.finish is not None


def test_a_retry_goes_through_the_mailbox() -> None:
    """Rule 4: what is in the mailbox already comes before the next attempt."""
    b = bench("one_for_one", "a").begin().plan("a", "init")
    b.hold_retries = True
    b.crash("a")
    assert b.status == {"a": "restarting"}
    assert b.answers[b.start_child(spec("b"))].error is None
    ((due, retry),) = b.timers
    assert (due, retry.delay) == (b.now, 0.0)
    b.fire()
    assert b.status == {"a": "running", "b": "running"}


def test_backoff_delays_the_retry_alone() -> None:
    b = bench("one_for_one", spec("a", backoff=2.0), most=9).begin().plan("a", "init")
    b.forget().crash("a")
    assert b.story == [("start", "a")]
    b.pass_time(1.9)
    assert b.status == {"a": "restarting"}
    b.pass_time(0.1)
    assert b.status == {"a": "running"}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_cases_85_104_terminate_cancels_a_retry(strategy: str) -> None:
    b = bench(strategy, "a").begin().plan("a", "init")
    b.hold_retries = True
    b.crash("a")
    request = b.terminate("a")
    assert b.answers[request].error is None
    assert b.ids == []
    b.forget().fire()
    assert b.story == []
    assert b.answers[b.start_child(spec("a"))].error is None


def test_a_stale_retry_is_ignored() -> None:
    b = bench("one_for_one", "a").begin().forget()
    b.feed(RetryDue("a", b.info("a").generation), RetryDue("nobody", 1), RetryDue("a", 99))
    assert b.story == []


def test_a_stop_during_a_retry_loop_does_not_hang() -> None:
    b = bench("one_for_one", "a", "b").begin().plan("a", "init")
    b.hold_retries = True
    b.crash("a")
    b.stop()
    assert b.finish is not None


def test_restarts_are_concurrent() -> None:
    b = bench("one_for_one", "a", "b").begin().plan("a", "hold").plan("b", "hold")
    b.crash("a", "b")
    assert b.status == {"a": "restarting", "b": "restarting"}
    b.release("b").release("a")
    assert b.status == {"a": "running", "b": "running"}


def test_rule_13_nothing_is_kept_of_a_temporary_child() -> None:
    b = bench("one_for_one", spec("a", "temporary", args=(b"x" * 99,))).begin()
    b.crash("a")
    assert b.ids == []
    assert b.machine.which("a") is None


def held(status: str, *, restart: str = "permanent") -> Bench:
    """A child `a` in this status, in a one_for_one supervisor."""
    b = bench("one_for_one", spec("a", restart), most=9).begin()
    b.hold_retries = True
    match status:
        case "restarting":
            b.plan("a", "hold").crash("a")
        case "retrying":
            b.plan("a", "init").crash("a")
        case "pending":
            b.plan("a", "no_node").crash("a")
        case "unconfirmed":
            b.plan("a", "unknown").crash("a")
        case "held":
            b.plan("a", "init")
            b.restart("a")
    return b


@pytest.mark.parametrize("status", ["running", "restarting", "retrying", "pending", "held"])
def test_terminate_removes_a_child_in_any_status(status: str) -> None:
    b = held(status)
    request = b.terminate("a")
    if status == "restarting":
        assert b.canceled == ["a"]
        assert request not in b.answers
        assert b.status == {"a": "stopping"}
        b.release("a")  # the start succeeds all the same, and is stopped
        assert b.story[-1] == ("stop", "a")
    assert b.answers[request].error is None
    assert b.ids == []
    assert b.told("child_stopped") == [("child_stopped", "a")]
    assert not b.alive


def test_case_28_terminate_of_an_unknown_child() -> None:
    b = bench("one_for_one", distributed=True).begin()
    error = b.answers[b.terminate("a")].error
    assert isinstance(error, e.DistributedChildNotFoundError)
    assert isinstance(b.answers[b.restart("a")].error, e.DistributedChildNotFoundError)


def test_two_terminates_are_both_answered_when_it_is_gone() -> None:
    b = bench("one_for_one", "a").begin()
    b.held_stops.add("a")
    first, second = b.terminate("a"), b.terminate("a")
    assert not b.answers
    assert isinstance(b.answers[b.restart("a")].error, e.ChildNotFoundError)
    b.release("a")
    assert b.answers[first].error is b.answers[second].error is None


def test_terminate_answers_who_waited_for_the_start() -> None:
    b = bench("one_for_one").begin().plan("a", "hold")
    starter = b.start_child(spec("a"))
    terminator = b.terminate("a")
    b.release("a")
    assert isinstance(b.answers[starter].error, e.ChildStartError)
    assert b.answers[terminator].error is None


@pytest.mark.parametrize("status", ["running", "restarting", "retrying", "pending", "held"])
def test_restart_child_from_any_status(status: str) -> None:
    b = held(status)
    request = b.restart("a")
    if status == "restarting":
        b.release("a")
    assert b.answers[request].value == b.ref("a")
    assert b.info("a").restart_count == 1
    b.fire()
    assert b.info("a").restart_count == 1


def test_restart_child_of_an_unconfirmed_child_first_makes_sure_that_it_is_gone() -> None:
    b = held("unconfirmed")
    b.forget()
    request = b.restart("a")
    assert b.story == [("stop", "a"), ("start", "a")]
    assert b.answers[request].value == b.ref("a")


def test_restart_child_stops_then_starts_and_does_not_count() -> None:
    b = bench("one_for_one", "a", "b", most=0).begin().forget()
    other = b.ref("b")
    request = b.restart("a")
    assert b.story == [("stop", "a"), ("start", "a")]
    assert b.answers[request].value == b.ref("a")
    assert b.ref("b") == other
    assert [b.info(c).restart_count for c in "ab"] == [1, 0]
    assert b.told() == [("child_restarted", "a")]


def test_case_11_a_restart_child_that_fails_is_answered_and_enters_no_retry_loop() -> None:
    b = bench("one_for_one", "a", most=0).begin().plan("a", "init")
    error = b.answers[b.restart("a")].error
    assert isinstance(error, e.ChildStartError)
    assert b.status == {"a": "pending"}
    assert "restart_child failed" in b.machine.explain("a")
    assert not b.timers
    assert b.finish is None
    assert b.answers[b.restart("a")].error is None


def test_restart_child_without_a_node_raises_and_leaves_the_child_pending() -> None:
    """Rule D3."""
    b = bench("one_for_one", "a").begin().plan("a", "no_node")
    error = b.answers[b.restart("a")].error
    assert isinstance(error, e.NoAvailableNodeError)
    assert b.status == {"a": "pending"}
    b.pass_time(1.0)
    assert b.status == {"a": "running"}


def test_a_failed_restart_child_of_a_retrying_child_leaves_the_retry_loop_going() -> None:
    b = held("retrying")
    b.plan("a", "init")
    assert isinstance(b.answers[b.restart("a")].error, e.ChildStartError)
    assert b.status == {"a": "restarting"}
    b.fire()
    assert b.status == {"a": "running"}


def test_two_restart_child_at_once_are_one_restart() -> None:
    b = bench("one_for_one", "a").begin()
    b.held_stops.add("a")
    first, second = b.restart("a"), b.restart("a")
    b.release("a")
    assert b.answers[first].value == b.answers[second].value == b.ref("a")
    assert b.info("a").restart_count == 1


def test_total_restarts_keeps_those_of_removed_children() -> None:
    """Rule D11."""
    b = bench("one_for_one", "a", "b").begin()
    b.crash("a")
    b.restart("b")
    b.terminate("a")
    stats = b.machine.stats(0)
    assert (stats.child_count, stats.total_restarts) == (1, 2)


def test_case_44_the_work_per_child_does_not_grow_with_their_number() -> None:
    """Counted in looks at children, not in seconds."""
    costs = [_lines_run(n) / n for n in (20, 200)]
    assert costs[1] < costs[0] * 3


def _lines_run(children: int) -> int:
    import sys

    b = bench("one_for_one", *[f"c{n}" for n in range(children)])
    b.machine.validate = lambda: None  # type: ignore[method-assign]
    b.alive = _Quick()
    b.flying = _Quick()
    lines = 0

    def trace(frame: Any, kind: str, _: Any) -> Any:
        nonlocal lines
        lines += kind == "line" and "noex" in frame.f_globals["__name__"]
        return trace

    before = sys.gettrace()  # a coverage run traces too, and is to go on
    sys.settrace(trace)
    try:
        b.begin().stop()
    finally:
        sys.settrace(before)
    return lines


class _Quick(dict[Any, Any]):
    """The bench's own looks at everything are not what is measured."""

    def __iter__(self) -> Any:
        return iter(())

    def __bool__(self) -> bool:
        return False
