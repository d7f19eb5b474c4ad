"""Secured nodes in one process, and somebody with a key who says what he should not."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import zmq
from three_nodes import start_node

from noex import Node, NodeKeys
from noex.cluster import messages
from noex.cluster.view import Member
from noex.transport import control_frames
from noex.transport.curve import credentials_of, secure_dialler
from noex.transport.ports import choose_ports

SECRET = "a secret that all of them know"
OTHER_SECRET = "a secret that none of them knows"
DEADLINE = 10.0
QUICK = {"join_timeout": 1.5}
"""For a node that will not be let in."""


class Ring:
    """Keys for some nodes, each of which trusts all of them."""

    def __init__(self, *names: str, trusting: tuple[str, ...] | None = None) -> None:
        ports = choose_ports(len(names))
        self.ids = {n: f"{n}@127.0.0.1:{p}" for n, p in zip(names, ports, strict=True)}
        self.fresh = {name: NodeKeys.generate() for name in names}
        self.client = NodeKeys.generate()
        known = names if trusting is None else trusting
        self.peers = {self.ids[name]: self.fresh[name].public for name in known}

    def keys(self, name: str) -> NodeKeys:
        """What the node `name` is given."""
        return self.fresh[name].trusting(self.peers, {"ops": self.client.public})

    async def start(self, name: str, *seeds: Node, **options: Any) -> Node:
        """The node `name`, with its key."""
        port = int(self.ids[name].rpartition(":")[2])
        options.setdefault("keys", self.keys(name))
        return await start_node(name, seeds, port=port, **options)


@asynccontextmanager
async def stopping(*nodes: Node) -> AsyncIterator[AsyncExitStack]:
    """Stop these nodes afterwards, and those that are pushed meanwhile, the youngest first."""
    async with AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.stop)
        yield stack


def refused(node: Node) -> dict[str, int]:
    """Whom a node has refused, by reason."""
    assert node.network is not None
    return node.network.peers_refused


def gates() -> list[str]:
    """The threads of gates that run."""
    return [thread.name for thread in threading.enumerate() if "noex-gate" in thread.name]


def ports_of(node: Node) -> tuple[int, int, int]:
    """Control, user and heartbeat port."""
    network = node.network
    assert network is not None and network._control is not None and network._lane is not None
    return network._control.port, network._lane.port, network._control.pub_port


class Impostor:
    """A raw DEALER that dials a node with these keys, and the events of its connection."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._context = context
        self._open: list[zmq.Socket[bytes]] = []

    def dial(
        self, port: int, secure: Callable[[zmq.Socket[bytes]], None], routing_id: bytes = b""
    ) -> zmq.Socket[bytes]:
        """Connect once; `heard` says what became of it."""
        dealer = self._context.socket(zmq.DEALER)
        self._open.append(dealer)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, 24 * 3600 * 1000)
        if routing_id:
            dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        secure(dealer)
        dealer.get_monitor_socket(zmq.EVENT_ALL)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        return dealer

    def close(self) -> None:
        for dealer in self._open:
            monitor = dealer._monitor_socket
            with contextlib.suppress(zmq.ZMQError):
                dealer.disable_monitor()
            if monitor is not None:
                monitor.close(0)
            dealer.close(0)


@contextmanager
def an_impostor() -> Iterator[Impostor]:
    """One with a context of its own."""
    with zmq.Context() as context:
        impostor = Impostor(context)
        try:
            yield impostor
        finally:
            impostor.close()


def as_node(keys: NodeKeys, own: str, target: str) -> Callable[[zmq.Socket[bytes]], None]:
    """Dial the node `target` with the keys of `own`."""
    return lambda sock: secure_dialler(sock, credentials_of(own, None, keys), target)


def shaken(dealer: zmq.Socket[bytes]) -> int:
    """The event that ends the handshake: succeeded, failed, or disconnected."""
    return _next_event(
        dealer,
        zmq.EVENT_HANDSHAKE_SUCCEEDED
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_DISCONNECTED,
    )


def is_hung_up_on(dealer: zmq.Socket[bytes]) -> bool:
    """Whether the node ends the connection, sooner or later."""
    return _next_event(dealer, zmq.EVENT_DISCONNECTED) == zmq.EVENT_DISCONNECTED


def _next_event(dealer: zmq.Socket[bytes], wanted: int) -> int:
    monitor = dealer._monitor_socket
    assert monitor is not None
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if monitor.poll(50):
            event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
            if event & wanted:
                return event
    raise AssertionError(f"none of the events {wanted:#x} within {DEADLINE} s")


def hello(sender: str, me: str, incarnation: int = 1 << 62) -> bytes:
    """A control frame: `sender` greets, as the member `me`."""
    address = "tcp://127.0.0.1:1"
    member = Member(me, incarnation, "up", address, address, address, (), ())
    body = messages.Hello("joining", member)
    envelope = messages.Envelope("noex", (sender, incarnation), None, 0, 0, body)
    return control_frames.data_frame(messages.encode(envelope))


def question(request: int) -> bytes:
    """A control frame that asks a node for its status."""
    body = messages.Admin(request, "ping")
    envelope = messages.Envelope("", ("client@localhost:1", 0), None, 0, 0, body)
    return control_frames.data_frame(messages.encode(envelope))
