"""Ports in use, seeds that are no noex nodes, and strangers at the ports of a node: each is a named
error or one log line, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import zmq
from arena import Arena, Stage, arena, until

from noex import Node, PortInUseError
from noex.registry.behaviors import BehaviorRegistry
from noex.testing import NodeProcessError

pytestmark = pytest.mark.slow

HTTP = b"GET / HTTP/1.1\r\nHost: noex\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n"
NOISE = random.Random(7).randbytes(4096)
ZMTP_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)


# ---------------------------------------------------------------------- ports in use


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def open_files(pid: int | str = "self") -> list[str]:
    """What a process holds open: sockets and pipes by their number, files by name."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return sorted(found)


def established(pid: int) -> int:
    """How many TCP connections a process has, in and out."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    theirs = {f"socket:[{row[9]}]" for row in rows if row[3] == "01"}
    return len(theirs.intersection(open_files(pid)))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("which", ["the node id's", "user_port", "pub_port"])
def test_a_port_in_use_is_named_and_nothing_is_left_behind(which: str) -> None:
    async def main() -> None:
        loop_files, threads = open_files(), threading.active_count()
        with taken_port() as port:
            options = {which: port} if which.endswith("_port") else {}
            node = Node(f"late@127.0.0.1:{0 if options else port}", **options)
            with pytest.raises(PortInUseError) as caught:
                await node.start_up()
        assert f":{port}" in caught.value.address
        assert str(port) in str(caught.value)
        await until(lambda: len(open_files()) <= len(loop_files), "all sockets are closed")
        assert threading.active_count() <= threads  # one of another test may have ended meanwhile

    asyncio.run(main())


def test_a_node_process_whose_port_is_in_use_says_so_in_one_line() -> None:
    async def main() -> None:
        async with arena(1) as here:
            with taken_port() as port:
                with pytest.raises(NodeProcessError, match=f"{port}.*in use"):
                    await here.cluster.add("late", port=port)
                assert await here.cluster["late"].ended() == 1
            said = here.cluster["late"].log().splitlines()
            assert len(said) == 1
            assert said[0].startswith("noex-node: ")
            assert len(here.node.members()) == 2

    asyncio.run(main())


# ---------------------------------------------------------------------- seeds


@contextlib.asynccontextmanager
async def listener(reply: bytes) -> AsyncIterator[int]:
    """A server that reads a little, says `reply` and hangs up; with b"" it only reads."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(64)
            if reply:
                writer.write(reply)
                await writer.drain()
            else:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.contextmanager
def foreign_zmq() -> Iterator[int]:
    """A ZeroMQ socket that answers nothing that a node could understand."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        yield router.bind_to_random_port("tcp://127.0.0.1")


async def found_alone(seed_port: int) -> str:
    """Start a node with that seed; it founds a cluster of its own in the end."""
    seed = f"seed@127.0.0.1:{seed_port}"
    async with Node("lone@127.0.0.1:0", seeds=[seed], behaviors=BehaviorRegistry()) as node:
        assert [info.id for info in node.members()] == [node.id]
        return node.id


@needs_proc
def test_a_seed_that_is_no_noex_node_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """Four at a time, because each node waits for its seed for some seconds."""

    async def main() -> list[str]:
        files, threads = open_files(), threading.active_count()
        async with (
            listener(b"") as silent,
            listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web,
            listener(NOISE) as noisy,
        ):
            with foreign_zmq() as foreign:
                ids = await asyncio.gather(*map(found_alone, (silent, web, noisy, foreign)))
        await until(lambda: threading.active_count() <= threads, "all threads have ended")
        await until(lambda: len(open_files()) <= len(files), "all sockets are closed")
        return ids

    with caplog.at_level(logging.WARNING, logger="noex"):
        ids = asyncio.run(main())
    for node_id, refusals in zip(ids, (0, 0, 1, 0), strict=True):
        said = [r.getMessage().split()[0] for r in caplog.records if node_id in r.getMessage()]
        assert said.count("seed_does_not_answer") == 1
        # The noise can pass for a frame of an old ZeroMQ, which is refused by name.
        assert said.count("control_frame_refused") <= refusals
        assert len(said) <= 1 + refusals, said


# ---------------------------------------------------------------------- strangers


def ports_of(here: Arena, name: str) -> dict[str, int]:
    """The three ports of a worker."""
    assert here.node.network is not None
    assert here.node.network.membership is not None
    member = here.node.network.membership.member(here.cluster.id(name))
    assert member is not None
    endpoints = {
        "control": member.control_endpoint,
        "user": member.user_endpoint,
        "pub": member.pub_endpoint,
    }
    return {kind: int(endpoint.rpartition(":")[2]) for kind, endpoint in endpoints.items()}


async def intrude(port: int, data: bytes) -> None:
    """Say `data`, take what comes back, and wait to be hung up on; else hang up after a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(1.0):
            while await reader.read(4096):
                pass
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def send_foreign_frames(ports: dict[str, int]) -> None:
    """As a real ZeroMQ peer that speaks another protocol."""
    with zmq.Context() as context:
        context.linger = 1000
        for kind, socket_type in (("control", zmq.DEALER), ("user", zmq.DEALER), ("pub", zmq.SUB)):
            with context.socket(socket_type) as stranger:
                stranger.connect(f"tcp://127.0.0.1:{ports[kind]}")
                if socket_type == zmq.SUB:
                    stranger.subscribe(NOISE[:200])
                    continue
                for frames in ([b""], [NOISE], [b"\x00" * 64], [b"a", b"b", b"c"]):
                    stranger.send_multipart(frames)


@needs_proc
@pytest.mark.parametrize("kind", ["noise", "http", "greeting then noise", "zmq of another kind"])
def test_strangers_at_the_ports_cost_the_node_nothing(stage: Stage, kind: str) -> None:
    """Case 176: not its peers, not its processes, not a file descriptor, hardly a log line."""
    data = {"noise": NOISE, "http": HTTP, "greeting then noise": ZMTP_GREETING + NOISE}

    async def main() -> None:
        here = stage.here
        echo, ports = await here.echo("n1", 1), ports_of(here, "n1")
        neighbour = await here.echo("n2")
        assert await neighbour.call(("relay", echo, "up", 5.0)) == "up"
        pid, log_before = here.cluster["n1"].pid, here.cluster["n1"].log()
        # Members since a moment ago: the last of them may still be dialling the three ports of n1.
        mesh = 2 * len(ports) * (len(here.node.members()) - 1)
        await until(lambda: established(pid) == mesh, "every member is connected to every other")
        files = len(open_files(pid))
        if kind in data:
            await asyncio.gather(
                *(intrude(port, data[kind]) for port in ports.values() for _ in range(20))
            )
        else:
            await asyncio.to_thread(send_foreign_frames, ports)
        assert await echo.call("args") == (1,)
        assert await neighbour.call(("relay", echo, "up", 5.0)) == "up"
        await until(
            lambda: len(open_files(pid)) == files and established(pid) == mesh,
            "the strangers' sockets are closed, and no others",
        )
        assert here.happened("NodeDown", "n1") == []
        assert here.happened("NodeBusy", "n1") == []
        lines = here.cluster["n1"].log()[len(log_before) :].splitlines()
        lines = [line for line in lines if not ("node_busy" in line or "node_idle" in line)]
        assert len(lines) <= len(ports), lines  # one for each port at most
        assert not any("exception" in line for line in lines)

    stage.run(main())
