"""A node: its life, its options, its members, and processes on it and on others."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import Any

import pytest
from three_nodes import FAST, Worker, behaviors, run_async, start_node, trio, until

from noex import (
    CallTimeoutError,
    GenServer,
    GlobalNameConflictError,
    InitFailedError,
    InitTimeoutError,
    InsecureBindError,
    InvalidNodeIdError,
    InvalidOptionError,
    MessageSerializationError,
    NameTakenError,
    Node,
    NodeConfig,
    NodeDown,
    NodeNotReachableError,
    NodeStoppedError,
    NodeUp,
    NoProcessError,
    PortInUseError,
    ServerCrashedError,
)
from noex.runtime.errors import BehaviorNotFoundError
from noex.transport.ports import choose_ports


class Watcher(GenServer[list[Any]]):
    """Keeps what it is sent."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, message: Any, state: list[Any]) -> Any:
        return list(state), state

    def handle_info(self, message: Any, state: list[Any]) -> None:
        state.append(message)


class Relay(GenServer[None]):
    """Sends to a ref what it is called with, as soon as its node knows the ref's node."""

    def init(self) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        ref, text = message
        return ref.send(text), state


class Slow(GenServer[None]):
    """Its init does not return."""

    async def init(self) -> None:
        await asyncio.sleep(3600)


class Broken(GenServer[None]):
    """Its init raises."""

    def init(self) -> None:
        raise ValueError("no disk")


