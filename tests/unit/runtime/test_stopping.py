"""Rule 7 of "Processes": orderly ends, kills, and what Python cannot kill (zombies)."""

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
    raises,
    run,
    started,
    turns,
    until,
)

from noex.runtime.errors import (
    CallCycleError,
    CallTimeoutError,
    NodeNotReachableError,
    NodeStoppedError,
    NoProcessError,
    ProcessKilledError,
    ServerCrashedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.returns import NoReply, Stop

BOTH = pytest.mark.parametrize("cls", [TidyActor, TidyAsyncActor])


def stands(gate: Gate) -> Any:
    async def handler(_server: Any, _state: Any) -> None:
        await gate.passage()

    return handler


def clings(release: asyncio.Event, does: Any = None) -> Any:
    """A handler that swallows every cancellation until released, and then does something."""

    async def handler(server: Any, _state: Any) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        if does is not None:
            await does(server)

    return handler


@BOTH
@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", 1), "other"])
def test_case_121_stop_then_stop_again(cls: type[Any], reason: Any) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen, options={"name": "it"})
        monitor = kernel.monitor(ref)
        ref.cast("before")
        await ref.stop(reason)
        assert seen == ["before", ("terminate", reason)]
        assert await monitor.wait() == reason and kernel.whereis("it") is None
        assert not await ref.is_alive()
        with pytest.raises(NoProcessError):
            await ref.stop(reason)

    run(main)


def test_case_122_stop_by_name() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor, options={"name": "it"})
        await kernel.named_ref("it").stop()
        assert not await ref.is_alive()
        with pytest.raises(NoProcessError):
            await kernel.named_ref("it").stop()
        with pytest.raises(NodeNotReachableError):
            await kernel.named_ref("it", "b@127.0.0.1:1").stop()

    run(main)


def test_stop_waits_for_the_handler_in_progress() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []
        ref = await started(kernel, TidyAsyncActor, seen=seen)
        ref.cast(stands(gate))
        await gate.reached.wait()
        stop = asyncio.create_task(ref.stop())
        await turns()
        assert not stop.done() and seen == []
        gate.opened.set()
        await stop
        assert seen == [("terminate", "normal")]

    run(main)


def test_a_stop_that_takes_too_long_says_so_and_goes_on() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()
        ref = await started(kernel, TidyAsyncActor)
        ref.cast(stands(gate))
        with pytest.raises(CallTimeoutError):
            await ref.stop(timeout=0.01)
        assert await ref.is_alive() and not ref.process.watchers
        gate.opened.set()
        assert await ref.wait(1.0) == "normal"

    run(main)


@BOTH
@pytest.mark.parametrize("second", ["first", "second"])
def test_of_two_stops_at_once_the_first_decides(cls: type[Any], second: str) -> None:
    """Who asked for another reason than the one that counted hears of it."""

    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        monitor = kernel.monitor(ref)
        stops = ref.stop("first"), ref.stop(second)
        told = await asyncio.gather(*stops, return_exceptions=True)
        assert await monitor.wait() == "first" and seen == [("terminate", "first")]
        assert told[0] is None
        if second == "first":
            assert told[1] is None
        else:
            assert isinstance(told[1], ServerCrashedError) and told[1].reason == "first"

    run(main)


