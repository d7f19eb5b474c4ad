"""Inside an `async def` handler all of asyncio works, and what is built on it: the handler has a
task of its own, which belongs to nobody else."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import aiohttp
import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from actors import run, started, until
from http_server import HttpServer
from waits import Runner, at_once, started_warm

from noex.runtime.kernel import Kernel

REQUEST = contextvars.ContextVar("request", default="none")


# ---------------------------------------------------------------------- timeouts


async def a_timeout_that_expires(server: Runner) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(3600)


async def a_timeout_in_time(server: Runner) -> None:
    async with asyncio.timeout(60) as limit:
        await asyncio.sleep(0)
    assert not limit.expired()


async def an_outer_timeout(server: Runner) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001) as outer:
            async with asyncio.timeout(60) as inner:
                await asyncio.sleep(3600)
    assert outer.expired() and not inner.expired()


async def an_inner_timeout(server: Runner) -> None:
    async with asyncio.timeout(60) as outer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        await asyncio.sleep(0)
    assert not outer.expired()


async def a_timeout_at_a_time(server: Runner) -> None:
    now = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(now - 1):
            await asyncio.sleep(3600)
    async with asyncio.timeout_at(now + 60):
        await asyncio.sleep(0)


async def a_timeout_that_is_moved(server: Runner) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            limit.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(3600)


async def wait_for(server: Runner) -> None:
    assert await asyncio.wait_for(asyncio.sleep(0, "done"), 60) == "done"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(3600), 0.001)


# ---------------------------------------------------------------------- several at once


async def a_task_group(server: Runner) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(3)]
    assert [task.result() for task in tasks] == [0, 1, 2]


async def a_task_group_of_which_one_fails(server: Runner) -> None:
    async def fail() -> None:
        raise KeyError("one")

    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.TaskGroup() as group:
            other = group.create_task(asyncio.sleep(3600))
            group.create_task(fail())
    assert isinstance(failed.value.exceptions[0], KeyError) and other.cancelled()


async def a_task_group_in_a_timeout(server: Runner) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(3600))
    assert task.cancelled()


async def gather(server: Runner) -> None:
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]

    async def fail() -> None:
        raise KeyError("one")

    with pytest.raises(KeyError):
        await asyncio.gather(asyncio.sleep(0), fail())
    both = await asyncio.gather(asyncio.sleep(0, 1), fail(), return_exceptions=True)
    assert both[0] == 1 and isinstance(both[1], KeyError)


async def shield(server: Runner) -> None:
    event = asyncio.Event()
    inner = asyncio.ensure_future(event.wait())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.shield(inner)
    event.set()
    assert await inner is True


async def wait_and_as_completed(server: Runner) -> None:
    quick, slow = (asyncio.create_task(asyncio.sleep(s, s)) for s in (0, 3600))
    done, pending = await asyncio.wait({quick, slow}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {quick} and pending == {slow}
    slow.cancel()
    results = [await each for each in asyncio.as_completed([asyncio.sleep(0, n) for n in (1, 2)])]
    assert sorted(results) == [1, 2]


# ---------------------------------------------------------------------- to meet each other


async def locks(server: Runner) -> None:
    lock, inside, order = asyncio.Lock(), [], []

    async def enter(n: int) -> None:
        async with lock:
            inside.append(n)
            await asyncio.sleep(0)
            assert inside == [n]
            inside.remove(n)
            order.append(n)

    await asyncio.gather(*(enter(n) for n in range(5)))
    assert order == list(range(5))


async def events_and_conditions(server: Runner) -> None:
    event, condition = asyncio.Event(), asyncio.Condition()

    async def tell() -> None:
        event.set()
        async with condition:
            condition.notify_all()

    async with condition:
        task = asyncio.create_task(tell())
        await event.wait()
        await condition.wait()
    await task


async def queues_and_semaphores(server: Runner) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    most = asyncio.Semaphore(2)

    async def produce(n: int) -> None:
        async with most:
            await queue.put(n)

    async with asyncio.TaskGroup() as group:
        for n in range(6):
            group.create_task(produce(n))
        got = [await queue.get() for _ in range(6)]
    assert sorted(got) == list(range(6))


async def barriers(server: Runner) -> None:
    barrier = asyncio.Barrier(3)
    assert sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))) == [0, 1, 2]


async def futures_and_callbacks(server: Runner) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.001, loop.call_soon, future.set_result, "told")
    assert await future == "told"


# ---------------------------------------------------------------------- whose task it is


async def the_current_task_stays_the_same(server: Runner) -> None:
    task = asyncio.current_task()
    assert task is not None and task in asyncio.all_tasks()
    for seconds in (0, 0.001):
        await asyncio.sleep(seconds)
        assert asyncio.current_task() is task
    others = await asyncio.gather(*(current() for _ in range(3)))
    assert task not in others and len(set(others)) == 3
    assert task.cancelling() == 0


async def current() -> Any:
    await asyncio.sleep(0)
    return asyncio.current_task()


async def a_task_may_cancel_itself_and_go_on(server: Runner) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert task.uncancel() == 0
    await asyncio.sleep(0)


# ---------------------------------------------------------------------- threads, processes, files


async def threads(server: Runner) -> None:
    REQUEST.set("of the handler")
    assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()
    assert await asyncio.to_thread(REQUEST.get) == "of the handler"
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, sum, (1, 2)) == 3


async def subprocesses(server: Runner) -> None:
    program = "import sys; print(sys.stdin.read().upper())"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", program, stdin=pipe, stdout=pipe
    )
    out, _ = await process.communicate(b"shout")
    assert (process.returncode, out.strip()) == (0, b"SHOUT")


async def streams(server: Runner) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    listener = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with listener:
        address = listener.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello\n")
        assert await reader.read() == b"hello\n"
        writer.close()
        await writer.wait_closed()


async def generators_and_context_managers(server: Runner) -> None:
    closed: list[str] = []

    async def count() -> AsyncIterator[int]:
        try:
            for n in range(100):
                await asyncio.sleep(0)
                yield n
        finally:
            closed.append("generator")

    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        yield "open"
        await asyncio.sleep(0)
        closed.append("resource")

    async with AsyncExitStack() as stack:
        assert await stack.enter_async_context(resource()) == "open"
        async with aclosing(count()) as numbers:
            assert [n async for n in numbers if n < 3 or closed] == [0, 1, 2]
        stack.push_async_callback(asyncio.sleep, 0)
    assert closed == ["generator", "resource"]


# ---------------------------------------------------------------------- anyio


async def anyio_task_groups(server: Runner) -> None:
    done: list[int] = []

    async def work(n: int) -> None:
        await anyio.sleep(0)
        done.append(n)

    async def serve(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        task_status.started("up")
        await anyio.sleep(3600)

    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(work, n)
        assert await group.start(serve) == "up"
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert sorted(done) == [0, 1, 2]


async def anyio_task_groups_of_which_one_fails(server: Runner) -> None:
    async def fail() -> None:
        raise KeyError("one")

    with pytest.raises(ExceptionGroup) as failed:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 3600)
            group.start_soon(fail)
    assert isinstance(failed.value.exceptions[0], KeyError)


async def anyio_timeouts(server: Runner) -> None:
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep(3600)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError), anyio.fail_after(0.001):
        await anyio.sleep(3600)
    with anyio.fail_after(60):
        await anyio.sleep(0)


async def anyio_cancel_scopes(server: Runner) -> None:
    reached: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
            reached.append("shielded")
        await anyio.sleep(0)
        reached.append("never")
    assert reached == ["shielded"] and scope.cancelled_caught
    await anyio.sleep(0)


async def anyio_threads_and_channels(server: Runner) -> None:
    def in_thread() -> Any:
        return anyio.from_thread.run(asyncio.sleep, 0, "from a thread"), threading.get_ident()

    answer, thread = await anyio.to_thread.run_sync(in_thread)
    assert answer == "from a thread" and thread != threading.get_ident()
    send, receive = anyio.create_memory_object_stream[int](1)
    async with anyio.create_task_group() as group:
        group.start_soon(send.send, 1)
        assert await receive.receive() == 1
    send.close()
    receive.close()


FEATURES = [
    a_timeout_that_expires,
    a_timeout_in_time,
    an_outer_timeout,
    an_inner_timeout,
    a_timeout_at_a_time,
    a_timeout_that_is_moved,
    wait_for,
    a_task_group,
    a_task_group_of_which_one_fails,
    a_task_group_in_a_timeout,
    gather,
    shield,
    wait_and_as_completed,
    locks,
    events_and_conditions,
    queues_and_semaphores,
    barriers,
    futures_and_callbacks,
    the_current_task_stays_the_same,
    a_task_may_cancel_itself_and_go_on,
    threads,
    subprocesses,
    streams,
    generators_and_context_managers,
    anyio_task_groups,
    anyio_task_groups_of_which_one_fails,
    anyio_timeouts,
    anyio_cancel_scopes,
    anyio_threads_and_channels,
]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.__name__)
@pytest.mark.parametrize("how", ["call", "call at once", "queued call", "cast", "init"])
def test_it_works_in_a_handler_as_it_does_elsewhere(feature: Any, how: str) -> None:
    class Begins(Runner):
        async def init(self, **state: Any) -> dict[str, Any]:
            await feature(self)
            return await super().init(**state)

    async def main(kernel: Kernel) -> None:
        me = asyncio.current_task()
        assert me is not None
        ref = await started(kernel, Begins if how == "init" else Runner)
        if how == "call":
            await ref.call(feature)
        elif how == "call at once":
            ref = await started_warm(kernel)
            await ref.call(at_once(feature))
        elif how == "queued call":
            both = [asyncio.create_task(ref.call(feature)) for _ in range(2)]
            await asyncio.gather(*both)
        elif how == "cast":
            ref.cast(feature)
        # Its task is as good as new, and nothing of it has touched the caller.
        assert await ref.call(answer) == "alive"
        assert me.cancelling() == 0
        await asyncio.sleep(0)
        await ref.stop()

    run(main)


async def answer(server: Runner) -> str:
    await asyncio.sleep(0)
    return "alive"


def test_a_handler_has_a_task_that_is_neither_its_callers_nor_another_processs() -> None:
    async def main(kernel: Kernel) -> None:
        tasks: list[Any] = []
        gate = asyncio.Event()

        async def stay(server: Runner) -> None:
            tasks.append(asyncio.current_task())
            await gate.wait()
            assert asyncio.current_task() in tasks

        refs = [await started(kernel, Runner) for _ in range(3)]
        calls = [asyncio.create_task(ref.call(stay)) for ref in refs]
        await until(lambda: len(tasks) == 3)
        gate.set()
        await asyncio.gather(*calls)
        assert len({*tasks, *calls, asyncio.current_task()}) == 7

    run(main)


def test_context_variables_are_those_of_the_process() -> None:
    class Named(Runner):
        async def init(self, **state: Any) -> Any:
            await asyncio.sleep(0)
            REQUEST.set("of init")
            return await super().init(**state)

    async def get(server: Runner) -> str:
        await asyncio.sleep(0)
        return REQUEST.get()

    async def change(server: Runner) -> tuple[str, str]:
        REQUEST.set("of a handler")
        task = asyncio.create_task(get(server))
        spawned = server.spawn_task(get(server))
        await asyncio.wait({spawned})
        return await task, spawned.result()

    async def main(kernel: Kernel) -> None:
        REQUEST.set("of the starter")
        ref, other = await started(kernel, Named), await started(kernel, Runner)
        ref.process.server.handle_info = _ignore  # the `TaskResult`
        REQUEST.set("of the caller")
        assert await ref.call(get) == "of init"
        assert await ref.call(change) == ("of a handler", "of a handler")
        assert await ref.call(get) == "of a handler"
        assert await other.call(get) == "of the starter"
        assert REQUEST.get() == "of the caller"

    run(main)


async def _ignore(message: Any, state: Any) -> None:
    return None


# ---------------------------------------------------------------------- clients kept in the state


class Client(Runner):
    """Keeps a client session, made in its `init` and closed in its `terminate`."""

    async def init(self, *, kind: str) -> dict[str, Any]:
        session = httpx.AsyncClient(trust_env=False) if kind == "httpx" else aiohttp.ClientSession()
        return await super().init(kind=kind, session=session)

    async def terminate(self, reason: Any, state: dict[str, Any]) -> None:
        session = state["session"]
        await (session.aclose() if state["kind"] == "httpx" else session.close())

    async def get(self, url: str) -> str:
        """Fetch it."""
        session = self.state["session"]
        if self.state["kind"] == "httpx":
            response = await session.get(url, timeout=5.0)
            return str(response.text)
        async with session.get(url, timeout=aiohttp.ClientTimeout(5.0)) as response:
            return str(await response.text())


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
def test_an_http_client_in_the_state_keeps_its_connection_over_messages(kind: str) -> None:
    async def main(kernel: Kernel) -> None:
        async with HttpServer() as http:
            ref = await started(kernel, Client, kind=kind)
            for path in ("/a", "/b", "/c"):
                assert await ref.call(lambda server, p=path: server.get(http.url(p))) == path
            assert http.connections == 1

            async def at_once(server: Client) -> list[str]:
                async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                    tasks = [group.create_task(server.get(http.url(f"/{n}"))) for n in range(3)]
                return [task.result() for task in tasks]

            assert await ref.call(at_once) == ["/0", "/1", "/2"]
            await ref.stop()

    run(main)


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
def test_a_time_limit_of_an_http_client_is_the_handlers_own(kind: str) -> None:
    async def main(kernel: Kernel) -> None:
        async with HttpServer() as http:

            async def give_up(server: Client) -> str:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await server.get(http.url("/never"))
                return await server.get(http.url("/after"))

            ref = await started(kernel, Client, kind=kind)
            assert await ref.call(give_up) == "/after"
            await until(lambda: http.waiting == 0)
            await ref.stop()

    run(main)
