"""What kinds of collection a value holds: decides which of the four forms it is sent in.

This look at the types is what makes the plain forms exact: msgpack itself would pack True as
True but a bytearray as bytes, an IntEnum as an int and a list like a tuple, without a word.
"""

from __future__ import annotations

from typing import Any, Final

from noex.transport.codec_apart import APART_FROM
from noex.transport.codec_tags import ATOMS, FEW, only_atoms

TUPLES: Final = 1
LISTS: Final = 2
OTHER: Final = 4
"""Something beyond atoms, tuples, lists and dicts; or too much or too deep for a quick look."""

Kinds = frozenset[type]


def shape(value: Any, depth: int, items: int, simple: Kinds = ATOMS) -> int:
    """Which of `TUPLES`, `LISTS`, `OTHER` occur in an exact tuple, list or dict.

    `simple` are the types that need no look. Without bytes among them, large ones are `OTHER`.
    """
    return _look(value, depth, [items], simple)


def shape_inside(value: tuple[Any, ...], depth: int, items: int, simple: Kinds = ATOMS) -> int:
    """The same for what a tuple holds, itself not counted."""
    left = items - len(value)
    return OTHER if left < 0 else _look_within(value, depth, [left], simple)


def _look(value: Any, depth: int, left: list[int], simple: Kinds) -> int:
    kind = type(value)
    if kind is bytes:
        return OTHER if len(value) >= APART_FROM else 0
    if kind is dict:
        if not only_atoms(map(type, value)):
            return OTHER
        found, items = 0, value.values()
    elif kind is tuple or kind is list:
        found, items = TUPLES if kind is tuple else LISTS, value
    else:
        return OTHER
    left[0] -= len(value)
    if left[0] < 0 or depth <= 0:
        return OTHER
    if len(value) > FEW and simple.issuperset(map(type, items)):
        return found
    return _look_within(items, depth, left, simple, found)


def _look_within(items: Any, depth: int, left: list[int], simple: Kinds, found: int = 0) -> int:
    for item in items:
        if type(item) not in simple:
            found |= _look(item, depth - 1, left, simple)
            if found >= OTHER:
                break
    return found
