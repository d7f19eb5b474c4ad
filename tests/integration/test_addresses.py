"""Where nodes listen and dial: ipc://, IPv6, ports, bind; and what an idle connection costs."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zmq
from lanes import FAST, Peer, introduce, peers, run, until

from noex import GenServer, Node
from noex.runtime.errors import InvalidOptionError, PortInUseError
from noex.runtime.node_id import parse_node_id
from noex.transport.control_sockets import parse_endpoint
from noex.transport.descriptors import count_open
from noex.transport.ipc import IpcFolder
from noex.transport.ports import choose_ports

ANY = "127.0.0.1"


class Echo(GenServer[None]):
    def init(self) -> None:
        pass

    def handle_call(self, message: Any, state: None) -> Any:
        return message, None


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
ipc_only = pytest.mark.skipif(not zmq.has("ipc"), reason="libzmq has no ipc:// here")


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="nx") as short:  # pytest's own may be too long for a socket
        yield Path(short) / "run"


@asynccontextmanager
async def two_nodes(first: str, second: str, **options: Any) -> AsyncIterator[tuple[Node, Node]]:
    async with Node(first, **options) as a, Node(second, seeds=[a.id], **options) as b:
        await a.wait_for_members(2)
        yield a, b


async def talk(a: Node, b: Node) -> None:
    """A call each way, which needs all that connects two nodes."""
    for here, there in ((a, b), (b, a)):
        await there.options(name="echo").start(Echo)
        assert await here.ref("echo", on=there.id).call(there.id, timeout=10) == there.id


def dialled(node: Node) -> list[str]:
    """The endpoints to which the user lane of a node is connected."""
    assert node.network is not None and node.network._lane is not None
    sockets = [outlet._socket for outlet in node.network._lane._outlets.values()]
    return [sock.getsockopt_string(zmq.LAST_ENDPOINT) for sock in sockets if sock is not None]


# ---------------------------------------------------------------------- ipc://


@ipc_only
@pytest.mark.parametrize("secret", (None, "one that is long enough"))
def test_nodes_with_the_same_directory_talk_through_it(folder: Path, secret: str | None) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"ipc_dir": folder, "cluster_secret": secret}
        async with two_nodes("a@127.0.0.1:0", "b@127.0.0.1:0", **options) as (a, b):
            await talk(a, b)
            assert all(endpoint.startswith("ipc://") for endpoint in dialled(a) + dialled(b))
            assert len(dialled(a)) == len(dialled(b)) == 1
            assert len(list(folder.iterdir())) == 2
        assert list(folder.iterdir()) == []

    run(main)


@ipc_only
def test_nodes_with_different_directories_and_with_none_talk_over_tcp(folder: Path) -> None:
    async def main() -> None:
        async with (
            Node("a@127.0.0.1:0", ipc_dir=folder / "1") as a,
            Node("b@127.0.0.1:0", ipc_dir=folder / "2", seeds=[a.id]) as b,
            Node("c@127.0.0.1:0", seeds=[a.id]) as c,
        ):
            await a.wait_for_members(3)
            await talk(a, b)
            assert await c.ref("echo", on=a.id).call("hello") == "hello"
            for node in (a, b, c):
                assert all(endpoint.startswith("tcp://") for endpoint in dialled(node))

    run(main)


@ipc_only
def test_a_directory_that_cannot_be_used_fails_the_start_and_leaves_nothing(folder: Path) -> None:
    async def main() -> None:
        node = Node("a@127.0.0.1:0", ipc_dir=folder / ("x" * 100))
        with pytest.raises(InvalidOptionError, match="the system allows"):
            await node.start_up()
        assert not folder.exists()

    run(main)


def ipc_peer(name: str, folder: Path, incarnation: int = 1) -> Peer:
    return Peer(name, incarnation, ipc=IpcFolder(str(folder)))


@ipc_only
def test_a_lane_whose_socket_file_is_gone_or_dead_is_reached_over_tcp(folder: Path) -> None:
    async def main() -> None:
        a, b = ipc_peer("a", folder), ipc_peer("b", folder)
        try:
            await a.lane.start()
            await b.lane.start()
            path = IpcFolder(str(folder)).path_of(b.lane.node_id)
            path.unlink()
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))
            introduce(a, b)
            assert a.lane.send(b.uid, b"over tcp")
            await until(lambda: b.received(a) == [b"over tcp"], "the message")
        finally:
            await a.lane.stop(linger=0)
            await b.lane.stop(linger=0)

    run(main)


@ipc_only
def test_somebody_else_behind_the_socket_file_costs_one_dial(folder: Path) -> None:
    async def main() -> None:
        a, b = ipc_peer("a", folder), Peer("b")
        stranger = ipc_peer("b", folder, incarnation=77)  # as in another container
        made = (a, b, stranger)
        try:
            for peer in made:
                await peer.lane.start()
            introduce(a, b)
            assert a.lane.send(b.uid, b"for b alone")
            await until(lambda: b.received(a) == [b"for b alone"], "the message")
            assert stranger.got == {}
        finally:
            for peer in made:
                await peer.lane.stop(linger=0)

    run(main)


@ipc_only
def test_a_large_message_goes_through_the_socket_file(folder: Path) -> None:
    async def main() -> None:
        a, b = ipc_peer("a", folder), ipc_peer("b", folder)
        try:
            await a.lane.start()
            await b.lane.start()
            a.lane.admit(b.uid, "tcp://127.0.0.1:1")  # where nobody listens
            b.lane.admit(a.uid, a.endpoint)
            big = bytes(range(256)) * 16 * 1024
            assert a.lane.send(b.uid, big)
            await until(lambda: len(b.received(a)) == 1, "the message")
            assert b.received(a) == [big]
        finally:
            await a.lane.stop(linger=0)
            await b.lane.stop(linger=0)

    run(main)


# ---------------------------------------------------------------------- IPv6


@ipv6
@pytest.mark.parametrize("bind", (None, "::", "*"))
def test_nodes_talk_over_ipv6_on_all_three_sockets(bind: str | None) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"bind": bind, "insecure": bind is not None}
        async with two_nodes("a@[::1]:0", "b@[::1]:0", **options) as (a, b):
            await talk(a, b)
            assert parse_node_id(a.id).host == "[::1]"
            assert all(endpoint.startswith("tcp://[::1]:") for endpoint in dialled(a))
            assert a.network is not None and a.network.membership is not None
            for member in a.network.membership.members:
                for endpoint in (
                    member.control_endpoint,
                    member.user_endpoint,
                    member.pub_endpoint,
                ):
                    host, port = parse_endpoint(endpoint)
                    assert host == "::1"
                    with socket.create_connection((host, port), timeout=5):
                        pass
            if bind is None:  # pulses of the other come over the third socket, one a second
                await until(lambda: _has_pulse(a, b.id), "a pulse")

    run(main)


def _has_pulse(node: Node, other: str) -> bool:
    (info,) = [info for info in node.members() if info.id == other]
    return info.status == "up" and info.last_heartbeat_at is not None


@ipv6
def test_ipv6_and_ipv4_nodes_are_members_of_one_cluster() -> None:
    async def main() -> None:
        async with two_nodes("a@[::1]:0", "b@127.0.0.1:0") as (a, b):
            await talk(a, b)

    run(main)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the scope is named as on Linux")
@ipv6
def test_nodes_talk_over_a_link_local_address_with_its_scope() -> None:
    address = _link_local()
    if address is None:
        pytest.skip("no interface of this machine has a link-local IPv6 address")

    async def main() -> None:
        names = f"a@[{address}]:0", f"b@[{address}]:0"
        async with two_nodes(*names, insecure=True) as (a, b):
            assert parse_node_id(a.id).host == f"[{address}]"
            await talk(a, b)

    run(main)


def _link_local() -> str | None:
    """Such as ``fe80::1%eth0``."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, _, _, _, _, interface = line.split()
        if digits.startswith("fe80"):
            packed = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
            return f"{packed}%{interface}"
    return None