def traces() -> tuple[int, int]:
    """Open files and threads."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


# ---------------------------------------------------------------------- alone


@run_async
async def test_without_an_id_it_is_the_runtime_alone_and_opens_nothing() -> None:
    before = traces()
    async with Node(behaviors=behaviors(), slow_handler=None) as node:
        assert traces() == before
        assert node.network is None and node.is_frozen is False
        ref = await node.start(Worker, 1, 2)
        assert await ref.call("args") == (1, 2)
        assert [info.id for info in node.members()] == [node.id]
        assert len(await node.wait_for_members(1)) == 1
        assert node.members()[0].status == "up"
        assert node.members()[0].behaviors == ("worker",)
        await node.drain(timeout=0.1)
        here = await node.spawn("worker", 3)
        assert await here.call("args") == (3,)
        assert await node.options(name="leader", register="global").start(Worker) is not None
        assert (await node.whereis_global("leader")).is_local


@run_async
async def test_what_a_stopped_node_still_says() -> None:
    node = Node("x@127.0.0.1:0", behaviors=behaviors(), membership=FAST)
    for use in (lambda: node.kernel, lambda: node.registry, node.events):
        with pytest.raises(NodeStoppedError):
            use()
    await node.stop()  # it never ran: nothing to do
    await node.start_up()
    assert not node.id.endswith(":0")
    ref = await node.start(Worker)
    await node.stop()
    await node.stop()
    with pytest.raises(NodeStoppedError):
        await node.start(Worker)
    with pytest.raises(NodeStoppedError):
        await ref.call("args")
    with pytest.raises(NodeStoppedError, match="make a new Node"):
        await node.start_up()
    assert [event async for event in node.events()] == []


@run_async
async def test_stop_leaves_no_thread_no_file_and_no_task() -> None:
    await (await start_node("warm")).stop()  # whatever is made once per process is made now
    before = traces()
    tasks = asyncio.all_tasks()
    for _ in range(3):
        node = await start_node("x")
        await node.start(Worker)
        assert traces() > before
        await asyncio.gather(node.stop(), node.stop())
    await until(lambda: traces() == before, f"{traces()} == {before}")
    assert asyncio.all_tasks() == tasks


@run_async
async def test_a_port_in_use_is_an_error_and_leaves_nothing_behind() -> None:
    await (await start_node("warm")).stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = traces()
        for options in ({}, {"user_port": port}, {"pub_port": port}):
            own = port if not options else 0
            node = Node(f"x@127.0.0.1:{own}", behaviors=behaviors(), **options)
            with pytest.raises(PortInUseError, match=str(port)):
                await node.start_up()
        await until(lambda: traces() == before, "the sockets that were bound are closed")


@run_async
async def test_two_nodes_of_one_id_cannot_both_listen() -> None:
    node = await start_node("x")
    with pytest.raises(PortInUseError):
        await Node(node.id, behaviors=behaviors()).start_up()
    assert await (await node.start(Worker, 1)).call("args") == (1,)
    await node.stop()


@run_async
async def test_a_node_that_cannot_join_says_so_and_leaves_nothing_behind() -> None:
    await (await start_node("warm")).stop()
    before = traces()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        seed = f"s@127.0.0.1:{silent.getsockname()[1]}"
        node = Node("x@127.0.0.1:0", seeds=[seed], join_timeout=0.2, behaviors=behaviors())
        with pytest.raises(TimeoutError, match=rf"not a member after 0.2 s; seeds: {seed}"):
            await node.start_up()
    await until(lambda: traces() == before, "all closed")


@run_async
async def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    await (await start_node("warm")).stop()
    before = traces()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        seed = f"s@127.0.0.1:{silent.getsockname()[1]}"
        for yields in (0, 1, 3, 30):
            node = Node("x@127.0.0.1:0", seeds=[seed], behaviors=behaviors())
            starting = asyncio.create_task(node.start_up())
            for _ in range(yields):
                await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
    await until(lambda: traces() == before, "all closed")


@run_async
async def test_stop_during_start_ends_the_start() -> None:
    await (await start_node("warm")).stop()
    before = traces()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        seed = f"s@127.0.0.1:{silent.getsockname()[1]}"
        for yields in (1, 3, 30):
            node = Node("x@127.0.0.1:0", seeds=[seed], behaviors=behaviors(), join_timeout=9.0)
            starting = asyncio.create_task(node.start_up())
            for _ in range(yields):
                await asyncio.sleep(0)
            async with asyncio.timeout(5.0):
                await node.stop()
                with pytest.raises(NodeStoppedError):
                    await starting
    await until(lambda: traces() == before, "all closed")


def test_ctrl_c_in_a_handler_stops_the_node_and_goes_its_way() -> None:
    class Interrupted(GenServer[None]):
        def init(self) -> None:
            return None

        def handle_cast(self, message: Any, state: None) -> None:
            raise KeyboardInterrupt

    kept: list[Node] = []

    async def main() -> None:
        async with Node("x@127.0.0.1:0", behaviors=behaviors(), membership=FAST) as node:
            kept.append(node)
            Worker.ended.clear()
            await node.start(Worker, "w")
            (await node.start(Interrupted)).cast("now")
            await asyncio.sleep(3600)

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert kept[0].kernel.closed is not None
    assert [(state, reason) for _, state, reason in Worker.ended] == [(("w",), "shutdown")]
    assert threading.active_count() <= threads


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"seeds": "a@127.0.0.1:1"}, "seeds"),
        ({"seeds": 7}, "seeds"),
        ({"labels": {"zone": 1}}, "labels"),
        ({"labels": 7}, "labels"),
        ({"labels": {str(i): "" for i in range(65)}}, "labels"),
        ({"kill_grace": 0}, "kill_grace"),
        ({"terminate_timeout": "5"}, "terminate_timeout"),
        ({"join_timeout": True}, "join_timeout"),
        ({"drain_timeout": -1}, "drain_timeout"),
        ({"blocking_threads": 0}, "blocking_threads"),
        ({"blocking_threads": True}, "blocking_threads"),
        ({"blocking_threads": 2.5}, "blocking_threads"),
        ({"slow_handler": 0}, "slow_handler"),
        ({"slow_handler": "fast"}, "slow_handler"),
        ({"slow_handler": float("nan")}, "slow_handler"),
        ({"user_port": 65536}, "user_port"),
        ({"pub_port": -1}, "pub_port"),
        ({"drain_timout": 1}, "drain_timout"),
        ({"cluster_secret": "s3cret"}, "cluster_secret"),
        ({"cluster": ""}, "cluster"),
        ({"copy_messages": 1}, "copy_messages"),
        ({"insecure": "no"}, "insecure"),
        ({"kill_grace": float("nan")}, "kill_grace"),
        ({"join_timeout": float("inf")}, "join_timeout"),
        ({"membership": 1}, "membership"),
        ({"lane": None}, "lane"),
        ({"control": {}}, "control"),
        ({"bind": 7}, "bind"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_opened(
    options: dict[str, Any], field: str
) -> None:
    before = traces()
    with pytest.raises(InvalidOptionError) as caught:
        Node("x@127.0.0.1:0", **options)
    assert caught.value.field == field
    assert "s3cret" not in str(caught.value)
    assert traces() == before


@pytest.mark.parametrize("option", ["seeds", "bind", "user_port", "pub_port"])
def test_what_needs_a_cluster_is_refused_without_an_id(option: str) -> None:
    value = {"seeds": ["a@127.0.0.1:1"], "bind": "127.0.0.1"}.get(option, 4000)
    with pytest.raises(InvalidOptionError) as caught:
        Node(None, **{option: value})
    assert caught.value.field == option


@pytest.mark.parametrize("node_id", ["", "x", "x@", "x@127.0.0.1", "x@127.0.0.1:x", "a b@h:1", 7])
def test_a_bad_node_id_is_an_error(node_id: Any) -> None:
    with pytest.raises(InvalidNodeIdError):
        Node(node_id)


def test_a_seed_needs_a_port() -> None:
    with pytest.raises(InvalidNodeIdError, match="needs the port"):
        Node("x@127.0.0.1:0", seeds=["a@127.0.0.1:0"])


@pytest.mark.parametrize("where", ["0.0.0.0", "10.1.2.3", "example.org"])
def test_an_address_beyond_loopback_needs_to_be_wanted(where: str) -> None:
    for options in ({"node_id": f"x@{where}:4369"}, {"node_id": "x@127.0.0.1:0", "bind": where}):
        with pytest.raises(InsecureBindError) as caught:
            NodeConfig(**options)
        assert caught.value.address == where
        assert NodeConfig(**options, insecure=True).insecure


def test_options_go_over_a_config() -> None:
    config = NodeConfig("x@127.0.0.1:0", labels={"zone": "eu"}, kill_grace=3.0)
    node = Node(config=config, kill_grace=2.0)
    assert node.config == NodeConfig("x@127.0.0.1:0", labels={"zone": "eu"}, kill_grace=2.0)
    assert Node("y@127.0.0.1:0", config=config).config.node_id == "y@127.0.0.1:0"


# ---------------------------------------------------------------------- members


@run_async
async def test_members_know_each_other_in_the_same_order() -> None:
    async with trio() as nodes:
        listings = [[info.id for info in node.members()] for node in nodes.nodes]
        assert listings == [[node.id for node in nodes.nodes]] * 3
        lives = [(node.id, node.incarnation) for node in nodes.nodes]
        assert [(info.id, info.incarnation) for info in nodes.c.members()] == lives
        assert {info.behaviors for info in nodes.c.members()} == {("worker",)}
        assert {info.status for info in nodes.c.members()} == {"up"}


@run_async
async def test_labels_and_process_counts_travel() -> None:
    async with trio(1) as nodes:
        labelled = await nodes.add("b", labels={"zone": "eu"})
        info = next(info for info in nodes.a.members() if info.id == labelled.id)
        assert info.labels == {"zone": "eu"}
        for _ in range(40):
            await labelled.start(Worker)

        def count() -> int:
            return next(i.process_count for i in nodes.a.members() if i.id == labelled.id)

        await until(lambda: count() == labelled.kernel.process_count, "the count of b at a")


@run_async
async def test_wait_for_members_says_whom_it_sees() -> None:
    async with trio(2) as nodes:
        ids = f"{nodes.a.id}, {nodes.b.id}"
        with pytest.raises(TimeoutError) as caught:
            await nodes.a.wait_for_members(3, timeout=0.01)
        assert str(caught.value) == f"{nodes.a.id} sees 2 members after 0.01 s, not 3: {ids}"
        waiting = asyncio.create_task(nodes.a.wait_for_members(3))
        await nodes.add("c")
        assert len(await waiting) == 3


@run_async
async def test_who_waits_for_members_of_a_node_that_stops_is_told() -> None:
    async with trio(1) as nodes:
        waiting = asyncio.create_task(nodes.a.wait_for_members(2, timeout=None))
        await asyncio.sleep(0)
        await nodes.a.stop()
        with pytest.raises(NodeStoppedError):
            await asyncio.wait_for(waiting, 5.0)


@run_async
async def test_two_nodes_that_were_not_introduced_do_not_know_each_other() -> None:
    a, b = await start_node("a"), await start_node("b")
    assert [info.id for info in a.members()] == [a.id]
    assert [info.id for info in b.members()] == [b.id]
    ref = await b.start(Worker)
    stranger = a.kernel.ref_for(ref.node_id, ref.incarnation, ref.serial)
    with pytest.raises(NodeNotReachableError):
        await stranger.call("args")
    assert not await stranger.is_alive()
    await a.stop()
    assert await ref.call("args") == ()
    await b.stop()


@run_async
async def test_nodes_of_another_cluster_name_stay_strangers() -> None:
    a = await start_node("a", cluster="one")
    b = Node("b@127.0.0.1:0", seeds=[a.id], cluster="two", join_timeout=0.5, behaviors=behaviors())
    with pytest.raises(TimeoutError):
        await b.start_up()
    assert [info.id for info in a.members()] == [a.id]
    await a.stop()


@run_async
async def test_events_of_the_cluster_in_order() -> None:
    async with trio(1) as nodes:
        events = nodes.a.events()
        b = await nodes.add("b")
        await nodes.lose(b)
        await nodes.a.stop()
        seen = [e async for e in events if isinstance(e, NodeUp | NodeDown)]
        assert seen == [
            NodeUp(b.id, b.incarnation),
            NodeDown(b.id, b.incarnation, seen[1].reason),
        ]
        assert isinstance(seen[1].reason, str) and seen[1].reason != "graceful_shutdown"


@run_async
async def test_a_node_that_leaves_gives_that_reason() -> None:
    async with trio(2) as nodes:
        events = nodes.a.events()
        uid = (nodes.b.id, nodes.b.incarnation)
        await nodes.b.stop()
        async for event in events:
            if isinstance(event, NodeDown):
                assert event == NodeDown(*uid, "graceful_shutdown")
                break


# Case 166.
@run_async
async def test_node_up_comes_before_the_first_message_and_node_down_after_the_last() -> None:
    async with trio(1, relay=Relay) as nodes:
        watcher = await nodes.a.options(name="watcher").start(Watcher)
        nodes.a.monitor_nodes(watcher)
        b = await nodes.add("b")
        target = b.kernel.ref_for(watcher.node_id, watcher.incarnation, watcher.serial)
        for number in range(100):
            target.send(number)
        relay = await nodes.a.spawn("relay", on=b.id)
        await relay.call((watcher, "relayed"))
        await nodes.lose(b)
        seen = [
            m for m in await watcher.call("all") if isinstance(m, NodeUp | NodeDown | int | str)
        ]
        assert seen[0] == NodeUp(b.id, b.incarnation)
        assert seen[1:-1] == [*range(100), "relayed"]
        assert isinstance(seen[-1], NodeDown)


@run_async
async def test_the_last_messages_of_a_node_that_leaves_arrive_before_node_down() -> None:
    async with trio(2) as nodes:
        watcher = await nodes.a.start(Watcher)
        unsubscribe = nodes.a.monitor_nodes(watcher)
        target = nodes.b.kernel.ref_for(watcher.node_id, watcher.incarnation, watcher.serial)
        for number in range(500):
            target.send(number)
        await nodes.b.stop()
        await until(lambda: len(nodes.a.members()) == 1, "b is gone")
        seen = [m for m in await watcher.call("all") if isinstance(m, NodeDown | int)]
        assert seen[:-1] == list(range(500)) and isinstance(seen[-1], NodeDown)
        unsubscribe()
        await nodes.add("c")
        assert not any(isinstance(m, NodeUp) for m in await watcher.call("all"))


# Case 167.
@run_async
async def test_a_quick_restart_under_the_same_id_gives_down_then_up() -> None:
    async with trio(1) as nodes:
        b = await nodes.add("b", port=choose_ports(1)[0])
        events = nodes.a.events()
        await nodes.kill(b)
        again = Node(b.id, seeds=[nodes.a.id], behaviors=behaviors(), membership=FAST)
        await again.start_up()
        try:
            seen = []
            async for event in events:
                if isinstance(event, NodeUp | NodeDown):
                    seen.append(event)
                if len(seen) == 2:
                    break
            assert [(type(e), e.node_id, e.incarnation) for e in seen] == [
                (NodeDown, b.id, b.incarnation),
                (NodeUp, b.id, again.incarnation),
            ]
            assert again.incarnation > b.incarnation
        finally:
            await again.stop()


# Case 173.
@run_async
async def test_a_ref_of_an_earlier_life_never_reaches_the_new_one() -> None:
    async with trio(1) as nodes:
        b = await nodes.add("b", port=choose_ports(1)[0])
        stale = await nodes.a.spawn("worker", "old", on=b.id)
        named = nodes.a.ref("w", on=b.id)
        await nodes.lose(b)
        again = Node(b.id, seeds=[nodes.a.id], behaviors=behaviors(), membership=FAST)
        await again.start_up()
        try:
            await nodes.a.wait_for_members(2)
            for _ in range(8):  # one of them has the serial of the stale ref
                await again.start(Worker, "new")
            assert again.kernel.find(
                again.kernel.ref_for(again.id, again.incarnation, stale.serial)
            )
            with pytest.raises((NodeNotReachableError, NoProcessError)):
                await stale.call("args")
            assert await nodes.a.monitor(stale).wait(5.0) in ("noproc", "noconnection")
            await again.options(name="w").start(Worker, "by name")
            assert await named.call("args") == ("by name",)  # a name means whoever has it now
        finally:
            await again.stop()


# ---------------------------------------------------------------------- processes elsewhere


@run_async
async def test_spawn_on_another_node() -> None:
    async with trio(2, broken=Broken, slow=Slow) as nodes:
        a, b = nodes.a, nodes.b
        ref = await a.spawn("worker", 1, (2, {3}), on=b.id, key="v")
        assert ref.node_id == b.id and not ref.is_local
        assert await ref.call("args") == ((1, (2, {3})), {"key": "v"})
        named = await a.options(name="w").spawn("worker", on=b.id)
        assert b.whereis("w") == named and a.ref("w", on=b.id) != named
        assert await a.ref("w", on=b.id).call("args") == ()
        with pytest.raises(NameTakenError):
            await a.options(name="w").spawn("worker", on=b.id)
        with pytest.raises(BehaviorNotFoundError) as unknown:
            await a.spawn("nobody", on=b.id)
        assert unknown.value.behavior_name == "nobody" and unknown.value.node_id == b.id
        with pytest.raises(InitFailedError) as failed:
            await a.spawn("broken", on=b.id)
        assert isinstance(failed.value.__cause__, ValueError)
        with pytest.raises(MessageSerializationError, match=r"args\[1\]"):
            await a.spawn("worker", 0, threading.Lock(), on=b.id)
        before = b.kernel.process_count
        with pytest.raises(CallTimeoutError):
            await a.options(timeout=0.05).spawn("slow", on=b.id)
        with pytest.raises(InitTimeoutError):
            await a.options(init_timeout=0.05).spawn("slow", on=b.id)
        with pytest.raises(NodeNotReachableError):
            await a.spawn("worker", on="z@127.0.0.1:9")
        await until(lambda: b.kernel.process_count == before, "the slow start was given up")


@run_async
async def test_options_register_global_and_link() -> None:
    async with trio(2) as nodes:
        a, b = nodes.a, nodes.b
        leader = await a.options(name="leader", register="global").spawn("worker", 7, on=b.id)
        assert await b.whereis_global("leader") == leader
        assert await a.whereis_global("leader") == leader
        count = a.kernel.process_count
        with pytest.raises(GlobalNameConflictError) as conflict:
            await a.options(name="leader", register="global").start(Worker)
        assert conflict.value.owner == leader
        await until(lambda: a.kernel.process_count == count, "the loser's process is gone")
        with pytest.raises(GlobalNameConflictError):
            await a.options(name="leader", register="global").spawn("worker", on=b.id)
        with pytest.raises(InvalidOptionError, match="register"):
            a.options(register="everywhere")
        with pytest.raises(InvalidOptionError, match="needs name"):
            a.options(register="global")
        with pytest.raises(InvalidOptionError, match="link"):
            await a.options(link=True).start(Worker)
        with pytest.raises(InvalidOptionError, match="link"):
            await a.options(link=True).spawn("worker", on=b.id)
        await leader.stop()
        assert await a.whereis_global("leader") is None
        assert await a.options(name="leader", register="global").start(Worker)


@run_async
async def test_a_linked_process_ends_with_the_one_that_started_it() -> None:
    class Parent(GenServer[Any]):
        async def init(self) -> Any:
            return await self.node.options(link=True).start(Worker, "child")

        def handle_call(self, message: Any, state: Any) -> Any:
            if message == "crash":
                raise ValueError("parent")
            return state, state

    async with Node(behaviors=behaviors()) as node:
        parent = await node.start(Parent)
        child = await parent.call("child")
        with pytest.raises(ServerCrashedError):
            await parent.call("crash")
        assert isinstance(await child.wait(5.0), ValueError)


# Case 137.
@run_async
async def test_multi_call_gives_replies_and_failures_by_node() -> None:
    async with trio() as nodes:
        a, b, c = nodes.nodes
        for node in (a, b):
            await node.options(name="w").start(Worker, node.id)
        replies, failed = await a.multi_call("w", "args")
        assert replies == {a.id: (a.id,), b.id: (b.id,)}
        assert set(failed) == {c.id} and isinstance(failed[c.id], NoProcessError)
        replies, failed = await a.multi_call("w", "args", nodes=[b.id, "z@127.0.0.1:9"])
        assert replies == {b.id: (b.id,)}
        assert isinstance(failed["z@127.0.0.1:9"], NodeNotReachableError)
        replies, failed = await a.multi_call("w", ("crash", "x"), nodes=[b.id])
        assert replies == {} and isinstance(failed[b.id], ServerCrashedError)
        assert await a.multi_call("w", "args", nodes=[]) == ({}, {})


@run_async
async def test_a_name_here_or_elsewhere_is_an_address() -> None:
    async with trio(2) as nodes:
        a, b = nodes.a, nodes.b
        far = a.ref("w", on=b.id)
        with pytest.raises(NoProcessError):
            await far.call("args")
        assert a.whereis("w") is None
        ref = await b.options(name="w").start(Worker, 1)
        assert await far.call("args") == (1,)
        assert await b.ref("w").call("args") == (1,)
        monitor = a.monitor(far)
        assert await far.call("after the monitor") == "after the monitor"
        await ref.stop("shutdown")
        assert await monitor.wait(5.0) == "shutdown"
        await b.options(name="w").start(Worker, 2)
        assert await far.call("args") == (2,)


@run_async
async def test_copied_messages_show_what_would_not_survive_the_wire() -> None:
    async with Node(copy_messages=True, behaviors=behaviors()) as node:
        ref = await node.start(Worker)
        mine = [1, (2, {3})]
        theirs = await ref.call(mine)
        assert theirs == mine and theirs is not mine and theirs[1] == (2, {3})
        assert await ref.call(ref) is ref
        with pytest.raises(MessageSerializationError):
            await ref.call(threading.Lock())
        assert await ref.is_alive()


@run_async
async def test_a_drain_without_children_is_quick_and_says_so_to_the_others() -> None:
    async with trio(2) as nodes:
        await nodes.b.drain(timeout=5.0)

        def status() -> str:
            return next(info.status for info in nodes.a.members() if info.id == nodes.b.id)

        await until(lambda: status() == "draining", "a sees that b drains")
