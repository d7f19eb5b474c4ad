"""Methods marked @call and @cast, reached through `ref.proxy`, on one node."""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from actors import Gate, run, turns, until

from noex.runtime.errors import (
    BadArgumentsError,
    BadReturnValueError,
    CallTimeoutError,
    InvalidOptionError,
    NoexError,
    NoProcessError,
    ServerCrashedError,
    UnhandledMessageError,
    UnknownMethodError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.messages import TIMEOUT
from noex.runtime.methods import methods_of
from noex.runtime.ref import Ref
from noex.runtime.returns import Ignore, NoReply, Ok, Reply, Stop
from noex.runtime.typed import OF_ITSELF, MethodCall, Request, call, cast


@dataclass(frozen=True)
class Get(Request[int]):
    """A request as a dataclass."""

    plus: int = 0


class Ask(Request[str]):
    """A request as a plain class."""


class Counter(GenServer[Any]):
    """Both kinds of method, of both kinds of function, and the OTP callbacks beside them."""

    def init(self, start: int = 0) -> int:
        self.log_of: list[Any] = []
        return start

    @call
    def add(self, amount: int, *, times: int = 1) -> int:
        """Adds."""
        self.state += amount * times
        return self.state

    @call
    async def add_later(self, amount: int = 1) -> int:
        await asyncio.sleep(0)
        self.state += amount
        await asyncio.sleep(0)
        return self.state

    @call
    def add_twice(self, amount: int) -> int:
        self.add(amount)
        return self.add(amount)

    @cast
    def note(self, *things: Any, **named: Any) -> None:
        self.log_of.append((things, named))

    @cast
    async def note_later(self, thing: Any) -> None:
        await asyncio.sleep(0)
        self.log_of.append(thing)

    @call
    def noted(self) -> list[Any]:
        return list(self.log_of)

    @call
    def run(self, action: Any) -> Any:
        """Returns what `action(self)` does."""
        return action(self)

    @call
    async def run_later(self, action: Any) -> Any:
        await asyncio.sleep(0)
        return action(self)

    @cast
    def do(self, action: Any) -> Any:
        return action(self)

    def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case Get(plus=plus):
                return state + plus, state
            case Ask():
                return "asked", state
            case ("set", value):
                self.state = -1  # what is returned goes over it
                return "set", value
            case ("see", value):
                self.state = value
                return self.state, self.state
        return message, state

    def handle_cast(self, message: Any, state: Any) -> Any:
        if message == "hold":
            self.state = "held"
            return None
        return message

    def handle_info(self, message: Any, state: Any) -> None:
        self.log_of.append(message)


class Plain(GenServer[int]):
    """No marked method; its handlers must never see a `MethodCall`."""

    def init(self) -> int:
        return 1

    def handle_call(self, message: Any, state: int) -> Any:
        if message == "get":
            return state, state
        raise UnhandledMessageError(message)

    def handle_cast(self, message: Any, state: int) -> Any:
        raise UnhandledMessageError(message)


async def started(kernel: Kernel, cls: type[Any] = Counter, *args: Any, **options: Any) -> Any:
    ref = await kernel.start(cls, args, **options)
    assert ref is not None
    return ref


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.noex["error"] for r in caplog.records if r.noex["event"] == "cast_refused"]


# ---------------------------------------------------------------------- calls and casts


def test_methods_are_called_with_their_own_arguments() -> None:
    async def main(kernel: Kernel) -> None:
        proxy = (await started(kernel, Counter, 10)).proxy
        assert await proxy.add(5) == 15
        assert await proxy.add(5, times=2) == 25
        assert await proxy.add(amount=1) == 26
        assert await proxy.add_later() == 27
        assert await proxy.add_later(amount=3) == 30

    run(main)


