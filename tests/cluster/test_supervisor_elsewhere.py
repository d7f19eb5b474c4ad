"""A supervisor used from another node than its own: everything works as at home."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import Stage, until
from cluster_actors import Journal
from failover import infos, replaced, running, scribe

from noex import (
    ChildMigrated,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    DistributedChildNotFoundError,
    DistributedDuplicateChildError,
    DistributedInvalidSimpleOneForOneError,
    DistributedMaxRestartsExceededError,
    DistributedSupervisor,
    DistributedSupervisorError,
    GlobalNameConflictError,
    RestartIntensity,
    SupervisorStopped,
)

ORPHANED = ("shutdown", "orphaned")

pytestmark = pytest.mark.slow


async def boss(stage: Stage, *children: Any, **options: Any) -> Any:
    """The handle of a supervisor that lives on the worker n1."""
    given = {"node_selector": "round_robin", **options}
    on = stage.here.cluster.id("n1")
    ref = await stage.node.spawn("boss", list(children), given, on=on)
    handle = await ref.call("handle")
    assert handle.node_id == on
    return handle


def test_every_method_of_the_handle_works_from_another_node(stage: Stage, journal: Journal) -> None:
    async def main() -> None:
        sup = await boss(stage, *(scribe(journal, c) for c in "abc"), name="far")
        found = await DistributedSupervisor.find(stage.node, "far")
        assert found == sup
        assert await DistributedSupervisor.ensure(stage.node, name="far") == sup
        events: list[Any] = []
        sup.on_lifecycle_event(events.append)
        before = await running(sup, 3)
        assert list(before) == ["a", "b", "c"]
        assert len({info.node_id for info in before.values()}) == 3
        assert await before["b"].ref.call("args") == []
        assert await sup.count_children() == 3
        assert await sup.which_child(before["b"].ref) == "b"
        assert before["a"].node_id in await sup.explain("a")
        stats = await sup.get_stats()
        assert sum(stats.children_by_node.values()) == stats.child_count == 3
        ref = await sup.start_child(scribe(journal, "d", 4))
        assert await ref.call("args") == [4]
        again = await sup.restart_child("b")
        assert again != before["b"].ref
        assert await before["b"].ref.is_alive() is False
        await sup.terminate_child("c")
        assert await before["c"].ref.is_alive() is False
        assert list(await infos(sup)) == ["a", "b", "d"]
        assert await sup.get_child("c") is None
        before["a"].ref.cast("crash")
        await replaced(sup, "a", before["a"].ref)
        assert await sup.is_running()
        await sup.stop()
        assert not await sup.is_running()
        assert await sup.wait() == "normal"
        assert len(journal.starts()) == len(journal.lines("end")) == 6
        kinds = (ChildStarted, ChildRestarted, ChildStopped, ChildMigrated, SupervisorStopped)
        await until(lambda: events and type(events[-1]) is SupervisorStopped, "the last event")
        told = [(type(e), getattr(e, "child_id", None)) for e in events if isinstance(e, kinds)]
        assert told[:4] == [
            (ChildStarted, "d"),
            (ChildRestarted, "b"),
            (ChildStopped, "c"),
            (ChildRestarted, "a"),
        ]

    stage.run(main())


def test_errors_arrive_with_their_class_and_fields(stage: Stage, journal: Journal) -> None:
    async def main() -> None:
        sup = await boss(stage, scribe(journal, "a"), name="strict")
        with pytest.raises(DistributedDuplicateChildError) as duplicate:
            await sup.start_child(scribe(journal, "a"))
        assert (duplicate.value.supervisor_id, duplicate.value.child_id) == ("strict", "a")
        for call in (sup.terminate_child, sup.restart_child):
            with pytest.raises(DistributedChildNotFoundError) as unknown:
                await call("nobody")
            assert (unknown.value.supervisor_id, unknown.value.child_id) == ("strict", "nobody")
        with pytest.raises(DistributedInvalidSimpleOneForOneError) as simple:
            await sup.start_child([1])
        assert simple.value.supervisor_id == "strict"
        with pytest.raises(GlobalNameConflictError) as conflict:
            await DistributedSupervisor.start(stage.node, name="strict")
        assert (conflict.value.name, conflict.value.owner) == ("strict", sup.ref)
        await sup.stop()
        for call in (sup.get_stats, sup.get_children, sup.count_children):
            with pytest.raises(DistributedSupervisorError) as gone:
                await call()
            assert gone.value.supervisor_id == "strict"
        with pytest.raises(DistributedSupervisorError) as gone:
            await DistributedSupervisor.find(stage.node, "strict")
        assert gone.value.supervisor_id == "strict"

    stage.run(main())


def test_a_supervisor_that_gave_up_says_so_to_other_nodes(stage: Stage, journal: Journal) -> None:
    async def main() -> None:
        sup = await boss(
            stage,
            *(scribe(journal, c) for c in "ab"),
            name="brittle",
            restart_intensity=RestartIntensity(max_restarts=2, within=60.0),
        )
        waiting = asyncio.ensure_future(sup.wait(timeout=20.0))
        for _ in range(2):
            old = (await infos(sup))["a"].ref
            old.cast("crash")
            await replaced(sup, "a", old)
        (await infos(sup))["a"].ref.cast("crash")
        kind, error = await waiting
        assert kind == "shutdown"
        assert type(error) is DistributedMaxRestartsExceededError
        assert (error.supervisor_id, error.max_restarts, error.within) == ("brittle", 2, 60.0)
        with pytest.raises(DistributedSupervisorError) as gone:
            await sup.start_child(scribe(journal, "c"))
        assert type(gone.value.__cause__) is DistributedMaxRestartsExceededError
        assert len(journal.starts("a")) == 3
        assert len(journal.lines("end", "b")) == 1
        assert await stage.node.whereis_global("brittle") is None

    stage.run(main())


def test_a_supervisor_that_is_killed_leaves_no_child_behind(stage: Stage, journal: Journal) -> None:
    """A kill cannot be trapped: the hosts of its children see it, and end them."""

    async def main() -> None:
        sup = await boss(stage, *(scribe(journal, c) for c in "abc"))
        children = (await infos(sup)).values()
        sup.ref.exit("not a kill: a supervisor does not heed it")
        assert await sup.is_running()
        sup.ref.exit("kill")
        assert await sup.wait(timeout=20.0) == "killed"
        assert [await info.ref.wait(timeout=20.0) for info in children]
        assert {entry["child"] for entry in journal.lines("end")} == set("abc")
        assert {entry["reason"] for entry in journal.lines("end")} == {repr(ORPHANED)}

    stage.run(main())
