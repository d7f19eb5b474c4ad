"""The system processes of a node: global names, the host of supervised children, the spawner."""

from __future__ import annotations

from typing import Any, Final

from noex.cluster.info import NodeInfo
from noex.registry.behaviors import BehaviorRegistry
from noex.registry.names import GlobalRegistry
from noex.registry.spawner import SPAWNER, Spawner
from noex.runtime.errors import NoexError
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.supervisor.distributed import DistributedServer
from noex.supervisor.host import HOST, Host

HOST_TIMEOUT: Final = 5.0


async def start(kernel: Kernel, behaviors: BehaviorRegistry, *, alone: bool) -> GlobalRegistry:
    """Start them all. `alone`: the node will not join a cluster."""
    registry = await GlobalRegistry.start(kernel, alone=alone)
    await kernel.start(Host, (behaviors,), name=HOST)
    await kernel.start(Spawner, (behaviors,), name=SPAWNER)
    return registry


async def hosted(kernel: Kernel) -> int:
    """How many children this node runs for distributed supervisors, its own included."""
    host = kernel.whereis(HOST)
    if host is None:
        return 0
    try:
        count: int = await host.call(("count",), timeout=HOST_TIMEOUT)
    except NoexError:
        return 0
    return count


def distributed_supervisors(kernel: Kernel) -> list[Ref[Any]]:
    """The distributed supervisors that live on this node."""
    return [
        process.ref
        for process in kernel.processes.values()
        if isinstance(process.server, DistributedServer)
    ]


def own_info(kernel: Kernel, behaviors: BehaviorRegistry) -> NodeInfo:
    """A node without a cluster, as its own only member."""
    return NodeInfo(
        kernel.node_id,
        kernel.incarnation,
        "up",
        kernel.process_count,
        kernel.clock.wall(),
        behaviors=behaviors.names(),
    )
