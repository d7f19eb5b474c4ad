"""Wrong arguments of refs, monitors, processes and return values: who gives one is told which."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Actor, AsyncActor, Mute, run, started, until
from wrong import (
    NAN,
    NO_DELAYS,
    NO_FLAGS,
    NO_NAMES,
    NO_REFS,
    NO_TIMES,
    NO_WAITS,
    Unshowable,
    each,
    plain,
    refusal,
    refused,
    table,
)

from noex.runtime.errors import (
    BadReturnValueError,
    InvalidChildSpecError,
    InvalidNodeIdError,
    InvalidOptionError,
    ServerCrashedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.messages import TaskResult
from noex.runtime.returns import NoReply, Ok, Reply

# ---------------------------------------------------------------------- refs and monitors


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("call", lambda ref, bad: ref.call("x", timeout=bad), NO_WAITS),
        ("stop", lambda ref, bad: ref.stop(timeout=bad), NO_WAITS),
        ("is_alive", lambda ref, bad: ref.is_alive(timeout=bad), NO_WAITS),
        ("wait", lambda ref, bad: ref.wait(bad), NO_TIMES),
        ("monitor", lambda ref, bad: ref.kernel.monitor(ref).wait(bad), NO_TIMES),
    ),
)
def test_case_121_a_time_that_is_none_is_refused_and_the_process_lives(
    call: Any, value: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        await refused(lambda: call(ref, value), "timeout", value, "seconds", "None for no limit")
        assert await ref.call("still there") == "still there" and seen == ["still there"]

    run(main)


@pytest.mark.parametrize("timeout", [None, float("inf"), 1, 1.5, 10**9])
def test_times_that_are_legal(timeout: Any) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, AsyncActor)
        assert await ref.call("x", timeout=timeout) == "x"
        assert await ref.is_alive(timeout=timeout)
        waiting = asyncio.create_task(ref.wait(timeout))
        await asyncio.sleep(0)
        await ref.stop(timeout=timeout)
        assert await waiting == "normal"

    run(main)


def test_a_wait_of_zero_seconds_looks() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(TimeoutError):
            await ref.wait(0)
        await ref.stop()
        assert await ref.wait(0) == "noproc"

    run(main)


# ---------------------------------------------------------------------- within a process


def inside(does: Any) -> Any:
    """A message that has the server do something, and answer with what that raised."""

    def handler(server: Any, state: Any) -> Any:
        try:
            does(server)
        except Exception as error:
            return error, state
        return None, state

    return handler


def assign(name: str) -> Any:
    return lambda server, value: setattr(server, name, value)


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("delay", lambda server, bad: server.send_after(bad, "x"), NO_DELAYS),
        ("ref", lambda server, bad: server.monitor(bad), NO_REFS),
        ("ref", lambda server, bad: server.link(bad), NO_REFS),
        ("ref", lambda server, bad: server.unlink(bad), NO_REFS),
        ("trap_exits", assign("trap_exits"), NO_FLAGS),
        ("coroutine", lambda server, bad: server.spawn_task(bad), (None, 5, "x", plain, print)),
    ),
)
def test_a_wrong_argument_in_a_handler_costs_nothing_but_an_error(
    call: Any, value: Any, request: pytest.FixtureRequest
) -> None:
    field = request.node.callspec.id.rpartition("-")[0]

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        error = await ref.call(inside(lambda server: call(server, value)))
        legal = {"delay": "0 or more", "ref": "the Ref of a process", "trap_exits": "True or False"}

        def raise_it() -> None:
            raise error

        refusal(raise_it, field, value, legal.get(field, "async def"))
        process = ref.process
        assert not process.timers and not process.monitoring and not process.links
        assert await ref.call("alive") == "alive"

    run(main)


@pytest.mark.parametrize("cls", [NoReply, Ok, lambda **options: Reply(1, **options)])
@pytest.mark.parametrize("timeout", each(NO_TIMES))
def test_a_timeout_of_a_return_value_is_refused_where_it_is_made(cls: Any, timeout: Any) -> None:
    refusal(lambda: cls(timeout=timeout), "timeout", timeout, "0 or more", "None")


def test_a_wrong_timeout_in_a_handler_is_that_process_s_crash() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call(lambda _server, _state: NoReply(timeout=NAN))
        assert isinstance(caught.value.reason, InvalidOptionError)

    run(main)


# ---------------------------------------------------------------------- callers


def test_only_an_exception_can_be_the_error_of_a_call() -> None:
    """And who made the mistake can still answer."""

    async def main(kernel: Kernel) -> None:
        for bad in ("text", None, 5, ValueError, StopIteration()):
            callers: list[Any] = []
            ref = await started(kernel, Actor)

            def keep(server: Any, _state: Any, kept: Any = callers) -> Any:
                kept.append(server.caller)
                return NoReply()

            call = asyncio.create_task(ref.call(keep))
            await until(lambda kept=callers: kept)
            if isinstance(bad, StopIteration):  # a future takes none, so the caller gets a wrapping
                callers[0].fail(bad)
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await call
                continue
            refusal(lambda bad=bad, kept=callers: kept[0].fail(bad), "error", bad, "an exception")
            assert callers[0].reply("late")
            assert await call == "late"

    run(main)


def test_a_reply_that_is_an_awaitable_is_refused_and_the_caller_can_still_be_answered() -> None:
    async def main(kernel: Kernel) -> None:
        callers: list[Any] = []
        ref = await started(kernel, Actor)
        call = asyncio.create_task(
            ref.call(lambda server, _state: callers.append(server.caller) or NoReply())
        )
        await until(lambda: callers)
        coroutine = plain()
        with pytest.raises(BadReturnValueError, match="await it"):
            callers[0].reply(coroutine)
        coroutine.close()
        assert callers[0].reply("done") and await call == "done"

    run(main)


# ---------------------------------------------------------------------- starting


@pytest.mark.parametrize(
    "behavior", [None, "", "worker", 5, object, Actor.init, plain, object(), [Actor]]
)
def test_what_is_no_gen_server_class_is_not_started(behavior: Any) -> None:
    async def main(kernel: Kernel) -> None:
        count = kernel.process_count
        await refused(lambda: kernel.start(behavior), "behavior", behavior, "GenServer")
        assert kernel.process_count == count

    run(main)


def test_an_instance_is_no_class() -> None:
    async def main(kernel: Kernel) -> None:
        server = Mute()
        await refused(lambda: kernel.start(server), "behavior", server, "subclass of GenServer")  # type: ignore[arg-type]

    run(main)


@pytest.mark.parametrize("name", each(NO_NAMES[1:]))
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    async def main(kernel: Kernel) -> None:
        await refused(lambda: kernel.start(Mute, name=name), "name", name, "string")
        assert kernel.names == {} and kernel.process_count == 0

    run(main)


@pytest.mark.parametrize("timeout", each(NO_WAITS))
def test_an_init_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    async def main(kernel: Kernel) -> None:
        await refused(
            lambda: kernel.start(Mute, init_timeout=timeout), "init_timeout", timeout, "seconds"
        )
        assert kernel.process_count == 0

    run(main)


# ---------------------------------------------------------------------- the errors themselves


@pytest.mark.parametrize(
    "error",
    [
        InvalidOptionError("field", Unshowable(), "legal is x"),
        InvalidChildSpecError("field", Unshowable(), "legal is x"),
        InvalidNodeIdError(Unshowable(), "legal is x"),
    ],
)
def test_a_value_that_cannot_be_shown_does_not_spoil_the_error(error: Any) -> None:
    assert "Unshowable object" in str(error) and "legal is x" in str(error)


def test_a_huge_value_does_not_fill_the_screen() -> None:
    told = str(InvalidOptionError("labels", {"x": "y" * 1_000_000}, "up to 64 strings"))
    assert len(told) < 300 and "labels" in told and told.endswith("up to 64 strings")


def test_a_task_result_is_made_for_what_is_legal() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        ref.cast(lambda server, _state: server.spawn_task(plain()) and None)
        await until(lambda: seen)
        assert isinstance(seen[0], TaskResult) and seen[0].error is None

    run(main)
