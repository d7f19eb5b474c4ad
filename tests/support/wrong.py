"""Wrong arguments, and what a good error says: the parameter, the value, what is legal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from noex.runtime.errors import InvalidValueError

NAN, INF, HUGE = float("nan"), float("inf"), 10**400

NO_TIMES: tuple[Any, ...] = (NAN, -INF, HUGE, -1, -0.5, True, False, "5", b"5", [], object(), int)
"""What is no number of seconds anywhere."""
NO_WAITS = (0, 0.0, *NO_TIMES)
"""What is no time to wait for an answer."""
NO_LIMITS = (None, INF, *NO_WAITS)
"""What is no time limit where there must be one."""
NO_DELAYS = (None, INF, *NO_TIMES)
NO_NAMES: tuple[Any, ...] = (None, "", 5, b"name", ("a", "b"), ["a"], object(), str, "x" * 257)
NO_FLAGS: tuple[Any, ...] = (None, 0, 1, "yes", "", [], object())
NO_REFS: tuple[Any, ...] = (None, "", "name", 5, ("a@127.0.0.1:1", 1, 1), object(), asyncio)
NO_NODE_IDS: tuple[Any, ...] = (
    "",
    "a",
    5,
    b"a@127.0.0.1:1",
    "a@127.0.0.1",
    "a@:1",
    ["x"],
    object(),
)


async def plain() -> None:
    """An `async def` function, where its result or a plain function is wanted."""


class Unshowable:
    """A value whose repr raises: the error about it must still be readable."""

    def __repr__(self) -> str:
        raise RuntimeError("no picture")


def shown(value: Any) -> str:
    """What an error must show of a value."""
    return repr(value)[:150]


def refusal(call: Callable[[], Any], field: str, value: Any, *legal: str) -> None:
    """`call()` must raise an error that names `field`, shows `value` and says what is legal."""
    with pytest.raises(InvalidValueError) as caught:
        call()
    check(caught.value, field, value, *legal)


async def refused(call: Callable[[], Any], field: str, value: Any, *legal: str) -> None:
    """The same for what returns an awaitable."""
    with pytest.raises(InvalidValueError) as caught:
        found = call()
        if asyncio.iscoroutine(found):
            await asyncio.wait_for(found, 5.0)
    check(caught.value, field, value, *legal)


def check(error: InvalidValueError, field: str, value: Any, *legal: str) -> None:
    told = str(error)
    assert field in told, f"{told!r} does not name {field}"
    assert shown(value) in told, f"{told!r} does not show {value!r}"
    for words in legal:
        assert words in told, f"{told!r} does not say {words!r}"
    assert len(told) < 1000


def each(values: tuple[Any, ...]) -> list[Any]:
    """Parameters with short ids."""
    return [pytest.param(value, id=f"{type(value).__name__}-{i}") for i, value in enumerate(values)]


def table(*rows: tuple[str, Any, tuple[Any, ...]]) -> list[Any]:
    """Parameters for a test: one for each value of each row ``(name, call, values)``."""
    return [
        pytest.param(call, value, id=f"{name}-{index}")
        for name, call, values in rows
        for index, value in enumerate(values)
    ]
