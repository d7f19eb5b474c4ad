"""What a GenServer class defines, looked up once per class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from noex.runtime.blocking import in_threads, is_blocking
from noex.runtime.mailboxes import mailbox_of
from noex.runtime.methods import Methods, methods_of
from noex.runtime.states import CALL, CALLBACK_NAMES, CAST, MESSAGES_PER_SLICE
from noex.runtime.workers import TRUST

Handler = Callable[[Any, Any, Any], Any]
"""``handler(server, message, state)``"""


class Callbacks:
    """Which callbacks a class overrides, and what it has beside them.

    `handlers`, by the kind of message, stand for the callbacks of a class that needs more than to
    have them called; None for all others.
    """

    __slots__ = (
        "behavior",
        "blocking",
        "bound",
        "cls",
        "handlers",
        "has_info",
        "has_terminate",
        "methods",
        "slice",
        "trust",
    )

    def __init__(self, cls: type, root: type) -> None:
        self.cls = cls
        self.behavior = getattr(cls, "behavior_name", None) or cls.__qualname__
        self.has_terminate = _overrides(cls, root, "terminate")
        self.has_info = _overrides(cls, root, "handle_info")
        self.bound = mailbox_of(getattr(cls, "mailbox", None))
        self.slice = MESSAGES_PER_SLICE  # see `noex.runtime.scheduler`
        self.trust = TRUST  # that its coroutines seldom wait; see `noex.runtime.workers`
        self.methods = methods_of(cls, self.behavior)
        self.blocking = is_blocking(cls)
        self.handlers: tuple[Handler, ...] | None = None
        if self.methods is not None:
            self.handlers = _with_methods(self.methods)
        if self.blocking:
            names = () if self.methods is None else tuple(self.methods.functions)
            self.handlers = in_threads(cls, root, self.handlers or _all_looked_up(), names)


def _with_methods(methods: Methods) -> tuple[Handler, ...]:
    handlers = list(_all_looked_up())
    handlers[CALL] = methods.handle_call(handlers[CALL])
    handlers[CAST] = methods.handle_cast(handlers[CAST])
    return tuple(handlers)


def _all_looked_up() -> tuple[Handler, ...]:
    return tuple(_looked_up(name) for name in CALLBACK_NAMES)


def _looked_up(name: str) -> Handler:
    def handle(server: Any, message: Any, state: Any) -> Any:
        return getattr(server, name)(message, state)

    return handle


def _overrides(cls: type, root: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(root, name)


known: dict[type, Callbacks] = {}  # of the classes that were started before


def callbacks_of(cls: type, root: type) -> Callbacks:
    """The `Callbacks` of a class, from a cache that lives as long as the classes do."""
    found = known.get(cls)
    if found is None:
        found = known[cls] = Callbacks(cls, root)
    return found
