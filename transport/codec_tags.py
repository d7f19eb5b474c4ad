"""The wire form, and the small vocabulary that the halves of the codec share.

A message is msgpack, in one of four forms:

1. *Plain*: bare msgpack. Only None, bool, int (64 bits), float, str, bytes, dict and tuple occur,
   and every array is a tuple. This is what most messages are, and C code does all the work.
2. ``C1 01`` *lists*: the same, but every array is a list.
3. ``C1 02`` *tuple of lists*: the outermost array is a tuple, every other one is a list.
4. ``C1 03`` *tagged*: every array begins with one of the tags below, which says what the rest
   of it is. The reader turns each array into its value as soon as it is complete.

C1 is the one byte that never begins a msgpack value. Tagged arrays take the place of msgpack's
extension types because an extension is packed and unpacked by a call of its own for each value:
a nested tuple costs a microsecond so, and a tenth of that as a tagged array.
"""

from __future__ import annotations

from typing import Any, Final

MARK: Final = 0xC1
LISTS: Final = b"\xc1\x01"
TUPLE_OF_LISTS: Final = b"\xc1\x02"
TAGGED: Final = b"\xc1\x03"

ATOMS: Final[frozenset[type]] = frozenset({type(None), bool, int, float, str, bytes})
"""Types that msgpack itself carries exactly (apart from very large ints and lone surrogates)."""

only_atoms = ATOMS.issuperset

FEW: Final = 8
"""Up to so many items a loop is as quick as `only_atoms` over their types."""


class Tag:
    """The first item of every array in the tagged form."""

    LIST: Final = 0
    TUPLE: Final = 1
    SET: Final = 2
    FROZENSET: Final = 3
    INT: Final = 4
    TEXT: Final = 5
    BYTEARRAY: Final = 6
    MEMORYVIEW: Final = 7
    COMPLEX: Final = 8
    DECIMAL: Final = 9
    UUID: Final = 10
    DATETIME: Final = 11
    DATE: Final = 12
    TIME: Final = 13
    TIMEDELTA: Final = 14
    TIMEZONE: Final = 15
    ZONE: Final = 16
    PATH: Final = 17
    ENUM: Final = 18
    FLAG: Final = 19
    REF: Final = 20  # node id, incarnation, serial, name, then the methods marked `@cast`
    OBJECT: Final = 21
    ERROR: Final = 22
    DICT: Final = 23  # keys and values in turn: some key is more than an atom


class CannotTravel(Exception):
    """A value has no encoding. The steps from the root to it are collected on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []

    def inside(self, step: str) -> None:
        """Notes one step of the path, innermost first."""
        self.steps.append(step)

    def path(self, root: str) -> str:
        """The whole path, with the middle left out where it is very long."""
        steps = self.steps[::-1]
        if len(steps) > 24:
            steps = [*steps[:12], "[...]", *steps[-8:]]
        return root + "".join(steps)


def shown(value: Any, limit: int = 200) -> str:
    """``repr(value)``, bounded, whatever the object's own `__repr__` does."""
    try:
        text = repr(value)
    except Exception:  # the repr of a user's object is a user's code
        text = f"<{type(value).__qualname__} object>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def told(error: BaseException, limit: int = 200) -> str:
    """``str(error)``, bounded, whatever the error's own `__str__` does."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return text if len(text) <= limit else text[: limit - 3] + "..."
