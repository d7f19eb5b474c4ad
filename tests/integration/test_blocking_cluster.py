"""Two nodes on loopback, both blocking: each has its sockets on a loop thread of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from three_nodes import FAST, behaviors

import noex
from noex import (
    BlockingNode,
    BlockingRef,
    ChildSpec,
    DistributedSupervisor,
    GlobalNameConflictError,
    MessageSerializationError,
    Node,
    NodeDown,
    NodeNotReachableError,
    RestartIntensity,
)

LIMIT = 20.0


def make(name: str, *seeds: BlockingNode) -> BlockingNode:
    node = Node(
        f"{name}@127.0.0.1:0",
        seeds=[seed.id for seed in seeds],
        behaviors=behaviors(),
        membership=FAST,
        drain_timeout=5.0,
    )
    return noex.blocking(node)


@contextmanager
def pair() -> Iterator[tuple[BlockingNode, BlockingNode]]:
    """Two members. At the end no thread and no descriptor is left."""
    before = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    with make("a") as a, make("b", a) as b:
        a.wait_for_members(2, timeout=LIMIT)
        yield a, b
    assert (set(threading.enumerate()), len(os.listdir("/proc/self/fd"))) == before


def test_they_spawn_call_name_and_monitor_across() -> None:
    with pair() as (a, b):
        assert [info.id for info in b.members()] == [a.id, b.id]
        there = a.options(name="it").spawn("worker", 1, 2, on=b.id)
        assert isinstance(there, BlockingRef)
        assert (there.node_id, there.is_local, there.is_alive()) == (b.id, False, True)
        assert there.call("args") == (1, 2)
        assert a.ref("it", on=b.id).call("args") == (1, 2)
        assert b.whereis("it") == there
        replies, failed = a.multi_call("it", "args")
        assert replies == {b.id: (1, 2)} and list(failed) == [a.id]
        assert there.send("unexpected") is True
        with pytest.raises(MessageSerializationError):
            there.cast(threading.Lock())
        monitor = a.monitor(there)
        there.stop("shutdown")
        assert monitor.wait(LIMIT) == "shutdown"
        assert there.is_alive() is False


def test_a_ref_of_one_node_is_at_home_on_the_other() -> None:
    with pair() as (a, b):
        here = a.run(_start_worker, a, "here")
        echo = b.run(_start_worker, b, "echo")
        answer = a.spawn("worker", on=b.id).call(here)
        assert answer == here and answer.is_local
        back = echo.call(here)  # the plain ref belongs to the loop of the other node
        assert back == here and not back.is_local
        assert back.call("args") == ("here",)
        a.registry.register("name", here)
        assert b.registry.whereis("name") == here
        assert b.whereis_global("name").call("args") == ("here",)
        with pytest.raises(GlobalNameConflictError):
            b.registry.register("name", echo)


async def _start_worker(node: Node, *args: Any) -> Any:
    return await node.start(node.behaviors.get("worker", node.id), *args)


def test_a_supervisor_moves_its_children_when_a_node_is_stopped() -> None:
    with pair() as (a, b), ThreadPoolExecutor(1) as pool:
        sup = a.run(
            DistributedSupervisor.start,
            a,
            name="workers",
            node_selector="round_robin",
            children=[ChildSpec(f"w{n}", "worker", args=(n,)) for n in range(4)],
            restart_intensity=RestartIntensity(max_restarts=10, within=60.0),
        )
        seen_by_b = b.run(DistributedSupervisor.find, b, "workers")
        assert seen_by_b == sup
        assert [info.ref.call("args") for info in seen_by_b.get_children()] == [
            (n,) for n in range(4)
        ]
        assert {info.node_id for info in sup.get_children()} == {a.id, b.id}
        node_events, moves = a.events(), sup.events()
        there = next(info.ref for info in sup.get_children() if info.node_id == b.id)
        waiting = pool.submit(a.monitor(there).wait, LIMIT)
        b.stop()
        assert {moves.get(LIMIT).type for _ in range(2)} == {"child_migrated"}
        assert {info.node_id for info in sup.get_children()} == {a.id}
        assert [info.ref.call("args") for info in sup.get_children()] == [(n,) for n in range(4)]
        assert waiting.result(LIMIT) is not None
        down = next(event for event in node_events if isinstance(event, NodeDown))
        assert down.reason == "graceful_shutdown"
        with pytest.raises(NodeNotReachableError):
            there.call("args")


def test_many_threads_of_two_nodes_call_across() -> None:
    with pair() as (a, b), ThreadPoolExecutor(16) as pool:
        to_b = a.spawn("worker", "b", on=b.id)
        to_a = b.spawn("worker", "a", on=a.id)

        def work(number: int) -> list[Any]:
            ref = to_b if number % 2 else to_a
            return [ref.call((number, n), timeout=LIMIT) for n in range(50)]

        assert list(pool.map(work, range(16))) == [
            [(number, n) for n in range(50)] for number in range(16)
        ]
