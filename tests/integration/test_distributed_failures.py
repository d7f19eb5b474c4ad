"""Children that crash, nodes that die, hosts that are silent, supervisors that end."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

import pytest
from three_nodes import Trio, Worker, hosted, run_async, trio, until

from noex import (
    ChildMigrated,
    ChildPending,
    ChildRestarted,
    ChildSpec,
    ChildStartError,
    ChildStopped,
    ChildTemplate,
    DistributedBehaviorNotFoundError,
    DistributedDuplicateChildError,
    DistributedMaxRestartsExceededError,
    DistributedSupervisor,
    DistributedSupervisorError,
    GenServer,
    NoAvailableNodeError,
    NodeFailureDetected,
    Ok,
    RestartIntensity,
    ServerCrashedError,
    Stop,
)
from noex.runtime.returns import NoReply
from noex.supervisor import remote_children
from noex.supervisor.host import HOST


def spec(child_id: str, node: Any = None, **options: Any) -> ChildSpec:
    """A worker with its id as its argument; `node`: where it has to run."""
    if node is not None:
        options["node_selector"] = {"node": node.id}
    return ChildSpec(child_id, "worker", args=(child_id,), **options)


async def crash(sup: Any, child_id: str) -> None:
    with pytest.raises(ServerCrashedError):
        await (await sup.get_child(child_id)).ref.call(("crash", child_id))


async def running(sup: Any, count: int) -> list[Any]:
    """Wait until so many children run, and none otherwise; returns them."""

    async def check() -> Any:
        found = await sup.get_children()
        return found if [i.status for i in found] == ["running"] * count else None

    children: list[Any] = await until(check, f"{count} running children")
    return children


def copies(nodes: Trio) -> Counter[str]:
    """How often each child runs on the living nodes, by what their hosts say."""
    return Counter(child_id for node in nodes.living for child_id in hosted(node))


# ---------------------------------------------------------------------- crashes


@run_async
async def test_a_crash_elsewhere_is_restarted_and_told_once() -> None:
    async with trio() as nodes:
        sup = await nodes.supervise(children=[spec("w", nodes.b), spec("x", nodes.c)])
        before = {info.id: info.ref for info in await sup.get_children()}
        await crash(sup, "w")
        children = await running(sup, 2)
        assert children[0].ref != before["w"] and children[1].ref == before["x"]
        assert (children[0].restart_count, children[1].restart_count) == (1, 0)
        assert nodes.told("child_restarted") == [ChildRestarted(sup.id, "w", nodes.b.id, 1)]


@pytest.mark.parametrize(
    ("restart", "reason", "stays"),
    [
        ("permanent", "normal", True),
        ("transient", "normal", False),
        ("transient", ("shutdown", "done"), False),
        ("transient", "odd", True),
        ("temporary", "odd", False),
    ],
)
def test_restart_types_of_children_elsewhere(restart: Any, reason: Any, stays: bool) -> None:
    async def main() -> None:
        async with trio(2) as nodes:
            sup = await nodes.supervise(children=[spec("w", nodes.b, restart=restart)])
            old = (await sup.get_child("w")).ref
            assert await old.call(("end", reason)) == "bye"
            if stays:
                await until(lambda: nodes.told("child_restarted"), "the restart")
                assert (await sup.get_child("w")).ref != old
            else:
                await until(lambda: nodes.told("child_stopped"), "the end")
                assert nodes.told("child_stopped") == [ChildStopped(sup.id, "w", reason)]
                assert await sup.count_children() == 0

    run_async(main)()


# Case 226.
@run_async
async def test_transient_tasks_that_end_at_once_run_exactly_once_each() -> None:
    """They are gone before their supervisor's monitor arrives, and were taken for crashed."""
    runs: list[int] = []

    class Task(GenServer[int]):
        def init(self, number: int) -> Any:
            runs.append(number)
            return Ok(number, continue_with="work")

        def handle_continue(self, token: Any, state: int) -> Any:
            return Stop("normal")

    async with trio(3, task=Task) as nodes:
        sup = await nodes.supervise(
            strategy="simple_one_for_one",
            child_template=ChildTemplate("task", restart="transient"),
            node_selector="round_robin",
        )
        await asyncio.gather(*(sup.start_child([number]) for number in range(60)))
        await until(lambda: len(nodes.told("child_stopped")) == 60, "all are done")
        assert sorted(runs) == list(range(60))
        assert {event.reason for event in nodes.told("child_stopped")} == {"normal"}
        assert (await sup.get_stats()).total_restarts == 0


