"""Those who mean a node no good, as programs of their own: raw sockets and raw ZeroMQ.

``python attackers.py NAME JSON``: does what NAME says to the node in the JSON (see `Target`), for
about so many seconds, prints how many things it has sent, and ends. All of it on the loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import zmq

from noex.cluster import messages as cluster
from noex.cluster.view import Member
from noex.transport import control_frames, ops, wire
from noex.transport.wire import Hello

HOST = "127.0.0.1"
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
HTTP = b"GET / HTTP/1.1\r\nHost: noex\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n"
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + bytes(400)
GIB = 1 << 30


@dataclass(frozen=True)
class Target:
    """The node to be attacked, and a member that it knows."""

    node_id: str
    incarnation: int
    control: int
    user: int
    pub: int
    peer: str
    peer_incarnation: int
    seconds: float = 0.2
    cluster: str = "noex"

    @property
    def ports(self) -> tuple[int, int, int]:
        return self.control, self.user, self.pub

    def until(self) -> Iterator[int]:
        """Count for as long as the attack shall go on."""
        end, count = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            yield count
            count += 1


# ---------------------------------------------------------------------- raw bytes


def say(target: Target, data: Callable[[], bytes], times: int = 10) -> int:
    """Say it at each port, and wait to be hung up on for a moment."""
    with ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection((HOST, port), 5))
            for port in target.ports
            for _ in range(times)
        ]
        for connection in held:
            with contextlib.suppress(OSError):
                connection.sendall(data())
        for connection in held:
            connection.settimeout(0.05)
            with contextlib.suppress(OSError):
                while connection.recv(4096):
                    pass
    return len(held)


def noise(target: Target) -> int:
    return say(target, lambda: random.randbytes(random.randint(1, 60_000)))


def http(target: Target) -> int:
    return say(target, lambda: HTTP)


def tls(target: Target) -> int:
    return say(target, lambda: CLIENT_HELLO)


def half_a_handshake(target: Target) -> int:
    """Many connections that begin to speak ZMTP and fall silent, held until the end."""
    with ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection((HOST, port), 5))
            for port in target.ports
            for _ in range(100)
        ]
        for number, connection in enumerate(held):
            with contextlib.suppress(OSError):
                connection.sendall(GREETING[: number % 65])
        for _ in target.until():
            time.sleep(0.01)  # sleep: they are silent, and that is the attack
        return len(held)


def come_and_go(target: Target) -> int:
    """Connect and hang up, as fast as it goes."""
    count = 0
    for count in target.until():
        port = target.ports[count % 3]
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5) as connection:
            if count % 2:
                connection.sendall(GREETING)
    return count


def shaken_hands(port: int, kind: bytes) -> socket.socket:
    """A raw connection that has gone through the handshake as a socket of this kind."""
    connection = socket.create_connection((HOST, port), 5)
    connection.sendall(GREETING)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    if kind == b"DEALER":
        ready += b"\x08Identity" + struct.pack(">I", 0)
    connection.sendall(bytes((4, len(ready))) + ready)
    connection.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        connection.recv(64)
    return connection


def a_frame_of_a_gib(target: Target) -> int:
    """A length field of 1 GiB: of ZeroMQ's frame, and of ours."""
    count = 0
    with ExitStack() as stack:
        for port, kind in zip(target.ports, (b"DEALER", b"DEALER", b"SUB"), strict=True):
            for claim in (GIB, 1 << 62, (1 << 64) - 1):
                connection = stack.enter_context(shaken_hands(port, kind))
                with contextlib.suppress(OSError):
                    connection.sendall(b"\x02" + struct.pack(">Q", claim))
                    for _ in range(64):
                        connection.sendall(bytes(64 * 1024))
                count += 1
        for claim in (GIB, (1 << 32) - 1):
            dealer = stack.enter_context(a_dealer(target.user))
            header = wire.HEADER.pack(wire.VERSION, wire.BATCH, target.incarnation, 1, 1, claim)
            dealer.send(header + bytes(1000))
            header = wire.HEADER.pack(wire.VERSION, wire.HELLO, target.incarnation, 1, 0, claim)
            dealer.send(header + bytes(1000))
            count += 2
        time.sleep(0.1)  # sleep: nobody answers; what was sent is to arrive
    return count


