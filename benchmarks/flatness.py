"""What a message costs with few and with many processes, or messages before it in the mailbox.

Every figure is in nanoseconds per message, sent and handled. The keys are
"<what>|<how many>"; the loads are the same for every number of processes or messages.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from measuring import STEPS_AT_MOST
from peers.peer import Peer
from rows import Figures, Row, Size

COUNTS = (1, 1_000, 100_000, 1_000_000)
CHUNK = 1000


async def _per_message(step: Callable[[], Awaitable[int]], seconds: float) -> float:
    """CPU nanoseconds: the machine may be busy with something else."""
    await step()
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    for _ in range(STEPS_AT_MOST):
        done += await step()
        if time.perf_counter() - wall >= seconds:
            break
    return (time.process_time() - cpu) / done * 1e9


async def _alive(peer: Peer, size: Size) -> Figures | None:
    """More and more processes alive: messages to all of them in turn, and to one of them."""
    if not peer.is_flat_worth:
        return None
    actors: list[Any] = []
    figures: Figures = {}
    end = time.perf_counter() + size.scale_seconds
    for count in _counts(size):
        while len(actors) < count and time.perf_counter() < end:
            started = await peer.start_many(min(CHUNK, count - len(actors)))
            await peer.cast_each(started, 1)  # what the first message brings is not measured here
            actors += started
        if len(actors) < count:
            break
        turn, one = itertools.cycle(actors), actors[len(actors) // 2]
        for what, step in _messages(peer, turn, one, size.step):
            figures[f"{what}|{count}"] = await _per_message(step, size.seconds / 2)
    return figures


def _messages(
    peer: Peer, turn: Iterator[Any], one: Any, step: int
) -> Iterator[tuple[str, Callable[[], Awaitable[int]]]]:
    async def calls_to_all() -> int:
        return await peer.call_each(list(itertools.islice(turn, step)))

    async def casts_to_all() -> int:
        return await peer.cast_each(list(itertools.islice(turn, step)), 1)

    yield "call, all in turn", calls_to_all
    yield "call, one of them", lambda: peer.sequential(one, step)
    yield "cast, all in turn", casts_to_all
    yield "cast, one of them", lambda: peer.cast_each([one], step)


async def _queued(peer: Peer, size: Size) -> Figures | None:
    """More and more messages in a mailbox before its process runs.

    Posted in one turn: at least `CHUNK` messages a turn, so the small queues are those of several
    processes. Held up: the process waits in a handler until all of them are there.
    """
    if not peer.is_flat_worth:
        return None
    actors = await peer.start_many(CHUNK)
    held = await peer.start_holder()
    figures: Figures = {}
    for depth in _counts(size):
        some = actors[: max(1, CHUNK // depth)]
        figures[f"posted in one turn|{depth}"] = await _per_message(
            lambda some=some, depth=depth: peer.cast_each(some, depth),  # type: ignore[misc]
            size.seconds / 2,
        )
        if depth >= CHUNK or size.scale < CHUNK:
            figures[f"held up by a handler|{depth}"] = await _per_message(
                lambda depth=depth: peer.hold(held, depth),  # type: ignore[misc]
                size.seconds / 2,
            )
    return figures


def _counts(size: Size) -> list[int]:
    return [count for count in COUNTS if count <= size.scale]


FLAT = (
    Row("alive", "processes alive", _alive, "", repeated=False),
    Row("queued", "messages queued", _queued, "", repeated=False),
)
