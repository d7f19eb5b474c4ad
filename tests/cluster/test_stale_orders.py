"""Orders that wait in the sockets of a node that stood still too long are not carried out."""

from __future__ import annotations

import asyncio

import pytest
from arena import arena, eventually, until
from cluster_actors import Journal
from failover import scribe, supervise

from noex import ChildSpec, DistributedSupervisor, RestartIntensity

pytestmark = pytest.mark.long


def test_a_spawn_that_waited_in_a_stopped_node_starts_nothing_when_the_node_goes_on(
    journal: Journal,
) -> None:
    """Found by a storm: `init` ran with an old fence token, beside the child's newer process."""

    async def main() -> None:
        async with arena(2) as here:
            sup = await supervise(here, [], restart_intensity=RestartIntensity(100, 1.0))
            warm = await here.echo("n1")  # so that there is a connection
            assert await warm.call("up") == "up"
            here.cluster.pause("n1")
            starts = [
                asyncio.ensure_future(sup.start_child(scribe(journal, f"c{i}"))) for i in range(20)
            ]
            await asyncio.gather(*starts)  # those that went to n1 were started on n2 in the end
            assert {entry["pid"] for entry in journal.starts()} == {here.cluster["n2"].pid}
            here.cluster.resume("n1")
            await here.until_up("n1", 2)
            warm = await eventually(lambda: here.echo("n1"), lambda ref: ref is not None)
            assert await warm.call("up") == "up"
            await until(lambda: here.info("n1").status == "up", "n1 is up")
            assert {entry["pid"] for entry in journal.starts()} == {here.cluster["n2"].pid}
            assert len(journal.starts()) == 20

    asyncio.run(main())


def test_a_supervisor_that_stood_still_does_not_take_the_name_of_its_successor_along() -> None:
    """It ends as superseded, and gives up its name: not the one that another has by now."""

    async def main() -> None:
        children = [ChildSpec(f"c{i}", "echo", args=(i,)) for i in range(4)]
        options = {"name": "office", "node_selector": "round_robin"}
        async with arena(2) as here:
            boss = await here.node.spawn("boss", children, options, on=here.cluster.id("n1"))
            old = await boss.call("handle")
            here.cluster.pause("n1")
            await here.until_down("n1")
            new = await DistributedSupervisor.ensure(here.node, children=children, **options)
            assert new.node_id == here.node.id
            here.cluster.resume("n1")
            await here.until_up("n1", 2)
            witness = await here.echo("n1")
            gone = await eventually(
                lambda: witness.call(("try", old.ref, "stats", 5.0)),
                lambda said: said[0] == "error",
            )
            assert "NoProcess" in repr(gone) or "Crashed" in repr(gone)
            assert await DistributedSupervisor.find(here.node, "office") == new
            assert await here.node.registry.names() == ["office"]
            assert [info.status for info in await new.get_children()] == ["running"] * 4

    asyncio.run(main())
