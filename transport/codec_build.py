"""Decoding the tagged form: from arrays back to values.

msgpack calls the hook for every array as soon as it is complete, innermost first; its tag says
which of the functions here makes the value. They get what a stranger may have written, so each
checks what it takes; an exception of any class means the bytes were no valid message.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, Flag
from typing import Any

from noex.transport import codec_exceptions
from noex.transport.codec_errors import DecodeError, UnknownTypeError
from noex.transport.codec_tags import Tag
from noex.transport.extensions import LOADS, checked, sized
from noex.transport.message import known, plan_named

Hook = Callable[[list[Any]], Any]


def hook_for(load_ref: Callable[..., Any] | None) -> Hook:
    """The list hook of one codec."""
    table: dict[int, Hook] = {
        Tag.LIST: _list,
        Tag.TUPLE: lambda items: tuple(items[1:]),
        Tag.SET: lambda items: set(items[1:]),
        Tag.FROZENSET: lambda items: frozenset(items[1:]),
        Tag.DICT: _dict,
        Tag.ENUM: _enum,
        Tag.FLAG: _flag,
        Tag.OBJECT: _object,
        Tag.ERROR: codec_exceptions.load,
        Tag.REF: _ref_loader(load_ref),
        **LOADS,
    }

    def built(items: list[Any]) -> Any:
        return table[items[0]](items)

    return built


def _list(items: list[Any]) -> list[Any]:
    del items[0]
    return items


def _dict(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[1::2], items[2::2], strict=True))


def _enum_class(name: Any, parent: type) -> Any:
    cls = known(checked(name, str))
    if cls is None or not issubclass(cls, parent):
        raise UnknownTypeError(name)
    return cls


def _enum(items: list[Any]) -> Any:
    name, member = sized(items, 2)
    found = _enum_class(name, Enum)._member_map_.get(checked(member, str))
    if found is None:
        raise UnknownTypeError(f"{name}.{member}", "the Enum has no such member here")
    return found


def _flag(items: list[Any]) -> Any:
    name, value = sized(items, 2)
    return _enum_class(name, Flag)(checked(value, int))


def _object(items: list[Any]) -> Any:
    _, name, values = items
    plan = plan_named(name)
    if plan is None:
        raise UnknownTypeError(checked(name, str))
    return plan.rebuild(checked(values, dict))


def _ref_loader(load_ref: Callable[..., Any] | None) -> Hook:
    def load(items: list[Any]) -> Any:
        casts = items[5:]
        node_id, incarnation, serial, name = sized(items[:5], 4)
        if load_ref is None:
            raise UnknownTypeError("a Ref", "this codec was made without RefHooks")
        checked(node_id, str)
        checked(incarnation, int)
        checked(serial, int)
        checked(name, str, type(None))
        for cast in casts:
            checked(cast, str)
        return load_ref(node_id, incarnation, serial, name, *casts)

    return load


def refuse_extension(code: int, data: bytes) -> Any:
    """No extension type occurs in a message."""
    raise DecodeError(f"an extension of type {code}")
