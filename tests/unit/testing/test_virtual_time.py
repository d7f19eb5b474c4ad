"""Virtual time: a local node, with all that takes time in it, in a moment and always the same."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from noex import (
    TIMEOUT,
    CallTimeoutError,
    GenServer,
    Node,
    Ok,
    RestartIntensity,
    Supervisor,
)
from noex.testing import (
    DeadlockError,
    Family,
    VirtualLoop,
    VirtualTime,
    run_virtual,
    settle,
    virtual,
)

HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


class Clockwork(GenServer[Any]):
    """Notes when what arrives."""

    def init(self, seen: list[Any], **options: Any) -> Any:
        self.seen = seen
        if "after" in options:
            self.send_after(options["after"], "timer")
        return Ok(None, timeout=options.get("idle"))

    async def handle_call(self, message: Any, state: Any) -> Any:
        await asyncio.sleep(message)
        return now(), state

    def handle_info(self, message: Any, state: Any) -> None:
        self.seen.append((now(), message))


def test_an_hour_is_over_in_a_moment() -> None:
    async def main() -> float:
        await asyncio.sleep(HOUR)
        return now()

    began = time.monotonic()
    assert run_virtual(main()) == HOUR
    assert time.monotonic() - began < 10


def test_timers_timeouts_and_idle_times_of_a_node_go_by_it() -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with Node() as node:
            start = now()
            await node.start(Clockwork, seen, after=HOUR)
            await node.start(Clockwork, seen, idle=2 * HOUR)
            slow = await node.start(Clockwork, [])
            with pytest.raises(CallTimeoutError):
                await slow.call(HOUR, timeout=60.0)
            assert now() - start == 60.0
            await asyncio.sleep(3 * HOUR)
        assert seen == [(start + HOUR, "timer"), (start + 2 * HOUR, TIMEOUT)]

    run_virtual(main())


def test_windows_and_backoffs_of_a_supervisor_go_by_it() -> None:
    async def main() -> None:
        async with Node() as node:
            child = Family().child("child")
            sup = await Supervisor.start(
                node,
                strategy="one_for_one",
                restart_intensity=RestartIntensity(1, 60.0),
                children=[child.spec(backoff=10.0)],
            )
            child.crash()
            await child.started(2)
            await asyncio.sleep(60.5)  # sleep: the window is over, in virtual time
            child.crash()
            await child.started(3)
            child.fail_inits(1)
            began = now()
            await asyncio.sleep(60.5)  # sleep: and over once more
            sup_wait = asyncio.create_task(sup.wait())
            child.crash()
            assert await sup_wait  # the crash, and the init that fails: two in one window
            assert now() == began + 60.5

    run_virtual(main())


def test_the_wall_clock_starts_at_a_time_of_its_own_and_goes_along() -> None:
    async def main() -> None:
        async with Node() as node:
            first = await (await node.start(Clockwork, [])).info()
            await asyncio.sleep(HOUR)
            second = await (await node.start(Clockwork, [])).info()
            assert second.started_at - first.started_at == HOUR
            assert first.started_at == 1_000_000_000.0

    run_virtual(main())


def test_a_run_is_the_same_each_time() -> None:
    def story() -> list[str]:
        lines: list[str] = []

        class Teller(GenServer[None]):
            def init(self, name: str) -> None:
                self.count, self.told = 0, name

            def handle_call(self, message: Any, state: None) -> Any:
                self.count += 1
                return self.count, None

            def handle_cast(self, message: Any, state: None) -> None:
                lines.append(f"{self.told} {message} {self.count}")

        async def ask(ref: Any, other: Any) -> None:
            for number in range(5000):  # more than one turn's budget, so that they take turns
                await ref.call(number)
                if number % 500 == 0:
                    other.cast(number)

        async def main() -> None:
            async with Node() as node:
                a, b = await node.start(Teller, "a"), await node.start(Teller, "b")
                await asyncio.gather(ask(a, b), ask(b, a), ask(a, a))

        run_virtual(main())
        return lines

    first = story()
    assert len(first) == 30 and story() == first


def test_who_does_nothing_but_call_gives_way_in_virtual_time_too() -> None:
    async def main() -> None:
        async with Node() as node:
            ref = await node.start(Quick)
            done = asyncio.Event()
            asyncio.get_running_loop().call_soon(done.set)
            while not done.is_set():
                await ref.call("again")

    run_virtual(main())


class Quick(GenServer[None]):
    def init(self) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        return message, None


def test_no_thread_watches_a_node_in_virtual_time() -> None:
    async def main() -> None:
        before = threading.active_count()
        async with Node(slow_handler=0.01):
            assert threading.active_count() <= before

    run_virtual(main())


# ---------------------------------------------------------------------- when nothing can happen


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_deadlock_is_an_error_that_says_who_waits_where() -> None:
    async def main() -> None:
        helper = asyncio.create_task(wait_for_ever(), name="helper")
        await helper

    with pytest.raises(DeadlockError, match=r"helper in wait_for_ever \(test_virtual_time.py:\d+"):
        run_virtual(main())


def test_a_call_without_a_timeout_that_is_never_answered_is_one() -> None:
    async def main() -> None:
        async with Node() as node:
            child = Family().child("silent")
            child.block_inits()
            await child.start(node, init_timeout=None)

    with pytest.raises(DeadlockError, match="nothing will ever happen"):
        run_virtual(main())


def test_a_program_that_repeats_something_for_ever_ends_at_the_limit() -> None:
    async def tick() -> None:
        while True:
            await asyncio.sleep(1.0)  # sleep: virtual seconds, until the limit

    async def main() -> None:
        ticking = asyncio.create_task(tick(), name="ticker")
        await wait_for_ever()
        ticking.cancel()

    with pytest.raises(DeadlockError, match=r"not done after 100 virtual seconds: .*ticker in"):
        run_virtual(main(), limit=100.0)


def test_after_a_deadlock_nothing_is_left_and_the_loop_can_be_used() -> None:
    ended: list[str] = []

    async def main() -> None:
        try:
            await wait_for_ever()
        finally:
            await asyncio.sleep(1.0)  # sleep: virtual; an orderly end may take its time
            ended.append("main")

    async def later() -> str:
        return "still usable"

    with VirtualTime() as world:
        with pytest.raises(DeadlockError):
            world.run(main())
        assert ended == ["main"]
        assert world.run(later()) == "still usable"
        assert world.now == 1.0


def test_a_main_that_clings_in_its_end_does_not_hide_the_deadlock() -> None:
    async def main() -> None:
        try:
            await wait_for_ever()
        finally:
            await wait_for_ever()

    with pytest.raises(DeadlockError, match="all wait"):
        run_virtual(main())


def test_who_polls_without_letting_time_pass_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "SPIN_LIMIT", 0.05)

    async def main() -> None:
        timer = asyncio.create_task(asyncio.sleep(1.0))  # sleep: virtual, and it never comes
        while not timer.done():
            await asyncio.sleep(0)

    with pytest.raises(DeadlockError, match=r"no virtual time has passed for 0.05 s of real time"):
        run_virtual(main())


# ---------------------------------------------------------------------- threads, settling


def test_work_in_a_thread_is_waited_for_and_takes_no_time() -> None:
    gate = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer = asyncio.create_task(asyncio.sleep(HOUR))
        working = loop.run_in_executor(None, gate.wait, 10.0)
        threading.Timer(0.05, gate.set).start()  # while this loop has nothing else to do
        assert await working is True
        assert now() == 0.0 and not timer.done()
        await timer
        assert now() == HOUR

    run_virtual(main())


def test_a_thread_that_works_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "THREAD_LIMIT", 0.05)
    gate = threading.Event()

    async def main() -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, gate.wait, 30.0)
        finally:
            gate.set()  # so that its thread can end

    with pytest.raises(DeadlockError, match=r"a thread has worked for 0.05 s of real time"):
        run_virtual(main())


class Digger(GenServer[None]):
    """Works in a thread."""

    blocking = True

    def init(self, gate: threading.Event) -> None:
        self.gate = gate

    def handle_call(self, message: Any, state: None) -> Any:
        return self.gate.wait(10.0), None


def test_a_blocking_handler_is_waited_for_and_takes_no_time() -> None:
    gate = threading.Event()

    async def main() -> None:
        async with Node() as node:
            digger = await node.start(Digger, gate)
            threading.Timer(0.05, gate.set).start()
            assert await digger.call("dig", timeout=1.0) is True
            assert now() == 0.0
            await asyncio.sleep(HOUR)  # with an idle thread beside it
            assert now() == HOUR

    run_virtual(main())


def test_settle_runs_what_is_ready_without_letting_time_pass() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def busy() -> None:
            for _ in range(100):
                await asyncio.sleep(0)
            seen.append("done")
            await asyncio.sleep(1.0)  # sleep: virtual; the time that must not pass yet
            seen.append("later")

        task = asyncio.create_task(busy())
        await settle()
        assert seen == ["done"] and now() == 0.0
        await task
        await asyncio.gather(settle(), settle())
        assert now() == 1.0

    run_virtual(main())


def test_settle_is_refused_in_real_time() -> None:
    with pytest.raises(RuntimeError, match="virtual time"):
        asyncio.run(settle())


def test_a_loop_keeps_its_time_between_two_runs() -> None:
    async def an_hour() -> float:
        await asyncio.sleep(HOUR)
        return now()

    with VirtualTime() as world:
        assert [world.run(an_hour()) for _ in range(3)] == [HOUR, 2 * HOUR, 3 * HOUR]
        assert isinstance(world.loop, VirtualLoop)


@pytest.mark.parametrize("steps", [1, 7])
def test_many_small_waits_add_up_in_order(steps: int) -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def after(delay: float, number: int) -> None:
            await asyncio.sleep(delay)
            order.append(number)

        await asyncio.gather(*(after((50 - n) * 0.1 * steps, n) for n in range(50)))
        return order

    assert run_virtual(main()) == list(reversed(range(50)))