def test_methods_are_cast_of_either_kind() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        assert ref.proxy.note("x", key=1) is True
        assert ref.proxy.note.cast("y") is True
        assert ref.proxy.note_later("z") is True
        assert ref.proxy.add.cast(5) is True
        assert ref.proxy.add_later.cast(5) is True
        assert await ref.proxy.noted() == [(("x",), {"key": 1}), (("y",), {}), "z"]
        assert await ref.proxy.add(0) == 10
        await ref.stop()
        assert ref.proxy.note("x") is False
        assert ref.proxy.add.cast(5) is False
        with pytest.raises(NoProcessError):
            await ref.proxy.add(5)

    run(main)


def test_a_cast_method_that_is_called_by_message_answers_none() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        assert await ref.call(MethodCall("note", ("x",), {})) is None
        assert await ref.call(MethodCall("note_later", ("y",), {})) is None
        assert await ref.proxy.noted() == [(("x",), {}), "y"]
        assert await ref.call(MethodCall("do", (lambda _: NoReply(7),), {})) is None
        assert await ref.proxy.add(0) == 7
        monitor = kernel.monitor(ref)
        assert await ref.call(MethodCall("do", (lambda _: Stop(),), {})) is None
        assert await monitor.wait() == "normal"

    run(main)


def test_messages_and_methods_mix_in_one_class() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Counter, 1)
        assert await ref.call(Get(plus=4)) == 5
        assert await ref.call(Ask()) == "asked"
        assert ref.cast(40) and ref.send("info")
        assert await ref.proxy.add(2) == 42
        assert await ref.proxy.noted() == ["info"]

    run(main)


def test_a_named_ref_knows_the_methods_of_whoever_has_the_name() -> None:
    async def main(kernel: Kernel) -> None:
        named = kernel.named_ref("counter")
        assert await started(kernel, Counter, 1, name="counter") is not None
        assert await named.proxy.add(1) == 2
        assert named.proxy.note("x") is True
        assert await named.proxy.noted() == [(("x",), {})]
        kernel.named_ref("plain")
        await started(kernel, Plain, name="plain")
        with pytest.raises(UnknownMethodError):
            await kernel.named_ref("plain").proxy.add(1)
        with pytest.raises(NoProcessError):
            await kernel.named_ref("nobody").proxy.add(1)

    run(main)


def test_a_timeout_is_chosen_per_call() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        gate = Gate()
        waiting = asyncio.create_task(ref.proxy.run.with_timeout(None)(lambda _: gate.passage()))
        await gate.reached.wait()
        with pytest.raises(CallTimeoutError, match=r"0\.01 s"):
            await ref.proxy.add.with_timeout(0.01)(5)
        gate.opened.set()
        await waiting
        assert await ref.proxy.add(1) == 1
        for bad in (0, -1.0, True, "5"):
            with pytest.raises(InvalidOptionError, match="timeout"):
                await ref.proxy.add.with_timeout(bad)(1)

    run(main)


# ---------------------------------------------------------------------- the state


def test_the_state_of_the_callbacks_and_of_self_is_one() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        assert await ref.call(("set", 5)) == "set"
        assert await ref.proxy.add(0) == 5
        assert await ref.call(("see", 8)) == 8
        ref.cast("hold")
        assert await ref.proxy.run(lambda server: server.state) == "held"
        ref.cast(3)
        assert await ref.proxy.add(1) == 4
        assert await ref.call(Get()) == 4

    run(main)


def test_the_state_that_a_method_sets_is_there_for_its_successor_also_after_a_special_return() -> (
    None
):
    def set_and(value: Any, result: Any) -> Any:
        def act(server: Any) -> Any:
            server.state = value
            return result

        return act

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        assert await ref.proxy.run(set_and(1, Reply("r"))) == "r"
        assert await ref.proxy.add(0) == 1
        assert await ref.proxy.run(set_and(1, Reply("r", 5))) == "r"
        assert await ref.proxy.add(0) == 5
        ref.proxy.run.cast(set_and(1, Reply("nobody", 9)))
        assert await ref.proxy.add(0) == 9
        ref.proxy.do(set_and(2, NoReply(state=3)))
        assert await ref.proxy.add(0) == 3
        ref.proxy.do(set_and(4, NoReply()))
        assert await ref.proxy.add(0) == 4

    run(main)


