"""Which classes may travel: `@noex.message`, and how a name leads back to its class.

Dataclasses and NamedTuples travel only when they are registered, on both nodes. Enums and
exceptions also travel when their module is *already imported* on the node that reads them: a name
that a peer sends is looked up, and never imports or runs anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import ModuleType
from typing import Any, Final, TypeVar

from noex.transport.codec_errors import DecodeError

C = TypeVar("C", bound=type)

_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


class Plan:
    """How instances of one registered dataclass or NamedTuple are taken apart and put together."""

    __slots__ = ("cls", "defaults", "fields", "in_dict", "is_tuple", "name")

    def __init__(self, cls: type, name: str) -> None:
        self.cls = cls
        self.name = name
        self.is_tuple = issubclass(cls, tuple)
        self.fields, self.defaults = _named_tuple(cls) if self.is_tuple else _dataclass(cls)
        self.in_dict = cls.__dictoffset__ != 0 and not _has_descriptor(cls, self.fields)

    def rebuild(self, values: dict[str, Any]) -> Any:
        """An instance with these fields: unknown ones ignored, missing ones at their defaults.

        Neither `__init__` nor `__post_init__` runs: what arrives is what was sent.
        """
        found = [values[f] if f in values else self._default(f) for f in self.fields]
        if self.is_tuple:
            return tuple.__new__(self.cls, found)
        made: Any = object.__new__(self.cls)
        if self.in_dict:
            made.__dict__.update(zip(self.fields, found, strict=True))
            return made
        for name, value in zip(self.fields, found, strict=True):
            object.__setattr__(made, name, value)
        return made

    def _default(self, field: str) -> Any:
        make = self.defaults.get(field)
        if make is None:
            raise DecodeError(f"{self.name} came without its field {field!r}, which has no default")
        return make()


_by_name: Final[dict[str, type]] = {}
_names: Final[dict[type, str]] = {}
_plans: Final[dict[type, Plan]] = {}
plan_of: Final[Callable[[type], Plan | None]] = _plans.get
_plans_by_name: Final[dict[str, Plan]] = {}
plan_named: Final[Callable[[str], Plan | None]] = _plans_by_name.get


def message(cls: C) -> C:
    """Lets a dataclass, NamedTuple, Enum or exception travel between nodes.

    It is known by its module and qualified name. Put it above ``@dataclass``::

        @noex.message
        @dataclass(frozen=True, slots=True)
        class Order:
            id: int
            lines: tuple[str, ...] = ()

    A node that knows more fields than the sender fills them with their defaults; one that knows
    fewer ignores the rest. Raises TypeError for any other kind of class.
    """
    return register(cls)


def register(cls: C, name: str | None = None) -> C:
    """Like `message`, optionally under a `name` of its own that does not move with the module."""
    kind = _kind(cls)
    key = name or name_of(cls)
    earlier = _by_name.get(key)
    if earlier is not None and earlier is not cls:
        _plans.pop(earlier, None)  # a reloaded module: the new class takes the name
        _names.pop(earlier, None)
    _plans_by_name.pop(key, None)
    if kind is Plan:
        _plans[cls] = _plans_by_name[key] = Plan(cls, key)
    _by_name[key] = cls
    _names[cls] = key
    return cls


def name_of(cls: type) -> str:
    """The name under which a class travels: ``module:qualname``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def wire_name(cls: type) -> str:
    """The name it was registered under, else the name it has."""
    return _names.get(cls) or name_of(cls)


def known(name: str) -> type | None:
    """The class of this name, if it is registered or its module is already imported.

    Looks into the dictionaries of the module and its classes alone: a `__getattr__` of a module
    could import something, and one of a class could run anything.
    """
    found = _by_name.get(name)
    if found is not None:
        return found
    module, _, qualname = name.partition(":")
    here = _namespace(sys.modules.get(module))
    value: Any = None
    for part in qualname.split("."):
        value = here.get(part)
        if not isinstance(value, type):
            return None
        here = type.__dict__["__dict__"].__get__(value)
    return value if name_of(value) == name else None


def _namespace(module: Any) -> Any:
    if not isinstance(module, ModuleType):
        return {}
    return ModuleType.__getattribute__(module, "__dict__")  # a lazy module would load itself


def _kind(cls: Any) -> type:
    if not isinstance(cls, type):
        raise TypeError(f"@message decorates a class, not {cls!r}")
    if issubclass(cls, Enum):
        return Enum
    if issubclass(cls, BaseException):
        return BaseException
    if _is_named_tuple(cls) or (is_dataclass(cls) and "__dataclass_fields__" in vars(cls)):
        _check_base(cls)
        return Plan
    raise TypeError(
        f"@message takes a dataclass, NamedTuple, Enum or exception, and {cls.__qualname__} is "
        "none (it stands above @dataclass)"
    )


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def _check_base(cls: type) -> None:
    base: Any = cls
    while base.__flags__ & _HEAP_TYPE and base.__base__ is not None:
        base = base.__base__
    if base not in (object, tuple):
        raise TypeError(
            f"{cls.__qualname__} is also a {base.__name__}, whose content would be lost; "
            "hold it in a field instead"
        )


def _named_tuple(cls: Any) -> tuple[tuple[str, ...], dict[str, Callable[[], Any]]]:
    return cls._fields, {name: _always(value) for name, value in cls._field_defaults.items()}


def _dataclass(cls: Any) -> tuple[tuple[str, ...], dict[str, Callable[[], Any]]]:
    defaults: dict[str, Callable[[], Any]] = {}
    for field in fields(cls):
        if field.default is not MISSING:
            defaults[field.name] = _always(field.default)
        elif field.default_factory is not MISSING:
            defaults[field.name] = field.default_factory
    return tuple(field.name for field in fields(cls)), defaults


def _has_descriptor(cls: type, names: tuple[str, ...]) -> bool:
    """Whether a field is kept in a slot, or by a property of the user's."""
    return any(hasattr(vars(base).get(name), "__set__") for base in cls.__mro__ for name in names)


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value
