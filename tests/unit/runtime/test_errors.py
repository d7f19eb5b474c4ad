"""Every error builds from its args, says what it holds, and survives being copied."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from actors import run

from noex.runtime import errors
from noex.runtime.errors import NoexError
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel

EXAMPLES: dict[str, tuple[Any, ...]] = {
    "NoProcessError": ("<it #1>",),
    "ServerCrashedError": ("<it #1>", "killed"),
    "CallTimeoutError": ("<it #1>", 2.5),
    "NodeNotReachableError": ("b@h:1",),
    "OverloadedError": ("b@h:1", "<db #3 at b@h:1>"),
    "CallCycleError": ("<it #1>",),
    "ProcessKilledError": ("<it #1>",),
    "WrongThreadError": ("self.run", "await it"),
    "InitFailedError": ("Worker", "it"),
    "InitTimeoutError": ("Worker", 2.5),
    "NameTakenError": ("it", "<it #1>"),
    "GlobalNameConflictError": ("it", "<it #1>"),
    "BadReturnValueError": ("handle_call", 7),
    "UnhandledMessageError": ("what", "Worker.handle_call"),
    "BehaviorNotFoundError": ("worker", "b@h:1"),
    "MessageSerializationError": ("send", "args[0]", "it is a socket"),
    "RemoteError": ("lib.Odd", "it broke", (1, 2)),
    "NodeStoppedError": ("b@h:1", "it was stopped"),
    "PortInUseError": ("127.0.0.1:1",),
    "InsecureBindError": ("0.0.0.0:1",),
    "JoinTimeoutError": ("b@h:1", "not a member after 2 s; seeds: a@h:1"),
    "InvalidNodeIdError": ("x", "no port"),
    "InvalidOptionError": ("timeout", -1, "seconds"),
    "UnknownMethodError": ("add", "Counter", ("get", "reset")),
    "BadArgumentsError": ("Counter.add", "(amount: int)", "missing a required argument"),
    "InvalidChildSpecError": ("restart", "x", "permanent"),
}
CLASSES = {
    name: cls
    for name, cls in vars(errors).items()
    if inspect.isclass(cls) and issubclass(cls, NoexError)
}
ROOTS = {"NoexError", "InvalidValueError"}


def test_every_error_is_in_the_tree_and_has_an_example() -> None:
    assert set(EXAMPLES) == set(CLASSES) - ROOTS
    for name in CLASSES:
        assert name in (errors.__doc__ or ""), f"{name} is not in the tree of the docstring"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_error_has_its_args_as_fields(name: str) -> None:
    args = EXAMPLES[name]
    error = CLASSES[name](*args)
    assert error.args == args and len(type(error).fields) == len(args)
    for field, value in zip(type(error).fields, args, strict=True):
        assert getattr(error, field) == value
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        shown = ", ".join(value) if field == "known" else shown
        assert shown in str(error) or field == "remote_args", f"{name} does not show {field}"
    parameters = list(inspect.signature(type(error).__init__).parameters)[1:]
    assert tuple(parameters) == type(error).fields


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("how", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_a_copy(name: str, how: Any) -> None:
    error = CLASSES[name](*EXAMPLES[name])
    again = how(error)
    assert type(again) is type(error) and again.args == error.args
    assert str(again) == str(error)
    for field in type(error).fields:
        assert getattr(again, field) == getattr(error, field)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_error_rebuilt_with_foreign_args_still_prints(name: str) -> None:
    cls = CLASSES[name]
    for args in ((), (None,), (object(), object(), object(), object())):
        error = cls.__new__(cls, *args)
        error.args = args
        assert isinstance(str(error), str)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("CallTimeoutError", TimeoutError),
        ("InitTimeoutError", TimeoutError),
        ("JoinTimeoutError", TimeoutError),
        ("NodeNotReachableError", ConnectionError),
        ("PortInUseError", OSError),
        ("InvalidNodeIdError", ValueError),
        ("InvalidOptionError", ValueError),
        ("InvalidChildSpecError", ValueError),
    ],
)
def test_an_error_is_also_what_python_calls_it(name: str, builtin: type[Exception]) -> None:
    assert issubclass(CLASSES[name], builtin) and issubclass(CLASSES[name], NoexError)


def test_the_optional_fields_have_values_too() -> None:
    assert errors.InitFailedError("Worker").name is None
    assert errors.UnhandledMessageError("what").missing == ""
    assert "None" not in str(errors.UnhandledMessageError("what"))
    assert errors.MessageSerializationError("send", "").reason == ""
    assert errors.RemoteError("lib.Odd").remote_args == ()
    assert errors.NodeStoppedError("b@h:1").reason == "it is not running"


def test_an_init_failure_names_its_cause() -> None:
    error = errors.InitFailedError("Worker", "it")
    error.__cause__ = ValueError("boom")
    assert "ValueError('boom')" in str(error) and "'it'" in str(error)


class Part:
    def __init__(self, size: int, name: str) -> None: ...


class Worker(GenServer[None]):
    def init(self) -> None: ...


class Built(GenServer[None]):
    def __init__(self, number: int) -> None: ...

    def init(self) -> None: ...


class Early(GenServer[None]):
    def __init__(self) -> None:
        self.log.info("not yet")

    def init(self) -> None: ...


class Uses(GenServer[None]):
    def init(self, key: str) -> None:
        Part(**{key: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cls", "arguments", "advice"),
    [
        (Worker, {"name": "it"}, "node.options"),
        (Worker, {"size": 1}, None),
        (Built, {}, "not __init__"),
        (Early, {}, "not __init__"),
        (Uses, {"key": "name"}, None),
        (Uses, {"key": "other"}, None),
    ],
)
def test_the_mistakes_of_a_first_class_come_with_advice(
    cls: type[Any], arguments: dict[str, Any], advice: str | None
) -> None:
    async def main(kernel: Kernel) -> None:
        with pytest.raises(errors.InitFailedError) as failure:
            await kernel.start(cls, (), arguments)
        said = str(failure.value)
        assert said.endswith(repr(failure.value.__cause__)) if advice is None else advice in said

    run(main)


def test_a_crash_for_an_error_of_ours_says_what_that_says() -> None:
    reason = errors.UnhandledMessageError("what", "Worker.handle_call")
    assert "Worker.handle_call is not defined" in str(errors.ServerCrashedError("<it>", reason))


@pytest.mark.parametrize(
    ("callback", "legal"),
    [("handle_call", "(reply, state)"), ("handle_cast", "the new state"), ("init", "Ignore")],
)
def test_a_bad_return_value_says_what_is_legal(callback: str, legal: str) -> None:
    assert legal in str(errors.BadReturnValueError(callback, 7))
