"""The host machine: tokens, bars, owners. Random schedules against what must always hold."""

from __future__ import annotations

import random

import pytest

from noex.runtime.reasons import NODE_STOPPED, NOPROC, ORPHANED, SUPERSEDED
from noex.supervisor.host_machine import (
    GONE_ROWS_PER_OWNER,
    CancelStart,
    Child,
    ForgetOwner,
    HostMachine,
    Order,
    Outcome,
    StartProcess,
    StopProcess,
    Tell,
    WatchOwner,
)

ORDER = Order("worker", (1,), {}, 5.0, 10.0)


def child(generation, owner="sup", child_id="c"):
    return Child(owner, child_id, (7, generation))


@pytest.fixture
def host():
    return HostMachine()


@pytest.fixture
def running(host):
    host.spawn_asked("a", child(1), ORDER)
    host.start_ended(child(1), Outcome("started", "ref1"))
    return host


def test_a_spawn_starts_and_is_answered_when_init_has_returned(host):
    assert host.spawn_asked("a", child(1), ORDER) == [
        WatchOwner("sup"),
        StartProcess(child(1), ORDER),
    ]
    assert host.start_ended(child(1), Outcome("started", "ref")) == [
        Tell("a", Outcome("started", "ref"))
    ]


def test_a_repeated_spawn_starts_nothing_and_hears_the_same(host):
    host.spawn_asked("a", child(1), ORDER)
    assert host.spawn_asked("b", child(1), ORDER) == []
    told = host.start_ended(child(1), Outcome("started", "ref"))
    assert told == [Tell("a", Outcome("started", "ref")), Tell("b", Outcome("started", "ref"))]
    assert host.spawn_asked("c", child(1), ORDER) == [Tell("c", Outcome("started", "ref"))]


def test_a_lower_token_is_stale(running):
    assert running.spawn_asked("b", child(0), ORDER) == [Tell("b", Outcome("stale", (7, 1)))]


def test_a_stop_bars_a_spawn_that_comes_late(host):
    assert host.stop_asked("s", child(3), "shutdown", 5.0) == [
        WatchOwner("sup"),
        Tell("s", Outcome("gone", NOPROC)),
    ]
    assert host.spawn_asked("a", child(3), ORDER) == [Tell("a", Outcome("gone", NOPROC))]
    assert host.spawn_asked("a", child(2), ORDER) == [Tell("a", Outcome("stale", (7, 3)))]
    assert StartProcess(child(4), ORDER) in host.spawn_asked("a", child(4), ORDER)


def test_a_stop_is_answered_when_the_process_is_gone(running):
    assert running.stop_asked("s", child(1), "shutdown", 2.0) == [
        StopProcess(child(1), "ref1", "shutdown", 2.0)
    ]
    assert running.process_down(child(1), "shutdown") == [Tell("s", Outcome("gone", "shutdown"))]
    assert running.running == 0


def test_a_stop_during_the_start_cuts_it_short(host):
    host.spawn_asked("a", child(1), ORDER)
    assert host.stop_asked("s", child(1), "shutdown", 5.0) == [CancelStart(child(1))]
    error = RuntimeError("cut short")
    assert host.start_ended(child(1), Outcome("failed", error)) == [
        Tell("a", Outcome("failed", error)),
        Tell("s", Outcome("gone", error)),
    ]


def test_a_start_that_succeeds_after_its_stop_is_ended_and_nobody_is_told_before_it_is_gone(host):
    # Told at once, the owner started the child elsewhere while this one was still ending.
    host.spawn_asked("a", child(1), ORDER)
    host.stop_asked("s", child(1), "shutdown", 5.0)
    assert host.start_ended(child(1), Outcome("started", "ref")) == [
        StopProcess(child(1), "ref", "shutdown", 5.0)
    ]
    assert host.spawn_asked("again", child(1), ORDER) == []
    assert host.process_down(child(1), "shutdown") == [
        Tell(asker, Outcome("gone", "shutdown")) for asker in ("s", "a", "again")
    ]
    assert host.spawn_asked("late", child(1), ORDER) == [Tell("late", Outcome("gone", "shutdown"))]


