"""`send_after` and `spawn_task`: what belongs to a process ends with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Actor, AsyncActor, Gate, run, started, turns, until

from noex.runtime.errors import InvalidOptionError, NoProcessError
from noex.runtime.kernel import Kernel
from noex.runtime.messages import TaskResult


async def timer(ref: Any, delay: float, message: Any) -> Any:
    return await ref.call(lambda server, state: (server.send_after(delay, message), state))


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        for delay, message in ((0.02, "c"), (0.0, "a"), (0.01, "b")):
            await timer(ref, delay, message)
        await until(lambda: len(seen) == 3)
        assert seen == ["a", "b", "c"]
        assert len(kernel.alarm) == 0 and not ref.process.timers

    run(main)


def test_a_cancelled_timer_delivers_nothing() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        cancelled, kept = await timer(ref, 0.01, "never"), await timer(ref, 0.02, "kept")
        assert cancelled.cancel() is True and cancelled.cancel() is False
        await until(lambda: seen)
        assert seen == ["kept"] and kept.cancel() is False

    run(main)


def test_the_timers_of_an_ended_process_are_forgotten() -> None:
    # They held the process and its state until their time came, in an hour.
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        pending = await timer(ref, 3600.0, "?")
        await ref.stop()
        assert len(kernel.alarm) == 0 and pending.cancel() is False

    run(main)


@pytest.mark.parametrize("delay", [-1, float("nan")])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)

        def attempt(server: Any, state: Any) -> Any:
            with pytest.raises(InvalidOptionError, match="delay"):
                server.send_after(delay, "?")
            return "refused", state

        assert await ref.call(attempt) == "refused"

    run(main)


@pytest.mark.parametrize("cls", [Actor, AsyncActor])
def test_the_result_of_a_task_comes_as_a_message(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        error = ValueError("boom")
        ref = await started(kernel, cls, seen=seen)

        async def work(outcome: Any) -> Any:
            await asyncio.sleep(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        async def spawn(outcome: Any) -> Any:
            return await ref.call(
                lambda server, state: (id(server.spawn_task(work(outcome))), state)
            )

        for outcome in (1, error, asyncio.CancelledError()):
            await spawn(outcome)
            await until(lambda: seen)
            result = seen.pop()
            assert isinstance(result, TaskResult)
            if outcome == 1:
                assert (result.value, result.error) == (1, None)
            else:
                assert result.value is None and type(result.error) is type(outcome)
        assert not ref.process.tasks and await ref.is_alive()

    run(main)


@pytest.mark.parametrize("end", ["stop", "kill", "crash", "at once"])
def test_a_task_dies_with_its_process(end: str) -> None:
    async def main(kernel: Kernel) -> None:
        gate, ended = Gate(), []

        async def work() -> None:
            try:
                await gate.passage()
            finally:
                ended.append(True)

        def spawn(server: Any, _state: Any) -> None:
            server.spawn_task(work())
            if end == "at once":  # the task is cancelled before its first step
                server.ref.exit("kill")

        ref = await started(kernel, Actor)
        ref.cast(spawn)
        if end == "at once":
            await ref.wait(1.0)
        else:
            await gate.reached.wait()
        if end == "stop":
            await ref.stop()
        elif end == "kill":
            ref.exit("kill")
        elif end == "crash":
            ref.cast(lambda _server, _state: 1 / 0)
            await ref.wait(1.0)
        before = kernel.dead_letters
        await until(lambda: not kernel.leaving)
        assert ended == ([] if end == "at once" else [True])
        assert kernel.dead_letters == before

    run(main)


def test_a_task_that_swallows_its_cancellation_is_a_zombie() -> None:
    async def main(kernel: Kernel) -> None:
        release, reached = asyncio.Event(), asyncio.Event()

        async def cling() -> None:
            reached.set()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

        ref = await started(kernel, Actor)
        ref.cast(lambda server, _state: server.spawn_task(cling()) and None)
        await reached.wait()
        await ref.stop()
        await until(lambda: kernel.zombies)
        assert list(kernel.zombies.values()) == [ref]
        release.set()
        await until(lambda: not kernel.zombies and not kernel.leaving)

    run(main, kill_grace=0.02)


def test_nothing_can_be_made_for_a_process_that_has_ended() -> None:
    async def main(kernel: Kernel) -> None:
        refused: list[Any] = []
        ref = await started(kernel, Actor)
        server = ref.process.server
        await ref.stop()
        for attempt in (
            lambda: server.spawn_task(asyncio.sleep(0)),
            lambda: server.send_after(0.0, 1),
            lambda: server.monitor(ref),
            lambda: server.link(ref),
        ):
            with pytest.raises(NoProcessError):
                attempt()
            refused.append(True)
        assert len(refused) == 4 and asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_a_message_to_a_process_that_ended_meanwhile_is_a_dead_letter() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await timer(ref, 0.0, "?")
        process = ref.process
        (late,) = process.timers
        ref.exit("kill")
        late._fire()  # its callback was on the way
        await turns()
        assert kernel.dead_letters == 1

    run(main)
