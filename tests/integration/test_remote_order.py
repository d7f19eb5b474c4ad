"""Order from one process to one on another node, under load: the receiver checks every number."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import until
from pair import Pair, pair
from remote_actors import Sender

from noex.transport.lane_settings import LaneSettings

CALLERS = 20  # of other processes, beside the numbers
MIB = 1024 * 1024


async def in_order(two: Pair, total: int, large: int) -> None:
    """`total` numbers from here to there and as many back at once, while others call.

    Casts, sends, calls and exit signals of one process, some of them large, and at last the `Down`
    of its end. Where the lane is full the sender waits; what it was told is sent has to arrive.
    """
    near, far = two.near, two.far
    there, here = await near.spawn("sequence", on=far), await near.spawn("sequence")
    senders = await near.spawn("sender"), await near.spawn("sender", on=far)
    targets = there, here
    ends = [near.monitor(ref) for ref in targets]
    for sender, target in zip(senders, targets, strict=True):
        await target.call(("watch", sender))
    beside = asyncio.ensure_future(calls_beside(two))
    done = [near.monitor(sender) for sender in senders]
    for sender, target in zip(senders, targets, strict=True):
        assert sender.cast((target, total, large))
    waits = [asyncio.ensure_future(each.wait()) for each in (*done, *ends)]
    await until(
        lambda: all(w.done() for w in waits[:2]) or any(w.done() for w in waits[2:]), "end", 600.0
    )
    assert [end.reason for end in ends] == [None, None], "a number was out of turn, or missing"
    assert [each.reason for each in done] == [("shutdown", total)] * 2
    for target in targets:
        await until_complete(target, total)
    beside.cancel()
    for wait in waits[2:]:
        wait.cancel()
    for end in ends:
        end.cancel()
    await asyncio.wait([beside, *waits])
    assert beside.cancelled(), beside.exception()


def has_ended(waits: list[asyncio.Future[Any]]) -> list[bool]:
    return [wait.done() for wait in waits]


async def until_complete(target: Any, total: int) -> None:
    """The last thing that comes is the `Down`, and it comes once."""
    await asyncio.wait_for(_downs(target), 30.0)
    ways = await target.call("ways")
    assert sum(ways.values()) == total and ways["down"] == 1
    assert set(ways) == {"cast", "send", "call", "exit", "down"}


async def _downs(target: Any) -> None:
    while "down" not in await target.call("ways"):
        pass


async def calls_beside(two: Pair) -> None:
    """Other pairs of processes call each other all the time, and get each its own reply."""
    refs = [await two.there() for _ in range(CALLERS)]

    async def caller(ref: Any) -> None:
        number = 0
        while True:
            number += 1
            assert await ref.call(number, timeout=60.0) == number

    async with asyncio.TaskGroup() as callers:
        for ref in refs:
            callers.create_task(caller(ref))


SMALL = LaneSettings(window_bytes=2 * MIB)  # so that it is full again and again


def test_thirty_thousand_numbers_each_way_arrive_in_order() -> None:
    async def main() -> None:
        async with pair(lane=SMALL) as two:
            before = Sender.full
            await in_order(two, 30_000, MIB)
            assert Sender.full > before

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_numbers_each_way_arrive_in_order() -> None:
    async def main() -> None:
        async with pair() as two:
            await in_order(two, 1_000_000, 20 * MIB)

    asyncio.run(main())
