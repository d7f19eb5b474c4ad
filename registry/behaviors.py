"""BehaviorRegistry: GenServer classes by name, so that a process can be started by name elsewhere.

Which names a node can run is told to the whole cluster. A node uses the process-wide registry
unless it is given one of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import Any, Concatenate, Final, Generic, NamedTuple, ParamSpec, TypeVar

from noex.runtime.checks import check_handler
from noex.runtime.errors import BehaviorNotFoundError, InvalidOptionError
from noex.runtime.genserver import GenServer

C = TypeVar("C", bound=type[Any])
P = ParamSpec("P")
R = TypeVar("R")
MAX_NAME: Final = 128


class BehaviorStats(NamedTuple):
    """How many behaviors are registered, and under which names."""

    registered: int
    names: tuple[str, ...]


class _Shared(Generic[P, R]):
    """A method that works on an instance, and on the class for the process-wide registry."""

    def __init__(self, function: Callable[Concatenate[BehaviorRegistry, P], R]) -> None:
        self._function = function
        update_wrapper(self, function)  # type: ignore[arg-type]

    def __get__(
        self, instance: BehaviorRegistry | None, owner: type[BehaviorRegistry]
    ) -> Callable[P, R]:
        return partial(self._function, default_behaviors if instance is None else instance)


class BehaviorRegistry:
    """Behaviors by name: what a node can run for others, which name a class and not its code.

    The names of a node are told to the whole cluster, also when they change while it runs; a
    child goes only where its name is known.

    The class itself stands for the process-wide registry, as in
    ``BehaviorRegistry.register("worker", Worker)``; an instance is a registry of its own, for
    ``Node(behaviors=BehaviorRegistry({"worker": Worker}))``.
    """

    def __init__(self, behaviors: Mapping[str, type[Any]] | None = None) -> None:
        self._classes: dict[str, type[Any]] = {}
        self._listeners: dict[int, Callable[[], None]] = {}
        self._tickets = itertools.count()
        if behaviors is not None and not isinstance(behaviors, Mapping):
            raise InvalidOptionError("behaviors", behaviors, "a dict of classes by name, or None")
        for name, cls in (behaviors or {}).items():
            self.register(name, cls)

    @_Shared
    def register(self, name: str, cls: type[Any]) -> None:
        """Make `cls` startable as `name`. Registering the same class again does nothing.

        Raises `InvalidOptionError` when the name is no string of 1 to 128 characters, `cls` is no
        GenServer class, or the name belongs to another class (unregister that first).
        """
        _check_name(name)
        if not (isinstance(cls, type) and issubclass(cls, GenServer)):
            raise InvalidOptionError("behavior", cls, "a subclass of GenServer")
        known = self._classes.get(name)
        if known is cls:
            return
        if known is not None and not _is_same_definition(known, cls):
            raise InvalidOptionError("name", name, f"it belongs to {known.__qualname__} already")
        self._classes[name] = cls
        self._changed()

    @_Shared
    def unregister(self, name: str) -> bool:
        """Forget `name`. Returns whether it was known. Running processes go on."""
        _check_name(name)
        known = self._classes.pop(name, None) is not None
        if known:
            self._changed()
        return known

    @_Shared
    def get(self, name: str, node_id: str = "this node") -> type[Any]:
        """The class registered as `name`.

        Raises `BehaviorNotFoundError`, which names `node_id`, if there is none.
        """
        found = self._classes.get(name) if isinstance(name, str) else None
        if found is None:
            raise BehaviorNotFoundError(name, node_id)
        return found

    @_Shared
    def has(self, name: str) -> bool:
        """Whether `name` is registered."""
        _check_name(name)
        return name in self._classes

    @_Shared
    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted(self._classes))

    @_Shared
    def stats(self) -> BehaviorStats:
        """How many there are, and which."""
        return BehaviorStats(len(self._classes), tuple(sorted(self._classes)))

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change; returns the function that ends this."""
        check_handler(listener, "listener")
        ticket = next(self._tickets)
        self._listeners[ticket] = listener

        def unsubscribe() -> None:
            self._listeners.pop(ticket, None)

        return unsubscribe

    def _changed(self) -> None:
        for listener in list(self._listeners.values()):
            listener()


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise InvalidOptionError("name", name, f"a string of 1 to {MAX_NAME} characters")


def _is_same_definition(old: type[Any], new: type[Any]) -> bool:
    """Whether `new` is `old` defined again (a module that was reloaded, or run twice)."""
    return (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)


default_behaviors: Final = BehaviorRegistry()
"""The process-wide registry."""


def behavior(name: str, *, registry: BehaviorRegistry | None = None) -> Callable[[C], C]:
    """Class decorator: register a GenServer as `name` (see `BehaviorRegistry.register`).

    `registry`: one of its own, instead of the process-wide one. Raises what `register` raises.
    """
    _check_name(name)
    if registry is not None and not isinstance(registry, BehaviorRegistry):
        raise InvalidOptionError("registry", registry, "a BehaviorRegistry, or None")

    def decorate(cls: C) -> C:
        (default_behaviors if registry is None else registry).register(name, cls)
        if cls.__dict__.get("behavior_name") is None:
            cls.behavior_name = name
        return cls

    return decorate
