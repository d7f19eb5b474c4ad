"""The local Supervisor with real processes: restarts (cases 49 to 89)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import run, turns, until
from family import (
    Boom,
    Diary,
    Plain,
    child,
    family,
    kill,
    ref_of,
    settled,
    statuses,
)

from noex.runtime.errors import ServerCrashedError
from noex.runtime.kernel import Kernel
from noex.supervisor import errors as e
from noex.supervisor.local import Supervisor
from noex.supervisor.spec import ChildSpec

REASONS: list[Any] = ["normal", "shutdown", ("shutdown", "x"), "odd", "kill"]


@pytest.mark.parametrize("reason", REASONS, ids=str)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_cases_49_to_56_restart_types(restart: Any, reason: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, restart=restart))
        old = await ref_of(sup, "a")
        if reason == "kill":
            old.exit("kill")
        else:
            old.cast(("end", reason))
        await old.wait(timeout=3.0)
        crashed = reason in ("odd", "kill")
        if restart == "permanent" or (restart == "transient" and crashed):
            assert await settled(sup) == {"a": "running"}
            assert await ref_of(sup, "a") != old
        else:
            assert await settled(sup) == {}

    run(main)


def test_a_crash_in_a_handler_is_a_restart_and_the_callers_error() -> None:
    async def main(kernel: Kernel) -> None:
        class Fragile(Plain):
            def handle_call(self, message: Any, state: int) -> Any:
                raise Boom(message)

        sup = await family(kernel, "one_for_one", ChildSpec("a", Fragile))
        with pytest.raises(ServerCrashedError):
            await (await ref_of(sup, "a")).call("x")
        assert await settled(sup) == {"a": "running"}
        assert "Boom" in await sup.explain("a")

    run(main)


def test_a_child_that_ends_normally_right_after_init_is_not_taken_for_a_crash() -> None:
    """Its end may be older than the supervisor's look at it; the reason must not get lost."""

    class Brief(Plain):
        def init(self, *args: Any) -> int:
            self.kernel.ask_to_stop(self.ref, "normal")
            return 0

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", most=0)
        await sup.start_child(ChildSpec("a", Brief, restart="transient"))
        await turns()
        assert await statuses(sup) == {}
        assert await sup.is_running()

    run(main)


def test_cases_65_68_group_restarts_with_real_processes() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        for strategy, stopped, restarted in [
            ("one_for_one", "", "b"),
            ("one_for_all", "ca", "abc"),
            ("rest_for_one", "c", "bc"),
        ]:
            sup = await family(kernel, strategy, *[child(c, diary) for c in "abc"])
            old = {c: await ref_of(sup, c) for c in "abc"}
            diary.clear()
            await kill(sup, "b")
            await settled(sup)
            assert diary.lines == [
                *[("end", c) for c in stopped],
                *[("start", c) for c in restarted],
            ]
            for c in "abc":
                assert (await ref_of(sup, c) != old[c]) is (c in restarted)
                assert await old[c].is_alive() is (c not in restarted)
            await sup.stop()

    run(main)


@pytest.mark.parametrize(
    ("strategy", "restarts"), [("one_for_one", 2), ("one_for_all", 1), ("rest_for_one", 1)]
)
def test_rule_5_two_children_that_die_in_the_same_instant(strategy: str, restarts: int) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, strategy, *[child(c, diary) for c in "ab"], most=restarts)
        await kill(sup, "a", "b")
        assert await settled(sup) == {"a": "running", "b": "running"}
        await kill(sup, "a")
        await sup.wait(timeout=3.0)

    run(main)


def test_cases_64_77_giving_up() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        events: list[Any] = []
        sup = await family(kernel, "one_for_one", *[child(c, diary) for c in "abc"], name="tree")
        sup.on_lifecycle_event(events.append)
        for _ in range(3):
            await kill(sup, "b")
            await settled(sup)
        diary.clear()
        await kill(sup, "b")
        kind, error = await sup.wait(timeout=3.0)
        assert kind == "shutdown"
        assert isinstance(error, e.MaxRestartsExceededError)
        assert (error.supervisor_id, error.max_restarts, error.within) == ("tree", 3, 5.0)
        assert diary.lines == [("end", "c"), ("end", "a")]
        assert kernel.whereis("tree") is None
        await turns()
        assert events[-1].reason == "max_restarts_exceeded"
        with pytest.raises(e.SupervisorError) as raised:
            await sup.get_children()
        assert raised.value.__cause__ is error

    run(main)