# ---------------------------------------------------------------------- what methods return


@pytest.mark.parametrize("how", ["run", "run_later"])
def test_a_method_may_return_what_handle_call_may(how: str) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        method = getattr(ref.proxy, how)
        assert await method(lambda _: (1, 2)) == (1, 2)
        assert await method(lambda _: None) is None
        assert await method(lambda _: Reply("now", timeout=0)) == "now"
        assert await ref.proxy.noted() == [TIMEOUT]

        def defer(server: Any) -> NoReply:
            server.later = server.caller
            return NoReply()

        waiting = asyncio.create_task(method(defer))
        await until(lambda: ref.process.open_calls)
        ref.proxy.do(lambda server: server.later.reply("late") and None)
        assert await waiting == "late"
        monitor = kernel.monitor(ref)
        assert await method(lambda _: Stop("shutdown", reply="bye")) == "bye"
        assert await monitor.wait() == "shutdown"

    run(main)


def test_a_stop_without_a_reply_fails_the_caller() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        with pytest.raises(ServerCrashedError):
            await ref.proxy.run(lambda _: Stop("shutdown"))

    run(main)


@pytest.mark.parametrize("method", ["run", "run_later", "do"])
@pytest.mark.parametrize("stop", [Stop("shutdown"), Stop("shutdown", reply=1)])
def test_a_method_that_is_cast_may_stop(method: str, stop: Stop) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        assert getattr(ref.proxy, method).cast(lambda _: stop)
        assert await ref.wait() == "shutdown"

    run(main)


@pytest.mark.parametrize("value", [Ok(1), Ignore, Ignore(), NoReply, Stop])
def test_a_method_may_not_return_what_means_something_elsewhere(value: Any) -> None:
    async def main(kernel: Kernel) -> None:
        for method in ("run", "run_later"):
            ref = await started(kernel)
            with pytest.raises(ServerCrashedError) as caught:
                await getattr(ref.proxy, method)(lambda _: value)
            reason = caught.value.reason
            assert isinstance(reason, BadReturnValueError)
            assert f"@call Counter.{method} returned" in str(reason)
            assert "Reply, NoReply or Stop" in str(reason)
            ref = await started(kernel)
            getattr(ref.proxy, method).cast(lambda _: value)
            assert isinstance(await ref.wait(), BadReturnValueError)

    run(main)


def test_a_cast_method_may_not_return_a_state() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        ref.proxy.do(lambda _: 5)
        reason = await ref.wait()
        assert isinstance(reason, BadReturnValueError)
        assert "self.state" in str(reason)

    run(main)


# ---------------------------------------------------------------------- mistakes


