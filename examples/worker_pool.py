"""The complete example of the reference, in noex.

Run it on three terminals, and kill a worker node to see its children move::

    python examples/worker_pool.py worker1@127.0.0.1:4371
    python examples/worker_pool.py worker2@127.0.0.1:4372 --seed worker1@127.0.0.1:4371
    python examples/worker_pool.py supervisor-node@127.0.0.1:4370 \\
        --seed worker1@127.0.0.1:4371 --seed worker2@127.0.0.1:4372 --supervise

Ctrl-C stops. ``--once`` goes through all steps without waiting for one.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import Any

from noex import (
    ChildSpec,
    DistributedSupervisor,
    GenServer,
    Node,
    RestartIntensity,
    Unhandled,
    behavior,
)


# 1. Register behaviors on ALL nodes: here by importing this module.
@behavior("worker")
class Worker(GenServer[int]):
    """Counts its tasks."""

    def init(self) -> int:
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        match message:
            case "status":
                return state, state
            case _:
                raise Unhandled(message)

    def handle_cast(self, message: Any, state: int) -> int:
        match message:
            case "work":
                return state + 1
            case _:
                raise Unhandled(message)

    def terminate(self, reason: Any, state: int) -> None:
        print(f"Worker terminated after {state} tasks", flush=True)


async def supervise(node: Node, stopped: asyncio.Event, nodes: int) -> None:
    """Start a supervisor with children on all nodes, show them, add one, and wait."""
    await node.wait_for_members(nodes, timeout=10)

    # 3. Subscribe to lifecycle events.
    unsubscribe = node.on_lifecycle_event(lambda event: print(f"[Event] {event.type}: {event}"))

    # 4. Start a supervisor with distributed children.
    sup = await DistributedSupervisor.start(
        node,
        strategy="one_for_one",
        node_selector="round_robin",
        children=[
            ChildSpec("worker-1", "worker", restart="permanent"),
            ChildSpec("worker-2", "worker", restart="permanent"),
            ChildSpec("worker-3", "worker", restart="permanent"),
        ],
        restart_intensity=RestartIntensity(max_restarts=10, within=60.0),
    )
    print(f"\nStarted supervisor {sup.id}")

    # 5. Check the distribution of the children.
    stats = await sup.get_stats()
    print("\nChild distribution:")
    for node_id, count in stats.children_by_node.items():
        print(f"  {node_id}: {count} children")

    # 6. Add more workers, and give them something to do.
    worker = await sup.start_child(ChildSpec("worker-4", "worker", node_selector="least_loaded"))
    worker.cast("work")
    print(f"\nworker-4 on {worker.node_id} did {await worker.call('status')} task")

    # 7. A node that fails has its children migrated.
    print("\nWaiting for node events (try killing a worker node)...", flush=True)
    await stopped.wait()

    # 8. Graceful shutdown.
    print("\nShutting down...")
    stats = await sup.get_stats()
    print(f"Total restarts: {stats.total_restarts}")
    print(f"Node failure restarts: {stats.node_failure_restarts}")
    await sup.stop()
    unsubscribe()


async def main() -> None:
    """Parse the command line and run one node."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("node_id")
    parser.add_argument("--seed", action="append", default=[], dest="seeds")
    parser.add_argument("--supervise", action="store_true")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if options.once:
        stopped.set()

    # 2. Start the cluster, or join it.
    async with Node(options.node_id, seeds=options.seeds) as node:
        print(f"{node.id} is up", flush=True)
        if options.supervise:
            await supervise(node, stopped, nodes=1 + len(options.seeds))
        else:
            await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
