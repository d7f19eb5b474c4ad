"""Which classes may travel, and what happens when two nodes know different versions of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import pytest

from noex.runtime.errors import MessageSerializationError
from noex.transport.codec import Codec, DecodeError, UnknownTypeError, message, register
from noex.transport.message import known

CODEC = Codec()
T = TypeVar("T")


def renamed(cls: type) -> type:
    """Gives a class the name that both versions of it have."""
    cls.__module__, cls.__qualname__ = "shop", "Order"
    return cls


@dataclass
class Older:
    id: int
    gone: str = "g"


@dataclass
class Newer:
    id: int
    note: str = "none"
    tags: list[str] = field(default_factory=lambda: ["new"])
    kind: ClassVar[str] = "order"


@dataclass
class Stricter:
    id: int
    must: str


class Row(NamedTuple):
    id: int
    note: str = "row"


def carry(value: Any, to: type) -> Any:
    """Encodes where the name means the class of `value`, decodes where it means `to`."""
    message(renamed(type(value)))
    data = CODEC.encode(value)
    message(renamed(to))
    return CODEC.decode(data)


def test_unknown_fields_are_ignored_and_missing_ones_take_their_defaults() -> None:
    assert carry(Older(1, "x"), Newer) == Newer(1, "none", ["new"])
    assert carry(Newer(2, "n", []), Older) == Older(2, "g")
    assert carry(Older(3), Row) == Row(3, "row")


def test_a_missing_field_without_a_default_is_an_error_that_names_it() -> None:
    with pytest.raises(DecodeError, match="'must'"):
        carry(Older(1), Stricter)


def test_defaults_are_made_anew() -> None:
    first, second = carry(Older(1), Newer), carry(Older(1), Newer)
    assert first.tags is not second.tags


def test_an_instance_of_a_replaced_class_is_refused() -> None:
    message(renamed(Older))
    message(renamed(Newer))
    with pytest.raises(MessageSerializationError):
        CODEC.encode(Older(1))


def test_a_class_not_registered_here_is_an_unknown_type() -> None:
    @message
    @dataclass
    class Brief:
        x: int

    data = CODEC.encode([Brief(1)]).replace(b"Brief", b"Other")
    with pytest.raises(UnknownTypeError) as caught:
        CODEC.decode(data)
    assert caught.value.type_name.endswith("Other")
    assert "@noex.message" in str(caught.value)


def test_an_importable_class_that_is_not_registered_is_not_built() -> None:
    register(Row, "row")
    data = CODEC.encode(Row(1)).replace(b"\xa3row", b"\xb0decimal:DecimalT")
    data = data.replace(b"DecimalT", b"DecimalTuple").replace(b"\xb0dec", b"\xb4dec")
    assert known("decimal:DecimalTuple") is not None
    with pytest.raises(UnknownTypeError, match="DecimalTuple"):
        CODEC.decode(data)


def test_a_name_of_its_own_travels_instead_of_the_module() -> None:
    @dataclass
    class Inner:
        x: int

    assert register(Inner, "inner.v1") is Inner
    assert b"inner.v1" in CODEC.encode(Inner(1))
    assert known("inner.v1") is Inner
    assert CODEC.decode(CODEC.encode(Inner(1))) == Inner(1)


def test_generic_slotted_frozen_and_keyword_dataclasses_travel() -> None:
    @message
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Box(Generic[T]):
        item: T

    assert CODEC.decode(CODEC.encode(Box(item=(1, [2])))) == Box(item=(1, [2]))


def test_slots_of_a_parent_and_properties_are_filled_through_their_descriptors() -> None:
    @dataclass(slots=True)
    class Parent:
        x: int

    @message
    @dataclass
    class Child(Parent):
        y: int

    arrived = CODEC.decode(CODEC.encode(Child(1, 2)))
    assert arrived == Child(1, 2)
    assert vars(arrived) == {"y": 2}


def test_a_name_that_now_means_an_enum_builds_no_object() -> None:
    @dataclass
    class First:
        x: int

    class Second(Enum):
        A = 1

    register(First, "taken")
    data = CODEC.encode(First(1))
    register(Second, "taken")
    with pytest.raises(UnknownTypeError):
        CODEC.decode(data)
    assert CODEC.decode(CODEC.encode(Second.A)) is Second.A


def test_a_field_that_is_not_set_is_refused() -> None:
    @message
    @dataclass
    class Half:
        x: int

    half = Half(1)
    del half.x
    with pytest.raises(MessageSerializationError, match=r"message\[0\]\.x .*not set"):
        CODEC.encode([half])


@pytest.mark.parametrize(
    "make",
    [
        lambda: message(type("Plain", (), {})),
        lambda: message(dataclass(type("Rows", (list,), {}))),
        lambda: message(dataclass(type("Text", (str,), {}))),
        lambda: message(type("Undecorated", (Newer,), {"extra": 1})),
        lambda: message(Newer(1)),  # type: ignore[type-var]
        lambda: message(lambda: None),  # type: ignore[type-var]
        lambda: message(int),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_when_it_is_registered(make: Any) -> None:
    with pytest.raises(TypeError):
        make()


def test_an_enum_of_another_version_is_an_unknown_type() -> None:
    @register
    class Size(Enum):
        SMALL = 1

    data = CODEC.encode(Size.SMALL)
    with pytest.raises(UnknownTypeError, match="no such member"):
        CODEC.decode(data.replace(b"SMALL", b"LARGE"))
    with pytest.raises(UnknownTypeError):
        CODEC.decode(data.replace(b"Size", b"Sise"))


@pytest.mark.parametrize(
    "name",
    ["", ":", "os", "os:", "os:.", "nowhere:X", "os:path", "os:system", "sys:modules", "os:error"],
)
def test_names_that_lead_to_no_class_lead_nowhere(name: str) -> None:
    assert known(name) is None
