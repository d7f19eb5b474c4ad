"""Processes of three nodes do everything to each other at random while nodes are killed and paused.

Whatever happens: each call ends once and in time, each monitor fires at most once and never after
its cancel; and when everybody has let go, no node has anything open, and no half link is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from arena import eventually, until
from pair import Pair, pair

from noex import NodeUp

WANDERERS = 4  # on each node


async def wanderers(two: Pair, node_id: str, seed: int) -> list[Any]:
    return [await two.near.spawn("wanderer", seed * 100 + n, on=node_id) for n in range(WANDERERS)]


async def storm(two: Pair, seed: int, blows: int) -> Counter[str]:
    """One storm; what was done in it, over all processes that live to tell."""
    random = Random(seed)
    groups = {
        node_id: await wanderers(two, node_id, seed) for node_id in (two.near.id, *two.cluster.ids)
    }
    await introduce(groups.values(), [ref for group in groups.values() for ref in group])
    for blow in range(blows):
        await asyncio.sleep(0.3)  # sleep: the storm goes on for a while
        name = random.choice(("far", "other"))
        if random.random() < 0.5:
            two.cluster.pause(name)
            await asyncio.sleep(random.random() / 2)  # sleep: it stands still for so long
            two.cluster.resume(name)
        else:
            await kill(two, name, groups, seed + blow + 1)
    return await calm(two, [ref for group in groups.values() for ref in group])


async def kill(two: Pair, name: str, groups: dict[str, list[Any]], seed: int) -> None:
    """The node is killed and comes back; those who know the dead go on with them, too."""
    node_id = two.cluster.id(name)
    ups = _ups(two, node_id)
    await two.cluster.restart(name)
    await until(lambda: _ups(two, node_id) > ups, f"{name} is back")
    everybody = [ref for group in groups.values() for ref in group]
    groups[node_id] = fresh = await wanderers(two, node_id, seed)
    assert not set(fresh) & set(everybody)
    await introduce([group for group in groups.values() if group is not fresh], fresh)
    await introduce([fresh], everybody + fresh)


async def introduce(groups: Iterable[list[Any]], refs: list[Any]) -> None:
    for ref in [ref for group in groups for ref in group]:
        await ref.call(("know", refs), timeout=30.0)


def _ups(two: Pair, node_id: str) -> int:
    return sum(type(e) is NodeUp and e.node_id == node_id for e in two.news)


async def calm(two: Pair, living: list[Any]) -> Counter[str]:
    """Everybody halts, then everybody lets go; then nothing may be left."""
    for ref in living:
        assert await ref.call("halt", timeout=30.0) == []
    for ref in living:  # the child of a wanderer cannot outlive it unheard
        await eventually(lambda r=ref: r.call("unfired"), lambda count: count == 0)
    done: Counter[str] = Counter()
    for ref in living:
        done += Counter(await ref.call("release", timeout=30.0))
    for ref in living:
        info = await eventually(ref.info, lambda i: i.links == () and i.monitored_by == 0)
        assert info.monitors == ()
        await ref.stop()
    for node_id in (two.near.id, *two.cluster.ids):
        probe = await two.near.spawn("server", on=node_id)
        wanted = 0 if node_id == two.near.id else 1  # the question itself
        await eventually(
            lambda p=probe: p.call(("rows",)), lambda rows, w=wanted: sum(rows.values()) == w
        )
    return done


@pytest.mark.parametrize("seed", [1])
def test_a_short_storm(seed: int) -> None:
    async def main() -> None:
        async with pair(("far", "other")) as two:
            done = await storm(two, seed, 2)
            assert done["answers"] > 100 and done["casts"] > 100

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_long_storm(seed: int) -> None:
    async def main() -> None:
        async with pair(("far", "other")) as two:
            done = await storm(two, seed, 20)
            assert done["downs"] > 0 and done["exits"] > 0
            assert done["NodeNotReachableError"] + done["NoProcessError"] > 0

    asyncio.run(main())
