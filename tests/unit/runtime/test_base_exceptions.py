"""What is no `Exception` out of a callback: SystemExit, CancelledError, GeneratorExit, Ctrl-C.

Rule 5: it ends the process alone, and whoever waits hears of it. Only Ctrl-C goes on to the loop,
when the node knows of it and the process has ended.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
from actors import Actor, AsyncActor, TidyActor, TidyAsyncActor, raises, run, started, turns, until

from noex.runtime.errors import InitFailedError, NoProcessError, ServerCrashedError
from noex.runtime.kernel import Kernel
from noex.runtime.returns import NoReply, Stop


class Odd(BaseException):
    """Somebody's own."""


KINDS = [SystemExit, asyncio.CancelledError, GeneratorExit, Odd]
EACH = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("cls", [TidyActor, TidyAsyncActor])


def reports(caplog: Any) -> list[dict[str, Any]]:
    return [record.noex for record in caplog.records if record.name == "noex"]


# ---------------------------------------------------------------------- handlers


def by_call(ref: Any, does: Any) -> asyncio.Task[Any] | None:
    return asyncio.create_task(ref.call(does, timeout=None))


def by_cast(ref: Any, does: Any) -> asyncio.Task[Any] | None:
    ref.cast(does)
    return None


def by_send(ref: Any, does: Any) -> asyncio.Task[Any] | None:
    ref.send(does)
    return None


def by_continue(ref: Any, does: Any) -> asyncio.Task[Any] | None:
    ref.cast(lambda _server, _state: NoReply(continue_with=does))
    return None


OPERATIONS = [by_call, by_cast, by_send, by_continue]


