"""Tracing one process: what comes to it, and what it answers.

A traced process has handlers of its own, which tell the hooks of each message before they hand it
on; that they are there is all that tracing costs, and nobody else pays. An answer is told when it
is given (`noex.runtime.calls`), at once or later, so that deferred ones are seen as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from noex.runtime.errors import InvalidOptionError
from noex.runtime.reports import KINDS, report_trace, report_trace_hook_failed
from noex.runtime.states import CALL, CALLBACK_NAMES

if TYPE_CHECKING:
    from noex.runtime.callbacks import Handler
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

Direction = Literal["in", "out"]

_LEGAL: Final = "a function of one TraceEvent, or True for the log"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One message to a traced process, or one answer to a call.

    - `direction`: ``"in"``, before the handler runs; ``"out"``, when the answer is given.
    - `kind`: ``"call"``, ``"cast"``, ``"info"``, ``"continue"``, ``"stop"`` or ``"exit"``.
    - `message`: the message, or the reply (the exception, for a call that fails).
    - `state`: that of the process at this moment, not a copy.
    """

    ref: Ref[Any]
    direction: Direction
    kind: str
    message: Any
    state: Any


Hook = Callable[[TraceEvent], object]


class Tracing:
    """The hooks of one process, by id. It is there as long as there are any."""

    __slots__ = ("hooks", "process", "untraced")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.untraced = process.callbacks
        self.hooks: dict[Hashable, Hook] = {}

    def begin(self) -> None:
        """Put handlers that tell the hooks in front of those of the process."""
        traced = copy.copy(self.untraced)
        traced.handlers = tuple(map(self._handler, range(len(CALLBACK_NAMES))))
        self.process.callbacks = traced
        self.process.tracing = self

    def end(self) -> None:
        """As before."""
        self.process.callbacks = self.untraced
        self.process.tracing = None

    def answered(self, reply: Any) -> None:
        """A call is answered, with `reply` or with an exception."""
        self._tell("out", CALL, reply)

    def _handler(self, kind: int) -> Handler:
        handler = self.process.handler(kind)
        if kind >= len(KINDS):  # what is no message

            def untold(_server: Any, message: Any, state: Any) -> Any:
                return handler(message, state)

            return untold

        def told(_server: Any, message: Any, state: Any) -> Any:
            if kind == CALL:
                caller = self.process.current_caller()
                if caller is not None:  # so that it tells of its answer, whoever gives it
                    self.process.owe(caller)
            self._tell("in", kind, message)
            return handler(message, state)

        return told

    def _tell(self, direction: Direction, kind: int, message: Any) -> None:
        process = self.process
        event = TraceEvent(process.ref, direction, KINDS[kind], message, process.state)
        for key, hook in list(self.hooks.items()):
            try:
                hook(event)
            except (Exception, SystemExit) as error:  # its fault must not become the process's
                report_trace_hook_failed(process, error)
                remove(process, key)


def install(process: Process, hook: Any, key: Any = None) -> None:
    """Have `hook` called with each `TraceEvent`; True is the log. Once for each key."""
    if hook is not True and not callable(hook):
        raise InvalidOptionError("hook", hook, _LEGAL)
    key = hook if key is None else key
    _check_key(key)
    tracing = process.tracing
    if tracing is None:
        tracing = Tracing(process)
        tracing.begin()
    tracing.hooks.setdefault(key, _log_of(process) if hook is True else hook)


def remove(process: Process, key: Any = None) -> None:
    """Undo `install` for this key, or for all (None). One that is not there is no error."""
    tracing = process.tracing
    if tracing is None:
        return
    if key is None:
        tracing.hooks.clear()
    else:
        _check_key(key)
        tracing.hooks.pop(key, None)
    if not tracing.hooks:
        tracing.end()


def _check_key(key: Any) -> None:
    try:
        hash(key)
    except TypeError:
        raise InvalidOptionError("id", key, "something hashable") from None


def _log_of(process: Process) -> Hook:
    def log(event: TraceEvent) -> None:
        report_trace(process, event.direction, event.kind, event.message)

    return log