@run_async
async def test_a_reason_that_cannot_travel_is_no_harm_to_the_supervisor() -> None:
    class Odd(Worker):
        def init(self, *args: Any) -> Any:
            return Ok(args, continue_with="end") if args == ("at once",) else args

        def handle_continue(self, token: Any, state: Any) -> Any:
            return Stop(object())

        def handle_call(self, message: Any, state: Any) -> Any:
            return Stop(object(), reply="bye")

    async with trio(2, odd=Odd) as nodes:
        place = {"node": nodes.b.id}
        sup = await nodes.supervise()
        for child_id in ("at once", "later"):
            child = ChildSpec(
                child_id, "odd", args=(child_id,), restart="temporary", node_selector=place
            )
            ref = await sup.start_child(child)
            if child_id == "later":
                assert await ref.call("end") == "bye"
            await until(lambda: nodes.told("child_stopped"), "its end")
            nodes.events.clear()
        assert await sup.count_children() == 0


@run_async
async def test_one_for_all_across_nodes_in_reverse_order_then_in_order() -> None:
    async with trio() as nodes:
        a, b, c = nodes.nodes
        sup = await nodes.supervise(
            strategy="one_for_all", children=[spec("1", b), spec("2", c), spec("3", a)]
        )
        Worker.ended.clear()
        await crash(sup, "2")
        children = await until_restarts(sup, [1, 1, 1])
        assert [args[0] for _, args, _ in Worker.ended] == ["2", "3", "1"]
        assert [reason for _, _, reason in Worker.ended[1:]] == ["shutdown", "shutdown"]
        told = [(type(e), e.child_id) for e in nodes.events[-3:]]
        assert told == [(ChildRestarted, "1"), (ChildRestarted, "2"), (ChildRestarted, "3")]
        assert [info.node_id for info in children] == [b.id, c.id, a.id]
        assert copies(nodes) == {"1": 1, "2": 1, "3": 1}


@run_async
async def test_rest_for_one_across_nodes() -> None:
    async with trio() as nodes:
        a, b, c = nodes.nodes
        sup = await nodes.supervise(
            strategy="rest_for_one", children=[spec("1", b), spec("2", c), spec("3", a)]
        )
        first = (await sup.get_child("1")).ref
        await crash(sup, "2")
        children = await until_restarts(sup, [0, 1, 1])
        assert children[0].ref == first
        assert copies(nodes) == {"1": 1, "2": 1, "3": 1}


async def until_restarts(sup: Any, counts: list[int]) -> list[Any]:
    async def check() -> Any:
        found = await sup.get_children()
        ready = all(info.status == "running" for info in found)
        return found if ready and [info.restart_count for info in found] == counts else None

    children: list[Any] = await until(check, f"restart counts {counts}")
    return children


@run_async
async def test_giving_up_ends_all_children_everywhere() -> None:
    async with trio() as nodes:
        sup = await nodes.supervise(
            name="pool",
            children=[spec("1", nodes.b), spec("2", nodes.c)],
            restart_intensity=RestartIntensity(1, 60.0),
        )
        await crash(sup, "1")
        await until_restarts(sup, [1, 0])
        await crash(sup, "1")
        reason = await sup.wait(timeout=10.0)
        assert isinstance(reason[1], DistributedMaxRestartsExceededError)
        assert (reason[1].supervisor_id, reason[1].max_restarts, reason[1].within) == (
            "pool",
            1,
            60,
        )
        assert copies(nodes) == {}
        assert nodes.told("supervisor_stopped")[0].reason == "max_restarts_exceeded"
        assert len(nodes.told("supervisor_stopped")) == 1
        assert await nodes.a.whereis_global("pool") is None


# ---------------------------------------------------------------------- nodes that die


