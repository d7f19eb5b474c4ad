"""How a node ends: its supervisors first, then what it hosts for others; and when it must."""

from __future__ import annotations

import asyncio
import time

import pytest
from three_nodes import until

from noex import (
    BehaviorRegistry,
    ChildSpec,
    DistributedSupervisor,
    GenServer,
    Node,
    NodeDown,
    RestartIntensity,
)

DEADLINE = 20.0


class Worker(GenServer):
    def init(self):
        return None

    def handle_call(self, message, state):
        return message, state


def registry():
    return BehaviorRegistry({"worker": Worker})


def test_children_pinned_to_a_stopping_supervisor_node_do_not_hold_it_up():
    """They could not move; but they end with their supervisor, before anything drains."""

    async def main():
        async with Node("b@127.0.0.1:0", behaviors=registry()) as b:
            a = Node("a@127.0.0.1:0", seeds=[b.id], behaviors=registry(), drain_timeout=60.0)
            async with asyncio.timeout(DEADLINE):
                async with a:
                    await DistributedSupervisor.start(
                        a,
                        children=[
                            ChildSpec("pinned", "worker", node_selector={"node": a.id}),
                            ChildSpec("remote", "worker", node_selector={"node": b.id}),
                        ],
                    )
                assert await b.kernel.named_ref("noex.host").call(("count",)) == 0

    asyncio.run(main())


@pytest.mark.parametrize("name", ["noex.host", "noex.names", "noex.spawner"])
def test_a_node_that_loses_a_system_process_leaves_the_cluster(name, caplog):
    async def main():
        async with asyncio.timeout(DEADLINE):
            async with Node("a@127.0.0.1:0") as a, Node("b@127.0.0.1:0", seeds=[a.id]) as b:
                events = a.events()
                b.whereis(name).exit("kill")
                async for event in events:
                    if isinstance(event, NodeDown):
                        assert (event.node_id, event.reason) == (b.id, "graceful_shutdown")
                        break

    asyncio.run(main())
    assert any("system_process_lost" in record.getMessage() for record in caplog.records)


def test_a_clean_stop_is_no_loss_of_system_processes(caplog):
    async def main():
        started = time.monotonic()
        async with Node("a@127.0.0.1:0"):
            pass
        assert time.monotonic() - started < DEADLINE

    asyncio.run(main())
    assert "system_process_lost" not in caplog.text


class Slow(Worker):
    """Takes its time to end, so that others wait for their turn to move."""

    async def terminate(self, reason, state):
        await asyncio.sleep(1.0)  # sleep: it is slow, which is its job


def test_children_that_could_not_move_in_time_are_lost_with_the_node_and_not_ended_by_it():
    """A plain "shutdown" would be the end of the transient ones, and count for each permanent."""

    async def main():
        classes = {"worker": Worker, "slow": Slow}
        async with (
            asyncio.timeout(DEADLINE),
            Node("a@127.0.0.1:0", behaviors=BehaviorRegistry(classes)) as a,
        ):
            b = Node(
                "b@127.0.0.1:0",
                seeds=[a.id],
                behaviors=BehaviorRegistry(classes),
                drain_timeout=0.1,
            )
            async with b:
                await a.wait_for_members(2)
                sup = await DistributedSupervisor.start(
                    a,
                    node_selector=lambda nodes, child: b.id if len(nodes) == 2 else a.id,
                    restart_intensity=RestartIntensity(max_restarts=1, within=60.0),
                    children=[
                        ChildSpec("slow", "slow"),
                        *(ChildSpec(f"t{i}", "worker", restart="transient") for i in range(3)),
                        *(ChildSpec(f"p{i}", "worker") for i in range(3)),
                    ],
                )
                assert (await sup.get_stats()).children_by_node == {b.id: 7}

            async def moved():
                return (await sup.get_stats()).children_by_node == {a.id: 7}

            await until(moved, "all children run on the node that is left")
            assert [info.status for info in await sup.get_children()] == ["running"] * 7

    asyncio.run(main())
