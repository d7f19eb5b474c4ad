"""What becomes of children when their node, or their supervisor's, is lost or leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import arena, eventually, until
from cluster_actors import Journal
from failover import Answers, infos, refs, replaced, running, scribe, supervise

from noex import (
    ChildMigrated,
    ChildPending,
    ChildStopped,
    NodeFailureDetected,
    SupervisorStopped,
)

pytestmark = pytest.mark.slow

ORPHANED = ("shutdown", "orphaned")


def test_each_restart_type_when_a_node_is_lost(journal: Journal) -> None:
    """Case 233: permanent and transient ones move, temporary ones are removed."""

    async def main() -> None:
        async with arena(2) as here:
            kinds = ("permanent", "transient", "temporary")
            children = [
                scribe(journal, f"{kind}-{n}", n, restart=kind) for kind in kinds for n in range(2)
            ]
            sup = await supervise(here, children)
            before = await infos(sup)
            victim = before["temporary-0"].node_id
            lost = {c for c, info in before.items() if info.node_id == victim}
            assert lost == {f"{kind}-0" for kind in kinds}
            answers = Answers(sup)
            here.cluster.kill(victim or "")
            await answers.all(lost - {"temporary-0"})
            after = await running(sup, 5)
            assert lost - set(after) == {"temporary-0"}
            assert {e.child_id for e in answers.of(ChildMigrated)} == lost - {"temporary-0"}
            (stopped,) = answers.of(ChildStopped)
            assert (stopped.child_id, stopped.reason) == ("temporary-0", "noconnection")
            (failure,) = answers.of(NodeFailureDetected)
            assert set(failure.affected_children) == lost
            assert len(journal.starts()) == 6 + 2
            assert (await sup.get_stats()).node_failure_restarts == 2

    asyncio.run(main())


def test_a_significant_temporary_child_that_is_lost_has_ended_by_itself(journal: Journal) -> None:
    async def main() -> None:
        async with arena(2) as here:
            children = [
                scribe(journal, "s", restart="temporary", significant=True),
                scribe(journal, "a"),
            ]
            sup = await supervise(here, children, auto_shutdown="any_significant")
            home = (await infos(sup))["s"].node_id
            assert home != (await infos(sup))["a"].node_id
            here.cluster.kill(home or "")
            assert await sup.wait(timeout=20.0) == "shutdown"
            assert journal.story()[2:] == [("end", "a")]

    asyncio.run(main())


def test_a_child_that_may_run_nowhere_waits_for_its_node(journal: Journal) -> None:
    """Case 238. A wait is no restart: it does not use up the window."""

    async def main() -> None:
        async with arena(2) as here:
            home = here.cluster.id("n1")
            pinned = [scribe(journal, "pinned", node_selector={"node": home})]
            sup = await supervise(here, [*pinned, scribe(journal, "free")])
            answers = Answers(sup)
            for life in range(1, 4):  # max_restarts losses, each counted once
                await here.cluster.prepare("n1")
                here.cluster.kill("n1")
                waiting = await eventually(
                    lambda: sup.get_child("pinned"), lambda info: info.status == "pending"
                )
                assert waiting.ref is None
                assert home in await sup.explain("pinned")
                await here.cluster.restart("n1")
                found = (await running(sup, 2))["pinned"]
                assert (found.node_id, found.restart_count) == (home, life)
            assert len(answers.of(ChildPending)) >= 3
            assert len(journal.starts("pinned")) == 1 + 3
            assert await sup.is_running()

    asyncio.run(main())


def test_a_move_whose_start_fails_is_tried_again_elsewhere(journal: Journal) -> None:
    """Case 236: never silently dropped."""

    async def main() -> None:
        async with arena(3) as here:
            sup = await supervise(here, [scribe(journal, c) for c in "abc"])
            before = await infos(sup)
            journal.fail("a", "raise", "raise")
            here.cluster.kill(before["a"].node_id or "")
            await replaced(sup, "a", before["a"].ref)
            after = await running(sup, 3)
            assert [len(journal.starts(c)) for c in "abc"] == [2, 1, 1]
            assert {c: after[c].ref for c in "bc"} == {c: before[c].ref for c in "bc"}
            assert (await sup.get_stats()).node_failure_restarts == 1

    asyncio.run(main())


def test_two_nodes_lost_in_one_instant(journal: Journal) -> None:
    async def main() -> None:
        async with arena(4) as here:
            names = [f"c{n}" for n in range(8)]
            sup = await supervise(here, [scribe(journal, name) for name in names])
            before = await infos(sup)
            killed = {here.cluster.id("n2"), here.cluster.id("n4")}
            lost = {name for name, info in before.items() if info.node_id in killed}
            assert len(lost) == 4
            answers = Answers(sup)
            for node_id in killed:
                here.cluster.kill(node_id)
            await answers.all(lost)
            after = await running(sup, 8)
            assert {name for name in names if after[name].ref != before[name].ref} == lost
            assert not killed & {info.node_id for info in after.values()}
            assert len(journal.starts()) == 8 + 4
            assert len(answers.of(NodeFailureDetected)) == 2
            assert (await sup.get_stats()).node_failure_restarts == 4

    asyncio.run(main())


def test_children_end_with_the_node_of_their_supervisor(journal: Journal) -> None:
    """Case 239: nothing runs unwatched, and the name can be taken again."""

    async def main() -> None:
        async with arena(3) as here:
            children = [scribe(journal, c) for c in "abc"]
            options = {"name": "orphans", "node_selector": "round_robin"}
            boss = await here.node.spawn("boss", children, options, on=here.cluster.id("n1"))
            sup = await boss.call("handle")
            before = await infos(sup)
            elsewhere = [c for c, i in before.items() if i.node_id != here.cluster.id("n1")]
            assert len(elsewhere) == 2
            ends = [asyncio.ensure_future(before[c].ref.wait(timeout=20.0)) for c in elsewhere]
            assert [await before[c].ref.call("args") for c in elsewhere] == [[], []]
            here.cluster.kill("n1")
            assert await asyncio.gather(*ends) == [ORPHANED, ORPHANED]
            assert {entry["child"] for entry in journal.lines("end")} == set(elsewhere)
            assert await sup.is_running() is False
            again = await supervise(here, children, name="orphans")
            assert len(await refs(again)) == 3

    asyncio.run(main())


def test_a_node_that_is_told_to_stop_hands_its_children_over(journal: Journal) -> None:
    """SIGTERM: each child is stopped in order and started elsewhere; nothing of it is a failure."""

    async def main() -> None:
        async with arena(2) as here:
            sup = await supervise(here, [scribe(journal, f"c{n}", n) for n in range(8)])
            before = await infos(sup)
            leaver = here.cluster.id("n1")
            moving = {name for name, info in before.items() if info.node_id == leaver}
            answers = Answers(sup)
            assert await here.cluster.stop("n1") == 0
            await answers.all(moving)
            after = await running(sup, 8)
            assert {name for name in after if after[name].ref != before[name].ref} == moving
            for name in moving:
                (end,) = journal.lines("end", name)
                assert end["reason"] == "'shutdown'"
                assert end["at"] <= journal.starts(name)[1]["at"]
            assert len(journal.starts()) == 8 + len(moving)
            assert answers.of(NodeFailureDetected) == []
            assert {e.child_id for e in answers.of(ChildMigrated)} == moving
            assert (await sup.get_stats()).node_failure_restarts == 0
            await here.until_down("n1")
            assert here.happened("NodeDown", "n1")[0].reason == "graceful_shutdown"

    asyncio.run(main())


async def events_of(sup: Any) -> list[Any]:
    return [event async for event in sup.events()]


def test_events_of_a_supervisor_are_heard_to_the_last(journal: Journal) -> None:
    """The stream of a supervisor, at home and elsewhere, ends with its last event."""

    async def main() -> None:
        async with arena(2) as here:
            on = here.cluster.id("n1")
            far = await here.node.spawn("boss", [scribe(journal, "far")], {"name": "far"}, on=on)
            for sup in (await far.call("handle"), await supervise(here, [scribe(journal, "near")])):
                hearing = asyncio.ensure_future(events_of(sup))
                (old,) = (await refs(sup)).values()
                (child,) = await refs(sup)
                await until(lambda child=child: journal.starts(child), "it has started")
                old.cast("crash")
                await replaced(sup, child, old)
                await sup.stop("shutdown")
                heard = await asyncio.wait_for(hearing, 20.0)
                assert [e.type for e in heard][-1] == "supervisor_stopped"
                assert isinstance(heard[-1], SupervisorStopped)
                assert heard[-1].reason == "shutdown"
                assert "child_restarted" in [e.type for e in heard]

    asyncio.run(main())


def test_requests_under_way_while_a_node_is_killed(journal: Journal) -> None:
    """Each start, stop and restart has one outcome, and what is listed is what runs."""

    async def main() -> None:
        async with arena(3) as here:
            old = [f"old{n}" for n in range(60)]
            sup = await supervise(here, [scribe(journal, name) for name in old])
            victim = here.cluster.id("n1")
            there = [name for name, i in (await infos(sup)).items() if i.node_id == victim]
            assert len(there) == 20
            new = [f"new{n}" for n in range(60)]
            starts = [asyncio.ensure_future(sup.start_child(scribe(journal, n))) for n in new]
            stops = [asyncio.ensure_future(sup.terminate_child(name)) for name in there[:10]]
            moves = [asyncio.ensure_future(sup.restart_child(name)) for name in there[10:]]
            await until(lambda: len(journal.starts()) > len(old), "some of it is under way")
            here.cluster.kill("n1")
            under_way = asyncio.gather(*starts, *stops, *moves)
            outcomes = await asyncio.wait_for(under_way, 30.0)
            assert all(outcomes[: len(new)])
            after = await running(sup, len(old) + len(new) - 10)
            assert not set(there[:10]) & set(after)
            pids = {here.cluster.id(name): here.cluster[name].pid for name in ("n2", "n3")}
            for name, info in after.items():
                ended = {entry["generation"] for entry in journal.lines("end", name)}
                alive = [
                    (entry["pid"], entry["generation"])
                    for entry in journal.starts(name)
                    if entry["pid"] in pids.values() and entry["generation"] not in ended
                ]
                assert alive == [(pids[info.node_id or ""], info.generation)]

    asyncio.run(main())