def test_a_method_that_is_not_there_is_the_callers_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        with pytest.raises(UnknownMethodError) as caught:
            await ref.proxy.sub(1)
        assert (caught.value.method, caught.value.behavior) == ("sub", "Counter")
        assert "add, add_later" in str(caught.value)
        for hidden in ("init", "handle_call", "send_after", "state", "log_of", "_process"):
            with pytest.raises(UnknownMethodError):
                await getattr(ref.proxy, hidden)()
        assert ref.proxy.sub.cast(1) is True
        assert await ref.proxy.add(1) == 1  # it lives
        assert refused(caplog) == [str(caught.value)]

    run(main)


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "missing a required argument: 'amount'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"time": 2}, "got an unexpected keyword argument 'time'"),
        ((1,), {"amount": 2}, "multiple values for argument 'amount'"),
    ],
)
def test_arguments_that_do_not_fit_are_the_callers_mistake(
    args: Any, kwargs: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        with pytest.raises(BadArgumentsError, match=reason) as caught:
            await ref.proxy.add(*args, **kwargs)
        assert isinstance(caught.value, TypeError) and isinstance(caught.value, NoexError)
        assert caught.value.method == "Counter.add"
        assert caught.value.signature == "(amount: int, *, times: int = 1) -> int"
        assert ref.proxy.add.cast(*args, **kwargs) is True
        assert await ref.proxy.add(1) == 1  # it lives, and nothing was added
        assert refused(caplog) == [str(caught.value)]
        with pytest.raises(BadArgumentsError):
            await ref.proxy.add_later(1, 2)
        ref.proxy.note_later()
        assert await ref.proxy.add(1) == 2

    run(main)


def test_calls_that_were_refused_leave_nothing_behind() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        gate = Gate()
        waiting = asyncio.create_task(ref.proxy.run(lambda _: gate.passage()))
        await gate.reached.wait()  # from here on they go through the mailbox
        queued = [asyncio.create_task(each) for each in (ref.proxy.sub(), ref.proxy.add())]
        await turns()
        gate.opened.set()
        await waiting
        found = await asyncio.gather(*queued, return_exceptions=True)
        assert [type(error) for error in found] == [UnknownMethodError, BadArgumentsError]
        for refused in (ref.proxy.sub, ref.proxy.add):  # and these in the turn of the caller
            with pytest.raises(NoexError):
                await refused()
        assert not ref.process.open_calls
        assert await ref.proxy.add(1) == 1

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        MethodCall(["add"], (), {}),  # type: ignore[arg-type]
        MethodCall(None, (), {}),  # type: ignore[arg-type]
        MethodCall("add", 5, {}),  # type: ignore[arg-type]
        MethodCall("add", (5,), None),  # type: ignore[arg-type]
        MethodCall("add", (5,), {5: 5}),  # type: ignore[dict-item]
    ],
)
def test_a_method_call_made_up_by_a_stranger_harms_nobody(message: MethodCall) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel)
        with pytest.raises((UnknownMethodError, BadArgumentsError)):
            await ref.call(message)
        assert ref.cast(message)
        assert await ref.proxy.add(1) == 1

    run(main)


def test_a_class_without_methods_is_not_troubled(caplog: pytest.LogCaptureFixture) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Plain)
        with pytest.raises(UnknownMethodError, match=r"Plain has no method 'get'.* it has none"):
            await ref.proxy.get()
        assert ref.proxy.get.cast() is False
        assert ref.process.callbacks.handlers is None
        assert await ref.call("get") == 1
        assert len(refused(caplog)) == 1

    run(main)