@BOTH
def test_case_154_a_stop_of_what_ends_for_another_reason_raises_that(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        error = ValueError("boom")
        for does, reason in (
            (raises(error), error),
            (lambda _server, _state: Stop("odd"), "odd"),
            (lambda server, _state: server.ref.exit("kill"), "killed"),
        ):
            ref = await started(kernel, cls)
            ref.cast(does)
            with pytest.raises(ServerCrashedError) as caught:
                await ref.stop()
            assert caught.value.ref is ref and caught.value.reason is reason
            assert kernel.find(ref) is None

    run(main)


@BOTH
@pytest.mark.parametrize("reason", ["normal", ("shutdown", "x"), ValueError("asked"), None])
def test_case_154_a_process_that_ends_so_by_itself_has_been_stopped(
    cls: type[Any], reason: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        ref.cast(lambda _server, _state: Stop(reason))
        await ref.stop(reason)
        assert not await ref.is_alive()

    run(main)


def test_case_154_a_terminate_that_raises_leaves_the_reason_and_the_stop() -> None:
    async def main(kernel: Kernel) -> None:
        class Clumsy(Actor):
            def terminate(self, reason: Any, state: Any) -> None:
                raise RuntimeError("in terminate")

        ref = await started(kernel, Clumsy)
        await ref.stop("shutdown")
        assert not await ref.is_alive()

    run(main)


def test_case_127_a_process_cannot_wait_for_its_own_end() -> None:
    async def main(kernel: Kernel) -> None:
        async def stop_myself(server: Any, state: Any) -> Any:
            with pytest.raises(CallCycleError):
                await server.ref.stop()
            with pytest.raises(CallCycleError):
                await server.kernel.shutdown()
            return "lives", state

        ref = await started(kernel, AsyncActor)
        assert await ref.call(stop_myself) == "lives"
        assert await ref.call("still") == "still"

    run(main)


def test_a_process_cannot_stop_who_waits_for_it() -> None:
    async def main(kernel: Kernel) -> None:
        a, b = [await started(kernel, AsyncActor) for _ in range(2)]

        async def stop_a(_server: Any, state: Any) -> Any:
            with pytest.raises(CallCycleError):
                await a.stop()
            return "told", state

        async def ask_b(_server: Any, state: Any) -> Any:
            return await b.call(stop_a), state

        assert await a.call(ask_b, timeout=None) == "told"

    run(main)


def test_a_task_may_stop_its_own_process() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, TidyActor)
        ref.cast(lambda server, _state: server.spawn_task(server.ref.stop("mine")) and None)
        assert await ref.wait(1.0) == "mine"

    run(main)


def test_a_terminate_that_takes_too_long_is_killed() -> None:
    async def main(kernel: Kernel) -> None:
        class Slow(Actor):
            async def terminate(self, reason: Any, state: Any) -> None:
                await asyncio.sleep(3600)

        ref = await started(kernel, Slow)
        monitor = kernel.monitor(ref)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.stop()
        assert caught.value.reason == "killed" == await monitor.wait()
        assert len(kernel.alarm) <= 1  # the next look at what was cancelled

    run(main, terminate_timeout=0.01)


def test_a_quick_terminate_leaves_no_deadline() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, TidyAsyncActor)
        await ref.stop()
        await turns()
        assert len(kernel.alarm) == 0

    run(main)


# ---------------------------------------------------------------------- kill


@pytest.mark.parametrize("cls", [Actor, AsyncActor, TidyActor, TidyAsyncActor])
@pytest.mark.parametrize("moment", ["idle", "queued", "worker not begun", "in a handler"])
def test_a_kill_ends_without_terminate(cls: type[Any], moment: str) -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []
        ref = await started(kernel, cls, seen=seen, trap=True, options={"name": "it"})
        monitor = kernel.monitor(ref)
        if moment != "idle":
            ref.cast(stands(gate))
        if moment == "worker not begun":
            await until(lambda: ref.process.worker)
        elif moment == "in a handler":
            await gate.reached.wait()
        calls = [asyncio.create_task(ref.call("?", timeout=None)) for _ in range(2)]
        if moment == "in a handler":
            await turns()
        ref.exit("kill")
        assert not await ref.is_alive()
        assert ref.cast("?") is False
        assert await monitor.wait(1.0) == "killed"
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, ServerCrashedError | NoProcessError)
        assert seen == [] and kernel.whereis("it") is None

    run(main)


@pytest.mark.parametrize("kind", ["def", "inline", "async", "def with coroutine"])
def test_a_handler_may_kill_its_own_process(kind: str) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ran: list[Any] = []
        ref = await started(kernel, TidyAsyncActor if kind == "async" else TidyActor, seen=seen)
        monitor = kernel.monitor(ref)

        async def later() -> None:
            ran.append("too late")

        def handler(server: Any, state: Any) -> Any:
            server.ref.exit("kill")
            return later() if kind == "def with coroutine" else ("reply", state)

        async def in_worker(server: Any, _state: Any) -> None:
            server.ref.exit("kill")
            await asyncio.sleep(0)
            ran.append("too late")

        if kind == "inline":
            with pytest.raises(ServerCrashedError) as caught:
                await ref.call(handler)
            assert caught.value.reason == "killed"
        else:
            ref.cast(in_worker if kind == "async" else handler)
        ref.cast("never")
        assert await monitor.wait(1.0) == "killed"
        await turns()
        assert seen == [] and ran == []

    run(main)


