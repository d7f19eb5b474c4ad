"""What strangers, broken peers and peers that do not read can do to a user lane: nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import zmq
from lanes import Stranger, run, until

from noex.transport import wire
from noex.transport.lane import UserLane
from noex.transport.lane_settings import LaneSettings
from noex.transport.receiving import PATIENCE
from noex.transport.wire import Hello, Opened, Refusal

pytestmark = pytest.mark.timeout(60)
SETTINGS = LaneSettings(
    handshake_timeout=0.3, max_message=1_000_000, window_bytes=200_000, max_batch=20_000
)
A, B = ("a@127.0.0.1:1", 11), ("b@127.0.0.1:2", 22)


@asynccontextmanager
async def lane(uid: tuple[str, int], got: list[bytes]) -> AsyncIterator[UserLane]:
    made = UserLane(
        node_id=uid[0],
        incarnation=uid[1],
        host="127.0.0.1",
        settings=SETTINGS,
        on_messages=lambda _, messages: got.extend(map(bytes, messages)),
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop(linger=0)


async def check_alive(victim: UserLane, got: list[bytes]) -> None:
    """An honest peer gets through."""
    async with lane(A, []) as honest:
        victim.admit(A, f"tcp://127.0.0.1:{honest.port}")
        honest.admit(victim.uid, f"tcp://127.0.0.1:{victim.port}")
        honest.send(victim.uid, b"honest")
        await until(lambda: b"honest" in got, "the honest peer's message")
        victim.expel(A)


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        os.urandom(4096),
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + bytes(48) + os.urandom(4096),
        b"\xff" * 100_000,
    ],
    ids=["http", "noise", "a torn ZMTP greeting", "ones"],
)
def test_a_stranger_who_talks_nonsense_loses_his_connection(noise: bytes) -> None:
    async def main() -> None:
        got: list[bytes] = []
        async with lane(B, got) as victim:
            reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
            writer.write(noise)
            async with asyncio.timeout(10):
                try:
                    while await reader.read(4096):
                        pass
                except ConnectionError:
                    pass
            writer.transport.abort()
            await check_alive(victim, got)
            assert got == [b"honest"]

    run(main)


def test_a_silent_connection_is_closed_after_the_handshake_time() -> None:
    async def main() -> None:
        got: list[bytes] = []
        async with lane(B, got) as victim:
            silent = [socket.create_connection(("127.0.0.1", victim.port)) for _ in range(20)]
            await check_alive(victim, got)
            for connection in silent:
                connection.setblocking(False)
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(10):
                    try:
                        while await loop.sock_recv(connection, 4096):
                            pass
                    except ConnectionError:
                        pass
                connection.close()

    run(main)


HELLO = Hello("noex", *A, 5)


def bad_frames() -> dict[str, tuple[tuple[bytes, ...], Refusal]]:
    hello = wire.pack_hello(B[1], 1, HELLO)
    return {
        "empty": ((b"",), Refusal.BAD_FRAME),
        "short": ((hello[:10],), Refusal.BAD_FRAME),
        "truncated": ((hello[:-1],), Refusal.BAD_FRAME),
        "too long": ((hello + b"x",), Refusal.BAD_FRAME),
        "two frames": ((hello, hello), Refusal.BAD_FRAME),
        "another version": ((b"\x07" + hello[1:],), Refusal.WRONG_VERSION),
        "another life": ((wire.pack_hello(23, 1, HELLO),), Refusal.WRONG_LIFE),
        "another cluster": (
            (wire.pack_hello(B[1], 1, Hello("other", *A, 5)),),
            Refusal.WRONG_CLUSTER,
        ),
        "another's name": (
            (wire.pack_hello(B[1], 1, Hello("noex", "c@127.0.0.1:3", 1, 5)),),
            Refusal.BAD_FRAME,
        ),
        "a batch without a greeting": ((wire.pack_batch(B[1], 1, 1, [b"x"]),), Refusal.UNKNOWN),
        "an answer": ((wire.pack_ack(B[1], 1, 1),), Refusal.UNKNOWN),
    }


@pytest.mark.parametrize("name", bad_frames())
def test_a_bad_frame_costs_its_sender_the_connection(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    frames, code = bad_frames()[name]

    async def main() -> None:
        got: list[bytes] = []
        async with lane(B, got) as victim:
            victim.admit(A, "tcp://127.0.0.1:1")
            with Stranger(victim.port, wire.make_routing_id(*A, 1)) as stranger:
                assert wire.unpack_refused(await stranger.ask(*frames))[0] is code
                for _ in range(100):  # it is not listened to any more, nor answered, nor logged
                    stranger.socket.send(wire.pack_hello(B[1], 1, HELLO))
                victim.expel(A)
                await check_alive(victim, got)
                assert stranger.socket.poll(0) == 0

    with caplog.at_level(logging.WARNING, "noex"):
        run(main)
    lines = [record for record in caplog.records if "refused" in record.getMessage()]
    assert len(lines) == 1


def test_a_refused_stranger_who_goes_on_and_on_is_hung_up_on() -> None:
    async def main() -> None:
        got: list[bytes] = []
        async with lane(B, got) as victim:
            with Stranger(victim.port) as stranger:
                stranger.socket.setsockopt(zmq.RECONNECT_IVL, -1)
                monitor = stranger.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                try:
                    for _ in range(2 * PATIENCE):
                        stranger.socket.send(b"again")
                    await until(lambda: monitor.poll(0), "the connection is closed")
                finally:
                    stranger.socket.disable_monitor()
                    monitor.close(0)
            await check_alive(victim, got)
            assert got == [b"honest"]

    run(main)


def test_a_bad_batch_leaves_the_session_where_it_was() -> None:
    async def main() -> None:
        got: list[bytes] = []
        async with lane(B, got) as victim:
            victim.admit(A, "tcp://127.0.0.1:1")
            with Stranger(victim.port, wire.make_routing_id(*A, 1)) as peer:
                await peer.ask(wire.pack_hello(B[1], 1, HELLO))
                peer.socket.send(wire.pack_batch(B[1], 1, 1, [b"one"]))
                torn = wire.pack_batch(B[1], 1, 2, [b"two", b"three"])
                torn = torn[: wire.HEADER_SIZE] + b"\xff\xff\xff\xff" + torn[wire.HEADER_SIZE + 4 :]
                answer = await peer.ask(torn)
                if wire.unpack_header(answer).kind == wire.ACK:
                    await until(lambda: peer.socket.poll(0), "the refusal")
                    answer = bytes(peer.socket.recv())
                assert wire.unpack_refused(answer)[0] is Refusal.BAD_FRAME
            with Stranger(victim.port, wire.make_routing_id(*A, 2)) as peer:
                answer = await peer.ask(wire.pack_hello(B[1], 2, HELLO))
                assert wire.unpack_header(answer).kind == wire.OPEN
                assert wire.unpack_header(answer).seq == 2
                peer.socket.send(wire.pack_batch(B[1], 2, 2, [b"two"]))
                await until(lambda: len(got) == 2, "both")
                assert got == [b"one", b"two"]

    run(main)


def test_a_frame_beyond_the_limit_is_not_even_read() -> None:
    async def main() -> None:
        got: list[bytes] = []
        async with lane(B, got) as victim:
            victim.admit(A, "tcp://127.0.0.1:1")
            with Stranger(victim.port, wire.make_routing_id(*A, 1)) as peer:
                await peer.ask(wire.pack_hello(B[1], 1, HELLO))
                monitor = peer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                try:
                    peer.socket.send(bytes(SETTINGS.max_message + 1_000_000))
                    await until(lambda: monitor.poll(0), "the connection is closed")
                finally:
                    peer.socket.disable_monitor()
                    monitor.close(0)
            victim.expel(A)
            await check_alive(victim, got)
            assert got == [b"honest"]

    run(main)


class SlowPeer:
    """A listener that opens and then reads only when told to."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.taken = 0

    def __enter__(self) -> SlowPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    async def next(self) -> tuple[bytes, wire.Header, bytes]:
        await until(lambda: self.socket.poll(0), "a frame")
        routing_id, frame = self.socket.recv_multipart()
        return routing_id, wire.unpack_header(frame), frame

    async def has_frame_before(self, end: Callable[[], object]) -> bool:
        """Wait for a frame, or for `end` to hold; whether it is a frame."""
        await until(lambda: self.socket.poll(0) or end(), "a frame, or the end")
        return bool(self.socket.poll(0))

    async def open(self) -> None:
        routing_id, header, _ = await self.next()
        assert header.kind == wire.HELLO
        answer = wire.pack_open(A[1], header.connection, self.taken + 1, Opened(100_000, 1))
        self.socket.send_multipart([routing_id, answer])


