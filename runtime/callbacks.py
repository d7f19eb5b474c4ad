"""What a GenServer class defines, looked up once per class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from noex.runtime.mailboxes import mailbox_of

OPTIONAL: Final = (
    "handle_call",
    "handle_cast",
    "handle_info",
    "handle_continue",
    "terminate",
    "format_status",
)


Handler = Callable[[Any, Any, Any], Any]
"""``handler(server, message, state)``"""


class Callbacks:
    """Which callbacks a class overrides, and whether a call to it may run inline.

    `handlers`, by the kind of message, stand for the callbacks of a class that needs more than to
    have them called; None for all others.
    """

    __slots__ = (
        "behavior",
        "bound",
        "call_is_plain",
        "cls",
        "handlers",
        "has_info",
        "has_terminate",
    )

    def __init__(self, cls: type, root: type) -> None:
        self.cls = cls
        self.behavior = getattr(cls, "behavior_name", None) or cls.__qualname__
        self.call_is_plain = not inspect.iscoroutinefunction(cls.handle_call)  # type: ignore[attr-defined]
        self.has_terminate = _overrides(cls, root, "terminate")
        self.has_info = _overrides(cls, root, "handle_info")
        self.handlers: tuple[Handler, ...] | None = None
        self.bound = mailbox_of(getattr(cls, "mailbox", None))


def _overrides(cls: type, root: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(root, name)


_known: dict[type, Callbacks] = {}
known_callbacks = _known.get  # of a class that was started before, else None


def callbacks_of(cls: type, root: type) -> Callbacks:
    """The `Callbacks` of a class, from a cache that lives as long as the classes do."""
    found = _known.get(cls)
    if found is None:
        found = _known[cls] = Callbacks(cls, root)
    return found


def is_awaitable(value: Any) -> bool:
    """Whether `value` was probably meant to be awaited."""
    return type(value) not in PLAIN and hasattr(type(value), "__await__")


PLAIN: Final = frozenset({int, str, bytes, float, bool, type(None), tuple, list, dict, set})
"""Types of which no value means anything but itself."""
