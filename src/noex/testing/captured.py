"""capture_events: what noex has told, in the log and to its subscribers, for tests to look at.

::

    with capture_events() as events:
        ...
        await events.wait_for("process_crashed", name="db")
        restarted = await events.wait_for(ChildRestarted, child_id="db")
    assert events.named("zombie") == []

An event of the log is a dictionary, as in ``record.noex``, with its name under ``"event"`` and its
level under ``"level"``; docs/events.md lists them. A lifecycle event is the object itself, from any
supervisor in this operating system process, at the moment of its publication.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from noex.runtime.errors import InvalidOptionError
from noex.supervisor.lifecycle import watch_everywhere
from noex.testing.waiting import Waiters

E = TypeVar("E")
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class _Listener(logging.Handler):
    """Hands on each record of noex, in whatever thread it was logged."""

    def __init__(self, level: int, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(level)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record)


class CapturedEvents:
    """What was told while this was open, in order; see `capture_events`.

    `log`: the events of the log. `lifecycle`: the lifecycle events of supervisors.
    """

    def __init__(self, level: str = "debug") -> None:
        if level not in LEVELS:
            raise InvalidOptionError("level", level, f"legal are {', '.join(LEVELS)}")
        self.log: list[dict[str, Any]] = []
        self.lifecycle: list[Any] = []
        self._waiters = Waiters()
        self._listener = _Listener(LEVELS[level], self._take_record)
        self._logger = logging.getLogger("noex")
        self._level_before = self._logger.level
        self._unsubscribe: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._level_before = self._logger.level
        self._logger.setLevel(min(self._listener.level, self._logger.getEffectiveLevel()))
        self._logger.addHandler(self._listener)
        self._unsubscribe = watch_everywhere(self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self._listener)
        self._logger.setLevel(self._level_before)
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _take_record(self, record: logging.LogRecord) -> None:
        event = getattr(record, "noex", None)
        if isinstance(event, dict):
            self.log.append({**event, "level": record.levelname.lower()})
            self._waiters.changed()

    def _take(self, event: Any) -> None:
        self.lifecycle.append(event)
        self._waiters.changed()

    def clear(self) -> None:
        """Forget what was told so far."""
        self.log.clear()
        self.lifecycle.clear()

    # ------------------------------------------------------------------ looking

    @property
    def names(self) -> list[str]:
        """The names of all events of the log."""
        return [event["event"] for event in self.log]

    @overload
    def named(self, what: str, **fields: Any) -> list[dict[str, Any]]: ...
    @overload
    def named(self, what: type[E], **fields: Any) -> list[E]: ...
    def named(self, what: Any, **fields: Any) -> list[Any]:
        """Events of the log of this name, or lifecycle events of this class, with these fields."""
        if isinstance(what, str):
            wanted = {"event": what, **fields}.items()
            return [each for each in self.log if _has(each, wanted)]
        return [
            each
            for each in self.lifecycle
            if isinstance(each, what)
            and all(getattr(each, name, _NOTHING) == value for name, value in fields.items())
        ]

    @overload
    async def wait_for(
        self, what: str, *, timeout: float = 5.0, count: int = 1, **fields: Any
    ) -> dict[str, Any]: ...
    @overload
    async def wait_for(
        self, what: type[E], *, timeout: float = 5.0, count: int = 1, **fields: Any
    ) -> E: ...
    async def wait_for(
        self, what: Any, *, timeout: float = 5.0, count: int = 1, **fields: Any
    ) -> Any:
        """Wait until `count` such events were told, before or from now on; returns that one.

        `what` and `fields` as for `named`. Raises TimeoutError, which says what was told instead,
        after `timeout` seconds of the loop's time.
        """

        def look() -> Any:
            found = self.named(what, **fields)
            return found[count - 1] if len(found) >= count else None

        def missing() -> str:
            name = what if isinstance(what, str) else what.__name__
            told = [*self.names, *(type(each).__name__ for each in self.lifecycle)]
            return f"{count} of {name} with {fields}; told were {', '.join(told) or 'none'}"

        return await self._waiters.until(look, timeout, missing)


_NOTHING: Final = object()


def _has(event: dict[str, Any], wanted: Any) -> bool:
    return all(event.get(name, _NOTHING) == value for name, value in wanted)


def capture_events(level: str = "debug") -> CapturedEvents:
    """A context manager that collects what noex tells: ``with capture_events() as events``.

    `level`: the least that is taken from the log; the logger ``noex`` lets it through meanwhile.
    """
    return CapturedEvents(level)
