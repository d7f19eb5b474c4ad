"""A node without await keeps the types. Nothing here is an error."""

from __future__ import annotations

from typing import Any, assert_type

import noex
from noex import (
    BlockingEvents,
    BlockingNode,
    BlockingRef,
    BlockingSupervisor,
    ChildInfo,
    ChildSpec,
    DistributedSupervisor,
    GenServer,
    Ignore,
    Node,
    NodeInfo,
    Ref,
    Request,
    Supervisor,
    call,
)


class Get(Request[int]):
    """What is asked."""


class Counter(GenServer[int]):
    """A plain one."""

    def init(self, start: int = 0) -> int:
        return start

    @call
    def add(self, amount: int) -> int:
        return amount


class Choosy(GenServer[int]):
    """May not want to start."""

    async def init(self, start: int) -> int | Ignore:
        return start or Ignore()


async def double(number: int) -> int:
    return 2 * number


def main() -> None:
    with noex.blocking(Node()) as node:
        assert_type(node, BlockingNode)
        ref = node.start(Counter, 10)
        assert_type(ref, BlockingRef[Counter])
        assert_type(ref.plain, Ref[Counter])
        assert_type(node.start(Choosy, 1), BlockingRef[Choosy] | None)
        assert_type(node.options(name="x").start(Counter, 1), BlockingRef[Counter])
        assert_type(node.spawn("counter", 1, on="a@127.0.0.1:1"), BlockingRef[Any])
        assert_type(ref.call(Get(), timeout=None), int)
        assert_type(ref.cast("x"), bool)
        assert_type(ref.is_alive(timeout=1.0), bool)
        assert_type(node.whereis("x"), BlockingRef[Any] | None)
        assert_type(node.members(), list[NodeInfo])
        assert_type(node.wait_for_members(1, timeout=10.0), list[NodeInfo])
        assert_type(node.registry.names(), list[str])
        assert_type(node.registry.whereis("x"), BlockingRef[Any] | None)
        assert_type(node.events(), BlockingEvents)
        assert_type(node.monitor(ref).cancel(), None)
        assert_type(node.run(double, 1), int)
        assert_type(node.run(double(1)), int)
        assert_type(node.run(len, "x"), int)
        assert_type(node.run(ref.plain.proxy.add, 5), int)
        ref.proxy.add(5)
        assert_type(node.ref("x", behavior=Counter), BlockingRef[Counter])
        assert_type(ref.info().mailbox_length, int)
        assert_type(ref.suspend(timeout=1.0), None)

        sup = node.run(Supervisor.start, node, children=[ChildSpec("a", Counter)])
        assert_type(sup, BlockingSupervisor)
        assert_type(sup.get_children(), list[ChildInfo])
        assert_type(sup.get_child("a", timeout=1.0), ChildInfo | None)
        assert_type(sup.count_children(), int)
        assert_type(sup.stop("shutdown"), None)
        other = node.run(DistributedSupervisor.ensure, node, name="workers")
        assert_type(other, BlockingSupervisor)
        parent: BlockingRef[GenServer[int]] = ref
        parent.stop()
