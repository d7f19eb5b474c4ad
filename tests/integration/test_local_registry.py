"""A local registry on a real node, with a supervisor that restarts what is registered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import until

from noex import (
    ChildSpec,
    GenServer,
    NameTakenError,
    Node,
    NodeStoppedError,
    Registry,
    RestartIntensity,
    Supervisor,
)


class Worker(GenServer[None]):
    """Takes its key before it is up."""

    def init(self, key: Any, names: Registry, topics: Registry) -> None:
        names.register(key, "worker")
        topics.register("workers", key)


def test_a_restarted_child_takes_its_key_again() -> None:
    async def main() -> None:
        node = Node()
        names: Registry[Any, str] = Registry(node)  # before the node is started
        topics: Registry[str, Any] = Registry(node, keys="duplicate")
        with pytest.raises(NodeStoppedError):
            names.register("early")
        async with node, asyncio.timeout(10):
            workers = await Supervisor.start(
                node,
                children=[ChildSpec(f"w{n}", Worker, args=(n, names, topics)) for n in range(3)],
                restart_intensity=RestartIntensity(max_restarts=100, within=5.0),
            )
            for _ in range(10):
                old = names.whereis(1)
                assert old is not None
                old.exit("kill")
                assert names.whereis(1) is None and topics.count() == 2
                await until(lambda old=old: names.whereis(1) not in (None, old))
                assert sorted(value for _, value in topics.lookup("workers")) == [0, 1, 2]
            with pytest.raises(NameTakenError):
                names.register(1, ref=names.whereis(2))
            await workers.stop()
            assert names.count() == topics.count() == 0

    asyncio.run(main())


def test_nodes_in_one_process_do_not_share_registries() -> None:
    async def main() -> None:
        async with Node() as one, Node() as other, asyncio.timeout(10):
            registries = [(Registry(node), Registry(node, "duplicate")) for node in (one, other)]
            refs = [
                await node.start(Worker, "key", *both)
                for node, both in zip((one, other), registries, strict=True)
            ]
            assert [names.whereis("key") for names, _ in registries] == refs
            refs[0].exit("kill")
            assert [names.count() for names, _ in registries] == [0, 1]
            with pytest.raises(ValueError, match="ref="):
                registries[0][0].register("key", ref=refs[1])

    asyncio.run(main())
