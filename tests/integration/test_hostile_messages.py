"""What anybody may say to the system processes of a node, well encoded: they live through it."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from noex import Node
from noex.registry import names_messages, spawner
from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.errors import NoexError
from noex.supervisor import host

ATOMS: list[Any] = [
    *(None, True, 0, -1, 1 << 80, 1.5, float("nan"), "", "x", b"y", (), [], {}, set()),
    *(("a@h:1", 5), ValueError("z"), "noex.host"),
]
REQUESTS = [
    kind
    for kind in vars(names_messages).values()
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
]
WORDS = sorted(
    {
        word
        for module in (spawner, host)
        for word in re.findall(r'"([a-z_]{2,20})"', Path(str(module.__file__)).read_text())
    }
)


def anything(chance: Random, depth: int = 0) -> Any:
    kind = chance.random()
    if kind < 0.5 or depth > 2:
        return chance.choice((*ATOMS, chance.choice(WORDS)))
    items = [anything(chance, depth + 1) for _ in range(chance.randint(0, 5))]
    return tuple(items) if kind < 0.9 else items


def a_message(chance: Random) -> Any:
    """Half of a request that there is, or nothing of the kind."""
    match chance.randrange(3):
        case 0:
            return (chance.choice(WORDS), *(anything(chance) for _ in range(chance.randint(0, 7))))
        case 1:
            request: Any = chance.choice(REQUESTS)
            return request(*(anything(chance) for _ in request._fields))
    return anything(chance)


@pytest.mark.parametrize("seed", range(3))
def test_the_system_processes_of_a_node_live_through_any_message(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = Random(seed)

    async def main() -> None:
        async with Node("target@127.0.0.1:0", behaviors=BehaviorRegistry()) as node:
            before = {name: node.whereis(name) for name in node.kernel.names}
            assert set(before) >= {"noex.names", "noex.host", "noex.spawner"}
            calls = []
            for _ in range(400):
                message = a_message(chance)
                for ref in before.values():
                    assert ref is not None
                    match chance.randrange(3):
                        case 0:
                            ref.cast(message)
                        case 1:
                            ref.send(message)
                        case _:
                            calls.append(asyncio.create_task(ref.call(message, timeout=0.5)))
                await asyncio.sleep(0)
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert not isinstance(outcome, BaseException) or isinstance(outcome, NoexError)
            assert {name: node.whereis(name) for name in node.kernel.names} == before

    with caplog.at_level(logging.ERROR, "noex"):
        asyncio.run(main())
    assert "process_crashed" not in caplog.text
