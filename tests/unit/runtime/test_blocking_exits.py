"""How processes with `blocking = True` end. Python cannot end a thread, so their handlers are
waited for: until a limit, after which what still runs is a zombie."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest
from actors import Actor, started, turns, until
from threads import BlockingActor, Door, node_threads, run_threads

from noex.runtime.errors import (
    InitFailedError,
    NodeStoppedError,
    NoProcessError,
    ProcessKilledError,
    ServerCrashedError,
)
from noex.runtime.kernel import Kernel


class Untidy(Actor):
    """Without `terminate`: a signal ends it at once, as far as that can be."""

    blocking = True


def events(caplog: Any) -> list[str]:
    return [record.noex["event"] for record in caplog.records if record.name == "noex"]


def test_an_ordered_stop_comes_after_the_handler_and_what_is_queued() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        seen: list[Any] = []
        ref = await started(kernel, BlockingActor, seen=seen)
        ref.cast(door.pass_through)
        ref.cast("queued")
        stopping = asyncio.create_task(ref.stop("shutdown"))
        await until(door.reached.is_set)
        await turns()
        assert not stopping.done()
        door.opened.set()
        await stopping
        assert seen == ["queued", ("terminate", "shutdown")]

    run_threads(main)


@pytest.mark.parametrize("cls", [BlockingActor, Untidy])
def test_an_exit_signal_waits_for_the_handler_and_passes_what_is_queued(cls: Any) -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        calls = [asyncio.create_task(ref.call(door.pass_through)) for _ in range(2)]
        await until(door.reached.is_set)
        ref.exit("boom")
        await turns()
        assert await ref.is_alive()
        door.opened.set()
        assert await ref.wait(2.0) == "boom"
        for call in calls:
            with pytest.raises(ServerCrashedError, match="boom"):
                await call
        assert seen == ([("terminate", "boom")] if cls is BlockingActor else [])

    run_threads(main)


def test_an_exit_signal_is_a_kill_when_the_handler_outlasts_the_terminate_timeout() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        ref = await started(kernel, Untidy, options={"terminate_timeout": 0.05})
        ref.cast(door.pass_through)
        await until(door.reached.is_set)
        ref.exit("boom")
        assert await ref.wait(2.0) == "killed"
        assert list(kernel.zombies.values()) == [ref]
        door.opened.set()
        await until(lambda: not kernel.zombies)

    run_threads(main)


def test_a_terminate_that_blocks_is_killed_after_its_timeout() -> None:
    door = Door()

    class Clinging(Actor):
        blocking = True

        def terminate(self, reason: Any, state: Any) -> None:
            door.pass_through()

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Clinging, options={"terminate_timeout": 0.05})
        with pytest.raises(ServerCrashedError, match="killed"):
            await ref.stop()
        door.opened.set()
        await until(lambda: not kernel.zombies)

    run_threads(main)


def test_a_killed_handler_that_returns_in_its_grace_is_no_zombie(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        seen: list[Any] = []
        ref = await started(kernel, BlockingActor, seen=seen)
        waiting = asyncio.gather(ref.call(door.pass_through), return_exceptions=True)
        await until(door.reached.is_set)
        ref.exit("kill")
        assert not ref.cast("too late")
        door.opened.set()
        assert await ref.wait(2.0) == "killed"
        assert (await waiting)[0].reason == "killed"
        assert seen == [] and kernel.zombies == {}

    run_threads(main, kill_grace=5.0)
    assert events(caplog) == []


def test_a_handler_that_outlasts_its_kill_is_a_zombie_until_its_thread_is_done(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        tried: list[Any] = []
        done = threading.Event()
        other = await started(kernel, Actor)

        def cling(server: Any, state: Any) -> Any:
            door.pass_through()
            for operation in (
                lambda: other.cast("no"),
                lambda: server.ref.exit("no"),
                lambda: server.monitor(other),
                lambda: server.send_after(0, "no"),
                lambda: server.run(other.call("no")),
            ):
                try:
                    operation()
                except Exception as error:
                    tried.append(type(error))
            done.set()
            return "thrown away", state

        ref = await started(kernel, BlockingActor, options={"name": "free"})
        waiting = asyncio.gather(ref.call(cling), return_exceptions=True)
        await until(door.reached.is_set)
        ref.exit("kill")
        assert await ref.wait(2.0) == "killed"
        assert (await waiting)[0].reason == "killed"
        assert list(kernel.zombies.values()) == [ref]
        again = await started(kernel, BlockingActor, options={"name": "free"})
        assert await again.call("alive") == "alive"
        door.opened.set()
        await until(lambda: not kernel.zombies)
        assert done.is_set() and tried == [ProcessKilledError] * 5
        assert other.process.server.seen == []
        assert await again.call("still alive") == "still alive"

    run_threads(main)
    zombie = next(record.noex for record in caplog.records if record.noex["event"] == "zombie")
    assert any("pass_through" in line for line in zombie["stack"])


def test_a_handler_that_has_no_thread_yet_is_cancelled_at_once() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        busy, waiting = await started(kernel, Untidy), await started(kernel, Untidy)
        busy.cast(door.pass_through)
        await until(door.reached.is_set)
        waiting.cast("never")
        await turns()
        seen = waiting.process.server.seen
        waiting.exit("boom")
        assert await waiting.wait(2.0) == "boom"
        door.opened.set()
        assert await busy.call("done") == "done"
        assert seen == []

    run_threads(main, blocking_threads=1)


def test_a_worker_that_is_cancelled_by_others_crashes_when_its_thread_is_done() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        seen: list[Any] = []
        ref = await started(kernel, BlockingActor, seen=seen)
        ref.cast(door.pass_through)
        await until(door.reached.is_set)
        ref.process.worker.cancel()
        await turns()
        assert seen == [] and await ref.is_alive()
        door.opened.set()
        assert isinstance(await ref.wait(2.0), asyncio.CancelledError)
        assert [type(reason) for _, reason in seen] == [asyncio.CancelledError]

    run_threads(main)


def test_a_signal_or_a_kill_from_its_own_handler_ends_it() -> None:
    async def main(kernel: Kernel) -> None:
        for cls, reason, expected in [
            (BlockingActor, "boom", "boom"),
            (Untidy, "boom", "boom"),
            (Untidy, "kill", "killed"),
            (Untidy, "normal", "normal"),
        ]:
            ref = await started(kernel, cls)
            monitor = kernel.monitor(ref)
            ref.cast(lambda server, state, why=reason: server.ref.exit(why))
            assert await monitor.wait(2.0) == expected

    run_threads(main)


# ---------------------------------------------------------------------- the node


def test_stopping_the_node_waits_for_handlers_and_runs_terminate() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        seen: list[Any] = []
        ref = await started(kernel, BlockingActor, seen=seen)
        ref.cast(door.pass_through)
        await until(door.reached.is_set)
        stopping = asyncio.create_task(kernel.shutdown())
        await turns()
        door.opened.set()
        await stopping
        assert seen == [("terminate", "shutdown")] and node_threads() == []

    run_threads(main)


def test_stopping_the_node_is_bounded_however_many_threads_are_stuck(caplog: Any) -> None:
    stuck = 8
    doors = [Door() for _ in range(stuck)]

    async def main() -> float:
        kernel = Kernel(kill_grace=0.3)
        for door in doors:
            (await started(kernel, BlockingActor)).cast(door.pass_through)
        await until(lambda: all(door.reached.is_set() for door in doors))
        begun = time.monotonic()
        await kernel.shutdown(timeout=0.1)
        return time.monotonic() - begun

    begun = time.monotonic()
    took = asyncio.run(main())
    ended = time.monotonic() - begun
    for door in doors:
        door.opened.set()
    assert took < stuck * 0.3, "each has had a grace of its own"
    assert ended < took + 1.0, "the loop has waited for the threads"
    assert events(caplog).count("thread_stuck") == stuck
    deadline = time.monotonic() + 3.0
    while node_threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert node_threads() == []


def test_a_thread_that_waits_for_the_loop_ends_with_the_node() -> None:
    outcomes: list[Any] = []

    def cling(server: Any, state: Any) -> Any:
        while True:
            try:
                server.run(asyncio.sleep(3600))
            except asyncio.CancelledError:
                continue  # as nobody should
            except Exception as error:
                outcomes.append(type(error))
                raise

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)
        ref.cast(cling)
        await until(lambda: ref.process.runner is not None)
        await kernel.shutdown(timeout=0.05)
        assert node_threads() == []

    run_threads(main)
    assert outcomes in ([ProcessKilledError], [NodeStoppedError])


def test_after_the_end_of_the_node_nothing_is_done_for_a_thread() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        outcomes: list[Any] = []
        other = await started(kernel, Actor)

        def late() -> None:
            door.pass_through()
            outcomes.append(other.cast("late"))

        ref = await started(kernel, BlockingActor)
        thread = threading.Thread(target=late)
        ref.cast(lambda *_: thread.start())
        await until(door.reached.is_set)
        await kernel.shutdown()
        door.opened.set()
        thread.join(3.0)
        assert outcomes == [False]
        with pytest.raises((NodeStoppedError, NoProcessError)):
            await ref.call("late")

    run_threads(main)


PROGRAM = """
import asyncio, sys, threading
from noex import GenServer, Node

