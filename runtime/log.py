"""The library's log: structlog events over the standard logger ``noex``.

noex never configures logging; a program sees these records like any others. The message is one
readable line, with a stack below it if there is one; the event as a dictionary rides along in
``record.noex`` for a JSON formatter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog


def _to_record(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    exc_info = event.pop("exc_info", None)
    name = event.get("event", "")
    stack = event.get("stack")
    below = stack if isinstance(stack, list | tuple) else ()
    apart = ("event", "stack") if below else ("event",)
    details = " ".join(f"{key}={value!r}" for key, value in event.items() if key not in apart)
    line = f"{name} {details}" if details else str(name)
    line += "".join(f"\n  {frame}" for frame in below)
    # Without arguments `logging` does not look for "%" in the line.
    return (line,), {"extra": {"noex": dict(event)}, "exc_info": exc_info}


def get_logger(**bound: Any) -> Any:
    """A structlog logger over ``logging.getLogger("noex")`` with `bound` values."""
    return structlog.wrap_logger(
        logging.getLogger("noex"),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
    ).bind(**bound)


class Throttle:
    """Lets one event per key and period through, so that a flood of faults is one log line.

    Where strangers choose the keys (by the names that they give themselves), the events of one
    `kind` are bounded together: `most` per period.
    """

    def __init__(
        self,
        period: float = 60.0,
        keys: int = 1024,
        now: Callable[[], float] = time.monotonic,
        most: int = 5,
    ) -> None:
        self._period, self._keys, self._now, self._most = period, keys, now, most
        self._last: dict[Any, float] = {}
        self._kinds: dict[str, list[float]] = {}

    def allows(self, key: Any, kind: str | None = None) -> bool:
        """Whether an event of this key, and of this kind, may be logged now."""
        now = self._now()
        if now - self._last.get(key, -1e18) < self._period:
            return False
        if kind is not None and not self._has_room(kind, now):
            return False
        if len(self._last) >= self._keys:
            self._last.clear()
        self._last[key] = now
        return True

    def _has_room(self, kind: str, now: float) -> bool:
        logged = [at for at in self._kinds.get(kind, ()) if now - at < self._period]
        if len(logged) < self._most:
            self._kinds[kind] = [*logged, now]
            return True
        return False
