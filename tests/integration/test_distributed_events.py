"""The lifecycle events of a distributed supervisor, on its own node and on others."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from three_nodes import run_async, trio, until

from noex import (
    ChildMigrated,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    ChildStopped,
    DistributedSupervisor,
    NodeFailureDetected,
    ServerCrashedError,
    SupervisorStarted,
    SupervisorStopped,
)


def on(node: Any, child_id: str, **options: Any) -> ChildSpec:
    return ChildSpec(
        child_id, "worker", args=(child_id,), node_selector={"node": node.id}, **options
    )


@run_async
async def test_all_events_of_a_supervisors_life_with_their_fields_in_order() -> None:
    async with trio() as nodes:
        a, b, c = nodes.nodes
        sup = await nodes.supervise(
            name="pool",
            children=[on(a, "x"), ChildSpec("y", "worker", node_selector=prefer_b)],
        )
        with pytest.raises(ServerCrashedError):
            await (await sup.get_child("x")).ref.call(("crash", "x"))
        await until(lambda: nodes.told("child_restarted"), "the restart")
        await sup.restart_child("x")
        await sup.start_child(on(c, "z"))
        await sup.terminate_child("z")
        await nodes.lose(b)
        await until(lambda: nodes.told("child_migrated"), "the migration")
        to_node = (await sup.get_child("y")).node_id
        await sup.stop("shutdown")
        await until(lambda: nodes.told("supervisor_stopped"), "the last event")
        assert nodes.events == [
            ChildStarted("pool", "x", a.id),
            ChildStarted("pool", "y", b.id),
            SupervisorStarted(sup),
            ChildRestarted("pool", "x", a.id, 1),
            ChildRestarted("pool", "x", a.id, 2),
            ChildStarted("pool", "z", c.id),
            ChildStopped("pool", "z", "shutdown"),
            NodeFailureDetected("pool", b.id, ("y",)),
            ChildMigrated("pool", "y", b.id, to_node),
            ChildStopped("pool", "y", "shutdown"),
            ChildStopped("pool", "x", "shutdown"),
            SupervisorStopped(sup, "shutdown"),
        ]
        assert [event.type for event in nodes.events[:4]] == [
            "child_started",
            "child_started",
            "supervisor_started",
            "child_restarted",
        ]
        assert nodes.events[2].ref.node_id == a.id


def prefer_b(members: Any, child_id: str) -> str:
    ids = [member.id for member in members]
    return next((node_id for node_id in ids if node_id.startswith("b@")), ids[0])


@run_async
async def test_another_node_hears_the_same_events_once_each_in_order() -> None:
    async with trio() as nodes:
        sup = await nodes.supervise(name="pool")
        heard: dict[str, list[Any]] = {"a": [], "b": [], "c": []}
        streams = {}
        for node in nodes.nodes:
            handle = await DistributedSupervisor.find(node, "pool")
            handle.on_lifecycle_event(heard[node.id[0]].append)
            streams[node.id[0]] = handle.events()
        # a subscription from afar begins when the supervisor has heard of it
        server = nodes.a.kernel.find(sup.ref).server
        await until(lambda: len(server._subscribers._sent) == 4, "two nodes, two ways each")
        nodes.events.clear()
        for number in range(20):
            await sup.start_child(on(nodes.nodes[number % 3], f"w{number}"))
        await sup.stop()
        await until(lambda: len(nodes.events) == 41, "all events")
        for name in "abc":
            assert [event async for event in streams[name]] == nodes.events, name
        # handlers are called in a turn of their own
        await until(lambda: all(len(found) == 41 for found in heard.values()), "all handlers")
        assert heard["a"] == heard["b"] == heard["c"] == nodes.events


@run_async
async def test_a_handler_that_unsubscribed_hears_nothing_more_here_and_elsewhere() -> None:
    async with trio(2) as nodes:
        sup = await nodes.supervise(name="pool")
        far = await DistributedSupervisor.find(nodes.b, "pool")
        heard: list[Any] = []
        ends = [
            sup.on_lifecycle_event(heard.append),
            far.on_lifecycle_event(heard.append),
            nodes.a.on_lifecycle_event(heard.append),
        ]
        server = nodes.a.kernel.find(sup.ref).server
        await until(lambda: len(server._subscribers._sent) == 1, "the far one")
        for end in ends:
            end()
            end()
        await until(lambda: not server._subscribers._sent, "the far one has gone")
        await sup.start_child(on(nodes.b, "w"))
        await sup.stop()
        await until(lambda: nodes.told("supervisor_stopped"), "the last event")
        assert heard == []


@run_async
async def test_a_slow_or_raising_handler_harms_nobody() -> None:
    def raising(event: Any) -> None:
        raise LookupError("a handler")

    def slow(event: Any) -> None:
        time.sleep(0.02)  # sleep: a handler that holds the loop is what is tried

    async with trio(2) as nodes:
        sup = await nodes.supervise(name="pool")
        far = await DistributedSupervisor.find(nodes.b, "pool")
        heard: list[Any] = []
        for handle in (sup, far):
            for handler in (raising, slow, heard.append):
                handle.on_lifecycle_event(handler)
        server = nodes.a.kernel.find(sup.ref).server
        await until(lambda: len(server._subscribers._sent) == 3, "the far ones")
        await sup.start_child(on(nodes.b, "w"))
        await sup.terminate_child("w")
        await sup.stop()
        await until(lambda: len(heard) == 6, "three events, here and there")
        assert [event.type for event in heard].count("supervisor_stopped") == 2


@run_async
async def test_a_handler_may_use_the_supervisor() -> None:
    async with trio(2) as nodes:
        sup = await nodes.supervise(name="pool")
        counts: list[int] = []

        async def count() -> None:
            counts.append(await sup.count_children())

        tasks: list[asyncio.Task[None]] = []
        sup.on_lifecycle_event(lambda event: tasks.append(asyncio.create_task(count())))
        await sup.start_child(on(nodes.b, "w"))
        await until(lambda: tasks, "the event")
        await asyncio.gather(*tasks)
        assert counts == [1]


@run_async
async def test_a_reason_that_cannot_travel_is_told_as_text_elsewhere() -> None:
    async with trio(2) as nodes:
        sup = await nodes.supervise(name="pool", children=[on(nodes.a, "w", restart="temporary")])
        far = await DistributedSupervisor.find(nodes.b, "pool")
        heard: list[Any] = []
        far.on_lifecycle_event(heard.append)
        server = nodes.a.kernel.find(sup.ref).server
        await until(lambda: server._subscribers._sent, "the far one")
        lock = threading.Lock()
        await (await sup.get_child("w")).ref.call(("end", lock))
        await until(lambda: heard, "the event")
        assert heard == [ChildStopped("pool", "w", repr(lock))]
        assert nodes.told("child_stopped") == [ChildStopped("pool", "w", lock)]
        assert await sup.is_running()


@run_async
async def test_a_subscriber_whose_node_dies_is_forgotten() -> None:
    async with trio(3) as nodes:
        sup = await nodes.supervise(name="pool")
        far = await DistributedSupervisor.find(nodes.c, "pool")
        stream = far.events()
        server = nodes.a.kernel.find(sup.ref).server
        await until(lambda: server._subscribers._sent, "the far one")
        await nodes.lose(nodes.c)
        await until(lambda: not server._subscribers._sent, "it is forgotten")
        assert await sup.is_running()
        stream.close()


@run_async
async def test_the_stream_of_a_supervisor_whose_node_dies_ends() -> None:
    async with trio(3) as nodes:
        sup = await nodes.supervise(nodes.c, name="pool")
        far = await DistributedSupervisor.find(nodes.a, "pool")
        stream = far.events()
        server = nodes.c.kernel.find(sup.ref).server
        await until(lambda: server._subscribers._sent, "the subscription")
        await nodes.lose(nodes.c)
        async with asyncio.timeout(5.0):
            assert [event async for event in stream] == []


@run_async
async def test_a_handler_of_the_node_hears_of_the_start_from_before_it() -> None:
    async with trio(1) as nodes:
        sup = await nodes.supervise(children=[on(nodes.a, "w")])
        await asyncio.sleep(0)
        assert [event.type for event in nodes.events] == ["child_started", "supervisor_started"]
        assert nodes.events[1].ref == sup
