"""To end a process is to cancel what its handler awaits, whatever that is: what it holds is let go
of, what it has opened is closed, and nothing of it runs on."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import httpx
import pytest
from actors import run, started, until
from http_server import HttpServer
from waits import Runner, at_once, started_warm

from noex.runtime.errors import CallTimeoutError, ServerCrashedError
from noex.runtime.kernel import Kernel


class Waits:
    """What a handler waits for here, and what is left of it."""

    def __init__(self, http: HttpServer) -> None:
        self.http = http
        self.lock = asyncio.Lock()
        self.semaphore = asyncio.Semaphore(0)
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.condition = asyncio.Condition()
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tasks: list[asyncio.Task[Any]] = []  # of which none may be left
        self.thread = threading.Event()  # ends a thread that nobody can cancel
        self.processes: list[asyncio.subprocess.Process] = []
        self.waiting = False  # the handler is where it was to be
        self.closed: list[str] = []

    async def for_ever(self, closes: str = "sleep") -> None:
        """Wait, as what is cancelled."""
        self.tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        self.waiting = True
        try:
            await asyncio.sleep(3600)
        finally:
            self.closed.append(closes)


async def sleep(w: Waits) -> None:
    await w.for_ever()


async def timeout(w: Waits) -> None:
    async with asyncio.timeout(3600):
        await w.for_ever()


async def wait_for(w: Waits) -> None:
    await asyncio.wait_for(w.for_ever(), 3600)


async def a_task_group(w: Waits) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(w.for_ever(f"task {n}"))
        await w.for_ever("group")


async def a_task_group_that_waits_for_its_tasks(w: Waits) -> None:
    async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
        group.create_task(w.for_ever())


async def gather(w: Waits) -> None:
    await asyncio.gather(w.for_ever("one"), w.for_ever("two"))


async def wait(w: Waits) -> None:
    task = asyncio.create_task(w.for_ever())
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()  # `wait` itself leaves it running


async def a_future(w: Waits) -> None:
    w.waiting = True
    try:
        await w.future
    finally:
        w.closed.append("future")
        assert w.future.cancelled()


async def shield(w: Waits) -> None:
    w.waiting = True
    try:
        await asyncio.shield(w.future)
    finally:
        w.closed.append("shield")
        assert not w.future.done()
        w.future.cancel()


async def a_lock(w: Waits) -> None:
    async with w.lock:
        waiter = asyncio.create_task(w.lock.acquire())
        try:
            await w.for_ever()
        finally:
            waiter.cancel()


async def to_get_a_lock(w: Waits) -> None:
    await w.lock.acquire()
    w.waiting = True
    try:
        await w.lock.acquire()
    finally:
        w.lock.release()
        w.closed.append("lock")


async def a_semaphore(w: Waits) -> None:
    w.waiting = True
    try:
        await w.semaphore.acquire()
    finally:
        w.closed.append("semaphore")


async def a_queue(w: Waits) -> None:
    w.waiting = True
    try:
        await w.queue.get()
    finally:
        w.closed.append("queue")


async def a_condition(w: Waits) -> None:
    async with w.condition:
        w.waiting = True
        try:
            await w.condition.wait()
        finally:
            w.closed.append("condition")


async def an_async_generator(w: Waits) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await w.for_ever("in the generator")
        finally:
            await asyncio.sleep(0)
            w.closed.append("generator")

    async with aclosing(numbers()) as each:
        async for _ in each:
            pass


async def a_generator_that_is_not_advanced(w: Waits) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            w.closed.append("generator")

    async with aclosing(numbers()) as each:
        async for _ in each:
            await w.for_ever()


async def context_managers(w: Waits) -> None:
    @asynccontextmanager
    async def resource(name: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)  # a clean-up may await
            w.closed.append(name)

    async with resource("outer"), AsyncExitStack() as stack:
        await stack.enter_async_context(resource("inner"))
        await w.for_ever()


async def a_thread(w: Waits) -> None:
    def work() -> None:
        w.waiting = True
        w.thread.wait(8)

    try:
        await asyncio.to_thread(work)
    finally:
        w.closed.append("thread")
        w.thread.set()


async def a_subprocess(w: Waits) -> None:
    program = "print('up', flush=True); input()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-S", "-c", program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    w.processes.append(process)
    assert process.stdout is not None
    await process.stdout.readline()
    w.waiting = True
    try:
        await process.wait()
    finally:
        w.closed.append("subprocess")
        process.kill()
        await process.wait()


async def a_stream(w: Waits) -> None:
    host, port = w.http.url("").removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /never HTTP/1.1\r\n\r\n")
    w.waiting = True
    try:
        await reader.read()
    finally:
        w.closed.append("stream")
        writer.close()


async def httpx_client(w: Waits) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        w.waiting = True
        try:
            await client.get(w.http.url("/never"), timeout=None)
        finally:
            w.closed.append("httpx")


async def aiohttp_client(w: Waits) -> None:
    async with aiohttp.ClientSession() as client:
        w.waiting = True
        try:
            async with client.get(w.http.url("/never"), timeout=aiohttp.ClientTimeout()):
                pass
        finally:
            w.closed.append("aiohttp")


async def an_anyio_task_group(w: Waits) -> None:
    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(w.for_ever, f"task {n}")


async def anyio_scopes(w: Waits) -> None:
    with anyio.move_on_after(3600), anyio.fail_after(3600), anyio.CancelScope():
        await w.for_ever()


async def anyio_and_asyncio_mixed(w: Waits) -> None:
    async with asyncio.timeout(3600), anyio.create_task_group() as group:
        group.start_soon(gather, w)


async def an_anyio_thread(w: Waits) -> None:
    def work() -> None:
        w.waiting = True
        w.thread.wait(8)

    try:
        await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        w.closed.append("thread")
        w.thread.set()


WAITS: dict[Any, set[str]] = {
    sleep: {"sleep"},
    timeout: {"sleep"},
    wait_for: {"sleep"},
    a_task_group: {"task 0", "task 1", "task 2", "group"},
    a_task_group_that_waits_for_its_tasks: {"sleep"},
    gather: {"one", "two"},
    wait: {"sleep"},
    a_future: {"future"},
    shield: {"shield"},
    a_lock: {"sleep"},
    to_get_a_lock: {"lock"},
    a_semaphore: {"semaphore"},
    a_queue: {"queue"},
    a_condition: {"condition"},
    an_async_generator: {"in the generator", "generator"},
    a_generator_that_is_not_advanced: {"sleep", "generator"},
    context_managers: {"sleep", "inner", "outer"},
    a_thread: {"thread"},
    a_subprocess: {"subprocess"},
    a_stream: {"stream"},
    httpx_client: {"httpx"},
    aiohttp_client: {"aiohttp"},
    an_anyio_task_group: {"task 0", "task 1", "task 2"},
    anyio_scopes: {"sleep"},
    anyio_and_asyncio_mixed: {"one", "two"},
    an_anyio_thread: {"thread"},
}


@pytest.mark.parametrize("what", WAITS, ids=lambda what: what.__name__)
@pytest.mark.parametrize("how", ["exit", "kill", "shutdown"])
@pytest.mark.parametrize("begins", ["at once", "later"])
def test_what_a_handler_awaits_is_cancelled_with_its_process(
    what: Any, how: str, begins: str
) -> None:
    async def main(kernel: Kernel) -> None:
        async with HttpServer() as http:
            w = Waits(http)
            message = lambda _server: what(w)  # noqa: E731
            if begins == "at once":
                ref, message = await started_warm(kernel), at_once(message)
            else:
                ref = await started(kernel, Runner)
            call = asyncio.create_task(ref.call(message, timeout=None))
            await until(lambda: w.waiting or call.done())
            assert not call.done(), call
            if what in (httpx_client, aiohttp_client, a_stream):
                await until(lambda: http.waiting == 1)
            monitor = kernel.monitor(ref)
            expected: Any = "killed"
            if how == "exit":
                ref.exit("boom")
                expected = "boom"
            elif how == "kill":
                ref.exit("kill")
            else:
                expected = "shutdown"
                await kernel.shutdown(timeout=5.0)
            assert await monitor.wait(5.0) == expected
            with pytest.raises(ServerCrashedError) as crashed:
                await call
            assert crashed.value.reason == expected
            assert set(w.closed) == WAITS[what] and len(w.closed) == len(WAITS[what])
            assert not kernel.zombies
            assert all(task.done() for task in w.tasks)
            assert not w.lock.locked() and not w.condition.locked()
            await until(lambda: http.waiting == 0)
            assert all(process.returncode is not None for process in w.processes)

    run(main, kill_grace=5.0)


SOON = [sleep, timeout, a_future, shield, to_get_a_lock, a_semaphore, a_queue, a_condition]
SOON += [a_generator_that_is_not_advanced, context_managers, anyio_scopes]


@pytest.mark.parametrize("what", SOON, ids=lambda what: what.__name__)
@pytest.mark.parametrize("how", ["exit", "kill", "twice"])
def test_a_handler_that_has_only_just_begun_is_cancelled_too(what: Any, how: str) -> None:
    # It has made its first step in the turn of its caller, and its task has made none.
    async def main(kernel: Kernel) -> None:
        w = Waits(HttpServer())
        ref = await started_warm(kernel)
        call = asyncio.create_task(ref.call(at_once(lambda _server: what(w))))
        await asyncio.sleep(0)
        assert w.waiting and ref.process is not None
        for reason in {"exit": ["boom"], "kill": ["kill"], "twice": ["boom", "kill"]}[how]:
            ref.exit(reason)
        with pytest.raises(ServerCrashedError):
            await call
        assert await ref.wait(5.0) == "noproc"
        assert set(w.closed) == WAITS[what] and not kernel.zombies
        assert all(task.done() for task in w.tasks)

    run(main, kill_grace=5.0)


class Tidy(Runner):
    """With a `terminate`: signals wait for the handler, so it takes a kill to cancel it."""

    async def terminate(self, reason: Any, state: Any) -> None:
        self.notes.append(("terminate", reason))


@pytest.mark.parametrize("what", [sleep, a_task_group, httpx_client, anyio_scopes])
def test_a_stop_that_takes_too_long_cancels_when_it_becomes_a_kill(what: Any) -> None:
    async def main(kernel: Kernel) -> None:
        async with HttpServer() as http:
            w = Waits(http)
            notes: list[Any] = []
            ref = await started(kernel, Tidy, notes=notes)
            ref.cast(lambda _server: what(w))
            await until(lambda: w.waiting)
            with pytest.raises(CallTimeoutError):
                await ref.stop(timeout=0.02)
            assert w.closed == [] and await ref.is_alive()
            await kernel.shutdown(timeout=0.05)
            assert set(w.closed) == WAITS[what] and notes == [] and not kernel.zombies

    run(main, kill_grace=5.0)


def test_a_terminate_that_takes_too_long_is_cancelled() -> None:
    class Slow(Runner):
        async def terminate(self, reason: Any, state: Any) -> None:
            async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
                group.create_task(state["w"].for_ever("terminate"))

    async def main(kernel: Kernel) -> None:
        w = Waits(HttpServer())
        ref = await started(kernel, Slow, w=w, options={"terminate_timeout": 0.05})
        with pytest.raises(ServerCrashedError, match="killed"):
            await ref.stop()
        assert w.closed == ["terminate"]

    run(main, kill_grace=5.0)


def test_an_init_that_takes_too_long_is_cancelled() -> None:
    class Slow(Runner):
        async def init(self, *, w: Waits) -> Any:
            await anyio_and_asyncio_mixed(w)

    async def main(kernel: Kernel) -> None:
        w = Waits(HttpServer())
        with pytest.raises(TimeoutError):
            await kernel.start(Slow, (), {"w": w}, init_timeout=0.05)
        assert set(w.closed) == {"one", "two"}

    run(main, kill_grace=5.0)


def test_a_handler_may_tidy_up_with_the_tools_of_asyncio_while_it_is_cancelled() -> None:
    async def main(kernel: Kernel) -> None:
        w = Waits(HttpServer())

        async def tidies(_server: Runner) -> None:
            try:
                await w.for_ever()
            finally:
                async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
                with anyio.CancelScope(shield=True), anyio.fail_after(60):
                    await anyio.sleep(0)
                w.closed.append("tidied")

        ref = await started(kernel, Runner)
        ref.cast(tidies)
        await until(lambda: w.waiting)
        ref.exit("boom")
        assert await ref.wait(5.0) == "boom"
        assert w.closed == ["sleep", "tidied"]

    run(main)


def test_a_group_of_tasks_that_ends_with_the_kill_reports_no_crash(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        w = Waits(HttpServer())

        async def fails_late(_server: Runner) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_raise_in_the_end(w))
                await w.for_ever()

        ref = await started(kernel, Runner)
        ref.cast(fails_late)
        await until(lambda: w.waiting)
        ref.exit("kill")
        assert await ref.wait(5.0) == "killed"

    run(main)
    assert "process_crashed" not in caplog.text


async def _raise_in_the_end(w: Waits) -> None:
    try:
        await w.for_ever()
    finally:
        raise KeyError("while it was cancelled")
