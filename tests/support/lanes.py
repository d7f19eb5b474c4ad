"""Two user lanes in one process, and a TCP proxy that can cut what is between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import zmq

from noex.transport.lane import UserLane
from noex.transport.lane_settings import LaneSettings

FAST = LaneSettings(handshake_timeout=0.3, heartbeat_interval=0.2, heartbeat_timeout=1.0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


async def until(condition: Callable[[], Any], what: str, timeout: float = 15.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.002)


class Peer:
    """A lane and all it received."""

    def __init__(self, name: str, incarnation: int = 1, **options: Any) -> None:
        self.got: dict[tuple[str, int], list[bytes]] = {}
        self.troubles: list[tuple[tuple[str, int], str]] = []
        self.lane = UserLane(
            node_id=f"{name}@127.0.0.1:4000",
            incarnation=incarnation,
            **{
                "host": "127.0.0.1",
                "port": 0,
                "settings": FAST,
                "on_messages": self.take,
                "on_trouble": lambda uid, text: self.troubles.append((uid, text)),
                **options,
            },
        )

    def take(self, uid: tuple[str, int], messages: list[Any]) -> None:
        self.got.setdefault(uid, []).extend(map(bytes, messages))

    @property
    def uid(self) -> tuple[str, int]:
        return self.lane.uid

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.lane.port}"

    def received(self, other: Peer) -> list[bytes]:
        return self.got.get(other.uid, [])


@asynccontextmanager
async def peers(*names: str, **options: Any) -> AsyncIterator[list[Peer]]:
    made = [Peer(name, **options) for name in names]
    try:
        for peer in made:
            await peer.lane.start()
        yield made
    finally:
        for peer in made:
            await peer.lane.stop(linger=0)


def introduce(a: Peer, b: Peer, through: int | None = None) -> None:
    """Admit each to the other; a's messages to b go through that port."""
    a.lane.admit(b.uid, f"tcp://127.0.0.1:{through}" if through else b.endpoint)
    b.lane.admit(a.uid, a.endpoint)


class Proxy:
    """A TCP proxy that can cut, or leave the far side half-open."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self.orphans: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.accepted = self.forwarded = 0

    async def __aenter__(self) -> Proxy:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.cut()
        for far in self.orphans:
            far.transport.abort()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.pairs.append((writer, far_writer))
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(self.pump(source, sink))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
                self.forwarded += len(data)
                await sink.drain()
        except OSError:
            pass

    def cut(self) -> None:
        for near, far in self.pairs:
            near.transport.abort()
            far.transport.abort()
        self.pairs.clear()

    def half_open(self) -> None:
        """The near side is closed; the far side learns nothing."""
        for near, far in self.pairs:
            near.transport.abort()
            self.orphans.append(far)
        self.pairs.clear()


class Stranger:
    """A plain DEALER that says what it likes."""

    def __init__(self, port: int, routing_id: bytes = b"") -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if routing_id:
            self.socket.routing_id = routing_id
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    async def ask(self, *frames: bytes) -> bytes:
        self.socket.send_multipart(frames)
        await until(lambda: self.socket.poll(0), "an answer")
        return bytes(self.socket.recv())
