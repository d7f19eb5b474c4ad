"""What is no `Exception`, out of a child, a selector or a listener, costs nobody else anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import run, turns, until
from family import Diary, Plain, child, family, kill, ref_of, settled, statuses

from noex.runtime.kernel import Kernel
from noex.supervisor.errors import ChildStartError, NoAvailableNodeError
from noex.supervisor.placement import Placement, Wish
from noex.supervisor.spec import ChildSpec


class Odd(BaseException):
    """Somebody's own."""


EACH = pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, GeneratorExit, Odd])


@EACH
def test_a_lifecycle_handler_that_raises_it_harms_nobody(kind: Any, caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        heard: list[Any] = []
        sup = await family(kernel, "one_for_one")

        def broken(event: Any) -> None:
            raise kind

        sup.on_lifecycle_event(broken)
        sup.on_lifecycle_event(heard.append)
        await sup.start_child(child("a", Diary()))
        await until(lambda: heard)
        assert await statuses(sup) == {"a": "running"}
        failures = [r.noex for r in caplog.records if "lifecycle_handler_failed" in r.getMessage()]
        assert [event["event_type"] for event in failures] == ["child_started"]

    run(main)


@EACH
def test_an_init_that_raises_it_in_a_restart_is_tried_again(kind: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary), child("b", diary))
        other = await ref_of(sup, "b")
        diary.fail("a", kind("first"), kind("second"))
        await kill(sup, "a")
        await until(lambda: diary.lines.count(("start", "a")) == 2)
        assert await settled(sup) == {"a": "running", "b": "running"}
        assert await ref_of(sup, "b") == other

    run(main)


@EACH
def test_an_init_that_raises_it_is_the_error_of_the_start(kind: Any) -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        error = kind("requested")
        sup = await family(kernel, "one_for_one")
        diary.fail("a", error)
        with pytest.raises(ChildStartError) as caught:
            await sup.start_child(child("a", diary))
        assert caught.value.__cause__ is error and await statuses(sup) == {}
        diary.fail("b", error)
        with pytest.raises(ChildStartError) as caught:
            await family(kernel, "one_for_one", child("b", diary))
        assert caught.value.__cause__ is error

    run(main)


@EACH
def test_a_terminate_that_raises_it_ends_its_child_and_no_sibling(kind: Any) -> None:
    class Clumsy(Plain):
        def terminate(self, reason: Any, state: Any) -> None:
            raise kind

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", ChildSpec("a", Clumsy), ChildSpec("b", Clumsy))
        await asyncio.wait_for(sup.terminate_child("a"), 2.0)
        assert await statuses(sup) == {"b": "running"}
        await asyncio.wait_for(sup.stop(), 2.0)
        await turns()
        assert kernel.process_count == 0

    run(main)


@EACH
def test_a_selector_that_raises_it_has_found_no_node(kind: Any) -> None:
    error = kind("no idea")

    def selects(nodes: Any, child_id: str) -> str:
        raise error

    class Member:
        id, incarnation, status, behaviors = "a@127.0.0.1:1", 1, "up", ("worker",)
        process_count, load, labels = 0, 0.0, {}

    placement = Placement("a@127.0.0.1:1", lambda nodes: nodes[0], lambda name: None)
    wish = Wish("w", "worker", selects, frozenset(), failover=False)
    with pytest.raises(NoAvailableNodeError) as caught:
        placement.choose_softly(wish, [Member()], 0.0)  # type: ignore[list-item]
    assert caught.value.__cause__ is error