# ---------------------------------------------------------------------- ports and hosts


def ports_of(node: Node) -> tuple[int, int, int]:
    """As its peers know them: control, user, pub."""
    assert node.network is not None and node.network.membership is not None
    (me,) = [m for m in node.network.membership.members if m.node_id == node.id]
    endpoints = (me.control_endpoint, me.user_endpoint, me.pub_endpoint)
    control, user, pub = (parse_endpoint(endpoint)[1] for endpoint in endpoints)
    return control, user, pub


def test_ports_that_are_said_are_used_and_those_that_are_not_are_chosen_and_told() -> None:
    async def main() -> None:
        said = tuple(choose_ports(3))
        options = {"user_port": said[1], "pub_port": said[2]}
        async with Node(f"a@{ANY}:{said[0]}", **options) as a, Node(f"b@{ANY}:0") as b:
            assert ports_of(a) == said
            assert all(port > 0 for port in ports_of(b))
            assert len(set(ports_of(b))) == 3
            assert b.id == f"b@{ANY}:{ports_of(b)[0]}"
            for port in (*ports_of(a), *ports_of(b)):
                with socket.create_connection((ANY, port), timeout=5):
                    pass

    run(main)


@pytest.mark.parametrize("which", ("control", "user_port", "pub_port"))
def test_each_port_in_use_is_named_and_nothing_is_left(which: str) -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind((ANY, 0))
            taken.listen()
            port = taken.getsockname()[1]
            options = {} if which == "control" else {which: port}
            node_id = f"a@{ANY}:{port if which == 'control' else 0}"
            before = count_open()
            with pytest.raises(PortInUseError, match=str(port)):
                await Node(node_id, **options).start_up()
            await until(lambda: count_open() <= before, "all descriptors are closed")

    run(main)


def test_a_node_listens_at_bind_and_is_known_by_its_host() -> None:
    async def main() -> None:
        options = {"bind": "0.0.0.0", "insecure": True}
        async with two_nodes(f"a@{ANY}:0", f"b@{ANY}:0", **options) as (a, b):
            await talk(a, b)
            for node in (a, b):
                for port in ports_of(node):
                    # on another address of the loopback, which only a bind to all takes
                    if sys.platform.startswith("linux"):
                        with socket.create_connection(("127.0.0.2", port), timeout=5):
                            pass

    run(main)


def test_nodes_that_are_known_by_a_host_name_talk() -> None:
    async def main() -> None:
        async with two_nodes("a@localhost:0", "b@localhost:0") as (a, b):
            await talk(a, b)

    run(main)


# ---------------------------------------------------------------------- idle connections


@pytest.mark.skipif(count_open() == 0, reason="this platform does not show open descriptors")
def test_an_idle_connection_gives_its_descriptors_back_and_traffic_opens_another() -> None:
    async def main() -> None:
        settings = replace(FAST, idle_timeout=0.2)
        async with peers("a", "b", settings=settings) as (a, b):
            introduce(a, b)
            await asyncio.sleep(0)  # sleep: lets what `introduce` has caused happen
            before = count_open()
            for number in (1, 2):
                assert a.lane.send(b.uid, b"x")
                await until(lambda n=number: len(b.received(a)) == n, "the message")  # type: ignore[misc]
                assert count_open() == before + 3  # a DEALER, and both ends of its connection
                await until(lambda: count_open() <= before, "the descriptors are given back")
                assert a.lane.queued(b.uid) == 0

    run(main)
