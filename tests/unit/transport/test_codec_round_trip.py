"""What is sent arrives as an equal value of the same type, down to the last leaf."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noex.runtime.messages import TIMEOUT, Down, NodeUp
from noex.transport.codec import Codec, message, register


@register
class Colour(Enum):
    RED = "r"
    GREEN = ("g", 1)


@register
class Level(IntEnum):
    LOW = 1
    HIGH = 2


@register
class Mood(StrEnum):
    GOOD = "good"


@register
class Rights(Flag):
    READ = 1
    WRITE = 2


@message
@dataclass(frozen=True, slots=True)
class Order:
    id: int
    lines: tuple[Any, ...] = ()
    extra: dict[Any, Any] = field(default_factory=dict, compare=True, hash=False)


@message
@dataclass
class Checked:
    """Its `__post_init__` would refuse what it is rebuilt from."""

    total: int
    doubled: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.doubled = self.total * 2
        self.total = -1


@message
class Point(NamedTuple):
    x: Any
    y: Any = 0


CODEC = Codec()


def same(a: Any, b: Any) -> bool:
    """Equal and of the same type, at every depth; NaN equals NaN, and -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(x, y) for x, y in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if isinstance(a, datetime | time):
        return a == b and a.fold == b.fold and same(a.tzinfo, b.tzinfo) and repr(a) == repr(b)
    if isinstance(a, memoryview):
        return (a.format, a.shape, a.tobytes()) == (b.format, b.shape, b.tobytes())
    if isinstance(a, Order | Checked):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


def back(value: Any) -> Any:
    return CODEC.decode(CODEC.encode(value))


texts = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]).map(
    ZoneInfo
)
offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
fixed = st.builds(timezone, offsets) | st.builds(timezone, offsets, st.text(max_size=5))
tzinfos = st.none() | zones | fixed | st.just(UTC)
folds = st.integers(0, 1)
datetimes = st.builds(lambda d, tz, f: d.replace(tzinfo=tz, fold=f), st.datetimes(), tzinfos, folds)
times = st.builds(lambda t, tz, f: t.replace(tzinfo=tz, fold=f), st.times(), tzinfos, folds)
parts = st.text(st.characters(exclude_characters="/\0"), max_size=6)
hashables = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 200), 1 << 200)
    | st.floats()
    | texts
    | st.binary(max_size=8)
    | st.complex_numbers()
    | st.decimals().filter(lambda d: not d.is_snan())
    | st.uuids()
    | st.dates()
    | st.timedeltas()
    | datetimes
    | times
    | tzinfos
    | parts.map(PurePosixPath)
    | parts.map(PureWindowsPath)
    | st.sampled_from([*Colour, *Level, *Mood, *Rights, Rights.READ | Rights.WRITE, Rights(0)])
    | st.sampled_from([PurePosixPath("//a"), PureWindowsPath("c:x"), PurePath("/a/../b")])
)
leaves = hashables | st.binary(max_size=8).map(bytearray) | st.binary(max_size=8).map(memoryview)
keys = st.recursive(
    hashables,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.builds(
            Order, st.integers(), st.tuples(inner), st.dictionaries(keys, inner, max_size=2)
        )
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)
plain_atoms = (
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=4)
)
plain = st.recursive(
    plain_atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(plain_atoms, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values)
@example(Decimal("sNaN123"))
@example([Decimal("NaN"), Decimal("-0E+7"), Decimal("Infinity")])
@example({(1, "a"): [1], (): (2,), frozenset({1}): {3}})
def test_any_value_arrives_as_it_was(value: Any) -> None:
    assert same(back(value), value)


@settings(max_examples=150, deadline=None)
@given(plain)
@example(("add", True))
@example([True, 1, 1.0, (1,), [1], {1: (1,)}])
@example(((), [], {}))
@example([()])
@example(([],))
@example({"a": ([],)})
@example({True: 1})
@example((1 << 64, -(1 << 63) - 1, (1 << 64) - 1, -(1 << 63)))
@example("\ud800")
@example(("\udfff", b"\xc1"))
@example(-0.0)
@example(float("nan"))
def test_the_quick_forms_are_exact(value: Any) -> None:
    assert same(back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        memoryview(b"12345678").cast("I"),
        memoryview(b"12345678").cast("B", (2, 4)),
        memoryview(b"12345678")[::2],
        memoryview(bytearray(b"")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        date.max,
        time.max,
        timedelta.min,
        UUID(int=0),
        10**5000,
        -(1 << 2047),
        TIMEOUT,
        NodeUp("a@h:1", 7),
        Down(3, None, ("shutdown", "x")),
        {"k": {1: [Order(1, (Point(1, [2]),))]}},
    ],
    ids=lambda value: type(value).__name__,
)
def test_particular_values_arrive(value: Any) -> None:
    assert same(back(value), value)


def test_the_smaller_pieces_of_a_message_keep_their_types() -> None:
    arrived = back(("call", 7, ("set", [1, True, (1.0,)]), {"k": bytearray(b"x")}))
    assert repr(arrived) == "('call', 7, ('set', [1, True, (1.0,)]), {'k': bytearray(b'x')})"


def test_an_object_arrives_without_running_its_init() -> None:
    sent = Checked(21)
    arrived = back(sent)
    assert (arrived.total, arrived.doubled) == (-1, 42)


def test_order_of_a_dict_is_kept() -> None:
    assert list(back({"b": 1, "a": 2, (1,): 3})) == ["b", "a", (1,)]
    assert list(back({"b": 1, "a": 2})) == ["b", "a"]


def test_a_later_change_of_the_sent_object_does_not_travel() -> None:
    sent = [1, [2]]
    data = CODEC.encode(sent)
    sent[1].append(3)  # type: ignore[attr-defined]
    assert CODEC.decode(data) == [1, [2]]


def test_a_memoryview_can_be_decoded() -> None:
    for value in (("add", 1), [1], (1, [2], (3,))):
        assert same(CODEC.decode(memoryview(CODEC.encode(value))), value)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.binary(max_size=9) | st.floats() | texts | st.integers(), min_size=1))
def test_large_messages_arrive(few: list[Any]) -> None:
    items = few * (10_000 // len(few))
    for value in (items, tuple(items), {"k": items}, (tuple(items), items)):
        assert same(back(value), value)
