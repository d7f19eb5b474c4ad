"""Handlers that are coroutines run in a worker, a real Task, in the context of their process."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from actors import Actor, AsyncActor, Gate, TidyAsyncActor, run, started

from noex.runtime.kernel import Kernel

REQUEST = contextvars.ContextVar("request", default="none")


def test_a_worker_goes_on_with_queued_messages_of_both_kinds() -> None:
    # A worker is inside its context already: entering it again raised RuntimeError.
    async def main(kernel: Kernel) -> None:
        seen: list[object] = []
        ref = await started(kernel, TidyAsyncActor, seen=seen)
        ref.cast(1)
        ref.cast(lambda server, state: seen.append(2))
        ref.send(3)
        assert await ref.call(4) == 4
        await ref.stop()
        assert seen == [1, 2, 3, 4, ("terminate", "normal")]

    run(main)


def test_a_plain_handler_may_return_a_coroutine() -> None:
    async def main(kernel: Kernel) -> None:
        async def later(state: object) -> object:
            await asyncio.sleep(0)
            return "later", state

        ref = await started(kernel, Actor)
        assert await ref.call(lambda server, state: later(state)) == "later"
        assert await ref.call("again") == "again"

    run(main)


def test_timeouts_and_task_groups_inside_a_handler_touch_the_handler_alone() -> None:
    async def main(kernel: Kernel) -> None:
        async def handler(server: AsyncActor, state: object) -> object:
            task = asyncio.current_task()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(3600)
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(asyncio.sleep(0, n)) for n in (1, 2)]
            return (task, [done.result() for done in both]), state

        ref = await started(kernel, AsyncActor)
        task, results = await ref.call(handler)
        assert task is not asyncio.current_task() and results == [1, 2]
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_context_variables_belong_to_the_process() -> None:
    async def main(kernel: Kernel) -> None:
        async def set_later(server: AsyncActor, state: object) -> object:
            before = REQUEST.get()
            await asyncio.sleep(0)
            REQUEST.set("the process's")
            return before, state

        async def get(server: AsyncActor, state: object) -> object:
            return REQUEST.get(), state

        REQUEST.set("the starter's")
        ref = await started(kernel, AsyncActor)
        REQUEST.set("the caller's")
        assert await ref.call(set_later) == "the starter's"
        assert await ref.call(get) == "the process's"
        assert REQUEST.get() == "the caller's"

    run(main)


def test_a_plain_handler_leaks_no_context_into_its_caller() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await ref.call(lambda server, state: (REQUEST.set("the process's"), state))
        assert REQUEST.get() == "none"
        assert await ref.call(lambda server, state: (REQUEST.get(), state)) == "the process's"

    run(main)


def test_the_next_message_waits_until_the_handler_returns() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()
        seen: list[object] = []

        async def slow(server: AsyncActor, state: object) -> None:
            await gate.passage()
            seen.append("slow")

        ref = await started(kernel, AsyncActor, seen=seen)
        ref.cast(slow)
        ref.cast("next")
        await gate.reached.wait()
        assert seen == []
        gate.opened.set()
        assert await ref.call("last") == "last"
        assert seen == ["slow", "next", "last"]

    run(main)


def test_an_exception_in_a_coroutine_crashes_with_terminate_run() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[object] = []
        error = ValueError("boom")

        async def crash(server: AsyncActor, state: object) -> None:
            await asyncio.sleep(0)
            raise error

        ref = await started(kernel, TidyAsyncActor, seen=seen)
        ref.cast(crash)
        assert await ref.wait(2.0) is error
        assert seen == [("terminate", error)]

    run(main)
