"""An exception always travels: as its class where that is known, else as RemoteError."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from types import ModuleType
from typing import Any

import pytest

from noex.runtime import errors
from noex.runtime.errors import (
    CallTimeoutError,
    MessageSerializationError,
    NodeNotReachableError,
    NoexError,
    PortInUseError,
    RemoteError,
    ServerCrashedError,
)
from noex.transport import codec_exceptions
from noex.transport.codec import Codec, register
from noex.transport.codec_errors import DecodeError, UnknownTypeError

CODEC = Codec()


@register
class OrderError(Exception):
    """Its `__init__` has required arguments, and its args are a sentence."""

    made = 0

    def __init__(self, order: int, *, reason: str) -> None:
        type(self).made += 1
        super().__init__(f"order {order}: {reason}")
        self.order = order
        self.reason = reason


@register
class NeverNew(Exception):
    def __new__(cls, *args: Any, **kwargs: Any) -> NeverNew:
        assert kwargs.get("here"), "the class's own __new__ ran on arrival"
        return super().__new__(cls)

    def __init__(self, *args: Any, here: bool = False) -> None:
        super().__init__(*args)


@register
class Fatal(BaseException):
    pass


@register
class Odd(ValueError, OSError):
    pass


class Closed:
    def __repr__(self) -> str:
        return "<Closed connection>"


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@register
class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def back(value: Any) -> Any:
    return CODEC.decode(CODEC.encode(value))


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def sample(cls: type[NoexError]) -> NoexError:
    wanted = list(inspect.signature(cls).parameters.values())
    return cls(*(f"{p.name} {i}" for i, p in enumerate(wanted) if p.kind is not p.VAR_POSITIONAL))


NOEX_ERRORS = [
    cls
    for cls in [*vars(errors).values(), DecodeError, UnknownTypeError]
    if isinstance(cls, type) and issubclass(cls, NoexError)
]


@pytest.mark.parametrize("cls", NOEX_ERRORS)
def test_an_error_of_ours_arrives_as_its_class_with_its_fields(cls: type[NoexError]) -> None:
    sent = sample(cls)
    arrived = back(sent)
    assert type(arrived) is cls
    assert arrived.args == sent.args
    assert vars(arrived) == vars(sent)
    assert str(arrived) == str(sent)


def test_there_are_errors_of_ours_to_try() -> None:
    assert len(NOEX_ERRORS) > 20


def test_errors_within_errors_keep_their_fields() -> None:
    arrived = back(ServerCrashedError("r", CallTimeoutError("q", 0.5)))
    assert isinstance(arrived.reason, CallTimeoutError)
    assert (arrived.reason.ref, arrived.reason.timeout) == ("q", 0.5)
    assert isinstance(arrived.reason, TimeoutError)


def test_those_that_are_also_os_errors_arrive() -> None:
    assert back(NodeNotReachableError("a@h:1")).node_id == "a@h:1"
    arrived = back(PortInUseError("tcp://x"))
    assert isinstance(arrived, OSError)
    assert arrived.address == "tcp://x"


BUILT_IN = [
    ValueError("x", 1),
    KeyError(("a", 1)),
    FileNotFoundError(2, "No such file", "/tmp/x"),
    OSError(2, "No such file", "a", None, "b"),
    OSError(5, "I/O"),
    OSError("just text"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    StopIteration(5),
    StopAsyncIteration(),
    ZeroDivisionError(),
    ModuleNotFoundError("No module named 'x'", name="x", path="/x"),
    AttributeError("no y", name="y", obj=object()),
    NameError("no z", name="z"),
    SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
    TimeoutError(),
    asyncio.InvalidStateError("x"),
    asyncio.IncompleteReadError(b"a", 5),
    json.JSONDecodeError("bad", "doc", 1),
    Odd(1, "x"),
]


@pytest.mark.parametrize("sent", BUILT_IN, ids=lambda e: type(e).__name__)
def test_exceptions_of_python_arrive_with_what_they_hold(sent: Exception) -> None:
    arrived = back(sent)
    assert type(arrived) is type(sent)
    assert arrived.args == sent.args
    assert str(arrived) == str(sent)
    assert vars(arrived) == vars(sent)
    for name in ("errno", "strerror", "filename", "filename2", "name", "path", "value", "lineno"):
        assert getattr(arrived, name, None) == getattr(sent, name, None)


def test_required_arguments_of_init_do_not_matter() -> None:
    sent = OrderError(7, reason="sold out")
    made = OrderError.made
    arrived = back(sent)
    assert OrderError.made == made
    assert type(arrived) is OrderError
    assert (arrived.order, arrived.reason, str(arrived)) == (7, "sold out", "order 7: sold out")


def test_new_of_the_class_does_not_run_on_arrival() -> None:
    assert back(NeverNew("a", here=True)).args == ("a",)


def test_an_argument_that_cannot_travel_arrives_as_its_repr_and_is_noted() -> None:
    sent = ValueError("lost", Closed(), [1, {"k": Closed()}], Unshowable())
    sent.conn = Closed()  # type: ignore[attr-defined]
    arrived = back(sent)
    assert type(arrived) is ValueError
    assert arrived.args[0:2] == ("lost", "<Closed connection>")
    assert arrived.args[3] == "<Unshowable object>"
    assert arrived.conn == "<Closed connection>"  # type: ignore[attr-defined]
    notes = "\n".join(arrived.__notes__)
    for where in ("args[1]", "args[2][1]['k']", "args[3]", "conn"):
        assert f"{where} did not travel" in notes


def test_attributes_travel_under_any_name() -> None:
    sent = ValueError("x")
    vars(sent).update({"größe": (1, [2]), "\ud800": 1, "__class__": "y", "args": 5})
    arrived = back(sent)
    assert vars(arrived) == {"größe": (1, [2]), "__class__": "y", "args": 5}
    assert type(arrived) is ValueError
    assert arrived.args == ("x",)


def test_a_lost_argument_does_not_use_up_the_depth_of_the_next() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    lost: Any = Closed()
    for _ in range(60):
        lost = [lost]
    assert back(ValueError(lost, deep)).args[1] == deep
    cyclic = raised(ValueError(lost), ValueError(lost))
    assert back([cyclic, deep])[1] == deep


def test_many_lost_arguments_make_a_bounded_number_of_notes() -> None:
    arrived = back(ValueError(*[Closed()] * 500))
    assert len(arrived.args) == 500
    assert len(arrived.__notes__) == 32


def test_a_silent_or_broken_exception_travels() -> None:
    assert type(back(raised(Mute(1)))) is Mute
    assert back(raised(Mute(1))).args == (1,)


def test_the_remote_traceback_is_text_in_an_attribute_and_a_note() -> None:
    arrived = back(raised(ValueError("boom")))
    assert "in raised" in arrived.remote_traceback
    assert "ValueError: boom" in arrived.remote_traceback
    assert arrived.__notes__ == ["Remote traceback:\n" + arrived.remote_traceback]
    assert arrived.__traceback__ is None


def test_a_second_journey_adds_no_second_note() -> None:
    sent = raised(ValueError("boom"))
    sent.add_note("mine")
    once, twice = back(sent), back(back(sent))
    assert once.__notes__ == twice.__notes__
    assert once.__notes__[0] == "mine"
    assert "Remote" not in "".join(back(ValueError("never raised")).__dict__)


def test_an_endless_traceback_is_cut() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("x" * 50_000)

    try:
        deep(500)
    except ValueError as error:
        assert len(back(error).remote_traceback) < 20_000


def test_the_cause_travels() -> None:
    arrived = back(raised(OrderError(1, reason="x"), raised(KeyError("k"), OSError(5, "io"))))
    assert type(arrived.__cause__) is KeyError
    assert arrived.__cause__.__cause__.errno == 5
    assert arrived.__suppress_context__


def test_a_cause_that_is_an_argument_travels_once_and_is_that_argument() -> None:
    reason = raised(ValueError("x" * 10_000))
    error = ServerCrashedError("ref", reason)
    assert error.__cause__ is reason
    arrived = back(error)
    assert arrived.__cause__ is arrived.reason and type(arrived.reason) is ValueError
    assert "in raised" in arrived.reason.remote_traceback
    assert len(CODEC.encode(error)) - len(CODEC.encode(reason)) < 3000
    assert back(ServerCrashedError("ref", "killed")).__cause__ is None


@pytest.mark.parametrize("index", [-1, 2, 1 << 70])
def test_a_cause_that_is_no_argument_is_refused(index: int) -> None:
    items = ["builtins:ValueError", "text", ("a", "b"), {}, (), ""]
    assert codec_exceptions.load([None, *items, 1]).__cause__ is None  # it became a text
    with pytest.raises(DecodeError, match="of 2"):
        codec_exceptions.load([None, *items, index])


def test_a_long_chain_of_causes_is_cut_and_a_closed_one_ends() -> None:
    chain: BaseException = ValueError(0)
    for n in range(1000):
        chain = raised(ValueError(n), chain)
    arrived, length = back(chain), 0
    while arrived is not None:
        arrived, length = arrived.__cause__, length + 1
    assert length == 16
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert back(a).__cause__.__cause__ is None


def test_an_exception_within_its_own_args_ends() -> None:
    sent = ValueError("x")
    sent.args = (sent, [sent, sent])
    arrived = back(sent)
    assert type(arrived) is ValueError
    assert "holds itself" in "".join(arrived.__notes__)


def test_thousands_of_exceptions_side_by_side_arrive() -> None:
    arrived = back([ValueError(n) for n in range(2000)])
    assert [error.args[0] for error in arrived] == list(range(2000))


def test_groups_arrive_with_all_they_hold() -> None:
    sent = ExceptionGroup(
        "several", [raised(ValueError(1)), ExceptionGroup("inner", [OrderError(2, reason="r")])]
    )
    arrived = back(raised(sent))
    assert type(arrived) is ExceptionGroup
    assert arrived.message == "several"
    assert type(arrived.exceptions[0]) is ValueError
    assert arrived.exceptions[1].exceptions[0].order == 2
    assert len(arrived.split(ValueError)[0].exceptions) == 1


def test_a_group_with_what_is_no_exception_arrives_as_a_remote_error() -> None:
    arrived = back(BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError(1)]))
    assert type(arrived) is RemoteError
    assert arrived.type_name == "builtins.BaseExceptionGroup"
    assert [type(e) for e in arrived.remote_args[1]] == [RemoteError, ValueError]


@pytest.mark.parametrize(
    "sent", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError("c"), Fatal("f")]
)
def test_what_is_no_exception_arrives_as_a_remote_error(sent: BaseException) -> None:
    arrived = back(sent)
    assert type(arrived) is RemoteError
    assert arrived.type_name == f"{type(sent).__module__}.{type(sent).__qualname__}"
    assert arrived.remote_args == sent.args
    assert isinstance(arrived, Exception)


def test_an_unknown_class_arrives_as_a_remote_error_with_its_text_args_and_cause() -> None:
    class Hidden(Exception):
        pass

    arrived = back(raised(Hidden("what", 7), ValueError("why")))
    assert type(arrived) is RemoteError
    assert arrived.type_name.endswith("Hidden")
    assert arrived.remote_args == ("what", 7)
    assert arrived.text == "('what', 7)"
    assert "Hidden" in arrived.remote_traceback
    assert type(arrived.__cause__) is ValueError


def test_a_module_that_is_imported_is_enough_and_none_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Theirs(Exception):
        pass

    Theirs.__module__, Theirs.__qualname__ = "their_module", "Theirs"
    data = CODEC.encode(Theirs(1))
    assert type(CODEC.decode(data)) is RemoteError
    module = ModuleType("their_module")
    monkeypatch.setitem(sys.modules, "their_module", module)
    module.__getattr__ = lambda name: pytest.fail("it was asked")  # type: ignore[method-assign]
    assert type(CODEC.decode(data)) is RemoteError
    module.Theirs = Theirs  # type: ignore[attr-defined]
    assert type(CODEC.decode(data)) is Theirs


def test_a_class_that_only_shares_the_name_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(Exception):
        pass

    Theirs.__module__, Theirs.__qualname__ = "their_module", "Theirs"
    data = CODEC.encode(Theirs(1))
    module = ModuleType("their_module")
    monkeypatch.setitem(sys.modules, "their_module", module)
    for other in (OrderError, OSError, print, "Theirs", ModuleType("x")):
        module.Theirs = other  # type: ignore[attr-defined]
        assert type(CODEC.decode(data)) is RemoteError


def test_a_remote_error_travels_on_as_it_is() -> None:
    first = back(KeyboardInterrupt("k"))
    second = back(first)
    assert type(second) is RemoteError
    assert second.args == first.args


def test_exceptions_do_not_save_a_message_that_cannot_travel() -> None:
    with pytest.raises(MessageSerializationError) as caught:
        CODEC.encode([ValueError(1), object()])
    assert caught.value.path == "message[1]"
