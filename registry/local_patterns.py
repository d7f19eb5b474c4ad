"""Keys told apart strictly, and patterns for keys and values.

Python takes 1, 1.0 and True for one dictionary key. A registry does not: keys are the same if
they are equal and of the same type, and so are their parts, as deep as tuples and frozensets go.

In a pattern, ``...`` stands for anything: ``("room", ...)``. A dict matches each dict that has its
items, a tuple or list one of the same length, and anything else what is equal and of its type.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

ANYTHING: Final[Any] = ...


def place_of(key: Any) -> Hashable:
    """What stands for `key` in a dictionary. A string stands for itself, all else has its type."""
    kind = type(key)
    if kind is str:
        return key  # type: ignore[no-any-return]
    if isinstance(key, tuple):
        return (kind, *map(place_of, key))
    if isinstance(key, frozenset):
        return (kind, frozenset(map(place_of, key)))
    return (kind, key)


def is_open(pattern: Any) -> bool:
    """Whether more than one key can match `pattern`."""
    if isinstance(pattern, tuple):
        return any(map(is_open, pattern))
    return pattern is ANYTHING


def matches(pattern: Any, value: Any) -> bool:
    """Whether `value` is what `pattern` describes."""
    if pattern is ANYTHING:
        return True
    if type(pattern) is not type(value):
        return False
    if isinstance(pattern, dict):
        return all(key in value and matches(part, value[key]) for key, part in pattern.items())
    if isinstance(pattern, tuple | list):
        return len(pattern) == len(value) and all(map(matches, pattern, value))
    return pattern is value or bool(pattern == value)
