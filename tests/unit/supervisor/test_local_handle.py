"""The handle of a supervisor: events, stats, timeouts, and what is left when it is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Gate, run, turns, until
from family import Diary, Plain, child, family, kill, ref_of, settled

from noex.runtime.errors import CallTimeoutError, MessageSerializationError
from noex.runtime.kernel import Kernel
from noex.supervisor import events as ev
from noex.supervisor.errors import DuplicateChildError, SupervisorError
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.lifecycle import QUEUE_BOUND, EventStream, LifecycleEvents, lifecycle_of
from noex.supervisor.subscribers import EventRelay


def test_events_of_a_whole_life() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        seen: list[Any] = []
        unsubscribe = lifecycle_of(kernel).subscribe(seen.append)  # before it starts
        sup = await family(kernel, "one_for_one", child("a", diary, restart="transient"))
        stream = sup.events()
        await kill(sup, "a")
        await settled(sup)
        await sup.restart_child("a")
        await sup.start_child(child("b", diary))
        await sup.terminate_child("b")
        await sup.stop("shutdown")
        own = [event async for event in stream]
        home = kernel.node_id
        assert own == [
            ev.ChildRestarted(sup.id, "a", home, 1),
            ev.ChildRestarted(sup.id, "a", home, 2),
            ev.ChildStarted(sup.id, "b", home),
            ev.ChildStopped(sup.id, "b", "shutdown"),
            ev.ChildStopped(sup.id, "a", "shutdown"),
            ev.SupervisorStopped(sup, "shutdown"),
        ]
        assert seen == [ev.ChildStarted(sup.id, "a", home), ev.SupervisorStarted(sup), *own]
        unsubscribe()
        await (await family(kernel, "one_for_one")).stop()
        await turns()
        assert seen[-1] == own[-1]

    run(main)


def test_a_stream_gets_the_events_of_its_supervisor_alone() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        one, two = await family(kernel, "one_for_one"), await family(kernel, "one_for_one")
        stream = one.events()
        await two.start_child(child("x", diary))
        await one.start_child(child("a", diary))
        assert (await anext(stream)).child_id == "a"
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main)


def test_a_raising_handler_harms_nobody() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []

        def bad(event: Any) -> None:
            raise RuntimeError("bad handler")

        sup = await family(kernel, "one_for_one")
        sup.on_lifecycle_event(bad)
        sup.on_lifecycle_event(seen.append)
        await sup.start_child(child("a", Diary()))
        await turns()
        assert [event.child_id for event in seen] == ["a"]
        assert await sup.is_running()

    run(main)


def test_a_handler_may_unsubscribe_itself() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        sup = await family(kernel, "one_for_one")

        def once(event: Any) -> None:
            seen.append(event)
            unsubscribe()

        unsubscribe = sup.on_lifecycle_event(once)
        await sup.start_child(child("a", Diary()))
        await sup.start_child(child("b", Diary()))
        await turns()
        assert len(seen) == 1

    run(main)


def test_a_slow_reader_finds_the_gap_marked() -> None:
    async def main() -> None:
        stream = EventStream("sup")
        for number in range(QUEUE_BOUND + 5):
            stream.put(number)
        stream.close()
        read = [event async for event in stream]
        assert read[:-1] == list(range(QUEUE_BOUND))
        assert read[-1] == ev.EventsLost("sup", 5)

    asyncio.run(main())


def test_a_relay_hands_on_events_and_marks_gaps() -> None:
    """What a handle on another node uses: numbered messages, of which the network may lose some."""

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        seen: list[Any] = []
        relay = await kernel.start(
            EventRelay, (sup.ref, sup.id, seen.append, lambda: seen.append("end"))
        )
        assert relay is not None
        await turns()
        await sup.start_child(child("a", Diary()))
        await until(lambda: seen)
        relay.send(("noex.event", 5, "later"))
        await sup.ref.stop()
        await until(lambda: "end" in seen)
        assert seen[:3] == [
            ev.ChildStarted(sup.id, "a", kernel.node_id),
            ev.EventsLost(sup.id, 3),
            "later",
        ]
        assert not await relay.is_alive()

    run(main)


def test_stats() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "rest_for_one", child("a", diary), child("b", diary))
        await kill(sup, "a")
        await settled(sup)
        await sup.terminate_child("b")
        stats = await sup.get_stats()
        assert (stats.id, stats.strategy, stats.child_count) == (sup.id, "rest_for_one", 1)
        assert stats.children_by_node == {kernel.node_id: 1}
        assert (stats.total_restarts, stats.node_failure_restarts, stats.pending) == (2, 0, 0)
        assert stats.uptime >= 0
        assert stats.started_at <= kernel.clock.wall()

    run(main)


def test_every_method_takes_a_timeout() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        class Slow(Plain):
            async def terminate(self, reason: Any, state: int) -> None:
                await gate.passage()

        diary = Diary()
        sup = await family(kernel, "one_for_one", child("a", diary))
        diary.fail("b", gate.opened)
        with pytest.raises(CallTimeoutError):
            await sup.start_child(child("b", diary), timeout=0.01)
        gate.opened.set()
        assert await settled(sup) == {"a": "running", "b": "running"}
        with pytest.raises(TimeoutError):
            await sup.wait(timeout=0.01)

    run(main)


def test_a_handle_of_what_is_gone_tells_why() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        await sup.stop("shutdown")
        for question in (sup.get_children, sup.count_children, sup.get_stats):
            with pytest.raises(SupervisorError, match="'shutdown'"):
                await question()
        with pytest.raises(SupervisorError):
            await sup.start_child(child("a", Diary()))
        assert not await sup.is_running()

    run(main)


def test_who_waits_for_an_answer_when_it_is_killed_hears_of_it() -> None:
    async def main(kernel: Kernel) -> None:
        diary = Diary()
        sup = await family(kernel, "one_for_one")
        diary.fail("a", asyncio.Event())
        asking = asyncio.create_task(sup.start_child(child("a", diary)))
        await until(lambda: diary.lines == [("wait", "a")])
        sup.ref.exit("kill")
        with pytest.raises(SupervisorError):
            await asking

    run(main)


def test_handles_of_one_supervisor_are_equal() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        twin = SupervisorHandle(sup.id, sup.ref)
        assert twin == sup
        assert hash(twin) == hash(sup)
        assert sup.node_id == kernel.node_id
        assert await twin.count_children() == 0
        assert await ref_of_nobody(twin) is None

    run(main)


async def ref_of_nobody(sup: SupervisorHandle) -> Any:
    return await sup.get_child("nobody")


def test_the_events_of_a_node_are_its_own() -> None:
    class Node:
        def __init__(self, kernel: Kernel) -> None:
            self.kernel = kernel
            self.lifecycle = LifecycleEvents()

    async def main(kernel: Kernel) -> None:
        kernel.node = Node(kernel)
        assert lifecycle_of(kernel) is kernel.node.lifecycle
        seen: list[Any] = []
        kernel.node.lifecycle.subscribe(seen.append)
        sup = await family(kernel, "one_for_one", child("a", Diary()))
        assert await ref_of(sup, "a") is not None
        await turns()
        assert [event.type for event in seen] == ["child_started", "supervisor_started"]

    run(main)


def test_a_node_that_copies_messages_can_have_local_supervisors() -> None:
    """Their specs hold classes, which cannot travel and need not."""

    def refuse(message: Any) -> Any:
        raise MessageSerializationError("copy", "message", "nothing passes here")

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        kernel.set_copier(refuse)
        sup = await family(kernel, "one_for_one", child("a", diary))
        await sup.start_child(child("b", diary))
        assert await settled(sup) == {"a": "running", "b": "running"}
        with pytest.raises(DuplicateChildError):
            await sup.start_child(child("b", diary))
        diary.fail("c", asyncio.Event())
        with pytest.raises(CallTimeoutError):
            await sup.start_child(child("c", diary), timeout=0.01)
        await sup.stop()
        with pytest.raises(SupervisorError):
            await sup.count_children()

    run(main)