# ---------------------------------------------------------------------- ZeroMQ of other kinds


@contextmanager
def sockets() -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """Makes sockets; all are closed in the end, what was sent last has a second to leave."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4000)
    made: list[zmq.Socket[bytes]] = []

    def make(kind: int, port: int, **options: bytes | int) -> zmq.Socket[bytes]:
        sock = context.socket(kind)
        made.append(sock)
        sock.linger = 1000
        for name, value in options.items():
            sock.setsockopt(getattr(zmq, name), value)
        sock.connect(f"tcp://{HOST}:{port}")
        return sock

    try:
        yield make
    finally:
        for sock in made:
            sock.close()
        context.term()


@contextmanager
def a_dealer(port: int, **options: bytes | int) -> Iterator[zmq.Socket[bytes]]:
    with sockets() as make:
        yield make(zmq.DEALER, port, **options)


def sockets_of_other_types(target: Target) -> int:
    kinds = (zmq.REQ, zmq.PUSH, zmq.PUB, zmq.PAIR, zmq.PULL, zmq.SUB, zmq.ROUTER, zmq.XPUB)
    count = 0
    with sockets() as make:
        for port in target.ports:
            for kind in kinds:
                sock = make(kind, port, LINGER=0)
                if kind == zmq.SUB:
                    sock.subscribe(b"")
                with contextlib.suppress(zmq.ZMQError):
                    sock.send(b"hello?", zmq.NOBLOCK)
                count += 1
        time.sleep(target.seconds)  # sleep: as long as the attack shall last
    return count


# ---------------------------------------------------------------------- our protocol, misused


def flood(dealer: zmq.Socket[bytes], target: Target, *frames: bytes) -> int:
    """Send these, again and again, and read nothing."""
    count = 0
    for _ in target.until():
        for _ in range(100):
            with contextlib.suppress(zmq.Again):
                for frame in frames:
                    dealer.send(frame, zmq.NOBLOCK)
                    count += 1
    return count


def torrent(port: int, target: Target, *frames: bytes, many: int = 2000) -> int:
    """Send these as fast as TCP takes them, which is millions a second, and read nothing."""
    data = b"".join(b"\x00" + bytes((len(frame),)) + frame for frame in frames) * many
    sent = 0
    kind = b"SUB" if port == target.pub else b"DEALER"
    end = time.monotonic() + target.seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), shaken_hands(port, kind) as connection:
            while time.monotonic() < end:  # until it is hung up on
                with contextlib.suppress(TimeoutError):
                    sent += connection.send(data)
    return sent * many * len(frames) // len(data)


def tiny_frames_at_the_user_port(target: Target) -> int:
    return torrent(target.user, target, b"", b"\x01")


def tiny_frames_at_the_control_port(target: Target) -> int:
    return torrent(target.control, target, b"", b"\x01", b"\x01\x01", b"\x01\x01\x93")


def envelope(target: Target, body: cluster.Body, sender: tuple[str, int], name: str) -> bytes:
    return control_frames.data_frame(
        cluster.encode(cluster.Envelope(name, sender, None, 0, 0, body))
    )


def questions_without_end(target: Target) -> int:
    """Asks for pongs and for the status, and never reads an answer."""
    status = envelope(target, cluster.Admin(1, "status"), ("x@127.0.0.1:1", 0), "")
    with a_dealer(target.control, LINGER=0, RCVHWM=1, RCVBUF=4096) as dealer:
        return flood(dealer, target, control_frames.ping_frame(1), status)


def hellos_that_are_never_read(target: Target) -> int:
    """A stranger at the user port that is refused again and again, and reads nothing."""
    count = 0
    with sockets() as make:
        for count in target.until():
            name = f"deaf@127.0.0.1:{count % 60_000}"
            dealer = make(
                zmq.DEALER,
                target.user,
                ROUTING_ID=wire.make_routing_id(name, 5, 1),
                LINGER=0,
                RCVHWM=1,
            )
            for _ in range(20):
                dealer.send(wire.pack_hello(target.incarnation, 1, Hello("other", name, 5, 1)))
            if count > 300:
                break
    return count


def many_lives_that_are_no_members(target: Target) -> int:
    """Greetings of 400 lives at the user port; as many want to join at the control port."""
    with sockets() as make:
        for number in range(400):
            name = f"ghost{number}@{HOST}:{number + 1}"
            user = make(
                zmq.DEALER, target.user, ROUTING_ID=wire.make_routing_id(name, 7, 1), LINGER=100
            )
            user.send(wire.pack_hello(target.incarnation, 1, Hello(target.cluster, name, 7, 1)))
        for name in ("y" * 60_000, "\n" * 500):
            user = make(zmq.DEALER, target.user, ROUTING_ID=wire.make_routing_id(name, 7, 1))
            user.send(wire.pack_hello(target.incarnation, 1, Hello(target.cluster, name, 7, 1)))
        control = make(zmq.DEALER, target.control)
        for number in range(400):
            name = f"ghost{number}@{HOST}:{number + 1}"
            me = Member(name, 7, "up", f"tcp://{HOST}:{number + 1}", "tcp://x:1", "tcp://x:2")
            for body in (cluster.Hello("joining", me), cluster.Join(me)):
                control.send(envelope(target, body, me.uid, target.cluster))
        time.sleep(max(target.seconds, 0.2))  # sleep: as long as the attack shall last
    return 1200


def other_versions_and_clusters(target: Target) -> int:
    count = 0
    with sockets() as make:
        for number in range(50):
            name = f"other{number}@{HOST}:{number + 1}"
            hello = wire.pack_hello(target.incarnation, 1, Hello("another", name, 7, 1))
            later = bytes((wire.VERSION + 40,)) + hello[1:]
            for frame in (hello, later):
                user = make(
                    zmq.DEALER, target.user, ROUTING_ID=wire.make_routing_id(name, 7, count)
                )
                user.send(frame)
                count += 1
            user.send(wire.pack_hello(target.incarnation, 1, Hello("x" * 60_000, name, 7, 1)))
            me = Member(name, 7, "up", f"tcp://{HOST}:{number + 1}")
            control = make(zmq.DEALER, target.control)
            said = envelope(target, cluster.Hello("joining", me), me.uid, "another")
            control.send(said)
            control.send(b"\x09" + said[1:])
            control.send(said[:2] + b"\x99\x07" + said[4:])
            count += 3
        time.sleep(0.1)  # sleep: nobody answers; what was sent is to arrive
    return count


def the_name_of_a_member(target: Target) -> int:
    """Speaks as the peer: its life, its routing ids, its earlier and its next life."""
    count = 0
    batch = ops.pack_op(ops.STOP, name="noex.spawner", body=b"\xa4kill")
    with sockets() as make:
        for life in (target.peer_incarnation, target.peer_incarnation - 1, 5):
            for connection in (1, 2, 3, 4, 50, 60):
                name = wire.make_routing_id(target.peer, life, connection)
                dealer = make(zmq.DEALER, target.user, ROUTING_ID=name)
                session = random.randint(1 << 20, 1 << 30)
                hello = Hello(target.cluster, target.peer, life, session)
                dealer.send(wire.pack_hello(target.incarnation, connection, hello))
                dealer.send(wire.pack_batch(target.incarnation, connection, 1, [batch]))
                count += 2
        anonymous = make(zmq.DEALER, target.user)
        hello = Hello(target.cluster, target.peer, target.peer_incarnation, 1)
        anonymous.send(wire.pack_hello(target.incarnation, 1, hello))
        anonymous.send(wire.pack_batch(target.incarnation, 1, 1, [batch]))
        control = make(zmq.DEALER, target.control)
        for life in (target.peer_incarnation - 1, target.peer_incarnation + 1):
            me = Member(target.peer, life, "up", f"tcp://{HOST}:1", "tcp://x:1", "tcp://x:2")
            for body in (cluster.Hello("joining", me), cluster.Join(me)):
                control.send(envelope(target, body, me.uid, target.cluster))
        time.sleep(max(target.seconds, 0.2))  # sleep: as long as the attack shall last
    return count + 6


def subscriptions_without_end(target: Target) -> int:
    """Subscribes to whatever can be said, at the PUB."""
    with sockets() as make:
        for _ in range(100):
            make(zmq.SUB, target.pub, LINGER=0).subscribe(b"")
        many = make(zmq.XSUB, target.pub, LINGER=0, SNDHWM=1000)
        count = 0
        for count in target.until():
            for number in range(100):
                topic = struct.pack(">I", count * 100 + number)[::-1] + bytes(20)
                with contextlib.suppress(zmq.Again):
                    many.send(b"\x01" + topic, zmq.NOBLOCK)
    topics = [b"\x01" + random.randbytes(6) for _ in range(20_000)]
    return count * 100 + torrent(target.pub, target, *topics, many=1)


def a_torrent_that_breaks_off(target: Target) -> int:
    """Fills what the node has room for, at each port, and hangs up in the midst of it."""
    count = 0
    for turn in target.until():
        if turn == 30:  # what is in the queues by then takes the node a while
            break
        for port, kind in zip(target.ports, (b"DEALER", b"DEALER", b"SUB"), strict=True):
            with shaken_hands(port, kind) as connection:
                connection.settimeout(0.02)
                with contextlib.suppress(OSError):
                    for _ in range(20):
                        connection.sendall(b"\x00\x02\x01x" * 20_000)
                        count += 20_000
    return count


# ---------------------------------------------------------------------- a member that turns bad


def a_bad_member(target: Target) -> int:
    """Joins, and sends what no node would: deep, torn and foreign operations in valid batches."""
    from noex import Node
    from noex.registry.behaviors import BehaviorRegistry

    deep = [b"\x91" * 300_000, b"\xc1\x03" + b"\x92\x01" * 300_000, b"\x81\xa1a" * 200_000]
    claims = [b"\xdd\xff\xff\xff\xff", b"\xdb\x40\x00\x00\x00", b"\xc6\x40\x00\x00\x00" + bytes(99)]

    async def main() -> int:
        count = 0
        node = Node(f"mallory@{HOST}:0", seeds=[target.node_id], behaviors=BehaviorRegistry())
        async with node:
            uid = (target.node_id, target.incarnation)
            assert node.network is not None and node.network._lane is not None
            send = node.network._lane.send
            for _ in target.until():
                for body in (*deep, *claims, os.urandom(50), b""):
                    for kind in (ops.CALL, ops.CAST, ops.EXIT, ops.SYSTEM, ops.REPLY, 99):
                        count += send(uid, ops.pack_op(kind, 1, count, 5000, body, "noex.spawner"))
                        count += send(uid, ops.pack_op(kind, 2, count, 5000, body))
                count += send(uid, os.urandom(10)) + send(uid, b"")
                await asyncio.sleep(0)
            await node.network._lane.flush(5.0)
        return count

    return asyncio.run(main())


ATTACKS: dict[str, Callable[[Target], int]] = {
    attack.__name__: attack
    for attack in (
        noise,
        http,
        tls,
        half_a_handshake,
        come_and_go,
        a_frame_of_a_gib,
        sockets_of_other_types,
        tiny_frames_at_the_user_port,
        tiny_frames_at_the_control_port,
        questions_without_end,
        hellos_that_are_never_read,
        many_lives_that_are_no_members,
        other_versions_and_clusters,
        the_name_of_a_member,
        subscriptions_without_end,
        a_torrent_that_breaks_off,
        a_bad_member,
    )
}

if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(ATTACKS[sys.argv[1]](Target(**json.loads(sys.argv[2]))), flush=True)
