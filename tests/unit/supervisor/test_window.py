"""Restart intensity (rule 2)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from noex.supervisor.spec import RestartIntensity
from noex.supervisor.window import RestartWindow


def test_exactly_max_restarts_fit() -> None:
    window = RestartWindow(RestartIntensity(3, 5.0))
    assert [window.admit(1.0) for _ in range(4)] == [True, True, True, False]


def test_case_77_zero_admits_nothing() -> None:
    assert not RestartWindow(RestartIntensity(0, 5.0)).admit(1.0)


def test_case_80_the_boundary_of_the_window_belongs_to_it() -> None:
    window = RestartWindow(RestartIntensity(1, 5.0))
    assert window.admit(0.0)
    assert not window.admit(5.0)
    assert window.admit(5.0001)


def test_case_76_restarts_further_apart_than_the_window_go_on_for_ever() -> None:
    window = RestartWindow(RestartIntensity(1, 1.0))
    assert all(window.admit(2.0 * n) for n in range(100))
    assert len(window.times) == 1


@given(
    st.integers(0, 4),
    st.integers(1, 5),
    st.lists(st.integers(0, 3), max_size=40),
)
def test_admits_as_the_definition_says(most: int, within: int, steps: list[int]) -> None:
    window = RestartWindow(RestartIntensity(most, within))
    now, admitted = 0, list[int]()
    for step in steps:
        now += step
        expected = sum(1 for t in admitted if t >= now - within) < most
        assert window.admit(now) is expected
        if expected:
            admitted.append(now)
