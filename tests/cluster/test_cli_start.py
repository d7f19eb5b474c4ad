"""``noex-node start`` for real: how it becomes a member, what it refuses, and how it stops."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from programs import LIMIT, NoexNode, run

from noex.cli.client import ask
from noex.cli.demo_actors import CHIEF, SUPERVISOR
from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.supervisor.distributed import DistributedSupervisor

pytestmark = pytest.mark.slow

ACTORS = "noex.cli.demo_actors"


def start(*arguments: str, **options: Any) -> NoexNode:
    return NoexNode("start", *arguments, **options)


def ready(program: NoexNode) -> str:
    """Wait until it is a member; its final node id."""
    return program.until("ready ").split()[1]


def members(node_id: str) -> set[str]:
    return {member["id"] for member in ask(node_id, "status")["members"]}


def stop(program: NoexNode, number: signal.Signals = signal.SIGTERM) -> None:
    """It stops in order, and says nothing bad."""
    program.send(number)
    assert program.end() == 0, program.errors
    assert "Traceback" not in program.errors


async def as_member(seeds: list[str], act: Callable[[Node], Awaitable[None]]) -> None:
    """Join the programs with a node of the test's own that hosts nothing."""
    async with Node("test@127.0.0.1:0", seeds=seeds, behaviors=BehaviorRegistry()) as node:
        await node.wait_for_members(len(seeds) + 1, timeout=LIMIT)
        await asyncio.wait_for(act(node), LIMIT)


def test_nodes_find_each_other_from_seeds_and_the_environment() -> None:
    with start("a@127.0.0.1:0", "--cluster", "blue") as first:
        one = ready(first)
        with start("b@127.0.0.1:0", "--seed", one, "--cluster", "blue") as second:
            two = ready(second)
            env = {
                "NOEX_NODE_ID": "c@127.0.0.1:0",
                "NOEX_SEEDS": f"{two},{one}",
                "NOEX_CLUSTER": "red",  # a flag goes first
                "NOEX_LABELS": "zone=x,rack=7",
                "NOEX_BEHAVIORS": ACTORS,
                "NOEX_LOG_LEVEL": "debug",
                "NOEX_LOG_JSON": "1",
            }
            with start("--cluster", "blue", env=env) as third:
                three = ready(third)
                assert members(three) == {one, two, three}
                status = ask(three, "status")
                (own,) = [member for member in status["members"] if member["id"] == three]
                assert own["labels"] == {"zone": "x", "rack": "7"}
                assert CHIEF in own["behaviors"]
                assert status["cluster"] == "blue"
                stop(third, signal.SIGINT)
            assert all({"time", "level", "event"} <= set(json.loads(line)) for line in third.err)
            stop(second)
        assert members(one) == {one}
        stop(first)


def test_children_move_to_the_others_before_a_node_ends() -> None:
    with start("a@127.0.0.1:0", "--behaviors", ACTORS) as first:
        one = ready(first)
        with start("b@127.0.0.1:0", "--behaviors", ACTORS, "--seed", one) as second:
            two = ready(second)

            async def act(node: Node) -> None:
                await node.options(timeout=LIMIT).spawn(CHIEF, 4, 2, on=one)
                supervisor = await DistributedSupervisor.find(node, SUPERVISOR)
                before = {child.id: child.node_id for child in await supervisor.get_children()}
                assert set(before.values()) == {one, two}
                second.send(signal.SIGTERM)
                assert await asyncio.to_thread(second.end) == 0
                after = await supervisor.get_children()
                assert {child.node_id for child in after} == {one}
                assert {child.status for child in after} == {"running"}
                stats = await supervisor.get_stats()
                assert stats.node_failure_restarts == 0  # it left, it did not fail

            asyncio.run(as_member([one, two], act))
        stop(first)


def test_a_second_signal_ends_a_node_that_is_slow_to_stop() -> None:
    with start("a@127.0.0.1:0", "--behaviors", "stubborn") as program:
        node_id = ready(program)

        async def act(node: Node) -> None:
            await node.spawn("stubborn", on=node_id)

        asyncio.run(as_member([node_id], act))
        program.send(signal.SIGTERM)
        program.until("terminating")
        program.send(signal.SIGINT)
        assert program.end() == 130


def test_a_node_ends_with_its_standard_input() -> None:
    arguments = ("a@127.0.0.1:0", "--until-stdin-closes")
    with start(*arguments, stdin=subprocess.PIPE) as program:
        ready(program)
        assert program.process.stdin is not None
        program.process.stdin.close()
        assert program.end() == 0


def test_a_seed_that_is_no_node_is_one_line_and_the_node_founds_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        dead = socket.create_server(("127.0.0.1", 0))
        seed = f"x@127.0.0.1:{dead.getsockname()[1]}"
        dead.close()
        mute = f"y@127.0.0.1:{stranger.getsockname()[1]}"
        with start("a@127.0.0.1:0", "--seed", f"{seed},{mute}", "--log-json") as program:
            node_id = ready(program)
            assert members(node_id) == {node_id}
            stop(program)
    lines = [json.loads(line) for line in program.err]
    unanswered = [line["seed"] for line in lines if line["event"] == "seed_does_not_answer"]
    assert sorted(unanswered) == sorted(f"tcp://{each.partition('@')[2]}" for each in (seed, mute))
    assert [line for line in lines if line["level"] == "error"] == []


def test_a_signal_while_it_looks_for_its_seeds_stops_it_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        seed = f"y@127.0.0.1:{stranger.getsockname()[1]}"
        with start("a@127.0.0.1:0", "--seed", seed, "--log-level", "debug") as program:
            stranger.settimeout(LIMIT)
            stranger.accept()[0].close()  # it dials
            stop(program)
    assert program.text == ""


def test_a_port_in_use_is_named_with_the_cures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = run("start", f"a@127.0.0.1:{port}")
        assert program.process.returncode == 1
        assert f"cannot bind 127.0.0.1:{port}: the address is in use" in program.errors
        assert "choose another port" in program.errors
        assert program.text == ""


def test_a_module_that_raises_is_named_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nraise ValueError('boom')\n")
    program = run("start", "a@127.0.0.1:0", "--behaviors", "broken", cwd=tmp_path)
    assert program.process.returncode == 1
    (line,) = program.err
    assert "--behaviors broken: importing it raised ValueError: boom" in line
    assert 'broken.py", line 2' in line