class Stuck(GenServer):
    blocking = True

    def init(self):
        return None

    def handle_cast(self, message, state):
        threading.Event().wait()

async def main():
    node = Node(kill_grace=0.1, drain_timeout=0.1, terminate_timeout=0.1)
    await node.start_up()
    ref = await node.start(Stuck)
    ref.cast("block for ever")
    while ref.process.thread is None:
        await asyncio.sleep(0)
    if sys.argv[1] == "stop":
        await node.stop()

asyncio.run(main())
print("ended")
"""


@pytest.mark.parametrize("end", ["stop", "forget"])
def test_a_thread_that_never_returns_keeps_no_program_from_ending(end: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), end]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr


def test_a_machine_that_has_no_thread_left(monkeypatch: Any) -> None:
    async def main(kernel: Kernel) -> None:
        begin = threading.Thread.start

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(InitFailedError) as failed:
            await kernel.start(BlockingActor)
        assert isinstance(failed.value.__cause__, RuntimeError)
        monkeypatch.setattr(threading.Thread, "start", begin)
        first, second = await started(kernel, BlockingActor), await started(kernel, BlockingActor)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        threads = len(node_threads())
        # The threads that there are do the work of those that there should be.
        doors = [Door() for _ in range(2)]
        calls = [
            asyncio.create_task(ref.call(lambda _s, state, d=door: (d.pass_through() and 1, state)))
            for ref, door in zip((first, second), doors, strict=True)
        ]
        for door in doors:
            door.opened.set()
        assert await asyncio.gather(*calls) == [1, 1] and len(node_threads()) == threads
        monkeypatch.setattr(threading.Thread, "start", begin)

    run_threads(main)


def test_a_line_for_threads_that_does_not_move_is_logged(caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("noex.runtime.threads.LONG_WAIT", 0.01)
    caplog.set_level(logging.WARNING, "noex")

    async def main(kernel: Kernel) -> None:
        door = Door()
        refs = [await started(kernel, BlockingActor) for _ in range(3)]
        refs[0].cast(door.pass_through)
        await until(door.reached.is_set)
        for ref in refs[1:]:
            ref.cast(door.pass_through)
        await until(lambda: "threads_busy" in events(caplog))
        door.opened.set()
        assert [await ref.call("done") for ref in refs] == ["done"] * 3

    run_threads(main, blocking_threads=1)
    record = next(r.noex for r in caplog.records if r.noex["event"] == "threads_busy")
    assert (record["threads"], record["waiting"], record["zombies"]) == (1, 2, 0)
