"""Rule 5 of "Processes": a handler that raises ends its process, and what is told about it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from actors import (
    Actor,
    AsyncActor,
    Gate,
    TidyActor,
    TidyAsyncActor,
    raises,
    run,
    started,
    turns,
    until,
)

from noex.runtime.errors import UnhandledMessageError
from noex.runtime.kernel import Kernel
from noex.runtime.messages import Down, Exit
from noex.runtime.returns import NoReply, Stop, Unhandled

BOTH = pytest.mark.parametrize("cls", [TidyActor, TidyAsyncActor])


def reports(caplog: Any) -> list[dict[str, Any]]:
    return [record.noex for record in caplog.records if record.name == "noex"]


@BOTH
@pytest.mark.parametrize("operation", ["call", "cast", "send", "continue"])
def test_every_callback_may_crash(cls: type[Any], operation: str) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watched: list[Any] = []
        error = ValueError("boom")
        ref = await started(kernel, cls, seen=seen, name_is="it")
        linked = await started(kernel, Actor, seen=watched, trap=True)
        await linked.call(lambda server, state: (server.link(ref), state))
        monitor = kernel.monitor(ref)
        if operation == "call":
            await asyncio.gather(ref.call(raises(error)), return_exceptions=True)
        elif operation == "continue":
            ref.cast(lambda _server, _state: NoReply(continue_with=raises(error)))
        else:
            getattr(ref, operation)(raises(error))
        assert await monitor.wait(1.0) is error
        assert seen == [("terminate", error)]
        await until(lambda: watched)
        assert watched == [Exit(ref, error)]

    run(main)


@BOTH
def test_system_exit_crashes_the_process_alone(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        other = await started(kernel, cls)
        for operation in ("cast", "call"):
            ref = await started(kernel, cls)
            monitor = kernel.monitor(ref)
            error = SystemExit(3)
            if operation == "cast":
                ref.cast(raises(error))
            else:
                outcome = await asyncio.gather(ref.call(raises(error)), return_exceptions=True)
                assert outcome[0].reason is error
            assert await monitor.wait(1.0) is error
        assert await other.call("alive") == "alive"

    run(main)


def test_system_exit_in_terminate_and_in_a_task_is_kept_in_too() -> None:
    async def main(kernel: Kernel) -> None:
        class Quits(Actor):
            async def terminate(self, reason: Any, state: Any) -> None:
                raise SystemExit(3)

        async def leave() -> None:
            raise SystemExit(4)

        seen: list[Any] = []
        ref = await started(kernel, Quits, seen=seen)
        ref.cast(lambda server, _state: server.spawn_task(leave()) and None)
        await until(lambda: seen)
        assert isinstance(seen[0].error, RuntimeError)
        assert isinstance(seen[0].error.__cause__, SystemExit)
        await ref.stop()

    run(main)


@pytest.mark.parametrize("where", ["def", "async", "inline", "init", "async init"])
def test_keyboard_interrupt_propagates_and_tells_the_node(where: str, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL, "noex")  # a record would keep the frames alive
    told: list[type] = []  # the error itself would keep its frames alive
    ended: list[Any] = []
    complaints: list[Any] = []

    class Interrupted(Actor):
        def init(self, **options: Any) -> Any:
            if where == "init":
                raise KeyboardInterrupt
            return self.later() if where == "async init" else super().init(**options)

        async def later(self) -> None:
            await asyncio.sleep(0)
            raise KeyboardInterrupt

        def terminate(self, reason: Any, state: Any) -> None:
            ended.append(type(reason))

    async def handler(_server: Any, _state: Any) -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    async def main() -> None:
        kernel = Kernel()
        kernel.on_interrupt = lambda error: told.append(type(error))
        kernel.loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        ref = await kernel.start(Interrupted)
        assert ref is not None
        if where == "inline":
            await ref.call(raises(KeyboardInterrupt()))
        ref.cast(handler if where == "async" else raises(KeyboardInterrupt()))
        await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    gc.collect()
    assert told == [KeyboardInterrupt] and complaints == []
    if "init" not in where:
        assert ended == [KeyboardInterrupt]


def test_keyboard_interrupt_in_terminate_does_not_cut_a_wave_of_deaths_short() -> None:
    told: list[BaseException] = []
    gone: list[Any] = []

    class Interrupted(Actor):
        def terminate(self, reason: Any, state: Any) -> None:
            raise KeyboardInterrupt

    async def main() -> None:
        kernel = Kernel()
        kernel.on_interrupt = told.append
        ref = await started(kernel, Interrupted)
        others = [await started(kernel, Actor) for _ in range(3)]
        for other in others:
            kernel.link(other.process, ref)
        ref.cast(lambda _server, _state: Stop("boom"))
        try:
            await asyncio.sleep(3600)
        finally:
            gone.extend(other.process for other in others)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert len(told) == 1 and gone == [None, None, None]


@BOTH
def test_a_cancelled_error_that_is_not_ours_is_a_crash(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast(raises(asyncio.CancelledError()))
        assert isinstance(await ref.wait(1.0), asyncio.CancelledError)
        assert len(seen) == 1

    run(main)


@pytest.mark.parametrize("started_yet", [False, True])
def test_a_worker_cancelled_from_outside_is_a_crash(started_yet: bool) -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []

        async def stand(_server: Any, _state: Any) -> None:
            await gate.passage()

        ref = await started(kernel, TidyAsyncActor, seen=seen)
        ref.cast(stand)
        await until(lambda: ref.process.worker)
        if started_yet:
            await gate.reached.wait()
        ref.process.worker.cancel()
        assert isinstance(await ref.wait(1.0), asyncio.CancelledError)
        assert len(seen) == 1 and seen[0][0] == "terminate"

    run(main)


# ---------------------------------------------------------------------- reports


@BOTH
def test_case_124_a_crash_makes_exactly_one_report(cls: type[Any], caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        parent = await started(kernel, Actor)
        ref = await started(kernel, cls, options={"name": "it", "parent": parent})

        def boom(_server: Any, _state: Any) -> Any:
            raise ValueError("boom")

        ref.cast(boom)
        await ref.wait(1.0)
        (report,) = reports(caplog)
        assert report["event"] == "process_crashed"
        assert report["behavior"] == f"{cls.__qualname__}" and report["name"] == "it"
        assert report["ref"] == str(ref) and report["ancestors"] == [str(parent)]
        assert "boom" in report["last_message"] and "seen" in report["state"]
        (record,) = [record for record in caplog.records if record.name == "noex"]
        assert record.levelno == logging.ERROR
        assert record.exc_info[1].args == ("boom",)
        assert "def boom" not in record.getMessage()

    run(main)


def test_case_155_a_report_tells_of_ancestors_links_and_the_mailbox(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        oldest = await started(kernel, Actor, options={"name": "oldest"})
        middle = await started(kernel, Actor, options={"parent": oldest})
        ref = await started(kernel, Actor, options={"parent": middle})
        linked = await started(kernel, Actor, trap=True)
        await linked.call(lambda server, state: (server.link(ref), state))
        ref.cast(raises(ValueError("boom")))
        for number in range(3):
            ref.cast(number)
        await ref.wait(1.0)
        (report,) = reports(caplog)
        assert report["behavior"] == "Actor" and report["queued"] == 3
        assert report["ancestors"] == [str(middle), str(oldest)]
        assert report["links"] == [str(linked)]

    run(main)


@BOTH
@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "why")])
def test_case_124_an_orderly_end_makes_no_report(cls: type[Any], reason: Any, caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        ref.cast(lambda _server, _state: Stop(reason))
        assert await ref.wait(1.0) == reason
        ref = await started(kernel, cls)
        await ref.stop(reason)
        assert reports(caplog) == []

    run(main)


@pytest.mark.parametrize(
    ("reason", "event"), [("odd", "process_stopped"), (ValueError("x"), "process_crashed")]
)
def test_a_stop_for_another_reason_is_reported(reason: Any, event: str, caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        ref.cast(lambda _server, _state: Stop(reason))
        assert await ref.wait(1.0) is reason
        assert [report["event"] for report in reports(caplog)] == [event]

    run(main)


def test_case_145_format_status_hides_what_a_report_may_not_show(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        class Secretive(Actor):
            def format_status(self, state: Any) -> Any:
                return "<secret>"

        ref = await started(kernel, Secretive, password="hunter2")
        ref.cast(raises(ValueError("boom")))
        await ref.wait(1.0)
        (report,) = reports(caplog)
        assert "secret" in report["state"] and "hunter2" not in caplog.text

    run(main)


@pytest.mark.parametrize("failure", [KeyError("hook"), SystemExit(3)])
def test_case_145_a_format_status_that_fails_changes_no_reason(
    failure: BaseException, caplog: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        class Clumsy(Actor):
            def format_status(self, state: Any) -> Any:
                raise failure

        error = ValueError("boom")
        ref = await started(kernel, Clumsy)
        ref.cast(raises(error))
        assert await ref.wait(1.0) is error
        assert "format_status failed" in reports(caplog)[0]["state"]

    run(main)


def test_a_message_that_cannot_be_shown_does_not_disturb_the_report(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        class Shy:
            def __repr__(self) -> str:
                raise RuntimeError("no picture")

        class Refuses(Actor):
            def handle_cast(self, message: Any, state: Any) -> Any:
                raise Unhandled(message)

        ref = await started(kernel, Refuses)
        ref.cast(Shy())
        assert isinstance(await ref.wait(1.0), UnhandledMessageError)
        assert [report["event"] for report in reports(caplog)] == ["process_crashed"]

    run(main)


@pytest.mark.parametrize("cls", [TidyActor, TidyAsyncActor])
def test_a_terminate_that_crashes_leaves_the_reason(cls: type[Any], caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        class Clumsy(cls):  # type: ignore[misc]
            def terminate(self, reason: Any, state: Any) -> Any:
                if cls is TidyAsyncActor:
                    return self.later()
                raise RuntimeError("in terminate")

            async def later(self) -> None:
                await asyncio.sleep(0)
                raise RuntimeError("in terminate")

        error = ValueError("boom")
        ref = await started(kernel, Clumsy, options={"name": "it"})
        ref.cast(raises(error))
        assert await ref.wait(1.0) is error
        assert kernel.whereis("it") is None
        events = [report["event"] for report in reports(caplog)]
        assert events == ["process_crashed", "terminate_failed"]

    run(main)


def test_case_125_an_attribute_error_inside_a_callback_is_a_crash(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        class Broken(Actor):
            def handle_info(self, message: Any, state: Any) -> Any:
                return None.handle_info  # type: ignore[attr-defined]

            def terminate(self, reason: Any, state: Any) -> Any:
                return None.terminate  # type: ignore[attr-defined]

        ref = await started(kernel, Broken)
        ref.send("anything")
        assert isinstance(await ref.wait(1.0), AttributeError)
        events = [report["event"] for report in reports(caplog)]
        assert events == ["process_crashed", "terminate_failed"]

    run(main)


def test_case_125_an_unexpected_message_is_a_warning_with_its_text(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        from actors import Mute

        ref = await started(kernel, Mute)
        dead = await started(kernel, Mute)
        kernel.monitor(dead, ref.process)
        ref.send("who are you")
        await dead.stop()
        await turns()
        assert await ref.is_alive()
        (report,) = reports(caplog)  # a Down is not worth one
        assert report["event"] == "unexpected_message" and "who are you" in report["message"]

    run(main)


def test_a_loop_that_is_gone_is_no_crash(caplog: Any) -> None:
    async def main() -> None:
        gate = Gate()

        async def stand(_server: Any, _state: Any) -> None:
            await gate.passage()

        ref = await started(Kernel(), AsyncActor)
        ref.cast(stand)
        await gate.reached.wait()
        workers.append(ref.process.worker)

    workers: list[asyncio.Task[Any]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    workers[0]._log_destroy_pending = False  # asyncio's own word about it
    workers[0].get_coro().close()
    assert reports(caplog) == []


def test_percent_signs_in_a_report_are_text(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        kernel.log.warning("100%s of it", share="5%d")
        line = caplog.records[-1].getMessage()
        assert line.startswith("100%s of it ") and "share='5%d'" in line

    run(main)


def test_a_down_for_a_crash_carries_the_very_exception() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        error = ValueError("boom")
        watcher = await started(kernel, Actor, seen=seen)
        ref = await started(kernel, AsyncActor)
        monitor = await watcher.call(lambda server, state: (server.monitor(ref), state))
        ref.cast(raises(error))
        await until(lambda: seen)
        assert seen == [Down(monitor, ref, error)]

    run(main)