@EACH
@BOTH
@pytest.mark.parametrize("operation", OPERATIONS)
def test_it_crashes_the_process_alone(
    kind: type[BaseException], cls: type[Any], operation: Any, caplog: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        error = kind()
        ref = await started(kernel, cls, seen=seen, options={"name": "it"})
        monitor, other = kernel.monitor(ref), await started(kernel, cls)
        own = operation(ref, raises(error))
        waiting = asyncio.create_task(ref.call("behind it", timeout=None))
        assert await monitor.wait(2.0) is error
        for call in (own, waiting):
            if call is not None:
                with pytest.raises((ServerCrashedError, NoProcessError)) as caught:
                    await asyncio.wait_for(call, 2.0)
                if isinstance(caught.value, ServerCrashedError):
                    assert caught.value.reason is error
        assert seen == [("terminate", error)] and kernel.whereis("it") is None
        assert await other.call("alive") == "alive"
        assert [report["event"] for report in reports(caplog)] == ["process_crashed"]

    run(main)


@EACH
@BOTH
def test_also_while_others_wait_for_their_replies(kind: Any, cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        callers: list[Any] = []
        ref = await started(kernel, cls)

        def keep(server: Any, _state: Any) -> Any:
            callers.append(server.caller)
            return NoReply()

        deferred = [asyncio.create_task(ref.call(keep, timeout=None)) for _ in range(3)]
        await until(lambda: len(callers) == 3)
        error = kind()
        ref.cast(raises(error))
        for outcome in await asyncio.wait_for(
            asyncio.gather(*deferred, return_exceptions=True), 2.0
        ):
            assert isinstance(outcome, ServerCrashedError) and outcome.reason is error

    run(main)


@EACH
@BOTH
def test_in_a_handler_that_somebody_cancels(kind: Any, cls: type[Any]) -> None:
    """The exit signal is why it ends, whatever its handler makes of the cancellation."""

    async def main(kernel: Kernel) -> None:
        reached = asyncio.Event()

        async def turns_it_into_another(_server: Any, _state: Any) -> None:
            reached.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise kind from None

        ref = await started(kernel, Actor if cls is TidyActor else AsyncActor)
        ref.cast(turns_it_into_another)
        await reached.wait()
        ref.exit("because")
        assert await ref.wait(2.0) == "because"

    run(main)


# ---------------------------------------------------------------------- init


@EACH
@pytest.mark.parametrize("how", ["def", "async", "async at once", "constructor"])
def test_an_init_that_raises_it_has_failed(kind: type[BaseException], how: str) -> None:
    error = kind()

    class Raises(Actor):
        def __init__(self) -> None:
            if how == "constructor":
                raise error

        def init(self, **options: Any) -> Any:
            if how == "def":
                raise error
            return self.later()

        async def later(self) -> None:
            if how == "async":
                await asyncio.sleep(0)
            raise error

    async def main(kernel: Kernel) -> None:
        waiting: list[Any] = []
        if how.startswith("async"):
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: waiting.append(loop.create_task(call_by_name(kernel))))
        with pytest.raises(InitFailedError) as caught:
            await asyncio.wait_for(kernel.start(Raises, name="it"), 2.0)
        assert caught.value.__cause__ is error
        assert kernel.whereis("it") is None and kernel.process_count == 0
        await turns()
        for call in waiting:
            with pytest.raises((ServerCrashedError, NoProcessError)):
                await asyncio.wait_for(call, 2.0)

    run(main)


async def call_by_name(kernel: Kernel) -> Any:
    return await kernel.named_ref("it").call("x", timeout=None)


# ---------------------------------------------------------------------- terminate, format_status


@EACH
@pytest.mark.parametrize("how", ["def", "async"])
def test_a_terminate_that_raises_it_leaves_the_reason(kind: Any, how: str, caplog: Any) -> None:
    class Clumsy(Actor):
        def terminate(self, reason: Any, state: Any) -> Any:
            if how == "async":
                return self.later()
            raise kind

        async def later(self) -> None:
            await asyncio.sleep(0)
            raise kind

    async def main(kernel: Kernel) -> None:
        for end, reason in ((lambda ref: ref.stop("shutdown"), "shutdown"), (crash, "boom")):
            caplog.clear()
            ref = await started(kernel, Clumsy, options={"name": "it"})
            monitor = kernel.monitor(ref)
            await asyncio.wait_for(end(ref), 2.0)
            told = await monitor.wait(2.0)
            assert (told if reason == "shutdown" else told.args[0]) == reason
            assert kernel.whereis("it") is None
            assert reports(caplog)[-1]["event"] == "terminate_failed"

    run(main)


async def crash(ref: Any) -> None:
    with pytest.raises(ServerCrashedError):
        await ref.call(raises(ValueError("boom")))


@EACH
@BOTH
def test_case_145_a_format_status_that_raises_it_changes_nothing(
    kind: Any, cls: type[Any], caplog: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        class Clumsy(cls):  # type: ignore[misc]
            def format_status(self, state: Any) -> Any:
                raise kind

        error = ValueError("boom")
        for operation in (by_call, by_cast):
            caplog.clear()
            ref = await started(kernel, Clumsy)
            monitor, call = kernel.monitor(ref), operation(ref, raises(error))
            assert await monitor.wait(2.0) is error
            if call is not None:
                with pytest.raises(ServerCrashedError):
                    await asyncio.wait_for(call, 2.0)
            assert "format_status failed" in reports(caplog)[0]["state"]

    run(main)


@EACH
def test_a_message_that_raises_it_when_it_is_shown_changes_nothing(kind: Any, caplog: Any) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise kind

        def __call__(self, _server: Any, _state: Any) -> Any:
            raise ValueError("boom")

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(ServerCrashedError) as caught:
            await asyncio.wait_for(ref.call(Shy()), 2.0)
        assert isinstance(caught.value.reason, ValueError)
        assert [report["event"] for report in reports(caplog)] == ["process_crashed"]

    run(main)


def test_case_145_a_format_status_that_is_a_coroutine_is_said_to_be_one(caplog: Any) -> None:
    class Clumsy(Actor):
        async def format_status(self, state: Any) -> Any:
            return state

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Clumsy)
        ref.cast(raises(ValueError("boom")))
        await ref.wait(2.0)
        assert "not `async def`" in reports(caplog)[0]["state"]

    run(main)


def test_a_log_that_raises_does_not_keep_a_process_from_its_end() -> None:
    """A filter or handler of the program's own."""

    class Broken(logging.Filter):
        def filter(self, record: Any) -> bool:
            raise RuntimeError("in the log")

    class Clumsy(Actor):
        def terminate(self, reason: Any, state: Any) -> Any:
            raise RuntimeError("in terminate")

    async def main() -> None:
        complaints: list[Any] = []
        kernel = Kernel()
        kernel.loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        for does in (raises(ValueError("boom")), lambda _server, _state: Stop("odd")):
            for operation in (by_call, by_cast):
                ref = await started(kernel, Clumsy, options={"name": "it"})
                call = operation(ref, does)
                await asyncio.wait_for(ref.wait(), 2.0)
                assert kernel.whereis("it") is None
                if call is not None:
                    outcome = await asyncio.wait_for(
                        asyncio.gather(call, return_exceptions=True), 2.0
                    )
                    assert isinstance(outcome[0], ServerCrashedError | RuntimeError)
        await kernel.shutdown()

    log, broken = logging.getLogger("noex"), Broken()
    log.addFilter(broken)
    try:
        asyncio.run(main())
    finally:
        log.removeFilter(broken)


# ---------------------------------------------------------------------- tasks


@EACH
def test_a_task_that_raises_it_tells_its_process(kind: Any) -> None:
    async def leave() -> None:
        raise kind("why")

    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        ref.cast(lambda server, _state: server.spawn_task(leave()) and None)
        await until(lambda: seen)
        error = seen[0].error
        assert isinstance(error if kind is not SystemExit else error.__cause__, kind)
        assert await ref.call("alive") == "alive"

    run(main)


# ---------------------------------------------------------------------- Ctrl-C


def interrupted(main: Callable[[Kernel], Any]) -> None:
    """Run `main(kernel)` until Ctrl-C comes out of the loop, as it has to, once; then let
    the loop go on and see that nobody waits for anything."""
    loop = asyncio.new_event_loop()
    told: list[BaseException] = []
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))

    kernels: list[Kernel] = []
    waiting: list[asyncio.Task[Any]] = []

    async def before() -> None:
        kernel = Kernel(kill_grace=0.2)
        kernels.append(kernel)
        kernel.on_interrupt = told.append
        waiting.extend(await main(kernel))
        await asyncio.Event().wait()

    async def after() -> None:
        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 2.0)
        for outcome in outcomes:
            assert isinstance(outcome, ServerCrashedError | NoProcessError | KeyboardInterrupt)
        await kernels[0].shutdown()

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.wait_for(before(), 5.0))
        assert [type(error) for error in told] == [KeyboardInterrupt]
        loop.run_until_complete(after())
        assert len(told) == 1
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
        gc.collect()


