"""The heap of deadlines, against a list that is sorted anew each time; and the alarm over it."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from noex.runtime.alarm import MOST, Alarm
from noex.runtime.deadlines import Deadlines

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("due"), st.integers(0, 25)),
    ),
    max_size=60,
)


@given(STEPS)
def test_due_gives_what_is_due_in_the_order_of_time(steps: list[tuple[str, int]]) -> None:
    heap, model, entries = Deadlines(), [], []
    for number, (step, value) in enumerate(steps):
        if step == "add":
            entries.append((heap.add(value, lambda n=number: n), value, number))
            model.append((value, number))
        elif step == "cancel" and entries:
            entry, when, serial = entries[value % len(entries)]
            assert entry.cancel() is ((when, serial) in model)
            model = [row for row in model if row != (when, serial)]
        elif step == "due":
            expected = sorted(row for row in model if row[0] <= value)
            assert [callback() for callback in heap.due(value)] == [row[1] for row in expected]
            model = [row for row in model if row[0] > value]
        assert len(heap) == len(model)
        assert heap.next() == min((row[0] for row in model), default=None)


def test_a_million_cancelled_deadlines_cost_no_memory() -> None:
    heap = Deadlines()
    keep = heap.add(1e9, lambda: "kept")
    for n in range(20_000):
        heap.add(n, lambda: None).cancel()
    assert len(heap) == 1 and len(heap._heap) < 2_000
    assert [callback() for callback in heap.due(2e9)] == ["kept"] and keep.callback is None


def test_a_deadline_can_be_cancelled_once() -> None:
    heap = Deadlines()
    entry = heap.add(1.0, lambda: None)
    assert entry.cancel() is True and entry.cancel() is False
    fired = heap.add(1.0, lambda: None)
    assert len(heap.due(2.0)) == 1 and fired.cancel() is False and len(heap) == 0


def in_loop(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main(), 5.0))


def test_the_alarm_rings_for_the_earliest_and_goes_on() -> None:
    async def main() -> None:
        alarm, rung, done = Alarm(asyncio.get_running_loop()), [], asyncio.Event()
        alarm.after(0.02, lambda: (rung.append("late"), done.set()))
        alarm.after(0.001, lambda: rung.append("early"))
        alarm.after(0.01, lambda: rung.append("never")).cancel()
        await done.wait()
        assert rung == ["early", "late"] and len(alarm) == 0

    in_loop(main)


def test_an_earlier_deadline_moves_the_alarm_forward() -> None:
    async def main() -> None:
        alarm, done = Alarm(asyncio.get_running_loop()), asyncio.Event()
        alarm.after(3600.0, lambda: None)
        alarm.after(0.001, done.set)
        await done.wait()
        alarm.close()

    in_loop(main)


def test_a_callback_that_raises_does_not_stop_the_alarm() -> None:
    async def main() -> None:
        complaints: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        alarm, done = Alarm(loop), asyncio.Event()
        alarm.after(0.0, lambda: 1 / 0)
        alarm.after(0.0, done.set)
        await done.wait()
        assert [type(context["exception"]) for context in complaints] == [ZeroDivisionError]

    in_loop(main)


def test_a_closed_alarm_rings_no_more() -> None:
    async def main() -> None:
        alarm, rung = Alarm(asyncio.get_running_loop()), []
        alarm.after(0.0, lambda: rung.append(1))
        alarm.close()
        assert len(alarm) == 0
        done = asyncio.Event()
        Alarm(asyncio.get_running_loop()).after(0.002, done.set)
        await done.wait()
        assert rung == []

    in_loop(main)


def test_many_deadlines_at_once_leave_the_loop_its_turns() -> None:
    # 100,000 timers for one moment held the loop for half a second.
    async def main() -> None:
        alarm, fired = Alarm(asyncio.get_running_loop()), []
        for number in range(MOST * 5):
            alarm.after(0, lambda n=number: fired.append(n))
        counts = [0]
        while len(fired) < MOST * 5:
            await asyncio.sleep(0)  # sleep: one iteration of the loop
            counts.append(len(fired))
        assert fired == list(range(MOST * 5))
        assert max(after - before for before, after in pairwise(counts)) <= MOST
        assert len(alarm) == 0

    asyncio.run(asyncio.wait_for(main(), 5))
