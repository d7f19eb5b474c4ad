"""How much one message may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from noex.runtime.errors import InvalidOptionError

HARD_DEPTH: Final = 200
"""A level of ours takes at most two of msgpack's, which packs 511 and unpacks 1024."""


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """The bounds of one message, the same for both directions unless said otherwise.

    `max_bytes`: its length on the wire.
    `max_items`: the items of one collection on arrival, of all collections together when sent.
    `max_depth`: how deeply collections may be nested when sent. On arrival the bound is the
    1024 levels of msgpack, so that nodes with different settings understand each other.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_items: int = 8 * 1024 * 1024
    max_depth: int = 100

    def __post_init__(self) -> None:
        self._check("max_bytes", 1 << 31)
        self._check("max_items", 1 << 31)
        self._check("max_depth", HARD_DEPTH)

    def _check(self, field: str, most: int) -> None:
        value = getattr(self, field)
        if type(value) is not int or not 1 <= value <= most:
            raise InvalidOptionError(field, value, f"legal is an int from 1 to {most}")
