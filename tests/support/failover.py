"""Supervised children in an arena, and how long their answers take after a kill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from arena import LIMIT, Arena, eventually
from cluster_actors import Journal

from noex import ChildInfo, ChildMigrated, ChildSpec, DistributedSupervisor


def scribe(journal: Journal, child: str, *args: Any, **fields: Any) -> ChildSpec:
    """A spec of a `Scribe` that writes to `journal` under its child id."""
    return ChildSpec(child, "scribe", args=(journal.path, child, *args), **fields)


async def supervise(here: Arena, children: Iterable[ChildSpec], **options: Any) -> Any:
    """A distributed supervisor on the test's own node, over the workers in turn."""
    given = {"name": "family", "node_selector": "round_robin", **options}
    return await DistributedSupervisor.start(here.node, children=list(children), **given)


async def infos(sup: Any) -> dict[str, ChildInfo]:
    return {info.id: info for info in await sup.get_children()}


async def running(sup: Any, count: int, limit: float = LIMIT) -> dict[str, ChildInfo]:
    """Wait until `count` children run, and nothing else is under way."""
    deadline = asyncio.get_running_loop().time() + limit
    while True:
        found = await infos(sup)
        if len(found) == count and all(info.status == "running" for info in found.values()):
            return found
        told = {info.id: (info.status, info.reason) for info in found.values()}
        assert asyncio.get_running_loop().time() < deadline, f"not {count} running: {told}"
        await asyncio.sleep(0.005)


class Answers:
    """Calls each child as soon as the supervisor says that it moved, and notes when it answers."""

    def __init__(self, sup: Any) -> None:
        self.events: list[Any] = []
        self.at: dict[str, float] = {}  # child -> time.monotonic of its first reply
        self.replies: dict[str, Any] = {}
        self._sup = sup
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe = sup.on_lifecycle_event(self._hear)

    def _hear(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, ChildMigrated):
            self._tasks.append(asyncio.create_task(self._ask(event.child_id)))

    async def _ask(self, child: str) -> None:
        info = await self._sup.get_child(child)
        reply = await info.ref.call("args", timeout=LIMIT)
        self.at[child], self.replies[child] = time.monotonic(), reply

    async def all(self, children: Iterable[str], limit: float = LIMIT) -> dict[str, float]:
        """Wait until all of `children` have answered."""
        deadline = asyncio.get_running_loop().time() + limit
        while missing := set(children) - set(self.at):
            assert asyncio.get_running_loop().time() < deadline, f"no answer of {missing}"
            await asyncio.sleep(0.001)
        self._unsubscribe()
        await asyncio.gather(*self._tasks)
        return dict(self.at)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def replaced(sup: Any, child: str, old: Any) -> ChildInfo:
    """Wait until `child` runs as another process than `old`."""

    async def look() -> ChildInfo | None:
        found: ChildInfo | None = await sup.get_child(child)
        return found

    def is_new(info: ChildInfo | None) -> bool:
        return info is not None and info.status == "running" and info.ref not in (None, old)

    info = await eventually(look, is_new)
    assert info is not None
    return info


async def removed(sup: Any, child: str) -> None:
    """Wait until there is no such child any more."""
    await eventually(lambda: sup.get_child(child), lambda info: info is None)


async def refs(sup: Any) -> dict[str, Any]:
    return {child: info.ref for child, info in (await infos(sup)).items()}
