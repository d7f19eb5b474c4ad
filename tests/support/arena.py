"""A cluster to fight in: the test's own node, which has no behaviors, and worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from noex.cluster.info import NodeInfo
from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.testing import ProcessCluster

T = TypeVar("T")
LIMIT = 30.0  # seconds for what takes milliseconds on an idle machine


class Arena:
    """`node` is the oldest member and lives in the test; `cluster` has the workers."""

    def __init__(self, node: Node, cluster: ProcessCluster) -> None:
        self.node = node
        self.cluster = cluster
        self.news: list[Any] = []  # what happened to members, as the test's node saw it
        self.ups: dict[str, int] = {}

    async def echo(self, name: str, *args: Any) -> Any:
        """An `Echo` on a worker."""
        return await self.node.spawn("echo", *args, on=self.cluster.id(name))

    def happened(self, kind: str, name: str) -> list[Any]:
        """The node events of a worker, of one kind (``NodeDown``)."""
        node_id = self.cluster.id(name)
        return [e for e in self.news if type(e).__name__ == kind and e.node_id == node_id]

    def info(self, name: str) -> NodeInfo:
        """What the test's node knows of a worker."""
        node_id = self.cluster.id(name)
        return next(info for info in self.node.members() if info.id == node_id)

    async def until_down(self, name: str, count: int = 1) -> None:
        await until(lambda: len(self.happened("NodeDown", name)) >= count, f"{name} is down")

    async def until_up(self, name: str, count: int = 1) -> None:
        await until(lambda: len(self.happened("NodeUp", name)) >= count, f"{name} is up")


class Stage:
    """An arena with three workers whose loop runs while a scene does."""

    def __init__(self, runner: asyncio.Runner, here: Arena) -> None:
        self._runner = runner
        self.here = here
        self.node = here.node

    def run(self, scene: Coroutine[Any, Any, None]) -> None:
        """Play a scene. It has a deadline."""
        self._runner.run(asyncio.wait_for(scene, LIMIT))


@asynccontextmanager
async def arena(workers: int | Iterable[str] = 2, **options: Any) -> AsyncIterator[Arena]:
    """Workers have `Echo` and `Scribe`; the test's node hosts nothing."""
    async with Node("test@127.0.0.1:0", behaviors=BehaviorRegistry()) as node:
        events = node.events()
        cluster = ProcessCluster(workers, seeds=[node.id], behaviors=["cluster_actors"], **options)
        async with cluster:
            here = Arena(node, cluster)
            watching = asyncio.create_task(_watch(events, here.news))
            try:
                await node.wait_for_members(1 + len(cluster.nodes))
                yield here
            finally:
                await node.stop()  # while the others are there to be told
                await watching  # the events end with the node


async def _watch(events: Any, news: list[Any]) -> None:
    async for event in events:
        news.append(event)


async def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Wait until `condition` says something true, and return that."""
    deadline = asyncio.get_running_loop().time() + limit
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"not after {limit:g} s: {what}"
        await asyncio.sleep(0.01)
    return found


async def eventually(
    ask: Callable[[], Coroutine[Any, Any, T]], wanted: Callable[[T], Any], limit: float = LIMIT
) -> T:
    """Ask until the answer is as wanted, and return it."""
    deadline = asyncio.get_running_loop().time() + limit
    while not wanted(answer := await ask()):
        assert asyncio.get_running_loop().time() < deadline, f"still {answer} after {limit:g} s"
        await asyncio.sleep(0.01)
    return answer


def process_state(pid: int) -> str:
    """The state of a process as the system shows it (``T``: stopped, ``Z``: a zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
