"""The timeouts of calls: each comes once, in time and in order, and those that do not come cost
no memory."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest
from actors import Actor, run, started, turns, until
from hypothesis import given, settings
from hypothesis import strategies as st

from noex.runtime.calls import LocalCaller
from noex.runtime.errors import CallTimeoutError
from noex.runtime.kernel import Kernel
from noex.runtime.patience import MOST, MOST_LINES, SHORT, Patience
from noex.runtime.returns import NoReply
from noex.testing import run_virtual


class World:
    """Callers of a patience in virtual time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.kernel = Kernel()
        self.patience = Patience(self.loop)
        self.told: list[tuple[int, float]] = []
        self.count = 0

    def call(self, timeout: float) -> LocalCaller:
        number, self.count = self.count, self.count + 1
        ref = self.kernel.named_ref("nobody")
        caller = LocalCaller(self.loop.create_future(), ref, timeout)
        caller.future.add_done_callback(lambda done: self._done(number, done))
        self.patience.bound(caller, timeout)
        return caller

    def _done(self, number: int, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and isinstance(done.exception(), CallTimeoutError):
            self.told.append((number, self.loop.time()))

    @property
    def held(self) -> int:
        """Callers that are still remembered."""
        lines = self.patience._lines.values()
        return sum(len(line.callers) for line in lines) + len(self.patience._alarm)


def in_virtual_time(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from([1.0, 5.0, 5.0, 9.0])),
        st.tuples(st.just("answer"), st.integers(0, 40)),
        st.tuples(st.just("give up"), st.integers(0, 40)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 2.0, 4.0, 20.0])),
    ),
    max_size=50,
)


@settings(deadline=None)
@given(STEPS)
def test_each_timeout_comes_once_at_its_time(steps: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        world = World()
        calls: list[LocalCaller] = []
        due: dict[int, float] = {}
        for step, value in steps:
            if step == "call":
                due[world.count] = world.loop.time() + value
                calls.append(world.call(value))
            elif step == "pass":
                await asyncio.sleep(value)  # sleep: passes virtual time
            elif calls:
                number = value % len(calls)
                if due.get(number, 0.0) > world.loop.time():
                    del due[number]
                    if step == "answer":
                        calls[number].answer(1)
                    else:
                        calls[number].future.cancel()
                        calls[number].give_up()
        await asyncio.sleep(100)  # sleep: passes virtual time
        assert sorted(number for number, _ in world.told) == sorted(due)
        for number, at in world.told:
            assert due[number] <= at + 1e-6 and at <= due[number] + 0.01
        assert world.held == world.patience.waiting == 0 and not world.patience._lines

    in_virtual_time(main())


@pytest.mark.parametrize("first_is_answered", [True, False])
def test_a_million_answered_calls_cost_no_memory(first_is_answered: bool) -> None:
    async def main() -> None:
        world = World()
        first = world.call(5.0)
        if first_is_answered:
            first.answer(1)
        for _ in range(200):
            calls = [world.call(5.0) for _ in range(100)]
            for caller in calls:
                caller.answer(1)
        assert world.patience.waiting == (not first_is_answered)
        assert world.held <= SHORT + 102
        await asyncio.sleep(6)  # sleep: passes virtual time
        assert [number for number, _ in world.told] == [0] * (not first_is_answered)
        assert world.held == 0

    in_virtual_time(main())


def test_a_thousand_different_timeouts_come_and_are_forgotten() -> None:
    async def main() -> None:
        world = World()
        calls = [world.call(1 + number / 1000) for number in range(1000)]
        assert len(world.patience._lines) == MOST_LINES
        for caller in calls[500:]:
            caller.answer(1)
            caller.give_up()
        await asyncio.sleep(3)  # sleep: passes virtual time
        assert [number for number, _ in world.told] == list(range(500))
        assert world.held == 0

    in_virtual_time(main())


def test_thousands_that_give_up_at_once_leave_the_loop_its_turns() -> None:
    async def main() -> None:
        world = World()
        seen = [0]

        def look() -> None:
            seen.append(len(world.told))
            if seen[-1] < 4 * MOST:
                world.loop.call_soon(look)

        world.call(1.0).future.add_done_callback(lambda _: look())
        for _ in range(4 * MOST - 1):
            world.call(1.0)
        await asyncio.sleep(2)  # sleep: passes virtual time
        assert seen[-1] == 4 * MOST
        assert max(after - before for before, after in pairwise(seen)) <= MOST

    in_virtual_time(main())


class Large:
    """What a call may bring."""


async def _brings(answer: Any) -> tuple[Any, None]:
    await asyncio.sleep(0)  # sleep: gives way to the loop once, so that the caller has to wait
    return answer, None


def test_what_a_call_has_brought_is_not_kept_while_others_wait_as_long() -> None:
    async def main(kernel: Kernel) -> None:
        ref, other = await started(kernel, Actor), await started(kernel, Actor)
        waits = asyncio.create_task(other.call(lambda _server, _state: NoReply(), timeout=7.5))
        await until(lambda: kernel.patience.waiting == 1)
        brought = await ref.call(lambda _server, _state: _brings(Large()), timeout=7.5)
        assert isinstance(brought, Large)
        seen = weakref.ref(brought)
        del brought
        await turns()  # until then the loop's own handle of this turn has it
        gc.collect()
        assert kernel.patience.waiting == 1 and seen() is None
        waits.cancel()
        await asyncio.wait([waits])

    run(main)
