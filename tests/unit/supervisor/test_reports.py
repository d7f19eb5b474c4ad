"""What a supervisor says in the log: each thing once, at the right level, with what one asks."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from actors import run, until
from family import Boom, Diary, child, family, kill, ref_of, settled

from noex.runtime.kernel import Kernel
from noex.supervisor.spec import ChildSpec

OF_SUPERVISORS = ("child_", "supervisor_", "node_failure")


def said(caplog: Any, *levels: int) -> list[dict[str, Any]]:
    """The events of supervisors, of these levels (none: of info and above)."""
    records = [record for record in caplog.records if record.name == "noex"]
    wanted = levels or (logging.INFO, logging.WARNING, logging.ERROR)
    events = [record.noex for record in records if record.levelno in wanted]
    return [event for event in events if event["event"].startswith(OF_SUPERVISORS)]


def words(caplog: Any, *levels: int) -> list[str]:
    return [event["event"] for event in said(caplog, *levels)]


def test_a_crash_that_is_restarted_is_told_once_with_its_restart(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "noex")

    async def main(kernel: Kernel) -> None:
        diary, heard = Diary(), []
        sup = await family(kernel, "one_for_one", child("a", diary), child("b", diary))
        for _ in range(3):  # nobody who listens makes it be said again
            sup.on_lifecycle_event(heard.append)
        for restarts in range(2):
            (await ref_of(sup, "a")).cast("crash")
            await until(lambda so_far=restarts: len(heard) == 3 * (so_far + 1))
        failed, restarted, again, _ = said(caplog)
        assert failed == {
            "event": "child_failed",
            "node": kernel.node_id,
            "supervisor": sup.id,
            "child": "a",
            "on": kernel.node_id,
            "reason": "Boom('a')",
            "restart": "permanent",
            "restart_count": 0,
        }
        assert restarted["event"] == "child_restarted" and restarted["restart_count"] == 1
        assert restarted["supervisor"] == sup.id and restarted["child"] == "a"
        assert again["event"] == "child_failed" and again["restart_count"] == 1
        assert words(caplog, logging.WARNING) == ["child_failed"] * 2

    run(main)


@pytest.mark.parametrize(
    ("restart", "reason", "told"),
    [
        ("permanent", "normal", True),
        ("permanent", "shutdown", True),
        ("transient", "normal", False),
        ("transient", ("shutdown", "done"), False),
        ("transient", "odd", True),
        ("transient", "kill", True),
        ("temporary", "normal", False),
        ("temporary", "odd", True),
    ],
)
def test_an_end_is_a_failure_unless_its_restart_type_allows_it(
    restart: Any, reason: Any, told: bool, caplog: Any
) -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", child("a", Diary(), restart=restart))
        ref = await ref_of(sup, "a")
        if reason == "kill":
            ref.exit("kill")
        else:
            ref.cast(("end", reason))
        await ref.wait(timeout=3.0)
        await settled(sup)
        assert words(caplog, logging.WARNING) == ["child_failed"] * told
        for event in said(caplog, logging.WARNING):
            assert event["restart"] == restart
            assert event["reason"] == repr("killed" if reason == "kill" else reason)

    run(main)


def test_a_start_that_fails_in_a_restart_is_told_each_time(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary))
        diary.fail("a", Boom("first"), Boom("second"))
        await kill(sup, "a")
        await settled(sup)
        failures = said(caplog, logging.WARNING)
        assert [event["event"] for event in failures] == [
            "child_failed",
            *["child_start_failed"] * 2,
        ]
        assert [event["reason"] for event in failures[1:]] == ["Boom('first')", "Boom('second')"]
        assert {event["on"] for event in failures} <= {kernel.node_id, None}

    run(main)


def test_what_start_raises_is_the_callers_and_is_not_told(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        diary.fail("a", Boom("initial"))
        with pytest.raises(Exception, match="initial"):
            await family(kernel, "one_for_one", child("a", diary))
        sup = await family(kernel, "one_for_one")
        diary.fail("b", Boom("requested"))
        with pytest.raises(Exception, match="requested"):
            await sup.start_child(child("b", diary))
        assert words(caplog, logging.WARNING, logging.ERROR) == []

    run(main)


def test_giving_up_is_one_error_with_the_limit(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_all", child("a", Diary()), child("b", Diary()), most=1)
        await kill(sup, "a")
        await settled(sup)
        await kill(sup, "b")
        await sup.wait(timeout=3.0)
        (event,) = said(caplog, logging.ERROR)
        assert event["event"] == "supervisor_gave_up" and event["supervisor"] == sup.id
        assert (event["max_restarts"], event["within"]) == (1, 5.0)
        assert words(caplog, logging.WARNING) == ["child_failed"] * 2

    run(main)


@pytest.mark.parametrize(
    ("shutdown", "told"), [(0.02, True), ("brutal_kill", False), (3.0, False)], ids=str
)
def test_a_child_that_has_to_be_killed_is_told(shutdown: Any, told: bool, caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        ending = 0.0 if shutdown == 3.0 else 3600.0
        spec = child("a", diary, ending, shutdown=shutdown)
        sup = await family(kernel, "one_for_one", spec)
        await sup.stop()
        assert words(caplog, logging.WARNING) == ["child_shutdown_error"] * told
        for event in said(caplog, logging.WARNING):
            assert event["child"] == "a" and event["reason"] == "'killed'"
        assert words(caplog, logging.ERROR) == []

    run(main)


def test_progress_is_told_at_debug_only(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "noex")

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", child("a", Diary()))
        await sup.terminate_child("a")
        await sup.stop()
        events = said(caplog, logging.DEBUG)
        assert [event["event"] for event in events] == [
            "child_started",
            "supervisor_started",
            "child_stopped",
            "supervisor_stopped",
        ]
        assert {event["supervisor"] for event in events} == {sup.id}
        assert events[0]["child"] == "a" and events[0]["on"] == kernel.node_id
        assert events[2]["reason"] == "'shutdown'" and events[3]["reason"] == "'normal'"
        assert said(caplog) == []

    run(main)


def test_a_pending_child_is_a_warning_with_the_reason(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary))
        diary.fail("a", Boom("manual"))
        with pytest.raises(Exception, match="manual"):
            await sup.restart_child("a")
        (event,) = said(caplog, logging.WARNING)
        assert event["event"] == "child_pending" and "manual" in event["reason"]

    run(main)


def test_a_nested_supervisor_that_gives_up_is_a_failed_child_of_its_parent(caplog: Any) -> None:
    from noex.supervisor.local import Supervisor
    from noex.supervisor.spec import RestartIntensity

    async def main(kernel: Kernel) -> None:
        options = {
            "children": [child("leaf", Diary())],
            "restart_intensity": RestartIntensity(0, 5.0),
            "name": "branch",
        }
        sup = await family(
            kernel,
            "one_for_one",
            ChildSpec("branch", Supervisor, kwargs=options, shutdown="infinity"),
        )
        branch = await ref_of(sup, "branch")
        inner = await Supervisor.handle_of(branch)
        await kill(inner, "leaf")
        await branch.wait(timeout=3.0)
        await settled(sup)
        told = [(event["event"], event["supervisor"]) for event in said(caplog)]
        assert told[:3] == [
            ("child_failed", "branch"),
            ("supervisor_gave_up", "branch"),
            ("child_failed", sup.id),
        ]
        assert "MaxRestartsExceeded" in said(caplog)[2]["reason"]

    run(main)
