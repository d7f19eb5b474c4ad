"""Restarts that fail for a while, and dynamic children, with the children in other processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import Stage, eventually
from cluster_actors import Journal
from failover import infos, refs, removed, replaced, running, scribe, supervise

from noex import ChildTemplate, DistributedMaxRestartsExceededError, RestartIntensity

pytestmark = pytest.mark.long

PATIENT = RestartIntensity(max_restarts=10_000, within=1.0)
FOR_LONG = ["raise"] * 500


async def dynamic(stage: Stage, journal: Journal, count: int, **options: Any) -> Any:
    """A simple_one_for_one supervisor with `count` children ``x1``, ``x2``, ..."""
    template = {"restart": "permanent", **options.pop("template", {})}
    sup = await supervise(
        stage.here,
        [],
        strategy="simple_one_for_one",
        child_template=ChildTemplate("scribe", args=(journal.path,), **template),
        **options,
    )
    for number in range(1, count + 1):
        await sup.start_child([f"x{number}", number])
    return sup


async def statuses(sup: Any) -> dict[str, str]:
    return {child: info.status for child, info in (await infos(sup)).items()}


def test_children_that_cannot_restart_are_listed_until_they_can(
    stage: Stage, journal: Journal
) -> None:
    """Case 38."""

    async def main() -> None:
        options = {"template": {"backoff": 0.02}, "restart_intensity": PATIENT}
        sup = await dynamic(stage, journal, 3, **options)
        before = await refs(sup)
        for child in ("x1", "x2"):
            journal.fail(child, *FOR_LONG)
        before["child_1"].cast("crash")
        before["child_2"].cast("crash")
        failing = {"child_1": "restarting", "child_2": "restarting", "child_3": "running"}
        await eventually(lambda: statuses(sup), lambda found: found == failing)
        assert await sup.count_children() == 3
        journal.mend()
        after = await running(sup, 3)
        assert await after["child_2"].ref.call("args") == [2]
        assert after["child_3"].ref == before["child_3"]
        for child in after:
            await sup.terminate_child(child)
        assert await sup.count_children() == 0
        await sup.stop()

    stage.run(main())


def test_a_dynamic_child_restarts_alone_and_too_many_end_them_all(
    stage: Stage, journal: Journal
) -> None:
    """Cases 71 and 73."""

    async def main() -> None:
        often = RestartIntensity(max_restarts=2, within=60.0)
        sup = await dynamic(stage, journal, 2, restart_intensity=often)
        other = (await refs(sup))["child_2"]
        for _ in range(2):
            old = (await refs(sup))["child_1"]
            old.cast("crash")
            again = await replaced(sup, "child_1", old)
            assert await again.ref.call("args") == [1]
            assert (await refs(sup))["child_2"] == other
        again.ref.cast("crash")
        kind, error = await sup.wait(timeout=20.0)
        assert (kind, type(error)) == ("shutdown", DistributedMaxRestartsExceededError)
        assert await other.is_alive() is False

    stage.run(main())


def test_a_restart_that_fails_once_and_then_works(stage: Stage, journal: Journal) -> None:
    """Case 83."""

    async def main() -> None:
        often = RestartIntensity(max_restarts=2, within=60.0)
        sup = await supervise(stage.here, [scribe(journal, "a")], restart_intensity=often)
        journal.fail("a", "raise")
        old = (await refs(sup))["a"]
        old.cast("crash")
        assert (await replaced(sup, "a", old)).status == "running"
        assert len(journal.starts()) == 2
        await sup.stop()

    stage.run(main())


def test_rest_for_one_while_its_second_child_cannot_start(stage: Stage, journal: Journal) -> None:
    """Cases 86 and 88: the first is up, the third waits; then the first dies too."""

    async def main() -> None:
        children = [scribe(journal, c, backoff=0.02) for c in "abc"]
        sup = await supervise(
            stage.here, children, strategy="rest_for_one", restart_intensity=PATIENT
        )
        before = await refs(sup)
        journal.fail("b", *FOR_LONG)
        before["b"].cast("crash")
        waiting = {"a": "running", "b": "restarting", "c": "restarting"}
        await eventually(lambda: statuses(sup), lambda found: found == waiting)
        assert (await refs(sup))["a"] == before["a"]
        before["a"].cast("crash")
        await replaced(sup, "a", before["a"])
        journal.mend()
        after = await running(sup, 3)
        assert all(after[child].ref != before[child] for child in "abc")
        assert [len(journal.starts(child)) for child in "abc"] == [2, 2, 2]
        await sup.stop()

    stage.run(main())


def test_what_was_terminated_is_not_started_by_a_group_restart(
    stage: Stage, journal: Journal
) -> None:
    """Case 61, decided: terminate_child removes."""

    async def main() -> None:
        sup = await supervise(
            stage.here, [scribe(journal, c) for c in "abc"], strategy="one_for_all"
        )
        await sup.terminate_child("b")
        before = await refs(sup)
        before["a"].cast("crash")
        await replaced(sup, "c", before["c"])
        assert list(await running(sup, 2)) == ["a", "c"]
        assert len(journal.starts("b")) == 1
        await sup.stop()

    stage.run(main())


def test_brutal_kill_runs_no_terminate(stage: Stage, journal: Journal) -> None:
    """Case 95."""

    async def main() -> None:
        sup = await dynamic(stage, journal, 10, template={"shutdown": "brutal_kill"})
        children = (await refs(sup)).values()
        ends = [asyncio.ensure_future(ref.wait(20.0)) for ref in children]
        assert all(await asyncio.gather(*(ref.is_alive() for ref in children)))
        await sup.stop()
        assert await asyncio.gather(*ends) == ["killed"] * 10
        assert journal.lines("end") == []

    stage.run(main())


def test_a_restart_that_is_ignored(stage: Stage, journal: Journal) -> None:
    """Case 74: the supervisor lives; a dynamic child that ignores its restart is removed."""

    async def main() -> None:
        sup = await dynamic(stage, journal, 2)
        old = (await refs(sup))["child_1"]
        journal.fail("x1", "ignore")
        old.exit("kill")
        await removed(sup, "child_1")
        assert list(await infos(sup)) == ["child_2"]
        await sup.stop()

    stage.run(main())
