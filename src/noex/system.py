"""The system processes of a node: global names, the host of supervised children, the spawner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from noex.cluster.info import NodeInfo
from noex.registry.behaviors import BehaviorRegistry
from noex.registry.names import NAMES, GlobalRegistry
from noex.registry.spawner import SPAWNER, Spawner
from noex.runtime.errors import NoexError
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.runtime.states import STARTING
from noex.supervisor import travel
from noex.supervisor.host import HOST, Host

HOST_TIMEOUT: Final = 5.0

VALUES: Final = travel.VALUES
"""What a message about supervisors may hold: a node must know it, supervisor or not."""


async def start(
    kernel: Kernel,
    behaviors: BehaviorRegistry,
    *,
    alone: bool,
    on_loss: Callable[[str, Any], None],
) -> GlobalRegistry:
    """Start them all. `alone`: the node will not join a cluster.

    `on_loss(name, reason)` is called when one of them ends before the node stops: a node without
    its host or its names is none, and must not stay in the cluster as one.
    """
    registry = await GlobalRegistry.start(kernel, alone=alone)
    await kernel.start(Host, (behaviors,), name=HOST)
    await kernel.start(Spawner, (behaviors,), name=SPAWNER)
    for name in (NAMES, HOST, SPAWNER):
        _watch(kernel, name, on_loss)
    return registry


def _watch(kernel: Kernel, name: str, on_loss: Callable[[str, Any], None]) -> None:
    monitor = kernel.monitor(kernel.named_ref(name))

    def ended(_future: Any) -> None:
        if not kernel.closing:
            on_loss(name, monitor.reason)

    monitor.waiter().add_done_callback(ended)


async def stop_supervisors(kernel: Kernel, timeout: float) -> None:
    """Stop the distributed supervisors of this node, with all their children, the youngest first.

    One that still starts its initial children is cut short: its start fails, and they end as
    orphans. What takes longer than `timeout` seconds in all is left to the shutdown of the node.
    """
    end = kernel.clock.now() + timeout
    for ref in reversed(distributed_supervisors(kernel)):
        process = kernel.find(ref)
        if process is not None and process.status == STARTING:
            ref.exit("kill")  # it traps exits, and hears nothing before all children are up
        try:
            await ref.stop("shutdown", timeout=max(end - kernel.clock.now(), 0.001))
        except NoexError:
            continue  # it ended by itself, or it takes too long


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


async def stop_hosted(kernel: Kernel, timeout: float) -> None:
    """End what this node runs for supervisors elsewhere, which will start it again elsewhere.

    What takes longer than `timeout` seconds is left to the shutdown of the node.
    """
    host = kernel.whereis(HOST)
    if host is None:
        return
    try:
        await host.call(("node_stops",), timeout=timeout)
    except NoexError as error:
        kernel.log.warning("hosted_children_not_stopped", error=repr(error))


def distributed_supervisors(kernel: Kernel) -> list[Ref[Any]]:
    """The distributed supervisors that live on this node."""
    return [
        process.ref
        for process in kernel.processes.values()
        if getattr(process.server, "is_distributed_supervisor", False)
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
