"""The local Supervisor with real processes: start, specs and administration (cases 1 to 47)."""

from __future__ import annotations

import asyncio

import pytest
from actors import run, turns
from family import Bare, Boom, Child, Diary, Plain, child, family, kill, ref_of, settled, statuses

from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.errors import (
    BehaviorNotFoundError,
    InitTimeoutError,
    InvalidChildSpecError,
    InvalidOptionError,
    NameTakenError,
    UnhandledMessageError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.returns import Ignore
from noex.supervisor import errors as e
from noex.supervisor.local import Supervisor
from noex.supervisor.spec import ChildSpec, ChildTemplate


def test_case_1_a_supervisor_without_children() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        assert await sup.is_running()
        assert await sup.count_children() == 0
        await sup.stop("shutdown")
        assert not await sup.is_running()
        assert await sup.wait() == "shutdown"

    run(main)


def test_children_start_in_order_with_their_arguments() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", *[child(c, diary) for c in "abc"])
        assert diary.lines == [("start", "a"), ("start", "b"), ("start", "c")]
        infos = await sup.get_children()
        assert [info.id for info in infos] == ["a", "b", "c"]
        for info in infos:
            assert info.status == "running"
            assert info.node_id == kernel.node_id
            assert info.started_at is not None
            assert await info.ref.call("fence") == (0, info.generation)
            assert await sup.which_child(info.ref) == info.id
        assert await sup.which_child(sup.ref) is None
        assert await sup.get_child("x") is None

    run(main)


def test_case_10_an_initial_failure_leaves_nothing_behind() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        diary.fail("c", Boom("no"))
        with pytest.raises(e.ChildStartError) as raised:
            await family(kernel, "one_for_one", *[child(c, diary) for c in "abcd"], name="tree")
        assert (raised.value.supervisor_id, raised.value.child_id) == ("tree", "c")
        assert isinstance(raised.value.__cause__, Boom)
        assert diary.lines == [
            ("start", "a"),
            ("start", "b"),
            ("fail", "c"),
            ("end", "b"),
            ("end", "a"),
        ]
        assert kernel.process_count == 0
        assert kernel.whereis("tree") is None

    run(main)


def test_a_start_that_takes_too_long_leaves_nothing_behind() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        diary.fail("b", asyncio.Event())
        with pytest.raises(InitTimeoutError):
            await family(kernel, "one_for_one", child("a", diary), child("b", diary), timeout=0.02)
        await turns()
        assert kernel.process_count == 0

    run(main)


def test_wrong_options_are_refused_before_anything_is_started() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        ok = child("a", diary)
        node = Bare(kernel)
        with pytest.raises(InvalidOptionError):
            await Supervisor.start(node, strategy="one_for_some", children=[ok])  # type: ignore[arg-type]
        with pytest.raises(e.DuplicateChildError):
            await Supervisor.start(node, children=[ok, ok])
        with pytest.raises(e.MissingChildTemplateError):
            await Supervisor.start(node, strategy="simple_one_for_one")
        with pytest.raises(InvalidChildSpecError):
            significant = child("s", diary, restart="transient", significant=True)
            await Supervisor.start(node, children=[ok, significant])
        with pytest.raises(InvalidChildSpecError):
            ChildSpec("a", dict)
        assert diary.lines == []
        assert kernel.process_count == 0

    run(main)


def test_a_name_is_taken_and_found() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", name="tree")
        assert sup.id == "tree"
        assert await Supervisor.find(Bare(kernel), "tree") == sup
        with pytest.raises(NameTakenError):
            await family(kernel, "one_for_one", name="tree")
        await sup.stop()
        with pytest.raises(e.SupervisorError):
            await Supervisor.find(Bare(kernel), "tree")
        again = await family(kernel, "one_for_one", name="tree")
        assert again != sup

    run(main)


def test_cases_4_5_a_child_that_ignores() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        diary.fail("x", Ignore, Ignore)
        diary.fail("p", Ignore)
        children = [child("x", diary, restart="temporary"), child("p", diary), child("a", diary)]
        sup = await family(kernel, "one_for_one", *children)
        assert await statuses(sup) == {"p": "ignored", "a": "running"}
        assert await sup.start_child(child("x", diary, restart="temporary")) is None
        assert await sup.count_children() == 2
        assert await sup.restart_child("p") == await ref_of(sup, "p")

    run(main)


def test_case_26_duplicates_and_unknown_ids() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary))
        with pytest.raises(e.DuplicateChildError):
            await sup.start_child(child("a", diary))
        with pytest.raises(e.ChildNotFoundError) as raised:
            await sup.terminate_child("x")
        assert (raised.value.supervisor_id, raised.value.child_id) == (sup.id, "x")
        with pytest.raises(e.ChildNotFoundError):
            await sup.restart_child("x")

    run(main)


def test_case_29_terminate_child_returns_when_the_process_is_gone() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, 0.02), child("b", diary))
        ref = await ref_of(sup, "a")
        await sup.terminate_child("a")
        assert not await ref.is_alive()
        assert diary.lines[-1] == ("end", "a")
        assert await statuses(sup) == {"b": "running"}
        assert await sup.start_child(child("a", diary)) != ref
        assert await statuses(sup) == {"b": "running", "a": "running"}

    run(main)


def test_restart_child_keeps_the_place_and_counts_for_that_child_only() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_all", *[child(c, diary) for c in "ab"], most=0)
        old, other = await ref_of(sup, "a"), await ref_of(sup, "b")
        new = await sup.restart_child("a")
        assert new != old
        assert await ref_of(sup, "b") == other
        assert [info.restart_count for info in await sup.get_children()] == [1, 0]
        assert list(await statuses(sup)) == ["a", "b"]

    run(main)