@pytest.mark.parametrize("in_terminate", ["def", "async"])
def test_a_kill_during_terminate(in_terminate: str) -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        class Ends(Actor):
            def terminate(self, reason: Any, state: Any) -> Any:
                if in_terminate == "async":
                    return gate.passage()
                self.ref.exit("kill")
                return None

        ref = await started(kernel, Ends)
        monitor = kernel.monitor(ref)
        stop = asyncio.create_task(ref.stop())
        if in_terminate == "async":
            await gate.reached.wait()
            ref.exit("kill")
        assert await monitor.wait(1.0) == "killed"
        with pytest.raises(ServerCrashedError):
            await stop

    run(main)


def test_a_terminate_that_kills_itself_before_it_awaits() -> None:
    async def main(kernel: Kernel) -> None:
        ran: list[Any] = []

        class Ends(Actor):
            def terminate(self, reason: Any, state: Any) -> Any:
                self.ref.exit("kill")
                return self.later()

            async def later(self) -> None:
                ran.append("too late")

        ref = await started(kernel, Ends)
        monitor = kernel.monitor(ref)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.stop()
        assert caught.value.reason == "killed" == await monitor.wait()
        await turns()
        assert ran == []

    run(main)


def test_a_second_kill_changes_nothing() -> None:
    async def main(kernel: Kernel) -> None:
        gate, cancelled = Gate(), []

        async def count(_server: Any, _state: Any) -> None:
            try:
                await gate.passage()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        ref = await started(kernel, AsyncActor)
        ref.cast(count)
        await gate.reached.wait()
        ref.exit("kill")
        ref.exit("kill")
        ref.exit("shutdown")
        assert await ref.wait(1.0) == "killed" and cancelled == [True]

    run(main)


def test_a_signal_that_says_killed_is_no_kill_yet() -> None:
    # It was taken for one: the kill that followed was ignored, and the handler clung for ever.
    async def main(kernel: Kernel) -> None:
        release, gate = asyncio.Event(), Gate()

        async def cling(server: Any, state: Any) -> None:
            gate.reached.set()
            await clings(release)(server, state)

        ref = await started(kernel, AsyncActor)
        ref.cast(cling)
        await gate.reached.wait()
        ref.exit("killed")
        await turns()
        assert await ref.is_alive()
        ref.exit("kill")
        assert await ref.wait(2.0) == "killed" and len(kernel.zombies) == 1
        release.set()
        await until(lambda: not kernel.zombies)

    run(main, kill_grace=0.02)


# ---------------------------------------------------------------------- zombies