def test_case_83_a_start_that_fails_is_tried_again() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary), most=3)
        diary.fail("a", Boom(1), Boom(2))
        await kill(sup, "a")
        assert await settled(sup) == {"a": "running"}
        assert diary.lines[-3:] == [("fail", "a"), ("fail", "a"), ("start", "a")]
        await kill(sup, "a")
        await sup.wait(timeout=3.0)

    run(main)


def test_case_85_a_slow_restart_does_not_block_the_supervisor() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        gate = asyncio.Event()
        sup = await family(kernel, "one_for_one", child("a", diary))
        diary.fail("a", gate)
        await kill(sup, "a")
        await until(lambda: diary.lines[-1] == ("wait", "a"))
        assert await statuses(sup) == {"a": "restarting"}
        with pytest.raises(e.DuplicateChildError):
            await sup.start_child(child("a", diary))
        await sup.start_child(child("b", diary))
        await sup.terminate_child("a", timeout=3.0)  # its init hangs: it is cut short
        assert await statuses(sup) == {"b": "running"}

    run(main)


def test_case_85_a_stop_during_a_hanging_restart_does_not_hang() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "rest_for_one", child("a", diary), child("b", diary))
        diary.fail("b", asyncio.Event())
        await kill(sup, "a")
        await until(lambda: diary.lines[-1] == ("wait", "b"))
        assert await statuses(sup) == {"a": "running", "b": "restarting"}
        await sup.stop(timeout=3.0)
        assert kernel.process_count == 0

    run(main)


def test_backoff_is_kept() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary, backoff=0.05))
        diary.fail("a", Boom(1))
        failed_at = kernel.clock.now()
        await kill(sup, "a")
        assert await settled(sup) == {"a": "running"}
        assert kernel.clock.now() - failed_at >= 0.05

    run(main)


@pytest.mark.parametrize(("restart", "comes_back"), [("transient", False), ("permanent", True)])
def test_case_89_a_nested_supervisor_that_gives_up(restart: Any, comes_back: bool) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        nested = ChildSpec(
            "sub",
            Supervisor,
            kwargs={"children": [child("leaf", diary)], "name": "sub"},
            restart=restart,
        )
        top = await family(kernel, "one_for_one", nested)
        old = await ref_of(top, "sub")
        sub = await Supervisor.handle_of(old)
        for _ in range(4):
            await kill(sub, "leaf")
            await turns(20)
        await old.wait(timeout=3.0)
        assert await settled(top) == ({"sub": "running"} if comes_back else {})

    run(main)


def test_a_zombie_gets_no_successor_beside_it() -> None:
    class Clinging(Plain):
        async def handle_cast(self, message: Any, state: int) -> Any:
            started, release = message
            started.set()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

    async def main(kernel: Kernel) -> None:
        for replace in (False, True):
            spec = ChildSpec("a", Clinging, replace_zombies=replace)
            sup = await family(kernel, "one_for_one", spec)
            started, release = asyncio.Event(), asyncio.Event()
            ref = await ref_of(sup, "a")
            ref.cast((started, release))
            await started.wait()
            ref.exit("kill")
            await ref.wait(timeout=3.0)
            assert ref in kernel.zombies.values()
            if replace:
                assert await settled(sup) == {"a": "running"}
                release.set()
            else:
                assert await settled(sup) == {"a": "pending"}
                assert "zombie" in await sup.explain("a")
                release.set()
                await until(lambda: not kernel.zombies)
                await until_running(sup, "a")
            await until(lambda: not kernel.zombies)
            await sup.stop()

    run(main)


async def until_running(sup: Any, child_id: str) -> None:
    end = asyncio.get_running_loop().time() + 3.0
    while (await statuses(sup)).get(child_id) != "running":
        assert asyncio.get_running_loop().time() < end, "it does not come back"
        await asyncio.sleep(0)
