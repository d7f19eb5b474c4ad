"""The coordinator against a supervisor that the test plays: every chunk counts once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noex.cli import demo_run
from noex.cli.demo_report import Outcome
from noex.cli.demo_run import Coordinator, MoveFailedError
from noex.cli.demo_text import analyse, merge
from noex.runtime.errors import NodeNotReachableError
from noex.supervisor.events import ChildMigrated, NodeFailureDetected

NODES = ("one@h:1", "two@h:2", "three@h:3")
VICTIM = NODES[2]


class FakeRef:
    """A worker process: it does its work when the `stage` lets it."""

    def __init__(self, stage: Stage, child: str, node_id: str) -> None:
        self.stage, self.child, self.node_id = stage, child, node_id
        self.results: dict[int, Any] = {}

    async def call(self, message: Any, timeout: float) -> Any:
        await self.stage.turns()
        self.check()
        match message:
            case "who":
                return {"pid": 1, "title": self.child}
            case ("take", number, chunk):
                self.stage.taken.append((number, self.child, self.node_id))
                self.results[number] = analyse(chunk)
                return "taken"
            case ("fetch", number):
                await self.stage.turns()
                self.check()  # the reply of a node that died meanwhile does not arrive
                return {"pid": NODES.index(self.node_id), "result": self.results.pop(number)}

    def check(self) -> None:
        if self.node_id in self.stage.dead:
            raise NodeNotReachableError(self.node_id)


@dataclass
class Info:
    ref: Any
    node_id: str


class Stage:
    """The supervisor, its nodes, and chance: `lags` says for how many turns each step waits."""

    def __init__(self, workers: int, lags: list[int] | None = None) -> None:
        self.lags = deque(lags or [1])
        self.dead: set[str] = set()
        self.taken: list[tuple[int, str, str]] = []
        self.events_out: asyncio.Queue[Any] = asyncio.Queue()
        self.tells_events = True
        self.revives = True
        names = [f"worker-{n}" for n in range(workers)]
        self.refs = {c: FakeRef(self, c, NODES[n % 3]) for n, c in enumerate(names)}

    async def turns(self) -> None:
        self.lags.rotate()
        for _ in range(self.lags[0]):
            await asyncio.sleep(0)

    def kill(self) -> None:
        self.dead.add(VICTIM)
        lost = [child for child, ref in self.refs.items() if ref.node_id == VICTIM]
        if not self.revives:
            return
        self.tell(NodeFailureDetected("demo", VICTIM, tuple(lost)))
        for number, child in enumerate(lost):
            new = NODES[number % 2]
            self.refs[child] = FakeRef(self, child, new)
            self.tell(ChildMigrated("demo", child, VICTIM, new))

    def tell(self, event: Any) -> None:
        if self.tells_events:
            self.events_out.put_nowait(event)

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self.events_out.get()

    async def get_child(self, child: str) -> Info:
        await self.turns()
        ref = self.refs[child]
        return Info(ref, ref.node_id)


def coordinator(stage: Stage, chunks: list[str], said: list[str] | None = None) -> Coordinator:
    kill: Callable[[], None] = stage.kill
    return Coordinator(
        stage,
        chunks,
        refs=stage.refs,
        victim=VICTIM,
        kill_after=len(chunks) // 4,
        kill=kill,
        say=(said if said is not None else []).append,
    )


def chunks_for(workers: int, each: int = 8) -> list[str]:
    return [f"chunk number {'abcdefg'[n % 7]} word" for n in range(each * workers)]


def outcome(run: Coordinator, chunks: list[str]) -> Outcome:
    expected = merge(map(analyse, chunks))
    return Outcome(run.figures, expected, len(chunks), {}, VICTIM, 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    workers=st.integers(3, 12),
    lags=st.lists(st.integers(0, 7), min_size=1, max_size=40),
    empty=st.booleans(),
)
def test_whatever_the_order_every_chunk_counts_once_and_every_moved_child_works_on(
    workers: int, lags: list[int], empty: bool
) -> None:
    async def main() -> None:
        stage = Stage(workers, lags)
        on_victim = {child for child, ref in stage.refs.items() if ref.node_id == VICTIM}
        chunks = [""] * (8 * workers) if empty else chunks_for(workers)
        run = coordinator(stage, chunks)
        await asyncio.wait_for(run.run(), 20)
        figures, result = run.figures, outcome(run, chunks)
        assert result.is_good
        assert (result.lost, result.counted_twice) == (0, 0)
        assert set(figures.acknowledged) == set(range(len(chunks)))
        assert figures.by_node.total() == figures.by_process.total() == len(chunks)
        assert set(figures.moves) == on_victim
        assert figures.held_at_kill
        assert set(figures.held_at_kill.values()) <= set(figures.handed_out_again)
        assert len(set(figures.handed_out_again)) == len(figures.handed_out_again)
        assert run.holding == {}

    asyncio.run(main())


def test_a_lost_chunk_goes_to_the_next_process_of_the_same_child_once() -> None:
    async def main() -> None:
        stage = Stage(6)
        run = coordinator(stage, chunks_for(6))
        await run.run()
        for child, number in run.figures.held_at_kill.items():
            takers = [(c, node) for n, c, node in stage.taken if n == number]
            assert takers == [(child, VICTIM), (child, stage.refs[child].node_id)]
        again = [n for n, _, _ in stage.taken]
        assert len(again) == len(set(again)) + len(run.figures.held_at_kill)

    asyncio.run(main())


def test_the_kill_waits_until_enough_is_done_and_a_child_there_holds_a_chunk() -> None:
    async def main() -> None:
        stage = Stage(6)
        chunks = chunks_for(6)
        run = coordinator(stage, chunks)
        kill, at_kill = stage.kill, []

        def killed() -> None:
            at_kill.append((len(run.figures.acknowledged), run.holding))
            kill()

        run._kill = killed
        await run.run()
        ((done, holding),) = at_kill
        assert done >= len(chunks) // 4
        assert run.figures.held_at_kill.items() <= holding.items()

    asyncio.run(main())


def test_moves_are_found_although_no_event_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_run, "LOOK_AGAIN", 0.01)

    async def main() -> None:
        stage = Stage(6)
        stage.tells_events = False
        run = coordinator(stage, chunks_for(6))
        await asyncio.wait_for(run.run(), 20)
        assert outcome(run, chunks_for(6)).is_good
        assert all(move.answered_after is not None for move in run.figures.moves.values())

    asyncio.run(main())


def test_a_child_that_does_not_come_back_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_run, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(demo_run, "MOVE_TIMEOUT", 0.05)

    async def main() -> None:
        stage = Stage(6)
        stage.revives = False
        run = coordinator(stage, chunks_for(6))
        with pytest.raises(BaseExceptionGroup) as caught:
            await asyncio.wait_for(run.run(), 20)
        (error, *_) = caught.value.exceptions
        assert isinstance(error, MoveFailedError)
        assert "has no new process 0.05 s after its node was lost" in str(error)

    asyncio.run(main())


def test_a_child_that_is_lost_twice_is_followed() -> None:
    async def main() -> None:
        stage = Stage(6)
        run = coordinator(stage, chunks_for(6))
        kill = stage.kill

        def killed() -> None:
            kill()
            for child, ref in list(stage.refs.items()):
                if ref.node_id == NODES[1]:
                    stage.refs[child] = FakeRef(stage, child, NODES[0])
                    stage.tell(ChildMigrated("demo", child, NODES[1], NODES[0]))
            stage.dead.add(NODES[1])

        run._kill = killed
        await asyncio.wait_for(run.run(), 20)
        assert outcome(run, chunks_for(6)).is_good
        assert {ref.node_id for ref in run._refs.values()} == {NODES[0]}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("spoil", "lost", "twice", "idle"),
    [
        (lambda f: f.acknowledged.pop(3), 1, 0, []),
        (lambda f: f.acknowledged.update([3]), 0, 1, []),
        (lambda f: setattr(f.moves["worker-2"], "chunks_after", 0), 0, 0, ["worker-2"]),
        (lambda f: f.total["words"].update(["more"]), 0, 0, []),
    ],
    ids=["lost", "counted twice", "idle", "unequal"],
)
def test_each_fault_is_seen_in_the_figures(
    spoil: Callable[[Any], Any], lost: int, twice: int, idle: list[str]
) -> None:
    async def main() -> None:
        run = coordinator(Stage(6), chunks_for(6))
        await run.run()
        result = outcome(run, chunks_for(6))
        assert result.is_good
        spoil(run.figures)
        assert not result.is_good
        assert (result.lost, result.counted_twice, result.idle) == (lost, twice, idle)

    asyncio.run(main())