def test_a_handler_that_swallows_its_cancellation_is_a_zombie_after_the_grace(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        release, refused, done = asyncio.Event(), [], asyncio.Event()
        other = await started(kernel, Actor)

        async def use_everything(server: Any) -> None:
            for operation in (
                lambda: other.cast(1),
                lambda: other.send(1),
                lambda: other.exit("kill"),
                lambda: server.send_after(0.0, 1),
            ):
                try:
                    operation()
                except ProcessKilledError as error:
                    refused.append(error.ref)
            for coroutine in (
                other.call(1),  # to an idle process with a plain handler: the fast path
                other.stop(),
                kernel.start(Actor),
            ):
                try:
                    await coroutine
                except ProcessKilledError as error:
                    refused.append(error.ref)
            try:
                server.spawn_task(asyncio.sleep(0))
            except ProcessKilledError as error:
                refused.append(error.ref)
            done.set()

        ref = await started(kernel, AsyncActor, options={"name": "it"})
        ref.cast(clings(release, use_everything))
        await until(lambda: ref.process.worker)
        waiting = asyncio.create_task(ref.call("?", timeout=None))
        await turns()
        ref.exit("kill")
        with pytest.raises(ServerCrashedError):
            await waiting
        assert kernel.whereis("it") is ref  # not before the grace is over
        assert await ref.wait(2.0) == "killed"
        assert kernel.whereis("it") is None and list(kernel.zombies.values()) == [ref]
        assert await other.call("everybody else") == "everybody else"
        release.set()
        await asyncio.wait_for(done.wait(), 2.0)
        assert refused == [ref] * 8 and await other.is_alive()
        await until(lambda: not kernel.zombies)
        assert kernel.guarded is False
        (record,) = [r for r in caplog.records if r.noex["event"] == "zombie"]
        assert any("test_stopping" in frame for frame in record.noex["stack"])

    run(main, kill_grace=0.05)


def test_within_the_grace_a_handler_may_clean_up() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []
        other = await started(kernel, Actor, seen=seen)

        async def tidy(_server: Any, _state: Any) -> None:
            try:
                await gate.passage()
            finally:
                assert await other.call("bye") == "bye"

        ref = await started(kernel, AsyncActor)
        ref.cast(tidy)
        await gate.reached.wait()
        ref.exit("kill")
        assert await ref.wait(1.0) == "killed" and seen == ["bye"]

    run(main)


def test_a_cancelled_handler_that_clings_is_killed_in_the_end() -> None:
    async def main(kernel: Kernel) -> None:
        release = asyncio.Event()
        ref = await started(kernel, AsyncActor)
        ref.cast(clings(release))
        await until(lambda: ref.process.worker)
        await turns()
        ref.exit("shutdown")
        assert await ref.wait(2.0) == "killed"
        release.set()
        await until(lambda: not kernel.zombies)

    run(main, kill_grace=0.02, terminate_timeout=0.02)


def test_a_cancelled_handler_that_returns_all_the_same_ends_for_the_reason() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []

        async def shrug(_server: Any, _state: Any) -> Any:
            try:
                await gate.passage()
            except asyncio.CancelledError:
                return "a state"

        ref = await started(kernel, AsyncActor, seen=seen)
        ref.cast(shrug)
        ref.cast("never")
        await gate.reached.wait()
        ref.exit("why")
        assert await ref.wait(1.0) == "why" and seen == []

    run(main)


# ---------------------------------------------------------------------- the node


def test_shutdown_ends_the_youngest_first_and_children_after_their_parents_had_their_turn() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []

        class Named(Actor):
            def terminate(self, reason: Any, state: Any) -> None:
                seen.append((self.name, reason))

        old = await started(kernel, Named, options={"name": "old"})
        await started(kernel, Named, options={"name": "child", "parent": old})
        await started(kernel, Named, options={"name": "young"})
        await kernel.shutdown()
        assert seen == [("young", "shutdown"), ("old", "shutdown"), ("child", "shutdown")]

    run(main)


def test_after_shutdown_the_node_refuses_with_a_clear_error() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await kernel.shutdown()
        with pytest.raises(NodeStoppedError, match="stop"):
            await kernel.start(Actor)
        with pytest.raises(NodeStoppedError):
            await ref.call("?")
        assert ref.cast("?") is False and await ref.wait() == "noproc"
        await kernel.shutdown()  # again: nothing to do

    run(main)


def test_nothing_is_started_any_more_once_shutdown_has_begun() -> None:
    async def main(kernel: Kernel) -> None:
        refusals: list[Any] = []

        class Breeds(Actor):
            async def terminate(self, reason: Any, state: Any) -> None:
                try:
                    await self.kernel.start(Actor)
                except NodeStoppedError as error:
                    refusals.append(error)

        await started(kernel, Breeds)
        await kernel.shutdown()
        assert len(refusals) == 1 and kernel.process_count == 0

    run(main)


def test_shutdown_kills_what_does_not_end_in_time_and_leaves_no_task() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        async def beside() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await turns(20)

        def spawn(server: Any, _state: Any) -> Any:
            server.spawn_task(beside())
            return NoReply()

        ref = await started(kernel, TidyAsyncActor)
        ref.cast(spawn)
        ref.cast(stands(gate))
        await gate.reached.wait()
        monitor = kernel.monitor(ref)
        await kernel.shutdown(timeout=0.02)
        assert await monitor.wait() == "killed"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