def test_what_a_method_raises_is_a_crash(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    def wrong(server: Any) -> None:
        server.add()  # a TypeError of its own, in a method that was called rightly

    async def main(kernel: Kernel) -> None:
        for error, action in (
            (ZeroDivisionError, lambda _: 1 // 0),
            (TypeError, wrong),
            (KeyError, lambda _: {}["x"]),
        ):
            for method in ("run", "run_later"):
                ref = await started(kernel)
                with pytest.raises(ServerCrashedError) as caught:
                    await getattr(ref.proxy, method)(action)
                assert type(caught.value.reason) is error
                ref = await started(kernel)
                getattr(ref.proxy, method).cast(action)
                assert type(await ref.wait()) is error

    run(main)


# ---------------------------------------------------------------------- classes


class Base(GenServer[Any]):
    def init(self) -> Any:
        return 0

    @call
    def value(self) -> str:
        return "base"

    @call
    def other(self, a: int = 1) -> str:
        return f"other {a}"

    @cast
    def told(self) -> None:
        self.state = "told base"

    @call
    def gone(self) -> str:
        return "here"


class Mixin:
    @call
    def mixed(self) -> str:
        return "mixed"


class Sub(Mixin, Base):
    gone = None  # type: ignore[assignment]

    @call
    def value(self) -> str:
        return f"sub of {super().value()}"

    def other(self, a: int = 2, b: int = 3) -> str:  # type: ignore[override]
        return f"{Base.other(self, a)} {b}"  # type: ignore[call-arg, arg-type]

    def told(self) -> None:  # type: ignore[override]
        super().told()
        self.state += ", sub"

    @call
    def get(self) -> Any:
        return self.state


def test_methods_are_inherited_and_overridden() -> None:
    async def main(kernel: Kernel) -> None:
        proxy = (await started(kernel, Sub)).proxy
        assert await proxy.value() == "sub of base"
        assert await proxy.other() == "other 2 3"
        assert await proxy.mixed() == "mixed"
        assert proxy.told() is True
        assert await proxy.get() == "told base, sub"
        with pytest.raises(UnknownMethodError):
            await proxy.gone()
        base = (await started(kernel, Base)).proxy
        assert await base.value() == "base" and await base.gone() == "here"
        with pytest.raises(BadArgumentsError):
            await base.other(1, 2)

    run(main)


def test_a_decorator_between_keeps_the_signature() -> None:
    def logged(method: Any) -> Any:
        @functools.wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return wrapper

    class Wrapped(GenServer[int]):
        def init(self) -> int:
            return 5

        @call
        @logged
        def inner(self, amount: int) -> int:
            return self.state + amount

        @logged
        @call
        def outer(self, amount: int) -> int:
            return self.state + amount

    async def main(kernel: Kernel) -> None:
        proxy = (await started(kernel, Wrapped)).proxy
        for method in (proxy.inner, proxy.outer):
            assert await method(1) == 6
            with pytest.raises(BadArgumentsError, match=r"\(amount: int\) -> int"):
                await method()

    run(main)


def test_what_is_marked_stays_a_plain_function() -> None:
    server = Counter()
    assert Counter.add.__name__ == "add" and Counter.add.__doc__ == "Adds."
    assert server.run(lambda found: found is server)
    assert methods_of(Plain, "Plain") is None


@pytest.mark.parametrize("name", sorted(OF_ITSELF))
def test_a_property_of_a_genserver_cannot_become_a_method(name: str) -> None:
    def method(self: Any) -> Any: ...

    method.__name__ = name
    assert isinstance(getattr(GenServer, name), property)
    for mark in (call, cast):
        with pytest.raises(TypeError, match=f"self.{name} is of GenServer itself"):
            mark(method)


def test_every_property_of_a_genserver_is_kept() -> None:
    assert {name for name, value in vars(GenServer).items() if isinstance(value, property)} == (
        OF_ITSELF
    )


def test_only_methods_of_ones_own_can_be_marked() -> None:
    with pytest.raises(TypeError, match="handle_call is a callback"):

        class Callback(GenServer[int]):
            @call  # type: ignore[arg-type]
            def handle_call(self, message: Any, state: int) -> Any: ...

    for value in (5, staticmethod(len), classmethod(len), property(len)):
        with pytest.raises(TypeError, match="marks a plain method"):
            call(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="marks a plain method"):
            cast(value)  # type: ignore[type-var, arg-type]
    with pytest.raises(TypeError, match="marked @cast already"):

        @call
        @cast
        def twice(self: Any) -> None: ...


def test_a_proxy_says_what_it_is() -> None:
    async def main(kernel: Kernel) -> None:
        ref: Ref[Any] = await started(kernel)
        assert repr(ref.proxy) == f"<proxy of {ref}>"
        assert repr(ref.proxy.add) == repr(ref.proxy.add.with_timeout(1.0))
        assert repr(ref.proxy.add) == f"<method add of {ref}>"
        assert repr(ref.proxy.note) == f"<method note of {ref}>"
        assert repr(copy.copy(ref.proxy)) == repr(ref.proxy)
        with pytest.raises(AttributeError):
            ref.proxy.__nothing__  # noqa: B018

    run(main)
