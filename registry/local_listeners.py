"""Who hears what happens in a local registry: processes, by ref or local name, and functions.

An event is told at once, in the turn of whoever caused it: to a process by a message for its
`handle_info`, to a function by a call. What a function itself does to the registry is told after
the event that it is hearing, so everybody hears all events in one order. It runs in the context in
which the registry was made, so it is not taken for the process that caused the event. A function
that raises is logged; neither the registry, nor whoever caused the event, nor the other listeners
suffer.
"""

from __future__ import annotations

import contextvars
import inspect
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from noex.registry.local_entries import Listener, Registered, Unregistered
from noex.runtime.errors import InvalidOptionError
from noex.runtime.ref import Ref

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel

LEGAL = "refs or local names of processes of this node, and plain functions"


class Listeners:
    """The listeners of one registry, in the order in which they were given."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        if isinstance(listeners, str) or not isinstance(listeners, Iterable):
            raise InvalidOptionError("listeners", listeners, f"a list of {LEGAL}")
        self._listeners = tuple(listeners)
        for listener in self._listeners:
            _check(listener)
        self._context = contextvars.copy_context()
        self._queue: deque[Registered | Unregistered] = deque()
        self._telling = False

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def tell(self, kernel: Kernel, event: Registered | Unregistered) -> None:
        """Tell all, after the event that is being told just now."""
        self._queue.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            self._context.run(self._work_off, kernel)
        finally:
            self._telling = False

    def _work_off(self, kernel: Kernel) -> None:
        while self._queue:
            event = self._queue.popleft()
            for listener in self._listeners:
                _tell(kernel, listener, event)


def _check(listener: Any) -> None:
    if isinstance(listener, Ref):
        legal = listener.is_local
    elif isinstance(listener, str):
        legal = bool(listener)
    else:
        legal = callable(listener) and not inspect.iscoroutinefunction(listener)
    if not legal:
        raise InvalidOptionError("listeners", listener, f"legal are {LEGAL}")


def _tell(kernel: Kernel, listener: Listener, event: Registered | Unregistered) -> None:
    if isinstance(listener, Ref):
        listener.send(event)
    elif isinstance(listener, str):
        ref = kernel.whereis(listener)
        if ref is not None:
            ref.send(event)
    else:
        try:
            listener(event)
        except BaseException as error:  # a death in progress must be carried to its end
            _report(kernel, event, error)


def _report(kernel: Kernel, event: Registered | Unregistered, error: BaseException) -> None:
    kernel.log.error(
        "registry_listener_failed",
        registry=event.registry,
        event_type=event.type,
        key=repr(event.key),
        exc_info=(type(error), error, error.__traceback__),
    )
    if isinstance(error, KeyboardInterrupt):  # Ctrl-C goes its own way to the loop
        kernel.interrupted(error)
        kernel.loop.call_soon(_raise, error)


def _raise(error: BaseException) -> NoReturn:
    raise error
