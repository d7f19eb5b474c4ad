"""Each error class of the reference, with its fields, from the call that the reference names."""

from __future__ import annotations

from typing import Any

import pytest
from arena import Stage
from cluster_actors import Boom, Journal
from failover import infos, refs, removed, replaced, running, scribe, supervise

from noex import (
    ChildSpec,
    ChildStartError,
    ChildTemplate,
    DistributedBehaviorNotFoundError,
    DistributedChildNotFoundError,
    DistributedDuplicateChildError,
    DistributedInvalidSimpleOneForOneError,
    DistributedMaxRestartsExceededError,
    DistributedMissingChildTemplateError,
    DistributedSupervisorError,
    InvalidChildSpecError,
    MessageSerializationError,
    NoAvailableNodeError,
    RestartIntensity,
)

pytestmark = pytest.mark.slow

NOWHERE = "nobody@127.0.0.1:1"


async def refused(stage: Stage, error: type[Exception], *children: Any, **options: Any) -> Any:
    """What `start` raises; it must leave nothing behind."""
    with pytest.raises(error) as caught:
        await supervise(stage.here, children, **{"name": "refused", **options})
    assert type(caught.value) is error
    assert await stage.node.whereis_global("refused") is None
    return caught.value


def test_start_needs_a_template_for_simple_one_for_one(stage: Stage) -> None:
    """Case 17."""

    async def main() -> None:
        error = await refused(
            stage, DistributedMissingChildTemplateError, strategy="simple_one_for_one"
        )
        assert error.supervisor_id == "refused"

    stage.run(main())


def test_start_refuses_static_children_of_simple_one_for_one(
    stage: Stage, journal: Journal
) -> None:
    async def main() -> None:
        error = await refused(
            stage,
            DistributedInvalidSimpleOneForOneError,
            scribe(journal, "a"),
            strategy="simple_one_for_one",
            child_template=ChildTemplate("scribe"),
        )
        assert error.supervisor_id == "refused"
        assert "children" in error.reason
        assert journal.lines() == []

    stage.run(main())


def test_start_names_a_behavior_that_no_node_has(stage: Stage, journal: Journal) -> None:
    async def main() -> None:
        error = await refused(
            stage,
            DistributedBehaviorNotFoundError,
            scribe(journal, "a"),
            ChildSpec("b", "no such thing"),
        )
        assert error.behavior_name == "no such thing"
        assert error.node_id == stage.node.id
        assert journal.story() == [("start", "a"), ("end", "a")]

    stage.run(main())


def test_start_and_start_child_raise_when_no_node_fits(stage: Stage, journal: Journal) -> None:
    async def main() -> None:
        selector = {"node": NOWHERE}
        error = await refused(
            stage, NoAvailableNodeError, scribe(journal, "a", node_selector=selector)
        )
        assert (error.child_id, error.selector) == ("a", selector)
        sup = await supervise(stage.here, [])
        with pytest.raises(NoAvailableNodeError) as caught:
            await sup.start_child(scribe(journal, "b", node_selector=selector))
        assert (caught.value.child_id, caught.value.selector) == ("b", selector)
        assert await sup.count_children() == 0
        assert journal.lines() == []
        await sup.stop()

    stage.run(main())


def test_a_third_child_that_fails_undoes_the_first_two(stage: Stage, journal: Journal) -> None:
    """Cases 7, 8 and 10."""

    async def main() -> None:
        journal.fail("c", "raise")
        error = await refused(stage, ChildStartError, *(scribe(journal, c) for c in "abcd"))
        assert (error.supervisor_id, error.child_id, error.outcome) == ("refused", "c", "failed")
        failure = error.__cause__
        assert type(failure.__cause__ or failure) is Boom
        assert journal.story() == [("start", "a"), ("start", "b"), ("end", "b"), ("end", "a")]

    stage.run(main())


def test_the_wrong_kind_of_argument_for_the_strategy(stage: Stage, journal: Journal) -> None:
    async def main() -> None:
        plain = await supervise(stage.here, [], name="plain")
        with pytest.raises(DistributedInvalidSimpleOneForOneError) as caught:
            await plain.start_child([{"task_id": 1}])
        assert caught.value.supervisor_id == "plain"
        assert "ChildSpec" in caught.value.reason
        simple = await supervise(
            stage.here,
            [],
            name="simple",
            strategy="simple_one_for_one",
            child_template=ChildTemplate("scribe", args=(journal.path,), restart="transient"),
        )
        with pytest.raises(DistributedInvalidSimpleOneForOneError) as caught:
            await simple.start_child(scribe(journal, "a"))
        assert caught.value.supervisor_id == "simple"
        first = await simple.start_child(["one", {"task_id": 1}])
        second = await simple.start_child(["two", {"task_id": 2}])
        assert await second.call("args") == [{"task_id": 2}]
        assert list(await infos(simple)) == ["child_1", "child_2"]
        assert await simple.which_child(first) == "child_1"
        await simple.terminate_child("child_2")
        await simple.start_child(["three"])
        assert list(await infos(simple)) == ["child_1", "child_3"]
        for sup in (plain, simple):
            await sup.stop()

    stage.run(main())


