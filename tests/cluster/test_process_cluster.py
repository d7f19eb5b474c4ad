"""ProcessCluster itself: it keeps its word to the tests that use it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from arena import process_state, until

from noex import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.testing import NodeProcessError, ProcessCluster

pytestmark = pytest.mark.long

DIES = """
import asyncio, os, signal, sys
from noex.testing import ProcessCluster
from arena import process_state, until

async def main():
    async with ProcessCluster(2) as cluster:
        await cluster.prepare("n1")
        prepared = cluster["n1"].next_pid
        cluster.pause("n2")
        await until(lambda: process_state(cluster["n2"].pid) == "T", "it stands still")
        print(*(node.pid for node in cluster.nodes), prepared, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not just ended without anybody to hear of it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return process_state(pid) != "Z"


def test_nodes_find_each_other_and_are_gone_afterwards() -> None:
    async def main() -> list[int]:
        async with ProcessCluster(["red", "blue"], options=["--label", "zone=a"]) as cluster:
            assert [node.name for node in cluster.nodes] == ["red", "blue"]
            me = Node("me@127.0.0.1:0", seeds=cluster.ids, behaviors=BehaviorRegistry())
            async with me as node:
                infos = {info.id: info for info in await node.wait_for_members(3)}
                assert set(infos) == {node.id, *cluster.ids}
                assert infos[cluster.id("blue")].labels == {"zone": "a"}
            await cluster.add("green")
            cluster.pause("red")
            cluster.kill("blue")
            return [node.pid for node in cluster.nodes]

    pids = asyncio.run(main())
    assert len(pids) == 3
    assert not any(map(is_alive, pids))


def test_an_error_in_the_block_shows_what_the_nodes_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def main() -> None:
        async with ProcessCluster(2) as cluster:
            await until(lambda: "node_up" in cluster["n2"].log(), "they see each other")
            raise KeyError("the test's own")

    with pytest.raises(KeyError):
        asyncio.run(main())
    shown = capsys.readouterr().err
    assert "n1@127.0.0.1" in shown
    assert "node_up" in shown


def test_a_node_may_print_as_much_as_it_likes() -> None:
    async def main() -> None:
        async with ProcessCluster(1, behaviors=["cluster_actors"]) as cluster:
            me = Node("me@127.0.0.1:0", seeds=cluster.ids, behaviors=BehaviorRegistry())
            async with me as node:
                echo = await node.spawn("echo", on=cluster.id("n1"))
                assert await echo.call(("print", "x" * 1_000_000), timeout=30.0) == 1_000_000
                await until(lambda: len(cluster["n1"].log()) > 1_000_000, "all of it is read")
        assert len(cluster["n1"].log()) > 1_000_000

    asyncio.run(main())


def test_a_node_that_cannot_start_says_why_and_the_others_are_ended() -> None:
    clusters = []

    async def main() -> None:
        cluster = ProcessCluster(2, behaviors=["no.such.module"])
        clusters.append(cluster)
        async with cluster:
            pass

    with pytest.raises(NodeProcessError, match=r"no\.such\.module"):
        asyncio.run(main())
    assert not any(node.is_running for node in clusters[0].nodes)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_nodes_end_when_the_program_that_started_them_is_killed() -> None:
    """Also one that stands still, and one that only waits for its turn."""
    done = subprocess.run(
        [sys.executable, "-c", DIES],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 3
    deadline = time.monotonic() + 20
    while left := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"{left} still run"
        time.sleep(0.05)
