"""The local Supervisor with real processes: how it ends (cases 91 to 116)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Gate, run, turns, until
from family import Child, Diary, Plain, child, family, kill, ref_of, settled, statuses

from noex.runtime.kernel import Kernel
from noex.supervisor import errors as e
from noex.supervisor.local import Supervisor
from noex.supervisor.spec import ChildSpec, ChildTemplate

FOR_EVER = 3600.0


def test_rule_8_children_are_stopped_in_reverse_order_one_by_one() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", *[child(c, diary, 0.01) for c in "abc"])
        refs = [await ref_of(sup, c) for c in "abc"]
        monitors = [kernel.monitor(ref) for ref in refs]
        diary.clear()
        await sup.stop()
        assert diary.lines == [("end", "c"), ("end", "b"), ("end", "a")]
        assert [await monitor.wait() for monitor in monitors] == ["shutdown"] * 3
        assert await sup.wait() == "normal"
        await sup.stop()  # it is gone: fine

    run(main)


def test_case_92_a_child_that_takes_too_long_is_killed() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        slow = child("slow", diary, FOR_EVER, shutdown=0.02)
        sup = await family(kernel, "one_for_one", child("quick", diary), slow)
        monitors = {c: kernel.monitor(await ref_of(sup, c)) for c in ("quick", "slow")}
        await sup.stop()
        assert await monitors["slow"].wait() == "killed"
        assert await monitors["quick"].wait() == "shutdown"

    run(main)


def test_case_94_brutal_kill_runs_no_terminate() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, shutdown="brutal_kill"))
        monitor = kernel.monitor(await ref_of(sup, "a"))
        diary.clear()
        await sup.stop()
        assert await monitor.wait() == "killed"
        assert diary.lines == []

    run(main)


def test_case_91_infinity_waits() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        class Patient(Plain):
            async def terminate(self, reason: Any, state: int) -> None:
                await gate.passage()

        sup = await family(kernel, "one_for_one", ChildSpec("a", Patient, shutdown="infinity"))
        monitor = kernel.monitor(await ref_of(sup, "a"))
        stopping = asyncio.create_task(sup.stop())
        await gate.reached.wait()
        await turns(50)
        assert monitor.active
        assert await statuses(sup) == {"a": "stopping"}
        with pytest.raises(e.SupervisorError):
            await sup.start_child(ChildSpec("b", Plain))
        gate.opened.set()
        await stopping
        assert await monitor.wait() == "shutdown"

    run(main)


def test_case_95_template_children_are_stopped_all_at_once() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()
        ended: list[Any] = []

        class Worker(Plain):
            async def terminate(self, reason: Any, state: int) -> None:
                ended.append(self.ref)
                await gate.passage()

        template = ChildTemplate(Worker, shutdown="infinity")
        sup = await family(kernel, "simple_one_for_one", child_template=template)
        for _ in range(10):
            await sup.start_child([])
        stopping = asyncio.create_task(sup.stop())
        await until(lambda: len(ended) == 10)
        gate.opened.set()
        await stopping

    run(main)


def test_case_100_a_child_that_unlinked_itself_cannot_hang_its_end() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary), child("b", diary))
        for c in "ab":
            ref = await ref_of(sup, c)
            ref.cast(("unlink", sup.ref))
            await ref.call("sync")
        await sup.terminate_child("a", timeout=3.0)
        await kill(sup, "b")
        assert await settled(sup) == {"b": "running"}
        await sup.stop(timeout=3.0)

    run(main)


def test_an_exit_signal_of_the_parent_ends_the_whole_tree_in_order() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        leaves = [child(c, diary, 0.01) for c in "ab"]
        nested = ChildSpec("sub", Supervisor, kwargs={"children": leaves}, shutdown="infinity")
        top = await family(kernel, "one_for_one", child("first", diary), nested)
        sub = await Supervisor.handle_of(await ref_of(top, "sub"))
        told: list[Any] = []
        sub.on_lifecycle_event(told.append)
        diary.clear()
        await top.stop(timeout=3.0)
        assert diary.lines == [("end", "b"), ("end", "a"), ("end", "first")]
        await turns()
        assert [event.type for event in told] == [
            "child_stopped",
            "child_stopped",
            "supervisor_stopped",
        ]
        assert told[-1].reason == "shutdown"

    run(main)


def test_an_exit_signal_while_a_report_is_on_its_way_does_not_hang() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        gate = asyncio.Event()
        nested = ChildSpec(
            "sub", Supervisor, kwargs={"children": [child("a", diary)]}, shutdown="infinity"
        )
        top = await family(kernel, "one_for_one", nested)
        sub = await Supervisor.handle_of(await ref_of(top, "sub"))
        diary.fail("a", gate)
        await kill(sub, "a")
        await until(lambda: diary.lines[-1] == ("wait", "a"))
        gate.set()
        await top.stop(timeout=3.0)
        assert kernel.process_count == 0

    run(main)


def test_the_node_ends_a_tree_in_order() -> None:
    diary = Diary()

    async def main(kernel: Kernel) -> None:
        await family(kernel, "one_for_one", *[child(c, diary) for c in "abc"])
        diary.clear()

    run(main)
    assert diary.lines == [("end", "c"), ("end", "b"), ("end", "a")]


def test_children_do_not_outlive_a_killed_supervisor() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", *[child(c, diary) for c in "ab"])
        monitors = [kernel.monitor(await ref_of(sup, c)) for c in "ab"]
        stream = sup.events()
        sup.ref.exit("kill")
        assert [await monitor.wait(3.0) for monitor in monitors] == ["killed", "killed"]
        assert [event async for event in stream] == []
        assert kernel.process_count == 0

    run(main)


@pytest.mark.parametrize("how", ["crash", "terminate", "normal"])
@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_cases_109_110_significant_children(mode: Any, how: str) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        fields: dict[str, Any] = {"restart": "transient", "significant": True}
        children = [child("s", diary, **fields), child("z", diary)]
        sup = await family(kernel, "one_for_one", *children, auto_shutdown=mode)
        ref = await ref_of(sup, "s")
        if how == "normal":
            ref.cast(("end", "normal"))
            assert await sup.wait(timeout=3.0) == "shutdown"
            assert diary.lines[-1] == ("end", "z")
        elif how == "crash":
            ref.exit("kill")
            await ref.wait(timeout=3.0)
            assert await settled(sup) == {"s": "running", "z": "running"}
        else:
            await sup.terminate_child("s")
            assert await settled(sup) == {"z": "running"}

    run(main)


@pytest.mark.parametrize(("significant", "ends"), [(True, True), (False, False)])
def test_case_113_escalation_through_a_significant_supervisor(
    significant: bool, ends: bool
) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        leaf = child("leaf", diary, restart="temporary", significant=True)
        nested = ChildSpec(
            "sub",
            Supervisor,
            kwargs={"children": [leaf], "auto_shutdown": "any_significant"},
            restart="transient",
            significant=significant,
        )
        top = await family(kernel, "one_for_one", nested, auto_shutdown="any_significant")
        sub = await Supervisor.handle_of(await ref_of(top, "sub"))
        await kill(sub, "leaf")
        await sub.wait(timeout=3.0)
        if ends:
            assert await top.wait(timeout=3.0) == "shutdown"
        else:
            assert await settled(top) == {}
            assert await top.is_running()

    run(main)


def test_a_stop_from_a_child_of_its_own_tree_ends_it() -> None:
    class Suicidal(Child):
        def handle_cast(self, message: Any, state: Any) -> None:
            self.kernel.ask_to_stop(message, "shutdown")

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", ChildSpec("a", Suicidal, args=("a", diary)))
        (await ref_of(sup, "a")).cast(sup.ref)
        assert await sup.wait(timeout=3.0) == "shutdown"

    run(main)