# Cases 233 and 235; rule D2.
@pytest.mark.parametrize("count", [1, 3, 10, 50])
def test_a_lost_node_counts_once_however_many_children_it_had(count: int) -> None:
    async def main() -> None:
        async with trio() as nodes:
            a, b, _ = nodes.nodes
            lost = [f"w{i}" for i in range(count)]
            sup = await nodes.supervise(
                children=[ChildSpec(w, "worker", node_selector=first_b) for w in lost]
                + [spec("kept", a), spec("temp", b, restart="temporary")],
                restart_intensity=RestartIntensity(3, 60.0),
            )
            assert {info.node_id for info in (await sup.get_children())[:count]} == {b.id}
            await nodes.lose(b)
            children = await running(sup, count + 1)
            assert [info.id for info in children] == [*lost, "kept"]
            detected = nodes.told("node_failure_detected")
            assert detected == [NodeFailureDetected(sup.id, b.id, (*lost, "temp"))]
            migrated = nodes.told("child_migrated")
            assert sorted(event.child_id for event in migrated) == sorted(lost)
            assert {event.from_node for event in migrated} == {b.id}
            assert nodes.told("child_restarted") == []
            assert nodes.told("child_stopped") == [ChildStopped(sup.id, "temp", "noconnection")]
            stats = await sup.get_stats()
            assert stats.node_failure_restarts == stats.total_restarts == count
            assert copies(nodes) == dict.fromkeys([*lost, "kept"], 1)
            for _ in range(2):  # the window has room for two more, and no third
                before = len(nodes.told("child_restarted"))
                await crash(sup, "kept")
                await until(lambda: len(nodes.told("child_restarted")) > before, "a restart")  # noqa: B023
            await crash(sup, "kept")
            reason = await sup.wait(timeout=10.0)
            assert isinstance(reason[1], DistributedMaxRestartsExceededError)
            assert copies(nodes) == {}

    run_async(main)()


def first_b(members: Any, child_id: str) -> str:
    """The node b, as long as there is one."""
    ids = [member.id for member in members]
    return next((node_id for node_id in ids if node_id.startswith("b@")), ids[0])


@pytest.mark.parametrize(("mode", "survives"), [("once", True), ("none", True), ("each", False)])
def test_how_a_node_failure_counts(mode: Any, survives: bool) -> None:
    async def main() -> None:
        async with trio() as nodes:
            intensity = RestartIntensity({"once": 1, "none": 0, "each": 2}[mode], 60.0)
            sup = await nodes.supervise(
                children=[ChildSpec(f"w{i}", "worker", node_selector=first_b) for i in range(3)],
                restart_intensity=intensity,
                node_failure_counts=mode,
            )
            await nodes.lose(nodes.b)
            if survives:
                await running(sup, 3)
            else:
                reason = await sup.wait(timeout=10.0)
                assert isinstance(reason[1], DistributedMaxRestartsExceededError)
                assert copies(nodes) == {}

    run_async(main)()


@run_async
async def test_one_for_all_on_the_loss_of_a_node_counts_and_restarts_once() -> None:
    async with trio() as nodes:
        a, b, _ = nodes.nodes
        sup = await nodes.supervise(
            strategy="one_for_all",
            children=[
                ChildSpec("1", "worker", args=("1",), node_selector=first_b),
                spec("2", a),
                ChildSpec("3", "worker", args=("3",), node_selector=first_b),
                spec("4", a),
            ],
            restart_intensity=RestartIntensity(1, 60.0),
        )
        Worker.ended.clear()
        nodes.events.clear()
        await nodes.lose(b)
        await until_restarts(sup, [1, 1, 1, 1])
        assert [args[0] for node, args, _ in Worker.ended if node == a.id] == ["4", "2"]
        told = [(type(e), e.child_id) for e in nodes.events[1:]]
        assert told == [
            (ChildMigrated, "1"),
            (ChildRestarted, "2"),
            (ChildMigrated, "3"),
            (ChildRestarted, "4"),
        ]
        stats = await sup.get_stats()
        assert (stats.node_failure_restarts, stats.total_restarts) == (2, 4)


@run_async
async def test_rest_for_one_on_the_loss_of_a_node_leaves_the_earlier_ones() -> None:
    async with trio() as nodes:
        a, b, _ = nodes.nodes
        lost = ChildSpec("2", "worker", args=("2",), node_selector=first_b)
        sup = await nodes.supervise(
            strategy="rest_for_one", children=[spec("1", a), lost, spec("3", a)]
        )
        first = (await sup.get_child("1")).ref
        await nodes.lose(b)
        children = await until_restarts(sup, [0, 1, 1])
        assert children[0].ref == first
        assert copies(nodes) == {"1": 1, "2": 1, "3": 1}


