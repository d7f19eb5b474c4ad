"""What the demo says at the end: the figures as plain lines, and as one JSON object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from noex.cli.demo_run import Figures, Move


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of the demo, and what it is compared with."""

    figures: Figures
    expected: dict[str, Any]
    chunks: int
    placement: dict[str, list[str]]
    victim: str
    seconds: float
    work_seconds: float

    @property
    def lost(self) -> int:
        """Chunks that nobody has counted."""
        return sum(not self.figures.acknowledged[number] for number in range(self.chunks))

    @property
    def counted_twice(self) -> int:
        """Chunks that were counted more than once."""
        return sum(times > 1 for times in self.figures.acknowledged.values())

    @property
    def idle(self) -> list[str]:
        """Moved children that have not finished a chunk since."""
        return [move.child for move in self.figures.moves.values() if not move.chunks_after]

    @property
    def is_equal(self) -> bool:
        """Whether the counts are those of the single process."""
        return self.figures.total == self.expected

    @property
    def is_good(self) -> bool:
        """Whether the demo has shown what it is for."""
        return self.is_equal and not (self.lost or self.counted_twice or self.idle)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All figures. Times are in seconds after the kill."""
    figures = outcome.figures
    words = figures.total["words"]
    return {
        "equal": outcome.is_equal,
        "words": words.total(),
        "different_words": len(words),
        "chunks": outcome.chunks,
        "chunks_by_node": dict(figures.by_node),
        "chunks_by_process": dict(figures.by_process),
        "handed_out_again": len(figures.handed_out_again),
        "lost": outcome.lost,
        "counted_twice": outcome.counted_twice,
        "placement": outcome.placement,
        "killed": outcome.victim,
        "held_at_kill": figures.held_at_kill,
        "detected_after": _rounded(figures.detected_after),
        "moves": [_move(move) for move in figures.moves.values()],
        "work_seconds": _rounded(outcome.work_seconds),
        "seconds": _rounded(outcome.seconds),
    }


def _move(move: Move) -> dict[str, Any]:
    return {
        "child": move.child,
        "from": move.from_node,
        "to": move.to_node,
        "pid": move.pid,
        "answered_after": _rounded(move.answered_after),
        "chunk_after": _rounded(move.chunk_after),
        "chunks_afterwards": move.chunks_after,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def report(outcome: Outcome, say: Callable[[str], None]) -> None:
    """The end of the story in plain lines."""
    figures = outcome.figures
    say(
        f"{outcome.chunks - outcome.lost} of {outcome.chunks} chunks counted: {outcome.lost} lost,"
        f" {outcome.counted_twice} counted twice, {len(figures.handed_out_again)} handed out again"
    )
    for process, number in sorted(figures.by_process.items()):
        killed = "  (until it was killed)" if process.startswith(f"{outcome.victim} ") else ""
        say(f"  {process}: {number}{killed}")
    for child in outcome.idle:
        say(f"  {child} has not finished any chunk since it moved")
    words = figures.total["words"]
    say(f"{words.total():,} words, {len(words):,} different ones")
    say(_verdict(outcome))
    say(f"{outcome.seconds:.1f} s, of which {outcome.work_seconds:.1f} s were work")


def _verdict(outcome: Outcome) -> str:
    if outcome.is_equal:
        return "Equal to what a single process counts."
    names = ", ".join(_differing(outcome))
    return f"NOT equal to what a single process counts: {names} differ."


def _differing(outcome: Outcome) -> Iterable[str]:
    expected = outcome.expected
    return [name for name, counts in outcome.figures.total.items() if counts != expected.get(name)]
