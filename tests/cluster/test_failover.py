"""The children of a killed node: how many new processes, with what, where, and how soon."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from pathlib import Path

import pytest
from arena import Arena, arena, until
from cluster_actors import Journal
from failover import Answers, infos, running, scribe, supervise

from noex import ChildMigrated, ChildSpec, NodeFailureDetected, RestartIntensity

pytestmark = pytest.mark.slow

ONE_CHILD_P50 = 0.1  # seconds from the kill to the reply of a child's new process
MANY_CHILDREN = 1.0
LENIENT = RestartIntensity(max_restarts=100, within=1.0)


def specs(journal: Journal, count: int) -> list[ChildSpec]:
    return [scribe(journal, f"c{i}", i, {"of": count}, (i, str(i))) for i in range(count)]


async def lose_node(here: Arena, journal: Journal, lost_count: int) -> dict[str, float]:
    """Kill a worker with that many children, look at everything; returns when each answered."""
    victim = here.cluster.id("n1")
    sup = await supervise(here, specs(journal, 2 * lost_count))
    before = await infos(sup)
    lost = {child for child, info in before.items() if info.node_id == victim}
    assert len(lost) == lost_count
    answers = Answers(sup)

    killed_at = here.cluster.kill("n1")
    answered = await answers.all(lost)

    after = await running(sup, 2 * lost_count)
    starts = journal.starts()
    new = Counter(entry["child"] for entry in starts[2 * lost_count :])
    assert new == Counter(lost), "exactly one new process for each lost child, none for others"
    assert {entry["pid"] for entry in starts[2 * lost_count :]} == {here.cluster["n2"].pid}
    for child in lost:
        first, second = journal.starts(child)
        assert (first["args"], first["term"]) == (second["args"], second["term"])
        assert second["generation"] > first["generation"]
        assert answers.replies[child] == [
            int(child[1:]),
            {"of": 2 * lost_count},
            (int(child[1:]), child[1:]),
        ]
        assert after[child].ref != before[child].ref
        assert after[child].restart_count == 1
    for child in before.keys() - lost:
        assert after[child].ref == before[child].ref
        assert after[child].generation == before[child].generation
        assert after[child].restart_count == 0
    (failure,) = answers.of(NodeFailureDetected)
    assert (failure.node_id, set(failure.affected_children)) == (victim, lost)
    moves = [(event.child_id, event.from_node) for event in answers.of(ChildMigrated)]
    assert Counter(moves) == Counter((child, victim) for child in lost)
    stats = await sup.get_stats()
    assert stats.node_failure_restarts == stats.total_restarts == lost_count
    assert stats.children_by_node == {here.cluster.id("n2"): 2 * lost_count}
    assert await sup.is_running()
    await sup.stop()
    return {child: at - killed_at for child, at in answered.items()}


def test_as_many_new_processes_as_a_killed_node_had_children(tmp_path: Path) -> None:
    """Cases 233 and 235: one, three, and more children than max_restarts."""

    async def main() -> None:
        async with arena(2) as here:
            for count in (1, 3, 10):
                await here.node.wait_for_members(3)
                await here.cluster.prepare("n1")
                await lose_node(here, Journal(tmp_path / str(count)), count)
                await here.cluster.restart("n1")

    asyncio.run(main())


@pytest.mark.alone
def test_two_hundred_children_answer_elsewhere_within_a_second(tmp_path: Path) -> None:
    async def main() -> None:
        async with arena(2) as here:
            answered = await lose_node(here, Journal(tmp_path / "journal"), 200)
            assert max(answered.values()) <= MANY_CHILDREN

    asyncio.run(main())


KILLS = 20


async def start_again(here: Arena, name: str, kill: int, starting: set[str]) -> None:
    """Restart a killed worker, unless the rest of the kills do not need it."""
    if kill < KILLS - 1:
        starting.add(name)
        await here.cluster.restart(name)
        starting.remove(name)
    if kill < KILLS - 4:
        await here.cluster.prepare(name)


@pytest.mark.alone
def test_one_child_answers_elsewhere_within_100_ms_in_most_of_20_kills(tmp_path: Path) -> None:
    """Its node is killed again and again, while the former ones are started once more."""

    async def main() -> list[float]:
        journal = Journal(tmp_path / "journal")
        delays: list[float] = []
        starting: set[str] = set()
        async with arena(3) as here, asyncio.TaskGroup() as restarts:
            sup = await supervise(here, [scribe(journal, "c0")], restart_intensity=LENIENT)
            for kill in range(1, KILLS + 1):
                await until(lambda: len(here.node.members()) >= 3, "two workers are up")
                home = (await running(sup, 1))["c0"].node_id
                assert home is not None
                await until(lambda name=home: name not in starting, "its node is ready")
                answers = Answers(sup)
                killed_at = here.cluster.kill(home)
                answered = await answers.all(["c0"])
                delays.append(answered["c0"] - killed_at)
                assert len(journal.starts()) == kill + 1
                restarts.create_task(start_again(here, home, kill, starting))
            stats = await sup.get_stats()
            assert stats.node_failure_restarts == stats.total_restarts == KILLS
        return delays

    delays = asyncio.run(main())
    assert statistics.median(delays) <= ONE_CHILD_P50, sorted(delays)
