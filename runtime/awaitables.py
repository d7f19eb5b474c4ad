"""Values that were probably meant to be awaited."""

from __future__ import annotations

from typing import Any, Final

PLAIN: Final = frozenset({int, str, bytes, float, bool, type(None), tuple, list, dict, set})
"""Types of which no value means anything but itself."""


def is_awaitable(value: Any) -> bool:
    """Whether `value` was probably meant to be awaited."""
    return type(value) not in PLAIN and hasattr(type(value), "__await__")
