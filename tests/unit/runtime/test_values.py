"""Reasons, system messages, the log and its throttle."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from noex.runtime.errors import NoexError, RemoteError
from noex.runtime.log import Throttle, get_logger
from noex.runtime.messages import TIMEOUT, Down
from noex.runtime.reasons import (
    ORPHANED,
    SUPERSEDED,
    is_crash,
    is_orderly,
    is_same,
    is_shutdown,
)
from noex.runtime.returns import UNCHANGED, Ignore, NoReply, Ok, Reply, Stop


class Odd:
    """Compares with nothing."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("reason", "shutdown", "orderly", "crash"),
    [
        ("normal", False, True, False),
        ("shutdown", True, True, False),
        (("shutdown", "why"), True, True, False),
        (("shutdown", Odd()), True, True, False),
        (ORPHANED, True, True, False),
        (SUPERSEDED, True, True, False),
        ("killed", False, False, False),
        ("noproc", False, False, False),
        ("noconnection", False, False, False),
        (("shutdown",), False, False, False),
        (("shutdown", 1, 2), False, False, False),
        (("other", 1), False, False, False),
        (["shutdown", 1], False, False, False),
        (None, False, False, False),
        (Odd(), False, False, False),
        ((Odd(), 1), False, False, False),
        (ValueError("x"), False, False, True),
        (SystemExit(0), False, False, True),
        (NoexError("x"), False, False, True),
    ],
)
def test_what_a_reason_means(reason: Any, shutdown: bool, orderly: bool, crash: bool) -> None:
    assert is_shutdown(reason) is shutdown
    assert is_orderly(reason) is orderly
    assert is_crash(reason) is crash


SAME = Odd()


@pytest.mark.parametrize(
    ("asked", "reason", "same"),
    [
        ("normal", "normal", True),
        ("normal", "shutdown", False),
        ("normal", ("shutdown", "normal"), False),
        (("shutdown", 1), ("shutdown", 1), True),
        (("shutdown", 1), ("shutdown", 2), False),
        (("shutdown", 1), "shutdown", False),
        ("shutdown", ("shutdown", 1), False),
        (SAME, SAME, True),
        (Odd(), Odd(), False),
        ("normal", Odd(), False),
        (("shutdown", SAME), ("shutdown", SAME), True),
        (ValueError("x"), ValueError("x"), True),
        (ValueError("x"), ValueError("y"), False),
        (ValueError("x"), KeyError("x"), False),
        (ValueError("x"), "x", False),
        ("x", ValueError("x"), False),
        (("shutdown", ValueError("x")), ("shutdown", ValueError("x")), True),
        (ValueError("x"), RemoteError("builtins.ValueError", "x"), True),
        (ValueError("x"), RemoteError("builtins.KeyError", "x"), False),
        (ValueError(SAME), ValueError(SAME), True),
        (None, None, True),
        (None, "normal", False),
    ],
)
def test_whether_an_end_is_the_one_that_was_asked_for(asked: Any, reason: Any, same: bool) -> None:
    assert is_same(asked, reason) is same


def test_timeout_is_one_object_that_survives_copies() -> None:
    assert repr(TIMEOUT) == "TIMEOUT" and pickle.loads(pickle.dumps(TIMEOUT)) is TIMEOUT


def test_system_messages_are_values() -> None:
    assert Down(1, 2, "x") == Down(1, 2, "x") != Down(1, 2, "y")
    with pytest.raises(AttributeError):
        Down(1, 2, "x").reason = "y"  # type: ignore[misc]
    match Down(1, 2, "x"):
        case Down(monitor, ref, reason):
            assert (monitor, ref, reason) == (1, 2, "x")


def test_return_values_show_what_they_hold() -> None:
    assert repr(Ok(1)) == "Ok(state=1)" and repr(NoReply()) == "NoReply(state=UNCHANGED)"
    assert repr(Stop("why")) == "Stop('why')" and Stop().reason == "normal"
    assert Reply(1).value == 1 and Reply(1).state is UNCHANGED and Reply(1, 2).state == 2
    assert isinstance(Ignore(), Ignore)


def test_an_event_is_one_line_and_a_dictionary(caplog: Any) -> None:
    get_logger(node="a@h:1").warning("it_happened", count=3, who="x y", share="50%")
    (record,) = caplog.records
    assert record.name == "noex" and record.levelno == logging.WARNING
    assert record.getMessage() == "it_happened node='a@h:1' count=3 who='x y' share='50%'"
    assert record.noex == {
        "event": "it_happened",
        "node": "a@h:1",
        "count": 3,
        "who": "x y",
        "share": "50%",
    }


def test_a_stack_is_shown_below_the_line(caplog: Any) -> None:
    get_logger().warning("it_stands", stack=["a.py:1 in f", "b.py:2 in g"], seconds=1)
    (record,) = caplog.records
    assert record.getMessage() == "it_stands seconds=1\n  a.py:1 in f\n  b.py:2 in g"
    assert record.noex["stack"] == ["a.py:1 in f", "b.py:2 in g"]


def test_an_event_below_the_level_is_not_made(caplog: Any) -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("nobody wants to see this")

    with caplog.at_level(logging.ERROR, "noex"):
        get_logger().info("quiet", value=Costly())
    assert caplog.records == []


def test_an_exception_rides_along(caplog: Any) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        get_logger().exception("it_broke")
    assert caplog.records[0].exc_info[0] is ValueError


def test_the_throttle_lets_one_event_per_key_and_period_through() -> None:
    now = [0.0]
    throttle = Throttle(60.0, keys=3, now=lambda: now[0])
    assert [throttle.allows("a") for _ in range(3)] == [True, False, False]
    assert throttle.allows("b")
    now[0] = 59.9
    assert not throttle.allows("a")
    now[0] = 60.0
    assert throttle.allows("a") and not throttle.allows("a")


def test_the_throttle_has_a_bound() -> None:
    throttle = Throttle(60.0, keys=8, now=lambda: 0.0)
    assert all(throttle.allows(n) for n in range(1000))
    assert len(throttle._last) <= 8


def test_names_that_strangers_make_up_share_what_their_kind_of_event_may_say() -> None:
    now = [0.0]
    throttle = Throttle(60.0, now=lambda: now[0], most=3)
    assert sum(throttle.allows(("stranger", n), "refused") for n in range(100)) == 3
    assert throttle.allows(("stranger", 50), "another event")
    assert throttle.allows(("peer", 1))
    now[0] = 60.0
    assert sum(throttle.allows(("stranger", n), "refused") for n in range(100)) == 3
