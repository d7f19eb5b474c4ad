"""Keys compared strictly, and patterns (case 208)."""

from __future__ import annotations

from collections import namedtuple
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.registry.local_patterns import is_open, matches, place_of

Point = namedtuple("Point", "x y")


class Colour(StrEnum):
    RED = "red"


ALIKE = [
    (1, 1.0),
    (1, True),
    (0.0, False),
    ("red", Colour.RED),
    ((1, "a"), (True, "a")),
    (("deep", (1,)), ("deep", (1.0,))),
    (Point(1, 2), (1, 2)),
    (frozenset({1}), frozenset({True})),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_python_takes_for_equal_is_told_apart_by_its_type(one, other) -> None:
    assert one == other and hash(one) == hash(other)
    assert place_of(one) != place_of(other)
    assert not matches(one, other) or isinstance(one, frozenset)


KEYS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "a", b"a"]),
    lambda parts: st.lists(parts, max_size=3).map(tuple) | st.frozensets(parts, max_size=2),
    max_leaves=6,
)


def strictly_equal(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(strictly_equal, one, other))
    if isinstance(one, frozenset):
        return len(one) == len(other) and all(any(strictly_equal(a, b) for b in other) for a in one)
    return one == other


@given(KEYS, KEYS)
def test_two_keys_have_one_place_exactly_if_they_and_all_their_parts_are_the_same(
    one, other
) -> None:
    assert (place_of(one) == place_of(other)) == strictly_equal(one, other)
    assert place_of(one) == place_of(one)


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        (..., None, True),
        (None, None, True),
        (1, 1, True),
        (1, True, False),
        (("room", ...), ("room", 7), True),
        (("room", ...), ("room", 7, 8), False),
        (("room", ...), ["room", 7], False),
        ({"role": "admin"}, {"role": "admin", "since": 3}, True),
        ({"role": "admin"}, {"since": 3}, False),
        ({"role": {"level": ...}}, {"role": {"level": 1, "x": 2}}, True),
        ({}, {"anything": 1}, True),
        ([1, ...], [1, 2], True),
        ([1, ...], [2, 2], False),
        ({1, 2}, {2, 1}, True),
    ],
)
def test_a_pattern_matches_what_it_describes(pattern, value, expected) -> None:
    assert matches(pattern, value) is expected


def test_only_a_pattern_with_an_ellipsis_can_match_several_keys() -> None:
    assert is_open(...) and is_open(("room", ...)) and is_open(("a", ("b", ...)))
    assert not is_open("room") and not is_open(("room", 7)) and not is_open(())
