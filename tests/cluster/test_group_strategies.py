"""one_for_all and rest_for_one over three nodes: who is stopped and started, in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import Arena, arena
from cluster_actors import Journal
from failover import Answers, infos, refs, replaced, running, scribe, supervise

from noex import ChildMigrated, ChildRestarted, NodeFailureDetected

pytestmark = pytest.mark.slow

CHILDREN = ["a", "b", "c", "d", "e", "f"]  # two on each of three nodes
AFTER_A_CRASH_OF_C = {
    "one_for_all": (
        ["end c", "end f", "end e", "end d", "end b", "end a"],
        ["start a", "start b", "start c", "start d", "start e", "start f"],
    ),
    "rest_for_one": (
        ["end c", "end f", "end e", "end d"],
        ["start c", "start d", "start e", "start f"],
    ),
}
# c and f are lost with their node: they have no end of their own.
AFTER_A_LOSS_OF_C_AND_F = {
    "one_for_all": (
        ["end e", "end d", "end b", "end a"],
        ["start a", "start b", "start c", "start d", "start e", "start f"],
    ),
    "rest_for_one": (
        ["end e", "end d"],
        ["start c", "start d", "start e", "start f"],
    ),
}


def story(journal: Journal, mark: int) -> list[str]:
    return [f"{what} {child}" for what, child in journal.since(mark)]


async def crash_one(here: Arena, journal: Journal, strategy: str, sup: Any) -> None:
    """Cases 65 and 68."""
    before, mark = await refs(sup), journal.mark()
    before["c"].cast("crash")
    await replaced(sup, "f", before["f"])
    after = await running(sup, len(CHILDREN))
    ends, starts = AFTER_A_CRASH_OF_C[strategy]
    assert story(journal, mark) == ends + starts
    kept = [child for child in CHILDREN if after[child].ref == before[child]]
    assert kept == [child for child in CHILDREN if f"start {child}" not in starts]
    for entry in journal.lines("end")[-len(ends) :]:
        told = "Boom('c')" if entry["child"] == "c" else "'shutdown'"
        assert entry["reason"] == told


async def lose_node_of_one(here: Arena, journal: Journal, strategy: str, sup: Any) -> None:
    before, mark = await infos(sup), journal.mark()
    home = before["c"].node_id
    assert home is not None
    assert before["f"].node_id == home
    answers = Answers(sup)
    here.cluster.kill(home)
    await answers.all(["c", "f"])
    after = await running(sup, len(CHILDREN))
    ends, starts = AFTER_A_LOSS_OF_C_AND_F[strategy]
    assert story(journal, mark) == ends + starts
    new = {line.removeprefix("start ") for line in starts}
    for child in CHILDREN:
        assert (after[child].ref != before[child].ref) == (child in new)
        assert after[child].node_id != home
    assert [e.affected_children for e in answers.of(NodeFailureDetected)] == [("c", "f")]
    assert {e.child_id for e in answers.of(ChildMigrated)} == {"c", "f"}
    assert {e.child_id for e in answers.of(ChildRestarted)} == new - {"c", "f"}
    stats = await sup.get_stats()
    assert stats.node_failure_restarts == 2
    assert stats.total_restarts == sum(info.restart_count for info in after.values())


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_is_stopped_in_reverse_and_started_in_order(
    strategy: str, journal: Journal
) -> None:
    async def main() -> None:
        async with arena(3) as here:
            children = [scribe(journal, child, child * 2) for child in CHILDREN]
            sup = await supervise(here, children, strategy=strategy)
            homes = [info.node_id for info in (await infos(sup)).values()]
            assert len(set(homes)) == 3
            assert homes[:3] == homes[3:]
            await crash_one(here, journal, strategy, sup)
            # A restart may have gone elsewhere: a fresh family, two children on each node again.
            await sup.stop()
            sup = await supervise(here, children, strategy=strategy)
            await lose_node_of_one(here, journal, strategy, sup)
            for entry in journal.starts():
                assert entry["args"] == [entry["child"] * 2]

    asyncio.run(main())
