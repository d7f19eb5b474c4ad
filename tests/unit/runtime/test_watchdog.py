"""The watchdog names what holds the loop while it does: each handler here waits until it is told.

A handler blocks its loop until the test has *seen* the record about it. If the record came only
afterwards, the handler would give up after its own time limit, and the test would say so.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from noex import GenServer, Node, call

LIMIT = 0.05  # seconds that a handler may hold the loop
GIVE_UP = 10.0


class Blockage:
    """Where code stands still, holding its loop, until the log has told of it."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.was_told: bool | None = None

    def hold(self) -> None:
        self.was_told = self.told.wait(GIVE_UP)


class Listener(logging.Handler):
    """Collects what the watchdog says, and frees what it speaks of."""

    def __init__(self, blockage: Blockage, frees_at: int = 1) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.recovered = threading.Event()
        self._blockage = blockage
        self._frees_at = frees_at

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "noex", {})
        if event.get("event") in {"handler_stuck", "loop_blocked"}:
            self.records.append(event)
            self.threads.add(record.threadName or "")
            if len(self.records) == self._frees_at:
                self._blockage.told.set()
        elif event.get("event") in {"handler_recovered", "loop_recovered"}:
            self.records.append(event)
            self.recovered.set()

    def only(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The one incident: its beginning and its end.

        A busy machine holds up the loop, too: where a handler was stuck, that is not looked at.
        """
        told = [event for event in self.records if event["event"].startswith("handler_")]
        stuck, *again, recovered = told or self.records
        assert all(event["event"] == stuck["event"] for event in again)
        return stuck, recovered


@contextmanager
def listening(blockage: Blockage, **options: Any) -> Iterator[Listener]:
    logger, listener = logging.getLogger("noex"), Listener(blockage, **options)
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield listener
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


class Worker(GenServer[None]):
    """Holds the loop in the callback that it is told."""

    def init(self, where: str, blockage: Blockage) -> None:
        self.where, self.blockage = where, blockage
        self.hold_in("init")

    def hold_in(self, where: str) -> None:
        if self.where == where:
            self.blockage.hold()

    def handle_call(self, message: Any, state: None) -> Any:
        self.hold_in("handle_call")
        return "done", None

    def handle_cast(self, message: Any, state: None) -> None:
        self.hold_in("handle_cast")

    def handle_info(self, message: Any, state: None) -> None:
        self.hold_in("handle_info")

    def terminate(self, reason: Any, state: None) -> None:
        self.hold_in("terminate")


class AsyncWorker(Worker):
    """The same, in the middle of handlers that are coroutines."""

    async def init(self, where: str, blockage: Blockage) -> None:  # type: ignore[override]
        self.where, self.blockage = where, blockage
        await asyncio.sleep(0)
        self.hold_in("init")

    async def handle_call(self, message: Any, state: None) -> Any:
        await asyncio.sleep(0)
        self.hold_in("handle_call")
        return "done", None

    async def handle_cast(self, message: Any, state: None) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.hold_in("handle_cast")

    async def terminate(self, reason: Any, state: None) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.hold_in("terminate")


class Host(GenServer[None]):
    """Holds the loop in a task of its own, in a timer of asyncio, or through another process."""

    def init(self, blockage: Blockage) -> None:
        self.blockage = blockage

    def handle_cast(self, message: Any, state: None) -> None:
        self.spawn_task(self.errand())

    async def errand(self) -> None:
        await asyncio.sleep(0)
        self.blockage.hold()

    async def handle_call(self, message: Any, state: None) -> Any:
        return await message.call("hold"), None


def run(main: Callable[[Node], Awaitable[None]], **options: Any) -> None:
    async def within() -> None:
        async with asyncio.timeout(2 * GIVE_UP), Node(**{"slow_handler": LIMIT, **options}) as node:
            await main(node)

    asyncio.run(within())


async def drive(node: Node, cls: type[Worker], where: str, blockage: Blockage) -> None:
    """Have the loop held in the callback `where`."""
    ref = await node.options(name="smith").start(cls, where, blockage)
    if where == "handle_call":
        assert await ref.call("go", timeout=GIVE_UP) == "done"
    elif where == "handle_cast":
        ref.cast("go")
        await ref.call("and after it", timeout=GIVE_UP)
    elif where == "handle_info":
        ref.send("go")
        await ref.call("and after it", timeout=GIVE_UP)
    elif where == "terminate":
        await ref.stop(timeout=GIVE_UP)


@pytest.mark.parametrize(
    ("cls", "where"),
    [
        *((Worker, name) for name in ("init", "handle_call", "handle_cast", "handle_info")),
        (Worker, "terminate"),
        *((AsyncWorker, name) for name in ("init", "handle_call", "handle_cast", "terminate")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_callback_that_holds_the_loop_is_named_while_it_does(
    cls: type[Worker], where: str
) -> None:
    blockage = Blockage()

    async def main(node: Node) -> None:
        await drive(node, cls, where, blockage)
        await asyncio.to_thread(listener.recovered.wait, GIVE_UP)

    with listening(blockage) as listener:
        run(main)
    assert blockage.was_told, "it was told only afterwards"
    stuck, recovered = listener.only()
    named = {"behavior": cls.__qualname__, "name": "smith", "handler": where}
    assert stuck["event"] == "handler_stuck" and stuck.items() >= named.items()
    assert recovered["event"] == "handler_recovered" and recovered.items() >= named.items()
    assert stuck["ref"].startswith("<smith #")
    assert recovered["seconds"] >= stuck["seconds"] >= LIMIT
    assert [name.startswith("noex-watchdog-") for name in listener.threads] == [True]


def test_the_stack_leads_from_the_runtime_to_the_line_that_holds() -> None:
    blockage = Blockage()
    with listening(blockage) as listener:
        run(lambda node: drive(node, Worker, "handle_cast", blockage))
    stack = listener.records[0]["stack"]
    functions = [line.rpartition(" in ")[2] for line in stack]
    assert functions[-2:] == ["Condition.wait", "Event.wait"] or functions[-1] == "Condition.wait"
    assert functions.index("Worker.handle_cast") < functions.index("Blockage.hold")
    assert any(line.startswith(f"{__file__}:") for line in stack)


def test_a_call_in_the_callers_turn_blames_the_one_that_is_called() -> None:
    blockage = Blockage()

    async def main(node: Node) -> None:
        callee = await node.start(Worker, "handle_call", blockage)
        caller = await node.start(Host, blockage)
        await caller.call(callee, timeout=GIVE_UP)

    with listening(blockage) as listener:
        run(main)
    assert listener.records[0]["behavior"] == "Worker"


def test_a_task_of_a_process_is_told_as_that_process() -> None:
    blockage = Blockage()

    async def main(node: Node) -> None:
        ref = await node.start(Host, blockage)
        ref.cast("start it")
        await asyncio.to_thread(listener.recovered.wait, GIVE_UP)

    with listening(blockage) as listener:
        run(main)
    stuck, _ = listener.only()
    assert (stuck["behavior"], stuck["handler"]) == ("Host", "errand")


def test_a_marked_method_is_told_by_its_own_name() -> None:
    blockage = Blockage()

    class Smith(GenServer[None]):
        def init(self) -> None:
            return None

        @call
        def forge(self) -> str:
            blockage.hold()
            return "done"

    async def main(node: Node) -> None:
        ref = await node.start(Smith)
        assert await ref.proxy.forge() == "done"

    with listening(blockage) as listener:
        run(main)
    assert blockage.was_told and listener.records[0]["handler"] == "forge"


def test_a_handler_that_blocks_in_its_own_thread_holds_nobody() -> None:
    class Digger(GenServer[None]):
        blocking = True

        def init(self) -> None:
            return None

        def handle_call(self, message: Any, state: None) -> Any:
            return message.wait(5 * LIMIT), None

    async def main(node: Node) -> None:
        ref = await node.start(Digger)
        assert await ref.call(threading.Event()) is False

    with listening(Blockage()) as listener:
        run(main)
    assert listener.records == []


def held_by_a_task(node: Node, blockage: Blockage) -> object:
    async def culprit() -> None:
        blockage.hold()

    return asyncio.create_task(culprit())


def held_by_a_timer(node: Node, blockage: Blockage) -> object:
    return asyncio.get_running_loop().call_later(0.001, blockage.hold)


@pytest.mark.parametrize("cause", [held_by_a_task, held_by_a_timer])
def test_what_is_in_no_process_is_told_by_its_stack(
    cause: Callable[[Node, Blockage], object],
) -> None:
    blockage = Blockage()

    async def main(node: Node) -> None:
        kept = cause(node, blockage)
        assert await asyncio.to_thread(listener.recovered.wait, GIVE_UP)
        del kept

    with listening(blockage) as listener:
        run(main)
    stuck, recovered = listener.only()
    assert (stuck["event"], recovered["event"]) == ("loop_blocked", "loop_recovered")
    assert blockage.was_told and any("Blockage.hold" in line for line in stuck["stack"])


def test_what_goes_on_is_told_again_after_twice_the_time() -> None:
    blockage = Blockage()
    with listening(blockage, frees_at=3) as listener:
        run(lambda node: drive(node, Worker, "handle_cast", blockage))
    seconds = [event["seconds"] for event in listener.records[:3]]
    assert blockage.was_told
    assert seconds[0] >= LIMIT and seconds[1] >= 2 * LIMIT and seconds[2] >= 4 * LIMIT


def test_two_nodes_on_one_loop_report_their_own_processes_and_both_what_is_in_none() -> None:
    blockage, common = Blockage(), Blockage()

    async def main() -> None:
        async with Node(slow_handler=LIMIT) as a, Node(slow_handler=LIMIT) as b:
            by_log_node = {}
            with listening(blockage) as listener:
                await drive(b, Worker, "handle_cast", blockage)
                await asyncio.to_thread(listener.recovered.wait, GIVE_UP)
            by_log_node = [event for event in listener.records if "behavior" in event]
            assert len(by_log_node) == 2 and len(listener.threads) == 1
            with listening(common, frees_at=2) as listener:
                common.hold()
            assert [event["event"] for event in listener.records[:2]] == ["loop_blocked"] * 2
            assert a is not b and common.was_told

    asyncio.run(main())


def test_a_call_that_keeps_the_interpreter_lock_is_told_when_it_lets_go() -> None:
    sleep = ctypes.PyDLL(None).usleep  # a PyDLL call does not release the lock
    blockage = Blockage()

    class Greedy(GenServer[None]):
        def init(self) -> None:
            return None

        def handle_cast(self, message: Any, state: None) -> None:
            sleep(400_000)
            blockage.hold()

    async def main(node: Node) -> None:
        ref = await node.start(Greedy)
        ref.cast("go")
        await asyncio.to_thread(listener.recovered.wait, GIVE_UP)

    with listening(blockage) as listener:
        run(main)
    stuck, _ = listener.only()
    assert blockage.was_told and stuck["handler"] == "handle_cast"
    assert stuck["seconds"] >= 0.2  # most of the time that nobody could look counts


STOPPED = """
import asyncio, logging, os, signal, subprocess, sys, time
from noex import GenServer, Node

class Brief(GenServer):
    def init(self):
        return None
    def handle_call(self, message, state):
        # Holds the loop for much less than the limit, but is stopped for longer in between.
        subprocess.Popen([sys.executable, "-c", RESUME, str(os.getpid())])
        os.kill(os.getpid(), signal.SIGSTOP)
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass
        return "done", state

RESUME = "import os, signal, sys, time; time.sleep(1.2); os.kill(int(sys.argv[1]), signal.SIGCONT)"

async def main():
    logging.basicConfig(level=logging.INFO)
    async with Node(slow_handler=0.5) as node:
        ref = await node.start(Brief)
        print(await ref.call("go", timeout=30))

asyncio.run(main())
"""


def test_a_process_that_was_stopped_blames_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=40, check=True
    )
    assert done.stdout == "done\n"
    assert "stuck" not in done.stderr and "blocked" not in done.stderr


def test_an_idle_loop_is_not_woken() -> None:
    async def main(node: Node) -> None:
        loop = asyncio.get_running_loop()
        asked: list[object] = []
        ask = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args, **kw: asked.append(args) or ask(*args, **kw)  # type: ignore[method-assign]
        await asyncio.sleep(20 * LIMIT)  # sleep: nothing may happen, in the time of 40 samples
        assert len(asked) <= 5  # the moments in which it fell asleep and awoke

    run(main)


def test_a_loop_that_is_not_asyncios_own_is_watched_too() -> None:
    uvloop = pytest.importorskip("uvloop")
    blockage = Blockage()

    async def main() -> None:
        async with Node(slow_handler=LIMIT) as node:
            await drive(node, Worker, "handle_cast", blockage)
            await asyncio.to_thread(listener.recovered.wait, GIVE_UP)

    with listening(blockage) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as r:
        r.run(main())
    assert blockage.was_told and listener.records[0]["handler"] == "handle_cast"


# ---------------------------------------------------------------------- the thread


def watchdogs() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("noex-watchdog-")]


def test_the_thread_ends_with_the_node() -> None:
    async def main(node: Node) -> None:
        assert len(watchdogs()) == 1

    run(main)
    assert watchdogs() == []


def test_without_a_limit_there_is_no_thread() -> None:
    async def main(node: Node) -> None:
        assert watchdogs() == []

    run(main, slow_handler=None)


def test_a_node_that_fails_to_start_leaves_no_thread() -> None:
    async def main() -> None:
        async with Node("a@127.0.0.1:0") as holder:
            with pytest.raises(OSError):
                await Node(f"b@127.0.0.1:{holder.id.rpartition(':')[2]}").start_up()
            assert len(watchdogs()) == 1
        assert watchdogs() == []

    asyncio.run(main())


def test_the_thread_ends_by_itself_when_its_loop_is_closed() -> None:
    async def main() -> list[threading.Thread]:
        await Node(slow_handler=LIMIT).start_up()
        return [t for t in threading.enumerate() if t.name.startswith("noex-watchdog-")]

    (thread,) = asyncio.run(main())
    thread.join(GIVE_UP)
    assert not thread.is_alive()


def test_a_log_handler_that_raises_or_asks_the_loop_harms_nobody() -> None:
    blockage = Blockage()

    class Curious(Listener):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            if getattr(record, "noex", {}).get("event") == "handler_stuck":
                # It waits for the very loop that waits for the watchdog to end.
                waiting = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "here"), loop[0])
                answers.append(waiting.result(GIVE_UP))
            raise ValueError("a log handler that fails")

    loop: list[asyncio.AbstractEventLoop] = []
    answers: list[str] = []
    listener = Curious(blockage)
    logger = logging.getLogger("noex")

    async def main(node: Node) -> None:
        loop.append(asyncio.get_running_loop())
        await drive(node, Worker, "handle_cast", blockage)

    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(listener)
    try:
        run(main)
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
    assert blockage.was_told and answers == ["here"]
    assert watchdogs() == []
