"""Two nodes over real ZeroMQ: `near` in the test, `far` in an operating system process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from arena import until
from remote_actors import Sender, Sequence, Server, Tally, Trouble, Wanderer

from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.ref import Ref
from noex.testing import ProcessCluster
from noex.transport.peers import Peer

LIMIT = 30.0  # seconds for one scene
MODULES = ("remote_actors", "remote_strangers")


class Pair:
    """The test's node, which has the same behaviors but the strange one, and the far process."""

    def __init__(self, near: Node, cluster: ProcessCluster) -> None:
        self.near = near
        self.cluster = cluster
        self.news: list[Any] = []

    @property
    def far(self) -> str:
        """The node id of the far process."""
        return self.cluster.ids[0]

    @property
    def peer(self) -> Peer:
        """What the near node has open with the present life of the far one."""
        assert self.near.network is not None
        return self.near.network.remote.peers[self.far]

    async def there(self, *args: Any, **kwargs: Any) -> Ref[Any]:
        """A `Server` on the far node."""
        return await self.near.spawn("server", *args, on=self.far, **kwargs)

    async def here(self, *args: Any, **kwargs: Any) -> Ref[Any]:
        """A `Server` on the near node."""
        return await self.near.start(Server, *args, **kwargs)

    async def both(self, **kwargs: Any) -> tuple[Ref[Any], Ref[Any]]:
        """A `Server` on each: here, there."""
        return await self.here(**kwargs), await self.there(**kwargs)

    async def far_processes(self) -> int:
        """How many processes live on the far node, but for the one that is asked."""
        probe = await self.there()
        count: int = await probe.call(("processes",))
        probe.exit("kill")
        return count - 1

    async def rows(self) -> tuple[int, int]:
        """How many rows each of the two nodes has open with the other (see `Peer.open_rows`)."""
        probe = await self.there()
        there: dict[str, int] = await probe.call(("rows",))
        probe.exit("kill")
        return self.peer.open_rows, there[self.near.id] - 1  # the question is open there

    async def until_settled(self) -> None:
        """Wait until neither node has anything open with the other."""
        deadline = asyncio.get_running_loop().time() + LIMIT
        while (rows := await self.rows()) != (0, 0):
            assert asyncio.get_running_loop().time() < deadline, f"still open: {rows}"
            await asyncio.sleep(0.005)

    def happened(self, kind: type[Any]) -> list[Any]:
        """The node events of this class about the far node."""
        return [e for e in self.news if type(e) is kind and e.node_id == self.far]

    async def until_happened(self, kind: type[Any], count: int = 1, limit: float = LIMIT) -> None:
        await until(lambda: len(self.happened(kind)) >= count, f"{kind.__name__} of far", limit)


@asynccontextmanager
async def pair(names: Iterable[str] = ("far",), **options: Any) -> AsyncIterator[Pair]:
    """Two nodes that know each other, or more; each far one is a process of its own."""
    known = BehaviorRegistry()
    for cls in (Server, Tally, Trouble, Sequence, Sender, Wanderer):
        known.register(cls.__name__.lower(), cls)
    async with Node("near@127.0.0.1:0", behaviors=known, **options) as near:
        events = near.events()
        cluster = ProcessCluster(names, seeds=[near.id], behaviors=MODULES)
        async with cluster:
            two = Pair(near, cluster)
            watching = asyncio.create_task(_watch(events, two.news))
            try:
                await near.wait_for_members(1 + len(cluster.nodes))
                yield two
            finally:
                await near.stop()  # while the other is there to be told
                await watching


async def _watch(events: Any, news: list[Any]) -> None:
    async for event in events:
        news.append(event)


class Stage:
    """A pair whose loop runs while a scene does."""

    def __init__(self, runner: asyncio.Runner, two: Pair) -> None:
        self._runner = runner
        self.two = two

    def run(self, scene: Coroutine[Any, Any, None]) -> None:
        """Play a scene, and look behind it: nothing may be left open between the two nodes."""
        self._runner.run(asyncio.wait_for(self._played(scene), LIMIT))

    async def _played(self, scene: Coroutine[Any, Any, None]) -> None:
        await scene
        await self.two.until_settled()


def scene(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine of the pair of its module, and of what pytest fills in."""

    @wraps(test)
    def run(stage: Stage, **filled: Any) -> None:
        stage.run(_awaited(test(stage.two, **filled)))

    del run.__dict__["__wrapped__"]  # else pytest takes it for a coroutine
    first, *others = inspect.signature(test).parameters.values()
    stage = first.replace(name="stage", annotation=Stage)
    run.__dict__["__signature__"] = inspect.Signature([stage, *others])
    return run


async def _awaited(waiting: Awaitable[None]) -> None:
    await waiting
