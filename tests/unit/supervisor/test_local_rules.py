"""The local Supervisor with real processes: rules that others' suites state, by their numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import run, turns, until
from family import Boom, Diary, Plain, child, family, kill, ref_of, settled, statuses

from noex.runtime.errors import BadReturnValueError, InvalidChildSpecError
from noex.runtime.kernel import Kernel
from noex.runtime.returns import Ignore, NoReply, Ok, Reply, Stop
from noex.supervisor.errors import ChildNotFoundError, ChildStartError, DuplicateChildError
from noex.supervisor.spec import ChildSpec, ChildTemplate

GROUPS = pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])


async def refs(sup: Any) -> dict[str, Any]:
    return {info.id: info.ref for info in await sup.get_children()}


async def end(sup: Any, child_id: str, reason: Any) -> None:
    ref = await ref_of(sup, child_id)
    ref.cast(("end", reason))
    await ref.wait(timeout=3.0)


# ---------------------------------------------------------------------- administration


def test_case_13_a_spec_can_be_read_back_and_an_unknown_id_is_none() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", ChildSpec("a", Plain))
        info = await sup.get_child("a")
        assert info is not None
        assert (info.spec.restart, info.spec.shutdown) == ("permanent", 5.0)
        assert await sup.get_child("b") is None

    run(main)


def test_case_23_a_wrong_spec_is_the_callers_even_if_there_is_no_supervisor() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        await sup.stop()
        with pytest.raises(InvalidChildSpecError, match="restart"):
            await sup.start_child(ChildSpec("a", Plain, restart="always"))  # type: ignore[arg-type]

    run(main)


def test_case_31_restart_child_of_what_runs_what_is_restarting_and_what_is_unknown() -> None:
    """OTP restarts what is stopped only; here the running one is stopped first."""

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, backoff=30.0))
        old = await ref_of(sup, "a")
        new = await sup.restart_child("a")
        assert new != old and not await old.is_alive() and await ref_of(sup, "a") == new
        diary.fail("a", Boom("once"))
        new.exit("kill")
        await until(lambda: ("fail", "a") in diary.lines)
        await turns()  # until the supervisor has heard of it
        assert await statuses(sup) == {"a": "restarting"}
        third = await sup.restart_child("a")  # now, not when its backoff is over
        assert await ref_of(sup, "a") == third and await statuses(sup) == {"a": "running"}
        with pytest.raises(ChildNotFoundError):
            await sup.restart_child("b")

    run(main)


def test_case_34_children_of_a_template_by_their_ids() -> None:
    async def main(kernel: Kernel) -> None:
        template = ChildTemplate(Plain)
        sup = await family(kernel, "simple_one_for_one", child_template=template)
        first, second = [await sup.start_child([]) for _ in range(2)]
        stranger = await kernel.start(Plain)
        assert stranger is not None
        assert await sup.which_child(stranger) is None
        await sup.terminate_child("child_1")
        assert not await first.is_alive() and await stranger.is_alive()
        with pytest.raises(ChildNotFoundError):
            await sup.terminate_child("child_1")
        third = await sup.restart_child("child_2")
        assert not await second.is_alive()
        assert await refs(sup) == {"child_2": third}

    run(main)


def test_case_35_which_child_in_each_phase_of_a_life() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary))
        old = await ref_of(sup, "a")
        assert await sup.which_child(old) == "a"
        await kill(sup, "a")
        await settled(sup)
        assert await sup.which_child(old) is None
        new = await ref_of(sup, "a")
        assert await sup.which_child(new) == "a"
        await sup.terminate_child("a")
        assert await sup.which_child(new) is None and await sup.get_children() == []

    run(main)


def test_case_38_children_whose_restart_fails_come_back_by_themselves() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        specs = [child(name, diary, backoff=0.01) for name in "abc"]
        sup = await family(kernel, "one_for_one", *specs, most=50)
        for name in "ab":
            diary.fail(name, *[Boom(name)] * 3)
        await kill(sup, "a", "b")
        await until(lambda: diary.lines.count(("fail", "a")) == 3)
        assert await sup.count_children() == 3
        assert (await statuses(sup))["c"] == "running"
        assert await settled(sup) == dict.fromkeys("abc", "running")
        for name in "abc":
            await sup.terminate_child(name)
        assert await sup.count_children() == 0

    run(main)


@pytest.mark.parametrize("end_by", ["kill", "normal", "crash", "terminate_child"])
def test_cases_43_47_whose_id_is_free(end_by: str) -> None:
    """Of a temporary child at once, however it ended; of the others after `terminate_child`, and
    of a transient one when it has done its work. While a child is there its id is a duplicate."""

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        for restart in ("temporary", "transient", "permanent"):
            sup = await family(kernel, "one_for_one", child("a", diary, restart=restart))
            ref = await ref_of(sup, "a")
            with pytest.raises(DuplicateChildError):
                await sup.start_child(child("a", diary, restart=restart))
            if end_by == "terminate_child":
                await sup.terminate_child("a")
            elif end_by == "normal":
                await end(sup, "a", "normal")
            elif end_by == "crash":
                ref.cast("crash")
            else:
                ref.exit("kill")
            await ref.wait(timeout=3.0)
            await settled(sup)
            gone = restart == "temporary" or end_by == "terminate_child"
            if gone or (restart == "transient" and end_by == "normal"):
                assert await sup.start_child(child("a", diary, restart=restart)) != ref
            else:
                with pytest.raises(DuplicateChildError):
                    await sup.start_child(child("a", diary, restart=restart))

    run(main)


# ---------------------------------------------------------------------- restarts


@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "done")])
@GROUPS
def test_case_58_a_transient_child_that_is_done_touches_no_sibling(
    strategy: Any, reason: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        specs = [child("a", diary), child("t", diary, restart="transient"), child("b", diary)]
        sup = await family(kernel, strategy, *specs, most=0)
        before = await refs(sup)
        await end(sup, "t", reason)
        await turns()
        del before["t"]
        assert await refs(sup) == before

    run(main)


@pytest.mark.parametrize("reason", ["odd", "normal"])
@GROUPS
def test_case_59_the_end_of_a_temporary_child_touches_no_sibling(
    strategy: Any, reason: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        specs = [child("a", diary), child("x", diary, restart="temporary"), child("b", diary)]
        sup = await family(kernel, strategy, *specs, most=0)
        before = await refs(sup)
        await end(sup, "x", reason)
        await turns()
        del before["x"]
        assert await refs(sup) == before

    run(main)


def test_case_61_what_terminate_child_removed_no_group_restart_brings_back() -> None:
    """Decided against OTP: `terminate_child` removes."""

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_all", child("a", diary), child("b", diary))
        await sup.terminate_child("b")
        await kill(sup, "a")
        assert await settled(sup) == {"a": "running"}

    run(main)


@pytest.mark.parametrize(
    ("outcome", "left"),
    [(Ignore, {"a": "ignored"}), (Boom("no"), {"a": "restarting"})],
    ids=["ignore", "error"],
)
def test_case_62_what_a_restart_may_come_to(outcome: Any, left: dict[str, str]) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, backoff=30.0))
        ref = await ref_of(sup, "a")
        diary.fail("a", outcome)
        ref.exit("kill")
        await ref.wait(timeout=3.0)
        await until(lambda: not diary.faults["a"])
        await turns()
        assert await statuses(sup) == left and await sup.count_children() == 1

    run(main)


def test_case_71_one_of_many_of_a_template_crashes() -> None:
    async def main(kernel: Kernel) -> None:
        template = ChildTemplate(Plain)
        sup = await family(kernel, "simple_one_for_one", child_template=template, most=2)
        for _ in range(2):
            await sup.start_child([])
        first = await refs(sup)
        for _ in range(2):
            await kill(sup, "child_1")
            await settled(sup)
        now = await refs(sup)
        assert now["child_2"] == first["child_2"] and now["child_1"] != first["child_1"]
        await kill(sup, "child_1")
        reason = await sup.wait(timeout=3.0)
        assert reason[0] == "shutdown" and not await first["child_2"].is_alive()

    run(main)


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_case_74_a_template_child_that_ignores_its_third_restart_is_removed(restart: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        template = ChildTemplate(child("x", diary).behavior, restart=restart)
        sup = await family(kernel, "simple_one_for_one", child_template=template, most=10)
        await sup.start_child(["x", diary])
        for _ in range(2):
            await kill(sup, "child_1")
            assert await settled(sup) == {"child_1": "running"}
        diary.fail("x", Ignore)
        await kill(sup, "child_1")
        assert await settled(sup) == {} and await sup.is_running()

    run(main)


# ---------------------------------------------------------------------- the end


@pytest.mark.parametrize("simple", [False, True])
def test_cases_97_101_a_child_may_answer_the_order_to_stop_with_another_reason(
    simple: bool,
) -> None:
    class Answers(Plain):
        """It traps exits, and ends for a reason of its own in place of the one it was told."""

        def terminate(self, reason: Any, state: Any) -> None:
            reasons.append(reason)
            raise Boom("in the end")

    reasons: list[Any] = []

    async def main(kernel: Kernel) -> None:
        if simple:
            template = ChildTemplate(Answers)
            sup = await family(kernel, "simple_one_for_one", child_template=template)
            for _ in range(3):
                await sup.start_child([])
        else:
            sup = await family(kernel, "one_for_one", *[ChildSpec(x, Answers) for x in "abc"])
        await sup.stop("normal")
        assert await sup.wait(timeout=1.0) == "normal"
        assert reasons == ["shutdown"] * 3 and kernel.process_count == 0

    run(main)


def test_cases_98_103_a_stop_treats_each_child_as_its_spec_says() -> None:
    """Killed past its time, killed at once, in time; of every restart type."""

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(
            kernel,
            "one_for_one",
            child("late", diary, 3600.0, shutdown=0.02, restart="temporary"),
            child("brutal", diary, shutdown="brutal_kill", restart="transient"),
            child("tidy", diary, 0.01, shutdown="infinity"),
        )
        gone: dict[str, Any] = {}
        for name, ref in (await refs(sup)).items():
            monitor = kernel.monitor(ref)
            monitor.waiter().add_done_callback(
                lambda done, name=name: gone.setdefault(name, done.result())
            )
        await sup.stop("normal")
        await turns()
        assert gone == {"tidy": "shutdown", "brutal": "killed", "late": "killed"}
        assert list(gone) == ["tidy", "brutal", "late"]
        assert ("end", "brutal") not in diary.lines and await sup.wait() in ("normal", "noproc")

    run(main)


def test_case_104_terminate_child_of_what_is_restarting() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, backoff=0.02), most=1000)
        diary.fail("a", *[Boom("again")] * 1000)
        (await ref_of(sup, "a")).exit("kill")
        await until(lambda: diary.lines.count(("fail", "a")) >= 2)
        await asyncio.wait_for(sup.terminate_child("a"), 2.0)
        assert await sup.count_children() == 0
        before = len(diary.lines)
        await turns(50)
        assert len(diary.lines) == before

    run(main)


# ---------------------------------------------------------------------- significant children


@pytest.mark.parametrize("auto_shutdown", ["never", "any_significant", "all_significant"])
@pytest.mark.parametrize("how", ["terminate_child", "kill", "crash", "normal"])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
def test_cases_106_107_a_child_that_is_not_significant_never_ends_its_supervisor(
    auto_shutdown: Any, how: str, restart: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        other = child("other", diary)
        one = child("a", diary, restart=restart)
        sup = await family(kernel, "one_for_one", one, other, auto_shutdown=auto_shutdown)
        ref = await ref_of(sup, "a")
        if how == "terminate_child":
            await sup.terminate_child("a")
        elif how == "normal":
            ref.cast(("end", "normal"))
        elif how == "crash":
            ref.cast("crash")
        else:
            ref.exit("kill")
        await ref.wait(timeout=3.0)
        found = await settled(sup)
        back = restart == "transient" and how in ("kill", "crash")
        assert found == ({"a": "running"} if back else {}) | {"other": "running"}
        assert await sup.is_running()

    run(main)


@pytest.mark.parametrize("rubbish", [NoReply(), Stop(), Reply(1), Ok])
def test_case_7_a_child_whose_init_returns_rubbish_is_the_error_of_the_start(rubbish: Any) -> None:
    class Rubbish(Plain):
        def init(self, *args: Any) -> Any:
            return rubbish

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        with pytest.raises(ChildStartError) as caught:
            await sup.start_child(ChildSpec("a", Rubbish))
        assert isinstance(caught.value.__cause__, BadReturnValueError)
        assert await statuses(sup) == {}

    run(main)
