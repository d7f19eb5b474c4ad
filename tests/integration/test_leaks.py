"""Nothing stays behind when nodes come and go, children move and names change hands."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from tables import grown, sizes
from three_nodes import Trio, Worker, run_async, trio, until

from noex import ChildSpec, RestartIntensity

CYCLES = int(os.environ.get("NOEX_LEAK_CYCLES", "12"))
WARM_UP = 4


async def a_node_comes_and_dies(nodes: Trio, sup: Any) -> None:
    """With children, a monitored and named process, and requests."""
    a, c = nodes.a, await nodes.add("c")
    process = await a.spawn("worker", on=c.id)
    monitor = a.monitor(process)
    await a.registry.register("name", process)
    await asyncio.gather(*(sup.restart_child(f"w{i}") for i in range(3)))
    await sup.start_child(ChildSpec("guest", "worker", restart="temporary"))
    await nodes.lose(c)
    nodes.nodes.remove(c)
    c.network._context.destroy(linger=0)  # type: ignore[union-attr]
    assert await monitor.wait(5.0) == "noconnection"
    await until(lambda: all_run(sup), "all children run")
    if await sup.get_child("guest") is not None:
        await sup.terminate_child("guest")
    Worker.ended.clear()
    nodes.dead.clear()


async def all_run(sup: Any) -> bool:
    return all(info.status == "running" for info in await sup.get_children())


def resources() -> tuple[int, int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(asyncio.all_tasks())


async def settled(look: Callable[[], dict[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """What has still grown after a moment: acknowledgements and timers are under way."""

    def nothing() -> bool:
        return not look()

    try:
        await until(nothing, "nothing grows", timeout=3.0)
    except AssertionError:
        pass
    return look()


def with_children(test: Callable[[Trio, Any], Awaitable[None]]) -> Callable[[], None]:
    @run_async
    async def run() -> None:
        async with trio(2) as nodes:
            specs = [ChildSpec(f"w{i}", "worker", args=(i,)) for i in range(6)]
            sup = await nodes.supervise(
                node_selector="round_robin",
                restart_intensity=RestartIntensity(100_000, 1.0),
                children=specs,
            )
            await test(nodes, sup)

    return run


def tables_of(nodes: Trio, sup: Any) -> dict[str, int]:
    gc.collect()
    server = nodes.a.kernel.find(sup.ref).server  # type: ignore[union-attr]
    roots = {"a": nodes.a, "b": nodes.b, "supervisor": server}
    hosts = {f"host of {n.id[0]}": _system(n, "noex.host") for n in (nodes.a, nodes.b)}
    names = {f"names of {n.id[0]}": _system(n, "noex.names") for n in (nodes.a, nodes.b)}
    found = {}
    for label, root in {**hosts, **names, **roots}.items():
        found.update({f"{label}{path}": size for path, size in sizes(root).items()})
    return found


def _system(node: Any, name: str) -> Any:
    return node.kernel.find(node.whereis(name)).server


async def nothing_grows(nodes: Trio, sup: Any) -> None:
    for _ in range(WARM_UP):
        await a_node_comes_and_dies(nodes, sup)
    nodes.events.clear()
    before, held = tables_of(nodes, sup), resources()
    for _ in range(CYCLES):
        await a_node_comes_and_dies(nodes, sup)
    nodes.events.clear()
    slack = CYCLES // 2  # what grows by one with every cycle is far above
    growing = await settled(
        lambda: {
            p: s for p, s in grown(before, tables_of(nodes, sup)).items() if s[1] - s[0] > slack
        }
    )
    assert growing == {}
    assert [n - m for n, m in zip(resources(), held, strict=True)] == [0, 0, 0]


test_after_many_lost_nodes_all_tables_and_descriptors_are_as_before = with_children(nothing_grows)
