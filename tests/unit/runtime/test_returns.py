"""Rule 6 of "Processes", and what callbacks may return."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import (
    Actor,
    AsyncActor,
    Gate,
    TidyActor,
    TidyAsyncActor,
    run,
    started,
    turns,
    until,
)

from noex.runtime.errors import (
    BadReturnValueError,
    InvalidOptionError,
    NoProcessError,
    ServerCrashedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.messages import TIMEOUT
from noex.runtime.returns import UNCHANGED, Ignore, NoReply, Ok, Reply, Stop

BOTH = pytest.mark.parametrize("cls", [Actor, AsyncActor])


def returns(value: Any) -> Any:
    return lambda _server, _state: value


@BOTH
@pytest.mark.parametrize("rubbish", [None, 1, "x", (1,), (1, 2, 3), [1, 2], Ok(1), Ignore, Reply])
def test_a_bad_return_of_handle_call_crashes(cls: type[Any], rubbish: Any) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call(returns(rubbish))
        reason = caught.value.reason
        assert isinstance(reason, BadReturnValueError)
        assert reason.callback == "handle_call" and reason.value is rubbish

    run(main)


@BOTH
@pytest.mark.parametrize("operation", ["cast", "send"])
@pytest.mark.parametrize("rubbish", [Reply(1), Ok(1), Ignore, Ignore(), NoReply, Stop, Reply])
def test_a_bad_return_of_the_others_crashes(cls: type[Any], operation: str, rubbish: Any) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        getattr(ref, operation)(returns(rubbish))
        reason = await ref.wait(1.0)
        assert isinstance(reason, BadReturnValueError)
        assert reason.callback == {"cast": "handle_cast", "send": "handle_info"}[operation]

    run(main)


def test_a_bad_return_of_handle_continue_crashes() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        ref.cast(returns(NoReply(continue_with=returns(Reply(1)))))
        reason = await ref.wait(1.0)
        assert isinstance(reason, BadReturnValueError) and reason.callback == "handle_continue"

    run(main)


@BOTH
@pytest.mark.parametrize("shape", ["tuple", "Reply", "Stop", "caller", "state"])
def test_an_awaitable_is_no_reply(cls: type[Any], shape: str) -> None:
    async def main(kernel: Kernel) -> None:
        future = kernel.loop.create_future()
        handlers = {
            "tuple": lambda server, state: (future, state),
            "Reply": lambda server, state: Reply(future),
            "Stop": lambda server, state: Stop(reply=future),
            "caller": lambda server, state: server.caller.reply(future),
        }
        ref = await started(kernel, cls)
        if shape == "state":
            ref.cast(returns(future) if cls is Actor else _returns_later(future))
            reason = await ref.wait(1.0)
        else:
            with pytest.raises(ServerCrashedError) as caught:
                await ref.call(handlers[shape])
            reason = caught.value.reason
        assert isinstance(reason, BadReturnValueError) and "await it" in str(reason)

    run(main)


def _returns_later(value: Any) -> Any:
    async def handler(_server: Any, _state: Any) -> Any:
        return value

    return handler


def test_none_leaves_the_state_and_no_reply_sets_it() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        before = ref.process.state
        for value in (None, NoReply()):
            ref.cast(returns(value))
            await ref.call("sync")
            assert ref.process.state is before
        ref.cast(returns(NoReply(state=None)))
        await ref.call("sync")
        assert ref.process.state is None
        ref.cast(returns("new"))
        await ref.call("sync")
        assert ref.process.state == "new"
        assert await ref.call(returns(("r", UNCHANGED))) == "r" and ref.process.state == "new"
        assert await ref.call(returns(Reply("r"))) == "r" and ref.process.state == "new"
        assert await ref.call(returns(Reply("r", "s"))) == "r" and ref.process.state == "s"
        assert await ref.call(returns(("r", None))) == "r" and ref.process.state is None

    run(main)


@pytest.mark.parametrize("timeout", ["soon", float("nan"), object()])
def test_a_timeout_that_is_no_time_is_refused_where_it_is_made(timeout: Any) -> None:
    with pytest.raises(InvalidOptionError, match="timeout"):
        NoReply(timeout=timeout)


# ---------------------------------------------------------------------- stop


@pytest.mark.parametrize("cls", [TidyActor, TidyAsyncActor])
def test_stop_answers_then_ends(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        monitor = kernel.monitor(ref)
        assert await ref.call(returns(Stop("done", reply="bye"))) == "bye"
        assert await monitor.wait(1.0) == "done"
        assert seen == [("terminate", "done")]

    run(main)


@BOTH
@pytest.mark.parametrize("operation", ["call", "cast", "send", "continue"])
def test_stop_may_come_from_any_callback(cls: type[Any], operation: str) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        monitor = kernel.monitor(ref)
        if operation == "call":
            with pytest.raises(ServerCrashedError) as caught:
                await ref.call(returns(Stop("why")))
            assert caught.value.reason == "why"
        elif operation == "continue":
            ref.cast(returns(NoReply(continue_with=returns(Stop("why")))))
        else:
            getattr(ref, operation)(returns(Stop("why")))
        assert await monitor.wait(1.0) == "why"

    run(main)


def test_what_is_queued_behind_a_stop_is_not_handled() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        ref.cast(returns(Stop()))
        ref.cast("never")
        with pytest.raises((ServerCrashedError, NoProcessError)):
            await ref.call("never")
        assert seen == []

    run(main)


# ---------------------------------------------------------------------- continue


@BOTH
@pytest.mark.parametrize("first", ["init", "call", "deferred", "cast", "send"])
def test_case_133_continue_runs_before_any_queued_message(cls: type[Any], first: str) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        follow = NoReply(continue_with="token")
        if first == "init":

            class Continues(cls):  # type: ignore[misc]
                def init(self, **options: Any) -> Any:
                    self.ref.cast("queued")
                    return Ok(super().init(**options), continue_with="token")

            await started(kernel, Continues, seen=seen)
        else:
            ref = await started(kernel, cls, seen=seen)
            call = None
            if first == "call":
                call = asyncio.create_task(ref.call(returns(Reply(1, continue_with="token"))))
            elif first == "deferred":
                call = asyncio.create_task(ref.call(lambda server, _state: _answer(server)))
            else:
                getattr(ref, first)(returns(follow))
            queue = asyncio.create_task(_cast(ref, "queued"))
            await queue
            if call is not None:
                assert await call == 1
        await until(lambda: len(seen) == 2)
        assert seen == [("continue", "token"), "queued"]

    run(main)


def _answer(server: Any) -> Any:
    server.caller.reply(1)
    return NoReply(continue_with="token")


async def _cast(ref: Any, message: Any) -> None:
    ref.cast(message)


def test_case_133_a_chain_of_continuations_keeps_its_order() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)

        def first(server: Any, _state: Any) -> Any:
            server.seen.append("first")
            return NoReply(continue_with="second")

        ref.cast(returns(NoReply(continue_with=first)))
        ref.cast("queued")
        await ref.call("last")
        assert seen == ["first", ("continue", "second"), "queued", "last"]

    run(main)


def test_an_exit_signal_goes_before_a_continuation() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []

        async def stand(_server: Any, _state: Any) -> Any:
            await gate.passage()
            return NoReply(continue_with="token")

        ref = await started(kernel, TidyAsyncActor, seen=seen)
        ref.cast(stand)
        await gate.reached.wait()
        ref.exit("first")
        gate.opened.set()
        assert await ref.wait(1.0) == "first" and seen == [("terminate", "first")]

    run(main)


# ---------------------------------------------------------------------- timeouts


@BOTH
def test_case_140_a_zero_timeout_comes_before_queued_messages(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast(returns(NoReply(timeout=0)))
        ref.cast("queued")
        await until(lambda: len(seen) == 2)
        assert seen == [TIMEOUT, "queued"]

    run(main)


def test_case_140_also_from_init() -> None:
    async def main(kernel: Kernel) -> None:
        class Zero(Actor):
            def init(self, **options: Any) -> Any:
                self.ref.send("queued")
                return Ok(super().init(**options), timeout=0)

        seen: list[Any] = []
        await started(kernel, Zero, seen=seen)
        await until(lambda: len(seen) == 2)
        assert seen == [TIMEOUT, "queued"]

    run(main)


@BOTH
def test_case_139_an_idle_timeout_is_delivered_once(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        assert await ref.call(returns(Reply("armed", timeout=0.01))) == "armed"
        await until(lambda: seen)
        assert len(kernel.alarm) == 0
        await ref.call("after")
        assert seen == [TIMEOUT, "after"]

    run(main)


@BOTH
@pytest.mark.parametrize("operation", ["cast", "send", "call"])
def test_case_139_any_message_cancels_the_timeout(cls: type[Any], operation: str) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        await ref.call(returns(Reply("armed", timeout=30.0)))
        assert len(kernel.alarm) == 1
        done = getattr(ref, operation)("message")
        if operation == "call":
            await done
        await until(lambda: seen)
        assert len(kernel.alarm) == 0 and ref.process.idle_deadline is None

    run(main)


@BOTH
@pytest.mark.parametrize("start", ["init", "call", "cast"])
def test_case_139_a_timeout_together_with_a_continuation(cls: type[Any], start: str) -> None:
    """The continuation runs at once, and is no message: the timeout is still to come."""

    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []

        class Both(cls):  # type: ignore[misc]
            def init(self, **options: Any) -> Any:
                state = super().init(**options)
                return Ok(state, continue_with="c", timeout=0.01) if start == "init" else state

        ref = await started(kernel, Both, seen=seen)
        if start == "call":
            assert await ref.call(returns(Reply(1, continue_with="c", timeout=0.01))) == 1
        elif start == "cast":
            ref.cast(returns(NoReply(continue_with="c", timeout=0.01)))
        await until(lambda: len(seen) == 2)
        assert seen == [("continue", "c"), TIMEOUT]
        await ref.call("after")
        assert len(kernel.alarm) == 0 and seen[2:] == ["after"]

    run(main)


@BOTH
@pytest.mark.parametrize("operation", ["cast", "send", "call"])
def test_case_139_a_message_after_the_continuation_cancels_the_timeout(
    cls: type[Any], operation: str
) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        await ref.call(returns(Reply("armed", continue_with="c", timeout=30.0)))
        done = getattr(ref, operation)("message")
        if operation == "call":
            await done
        await until(lambda: len(seen) == 2)
        assert seen == [("continue", "c"), "message"] and len(kernel.alarm) == 0

    run(main)


@BOTH
def test_the_timeout_of_a_continuation_replaces_the_one_before(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        second = returns(NoReply(timeout=0.01))
        await ref.call(returns(Reply("armed", continue_with=second, timeout=30.0)))
        await until(lambda: seen)
        assert seen == [TIMEOUT] and len(kernel.alarm) == 0

    run(main)


@BOTH
def test_case_140_a_zero_timeout_together_with_a_continuation(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast(returns(NoReply(continue_with="c", timeout=0)))
        ref.cast("queued")
        await until(lambda: len(seen) == 3)
        assert seen == [("continue", "c"), TIMEOUT, "queued"]

    run(main)


def test_a_timeout_that_is_due_is_cancelled_by_a_message_that_came_first() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        await ref.call(returns(Reply("armed", timeout=30.0)))
        deadline = ref.process.idle_deadline
        deadline.callback = None  # due: its callback is on the way
        ref.cast("first")
        ref.process._idle_expired()
        await turns()
        assert seen == ["first"]
        ref.process._idle_expired()
        await turns()
        assert seen == ["first"]

    run(main)


def test_the_timeout_of_a_dead_process_is_forgotten() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await ref.call(returns(Reply("armed", timeout=30.0)))
        ref.exit("kill")
        assert len(kernel.alarm) == 0

    run(main)
