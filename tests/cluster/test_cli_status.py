"""``noex-node status`` of nodes that answer, and of what does not."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from programs import NoexNode, run

from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[NoexNode, str]]:
    arguments = ("a@127.0.0.1:0", "--behaviors", "stubborn", "--label", "zone=x")
    with NoexNode("start", *arguments) as program:
        yield program, program.until("ready ").split()[1]


def test_status_is_readable(node: tuple[NoexNode, str]) -> None:
    _, node_id = node
    program = run("status", node_id)
    assert program.process.returncode == 0
    assert program.out[0] == f"{node_id}  member"
    assert "behaviors: stubborn" in program.out[1]
    (row,) = [line for line in program.out[3:] if line.startswith(node_id)]
    assert row.split()[1] == "up"
    assert "stubborn" in row


def test_status_is_one_json_object_with_all_fields(node: tuple[NoexNode, str]) -> None:
    _, node_id = node
    program = run("status", "--json", env={"NOEX_NODE_ID": node_id})
    assert program.process.returncode == 0
    status = json.loads(program.text)
    assert status["id"] == node_id
    assert status["phase"] == "member"
    assert status["frozen"] is False
    assert status["epoch"] >= 1
    assert status["process_count"] >= 3
    assert (status["cluster"], status["zombies"]) == ("noex", 0)
    (member,) = status["members"]
    assert member["labels"] == {"zone": "x"}
    assert member["incarnation"] == status["incarnation"] > 0


def test_nobody_there_is_said_at_once() -> None:
    program = run("status", "a@127.0.0.1:1", "--timeout", "3000")
    assert program.process.returncode == 3
    assert program.errors.startswith("noex-node: cannot connect to a@127.0.0.1:1: Connection ref")


def test_a_web_server_is_no_node() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        program = run("status", f"a@127.0.0.1:{server.server_port}", "--timeout", "0.5")
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert program.process.returncode == 3
    assert "did not answer within 0.5 s; is it running, and a noex node?" in program.errors


def test_a_node_that_is_stuck_does_not_answer() -> None:
    async def ask_while_it_is_stuck(stuck: NoexNode, node_id: str) -> NoexNode:
        own = Node("test@127.0.0.1:0", seeds=[node_id], behaviors=BehaviorRegistry())
        async with own:
            ref = await own.spawn("stubborn", on=node_id)
            ref.cast("hold")
            await asyncio.to_thread(stuck.until, "holding the loop")
            program = await asyncio.to_thread(run, "status", node_id, "--timeout", "0.5")
            stuck.send(signal.SIGKILL)
            return program

    with NoexNode("start", "a@127.0.0.1:0", "--behaviors", "stubborn") as stuck:
        node_id = stuck.until("ready ").split()[1]
        program = asyncio.run(ask_while_it_is_stuck(stuck, node_id))
    assert program.process.returncode == 3
    assert f"{node_id} did not answer within 0.5 s" in program.errors
