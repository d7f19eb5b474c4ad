"""Node selectors that have a name: ``@selector("geo")``.

A named selector travels with its supervisor's options; a bare callable works only on the node
where it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from noex.runtime.checks import check_handler
from noex.runtime.errors import InvalidOptionError
from noex.supervisor.spec import BUILT_IN_SELECTORS

SelectorFunction = Callable[[Sequence[Any], str], str]
F = TypeVar("F", bound=SelectorFunction)

_registered: Final[dict[str, SelectorFunction]] = {}


def selector(name: str) -> Callable[[F], F]:
    """Register ``function(nodes, child_id) -> node_id`` under `name`.

    `nodes` are the `NodeInfo` of the members that may run the child now, the oldest first. Raises
    `InvalidOptionError` for an empty name, the name of a built-in, or a name that is taken.
    """
    if not isinstance(name, str) or not name or name in BUILT_IN_SELECTORS:
        raise InvalidOptionError("selector", name, "a name that is no built-in selector's")

    def register(function: F) -> F:
        if isinstance(function, type):
            raise InvalidOptionError("selector", function, "a function of (nodes, child_id)")
        check_handler(function, "selector")
        known = _registered.get(name)
        if known is not None and _called(known) != _called(function):
            raise InvalidOptionError("selector", name, f"it belongs to {_called(known)}")
        _registered[name] = function
        return function

    return register


def _called(function: Any) -> str:
    """What a function is called; a `functools.partial` has no name."""
    return getattr(function, "__qualname__", None) or repr(function)


def find_selector(name: str) -> SelectorFunction | None:
    """The function registered as `name`."""
    return _registered.get(name)


def unregister_selector(name: str) -> bool:
    """Forget a named selector. Returns whether it was known."""
    return _registered.pop(name, None) is not None
