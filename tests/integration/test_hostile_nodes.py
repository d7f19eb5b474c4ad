"""Attacks on a live node, in a process of its own, while a healthy peer talks to it.

Whatever is done to it: it answers its peer, grows by less than 64 MiB, says in a few lines what has
happened, loses no member, and afterwards no task, thread or file descriptor is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import attackers
import pytest
from arena import until
from attackers import Target
from fuzzing import MIB

from noex import Node, Ref
from noex.registry.behaviors import BehaviorRegistry
from noex.testing import ProcessCluster

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"),
    pytest.mark.timeout(120),
]
LIMIT = 90.0
GROWTH = 64 * MIB
SAID = {
    "a_frame_of_a_gib": "lane_connection_refused",
    "tiny_frames_at_the_user_port": "lane_connection_refused",
    "tiny_frames_at_the_control_port": "control_frame_refused",
    "hellos_that_are_never_read": "wrong_cluster",
    "many_lives_that_are_no_members": "not_admitted",
    "other_versions_and_clusters": "wrong_version",
    "the_name_of_a_member": "lane_connection_refused",
    "a_torrent_that_breaks_off": "control_frame_refused",
    "a_bad_member": "message_dropped",
}
"""What is in the log of the victim then, perhaps from a moment before: a line a minute and kind.

The rest libzmq hangs up on by itself, or asks what may be asked.
"""
MOST_LINES = 12
SLOW = ("a_bad_member", "a_torrent_that_breaks_off", "many_lives_that_are_no_members")


def memory(pid: int, what: str) -> int:
    """A line of a process's status, in bytes: ``VmRSS`` now, ``VmHWM`` at its highest."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what} in the status of {pid}")


def files(pid: int) -> int:
    """How many file descriptors it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class Peer:
    """The healthy peer: it calls all the while, one call after the other."""

    def __init__(self, sentry: Ref[Any]) -> None:
        self._sentry = sentry
        self.answered = 0
        self.slowest = 0.0

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._talk())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task  # raises what a call has raised

    async def _talk(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            assert await self._sentry.call(("echo", self.answered)) == ("echo", self.answered)
            self.slowest = max(self.slowest, clock() - began)
            self.answered += 1
            await asyncio.sleep(0.002)  # sleep: it talks on and on, it does not flood


class Siege:
    """The victim, and the test's node, which is its peer."""

    def __init__(self, node: Node, cluster: ProcessCluster, sentry: Ref[Any]) -> None:
        self.node, self.cluster, self.sentry = node, cluster, sentry
        self.victim = cluster.nodes[0]

    def target(self, seconds: float) -> Target:
        assert self.node.network is not None and self.node.network.membership is not None
        member = self.node.network.membership.member(self.victim.node_id)
        assert member is not None
        endpoints = (member.control_endpoint, member.user_endpoint, member.pub_endpoint)
        ports = [int(endpoint.rpartition(":")[2]) for endpoint in endpoints]
        return Target(*member.uid, *ports, self.node.id, self.node.incarnation, seconds=seconds)

    def lives(self) -> list[tuple[str, int]]:
        return [(info.id, info.incarnation) for info in self.node.members()]

    async def vitals(self) -> tuple[int, int, int]:
        """Its tasks, its threads, its file descriptors."""
        return (*await self.sentry.call("vitals"), files(self.victim.pid))

    async def attack(self, name: str, seconds: float) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            attackers.__file__,
            name,
            json.dumps(asdict(self.target(seconds))),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), LIMIT / 2)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0
        return int(said)

    async def withstand(self, name: str, seconds: float) -> None:
        pid = self.victim.pid
        lives, vitals, said = self.lives(), await self.vitals(), self.victim.log()
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # its highest mark is where it is now
        before = memory(pid, "VmRSS")
        peer = Peer(self.sentry)
        async with peer.talking():
            sent = await self.attack(name, seconds)
        assert sent > 0 and peer.answered > 0
        await self.calmed(vitals)
        assert self.lives() == lives
        grown = memory(pid, "VmHWM") - before
        print(f"{name}: sent {sent}, answered {peer.answered} calls, the slowest in "
              f"{peer.slowest:.3f} s, grew by {grown / MIB:.1f} MiB")  # fmt: skip
        assert grown < GROWTH, f"{grown / MIB:.0f} MiB"
        assert SAID.get(name, "") in self.victim.log()
        self.check_log(self.victim.log()[len(said) :].splitlines())

    async def calmed(self, before: tuple[int, int, int]) -> None:
        """Nothing is left over of it."""
        deadline = asyncio.get_running_loop().time() + 20.0
        left = await self.vitals()
        while any(now > then for now, then in zip(left, before, strict=True)):
            assert asyncio.get_running_loop().time() < deadline, (before, left)
            await asyncio.sleep(0.02)
            left = await self.vitals()

    def check_log(self, lines: list[str]) -> None:
        lines = [line for line in lines if not ("node_busy" in line or "node_idle" in line)]
        assert len(lines) <= MOST_LINES, lines
        assert not any("Traceback" in line or "exception" in line for line in lines), lines
        assert max(map(len, lines), default=0) < 2000


@asynccontextmanager
async def a_siege() -> AsyncIterator[Siege]:
    async with Node("healthy@127.0.0.1:0", behaviors=BehaviorRegistry()) as node:
        cluster = ProcessCluster(1, seeds=[node.id], behaviors=["hostile_actors"])
        async with cluster:
            await node.wait_for_members(2)
            sentry = await node.spawn("sentry", on=cluster.ids[0])
            await until(lambda: files(cluster.nodes[0].pid) > 0, "it is there")
            try:
                yield Siege(node, cluster, sentry)
            finally:
                print(cluster.nodes[0].log())
            await node.stop()


@pytest.fixture(scope="module")
def siege() -> Iterator[tuple[asyncio.Runner, Siege]]:
    with asyncio.Runner() as runner:
        context = a_siege()
        here = runner.run(context.__aenter__())
        try:
            yield runner, here
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize("name", [name for name in attackers.ATTACKS if name not in SLOW])
def test_a_node_withstands(siege: tuple[asyncio.Runner, Siege], name: str) -> None:
    runner, here = siege
    runner.run(asyncio.wait_for(here.withstand(name, 0.2), LIMIT))


def test_a_node_that_stands_still_withstands_a_torrent_that_breaks_off(
    siege: tuple[asyncio.Runner, Siege],
) -> None:
    """libzmq ended the process, when its own heartbeat met a connection that was full and gone."""
    runner, here = siege

    async def main() -> None:
        standing = asyncio.create_task(here.sentry.call(("stand still", 2.5), timeout=30.0))
        await here.attack("a_torrent_that_breaks_off", 0.5)
        await standing
        assert await here.sentry.call("up") == "up"

    runner.run(asyncio.wait_for(main(), LIMIT))


@pytest.mark.long
@pytest.mark.parametrize("name", attackers.ATTACKS)
def test_a_node_withstands_for_long(siege: tuple[asyncio.Runner, Siege], name: str) -> None:
    runner, here = siege
    runner.run(asyncio.wait_for(here.withstand(name, 4.0), LIMIT))