def test_a_peer_that_does_not_read_fills_the_window_and_no_more() -> None:
    async def main() -> None:
        with SlowPeer() as slow:
            async with lane(A, []) as sender:
                sender.admit(B, f"tcp://127.0.0.1:{slow.port}")
                sender.send(B, b"first")
                await slow.open()
                refused = 0
                for _ in range(5000):
                    refused += not sender.send(B, b"x" * 1000)
                    assert sender.queued(B) <= SETTINGS.window_bytes
                    await asyncio.sleep(0)
                assert refused > 4000
                under_way = sum(len(sent.frame) for sent in sender._outlets[B].session._unacked)
                assert under_way <= 100_000 + 20_000  # the receiver's window, and a batch
                # it reads on: room again
                while await slow.has_frame_before(lambda: not sender.queued(B)):
                    routing_id, header, _ = await slow.next()
                    if header.kind == wire.BATCH:
                        ack = wire.pack_ack(A[1], header.connection, header.seq)
                        slow.socket.send_multipart([routing_id, ack])
                assert sender.send(B, b"room")

    run(main)


@pytest.mark.parametrize("what", ["noise", "an ack of the future", "a huge next batch", "batch"])
def test_a_listener_that_answers_nonsense_is_dialled_again(what: str) -> None:
    async def main() -> None:
        with SlowPeer() as broken:
            async with lane(A, []) as sender:
                troubles: list[str] = []
                sender._on_trouble = lambda _, text: troubles.append(text)
                sender.admit(B, f"tcp://127.0.0.1:{broken.port}")
                sender.send(B, b"one")
                routing_id, header, _ = await broken.next()
                answer = {
                    "noise": b"\x01" * 50,
                    "an ack of the future": wire.pack_ack(A[1], header.connection, 99),
                    "a huge next batch": wire.pack_open(
                        A[1], header.connection, 1 << 60, Opened(1, 1)
                    ),
                    "batch": wire.pack_batch(A[1], header.connection, 1, [b"x"]),
                }[what]
                broken.socket.send_multipart([routing_id, answer])
                await until(lambda: troubles, "the trouble is told")
                if what == "a huge next batch":  # messages would be lost: the session is over
                    assert "cannot go on" in troubles[0]
                    assert not sender.send(B, b"two")
                    return
                _, again, _ = await broken.next()
                assert again.kind == wire.HELLO
                assert again.connection > header.connection

    run(main)
