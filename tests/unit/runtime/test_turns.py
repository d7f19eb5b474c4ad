"""Callers that take turns: nobody starves, nobody passes, and the loop breathes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from actors import run, started, until

from noex.runtime.errors import CallTimeoutError, NoexError, NoProcessError, ServerCrashedError
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.turns import LINE, MOST, PATIENCE, TURN, PacedTurns


class Work:
    """A measure of work that moves only when a test says so."""

    def __init__(self) -> None:
        self.done = 1.0

    def __call__(self) -> float:
        return self.done


class Echo(GenServer[int]):
    def init(self) -> int:
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        return message, state + 1


def paced() -> tuple[PacedTurns, Work]:
    work = Work()
    return PacedTurns(asyncio.get_running_loop(), work), work


async def come(line: PacedTurns, work: Work) -> bool:
    """Stand in line, whatever is left of the budget."""
    if line.may_run():
        work.done += TURN
    assert not line.may_run()
    return await line.comes()


def test_the_budget_is_used_up_by_work_and_renewed_by_the_loop() -> None:
    async def main() -> None:
        line, work = paced()
        assert line.may_run()
        work.done += TURN * 0.6
        assert line.may_run()
        work.done += TURN * 0.6
        assert not line.may_run()
        await asyncio.sleep(0)  # sleep: one iteration of the loop
        assert line.may_run()

    asyncio.run(main())


def test_who_waits_is_woken_in_the_order_in_which_they_came() -> None:
    async def main() -> None:
        line, work = paced()
        woken: list[int] = []

        async def caller(number: int) -> None:
            assert await come(line, work)
            woken.append(number)

        await asyncio.gather(*(caller(number) for number in range(MOST * 3)))
        assert woken == list(range(MOST * 3))

    asyncio.run(main())


def test_nobody_passes_those_who_wait() -> None:
    async def main() -> None:
        line, work = paced()
        woken: list[str] = []

        async def caller(name: str) -> None:
            await come(line, work)
            work.done += TURN  # and uses up all there is
            woken.append(name)

        first = [asyncio.create_task(caller("waits")) for _ in range(5)]
        while not line._line:
            await asyncio.sleep(0)  # sleep: until they stand in line
        await asyncio.gather(caller("comes later"), *first)
        assert woken == ["waits"] * 5 + ["comes later"]

    asyncio.run(main())


def test_a_caller_that_was_cancelled_in_line_is_passed_over() -> None:
    async def main() -> None:
        line, work = paced()
        tasks = [asyncio.create_task(come(line, work)) for _ in range(3)]
        while len(line._line) < 3:
            await asyncio.sleep(0)  # sleep: until they stand in line
        tasks[0].cancel()
        assert await asyncio.wait_for(tasks[2], 5) and tasks[1].result()
        assert tasks[0].cancelled()
        while line._end != 0.0:
            await asyncio.sleep(0)  # sleep: until the line is empty
        assert line.may_run()

    asyncio.run(main())


def test_a_line_that_is_too_long_is_refused_at_once() -> None:
    async def main() -> None:
        line, work = paced()
        tasks = [asyncio.create_task(come(line, work)) for _ in range(LINE + 10)]
        outcomes = await asyncio.gather(*tasks)
        assert outcomes.count(False) == 10 and not any(outcomes[LINE:])

    asyncio.run(main())


def test_one_iteration_wakes_no_more_than_fit() -> None:
    """Each of those woken works for a long time: the rest of them must not add theirs."""

    async def main() -> None:
        line, work = paced()
        loop, per_iteration, count = asyncio.get_running_loop(), [], 0

        def tick() -> None:
            nonlocal count
            per_iteration.append(count)
            count = 0
            if any(not task.done() for task in tasks):
                loop.call_soon(tick)

        async def caller() -> None:
            nonlocal count
            if await come(line, work):
                work.done += TURN
                count += 1

        tasks = [asyncio.create_task(caller()) for _ in range(400)]
        loop.call_soon(tick)
        await asyncio.gather(*tasks)
        assert 0 < max(per_iteration) <= 4

    asyncio.run(main())


def test_who_has_waited_for_long_is_sent_to_the_mailboxes() -> None:
    async def main() -> None:
        line, work = paced()
        tasks = [asyncio.create_task(come(line, work)) for _ in range(MOST)]
        while len(line._line) < MOST:
            await asyncio.sleep(0)  # sleep: until they stand in line
        work.done += PATIENCE
        await asyncio.sleep(0)  # sleep: one iteration of the loop wakes them all
        assert not line._line
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_calls_to_slow_processes_time_out_in_time() -> None:
    # A call in line had no timeout: of 500 processes that take 5 ms each, the last was answered
    # after 2.5 s, whatever timeout was given.
    class Slow(GenServer[int]):
        def init(self) -> int:
            return 0

        def handle_call(self, message: Any, state: int) -> Any:
            end = time.perf_counter() + 0.005
            while time.perf_counter() < end:
                pass
            return message, state

    async def main(kernel: Kernel) -> None:
        refs = [await started(kernel, Slow) for _ in range(500)]
        begun = kernel.loop.time()
        calls = (ref.call(1, timeout=0.1) for ref in refs)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(each, CallTimeoutError) for each in outcomes) > 100
        assert kernel.loop.time() - begun < 2.0

    run(main)


def test_a_caller_alone_has_the_whole_budget_again() -> None:
    async def main() -> None:
        line, work = paced()
        assert await come(line, work)
        work.done += TURN * 0.9
        assert line.may_run()

    asyncio.run(main())


def test_of_a_thousand_callers_none_starves() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Echo)
        counts, total = [0] * 1000, 0

        async def caller(index: int) -> None:
            nonlocal total
            while total < 100_000:
                await ref.call(index)
                counts[index] += 1
                total += 1

        await asyncio.gather(*(caller(index) for index in range(1000)))
        assert min(counts) > 0

    run(main)


def test_a_process_that_ended_while_its_caller_stood_in_line_is_told() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Echo)
        await until(lambda: kernel.turns._end == 0.0)
        kernel.turns._end = 1e-9  # the budget is used up, until `_next_iteration`
        waiting = asyncio.create_task(ref.call(1))
        while not kernel.turns._line:
            await asyncio.sleep(0)  # sleep: until it stands in line
        ref.exit("kill")
        kernel.turns._next_iteration()
        try:
            await waiting
        except NoProcessError:
            pass
        else:
            raise AssertionError("a dead process has answered")

    run(main)


def test_a_process_that_was_busy_when_the_turn_came_answers_from_its_mailbox() -> None:
    class Slow(GenServer[int]):
        def init(self) -> int:
            return 0

        def handle_call(self, message: Any, state: int) -> Any:
            return self._later(message, state) if message == "wait" else (message, state)

        async def _later(self, message: Any, state: int) -> Any:
            await release.wait()
            return message, state

    release = asyncio.Event()

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Slow)
        await until(lambda: kernel.turns._end == 0.0)
        kernel.turns._end = 1e-9
        waiting = asyncio.create_task(ref.call("second"))
        while not kernel.turns._line:
            await asyncio.sleep(0)  # sleep: until it stands in line
        first = kernel.loop.create_task(kernel.call(ref, "wait", 5.0))
        while ref.process is None or ref.process.worker is None:
            await asyncio.sleep(0)  # sleep: until the first one is being handled
        kernel.turns._next_iteration()
        assert not waiting.done()
        release.set()
        assert await waiting == "second" and await first == "wait"

    run(main)


def test_starting_processes_in_a_row_leaves_the_loop_its_turns() -> None:
    async def main(kernel: Kernel) -> None:
        ticks, done = 0, False

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if not done:
                kernel.loop.call_soon(tick)

        kernel.loop.call_soon(tick)
        for _ in range(5000):
            await kernel.start(Echo)
        done = True
        assert ticks > 2

    run(main)


def test_a_timeout_counts_from_the_mailbox_for_whoever_stood_in_line() -> None:
    class Never(GenServer[int]):
        def init(self) -> int:
            return 0

        async def handle_call(self, message: Any, state: int) -> Any:
            await asyncio.Event().wait()

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Never)
        await until(lambda: kernel.turns._end == 0.0)
        kernel.turns._end = 1e-9
        kernel.loop.call_soon(kernel.turns._next_iteration)
        try:
            await ref.call(1, timeout=0.05)
        except CallTimeoutError:
            pass
        else:
            raise AssertionError("it cannot have answered")

    run(main)


GONE: dict[str, Callable[[Kernel, Any], Any]] = {
    "call": lambda kernel, ref: ref.call(1),
    "call by name": lambda kernel, ref: kernel.named_ref("nobody").call(1),
    "is_alive": lambda kernel, ref: ref.is_alive(),
    "stop": lambda kernel, ref: ref.stop(),
    "wait": lambda kernel, ref: ref.wait(),
    "info": lambda kernel, ref: ref.info(),
    "a taken name": lambda kernel, ref: kernel.start(Echo, name="taken"),
}


@pytest.mark.parametrize("what", list(GONE))
def test_who_tries_in_vain_again_and_again_leaves_the_loop_its_turns(what: str) -> None:
    # What is refused at once never waited for anything, and the loop stood still for ever.
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Echo)
        await started(kernel, Echo, options={"name": "taken"})
        ref.exit("kill")
        had_its_turn: list[bool] = []
        kernel.loop.call_soon(had_its_turn.append, True)
        end = time.perf_counter() + 5.0
        while not had_its_turn:
            assert time.perf_counter() < end, "the loop has no turn"
            with contextlib.suppress(NoexError):
                await GONE[what](kernel, ref)

    run(main)


@pytest.mark.parametrize("ask", ["stop", "wait"])
def test_who_gives_way_first_still_hears_why_a_process_has_ended(ask: str) -> None:
    class Failing(GenServer[None]):
        def init(self) -> None:
            return None

        def handle_cast(self, message: Any, state: None) -> None:
            raise ValueError("on a message before")

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Failing)
        ref.cast("now")
        kernel.turns._end = 1e-9  # the budget is used up, until `_next_iteration`
        kernel.loop.call_soon(kernel.turns._next_iteration)
        if ask == "wait":
            assert isinstance(await ref.wait(), ValueError)
        else:
            with pytest.raises(ServerCrashedError) as crash:
                await ref.stop()
            assert isinstance(crash.value.reason, ValueError)

    run(main)
