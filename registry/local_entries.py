"""What a local registry hands out: entries, and events for its listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from noex.runtime.ref import Ref

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    K = TypeVar("K", default=Any)
    V = TypeVar("V", default=Any)
else:  # only type checkers need the defaults, and only Python 3.13 has them
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")


class RegistryEntry(NamedTuple, Generic[V]):
    """One process under a key, and its value: ``for ref, value in registry.lookup(key)``."""

    ref: Ref[Any]
    value: V


class SelectedEntry(NamedTuple, Generic[K, V]):
    """An entry that `Registry.select` has found, with its key."""

    key: K
    ref: Ref[Any]
    value: V


@dataclass(frozen=True, slots=True)
class Registered:
    """A process is registered now. `registry` is the name of the registry."""

    registry: str
    key: Any
    ref: Ref[Any]
    value: Any
    type: str = "registered"


@dataclass(frozen=True, slots=True)
class Unregistered:
    """An entry is gone: it was unregistered, or its process has ended. `value` was its last one."""

    registry: str
    key: Any
    ref: Ref[Any]
    value: Any
    type: str = "unregistered"


Listener = Callable[[Any], object] | Ref[Any] | str
