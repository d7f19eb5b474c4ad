"""One peer of a listener is hung up on, and nothing else is touched."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from noex.transport.hangup import hang_up

Socket = zmq.Socket[bytes]


@contextmanager
def two_at_a_listener(endpoint: str) -> Iterator[tuple[Socket, Socket, Socket]]:
    context: zmq.Context[Socket] = zmq.Context()
    try:
        router = context.socket(zmq.ROUTER)
        router.bind(endpoint)
        dealers = [context.socket(zmq.DEALER) for _ in range(2)]
        for dealer in dealers:
            dealer.setsockopt(zmq.RECONNECT_IVL, -1)
            dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        yield router, dealers[0], dealers[1]
    finally:
        context.destroy(linger=0)


class Named:
    """A frame that says it came over this descriptor."""

    def __init__(self, descriptor: object) -> None:
        self.descriptor = descriptor

    def get(self, _option: int) -> object:
        return self.descriptor


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_the_sender_of_a_frame_loses_its_connection_and_its_neighbour_does_not(
    scheme: str, tmp_path: Path
) -> None:
    endpoint = "tcp://127.0.0.1:*" if scheme == "tcp" else f"ipc://{tmp_path}/s"
    with two_at_a_listener(endpoint) as (router, bad, good):
        watch = bad.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        bad.send(b"bad")
        assert router.poll(5000)
        _origin, frame = router.recv_multipart(copy=False)
        assert hang_up(frame, router)
        assert watch.poll(5000)
        bad.disable_monitor()
        watch.close(0)
        good.send(b"good")
        assert router.poll(5000)
        assert router.recv_multipart()[1] == b"good"


def test_what_is_not_a_connection_of_the_listener_is_left_alone(tmp_path: Path) -> None:
    with two_at_a_listener("tcp://127.0.0.1:*") as (router, _bad, _good):
        left, right = socket.socketpair()
        with left, right, socket.create_server(("127.0.0.1", 0)) as server:
            elsewhere = socket.create_connection(server.getsockname())
            with elsewhere, (tmp_path / "file").open("w") as file:
                for other in (left, server, elsewhere, file):
                    assert not hang_up(Named(other.fileno()), router)
                left.send(b"whole")
                assert right.recv(10) == b"whole"
                accepted, _address = server.accept()
                with accepted:
                    elsewhere.send(b"whole")
                    assert accepted.recv(10) == b"whole"
        for none in (-1, 10**6, None, "x"):
            assert not hang_up(Named(none), router)
