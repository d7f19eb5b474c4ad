"""Nobody starves: neither other processes, nor the rest of the loop. Counted in turns."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from actors import Actor, AsyncActor, run, started

from noex.runtime.execution import WORKER_SLICE
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.states import MESSAGES_PER_SLICE


class Feeds(GenServer[int]):
    """Sends itself the next message with each one, for ever."""

    def init(self) -> int:
        return 0

    def handle_cast(self, message: Any, state: int) -> int:
        self.ref.cast("more")
        return state + 1


class FeedsAsync(Feeds):
    """The same in coroutines that never wait for anything."""

    async def handle_cast(self, message: Any, state: int) -> int:
        self.ref.cast("more")
        return state + 1


class FeedsMixed(Feeds):
    """Plain handlers inside a worker."""

    async def handle_info(self, message: Any, state: int) -> None:
        self.ref.cast("more")


async def laps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("cls", [Feeds, FeedsAsync, FeedsMixed])
def test_a_process_that_feeds_itself_lets_the_loop_go_round(cls: type[Any]) -> None:
    # A worker whose handlers never suspended kept the loop to itself.
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        ref.cast("more")
        ref.send("more")
        await laps(20)
        assert ref.process.state >= 20  # it did go on in each of them
        ref.exit("kill")

    run(main)


class Rounds:
    """Counts how often the loop has gone round."""

    def __init__(self) -> None:
        self.count = 0
        self.handle = asyncio.get_running_loop().call_soon(self.next)

    def next(self) -> None:
        self.count += 1
        self.handle = asyncio.get_running_loop().call_soon(self.next)


@pytest.mark.parametrize("cls", [Feeds, FeedsAsync])
def test_a_process_that_feeds_itself_lets_others_have_their_turn(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        greedy = await started(kernel, cls)
        other = await started(kernel, Actor)
        greedy.cast("more")
        rounds = Rounds()
        for _ in range(20):
            before = rounds.count
            other.cast("queue it")  # so that the call takes the long way, behind the greedy one
            await other.call("hello")
            assert rounds.count - before <= 4
        rounds.handle.cancel()
        greedy.exit("kill")

    run(main)


@pytest.mark.parametrize("cls", [Actor, AsyncActor])
def test_a_flooded_process_goes_before_another_for_a_slice_only(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        went_before: list[int] = []
        flooded = await started(kernel, cls, seen=seen)
        other = await started(kernel, Actor)
        for n in range(10 * MESSAGES_PER_SLICE):
            flooded.cast(n)
        other.cast(lambda _server, _state: went_before.append(len(seen)))
        await other.call("hello")
        assert went_before[0] <= MESSAGES_PER_SLICE
        await flooded.call("all of them, in order")
        assert seen[:-1] == list(range(10 * MESSAGES_PER_SLICE))

    run(main)


def test_a_worker_gives_way_after_its_slice() -> None:
    longest = row = others = 0

    class Counting(FeedsAsync):
        """How many messages in a row does it handle while another has no turn at all?"""

        async def handle_cast(self, message: Any, state: int) -> int:
            nonlocal longest, row, others
            row = row + 1 if others == message.process.state else 1
            longest, others = max(longest, row), message.process.state
            self.ref.cast(message)
            return state + 1

    async def main(kernel: Kernel) -> None:
        other = await started(kernel, Feeds)
        ref = await started(kernel, Counting)
        other.cast("more")
        ref.cast(other)
        await laps(30)
        assert ref.process.state > WORKER_SLICE
        other.exit("kill")
        ref.exit("kill")

    run(main)
    assert longest <= WORKER_SLICE


def test_callers_in_a_loop_give_way_to_the_loop() -> None:
    # Calls to idle processes run at once; the budget for that is one for all callers together.
    async def main(kernel: Kernel) -> None:
        calls = 0
        refs = [await started(kernel, Actor) for _ in range(50)]

        async def ask(ref: Any) -> None:
            nonlocal calls
            while True:
                ref.process.server.seen.clear()
                await ref.call("?")
                calls += 1

        tasks = [asyncio.create_task(ask(ref)) for ref in refs]
        counts = []
        for _ in range(5):
            await asyncio.sleep(0)
            counts.append(calls)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert counts[-1] > counts[0]  # and the loop went round: we are here

    run(main)


def test_every_caller_has_its_turn() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        counts = [0] * 20

        async def ask(n: int) -> None:
            while True:
                await ref.call(n)
                counts[n] += 1

        tasks = [asyncio.create_task(ask(n)) for n in range(20)]
        while min(counts) < 20:  # the limit of `run` is the deadline
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert min(counts) >= 20

    run(main)


def test_the_budget_for_calls_at_once_is_renewed_with_each_round_of_the_loop() -> None:
    async def main(kernel: Kernel) -> None:
        turns = kernel.turns
        assert turns.may_run()
        turns._end = 1e-9  # spent
        assert not turns.may_run() and not turns.may_run()
        await asyncio.sleep(0)
        assert turns.may_run()

    run(main)


def test_a_keyboard_interrupt_in_one_process_does_not_stop_the_others() -> None:
    servers: list[Any] = []

    async def main() -> None:
        kernel = Kernel()
        ref, other = await started(kernel, Actor), await started(kernel, Actor)
        servers.append(other.process.server)

        def interrupt(_server: Any, _state: Any) -> None:
            raise KeyboardInterrupt

        ref.cast(interrupt)
        other.cast("still handled")
        await asyncio.sleep(3600)

    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(laps(3))
        assert servers[0].seen == ["still handled"]
        task.cancel()
        loop.run_until_complete(laps(3))
    finally:
        loop.close()


def slow(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Slow(GenServer[int]):
    def init(self) -> int:
        return 0

    def handle_cast(self, message: Any, state: int) -> int:
        slow(0.001)
        return state + 1


class SlowAsync(Slow):
    async def handle_cast(self, message: Any, state: int) -> int:  # type: ignore[override]
        slow(0.001)
        return state + 1


@pytest.mark.parametrize("cls", [Slow, SlowAsync])
def test_slow_handlers_fill_no_slice(cls: type[Any]) -> None:
    # A slice was 64 messages, however long they took.
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        for n in range(300):
            ref.cast(n)
        await laps(3)  # in which it is noticed
        for _ in range(5):
            before = ref.process.state
            await asyncio.sleep(0)
            assert ref.process.state - before <= 8
        ref.exit("kill")

    run(main)


def test_many_processes_with_coroutines_share_the_time_of_one_iteration() -> None:
    # Each worker went on for a slice of its own in each iteration of the loop: 200 x 64 messages.
    async def main(kernel: Kernel) -> None:
        refs = [await started(kernel, FeedsAsync) for _ in range(200)]
        for ref in refs:
            ref.cast("more")

        def handled() -> int:
            return sum(ref.process.state for ref in refs)

        shares = []
        for _ in range(20):
            before = handled()
            await asyncio.sleep(0)
            shares.append(handled() - before)
        assert sorted(shares)[10] < 200 * WORKER_SLICE / 2
        for ref in refs:
            ref.exit("kill")

    run(main)
