"""``noex-node`` with IPv6 addresses and with a directory for ipc:// sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zmq
from programs import NoexNode, run

pytestmark = pytest.mark.slow


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def ready(program: NoexNode) -> str:
    return program.until("ready ").split()[1]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_nodes_start_and_are_asked_over_ipv6() -> None:
    with NoexNode("start", "a@[0:0:0:0:0:0:0:1]:0") as first:
        one = ready(first)
        assert one.startswith("a@[::1]:")
        with NoexNode("start", "b@[::1]:0", "--seed", one) as second:
            two = ready(second)
            status = run("status", two)
            assert status.process.returncode == 0, status.errors
            assert one in status.text and two in status.text


@pytest.mark.skipif(not zmq.has("ipc"), reason="libzmq has no ipc:// here")
def test_a_killed_node_leaves_its_socket_file_and_the_next_one_takes_it_over() -> None:
    with TemporaryDirectory(prefix="nx") as short:
        folder = Path(short) / "run"
        with NoexNode("start", "a@127.0.0.1:0", "--ipc-dir", str(folder)) as first:
            one = ready(first)
            assert [path.name for path in folder.iterdir()] == [f"{one}.user"]
            first.process.kill()
            first.process.wait(10)
            assert [path.name for path in folder.iterdir()] == [f"{one}.user"]
        with NoexNode("start", one, "--ipc-dir", str(folder)) as second:
            assert ready(second) == one
            second.process.terminate()
            assert second.end() == 0
        assert list(folder.iterdir()) == []
