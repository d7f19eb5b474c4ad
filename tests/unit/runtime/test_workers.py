"""Handlers that are coroutines begin at once, each in the name of a task of its own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from actors import run, started, until

from noex.runtime.errors import CallTimeoutError, ServerCrashedError
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply
from noex.runtime.workers import DISTRUST, SPARE, TRUST, Worker

Step = Callable[["Doing"], Awaitable[Any]]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Doing(GenServer[None]):
    """Does in its handler whatever it is sent."""

    def init(self) -> None:
        return None

    async def handle_call(self, message: Step, state: None) -> Any:
        return await message(self), state

    async def handle_cast(self, message: Step, state: None) -> None:
        await message(self)


async def nothing(_server: Any) -> str:
    return "done"


async def pause(_server: Any) -> str:
    await asyncio.sleep(0)  # sleep: gives way to the loop once
    return "done"


async def prepared(kernel: Kernel, spares: int = 1) -> Ref[Doing]:
    """A process of that class, and tasks that lie ready."""
    ref = await started(kernel, Doing)
    while len(kernel.workers._spare) < spares:
        kernel.workers._make()
        await asyncio.sleep(0)  # sleep: until it lies ready
    assert ref.process is not None
    ref.process.callbacks.trust = TRUST
    return ref


def spare_tasks() -> list[Worker]:
    return [task for task in asyncio.all_tasks() if isinstance(task, Worker) and task.work is None]


def test_a_handler_that_does_not_wait_is_done_in_the_turn_of_its_caller() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)
        call = ref.call(nothing)
        with pytest.raises(StopIteration) as stop:
            call.send(None)  # type: ignore[attr-defined]
        assert stop.value.value == "done"

    run(main)


def test_the_task_of_a_handler_is_its_own_from_the_first_step_to_the_last() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)
        caller = asyncio.current_task()
        seen: list[Any] = []

        async def look(_server: Any) -> None:
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)  # sleep: gives way to the loop once
            seen.append(asyncio.current_task())

        await ref.call(look)
        assert seen[0] is seen[1] is not caller
        assert asyncio.current_task() is caller
        await ref.call(nothing)

    run(main)


def test_two_that_begin_within_each_other_have_tasks_of_their_own() -> None:
    async def main(kernel: Kernel) -> None:
        outer, inner = await prepared(kernel, 2), await prepared(kernel, 2)
        seen: list[Any] = []

        async def ask(_server: Any) -> Any:
            seen.append(asyncio.current_task())
            reply = await inner.call(look)
            seen.append(asyncio.current_task())
            return reply

        async def look(server: Any) -> str:
            seen.append(asyncio.current_task())
            return await nothing(server)

        assert await outer.call(ask) == "done"
        assert seen[0] is seen[2] and seen[1] is not seen[0]

    run(main)


@pytest.mark.parametrize("waits", [False, True])
def test_a_timeout_in_the_first_step_is_the_handlers(waits: bool) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)

        async def limited(_server: Any) -> str:
            try:
                async with asyncio.timeout(0.01):
                    if not waits:
                        return "in time"
                    await asyncio.Event().wait()
            except TimeoutError:
                return "too late"
            return "never"

        for _ in range(3):
            assert await ref.call(limited) == ("too late" if waits else "in time")
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main)


def test_a_timeout_that_is_over_at_once_is_raised_where_the_handler_waits() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)

        async def limited(_server: Any) -> str:
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "too late"
            return "never"

        assert await ref.call(limited) == "too late"
        assert await ref.call(nothing) == "done"

    run(main)


def test_a_group_of_tasks_belongs_to_the_handler() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)

        async def fail() -> None:
            raise ValueError("one of them")

        async def grouped(_server: Any) -> str:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.Event().wait())
                    group.create_task(fail())
            except ExceptionGroup as failures:
                return str(failures.exceptions[0])
            return "never"

        assert await ref.call(grouped) == "one of them"
        assert await ref.call(nothing) == "done"

    run(main)


def test_cancelled_in_its_first_step_a_handler_hears_of_it_where_it_waits() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)

        async def cancels_itself(_server: Any) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.uncancel()
                return "heard"
            return "never"

        assert await ref.call(cancels_itself) == "heard"
        assert await ref.call(nothing) == "done"

    run(main)


@pytest.mark.parametrize("step", [pause, nothing])
def test_a_task_that_was_touched_serves_nobody_else(step: Step) -> None:
    async def main(kernel: Kernel) -> None:
        ref, other = await prepared(kernel), await prepared(kernel)
        used: list[Any] = []

        async def touches(server: Any) -> str:
            task = asyncio.current_task()
            assert task is not None
            used.append(task)
            task.cancel()
            task.uncancel()
            try:
                return str(await step(server))
            except asyncio.CancelledError:
                return "cancelled"

        await ref.call(touches)

        async def look(_server: Any) -> Any:
            used.append(asyncio.current_task())

        await other.call(look)
        assert used[0] is not used[1]

    run(main)


@pytest.mark.parametrize("reason", ["kill", "wanted"])
@pytest.mark.parametrize("waits", [False, True])
def test_a_handler_that_ends_its_own_process_in_its_first_step(reason: str, waits: bool) -> None:
    async def main(kernel: Kernel) -> None:
        ref, other = await prepared(kernel), await prepared(kernel)

        async def ends_itself(server: Doing) -> str:
            server.ref.exit(reason)
            if waits:
                await asyncio.Event().wait()
            return "never seen"

        with pytest.raises(ServerCrashedError) as crash:
            await ref.call(ends_itself)
        assert crash.value.reason == ("killed" if reason == "kill" else reason)
        assert not await ref.is_alive()
        assert await other.call(pause) == "done"

    run(main)


def test_one_killed_while_it_is_handed_over_hears_of_it() -> None:
    """Between the first step and the next turn of the loop the task has not adopted it yet."""

    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)
        heard: list[str] = []

        async def waits(_server: Any) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("cancelled")
                raise

        call = asyncio.ensure_future(ref.call(waits))
        await asyncio.sleep(0)  # sleep: one iteration: its first step is done
        ref.exit("kill")
        with pytest.raises(ServerCrashedError):
            await call
        assert heard == ["cancelled"]

    run(main)


def test_a_raise_in_the_first_step_is_a_crash_of_that_process_alone() -> None:
    async def main(kernel: Kernel) -> None:
        ref, other = await prepared(kernel), await prepared(kernel)

        async def fails(_server: Any) -> None:
            raise ValueError("at once")

        with pytest.raises(ServerCrashedError) as crash:
            await ref.call(fails)
        assert isinstance(crash.value.reason, ValueError)
        assert await other.call(nothing) == "done"

    run(main)


def test_what_is_set_in_the_context_stays_with_the_process() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)

        async def sets(_server: Any) -> None:
            variable.set("first step")
            await asyncio.sleep(0)  # sleep: gives way to the loop once
            assert variable.get() == "first step"
            variable.set("later")

        async def reads(_server: Any) -> str:
            return variable.get()

        await ref.call(sets)
        assert await ref.call(reads) == "later" and variable.get() == "unset"

    run(main)


def test_a_caller_that_gives_up_leaves_the_handler_to_its_end() -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate, ends = await prepared(kernel), asyncio.Event(), []

        async def waits(_server: Any) -> None:
            await gate.wait()
            ends.append("reached")

        with pytest.raises(CallTimeoutError):
            await ref.call(waits, timeout=0.01)
        gate.set()
        await until(lambda: ends == ["reached"])

    run(main)


def test_a_deferred_reply_comes_to_the_caller_of_a_first_step() -> None:
    class Deferring(GenServer[None]):
        def init(self) -> None:
            return None

        async def handle_call(self, message: Any, state: None) -> Any:
            assert self.caller is not None
            asyncio.get_running_loop().call_soon(self.caller.reply, message)
            return NoReply()

    async def main(kernel: Kernel) -> None:
        await prepared(kernel)
        ref = await started(kernel, Deferring)
        assert await ref.call("later") == "later"

    run(main)


def test_queued_casts_of_a_coroutine_are_handled_in_order() -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await prepared(kernel), []

        def note(number: int) -> Step:
            async def noting(_server: Any) -> None:
                if number % 3 == 0:
                    await asyncio.sleep(0)  # sleep: gives way to the loop once
                seen.append(number)

            return noting

        for number in range(500):
            ref.cast(note(number))
        await ref.call(nothing)
        assert seen == list(range(500))

    run(main)


def test_a_class_whose_handlers_wait_is_given_tasks_at_once_and_tried_again_later() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)
        assert ref.process is not None
        callbacks, kinds = ref.process.callbacks, []

        async def look(_server: Any) -> None:
            kinds.append(isinstance(asyncio.current_task(), Worker))
            await asyncio.sleep(0)  # sleep: gives way to the loop once

        for _ in range(TRUST * 4):
            await ref.call(look)
        assert any(kinds) and not any(kinds[-TRUST:]) and callbacks.trust < 0
        for _ in range(-DISTRUST):
            await ref.call(nothing)
        assert callbacks.trust > 0

    run(main)


def test_only_a_few_tasks_lie_ready_and_none_is_left_by_the_node() -> None:
    async def main(kernel: Kernel) -> None:
        refs = [await prepared(kernel) for _ in range(SPARE * 3)]
        for _ in range(5):
            await asyncio.gather(*(ref.call(nothing) for ref in refs))
            await asyncio.gather(*(ref.call(pause) for ref in refs))
        assert 0 < len(spare_tasks()) <= SPARE + 1

    run(main)  # looks that no task is left


def test_a_task_that_somebody_cancelled_while_it_lay_ready_is_passed_over() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)
        for task in spare_tasks():
            task.cancel()
        assert await ref.call(nothing) == "done"
        assert await ref.call(pause) == "done"

    run(main)


def test_where_a_task_stands_can_be_seen() -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate = await prepared(kernel), asyncio.Event()

        async def waits(_server: Any) -> None:
            await gate.wait()

        call = asyncio.ensure_future(ref.call(waits))
        await until(lambda: ref.process is not None and ref.process.worker is not None)
        info = await ref.info()
        assert info.status == "running" and "waits" in str(info.current_message)
        gate.set()
        await call

    run(main)


def test_a_long_chain_of_calls_does_not_pile_up_on_one_stack() -> None:
    class Link(GenServer[Any]):
        def init(self, following: Any) -> Any:
            return following

        async def handle_call(self, message: int, state: Any) -> Any:
            if state is None:
                return message, state
            return await state.call(message + 1), state

    async def main(kernel: Kernel) -> None:
        await prepared(kernel, SPARE)
        ref = None
        for _ in range(1000):
            ref = await started(kernel, Link, ref)
        assert ref is not None
        for _ in range(3):
            assert await ref.call(1) == 1000

    run(main)


def test_who_wants_to_hear_of_the_end_of_the_task_hears_of_the_handlers() -> None:
    # The spare task lay ready again, and told nobody before the node ended.
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)
        ended: list[Any] = []

        async def ask_to_hear(_server: Any) -> None:
            task = asyncio.current_task()
            assert isinstance(task, Worker)
            task.add_done_callback(ended.append)

        await ref.call(ask_to_hear)
        await until(lambda: ended)
        assert ended[0].done()

    run(main)


def test_a_task_that_was_cancelled_before_it_lay_ready_is_replaced() -> None:
    # It was waited for, for ever, and no handler began at once any more.
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Doing)
        kernel.workers._make()
        for task in spare_tasks():
            task.cancel()
        await until(lambda: not spare_tasks())
        await ref.call(nothing)
        await until(spare_tasks)

    run(main)


def test_a_task_that_does_not_lie_ready_yet_ends_with_the_node() -> None:
    async def main(kernel: Kernel) -> None:
        kernel.workers._make()  # `run` looks for tasks that are left, and gives them no turn

    run(main)


def test_the_message_of_a_cancellation_reaches_the_handler() -> None:
    # anyio knows its own cancellations by it.
    async def main(kernel: Kernel) -> None:
        ref = await prepared(kernel)

        async def cancelled(_server: Any) -> Any:
            task = asyncio.current_task()
            assert isinstance(task, Worker)
            task.cancel("because")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                task.uncancel()
                return error.args

        assert await ref.call(cancelled) == ("because",)

    run(main)
