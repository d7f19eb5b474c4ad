"""Controlled children do what the test says, and tell what happened to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from noex import (
    BehaviorRegistry,
    DistributedSupervisor,
    InitFailedError,
    InitTimeoutError,
    Node,
    RestartIntensity,
    Supervisor,
)
from noex.testing import Child, ChildFault, ChildServer, Family, capture_events, run_virtual, settle


def run(main: Callable[[Node], Awaitable[None]], **options: Any) -> None:
    async def within() -> None:
        async with Node(**options) as node:
            await main(node)

    run_virtual(within())


async def supervise(
    node: Node, family: Family, strategy: Any = "one_for_one", **options: Any
) -> Any:
    return await Supervisor.start(
        node,
        strategy=strategy,
        restart_intensity=RestartIntensity(10, 5.0),
        children=family.specs(**options),
    )


def test_inits_fail_as_often_as_ordered_and_are_counted() -> None:
    async def main(node: Node) -> None:
        family = Family()
        db = family.child("db")
        sup = await supervise(node, family)
        db.fail_inits(2)
        db.crash()
        ref = await db.started(2)
        assert (db.attempts, db.starts) == (4, 2)
        await settle()  # until its supervisor knows it, too
        assert ref == db.ref == (await sup.get_child("db")).ref
        assert isinstance(await db.ended(), ChildFault)
        assert [what for what, _ in family.history] == ["start", "end", "fail", "fail", "start"]

    run(main)


def test_the_orders_for_inits_are_carried_out_in_turn() -> None:
    async def main(node: Node) -> None:
        child = Child("child")
        child.succeed_inits()
        child.fail_inits(error=KeyError("config"))
        child.ignore_inits()
        assert await child.start(node) == child.ref
        with pytest.raises(InitFailedError) as caught:
            await child.start(node)
        assert isinstance(caught.value.__cause__, KeyError)
        assert await child.start(node) is None
        assert (child.attempts, child.starts) == (3, 1)
        assert [what for what, _ in child.family.history] == ["start", "fail", "ignore"]

    run(main)


def test_a_blocked_init_waits_until_it_is_released() -> None:
    async def main(node: Node) -> None:
        family = Family()
        slow, quick = family.child("slow"), family.child("quick")
        sup = await supervise(node, family)
        slow.block_inits()
        slow.crash()
        await slow.attempted(2)
        quick.crash()
        await quick.started(2)  # one that starts does not keep the others
        assert slow.starts == 1
        slow.release()
        await slow.started(2)
        assert await sup.count_children()

    run(main)


def test_an_init_that_is_never_released_times_out() -> None:
    async def main(node: Node) -> None:
        child = Child("child")
        child.block_inits()
        with pytest.raises(InitTimeoutError):
            await child.start(node, init_timeout=2.0)
        assert child.family.history == [("fail", "child")]

    run(main)


def test_the_order_of_a_group_restart_is_in_the_history() -> None:
    async def main(node: Node) -> None:
        family = Family()
        a, b, c = (family.child(name) for name in "abc")
        await supervise(node, family, "rest_for_one")
        family.history.clear()
        b.crash()
        await c.started(2)
        assert family.history == [("end", "b"), ("end", "c"), ("start", "b"), ("start", "c")]
        assert a.starts == 1

    run(main)


def test_one_that_refuses_to_stop_is_killed_after_its_time() -> None:
    async def main(node: Node) -> None:
        family = Family()
        child = family.child("child")
        sup = await supervise(node, family, shutdown=3.0)
        began = node.kernel.clock.now()
        child.refuse_to_stop()
        await sup.terminate_child("child")
        await child.stopping()
        assert await child.ended() == "killed"
        assert node.kernel.clock.now() - began == 3.0

    run(main)


def test_one_that_refuses_to_stop_ends_in_order_when_it_is_released() -> None:
    async def main(node: Node) -> None:
        child = Child("child")
        ref = await child.start(node)
        child.refuse_to_stop()
        ref.exit("shutdown")
        await child.stopping()
        assert child.reasons == []
        child.release()
        assert await child.ended() == "shutdown"

    run(main)


def test_one_that_survives_its_kill_is_a_zombie_until_it_is_released() -> None:
    async def main(node: Node) -> None:
        child = Child("child")
        ref = await child.start(node)
        child.refuse_to_stop(even_killed=True)
        ref.exit("shutdown")
        await child.stopping()
        with capture_events() as events:
            ref.exit("kill")
            await events.wait_for("zombie")
        assert len(node.kernel.zombies) == 1
        child.release()
        await settle()
        assert len(node.kernel.zombies) == 0

    run(main)


def test_it_ends_for_the_reason_that_is_given() -> None:
    async def main(node: Node) -> None:
        child = Child("child")
        await child.start(node)
        child.end(("shutdown", "enough"))
        assert await child.ended() == ("shutdown", "enough")
        await child.start(node)
        error = OSError("disk")
        child.crash(error)
        assert await child.ended(2) is error
        with pytest.raises(LookupError, match="no process of child runs"):
            child.crash()

    run(main)


def test_it_keeps_and_answers_messages_and_shows_its_arguments() -> None:
    async def main(node: Node) -> None:
        child = Child("child", "dsn", size=3)
        ref = await child.start(node, name="db")
        assert await ref.call("question") == "question"
        ref.cast("cast")
        ref.send("info")
        await settle()
        assert child.messages == ["question", "cast", "info"]
        assert await ref.get_state() == (("dsn",), {"size": 3})

    run(main)


def test_who_waits_in_vain_hears_how_far_it_came() -> None:
    async def main(node: Node) -> None:
        child = Child("child")
        with pytest.raises(LookupError, match="child has not started: 0 inits"):
            child.crash()
        await child.start(node)
        with pytest.raises(TimeoutError, match="2 starts of child: 1 inits, 1 starts, 0 ends"):
            await child.started(2)

    run(main)


def test_a_child_that_the_test_has_dropped_says_so() -> None:
    async def main(node: Node) -> None:
        spec = Child("gone").spec()
        with pytest.raises(InitFailedError) as caught:
            await node.start(ChildServer, *spec.args)
        assert "keep it in the test" in str(caught.value.__cause__)

    run(main)


def test_it_works_under_a_distributed_supervisor_and_through_the_codec() -> None:
    behaviors = BehaviorRegistry()
    behaviors.register("controlled", ChildServer)

    async def main(node: Node) -> None:
        family = Family()
        child = family.child("child", 1)
        await DistributedSupervisor.start(
            node,
            name="workers",
            strategy="one_for_one",
            children=family.specs(behavior="controlled"),
        )
        child.crash(ValueError("over the wire"))
        await child.started(2)
        assert str(child.reasons[0]) == "over the wire"

    run(main, behaviors=behaviors, copy_messages=True)
