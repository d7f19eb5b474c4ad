"""Wrong arguments of a node's methods: an error that says which, and a node that goes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from three_nodes import run_async, trio
from wrong import (
    INF,
    NO_FLAGS,
    NO_LIMITS,
    NO_NAMES,
    NO_NODE_IDS,
    NO_REFS,
    NO_WAITS,
    each,
    plain,
    refusal,
    refused,
    table,
)

from noex import GenServer, Node, NoProcessError
from noex.registry.behaviors import BehaviorRegistry


class Idle(GenServer[None]):
    def init(self) -> None:
        return None


# ---------------------------------------------------------------------- making one


@pytest.mark.parametrize("node_id", each(NO_NODE_IDS))
def test_a_node_id(node_id: Any) -> None:
    refusal(lambda: Node(node_id), "node id", node_id, "name@host:port")


@pytest.mark.parametrize(
    ("field", "value", "legal"),
    [
        ("behaviors", {"idle": Idle}, "BehaviorRegistry"),
        ("behaviors", BehaviorRegistry, "BehaviorRegistry"),
        ("behaviors", "idle", "BehaviorRegistry"),
        ("config", {"cluster": "x"}, "NodeConfig"),
        ("config", "node.toml", "NodeConfig"),
        ("kill_gracce", "***", "known are"),  # it may be a secret, wrongly spelt: no value
        ("kill_grace", "1", "seconds above 0"),
        ("seeds", "b@127.0.0.1:1", "a list of node ids"),
    ],
)
def test_options_of_a_node(field: str, value: Any, legal: str) -> None:
    refusal(lambda: Node("a@127.0.0.1:0", **{field: value}), field, value, legal)


def test_a_secret_is_not_shown() -> None:
    with pytest.raises(ValueError, match="cluster_secret") as caught:
        Node("a@127.0.0.1:0", cluster_secret="hunter2")
    assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------------- starting processes


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("name", lambda node, bad: node.options(name=bad), NO_NAMES[1:]),
        ("link", lambda node, bad: node.options(link=bad), NO_FLAGS),
        ("register", lambda node, bad: node.options(register=bad, name="x"), (None, "", 5, [])),
        ("init_timeout", lambda node, bad: node.options(init_timeout=bad), NO_WAITS),
        ("timeout", lambda node, bad: node.options(timeout=bad), NO_LIMITS),
        ("nmae", lambda node, bad: node.options(nmae=bad), ("x",)),
    ),
)
def test_options_of_a_start(call: Any, value: Any, request: pytest.FixtureRequest) -> None:
    field = request.node.callspec.id.rpartition("-")[0]
    refusal(lambda: call(Node(), value), field, value)


def test_an_option_that_is_unknown_tells_those_that_are_known() -> None:
    refusal(lambda: Node().options(nmae="x"), "nmae", "x", "name, link, register")


# ---------------------------------------------------------------------- a running node


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("behavior", lambda node, bad: node.start(bad), (None, "idle", 5, object, plain, [Idle])),
        ("behavior", lambda node, bad: node.spawn(bad), (None, "", 5, Idle, [], ("idle",))),
        ("node id", lambda node, bad: node.spawn("idle", on=bad), NO_NODE_IDS),
        ("name", lambda node, bad: node.whereis(bad), NO_NAMES),
        ("name", lambda node, bad: node.ref(bad), NO_NAMES),
        ("node id", lambda node, bad: node.ref("x", on=bad), NO_NODE_IDS),
        ("name", lambda node, bad: node.whereis_global(bad), NO_NAMES),
        ("timeout", lambda node, bad: node.whereis_global("x", timeout=bad), NO_LIMITS),
        ("ref", lambda node, bad: node.monitor(bad), NO_REFS),
        ("ref", lambda node, bad: node.monitor_nodes(bad), NO_REFS),
        ("count", lambda node, bad: node.wait_for_members(bad), (0, -1, True, None, "3", 1.5)),
        ("timeout", lambda node, bad: node.wait_for_members(2, timeout=bad), NO_WAITS),
        ("timeout", lambda node, bad: node.drain(timeout=bad), NO_LIMITS),
        ("name", lambda node, bad: node.multi_call(bad, "x"), NO_NAMES),
        ("nodes", lambda node, bad: node.multi_call("x", "y", nodes=bad), ("a@b:1", 5, object())),
        ("node id", lambda node, bad: node.multi_call("x", "y", nodes=[bad]), NO_NODE_IDS),
        ("timeout", lambda node, bad: node.multi_call("x", "y", timeout=bad), NO_WAITS),
        ("handler", lambda node, bad: node.on_lifecycle_event(bad), (None, 5, "print", plain)),
        ("name", lambda node, bad: node.registry.register(bad, bad), NO_NAMES),
        ("ref", lambda node, bad: node.registry.register("x", bad), NO_REFS),
        ("name", lambda node, bad: node.registry.unregister(bad), NO_NAMES),
        ("owner", lambda node, bad: node.registry.unregister("x", owner=bad), NO_REFS[1:]),
        ("timeout", lambda node, bad: node.registry.unregister("x", bad), NO_LIMITS),
        ("name", lambda node, bad: node.registry.whereis(bad), NO_NAMES),
        ("timeout", lambda node, bad: node.registry.whereis("x", bad), NO_LIMITS),
        ("timeout", lambda node, bad: node.registry.names(bad), NO_LIMITS),
        ("timeout", lambda node, bad: node.registry.complete(bad), NO_LIMITS),
    ),
)
def test_wrong_arguments_of_a_running_node(
    call: Any, value: Any, request: pytest.FixtureRequest
) -> None:
    field = request.node.callspec.id.rpartition("-")[0]

    @run_async
    async def main() -> None:
        async with Node(behaviors=BehaviorRegistry({"idle": Idle})) as node:
            count = node.kernel.process_count
            await refused(lambda: call(node, value), field, value)
            assert node.kernel.process_count == count
            assert await node.whereis_global("nobody") is None

    main()


@run_async
async def test_a_process_of_another_node_is_none_to_be_told_of_nodes_here() -> None:
    """Its number may be that of a process here, which did not ask."""
    async with trio(2) as nodes:
        there = await nodes.a.spawn("worker", on=nodes.b.id)
        here = [await nodes.a.start(Idle) for _ in range(there.serial)]
        await refused(lambda: nodes.a.monitor_nodes(there), "ref", there, nodes.a.id)
        gone = here.pop()
        await gone.stop()
        with pytest.raises(NoProcessError):
            nodes.a.monitor_nodes(gone)


@run_async
async def test_an_endless_timeout_of_a_call_to_another_node_is_no_limit() -> None:
    async with trio(2) as nodes:
        there = await nodes.a.spawn("worker", on=nodes.b.id)
        assert await there.is_alive(timeout=INF)
        assert await there.call("x", timeout=INF) is not None


NONSENSE: tuple[Any, ...] = (
    None,
    "x",
    5,
    (),
    [],
    {},
    object(),
    ("whereis", "x", INF),
    ("whereis", 5, 1.0),
    ("register", "x", None, 1.0),
    ("register", "x", "y", -1.0),
    ("unregister", None, None),
    ("spawn",),
    ("spawn", 1, 2, 3, 4),
    ("spawn", None, [], (1, 1), ("idle", (), {}, 5.0, 5.0)),
    ("spawn", ["unhashable"], "idle", (), {}, None, None, 5.0),
    ("spawn", "key", "idle", None, None, None, None, "soon"),
    ("stop", 1, 2, 3, 4, 5),
    ("is_zombie", []),
    ("names", "x", "y"),
    ("view", 1, None),
    ("view", 10**9, (1, 2)),
    ("life", None),
    ("life_ended", 1),
    ("give_up", []),
)


@pytest.mark.parametrize("name", ["noex.names", "noex.host", "noex.spawner"])
@pytest.mark.parametrize("message", each(NONSENSE))
def test_nonsense_to_a_process_of_the_node_itself_does_not_end_it(name: str, message: Any) -> None:
    """Without it the node would have to leave."""

    @run_async
    async def main() -> None:
        async with Node(behaviors=BehaviorRegistry({"idle": Idle})) as node:
            target = node.ref(name)
            process = node.whereis(name)
            with contextlib.suppress(Exception):
                await target.call(message, timeout=0.05)
            target.cast(message)
            target.send(message)
            await asyncio.sleep(0)  # sleep: a turn of the loop, for what was cast
            with contextlib.suppress(Exception):
                await target.call("after all of these", timeout=0.05)
            assert process is not None and await process.is_alive()

    main()
