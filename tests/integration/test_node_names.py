"""Global names on a node that joins: known before the program there does anything."""

from __future__ import annotations

import asyncio

from noex import GenServer, Node

DEADLINE = 20.0
NAMES = [f"name-{number}" for number in range(300)]


class Owner(GenServer):
    def init(self):
        return None


def test_a_node_that_joins_knows_all_names_when_it_has_started():
    async def main():
        async with asyncio.timeout(DEADLINE):
            async with Node("a@127.0.0.1:0") as a, Node("b@127.0.0.1:0", seeds=[a.id]) as b:
                for number, name in enumerate(NAMES):
                    node = (a, b)[number % 2]
                    await node.registry.register(name, await node.start(Owner))
                async with Node("c@127.0.0.1:0", seeds=[b.id]) as c:
                    assert await c.registry.names() == sorted(NAMES)

    asyncio.run(main())
