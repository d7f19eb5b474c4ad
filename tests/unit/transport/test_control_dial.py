"""When a link is dialled, and what is said about it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from noex.transport.control_dial import (
    SETTLED,
    CloseSocket,
    Dial,
    DialEffect,
    DialEvent,
    DialState,
    EndProbe,
    Lost,
    OpenSocket,
    ProbeAccepted,
    ProbeFailed,
    ProbeRefused,
    ReportDown,
    ReportRefused,
    ReportUp,
    Shaken,
    StartProbe,
    TimePassed,
)

MIN, MAX, TIMEOUT = 0.05, 1.0, 3.0


def make_dial(jitter: float = 1.0, now: float = 0.0) -> Dial:
    return Dial(backoff_min=MIN, backoff_max=MAX, timeout=TIMEOUT, jitter=lambda: jitter, now=now)


def linked(now: float = 0.0) -> Dial:
    dial = make_dial(now=now)
    dial.handle(TimePassed(), now)
    dial.handle(ProbeAccepted(1), now)
    assert dial.handle(Shaken(1), now) == [ReportUp()]
    return dial


def test_a_dial_probes_first_then_opens_then_is_up() -> None:
    dial = make_dial()
    assert dial.handle(TimePassed(), 0.0) == [StartProbe(1)]
    assert dial.handle(ProbeAccepted(1), 0.1) == [OpenSocket(1)]
    assert dial.handle(Shaken(1), 0.2) == [ReportUp()]
    assert dial.state is DialState.UP
    assert dial.due is None


def test_a_refused_probe_is_reported_and_opens_nothing() -> None:
    dial = make_dial()
    dial.handle(TimePassed(), 0.0)
    assert dial.handle(ProbeRefused(1), 0.0) == [ReportRefused()]
    assert dial.state is DialState.WAITING


def test_the_backoff_doubles_up_to_its_cap_for_ever() -> None:
    dial = make_dial()
    now, waits = 0.0, []
    for attempt in range(1, 12):
        assert dial.handle(TimePassed(), now) == [StartProbe(attempt)]
        dial.handle(ProbeRefused(attempt), now)
        assert dial.due is not None
        waits.append(round(dial.due - now, 6))
        now = dial.due
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_jitter_shortens_a_wait_to_half_at_most() -> None:
    dial = make_dial(jitter=0.0)
    dial.handle(TimePassed(), 0.0)
    dial.handle(ProbeRefused(1), 0.0)
    assert dial.due == MIN / 2


def test_a_broken_link_is_reported_and_probed_in_the_same_instant() -> None:
    dial = linked()
    assert dial.handle(Lost(1), 5.0) == [CloseSocket(), ReportDown(), StartProbe(2)]


def test_a_link_that_held_is_opened_again_at_once() -> None:
    dial = linked()
    dial.handle(Lost(1), SETTLED)
    assert dial.handle(ProbeAccepted(2), SETTLED) == [OpenSocket(2)]


def test_a_link_that_broke_young_is_probed_at_once_but_opened_later() -> None:
    dial = linked()
    assert StartProbe(2) in dial.handle(Lost(1), 0.5)
    assert dial.handle(ProbeAccepted(2), 0.5) == []
    assert dial.due == 0.5 + MIN
    assert dial.handle(TimePassed(), dial.due) == [StartProbe(3)]
    assert dial.handle(ProbeAccepted(3), dial.due) == [OpenSocket(3)]


def test_a_peer_that_accepts_and_closes_is_dialled_ever_less_often() -> None:
    dial, now, ups = make_dial(), 0.0, 0
    while now < 60.0:
        effects = dial.handle(TimePassed(), now)
        if effects == [StartProbe(dial.attempt)]:
            effects = dial.handle(ProbeAccepted(dial.attempt), now)
        if effects == [OpenSocket(dial.attempt)]:
            ups += dial.handle(Shaken(dial.attempt), now) == [ReportUp()]
            dial.handle(Lost(dial.attempt), now)
            dial.handle(ProbeAccepted(dial.attempt), now)
        assert dial.due is not None
        now = dial.due
    assert ups < 70


def test_a_link_that_held_resets_the_backoff() -> None:
    dial = make_dial()
    now = 0.0
    for attempt in range(1, 8):
        dial.handle(TimePassed(), now)
        dial.handle(ProbeRefused(attempt), now)
        assert dial.due is not None
        now = dial.due
    dial.handle(TimePassed(), now)
    dial.handle(ProbeAccepted(8), now)
    dial.handle(Shaken(8), now)
    dial.handle(Lost(8), now + SETTLED)
    dial.handle(ProbeRefused(9), now + SETTLED)
    assert dial.due == now + SETTLED + MIN


def test_a_probe_without_an_answer_is_given_up() -> None:
    dial = make_dial()
    dial.handle(TimePassed(), 0.0)
    assert dial.handle(TimePassed(), TIMEOUT - 0.1) == []
    assert dial.handle(TimePassed(), TIMEOUT) == [EndProbe()]
    assert dial.state is DialState.WAITING


def test_a_handshake_without_an_end_is_given_up() -> None:
    dial = make_dial()
    dial.handle(TimePassed(), 0.0)
    dial.handle(ProbeAccepted(1), 0.0)
    assert dial.handle(TimePassed(), TIMEOUT) == [CloseSocket()]
    assert dial.state is DialState.WAITING


def test_a_failed_handshake_reports_nothing() -> None:
    dial = make_dial()
    dial.handle(TimePassed(), 0.0)
    dial.handle(ProbeAccepted(1), 0.0)
    assert dial.handle(Lost(1), 0.1) == [CloseSocket()]


def test_a_probe_that_failed_otherwise_is_no_evidence() -> None:
    dial = make_dial()
    dial.handle(TimePassed(), 0.0)
    assert dial.handle(ProbeFailed(1), 0.0) == []
    assert dial.state is DialState.WAITING


def test_results_of_an_earlier_attempt_are_ignored() -> None:
    dial = linked()
    dial.handle(Lost(1), 5.0)
    for late in (Lost(1), Shaken(1), ProbeAccepted(1), ProbeRefused(1), ProbeFailed(1)):
        assert dial.handle(late, 5.0) == []
    assert dial.state is DialState.PROBING


events = st.sampled_from([TimePassed, ProbeAccepted, ProbeRefused, ProbeFailed, Shaken, Lost])


@settings(deadline=None)
@given(st.lists(st.tuples(events, st.booleans(), st.floats(0, 5)), max_size=60), st.floats(0, 0.99))
def test_any_schedule_keeps_the_invariants(schedule, jitter) -> None:
    dial, now = make_dial(jitter), 0.0
    opened, probing, up, attempts = False, False, False, 0
    for kind, late, delay in schedule:
        now += delay
        event: DialEvent
        event = kind() if kind is TimePassed else kind(dial.attempt - late)
        if kind in (ProbeAccepted, ProbeRefused, ProbeFailed) and not late:
            probing = False  # the shell ends the raw connect itself when it has its result
        for effect in dial.handle(event, now):
            opened, probing, up, attempts = apply(effect, opened, probing, up, attempts)
        assert opened == (dial.state in (DialState.OPENING, DialState.UP))
        assert up == (dial.state is DialState.UP)
        assert (dial.due is None) == (dial.state is DialState.UP)


def apply(
    effect: DialEffect, opened: bool, probing: bool, up: bool, attempts: int
) -> tuple[bool, bool, bool, int]:
    match effect:
        case StartProbe(attempt):
            assert not probing and not opened and attempt > attempts
            return opened, True, up, attempt
        case EndProbe():
            assert probing
            return opened, False, up, attempts
        case OpenSocket(attempt):
            assert not opened and not probing and attempt == attempts
            return True, probing, up, attempts
        case CloseSocket():
            assert opened
            return False, probing, up, attempts
        case ReportUp():
            assert not up
            return opened, probing, True, attempts
        case ReportDown():
            assert up
            return opened, probing, False, attempts
    return opened, probing, up, attempts