@run_async
async def test_children_of_local_first_spread_when_their_node_dies() -> None:
    async with trio(1) as nodes:
        nodes.classes = {"special": Worker}
        b = await nodes.add("b")
        sup = await nodes.supervise(
            nodes.a, children=[ChildSpec(f"w{i}", "special") for i in range(12)]
        )
        assert len(hosted(b)) == 12  # nobody else had the behavior
        for node in (await nodes.add("c"), await nodes.add("d")):
            assert hosted(node) == {}
        nodes.a.behaviors.register("special", Worker)
        await until(lambda: "special" in nodes.a.members()[0].behaviors, "a says what it has")
        await nodes.lose(b)
        found = Counter(info.node_id[0] for info in await running(sup, 12))
        assert set(found) == {"a", "c", "d"} and max(found.values()) <= 7
        assert copies(nodes) == {f"w{i}": 1 for i in range(12)}


@run_async
async def test_two_nodes_that_die_in_the_same_instant() -> None:
    async with trio(5) as nodes:
        sup = await nodes.supervise(
            children=[spec(f"w{i}") for i in range(20)],
            node_selector="round_robin",
            restart_intensity=RestartIntensity(2, 60.0),
        )
        dying = nodes.nodes[1:3]
        await asyncio.gather(*(nodes.kill(node) for node in dying))
        await until(lambda: len(nodes.told("node_failure_detected")) == 2, "both are seen")
        await running(sup, 20)
        assert copies(nodes) == {f"w{i}": 1 for i in range(20)}
        assert len(nodes.told("child_migrated")) >= 8


# Case 238; rule D3.
@run_async
async def test_a_child_without_a_node_is_pending_and_placed_when_one_joins() -> None:
    async with trio(1) as nodes:
        nodes.classes = {"special": Worker}
        b = await nodes.add("b")
        child = ChildSpec("s", "special", restart="permanent")
        sup = await nodes.supervise(nodes.a, children=[child])
        await nodes.lose(b)
        await until(lambda: nodes.told("child_pending"), "the child is pending")
        info = await sup.get_child("s")
        assert (info.status, info.ref, info.node_id) == ("pending", None, None)
        assert "special" in info.reason and info.reason in await sup.explain("s")
        assert (await sup.get_stats()).pending == 1
        with pytest.raises(DistributedDuplicateChildError):
            await sup.start_child(ChildSpec("s", "worker"))
        with pytest.raises(DistributedBehaviorNotFoundError):
            await sup.restart_child("s")
        c = await nodes.add("c")
        assert [info.node_id for info in await running(sup, 1)] == [c.id]
        assert nodes.told("child_migrated") == [ChildMigrated(sup.id, "s", b.id, c.id)]
        assert [type(e) for e in nodes.told("child_pending")] == [ChildPending]


@run_async
async def test_a_pending_child_is_placed_when_its_behavior_is_registered() -> None:
    async with trio(1) as nodes:
        nodes.classes = {"special": Worker}
        b = await nodes.add("b")
        sup = await nodes.supervise(nodes.a, children=[ChildSpec("s", "special")])
        await nodes.lose(b)
        await until(lambda: nodes.told("child_pending"), "the child is pending")
        nodes.a.behaviors.register("special", Worker)
        assert [info.node_id for info in await running(sup, 1)] == [nodes.a.id]


@run_async
async def test_terminate_and_stop_of_a_pending_child() -> None:
    async with trio(1) as nodes:
        nodes.classes = {"special": Worker}
        b = await nodes.add("b")
        children = [ChildSpec("s", "special"), ChildSpec("t", "special")]
        sup = await nodes.supervise(nodes.a, children=children)
        await nodes.lose(b)
        await until(lambda: len(nodes.told("child_pending")) == 2, "both are pending")
        await sup.terminate_child("s")
        assert await sup.get_child("s") is None
        await sup.stop(timeout=5.0)
        assert copies(nodes) == {}


# Case 236.
@run_async
async def test_a_behavior_that_is_advertised_but_gone_is_started_elsewhere() -> None:
    async with trio() as nodes:
        sup = await nodes.supervise(children=[ChildSpec("w", "worker", node_selector=first_b)])
        nodes.b.behaviors.unregister("worker")
        await crash(sup, "w")  # b is asked again, and refuses
        children = await running(sup, 1)
        assert children[0].node_id != nodes.b.id
        assert copies(nodes) == {"w": 1}


# ---------------------------------------------------------------------- silence


