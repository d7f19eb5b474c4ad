"""The demo's coordinator: hands out chunks, and hands out again what was lost with its worker.

It counts nothing itself. One feeder per child calls the child with one chunk at a time; when the
call fails because the child's node was killed, the feeder waits for the child's next process and
gives it the same chunk. A chunk counts once, with the one reply that arrived.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from noex.cli.demo_text import Result
from noex.runtime.errors import NodeNotReachableError, NoProcessError, ServerCrashedError
from noex.supervisor.events import ChildMigrated, NodeFailureDetected

CALL_TIMEOUT: Final = 60.0
MOVE_TIMEOUT: Final = 15.0
LOST: Final = (NodeNotReachableError, NoProcessError, ServerCrashedError)


class MoveFailedError(Exception):
    """A lost child did not come up elsewhere in time."""


@dataclass(slots=True)
class Move:
    """One child that lost its node. Times are seconds after the kill."""

    child: str
    from_node: str
    to_node: str = ""
    placed_after: float = 0.0
    answered_after: float | None = None
    chunks_after: int = 0


@dataclass(slots=True)
class Figures:
    """What the run has come to."""

    results: dict[int, Result] = field(default_factory=dict)
    chunks_by_node: Counter[str] = field(default_factory=Counter)
    chunks_by_process: Counter[str] = field(default_factory=Counter)
    handed_out_again: list[int] = field(default_factory=list)
    moves: dict[str, Move] = field(default_factory=dict)
    detected_after: float | None = None


class Coordinator:
    """Runs all chunks through the children of `supervisor` (a handle, wherever it lives)."""

    def __init__(self, supervisor: Any, chunks: list[str], say: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._chunks = chunks
        self._say = say
        self._queue = deque(range(len(chunks)))
        self._holding: dict[str, int] = {}  # child -> the chunk that it has not acknowledged
        self._refs: dict[str, Any] = {}
        self._changed = asyncio.Condition()
        self._killed_at = 0.0
        self.figures = Figures()

    async def run(self) -> None:
        """Feed all children until no chunk is left."""
        children = await self._supervisor.get_children()
        self._refs = {child.id: child.ref for child in children}
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            feeders = [tasks.create_task(self._feed(child.id)) for child in children]
            await asyncio.gather(*feeders)
            watching.cancel()

    def placement(self) -> dict[str, list[str]]:
        """Which children run where."""
        found: dict[str, list[str]] = {}
        for child, ref in sorted(self._refs.items()):
            found.setdefault(ref.node_id, []).append(child)
        return found

    async def until(self, done: int, busy_node: str) -> list[str]:
        """Wait until `done` chunks are finished and every child on `busy_node` holds one.

        Returns the children there.
        """

        def ready() -> bool:
            there = self.placement().get(busy_node, [])
            finished = len(self.figures.results) >= done
            return bool(there) and finished and all(child in self._holding for child in there)

        async with self._changed:
            await self._changed.wait_for(ready)
        return self.placement()[busy_node]

    def killed(self, node_id: str, at: float) -> None:
        """`node_id` was killed at `at` (monotonic): its children will move."""
        self._killed_at = at
        for child in self.placement().get(node_id, []):
            self.figures.moves[child] = Move(child, node_id)

    # ------------------------------------------------------------------ feeding

    async def _feed(self, child: str) -> None:
        while self._queue:
            number = self._queue.popleft()
            self._holding[child] = number
            answer = await self._work(child, number)
            del self._holding[child]
            await self._count(child, number, answer)

    async def _work(self, child: str, number: int) -> dict[str, Any]:
        """Have `child` do chunk `number`, whatever happens to its node meanwhile."""
        while True:
            ref = self._refs[child]
            try:
                answer: dict[str, Any] = await ref.call(
                    ("analyse", self._chunks[number]), timeout=CALL_TIMEOUT
                )
                return {**answer, "node": ref.node_id}
            except LOST as error:
                self.figures.handed_out_again.append(number)
                self._say(f"  chunk {number} of {child} is lost ({type(error).__name__})")
                await self._next_process(child, ref)

    async def _next_process(self, child: str, lost: Any) -> None:
        async def moved() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._refs[child] != lost)

        try:
            await asyncio.wait_for(moved(), MOVE_TIMEOUT)
        except TimeoutError:
            text = f"{child} has no new process {MOVE_TIMEOUT:g} s after its node was lost"
            raise MoveFailedError(text) from None

    async def _count(self, child: str, number: int, answer: dict[str, Any]) -> None:
        figures = self.figures
        assert number not in figures.results, f"chunk {number} counted twice"
        figures.results[number] = answer["result"]
        figures.chunks_by_node[answer["node"]] += 1
        figures.chunks_by_process[f"{answer['node']} pid {answer['pid']}"] += 1
        move = figures.moves.get(child)
        if move is not None and answer["node"] != move.from_node:
            self._first_answer(move)
        async with self._changed:
            self._changed.notify_all()

    def _first_answer(self, move: Move) -> None:
        move.chunks_after += 1
        if move.answered_after is None:
            move.answered_after = time.monotonic() - self._killed_at
            self._say(f"  {move.child} finished its chunk again {_ms(move.answered_after)} after")

    # ------------------------------------------------------------------ moves

    async def _watch(self) -> None:
        """Follow the supervisor's events: where lost children come up again."""
        async for event in self._supervisor.events():
            match event:
                case NodeFailureDetected(node_id=node_id, affected_children=children):
                    self.figures.detected_after = time.monotonic() - self._killed_at
                    names = ", ".join(children)
                    self._say(f"  supervisor: {node_id} is down, it held {names}")
                case ChildMigrated(child_id=child):
                    await self._migrated(child, event)

    async def _migrated(self, child: str, event: ChildMigrated) -> None:
        info = await self._supervisor.get_child(child)
        if info is None or info.ref is None:
            return
        answer = await info.ref.call("who", timeout=CALL_TIMEOUT)
        elapsed = time.monotonic() - self._killed_at
        move = self.figures.moves.setdefault(child, Move(child, event.from_node))
        move.to_node, move.placed_after = info.node_id, elapsed
        self._say(
            f"  {child}: {event.from_node} -> {info.node_id} (pid {answer['pid']}),"
            f" answers as {answer['title']!r} {_ms(elapsed)} after the kill"
        )
        async with self._changed:
            self._refs[child] = info.ref
            self._changed.notify_all()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