def test_ids_that_are_taken_and_ids_that_are_unknown(stage: Stage, journal: Journal) -> None:
    """Cases 26, 28 and 29; 43 for a temporary child, whose id is free as soon as it has ended."""

    async def main() -> None:
        sup = await supervise(stage.here, [scribe(journal, "a")], name="ids")
        with pytest.raises(DistributedDuplicateChildError) as taken:
            await sup.start_child(scribe(journal, "a"))
        assert (taken.value.supervisor_id, taken.value.child_id) == ("ids", "a")
        for call in (sup.terminate_child, sup.restart_child):
            with pytest.raises(DistributedChildNotFoundError) as unknown:
                await call("b")
            assert (unknown.value.supervisor_id, unknown.value.child_id) == ("ids", "b")
        ref = (await refs(sup))["a"]
        await sup.terminate_child("a")
        assert await ref.is_alive() is False
        assert journal.lines("end", "a")[0]["reason"] == "'shutdown'"
        for how in ("crash", ("end", "normal"), "kill"):
            ref = await sup.start_child(scribe(journal, "t", restart="temporary"))
            ref.exit("kill") if how == "kill" else ref.cast(how)
            await removed(sup, "t")
        await sup.stop()
        for late in (sup.terminate_child("a"), sup.restart_child("a"), sup.get_child("a")):
            with pytest.raises(DistributedSupervisorError) as gone:
                await late
            assert gone.value.supervisor_id == "ids"

    stage.run(main())


def test_a_manual_restart_that_fails_leaves_the_child_listed_and_untried(
    stage: Stage, journal: Journal
) -> None:
    """Case 11."""

    async def main() -> None:
        sup = await supervise(stage.here, [scribe(journal, c) for c in "ab"], name="manual")
        journal.fail("a", "raise")
        with pytest.raises(ChildStartError) as failed:
            await sup.restart_child("a")
        assert (failed.value.supervisor_id, failed.value.child_id) == ("manual", "a")
        info = await sup.get_child("a")
        assert (info.status, info.ref) == ("pending", None)
        assert len(journal.starts("a")) == 1
        await sup.restart_child("a")
        assert list(await running(sup, 2)) == ["a", "b"]
        assert (await sup.get_stats()).total_restarts == 1
        await sup.stop()

    stage.run(main())


def test_arguments_that_cannot_travel_are_refused_where_they_are_given(
    stage: Stage, journal: Journal
) -> None:
    async def main() -> None:
        sup = await supervise(stage.here, [])
        with pytest.raises(MessageSerializationError) as caught:
            await sup.start_child(scribe(journal, "a", {"conn": object()}))
        assert caught.value.path.startswith("args[2]")
        assert await sup.count_children() == 0
        with pytest.raises(InvalidChildSpecError):
            ChildSpec("b", "scribe", restart="sometimes")
        await sup.stop()

    stage.run(main())


def test_too_many_restarts_are_the_cause_of_every_later_error(
    stage: Stage, journal: Journal
) -> None:
    """Cases 64, 77 and 82: also of a permanent child that ends normally."""

    async def main() -> None:
        for number, how in enumerate(("crash", ("end", "normal"))):
            name = f"strict-{number}"
            sup = await supervise(
                stage.here,
                [scribe(journal, f"{name}-{c}") for c in "abc"],
                name=name,
                restart_intensity=RestartIntensity(max_restarts=1, within=60.0),
            )
            first = (await refs(sup))[f"{name}-b"]
            first.cast(how)
            second = (await replaced(sup, f"{name}-b", first)).ref
            second.cast(how)
            kind, error = await sup.wait(timeout=20.0)
            assert (kind, type(error)) == ("shutdown", DistributedMaxRestartsExceededError)
            assert (error.supervisor_id, error.max_restarts, error.within) == (name, 1, 60.0)
            with pytest.raises(DistributedSupervisorError) as gone:
                await sup.get_children()
            assert type(gone.value.__cause__) is DistributedMaxRestartsExceededError
            ends = [entry["child"] for entry in journal.lines("end")][-2:]
            assert ends == [f"{name}-c", f"{name}-a"]
            assert await stage.node.whereis_global(name) is None

    stage.run(main())
