"""What strangers send to the control ports costs them their connection, and the node nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import zmq
from control_rig import FAST, Rig, open_files

from noex.transport.control import LinkDown, LinkUp, Pulse, Received
from noex.transport.pulse import MAGIC

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32))
HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 64,
    "http": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "half a TLS hello": CLIENT_HELLO,
    "half a greeting": GREETING[:20],
    "a greeting and noise": GREETING + os.urandom(64),
    "a greeting and a frame of 2**62 bytes": GREETING + b"\x02" + struct.pack(">Q", 1 << 62),
}


@contextmanager
def a_stranger() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """Somebody who speaks ZeroMQ, but not our protocol."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


async def works(a: Rig, b: Rig) -> None:
    """The two talk with each other, and their link has not broken."""
    since = len(a.events)
    a.lane.send(b.endpoint, b"still there?")
    question = await b.heard(Received, len(b.events), data=b"still there?")
    b.lane.answer(question.origin, b"yes")
    await a.heard(Received, since, data=b"yes")
    await a.heard(Pulse, since)
    assert a.of(LinkDown) == []


@pytest.mark.parametrize("noise", HOSTILE.values(), ids=HOSTILE.keys())
def test_bytes_that_are_no_zeromq_harm_nobody(
    noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.link(b.endpoint)
            files = open_files()
            with ExitStack() as stack:
                for port in (b.lane.port, b.lane.pub_port):
                    for _ in range(10):
                        stranger = stack.enter_context(
                            socket.create_connection(("127.0.0.1", port))
                        )
                        stranger.settimeout(10)
                        try:
                            stranger.sendall(noise)
                        except OSError:
                            pass  # thrown out already
                await works(a, b)
            await a.until(lambda: open_files() <= files, "the strangers' connections are closed")
            await works(a, b)
            assert len(b.of(Received)) == 2

    with caplog.at_level(logging.DEBUG, "noex"):
        asyncio.run(main())
    assert len(caplog.records) <= 1


def test_an_http_request_is_hung_up_on_at_both_ports() -> None:
    """libzmq takes it for a peer of its oldest protocol, and would keep the connection open."""

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
            stranger.sendall(HOSTILE["http"])
            answer = b""
            with suppress(ConnectionResetError):
                while len(answer) < 4096 and (piece := stranger.recv(4096)):
                    answer += piece
            return answer

    async def main() -> None:
        async with Rig("a") as a:
            for port in (a.lane.port, a.lane.pub_port):
                answer = await asyncio.to_thread(ask, port)  # raises TimeoutError if kept open
                assert len(answer) < 128  # a greeting at most

    asyncio.run(main())


def test_a_stranger_that_never_speaks_is_thrown_out() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            with socket.create_connection(("127.0.0.1", a.lane.port)) as stranger:
                stranger.setblocking(False)

                def is_closed() -> bool:
                    try:
                        return stranger.recv(1000) == b""
                    except BlockingIOError:
                        return False
                    except OSError:
                        return True

                await a.until(is_closed, "the handshake timed out")

    asyncio.run(main())


def test_frames_that_are_not_ours_are_refused_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.link(b.endpoint)
            with a_stranger() as context:
                dealer = context.socket(zmq.DEALER)
                dealer.connect(b.endpoint)
                for _ in range(100):
                    dealer.send(os.urandom(40)[:1] + b"\x09 not ours")
                    dealer.send_multipart([b"\x01\x01", b"of", b"four", b"parts"])
                    dealer.send(b"")
                    dealer.send(b"\x01\x02short ping")
                    dealer.send(b"\x01\x03a pong")
                await b.until(lambda: b.lane.stats().frames_refused == 500)
                await works(a, b)
            assert len(b.of(Received)) == 1

    with caplog.at_level(logging.DEBUG, "noex"):
        asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "control_frame_refused" in caplog.text


def test_pulses_that_are_not_ours_are_refused_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            with a_stranger() as context:
                publisher = context.socket(zmq.XPUB)
                port = publisher.bind_to_random_port("tcp://127.0.0.1")
                a.lane.subscribe(f"tcp://127.0.0.1:{port}")
                await a.until(lambda: publisher.poll(0), "a has subscribed")
                for _ in range(100):
                    publisher.send(MAGIC + os.urandom(20))
                    publisher.send(b"another topic")
                    publisher.send_multipart([MAGIC, b"two parts"])
                await a.until(lambda: a.lane.stats().frames_refused == 200)
                a.lane.subscribe(b.pub_endpoint)
                await a.link(b.endpoint)
                await works(a, b)
            assert {pulse.node_id for pulse in a.of(Pulse)} == {b.lane.node_id}

    with caplog.at_level(logging.DEBUG, "noex"):
        asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("topic", [b"", b"x" * 100, MAGIC + b"a"])
def test_whoever_subscribes_to_anything_but_pulses_is_hung_up_on(
    topic: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.link(b.endpoint)
            with a_stranger() as context:
                subscriber = context.socket(zmq.SUB)
                subscriber.setsockopt(zmq.RECONNECT_IVL, -1)
                watch = subscriber.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                subscriber.connect(b.pub_endpoint)
                subscriber.subscribe(topic)
                await b.until(lambda: watch.poll(0), "it was thrown out")
                subscriber.disable_monitor()
                watch.close(0)
            await works(a, b)

    with caplog.at_level(logging.DEBUG, "noex"):
        asyncio.run(main())
    assert "control_subscription_refused" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_message_beyond_the_limit_costs_the_sender_its_connection() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.link(b.endpoint)
            with a_stranger() as context:
                dealer = context.socket(zmq.DEALER)
                dealer.setsockopt(zmq.RECONNECT_IVL, -1)
                watch = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                dealer.connect(b.endpoint)
                dealer.send(b"\x01\x01" + bytes(FAST.max_message + 1000))
                await b.until(lambda: watch.poll(0), "it was thrown out")
                dealer.disable_monitor()
                watch.close(0)
                await works(a, b)
            assert len(b.of(Received)) == 1

    asyncio.run(main())


def test_a_flood_at_the_port_delays_no_pulse_and_costs_bounded_memory() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.link(b.endpoint)
            with a_stranger() as context:
                dealer = context.socket(zmq.DEALER)
                dealer.setsockopt(zmq.SNDHWM, 0)
                dealer.setsockopt(zmq.RECONNECT_IVL, -1)
                watch = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                dealer.connect(b.endpoint)
                for _ in range(50_000):
                    dealer.send(b"\x01\x01flood")
                since = len(a.events)
                await a.until(lambda: len(a.of(Pulse, since)) >= 5, "pulses in the flood")
                assert b.lane.stats().events_waiting <= FAST.max_received + FAST.max_pulses

                def is_over() -> bool:  # or has been cut: unread for too long, no heartbeat came
                    told = len(b.events) + b.lane.stats().events_dropped
                    return told >= 50_000 or bool(watch.poll(0))

                await b.until(is_over, "the flood is over")
                dealer.disable_monitor()
                watch.close(0)
                b.events.clear()
                await works(a, b)

    asyncio.run(main())


def test_dialling_something_else_than_a_node_never_looks_like_a_link() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            dialled.append(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + bytes(100))
            writer.close()

        dialled: list[int] = []
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with Rig("a") as a, server:
            endpoint = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            a.lane.connect(endpoint)
            await a.until(lambda: len(dialled) >= 6, "dialled again and again")
            assert a.of(LinkUp) == []
            a.lane.disconnect(endpoint)
            await a.until(lambda: a.lane.stats().links == 0)

    asyncio.run(main())