class Mute(GenServer[list[Any]]):
    """A host that hears and does not answer, until it is told to hand over to a real one."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, message: Any, state: list[Any]) -> Any:
        state.append(message)
        return NoReply()


async def mute(node: Any) -> Any:
    """Put a mute in the place of the host of this node, which is returned, for `unmute`."""
    host = node.kernel.names.pop(HOST)
    await node.kernel.start(Mute, name=HOST)
    return host


def unmute(node: Any, host: Any) -> None:
    """Give the host its name back."""
    node.kernel.names[HOST] = host


# Rule D3.
@run_async
async def test_a_silent_host_makes_the_outcome_unknown_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_children, "ASK_AGAIN", 0.01)
    async with trio() as nodes:
        sup = await nodes.supervise(name="pool", spawn_timeout=0.1)
        muted = await mute(nodes.b)
        far = await DistributedSupervisor.find(nodes.c, "pool")
        with pytest.raises(ChildStartError) as caught:
            await far.start_child(spec("w", nodes.b))
        assert (caught.value.child_id, caught.value.outcome) == ("w", "unknown")
        info = await sup.get_child("w")
        assert info.status == "pending" and info.reason.startswith("unconfirmed")
        with pytest.raises(DistributedDuplicateChildError):
            await far.start_child(ChildSpec("w", "worker"))
        unmute(nodes.b, muted)
        assert copies(nodes) == {}  # no second copy on silence alone
        children = await running(sup, 1)
        assert children[0].node_id == nodes.b.id
        assert copies(nodes) == {"w": 1}
        assert [e.child_id for e in nodes.told("child_started")] == ["w"]


@run_async
async def test_a_silent_host_that_dies_ends_the_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_children, "ASK_AGAIN", 0.01)
    async with trio() as nodes:
        b, c = nodes.b, nodes.c
        sup = await nodes.supervise(
            children=[ChildSpec("w", "worker", node_selector=first_b)], spawn_timeout=0.1
        )
        ref = (await sup.get_child("w")).ref
        await mute(b)
        ref.exit("odd")
        await until(lambda: nodes.told("child_pending"), "unconfirmed")
        assert (await sup.get_child("w")).reason.startswith("unconfirmed")
        await nodes.lose(b)
        children = await running(sup, 1)
        assert children[0].node_id in (nodes.a.id, c.id)
        assert copies(nodes) == {"w": 1}


@run_async
async def test_terminate_of_an_unconfirmed_child_bars_it_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_children, "ASK_AGAIN", 0.01)
    async with trio(2) as nodes:
        sup = await nodes.supervise(spawn_timeout=0.05)
        muted = await mute(nodes.b)
        with pytest.raises(ChildStartError):
            await sup.start_child(spec("w", nodes.b))
        ending = asyncio.create_task(sup.terminate_child("w"))
        await asyncio.sleep(0)
        unmute(nodes.b, muted)
        await asyncio.wait_for(ending, 12.0)
        assert await sup.count_children() == 0
        await settle(nodes)
        assert copies(nodes) == {}


async def settle(nodes: Trio) -> None:
    """Let what is under way between the nodes arrive: a round trip on each pair, twice."""
    for _ in range(2):
        for one in nodes.living:
            for other in nodes.living:
                await one.ref(HOST, on=other.id).call(("count",))


@run_async
async def test_a_start_that_nobody_waits_for_any_more_is_not_left_behind() -> None:
    gate = asyncio.Event()

    class Gated(Worker):
        async def init(self, *args: Any) -> Any:
            await gate.wait()
            return args

    async with trio(2, gated=Gated) as nodes:
        sup = await nodes.supervise()
        child = ChildSpec("g", "gated", node_selector={"node": nodes.b.id})
        starting = asyncio.create_task(sup.start_child(child))
        await until(lambda: nodes.b.kernel.find(nodes.b.kernel.whereis(HOST)).state.running, "b")
        await sup.terminate_child("g")
        with pytest.raises(ChildStartError):
            await starting
        gate.set()
        await settle(nodes)
        assert copies(nodes) == {}


# ---------------------------------------------------------------------- the end of supervisors


# Case 239.
@pytest.mark.parametrize("how", ["kill", "crash"])
def test_children_of_a_supervisor_that_is_gone_end_as_orphans(how: str) -> None:
    async def main() -> None:
        async with trio() as nodes:
            sup = await nodes.supervise(
                name="pool", children=[spec("1", nodes.b), spec("2", nodes.c), spec("3", nodes.a)]
            )
            Worker.ended.clear()
            if how == "kill":
                sup.ref.exit("kill")
            else:
                server = nodes.a.kernel.find(sup.ref).server  # type: ignore[union-attr]
                server.hear_other = fail
                sup.ref.send("anything")
            await sup.wait(timeout=10.0)
            await until(lambda: copies(nodes) == {}, "all children end")
            if how == "kill":
                assert {r for _, _, r in Worker.ended} == {("shutdown", "orphaned")}
            assert sorted(args[0] for _, args, _ in Worker.ended) == ["1", "2", "3"]
            again = await DistributedSupervisor.start(nodes.b, name="pool")
            assert await again.is_running()

    run_async(main)()


def fail(message: Any) -> None:
    raise ValueError("a fault")


@run_async
async def test_stop_terminate_and_restart_are_done_when_they_return() -> None:
    class Slow(Worker):
        async def terminate(self, reason: Any, state: Any) -> None:
            await asyncio.sleep(0.05)  # sleep: an end that takes its time is what is waited for
            super().terminate(reason, state)

    async with trio(2, slow=Slow) as nodes:
        place = {"node": nodes.b.id}
        sup = await nodes.supervise(
            children=[ChildSpec(f"s{i}", "slow", node_selector=place) for i in range(4)]
        )
        refs = {info.id: info.ref for info in await sup.get_children()}
        assert set(hosted(nodes.b)) == set(refs)
        await sup.terminate_child("s0")
        assert set(hosted(nodes.b)) == {"s1", "s2", "s3"}
        await sup.restart_child("s1")
        assert hosted(nodes.b)["s1"] != refs["s1"]
        assert nodes.b.kernel.find(local(nodes.b, refs["s1"])) is None
        Worker.ended.clear()
        await sup.stop()
        assert hosted(nodes.b) == {} and len(Worker.ended) == 3


def local(node: Any, ref: Any) -> Any:
    return node.kernel.ref_for(ref.node_id, ref.incarnation, ref.serial)


@run_async
async def test_a_child_that_does_not_end_is_killed_after_its_shutdown_time() -> None:
    class Deaf(Worker):
        def init(self, *args: Any) -> Any:
            self.trap_exits = True
            return args

        async def terminate(self, reason: Any, state: Any) -> None:
            await asyncio.sleep(3600)

    async with trio(2, deaf=Deaf) as nodes:
        place = {"node": nodes.b.id}
        deaf = ChildSpec("d", "deaf", shutdown=0.05, node_selector=place)
        brutal = ChildSpec("b", "worker", shutdown="brutal_kill", node_selector=place)
        sup = await nodes.supervise(children=[deaf, brutal])
        Worker.ended.clear()
        async with asyncio.timeout(5.0):
            await sup.stop()
        stopped = {event.child_id: event.reason for event in nodes.told("child_stopped")}
        assert stopped == {"d": "killed", "b": "killed"}
        assert Worker.ended == [] and hosted(nodes.b) == {}


@run_async
async def test_a_child_that_traps_exits_obeys_its_supervisor() -> None:
    class Trapping(Worker):
        def init(self, *args: Any) -> Any:
            self.trap_exits = True
            return args

    async with trio(2, trapping=Trapping) as nodes:
        place = {"node": nodes.b.id}
        child = ChildSpec("t", "trapping", shutdown="infinity", node_selector=place)
        sup = await nodes.supervise(children=[child])
        async with asyncio.timeout(5.0):
            await sup.terminate_child("t")
        assert [reason for _, _, reason in Worker.ended] == ["shutdown"]


@run_async
async def test_the_end_of_a_significant_child_elsewhere_ends_the_supervisor() -> None:
    async with trio(2) as nodes:
        significant = spec("s", nodes.b, restart="transient", significant=True)
        sup = await nodes.supervise(
            children=[significant, spec("w", nodes.b)], auto_shutdown="any_significant"
        )
        await (await sup.get_child("s")).ref.stop()
        assert await sup.wait(timeout=5.0) == "shutdown"
        assert copies(nodes) == {}


# Rule 10.
@run_async
async def test_a_significant_temporary_child_lost_with_its_node_has_ended_by_itself() -> None:
    async with trio(2) as nodes:
        significant = spec("s", nodes.b, restart="temporary", significant=True)
        sup = await nodes.supervise(
            children=[significant, spec("w", nodes.a)], auto_shutdown="all_significant"
        )
        await nodes.lose(nodes.b)
        assert await sup.wait(timeout=5.0) == "shutdown"
        assert copies(nodes) == {}


# Rule D7.
@run_async
async def test_the_end_of_a_nodes_life_ends_what_it_ran_and_owned() -> None:
    async with trio() as nodes:
        a, b, _ = nodes.nodes
        sup = await nodes.supervise(a, name="pool", children=[spec("w", b), spec("x", a)])
        own = await nodes.supervise(b, name="own", children=[spec("o", nodes.c)])
        Worker.ended.clear()
        life = b.incarnation
        b.network.membership._life_over("expelled", life, frozenset({a.id}))
        await until(lambda: b.incarnation > life, "b has a new life")
        await until(lambda: own_ended(b, own), "the supervisor of b has ended")
        ended = {args[0]: reason for _, args, reason in Worker.ended}
        assert ended["w"] == ("shutdown", "superseded")
        assert await sup.is_running()


def own_ended(node: Any, sup: Any) -> bool:
    return all(
        type(p.server).__name__ != "DistributedServer" for p in node.kernel.processes.values()
    )


# ---------------------------------------------------------------------- zombies


class Clinging(Worker):
    """Once told so, it does not let itself be cancelled until the gate opens."""

    entered: ClassVar[asyncio.Event]
    gate: ClassVar[asyncio.Event]

    async def handle_cast(self, message: Any, state: Any) -> None:
        Clinging.entered.set()
        while not Clinging.gate.is_set():
            try:
                await Clinging.gate.wait()
            except asyncio.CancelledError:
                continue


@pytest.mark.parametrize("allowed", [False, True])
def test_a_child_is_not_replaced_beside_its_own_zombie_on_any_node(allowed: bool) -> None:
    async def main() -> None:
        Clinging.entered, Clinging.gate = asyncio.Event(), asyncio.Event()
        try:
            async with trio(2, clinging=Clinging) as nodes:
                nodes.b.kernel.kill_grace = 0.05
                child = ChildSpec("z", "clinging", replace_zombies=allowed)
                sup = await nodes.supervise(nodes.a, children=[child], node_selector=first_b)
                ref = (await sup.get_child("z")).ref
                ref.cast("hold")
                await Clinging.entered.wait()
                ref.exit("kill")
                if allowed:
                    await until(lambda: nodes.told("child_restarted"), "the new one")
                    assert nodes.told("child_pending") == []
                    Clinging.gate.set()
                    await until(lambda: not nodes.b.kernel.zombies, "the zombie ends")
                else:
                    await until(lambda: nodes.told("child_pending"), "it is pending")
                    info = await sup.get_child("z")
                    assert info.status == "pending" and "zombie" in info.reason
                    assert "first_b" in info.reason  # the selector that counts for it
                    assert "zombie" in await sup.explain("z")
                    with pytest.raises(NoAvailableNodeError, match="zombie"):
                        await sup.restart_child("z")
                    assert copies(nodes) == {}
                    Clinging.gate.set()
                    await running(sup, 1)
        finally:
            Clinging.gate.set()

    run_async(main)()


# ---------------------------------------------------------------------- leaving


# Rule D10.
@run_async
async def test_a_node_that_drains_hands_its_children_over_one_by_one_uncounted() -> None:
    async with trio() as nodes:
        a, b, _ = nodes.nodes
        sup = await nodes.supervise(
            children=[
                ChildSpec(f"w{i}", "worker", args=(i,), node_selector=first_b) for i in range(6)
            ]
            + [ChildSpec("t", "worker", args=("t",), node_selector=first_b, restart="temporary")],
            restart_intensity=RestartIntensity(0, 60.0),
        )
        assert len(hosted(b)) == 7
        await b.drain(timeout=10.0)
        assert hosted(b) == {}
        children = await running(sup, 7)
        assert b.id not in {info.node_id for info in children}
        migrated = nodes.told("child_migrated")
        assert [e.child_id for e in migrated] == [*(f"w{i}" for i in range(6)), "t"]
        assert nodes.told("node_failure_detected") == []
        assert (await sup.get_stats()).node_failure_restarts == 0
        assert {reason for _, _, reason in Worker.ended} == {"shutdown"}
        await b.stop()
        await until(lambda: len(a.members()) == 2, "b is gone")
        assert copies(nodes) == {info.id: 1 for info in children}
        assert nodes.told("node_failure_detected") == []


@run_async
async def test_two_nodes_that_drain_at_once_under_one_for_all() -> None:
    async with trio() as nodes:
        a, b, c = nodes.nodes
        sup = await nodes.supervise(
            strategy="one_for_all",
            restart_intensity=RestartIntensity(0, 60.0),
            children=[spec(f"w{i}") for i in range(9)],
            node_selector="round_robin",
        )
        await asyncio.gather(b.drain(10.0), c.drain(10.0))
        assert (hosted(b), hosted(c)) == ({}, {})
        await running(sup, 9)
        assert len(hosted(a)) == 9
        assert len(nodes.told("child_migrated")) == 6 and not nodes.told("child_restarted")


@run_async
async def test_a_child_that_is_bound_to_a_draining_node_waits_for_it() -> None:
    async with trio(2) as nodes:
        sup = await nodes.supervise(children=[spec("w", nodes.b)])
        await nodes.b.drain(10.0)
        info = await sup.get_child("w")
        assert info.status == "pending" and "is draining" in info.reason
        with pytest.raises(NoAvailableNodeError, match="draining"):
            await sup.start_child(spec("x", nodes.b))


@run_async
async def test_the_node_of_a_supervisor_that_stops_takes_its_children_along() -> None:
    async with trio() as nodes:
        sup = await nodes.supervise(
            nodes.c,
            name="pool",
            children=[spec(f"w{i}") for i in range(6)],
            node_selector="round_robin",
        )
        assert sup.node_id == nodes.c.id
        far = await DistributedSupervisor.find(nodes.a, "pool")
        await nodes.c.stop()
        await until(lambda: copies(nodes) == {}, "no child is left")
        with pytest.raises(DistributedSupervisorError):
            await far.get_children()
        assert {r for _, _, r in Worker.ended} == {"shutdown"}
        assert await nodes.a.whereis_global("pool") is None


@run_async
async def test_a_node_that_stops_cuts_short_a_supervisor_that_still_starts() -> None:
    class Lazy(Worker):
        async def init(self, *args: Any) -> Any:
            await asyncio.sleep(3600)

    async with trio(2, lazy=Lazy) as nodes:
        a, b = nodes.nodes
        lazy = ChildSpec("l", "lazy", node_selector={"node": b.id})
        starting = asyncio.create_task(
            DistributedSupervisor.start(a, name="pool", children=[spec("w", b), lazy])
        )
        await until(lambda: hosted(b), "the first child is up")
        async with asyncio.timeout(3.0):  # the default drain time of these nodes is 5 s
            await a.stop()
        with pytest.raises(DistributedSupervisorError, match="while it started"):
            await starting
        await until(lambda: copies(nodes) == {}, "its children end")
        assert [reason for _, _, reason in Worker.ended] == [("shutdown", "orphaned")]


@run_async
async def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    class Lazy(Worker):
        async def init(self, *args: Any) -> Any:
            await asyncio.sleep(3600)

    async with trio(2, lazy=Lazy) as nodes:
        a, b = nodes.nodes
        counts = [node.kernel.process_count for node in nodes.nodes]
        lazy = ChildSpec("l", "lazy", node_selector={"node": b.id})
        starting = asyncio.create_task(
            DistributedSupervisor.start(a, name="pool", children=[spec("w", b), lazy])
        )
        await until(lambda: hosted(b), "the first child is up")
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(
            lambda: [node.kernel.process_count for node in nodes.nodes] == counts, "all is gone"
        )
        assert await DistributedSupervisor.start(b, name="pool")


@run_async
async def test_a_stop_goes_on_when_a_node_dies_meanwhile() -> None:
    async with trio(4) as nodes:
        for turns in (0, 3, 9):
            sup = await nodes.supervise(
                name=f"pool{turns}",
                children=[spec(f"w{i}") for i in range(12)],
                node_selector="round_robin",
            )
            stopping = asyncio.create_task(sup.stop())
            for _ in range(turns):
                await asyncio.sleep(0)
            await nodes.kill(nodes.living[-1])
            await asyncio.wait_for(stopping, 10.0)
            assert copies(nodes) == {}
