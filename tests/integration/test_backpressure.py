"""A peer that reads nothing: what waits for it is bounded, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from arena import eventually, process_state, until

from noex import Node, NodeNotReachableError, OverloadedError, Ref
from noex.cluster.settings import ClusterSettings
from noex.registry.behaviors import BehaviorRegistry
from noex.testing import ProcessCluster

MIB = 1 << 20
GROWTH = 64 * MIB
LIMIT = 100.0
PATIENT = ClusterSettings(silence_after=300.0)
"""A peer that is stopped is not declared down before the test is over."""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"),
    pytest.mark.timeout(120),
]


def memory(what: str) -> int:
    """A line of this process's status, in bytes: ``VmRSS`` now, ``VmHWM`` at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what}")


def mark() -> int:
    """What this process takes now; its highest mark begins here."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def trimmed() -> int:
    """Resident bytes, without those that the allocator keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    return memory("VmRSS")


class Scene:
    """The test's node sends; `slow` will be stopped, `other` goes on."""

    def __init__(self, node: Node, cluster: ProcessCluster) -> None:
        self.node, self.cluster = node, cluster
        self.gatherer: Ref[Any]
        self.sentry: Ref[Any]

    async def prepare(self) -> None:
        self.gatherer = await self.node.spawn("gatherer", on=self.cluster.id("slow"))
        self.sentry = await self.node.spawn("sentry", on=self.cluster.id("other"))
        assert await self.gatherer.call("up") == "up"

    async def stop(self) -> None:
        self.cluster.pause("slow")
        pid = self.cluster["slow"].pid
        await until(lambda: process_state(pid) == "T", "it stands still")

    async def fill(self, size: int, attempts: int) -> int:
        """Cast as much as is taken, and go on for a while; how much was taken."""
        accepted = refused = 0
        content = os.urandom(size)
        while refused < attempts:
            if self.gatherer.cast((accepted, content)):
                accepted += 1
            else:
                refused += 1
            if (accepted + refused) % 200 == 0:
                await asyncio.sleep(0)
        return accepted

    async def is_served(self) -> None:
        """The other peer is."""
        for number in range(20):
            assert await self.sentry.call(number) == number


@asynccontextmanager
async def a_scene(membership: ClusterSettings) -> AsyncIterator[Scene]:
    async with Node(
        "sender@127.0.0.1:0", behaviors=BehaviorRegistry(), membership=membership
    ) as node:
        names = ("slow", "other")
        async with ProcessCluster(names, seeds=[node.id], behaviors=["hostile_actors"]) as cluster:
            await node.wait_for_members(3)
            scene = Scene(node, cluster)
            await scene.prepare()
            yield scene
            await node.stop()


def play(membership: ClusterSettings, act: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with a_scene(membership) as scene:
            await act(scene)

    asyncio.run(asyncio.wait_for(main(), LIMIT))


SIZES = [1_000, *(pytest.param(size, marks=pytest.mark.long) for size in (20, 400_000))]


@pytest.mark.parametrize("size", SIZES)
def test_what_a_stopped_peer_was_sent_is_bounded_and_arrives_when_it_goes_on(size: int) -> None:
    async def act(scene: Scene) -> None:
        await scene.stop()
        before = mark()
        waiting = [
            asyncio.create_task(scene.gatherer.call(number, timeout=90.0)) for number in range(100)
        ]
        await asyncio.sleep(0)
        accepted = await scene.fill(size, 5_000)
        assert accepted > 0
        with pytest.raises(OverloadedError):
            await scene.gatherer.call(b"x" * size)
        await scene.is_served()
        grown = memory("VmHWM") - before
        print(f"{accepted} casts of {size} bytes, grew by {grown / MIB:.1f} MiB")
        assert grown < GROWTH, f"{grown / MIB:.1f} MiB"
        scene.cluster.resume("slow")
        ask = scene.gatherer.call
        await until(lambda: all(task.done() for task in waiting), "the calls are answered", 60.0)
        assert [task.result() for task in waiting] == list(range(100))
        await eventually(lambda: ask("count"), lambda count: count == accepted, 60.0)
        assert scene.gatherer.cast((accepted, b"more"))
        await eventually(lambda: ask("count"), lambda count: count == accepted + 1)

    play(PATIENT, act)


@pytest.mark.long
def test_a_peer_that_stood_still_until_its_connection_was_lost_gets_all_when_it_goes_on() -> None:
    async def act(scene: Scene) -> None:
        assert scene.node.network is not None and scene.node.network._lane is not None
        (session,) = (
            outlet.session
            for uid, outlet in scene.node.network._lane._outlets.items()
            if uid[0] == scene.gatherer.node_id
        )
        connection = session.connection
        await scene.stop()
        before = mark()
        accepted = await scene.fill(1_000, 1_000)
        await until(lambda: session.connection > connection, "it is dialled again")
        accepted_later = 0
        while scene.gatherer.cast((accepted + accepted_later, b"")):
            accepted_later += 1
        await scene.is_served()
        scene.cluster.resume("slow")
        ask = scene.gatherer.call
        everything = accepted + accepted_later

        async def count() -> Any:
            try:
                return await ask("count")
            except OverloadedError:  # it has not read anything yet
                return 0

        await eventually(count, lambda count: count == everything, 60.0)
        assert memory("VmHWM") - before < GROWTH

    play(PATIENT, act)


@pytest.mark.long
def test_callers_of_a_stopped_peer_wait_or_are_refused_and_are_answered_when_it_goes_on() -> None:
    async def act(scene: Scene) -> None:
        await scene.stop()
        before = mark()
        content = os.urandom(100_000)
        calls = [
            asyncio.create_task(scene.gatherer.call((number, content), timeout=90.0))
            for number in range(1_000)
        ]
        await until(lambda: any(task.done() for task in calls), "some are refused")
        refused = [number for number, task in enumerate(calls) if task.done()]
        assert all(isinstance(calls[number].exception(), OverloadedError) for number in refused)
        assert 200 < len(calls) - len(refused) < 400  # as many as the window holds
        await scene.is_served()
        assert memory("VmHWM") - before < GROWTH
        scene.cluster.resume("slow")
        for number, task in enumerate(calls):
            if number not in refused:
                assert await task == (number, content)

    play(PATIENT, act)


@pytest.mark.long
def test_what_waited_for_a_peer_is_given_back_when_that_is_down() -> None:
    async def act(scene: Scene) -> None:
        await scene.stop()
        before = mark()
        waiting = [
            asyncio.create_task(scene.gatherer.call(number, timeout=90.0)) for number in range(100)
        ]
        await asyncio.sleep(0)
        assert await scene.fill(10_000, 1_000) > 1_000
        full = memory("VmRSS") - before
        await scene.is_served()
        await until(lambda: len(scene.node.members()) == 2, "it is declared down")
        for task in waiting:
            with pytest.raises(NodeNotReachableError):
                await task
        assert not scene.gatherer.cast((0, b""))
        await scene.is_served()
        await until(lambda: trimmed() - before < full / 3, "the memory is given back")

    play(ClusterSettings(), act)