def test_a_stricter_second_stop_counts(running):
    running.stop_asked("s", child(1), "shutdown", "infinity")
    assert running.stop_asked("t", child(1), "shutdown", "brutal_kill") == [
        StopProcess(child(1), "ref1", "shutdown", "brutal_kill")
    ]
    assert running.stop_asked("u", child(1), "shutdown", 5.0) == []


def test_a_stop_of_a_higher_token_ends_the_lower_and_bars_both(running):
    running.stop_asked("s", child(5), "shutdown", 5.0)
    running.process_down(child(1), "shutdown")
    assert running.spawn_asked("a", child(4), ORDER) == [Tell("a", Outcome("stale", (7, 5)))]


def test_a_newer_token_waits_for_the_end_of_the_older(running):
    newer = running.spawn_asked("b", child(2), ORDER)
    assert newer == [StopProcess(child(1), "ref1", "shutdown", 5.0)]
    assert running.process_down(child(1), "shutdown") == [StartProcess(child(2), ORDER)]


def test_the_children_of_a_dead_owner_end_as_orphans(running):
    assert running.owner_down("sup") == [StopProcess(child(1), "ref1", ORPHANED, 5.0)]
    assert running.spawn_asked("b", child(2), ORDER) == [Tell("b", Outcome("gone", ORPHANED))]
    assert running.process_down(child(1), ORPHANED) == [ForgetOwner("sup")]
    assert running.children() == []


def test_the_end_of_this_life_ends_everything(running):
    running.spawn_asked("x", child(1, owner="other"), ORDER)
    effects = running.life_ended()
    assert StopProcess(child(1), "ref1", SUPERSEDED, 5.0) in effects
    assert CancelStart(child(1, owner="other")) in effects


def test_the_stop_of_the_node_ends_everything_and_says_so(running):
    running.spawn_asked("x", child(1, owner="other"), ORDER)
    effects = running.node_stops()
    assert StopProcess(child(1), "ref1", NODE_STOPPED, 5.0) in effects
    assert CancelStart(child(1, owner="other")) in effects
    late = running.spawn_asked("y", child(2, child_id="late"), ORDER)
    assert late == [Tell("y", Outcome("gone", NODE_STOPPED))]


def test_rows_that_only_bar_are_bounded(host):
    for number in range(GONE_ROWS_PER_OWNER + 50):
        host.stop_asked("s", child(1, child_id=f"c{number}"), "shutdown", 5.0)
    assert len(host.children()) == GONE_ROWS_PER_OWNER


@pytest.mark.parametrize("seed", range(80))
def test_random_schedules_keep_the_promises(seed):
    """At most one token of a child runs at a time; every asker is answered exactly once."""
    rng = random.Random(seed)
    host = HostMachine()
    starting, running, told = set(), set(), {}
    asked = 0

    def carry_out(effects):
        for effect in effects:
            match effect:
                case StartProcess(one, _):
                    rivals = {c for c in starting | running if c[:2] == one[:2]}
                    assert not rivals, f"{one} beside {rivals}"
                    starting.add(one)
                case Tell(asker, _):
                    told[asker] = told.get(asker, 0) + 1
                    assert told[asker] == 1

    def finish_one():
        if starting and (rng.random() < 0.5 or not running):
            one = rng.choice(sorted(starting))
            starting.discard(one)
            verdict = rng.choice(["started", "started", "failed", "ignored"])
            if verdict == "started":
                running.add(one)
            carry_out(host.start_ended(one, Outcome(verdict, "x")))
        elif running:
            one = rng.choice(sorted(running))
            running.discard(one)
            carry_out(host.process_down(one, "down"))

    for _ in range(120):
        one = Child(rng.choice(["s1", "s2"]), rng.choice("ab"), (1, rng.randrange(6)))
        step = rng.random()
        if step < 0.35:
            asked += 1
            carry_out(host.spawn_asked(asked, one, ORDER))
        elif step < 0.6:
            asked += 1
            carry_out(host.stop_asked(asked, one, "shutdown", rng.choice([0, 5.0, "infinity"])))
        elif step < 0.63:
            carry_out(host.owner_down(one.owner))
        else:
            finish_one()
        assert host.running == len(starting | running)
    carry_out(host.life_ended())
    while starting or running:
        finish_one()
    assert len(told) == asked
    assert host.children() == []
