"""The sizes of all tables of a node, to see what grows."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

TABLES = (dict, set, list, deque, OrderedDict)
DEEPEST = 7
# Tables with a bound of their own that remember on purpose, or that are emptied lazily.
BOUNDED = ("._refused", "._heap", "._lost_lives", "._watches", "view.gone", "._throttle._last")


def sizes(root: object) -> dict[str, int]:
    """path -> length, of every table that is reached through objects of the library."""
    return {path: size for path, size in _walk(root, "", set()) if not path.endswith(BOUNDED)}


def _walk(thing: object, path: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    if id(thing) in seen or path.count(".") > DEEPEST:
        return
    seen.add(id(thing))
    if isinstance(thing, TABLES):
        yield path, len(thing)
    elif (type(thing).__module__ or "").startswith("noex"):
        for name in sorted(_fields(thing)):
            yield from _walk(getattr(thing, name, None), f"{path}.{name}", seen)


def _fields(thing: Any) -> set[str]:
    slots = (cls.__dict__.get("__slots__", ()) for cls in type(thing).__mro__)
    named = {name for slot in slots for name in ([slot] if isinstance(slot, str) else slot)}
    return named | set(getattr(thing, "__dict__", {}))


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What is larger than before."""
    return {
        path: (before.get(path, 0), size)
        for path, size in after.items()
        if size > before.get(path, 0)
    }
