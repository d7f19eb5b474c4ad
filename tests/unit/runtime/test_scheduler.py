"""The run queue is held, and released in the turn of whoever has filled it."""

from __future__ import annotations

import asyncio

from actors import Actor, run, started, until

from noex.runtime.kernel import Kernel


def test_what_comes_while_the_queue_is_held_runs_when_it_is_released() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        seen = kernel.find(ref).server.seen
        assert kernel.scheduler.hold()
        ref.cast("first")
        await asyncio.sleep(0)  # sleep: gives way to the loop once
        assert seen == []
        kernel.scheduler.release()
        assert seen == ["first"]
        ref.cast("second")  # and goes on by itself
        await until(lambda: seen == ["first", "second"])

    run(main)


def test_a_queue_that_is_about_to_run_cannot_be_held() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        seen = kernel.find(ref).server.seen
        ref.cast("first")
        assert not kernel.scheduler.hold()
        await until(lambda: seen == ["first"])
        assert kernel.scheduler.hold() and not kernel.scheduler.hold()
        kernel.scheduler.release()

    run(main)


def test_a_long_queue_gives_way_to_the_loop_also_when_it_is_released() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        seen = kernel.find(ref).server.seen
        assert kernel.scheduler.hold()
        for n in range(200_000):
            ref.cast(n)
        kernel.scheduler.release()
        assert 0 < len(seen) < 200_000
        await until(lambda: len(seen) == 200_000, 30.0)
        assert seen == list(range(200_000))

    run(main)
