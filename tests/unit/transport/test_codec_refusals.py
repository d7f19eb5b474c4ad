"""What cannot arrive as it was is refused at the sender, with the path to it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import Enum
from typing import Any, NamedTuple

import msgpack
import pytest

from noex.runtime.errors import InvalidOptionError, MessageSerializationError
from noex.transport.codec import Codec, CodecLimits, message

CODEC = Codec()


class Text(str):
    pass


class Whole(int):
    pass


class Row(NamedTuple):
    a: int


class Connection:
    def __repr__(self) -> str:
        raise RuntimeError("closed")


class Local(tzinfo):
    def utcoffset(self, dt: Any) -> timedelta:
        return timedelta(0)


@message
@dataclass
class Job:
    name: str
    args: Any = ()


@dataclass
class Stranger:
    x: int = 1


def refusal(value: Any, **kwargs: Any) -> MessageSerializationError:
    with pytest.raises(MessageSerializationError) as caught:
        CODEC.encode(value, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [
        Text("x"),
        Whole(1),
        Row(1),
        OrderedDict(a=1),
        deque([1]),
        Stranger(),
        object(),
        Connection(),
        len,
        lambda: None,
        int,
        iter([]),
        range(3),
        ...,
        msgpack.ExtType(1, b"x"),
        msgpack.Timestamp(1),
        datetime(2026, 1, 1, tzinfo=Local()),
    ],
    ids=lambda v: type(v).__name__,
)
def test_it_is_refused_wherever_it_stands(value: Any) -> None:
    assert refusal(value).path == "message"
    assert refusal((1, value)).path == "message[1]"
    assert refusal([[value]]).path == "message[0][0]"
    assert refusal({"k": value}).path == "message['k']"
    assert refusal((1, [2, {"a": (value,)}])).path == "message[1][1]['a'][0]"
    assert refusal([Job("j", value)]).path == "message[0].args"


@pytest.mark.parametrize("value", [Text("x"), Whole(1), Row(1), object()])
def test_a_key_is_refused_with_its_place(value: Any) -> None:
    assert refusal({0: 2, value: 3}).path == "message.keys()[1]"
    assert refusal({(1, value): 3}).path == "message.keys()[0][1]"


def test_an_enum_that_no_name_leads_to_is_refused() -> None:
    class Hidden(Enum):
        A = 1

    assert "Hidden" in refusal(Hidden.A).reason


def test_the_error_names_operation_root_and_cure() -> None:
    error = refusal({"args": (Text("x"),)}, operation="start_child", root="children[2]")
    assert (error.operation, error.path) == ("start_child", "children[2]['args'][0]")
    assert "would arrive as a plain str" in str(error)


def test_a_collection_that_holds_itself_is_refused() -> None:
    once: list[Any] = []
    once.append(once)
    twice: list[Any] = []
    twice += [twice, twice]
    loop: dict[str, Any] = {}
    loop["x"] = (loop, [loop])
    job = Job("j")
    job.args = [job]
    for value in (once, twice, loop, job, (1, once)):
        error = refusal(value)
        assert "holds itself" in error.reason
        assert len(error.path) < 500


def test_a_small_value_that_unfolds_without_end_is_refused() -> None:
    codec = Codec(limits=CodecLimits(max_items=10_000))
    for wrap in (list, tuple):
        value: Any = wrap((1, 2))
        for _ in range(60):
            value = wrap((value, value))
        with pytest.raises(MessageSerializationError, match="max_items"):
            codec.encode(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: [1] * n,
        lambda n: (1,) * n,
        lambda n: dict.fromkeys(range(n)),
        lambda n: (1, (2,) * (n - 2)),
        lambda n: (1, [2] * (n - 2)),
        lambda n: [(1,), [2] * (n - 3)],
        lambda n: set(range(n)),
    ],
)
def test_the_items_of_all_collections_together_have_a_limit(make: Any) -> None:
    codec = Codec(limits=CodecLimits(max_items=1000))
    assert codec.decode(codec.encode(make(1000))) == make(1000)
    for n in (1001, 1100, 100_000):
        with pytest.raises(MessageSerializationError, match="max_items"):
            codec.encode(make(n))


def nested(depth: int, wrap: Any) -> Any:
    value: Any = wrap([])
    for _ in range(depth - 1):
        value = wrap([value])
    return value


@pytest.mark.parametrize(
    "wrap",
    [list, tuple, lambda v: {"k": v}, lambda v: (list(v),), lambda v: Job("j", v)],
    ids=["list", "tuple", "dict", "mixed", "object"],
)
def test_depth_has_a_limit_and_what_is_within_arrives(wrap: Any) -> None:
    value = nested(50, wrap)
    assert CODEC.decode(CODEC.encode(value)) == value
    for depth in (102, 300, 5000):
        assert "max_depth" in refusal(nested(depth, wrap)).reason


def test_the_deepest_setting_still_arrives() -> None:
    codec = Codec(limits=CodecLimits(max_depth=200))
    value = nested(65, lambda v: Job("j", {(1, 2): v}))
    assert codec.decode(codec.encode(value)) == value


def test_size_has_a_limit() -> None:
    codec = Codec(limits=CodecLimits(max_bytes=1000))
    for make in (bytes, bytearray, lambda n: [b"x" * n], lambda n: "x" * n):
        assert codec.decode(codec.encode(make(900))) == make(900)
        with pytest.raises(MessageSerializationError, match="max_bytes is 1000"):
            codec.encode(make(1000))


@pytest.mark.parametrize("field", ["max_bytes", "max_items", "max_depth"])
@pytest.mark.parametrize("value", [0, -1, 1 << 40, 1.5, True, "1"])
def test_limits_are_checked(field: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        CodecLimits(**{field: value})
    assert caught.value.field == field


def test_after_a_refusal_the_codec_goes_on() -> None:
    for value in (object(), [1 << 70, object()], "\ud800" * 3, {"a": [object()]}):
        try:
            CODEC.encode(value)
        except MessageSerializationError:
            pass
        assert CODEC.decode(CODEC.encode(("add", 1))) == ("add", 1)
