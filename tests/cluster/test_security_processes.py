"""Secured nodes in operating system processes of their own, as `noex-node` starts them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from programs import run
from secured import OTHER_SECRET, SECRET, Ring
from three_nodes import run_async

from noex import JoinTimeoutError, Node, NodeKeys
from noex.testing import ProcessCluster
from noex.testing.processes import NodeProcess

pytestmark = pytest.mark.slow

BEHAVIORS = "cluster_actors"


@asynccontextmanager
async def member(cluster: ProcessCluster, **options: Any) -> AsyncIterator[Node]:
    """A node of this process in the cluster of the others."""
    async with Node("here@127.0.0.1:0", seeds=cluster.ids, **options) as node:
        yield node


async def serves(node: Node, on: str) -> None:
    """A process on that node can be started and called from here."""
    echo = await node.spawn("echo", on=on)
    assert echo.node_id == on
    assert await echo.call("pid") != os.getpid()
    await echo.stop()


@run_async
async def test_processes_of_one_secret_form_a_cluster() -> None:
    """Case 167: one is killed and started again, under CURVE."""
    async with ProcessCluster(
        2, behaviors=[BEHAVIORS], env={"NOEX_CLUSTER_SECRET": SECRET}
    ) as cluster:
        async with member(cluster, cluster_secret=SECRET) as node:
            await node.wait_for_members(3)
            for each in cluster.ids:
                await serves(node, each)
            await cluster.restart("n2")
            await node.wait_for_members(3)
            await serves(node, cluster.id("n2"))
        assert all(SECRET not in each.log() for each in cluster.nodes)


@run_async
async def test_a_process_of_another_secret_is_not_let_in() -> None:
    """Case 172 (`differing_cookies`): refused both ways, and both say so."""
    async with ProcessCluster(1, env={"NOEX_CLUSTER_SECRET": SECRET}) as cluster:
        with pytest.raises(JoinTimeoutError, match="refuses it: wrong secret"):
            async with member(cluster, cluster_secret=OTHER_SECRET, join_timeout=2.0):
                pass
        with pytest.raises(JoinTimeoutError, match="refuses it: unexpected security"):
            async with member(cluster, join_timeout=2.0):
                pass
        log = cluster["n1"].log()
        assert "peer_refused" in log and "wrong secret" in log and "no security" in log
        assert SECRET not in log and OTHER_SECRET not in log


@run_async
async def test_a_process_with_the_wrong_secret_ends_and_says_what_to_check() -> None:
    async with ProcessCluster(1, env={"NOEX_CLUSTER_SECRET": SECRET}) as cluster:
        program = run(
            *("start", "x@127.0.0.1:0", "--seed", cluster.ids[0], "--join-timeout", "2"),
            env={"NOEX_CLUSTER_SECRET": OTHER_SECRET},
        )
        assert program.process.returncode == 1
        said = program.errors
        assert "is not a member after 2 s" in said and "check that cluster_secret is" in said
        assert OTHER_SECRET not in said and "Traceback" not in said


def files_of(ring: Ring, folder: Path) -> dict[str, tuple[str, ...]]:
    """The options of each node of a ring, and of its client."""
    table = "".join(f'"{name}" = "{key}"\n' for name, key in ring.peers.items())
    peers = folder / "peers.toml"
    peers.write_text(f'[peers]\n{table}[clients]\nops = "{ring.client.public}"\n')
    options = {}
    for name, keys in {**ring.fresh, "ops": ring.client}.items():
        file = folder / f"{name}.key"
        file.write_text(keys.secret + "\n")
        options[name] = (f"--key-file={file}", f"--peers-file={peers}")
    return options


@run_async
async def test_processes_with_a_key_each_form_a_cluster(tmp_path: Path) -> None:
    """Case 172 (`allowed`): and one with another key under a name of the list is refused."""
    ring = Ring("a", "b", "here")
    options = files_of(ring, tmp_path)
    nodes = [NodeProcess(ring.ids[n], (f"--behaviors={BEHAVIORS}", *options[n])) for n in "ab"]
    env = ProcessCluster(0)._env
    try:
        for each in nodes:
            await each.launch([ring.ids["a"]], env)
            await each.ready(30.0)
        seeds = [ring.ids["a"]]
        async with Node(ring.ids["here"], seeds=seeds, keys=ring.keys("here")) as node:
            await node.wait_for_members(3)
            for each in nodes:
                await serves(node, each.node_id)
        stolen_name = NodeKeys.generate().trusting({ring.ids["a"]: ring.fresh["a"].public})
        with pytest.raises(JoinTimeoutError, match="refuses it: unknown key"):
            async with Node(ring.ids["here"], seeds=seeds, keys=stolen_name, join_timeout=2.0):
                pass
        status = run("status", ring.ids["a"], "--json", *options["ops"])
        assert json.loads(status.text)["peers_refused"].keys() == {"unknown key"}
        assert json.loads(status.text)["secured"] is True
        assert all(
            ring.fresh[n].secret not in each.log() for n, each in zip("ab", nodes, strict=True)
        )
    finally:
        for each in nodes:
            await each.close()


@run_async
async def test_status_of_a_secured_process() -> None:
    async with ProcessCluster(1, env={"NOEX_CLUSTER_SECRET": SECRET}) as cluster:
        node_id = cluster.ids[0]
        good = run("status", node_id, env={"NOEX_CLUSTER_SECRET": SECRET})
        assert good.process.returncode == 0 and good.out[0] == f"{node_id}  member"
        plain = run("status", node_id)
        assert plain.process.returncode == 3
        assert f"{node_id} is secured: give its --cluster-secret-file" in plain.errors
        wrong = run("status", node_id, "--timeout", "1", env={"NOEX_CLUSTER_SECRET": OTHER_SECRET})
        assert wrong.process.returncode == 3 and "the same secret" in wrong.errors
    async with ProcessCluster(1) as cluster:
        open_ = run("status", cluster.ids[0], env={"NOEX_CLUSTER_SECRET": SECRET})
        assert open_.process.returncode == 3 and "is not secured" in open_.errors
