"""Processes whose handlers run in threads, with their partners on another node."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from mesh import Mesh, mesh_of, until
from threads import Door, node_threads

from noex.runtime.errors import MessageSerializationError, NodeNotReachableError, ServerCrashedError
from noex.runtime.genserver import GenServer
from noex.runtime.messages import Down
from noex.runtime.returns import NoReply


class Worker(GenServer[Any]):
    """Does in a thread what its `job(server, message)` says, which no message could carry."""

    blocking = True

    def init(self, job: Any) -> list[Any]:
        self.seen: list[Any] = []
        self.job = job
        return self.seen

    def handle_call(self, message: Any, state: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        answer = self.job(self, message)
        return answer if isinstance(answer, NoReply) else (answer, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        self.seen.append(message)

    def handle_info(self, message: Any, state: Any) -> Any:
        self.seen.append(message)


def run(main: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10), mesh_of("a", "b") as mesh:
            await main(mesh)

    asyncio.run(limited())
    assert node_threads() == []


async def pair(mesh: Mesh, job: Any) -> tuple[Any, Any]:
    """A worker on b, as a sees it, and a quiet one on a, as b sees it."""
    a, b = mesh.members["a"], mesh.members["b"]
    worker, quiet = await b.kernel.start(Worker, (job,)), await a.kernel.start(Worker, (None,))
    assert worker is not None and quiet is not None
    return a.elsewhere(worker), b.elsewhere(quiet)


def test_it_is_called_from_there_and_calls_and_casts_back() -> None:
    async def main(mesh: Mesh) -> None:
        a = mesh.members["a"]
        echo = await a.kernel.start(Worker, (lambda server, message: ("echo", message),))
        partner: list[Any] = []

        def job(server: Worker, message: Any) -> Any:
            to_echo, to_quiet = partner
            sent = [to_quiet.cast(n) for n in range(20)]
            return server.run(to_echo.call(message)), sent

        worker, quiet = await pair(mesh, job)
        partner += [mesh.members["b"].elsewhere(echo), quiet]
        assert await worker.call("hello") == (("echo", "hello"), [True] * 20)
        seen = a.kernel.find(quiet).server.seen
        await until(lambda: len(seen) == 20)
        assert seen == list(range(20))

    run(main)


def test_a_reply_from_a_thread_and_a_message_that_cannot_travel() -> None:
    async def main(mesh: Mesh) -> None:
        partner: list[Any] = []

        def job(server: Worker, message: Any) -> Any:
            if message == "later":
                threading.Thread(target=server.caller.reply, args=("from a thread",)).start()
                return NoReply()
            with pytest.raises(MessageSerializationError):
                partner[0].cast(threading.Lock())
            return "refused at its line"

        worker, quiet = await pair(mesh, job)
        partner.append(quiet)
        assert await worker.call("later") == "from a thread"
        assert await worker.call("now") == "refused at its line"

    run(main)


def test_the_loss_of_the_node_for_which_a_thread_waits() -> None:
    async def main(mesh: Mesh) -> None:
        partner: list[Any] = []
        door = Door()

        def job(server: Worker, message: Any) -> Any:
            server.monitor(partner[0])
            with pytest.raises(NodeNotReachableError):
                server.run(partner[0].call("never answered", timeout=None))
            return "told"

        a, b = mesh.members["a"], mesh.members["b"]
        slow = await a.kernel.start(Worker, (door.pass_through,))
        here = await b.kernel.start(Worker, (job,))
        assert slow is not None and here is not None
        partner.append(b.elsewhere(slow))
        call = asyncio.create_task(here.call("begin"))
        await until(door.reached.is_set)
        mesh.end_life("a")
        assert await call == "told"
        seen = b.kernel.find(here).server.seen
        await until(lambda: seen)
        assert isinstance(seen[0], Down) and seen[0].reason == "noconnection"
        door.opened.set()

    run(main)


def test_an_exit_signal_from_there_ends_it_when_its_handler_returns() -> None:
    async def main(mesh: Mesh) -> None:
        door = Door()
        worker, _ = await pair(mesh, door.pass_through)
        call = asyncio.create_task(worker.call("begin"))
        await until(door.reached.is_set)
        worker.exit("boom")
        door.opened.set()
        with pytest.raises(ServerCrashedError, match="boom"):
            await call

    run(main)
