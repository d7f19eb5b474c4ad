"""When the watchdog speaks: samples in, effects out. With a limit of 1 s one is due each 0.5 s."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.runtime.stalls import Ask, Recovered, Sample, StallDetector, Stuck

IDLE = None


class Watched:
    """A detector of which the samples come in time, from a process that runs all the while."""

    def __init__(self, limit: float = 1.0) -> None:
        self.detector = StallDetector(limit)
        self.now = 1000.0
        self.ran = 50.0

    def see(self, holder: int | None, *, answered: float | None = None, **late: Any) -> list[Any]:
        """One more sample: in time, or `late` by `stopped` or by `locked_out` seconds."""
        passed = self.detector.pause + sum(late.values())
        self.now += passed
        self.ran += passed - late.get("stopped", 0.0)
        at = None if answered is None else 1000.0 + answered
        return self.detector.handle(Sample(self.now, self.ran, holder, at))

    def see_all(self, *holders: int | None) -> list[list[Any]]:
        return [self.see(holder) for holder in holders]


def test_an_idle_loop_is_asked_nothing() -> None:
    assert Watched().see_all(*[IDLE] * 50) == [[]] * 50


def test_a_busy_loop_is_asked_once_until_it_answers() -> None:
    watched = Watched()
    assert watched.see_all(1, 2, 3) == [[Ask()], [], []]
    assert watched.see(4, answered=1.9) == [Ask()]
    assert watched.see(IDLE, answered=2.2) == []


def test_one_callback_that_keeps_the_loop_is_stuck_at_the_limit_and_at_each_doubling() -> None:
    watched = Watched()
    said = {i * 0.5: effects for i, effects in enumerate(watched.see_all(*[7] * 20))}
    assert said.pop(0.0) == [Ask()]
    assert {at: effects for at, effects in said.items() if effects} == {
        1.0: [Stuck(1.0)],
        2.0: [Stuck(2.0)],
        4.0: [Stuck(4.0)],
        8.0: [Stuck(8.0)],
    }


def test_the_answer_ends_it_and_gives_the_time() -> None:
    watched = Watched()
    watched.see_all(7, 7, 7)  # from 1000.5 on
    assert watched.see(IDLE, answered=2.25) == [Recovered(1.75)]
    assert watched.see_all(IDLE, 8) == [[], [Ask()]]


def test_nothing_is_recovered_that_was_not_stuck() -> None:
    watched = Watched()
    watched.see_all(7, 7)
    assert watched.see(IDLE, answered=1.1) == []


def test_many_short_callbacks_in_one_turn_are_none_that_is_stuck() -> None:
    # They keep the loop from answering, but no single handler is to be blamed.
    assert Watched().see_all(*range(100)) == [[Ask()], *[[]] * 99]


def test_a_second_one_in_the_same_turn_is_told_apart_from_the_first() -> None:
    watched = Watched()
    watched.see_all(7, 7)
    assert watched.see_all(7, 8, 8, 8) == [[Stuck(1.0)], [Recovered(1.5)], [], [Stuck(1.0)]]


def test_a_loop_that_was_left_is_not_stuck() -> None:
    # Between two runs of a loop the thread does something else, and nobody answers.
    watched = Watched()
    assert watched.see_all(7, *[IDLE] * 20) == [[Ask()], *[[]] * 20]
    assert watched.see_all(9, 9, 9) == [[], [], [Stuck(1.0)]]


def test_the_time_in_which_the_process_was_stopped_does_not_count() -> None:
    watched = Watched()
    watched.see(7)
    assert watched.see(7, stopped=60.0) == []
    assert watched.see(7) == [Stuck(1.0)]


def test_a_stop_in_the_middle_of_a_stall_leaves_the_rest_of_it() -> None:
    watched = Watched()
    watched.see_all(7, 7, 7)
    assert watched.see(7, stopped=60.0) == []
    assert watched.see(7) == [Stuck(2.0)]


def test_who_held_the_interpreter_lock_is_told_at_the_first_look() -> None:
    watched = Watched()
    watched.see(IDLE)
    assert watched.see(7, locked_out=3.0) == [Ask(), Stuck(3.0)]
    watched = Watched()
    watched.see(7)
    assert watched.see(8, locked_out=3.0) == [Stuck(3.0)]


def test_an_idle_loop_after_a_lock_out_is_not_blamed() -> None:
    watched = Watched()
    watched.see(IDLE)
    assert watched.see(IDLE, locked_out=3.0) == []


SIGHTS = st.lists(
    st.tuples(
        st.sampled_from([IDLE, 1, 2]),
        st.booleans(),
        st.sampled_from([{}, {"stopped": 2.0}, {"locked_out": 2.0}]),
    ),
    max_size=40,
)


@given(SIGHTS)
def test_stuck_and_recovered_alternate_and_nothing_shorter_than_the_limit_is_told(
    sights: list[tuple[int | None, bool, dict[str, float]]],
) -> None:
    watched, open_incident, asked = Watched(), False, False
    for holder, answers, late in sights:
        at = watched.now - 1000.0 if answers and asked else None
        asked = asked and at is None
        for effect in watched.see(holder, answered=at, **late):
            if isinstance(effect, Recovered):
                assert open_incident
                open_incident = False
            elif isinstance(effect, Stuck):
                assert effect.seconds >= 1.0 and holder is not IDLE
                open_incident = True
            else:
                assert not asked
                asked = True
        assert open_incident == watched.detector.is_reported


@pytest.mark.parametrize("limit", [0.000001, 0.5, 10.0])
def test_it_looks_twice_per_limit_but_never_all_the_time(limit: float) -> None:
    assert StallDetector(limit).pause == max(limit / 2, 0.005)