@BOTH
@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_ctrl_c_in_a_handler_leaves_no_caller_waiting(cls: type[Any], operation: Any) -> None:
    async def main(kernel: Kernel) -> list[Any]:
        ref, other = await started(kernel, cls), await started(kernel, cls)
        callers: list[Any] = []

        def keep(server: Any, _state: Any) -> Any:
            callers.append(server.caller)
            return NoReply()

        deferred = asyncio.create_task(ref.call(keep, timeout=None))
        await until(lambda: callers)
        operation(ref, raises(KeyboardInterrupt()))
        behind = asyncio.create_task(ref.call("behind it", timeout=None))
        assert other.process is not None
        return [deferred, behind]

    interrupted(main)


@pytest.mark.parametrize("how", ["format_status", "repr"])
def test_ctrl_c_in_a_crash_report_does_not_keep_a_process_from_its_end(how: str) -> None:
    class Shy:
        def __repr__(self) -> str:
            if how == "repr":
                raise KeyboardInterrupt
            return "shy"

        def __call__(self, _server: Any, _state: Any) -> Any:
            raise ValueError("boom")

    class Slow(Actor):
        def format_status(self, state: Any) -> Any:
            if how == "format_status":
                raise KeyboardInterrupt
            return state

    async def main(kernel: Kernel) -> list[Any]:
        ref = await started(kernel, Slow)
        ref.cast(lambda _server, _state: None)
        ref.cast(Shy())
        return [asyncio.create_task(ref.call("behind it", timeout=None))]

    interrupted(main)


@pytest.mark.parametrize("how", ["def", "async"])
def test_ctrl_c_in_terminate_leaves_no_caller_waiting(how: str) -> None:
    class Clumsy(Actor):
        def terminate(self, reason: Any, state: Any) -> Any:
            if how == "async":
                return self.later()
            raise KeyboardInterrupt

        async def later(self) -> None:
            await asyncio.sleep(0)
            raise KeyboardInterrupt

    async def main(kernel: Kernel) -> list[Any]:
        ref = await started(kernel, Clumsy)
        ref.cast(lambda _server, _state: Stop("odd"))
        return [asyncio.create_task(ref.call("behind it", timeout=None))]

    interrupted(main)


def test_ctrl_c_in_a_task_of_a_process_tells_the_node() -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    async def main(kernel: Kernel) -> list[Any]:
        ref = await started(kernel, Actor)
        ref.cast(lambda server, _state: server.spawn_task(leave()) and None)
        return []

    interrupted(main)