def test_case_11_a_failed_restart_child_leaves_the_child_listed() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary))
        diary.fail("a", Boom("no"))
        with pytest.raises(e.ChildStartError) as raised:
            await sup.restart_child("a")
        assert isinstance(raised.value.__cause__, Boom)
        assert await statuses(sup) == {"a": "pending"}
        assert "restart_child failed" in await sup.explain("a")
        await sup.restart_child("a")
        assert await statuses(sup) == {"a": "running"}

    run(main)


def test_a_start_child_that_fails_leaves_nothing_behind() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one")
        before = kernel.process_count
        diary.fail("a", Boom("no"))
        with pytest.raises(e.ChildStartError) as raised:
            await sup.start_child(child("a", diary))
        assert isinstance(raised.value.__cause__, Boom)
        assert kernel.process_count == before
        assert await sup.count_children() == 0

    run(main)


def test_simple_one_for_one() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        template = ChildTemplate(Plain, args=(1,), restart="transient")
        sup = await family(kernel, "simple_one_for_one", child_template=template)
        first, second = await sup.start_child([2]), await sup.start_child([])
        infos = await sup.get_children()
        assert [(info.id, info.ref) for info in infos] == [("child_1", first), ("child_2", second)]
        assert infos[0].spec.args == (1, 2)
        with pytest.raises(e.InvalidSimpleOneForOneError):
            await sup.start_child(child("a", diary))
        await sup.terminate_child("child_2")
        await sup.start_child([])
        assert list(await statuses(sup)) == ["child_1", "child_3"]

    run(main)


def test_a_child_by_registered_name() -> None:
    class Node(Bare):
        behaviors = BehaviorRegistry({"plain": Plain})

    async def main(kernel: Kernel) -> None:
        kernel.node = Node(kernel)
        sup = await Supervisor.start(kernel.node, children=[ChildSpec("a", "plain")])
        assert await (await ref_of(sup, "a")).call("hello") == "hello"
        with pytest.raises(e.ChildStartError) as raised:
            await sup.start_child(ChildSpec("b", "nobody"))
        assert isinstance(raised.value.__cause__, BehaviorNotFoundError)

    run(main)


def test_case_41_a_tree_restarts_its_leaf_or_its_branch() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()

        def branch(name: str, *leaves: str) -> ChildSpec:
            children = [child(leaf, diary) for leaf in leaves]
            return ChildSpec(
                name, Supervisor, kwargs={"children": children, "name": name}, shutdown="infinity"
            )

        top = await family(kernel, "one_for_all", branch("one", "a"), branch("two", "b"))
        one, two = [await Supervisor.find(Bare(kernel), name) for name in ("one", "two")]
        await two.start_child(child("c", diary))
        diary.clear()
        await kill(two, "b")
        assert await settled(two) == {"b": "running", "c": "running"}
        assert diary.lines == [("start", "b")]
        for _ in range(2):
            await kill(two, "b")
            await settled(two)
        await kill(two, "b")
        reason = await two.wait(timeout=3.0)
        assert isinstance(reason[1], e.MaxRestartsExceededError)
        await one.wait(timeout=3.0)
        while {info.status for info in await top.get_children()} != {"running"}:
            await asyncio.sleep(0)
        again = await Supervisor.find(Bare(kernel), "two")
        assert await statuses(again) == {"b": "running"}  # what was added is not remembered

    run(main)


def test_a_nested_supervisor_that_cannot_start_names_the_leaf() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        diary.fail("leaf", Boom("no"))
        inner = ChildSpec("sub", Supervisor, kwargs={"children": [child("leaf", diary)]})
        with pytest.raises(e.ChildStartError) as raised:
            await family(kernel, "one_for_one", inner)
        assert raised.value.child_id == "sub"
        cause = raised.value.__cause__
        assert isinstance(cause, e.ChildStartError)
        assert cause.child_id == "leaf"
        assert kernel.process_count == 0

    run(main)


def test_rule_12_a_child_that_asks_its_supervisor_from_init_gets_an_error() -> None:
    class Asking(Plain):
        async def init(self, diary: Diary) -> None:  # type: ignore[override]
            ref = self.kernel.whereis("tree")
            assert ref is not None
            try:
                await (await Supervisor.handle_of(ref, timeout=0.05)).count_children()
            except Exception as error:
                diary.note(type(error).__name__, "early")

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        await family(kernel, "one_for_one", ChildSpec("a", Asking, args=(diary,)), name="tree")
        assert diary.lines == [("SupervisorError", "early")]

    run(main)


def test_rule_12_a_child_that_changes_its_supervisor_from_init_gets_an_error() -> None:
    class Meddling(Child):
        async def init(self, who: str, diary: Diary) -> None:
            sup = diary.faults["sup"][0]
            assert await sup.count_children() == 1  # to ask is allowed
            try:
                await sup.start_child(child("more", diary))
            except Exception as error:
                diary.note(type(error).__name__, who)

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_all")
        diary.fail("sup", sup)
        await sup.start_child(ChildSpec("a", Meddling, args=("a", diary)))
        assert diary.lines == [("CallCycleError", "a")]

    run(main)


def test_rule_12_unknown_messages_do_not_hurt() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        sup.ref.send("what?")
        sup.ref.cast(("what", "now"))
        sup.ref.exit("because")
        with pytest.raises(UnhandledMessageError):
            await sup.ref.call(("what",))
        assert await sup.is_running()
        assert await sup.count_children() == 0

    run(main)


def test_rule_12_the_end_of_a_linked_stranger_does_not_hurt() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        stranger = await kernel.start(Plain)
        process = kernel.find(sup.ref)
        assert stranger is not None and process is not None
        kernel.link(process, stranger)
        stranger.exit("kill")
        await turns()
        assert await sup.is_running()

    run(main)
