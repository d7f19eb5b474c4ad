"""Nodes that stand still: one that is only busy keeps its children, one that is gone too long
loses them, and stops its stale copies when it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from arena import arena, eventually, until
from cluster_actors import Journal
from failover import Answers, infos, running, scribe, supervise

from noex import NodeFailureDetected, NodeNotReachableError, NoProcessError

pytestmark = pytest.mark.slow

HOLD = 10.0
CHILDREN = [f"c{i}" for i in range(4)]


async def one_c_call_holds_the_gil(journal: Journal) -> None:
    """Neither a heartbeat nor an answer comes for ten seconds, from a node that is well."""
    async with arena(2) as here:
        sup = await supervise(here, [scribe(journal, child) for child in CHILDREN])
        before = await infos(sup)
        victim = here.cluster.id("n1")
        held, *_ = (info.ref for info in before.values() if info.node_id == victim)
        await until(lambda: here.info("n1").last_heartbeat_at, "a heartbeat that can be missed")
        held.cast(("hold", HOLD))
        answer = asyncio.ensure_future(held.call("pid", timeout=3 * HOLD))
        await until(lambda: here.happened("NodeBusy", "n1"), "n1 is busy")
        assert here.info("n1").status == "busy"
        assert not answer.done()
        assert await answer == here.cluster["n1"].pid
        await until(lambda: here.happened("NodeIdle", "n1"), "n1 is idle")
        for name in ("n1", "n2"):
            assert here.happened("NodeDown", name) == []
            assert "node_down" not in here.cluster[name].log()
        assert {child: info.ref for child, info in (await infos(sup)).items()} == {
            child: info.ref for child, info in before.items()
        }
        assert len(journal.lines()) == len(CHILDREN)
        stats = await sup.get_stats()
        assert (stats.total_restarts, stats.node_failure_restarts) == (0, 0)


async def a_stopped_process_goes_on_too_late(journal: Journal) -> None:
    """Case 220, without a partition: the cluster has gone on without it."""
    async with arena(2) as here:
        sup = await supervise(here, [scribe(journal, child) for child in CHILDREN])
        before = await infos(sup)
        victim = here.cluster.id("n1")
        lost = {child: info.ref for child, info in before.items() if info.node_id == victim}
        assert len(lost) == 2
        answers = Answers(sup)
        here.cluster.pause("n1")
        call = asyncio.ensure_future(next(iter(lost.values())).call("pid", timeout=60.0))
        # What is under way to it now waits in the system, and must reach nobody later.
        assert all(ref.cast(("note", n)) for n in range(40) for ref in lost.values())
        await answers.all(lost)
        with pytest.raises(NodeNotReachableError):
            await call
        here.cluster.resume("n1")
        await here.until_up("n1", 2)
        for child in lost:
            await until(lambda c=child: journal.lines("end", c), f"the stale {child} is stopped")
        after = await running(sup, len(CHILDREN))
        for child in lost:
            first, second = journal.starts(child)
            (end,) = journal.lines("end", child)
            assert end["pid"] == first["pid"] == here.cluster["n1"].pid
            assert end["generation"] == first["generation"] < second["generation"]
            assert end["reason"] == repr(("shutdown", "superseded"))
            assert await after[child].ref.call("pid") == second["pid"] == here.cluster["n2"].pid
            with pytest.raises(NoProcessError):
                await lost[child].call("pid")
        assert len(journal.starts()) == len(CHILDREN) + len(lost)
        assert journal.lines("note") == []
        assert len(answers.of(NodeFailureDetected)) == 1
        (down,) = here.happened("NodeDown", "n1")
        assert down.reason == "heartbeat_timeout"


async def a_supervisor_goes_on_too_late(journal: Journal) -> None:
    """Another one has taken its name: it ends with its children, and keeps its hands off the
    name, which it must not give up for the other."""
    async with arena(3) as here:
        children = [scribe(journal, child) for child in CHILDREN]
        options = {"name": "family", "node_selector": "round_robin"}
        boss = await here.node.spawn("boss", children, options, on=here.cluster.id("n1"))
        stale = await boss.call("handle")
        here.cluster.pause("n1")
        await here.until_down("n1")
        fresh = await supervise(here, children)
        before, starts = await infos(fresh), len(journal.starts())
        here.cluster.resume("n1")
        await here.until_up("n1", 2)
        pid = here.cluster["n1"].pid
        stale_children = [entry["child"] for entry in journal.starts() if entry["pid"] == pid]
        assert stale_children
        for child in stale_children:
            await until(
                lambda c=child: any(e["pid"] == pid for e in journal.lines("end", c)),
                f"the stale {child} is stopped",
            )
        await eventually(stale.is_running, lambda running: not running)
        assert await here.node.whereis_global("family") == fresh.ref
        assert await infos(fresh) == before
        assert len(journal.starts()) == starts


def test_a_busy_node_keeps_its_children_and_one_that_was_stopped_too_long_does_not(
    tmp_path: Path,
) -> None:
    """Three clusters beside each other, because all have to wait."""

    async def main() -> None:
        async with asyncio.TaskGroup() as scenarios:
            scenarios.create_task(one_c_call_holds_the_gil(Journal(tmp_path / "busy")))
            scenarios.create_task(a_stopped_process_goes_on_too_late(Journal(tmp_path / "gone")))
            scenarios.create_task(a_supervisor_goes_on_too_late(Journal(tmp_path / "stale")))

    asyncio.run(main())
