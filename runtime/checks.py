"""Wrong arguments: each raises `InvalidOptionError`, with the parameter and what is legal.

They are checked where they are given, before anything is done about them: a mistake costs the
caller an error, and nobody else anything.
"""

from __future__ import annotations

import math
from inspect import iscoroutinefunction
from typing import Any, Final

from noex.runtime.errors import InvalidOptionError

MAX_NAME: Final = 256
_WAIT: Final = "seconds above 0, or None for no limit"
_PATIENCE: Final = "seconds, 0 or more, or None for no limit"


def is_time(value: object) -> bool:
    """Whether `value` is a number that can be added to a clock: no bool, no NaN, no huge int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


def check_timeout(timeout: Any, field: str = "timeout") -> None:
    """How long somebody waits for an answer: above 0, and infinity is no limit."""
    if timeout is not None and not (is_time(timeout) and timeout > 0):
        raise InvalidOptionError(field, timeout, _WAIT)


def check_patience(timeout: Any, field: str = "timeout") -> None:
    """How long somebody waits for an event: 0 looks whether it has happened already."""
    if timeout is not None and not (is_time(timeout) and timeout >= 0):
        raise InvalidOptionError(field, timeout, _PATIENCE)


def check_limit(seconds: Any, field: str, *, optional: bool = False) -> None:
    """A time limit; `optional`: None does without."""
    if seconds is None and optional:
        return
    if not (is_time(seconds) and 0 < seconds < math.inf):
        legal = "seconds above 0, or None" if optional else "seconds above 0"
        raise InvalidOptionError(field, seconds, legal)


def check_count(count: Any, field: str, least: int = 1) -> None:
    """A number of things."""
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise InvalidOptionError(field, count, f"an int, {least} or more")


def check_delay(seconds: Any, field: str) -> None:
    """A time from now."""
    if not (is_time(seconds) and 0 <= seconds < math.inf):
        raise InvalidOptionError(field, seconds, "seconds, 0 or more")


def check_name(name: Any, field: str = "name") -> None:
    """A name: of a process, a child, a supervisor."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise InvalidOptionError(field, name, f"a string of 1 to {MAX_NAME} characters")


def check_flag(value: Any, field: str) -> None:
    """Yes or no, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise InvalidOptionError(field, value, "True or False")


def check_handler(handler: Any, field: str = "handler") -> None:
    """Something that is called, and is done when it returns."""
    if not callable(handler):
        raise InvalidOptionError(field, handler, "a function")
    if iscoroutinefunction(handler):
        raise InvalidOptionError(field, handler, "a plain `def` function: nobody awaits it")
