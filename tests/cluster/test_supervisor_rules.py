"""Restart types, failing restarts, stops and auto_shutdown, of children in other processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import Stage, eventually, until
from cluster_actors import Journal
from failover import infos, refs, removed, replaced, running, scribe, supervise

from noex import ChildTemplate, DistributedDuplicateChildError, RestartIntensity, SupervisorStopped

pytestmark = pytest.mark.slow

OFTEN = RestartIntensity(max_restarts=3, within=60.0)
ENDINGS = [("end", "normal"), ("end", "shutdown"), ("end", ("shutdown", "x")), "crash", "kill"]
ORDERLY = ENDINGS[:3]


def end(ref: Any, how: Any) -> None:
    """Have a child end in one of the `ENDINGS`."""
    if how == "kill":
        ref.exit("kill")
    else:
        ref.cast(how)


# ---------------------------------------------------------------------- A, C: starts and types


def test_a_supervisor_without_children_starts_and_stops(stage: Stage) -> None:
    """Case 1."""

    async def main() -> None:
        sup = await supervise(stage.here, [])
        assert await sup.count_children() == 0
        await sup.stop("shutdown")
        assert await sup.wait(timeout=10.0) == "shutdown"

    stage.run(main())


def test_a_child_whose_init_says_ignore(stage: Stage, journal: Journal) -> None:
    """Cases 4 and 5: a temporary one is not kept."""

    async def main() -> None:
        journal.fail("t", "ignore", "ignore")
        journal.fail("p", "ignore")
        children = [scribe(journal, "t", restart="temporary"), scribe(journal, "p")]
        sup = await supervise(stage.here, children)
        found = await infos(sup)
        assert [(child, info.status) for child, info in found.items()] == [("p", "ignored")]
        assert await sup.start_child(scribe(journal, "t", restart="temporary")) is None
        assert await sup.get_child("t") is None
        assert await (await sup.restart_child("p")).call("args") == []
        await sup.stop()

    stage.run(main())


def test_which_endings_bring_a_child_back(stage: Stage, journal: Journal) -> None:
    """Cases 49 to 56."""

    async def main() -> None:
        sup = await supervise(
            stage.here, [], restart_intensity=RestartIntensity(max_restarts=100, within=60.0)
        )
        for restart in ("permanent", "transient", "temporary"):
            for number, how in enumerate(ENDINGS):
                child = f"{restart}-{number}"
                ref = await sup.start_child(scribe(journal, child, number, restart=restart))
                end(ref, how)
                comes_back = restart == "permanent" or (
                    restart == "transient" and how not in ORDERLY
                )
                if comes_back:
                    again = await replaced(sup, child, ref)
                    assert await again.ref.call("args") == [number]
                    assert again.restart_count == 1
                    await sup.terminate_child(child)
                else:
                    await removed(sup, child)
                assert len(journal.starts(child)) == 1 + comes_back
        await sup.stop()

    stage.run(main())


@pytest.mark.parametrize(
    ("restart", "how"), [("transient", ("end", "normal")), ("temporary", "crash")]
)
def test_a_child_that_is_not_restarted_touches_no_sibling(
    stage: Stage, journal: Journal, restart: Any, how: Any
) -> None:
    """Cases 58 and 59."""

    async def main() -> None:
        children = [
            scribe(journal, "a"),
            scribe(journal, "b", restart=restart),
            scribe(journal, "c"),
        ]
        sup = await supervise(stage.here, children, strategy="one_for_all")
        before = await refs(sup)
        end(before["b"], how)
        await removed(sup, "b")
        after = await refs(sup)
        assert (after["a"], after["c"]) == (before["a"], before["c"])
        assert len(journal.starts()) == 3
        await sup.stop()

    stage.run(main())


# ---------------------------------------------------------------------- B: administration


def test_a_restarted_child_keeps_its_place_and_a_new_one_goes_to_the_end(
    stage: Stage, journal: Journal
) -> None:
    """Case 40."""

    async def main() -> None:
        sup = await supervise(stage.here, [scribe(journal, c) for c in "abc"])
        await sup.restart_child("a")
        await sup.start_child(scribe(journal, "d"))
        assert list(await infos(sup)) == ["a", "b", "c", "d"]
        await sup.stop()
        assert [entry["child"] for entry in journal.lines("end")[1:]] == ["d", "c", "b", "a"]

    stage.run(main())


def test_a_stranger_is_no_child_and_lives(stage: Stage, journal: Journal) -> None:
    """Case 34."""

    async def main() -> None:
        sup = await supervise(stage.here, [scribe(journal, "a")])
        stranger = await stage.here.echo("n2", 7)
        assert await sup.which_child(stranger) is None
        assert await sup.which_child((await refs(sup))["a"]) == "a"
        await sup.stop()
        assert await stranger.call("args") == (7,)

    stage.run(main())


def test_a_thousand_transient_children_run_once_each(stage: Stage, journal: Journal) -> None:
    """Cases 44 and 226."""

    async def main() -> None:
        sup = await supervise(
            stage.here,
            [],
            strategy="simple_one_for_one",
            child_template=ChildTemplate("scribe", args=(journal.path,), restart="transient"),
        )
        started = await asyncio.gather(*(sup.start_child([f"t{n}", n]) for n in range(1000)))
        for ref in started:
            ref.cast(("end", "normal"))
        await eventually(sup.count_children, lambda count: count == 0)
        assert sorted(entry["args"] for entry in journal.starts()) == [[n] for n in range(1000)]
        assert (await sup.get_stats()).total_restarts == 0
        await sup.stop()

    stage.run(main())


# ---------------------------------------------------------------------- D: failing restarts


def test_failed_starts_count_and_the_one_that_works_is_kept(stage: Stage, journal: Journal) -> None:
    """Case 79: three restarts used up, a fourth ends the supervisor."""

    async def main() -> None:
        sup = await supervise(stage.here, [scribe(journal, "a")], restart_intensity=OFTEN)
        first = (await refs(sup))["a"]
        journal.fail("a", "raise", "raise")
        first.cast("crash")
        second = await replaced(sup, "a", first)
        second.ref.cast("crash")
        kind, _ = await sup.wait(timeout=20.0)
        assert kind == "shutdown"
        assert len(journal.starts()) == 2

    stage.run(main())


def test_a_failing_group_restart(stage: Stage, journal: Journal) -> None:
    """Cases 67 and 70: one_for_all begins anew, rest_for_one keeps what is up."""

    async def main() -> None:
        for strategy in ("one_for_all", "rest_for_one"):
            names = [f"{strategy}-{c}" for c in "abc"]
            sup = await supervise(
                stage.here,
                [scribe(journal, name) for name in names],
                strategy=strategy,
                restart_intensity=OFTEN,
            )
            before, mark = await refs(sup), journal.mark()
            journal.fail(names[1], "raise")
            before[names[0]].cast("crash")
            await replaced(sup, names[2], before[names[2]])
            await running(sup, 3)
            told = [f"{what} {child[-1]}" for what, child in journal.since(mark)]
            begun_anew = ["end a", "start a"] if strategy == "one_for_all" else []
            assert told == ["end a", "end c", "end b", "start a", *begun_anew, "start b", "start c"]
            await sup.stop()

    stage.run(main())


def test_requests_are_served_while_a_restart_fails_again_and_again(
    stage: Stage, journal: Journal
) -> None:
    """Cases 85 and 104: and terminate_child ends the attempts."""

    async def main() -> None:
        children = [scribe(journal, "a", backoff=0.02), scribe(journal, "b")]
        sup = await supervise(
            stage.here,
            children,
            restart_intensity=RestartIntensity(max_restarts=10_000, within=1.0),
        )
        journal.fail("a", *["raise"] * 1000)
        (await refs(sup))["a"].cast("crash")
        await eventually(lambda: sup.get_child("a"), lambda info: info.status == "restarting")
        with pytest.raises(DistributedDuplicateChildError):
            await sup.start_child(scribe(journal, "a"))
        assert (await infos(sup))["b"].status == "running"
        await sup.terminate_child("a")
        assert list(await infos(sup)) == ["b"]
        await sup.stop()
        assert len(journal.starts("a")) == 1

    stage.run(main())


def test_two_children_that_die_in_one_instant_are_two_restarts_under_one_for_one(
    stage: Stage, journal: Journal
) -> None:
    """And no third: two fit exactly."""

    async def main() -> None:
        sup = await supervise(
            stage.here,
            [scribe(journal, c) for c in "ab"],
            strategy="one_for_one",
            restart_intensity=RestartIntensity(max_restarts=2, within=60.0),
        )
        before = await refs(sup)
        for ref in before.values():
            ref.exit("kill")
        for child, ref in before.items():
            await replaced(sup, child, ref)
        assert (await sup.get_stats()).total_restarts == 2
        await sup.stop()

    stage.run(main())


# ---------------------------------------------------------------------- E: stopping


def test_how_long_a_child_may_take_to_stop(stage: Stage, journal: Journal) -> None:
    """Cases 92, 94 and 98: killed past its time, killed at once, or with all the time it needs."""

    async def main() -> None:
        sup = await supervise(
            stage.here,
            [
                scribe(journal, "patient", shutdown="infinity"),
                scribe(journal, "late", shutdown=0.3),
                scribe(journal, "brutal", shutdown="brutal_kill"),
                scribe(journal, "plain"),
            ],
        )
        children = await refs(sup)
        ends = {name: asyncio.ensure_future(ref.wait(20.0)) for name, ref in children.items()}
        await asyncio.gather(*(ref.is_alive() for ref in children.values()))
        children["late"].cast(("stay", 3600))  # a handler that takes for ever
        children["patient"].cast(("stay", 0.5))
        await sup.stop("shutdown")
        assert {name: await reason for name, reason in ends.items()} == {
            "patient": "shutdown",
            "late": "killed",
            "brutal": "killed",
            "plain": "shutdown",
        }
        assert [entry["child"] for entry in journal.lines("end")] == ["plain", "patient"]

    stage.run(main())


# ---------------------------------------------------------------------- F: significant children


async def ended(sup: Any, events: list[Any]) -> None:
    assert await sup.wait(timeout=20.0) == "shutdown"
    await until(lambda: events and type(events[-1]) is SupervisorStopped, "its last event")
    assert events[-1].reason == "shutdown"


def test_any_significant_end_shuts_it_down(stage: Stage, journal: Journal) -> None:
    """Cases 107 and 110: not terminate_child, not a crash that is restarted, not the others."""

    async def main() -> None:
        significant = {"restart": "transient", "significant": True}
        sup = await supervise(
            stage.here,
            [
                scribe(journal, "a"),
                scribe(journal, "s1", **significant),
                scribe(journal, "s2", **significant),
                scribe(journal, "s3", **significant),
                scribe(journal, "t", restart="temporary"),
            ],
            auto_shutdown="any_significant",
            restart_intensity=OFTEN,
        )
        events: list[Any] = []
        sup.on_lifecycle_event(events.append)
        before = await refs(sup)
        await sup.terminate_child("s1")
        before["s2"].cast("crash")
        await replaced(sup, "s2", before["s2"])
        before["t"].cast(("end", "normal"))
        await removed(sup, "t")
        assert await sup.is_running()
        before["s3"].cast(("end", "normal"))
        await ended(sup, events)
        assert [entry["child"] for entry in journal.lines("end")][-3:] == ["s3", "s2", "a"]

    stage.run(main())


def test_all_significant_ends_shut_it_down(stage: Stage, journal: Journal) -> None:
    """Cases 109 and 115."""

    async def main() -> None:
        sup = await supervise(
            stage.here,
            [
                scribe(journal, "a"),
                scribe(journal, "s1", restart="temporary", significant=True),
                scribe(journal, "s2", restart="transient", significant=True),
            ],
            auto_shutdown="all_significant",
        )
        events: list[Any] = []
        sup.on_lifecycle_event(events.append)
        before = await refs(sup)
        before["s1"].cast("crash")
        await removed(sup, "s1")
        assert await sup.is_running()
        before["s2"].cast(("end", "normal"))
        await ended(sup, events)
        assert [entry["child"] for entry in journal.lines("end")] == ["s1", "s2", "a"]

    stage.run(main())


def test_bystanders_of_a_group_restart_do_not_shut_it_down(stage: Stage, journal: Journal) -> None:
    """Case 112."""

    async def main() -> None:
        sup = await supervise(
            stage.here,
            [scribe(journal, "a"), scribe(journal, "s", restart="transient", significant=True)],
            strategy="one_for_all",
            auto_shutdown="any_significant",
        )
        before = await refs(sup)
        before["a"].cast("crash")
        await replaced(sup, "s", before["s"])
        assert list(await running(sup, 2)) == ["a", "s"]
        await sup.stop()

    stage.run(main())
