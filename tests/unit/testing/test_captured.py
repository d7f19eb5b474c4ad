"""capture_events: what was told is there, in order, and can be waited for."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from noex import ChildRestarted, ChildStarted, GenServer, InvalidOptionError, Node, Supervisor
from noex.runtime.log import get_logger
from noex.testing import Family, capture_events, run_virtual


class Fragile(GenServer[None]):
    def init(self) -> None:
        return None

    def handle_cast(self, message: Any, state: None) -> None:
        raise ValueError(message)


def test_a_crash_is_captured_with_its_fields() -> None:
    async def main() -> None:
        async with Node() as node:
            ref = await node.options(name="glass").start(Fragile)
            with capture_events() as events:
                ref.cast("fall")
                crash = await events.wait_for("process_crashed")
                assert crash["name"] == "glass" and crash["level"] == "error"
                assert crash["last_message"] == "'fall'"
                assert events.named("process_crashed") == [crash]
                assert events.named("process_crashed", name="stone") == []
                assert "process_crashed" in events.names

    asyncio.run(main())


def test_lifecycle_events_of_all_supervisors_are_captured() -> None:
    async def main() -> None:
        with capture_events() as events:
            async with Node() as one, Node() as other:
                for node, name in ((one, "a"), (other, "b")):
                    child = Family().child(name)
                    await Supervisor.start(node, strategy="one_for_one", children=[child.spec()])
                    child.crash()
                    restarted = await events.wait_for(ChildRestarted, child_id=name)
                    assert restarted.attempt == 1
            assert [each.child_id for each in events.named(ChildStarted)] == ["a", "b"]
            assert len(events.named("child_restarted")) == 2  # the log tells of it, too

    run_virtual(main())


def test_one_waits_for_the_event_that_comes_and_for_a_count_of_them() -> None:
    async def main() -> None:
        log = get_logger(node="n")
        with capture_events() as events:
            waiting = asyncio.create_task(events.wait_for("it_happened", count=3, who="me"))
            for number in range(3):
                await asyncio.sleep(0)
                assert not waiting.done()
                log.info("it_happened", who="you", number=number)
                log.info("it_happened", who="me", number=number)
            assert (await waiting)["number"] == 2
            events.clear()
            assert (events.log, events.lifecycle, events.names) == ([], [], [])

    asyncio.run(main())


def test_an_event_from_another_thread_wakes_who_waits() -> None:
    async def main() -> None:
        with capture_events() as events:
            waiting = asyncio.create_task(events.wait_for("from_afar", timeout=10.0))
            await asyncio.sleep(0)
            thread = threading.Thread(target=lambda: get_logger().warning("from_afar"))
            thread.start()
            assert (await waiting)["level"] == "warning"
            thread.join()

    asyncio.run(main())


def test_who_waits_in_vain_hears_what_was_told_instead() -> None:
    async def main() -> None:
        with capture_events() as events:
            get_logger().info("something_else")
            with pytest.raises(TimeoutError, match=r"not within 5 s: 1 of ChildStarted with {}; "):
                await events.wait_for(ChildStarted)
            with pytest.raises(TimeoutError, match=r"{'a': 1}; told were something_else"):
                await events.wait_for("it", a=1)

    run_virtual(main())


def test_nothing_is_changed_afterwards() -> None:
    logger = logging.getLogger("noex")
    before = logger.level, logger.handlers[:]
    with capture_events() as events:
        get_logger().debug("inside")
        with capture_events("warning") as inner:
            get_logger().debug("debug_inside")
            get_logger().warning("warning_inside")
    get_logger().error("outside")
    assert events.names == ["inside", "debug_inside", "warning_inside"]
    assert inner.names == ["warning_inside"]
    assert (logger.level, logger.handlers[:]) == before


def test_a_wrong_level_is_named() -> None:
    with pytest.raises(InvalidOptionError, match="level='loud': legal are debug, info, warning"):
        capture_events("loud")
