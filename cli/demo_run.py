"""The demo's coordinator: hands out chunks, and hands out again what was lost with its worker.

It counts nothing itself. One feeder per child gives the child one chunk at a time, in two steps:

1. ``take``: the child has the chunk and starts to work.
2. ``fetch``: its result comes back. Only now the chunk is acknowledged, and added to the total.

When a step fails because the child's node was lost, the feeder waits for the child's next process
and gives it the same chunk. The kill falls between the two steps of a child on the victim, so
that at least this chunk is lost for certain. Until then the others leave one chunk for each child
on the victim, which is set aside for it at the kill: all of these have work when they are up
elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from noex.cli.demo_text import Total, add, nothing
from noex.runtime.errors import NodeNotReachableError, NoProcessError, ServerCrashedError
from noex.supervisor.events import ChildMigrated, NodeFailureDetected

CALL_TIMEOUT: Final = 60.0
MOVE_TIMEOUT: Final = 30.0
LOOK_AGAIN: Final = 1.0  # seconds without news after which the supervisor is asked
LOST: Final = (NodeNotReachableError, NoProcessError, ServerCrashedError)


class MoveFailedError(Exception):
    """A lost child did not come up elsewhere in time."""


@dataclass(slots=True)
class Move:
    """One child that lost its node. Times are seconds after that (for the victim: the kill)."""

    child: str
    from_node: str
    lost_at: float
    to_node: str = ""
    pid: int = 0
    answered_after: float | None = None
    chunk_after: float | None = None
    chunks_after: int = 0


@dataclass(slots=True)
class Figures:
    """What the run has come to."""

    total: Total = field(default_factory=nothing)
    acknowledged: Counter[int] = field(default_factory=Counter)  # how often, by chunk
    by_node: Counter[str] = field(default_factory=Counter)
    by_process: Counter[str] = field(default_factory=Counter)
    handed_out_again: list[int] = field(default_factory=list)
    held_at_kill: dict[str, int] = field(default_factory=dict)  # child -> chunk
    moves: dict[str, Move] = field(default_factory=dict)
    killed_at: float | None = None
    detected_after: float | None = None


class Coordinator:
    """Runs all chunks through the children of `supervisor` (a handle, wherever it lives).

    `kill` is called once, as soon as `kill_after` chunks are done and a child on `victim` holds
    one more.
    """

    def __init__(
        self,
        supervisor: Any,
        chunks: list[str],
        *,
        refs: dict[str, Any],
        victim: str,
        kill_after: int,
        kill: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._chunks = chunks
        self._refs = dict(refs)
        self._victim = victim
        self._kill_after = kill_after
        self._kill = kill
        self._say = say
        self._queue = deque(range(len(chunks)))
        self._holding: dict[str, int] = {}  # child -> the chunk that it has not acknowledged
        self._taken: dict[str, int] = {}  # of these, what the child has said it took
        self._set_aside: dict[str, int] = {}  # for lost children that held nothing
        self._changed = asyncio.Event()
        self.figures = Figures()

    async def run(self) -> None:
        """Feed all children until no chunk is left. Raises `MoveFailedError`."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            feeders = [tasks.create_task(self._feed(child)) for child in self._refs]
            await asyncio.wait(feeders)
            watching.cancel()

    @property
    def holding(self) -> dict[str, int]:
        """The chunks that are handed out and not acknowledged, by child."""
        return dict(self._holding)

    # ------------------------------------------------------------------ feeding

    async def _feed(self, child: str) -> None:
        while True:
            await self._until(lambda: self._may_take(child), None)
            number = self._next_chunk(child)
            if number is None:
                return
            self._holding[child] = number
            answer = await self._work(child, number)
            del self._holding[child]
            self._acknowledge(child, number, answer)

    def _may_take(self, child: str) -> bool:
        """Whether `child` may take what is next (or learn that nothing is)."""
        if self.figures.killed_at is not None or self._is_on_victim(child):
            return True
        return len(self._queue) > sum(map(self._is_on_victim, self._refs))

    def _next_chunk(self, child: str) -> int | None:
        if child in self._set_aside:
            return self._set_aside.pop(child)
        return self._queue.popleft() if self._queue else None

    def _is_on_victim(self, child: str) -> bool:
        return bool(self._refs[child].node_id == self._victim)

    async def _work(self, child: str, number: int) -> dict[str, Any]:
        """Have `child` do chunk `number`, whatever happens to its node meanwhile."""
        while True:
            ref = self._refs[child]
            try:
                take = ("take", number, self._chunks[number])
                await ref.call(take, timeout=CALL_TIMEOUT)
                self._taken[child] = number
                self._perhaps_kill(child)
                answer = await ref.call(("fetch", number), timeout=CALL_TIMEOUT)
                del self._taken[child]
                return {**answer, "node": ref.node_id}
            except LOST:
                self._taken.pop(child, None)
                self.figures.handed_out_again.append(number)
                await self._next_process(child, ref)

    def _perhaps_kill(self, child: str) -> None:
        figures = self.figures
        done = len(figures.acknowledged)
        if figures.killed_at is None and self._is_on_victim(child) and done >= self._kill_after:
            there = [each for each in self._refs if self._is_on_victim(each)]
            figures.held_at_kill = {c: self._taken[c] for c in there if c in self._taken}
            figures.killed_at = time.monotonic()
            self._kill()
            for each in there:
                figures.moves[each] = Move(each, self._victim, figures.killed_at)
                if each not in self._holding:
                    self._set_aside[each] = self._queue.popleft()
            self._notify()

    def _acknowledge(self, child: str, number: int, answer: dict[str, Any]) -> None:
        figures = self.figures
        figures.acknowledged[number] += 1
        add(figures.total, answer["result"])
        figures.by_node[answer["node"]] += 1
        figures.by_process[f"{answer['node']} pid {answer['pid']}"] += 1
        move = figures.moves.get(child)
        if move is not None and answer["node"] == move.to_node:
            self._work_goes_on(move, number)
        self._notify()

    def _work_goes_on(self, move: Move, number: int) -> None:
        move.chunks_after += 1
        if move.chunk_after is None:
            move.chunk_after = time.monotonic() - move.lost_at
            again = ", the one it had lost" if number in self.figures.handed_out_again else ""
            self._say(f"{_ms(move.chunk_after)}  {move.child} has finished chunk {number}{again}")

    # ------------------------------------------------------------------ moves

    async def _watch(self) -> None:
        """Follow the supervisor's events: where lost children come up again."""
        async for event in self._supervisor.events():
            match event:
                case NodeFailureDetected(node_id=node_id, affected_children=children):
                    self._node_failed(node_id, children)
                case ChildMigrated(child_id=child):
                    await self._look(child)

    def _node_failed(self, node_id: str, children: tuple[str, ...]) -> None:
        now = time.monotonic()
        for child in children:
            self.figures.moves.setdefault(child, Move(child, node_id, now))
        if node_id == self._victim and self.figures.killed_at is not None:
            self.figures.detected_after = now - self.figures.killed_at
            name = node_id.partition("@")[0]
            self._say(f"{_ms(self.figures.detected_after)}  the supervisor knows: {name} is down")

    async def _next_process(self, child: str, lost: Any) -> None:
        """Wait until `child` has another process than `lost`."""
        end = time.monotonic() + MOVE_TIMEOUT
        while not await self._until(lambda: self._refs[child] != lost, LOOK_AGAIN):
            if time.monotonic() >= end:
                text = f"{child} has no new process {MOVE_TIMEOUT:g} s after its node was lost"
                raise MoveFailedError(text)
            await self._look(child)  # the event may be late, or lost

    async def _look(self, child: str) -> None:
        """Ask where `child` is now, and have it answer from there."""
        info = await self._supervisor.get_child(child)
        if info is None or info.ref is None or info.ref == self._refs[child]:
            return
        try:
            answer = await info.ref.call("who", timeout=CALL_TIMEOUT)
        except LOST:
            return  # lost again; there will be another
        if info.ref != self._refs[child]:
            self._answered(child, info.ref, answer)

    def _answered(self, child: str, ref: Any, answer: dict[str, Any]) -> None:
        now = time.monotonic()
        before = self._refs[child].node_id
        move = self.figures.moves.setdefault(child, Move(child, before, now))
        move.to_node, move.pid, move.answered_after = ref.node_id, answer["pid"], now - move.lost_at
        name = ref.node_id.partition("@")[0]
        self._say(
            f"{_ms(move.answered_after)}  {child} answers from {name} (pid {move.pid}),"
            f" started with the same arguments: {answer['title']!r}"
        )
        self._refs[child] = ref
        self._notify()

    # ------------------------------------------------------------------ waiting

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition` holds; False when it does not within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


def _ms(seconds: float) -> str:
    return f"  {seconds * 1000:+6.0f} ms"
