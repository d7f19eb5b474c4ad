"""A request names the type of its reply. Nothing here is an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_type

from noex import GenServer, Node, Ref, Reply, Request, message

T = TypeVar("T")


class Get(Request[int]):
    """A plain class."""


class Find(Request["Found | None"]):
    """The type of its reply is defined below."""


@message
@dataclass(frozen=True, slots=True)
class Add(Request[str]):
    """A dataclass that travels."""

    amount: int


@dataclass
class Last(Request[T], Generic[T]):
    """The type of its reply depends on what it holds."""

    of: list[T]


@dataclass
class Found:
    """A reply."""

    at: int


class Counter(GenServer[int]):
    """Answers requests, and plain messages, too."""

    def init(self, start: int = 0) -> int:
        return start

    def handle_call(self, message: object, state: int) -> tuple[object, int] | Reply:
        match message:
            case Get():
                return state, state
            case Add(amount=amount):
                return Reply(str(state + amount), state + amount)
            case _:
                return None, state


async def main(node: Node, some: Ref[Any], bare: Ref) -> None:
    ref = await node.start(Counter, 10)
    assert_type(ref, Ref[Counter])
    assert_type(await ref.call(Get()), int)
    assert_type(await ref.call(Get(), timeout=None), int)
    assert_type(await ref.call(Find()), Found | None)
    assert_type(await ref.call(Add(5), timeout=0.5), str)
    assert_type(await ref.call(Last(["a"])), str)
    assert_type(await ref.call(("add", 5)), Any)
    assert_type(await ref.call("get"), Any)
    assert_type(await some.call(Get()), int)
    assert_type(await bare.call(Get()), int)
    assert_type(ref.cast(Add(5)), bool)
    assert_type(ref.send(Add(5)), bool)
