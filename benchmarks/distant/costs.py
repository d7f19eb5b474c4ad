"""Where one end of a pair spends its CPU time, per message: by samples, or traced by cProfile."""

from __future__ import annotations

import cProfile
import pstats
from typing import Any

from profiling import Sampler

MOST = 28
Report = dict[str, Any]  # "rows": [share, calls or None, place]


class Costs:
    """One profile. Tracing makes small functions look dearer than they are; samples do not."""

    def __init__(self) -> None:
        self._profiler: cProfile.Profile | Sampler | None = None

    def begin(self, *, traced: bool) -> None:
        """From now on."""
        self._profiler = profiler = cProfile.Profile() if traced else Sampler()
        profiler.__enter__()

    def end(self) -> Report:
        """Until now."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return {"rows": []}
        profiler.__exit__(None, None, None)
        rows = _sampled(profiler) if isinstance(profiler, Sampler) else _traced(profiler)
        return {"rows": rows[:MOST]}


def _sampled(profiler: Sampler) -> list[list[Any]]:
    whole = max(profiler.samples, 1)
    return [
        [count / whole, None, _place(*place)] for place, count in profiler.functions.most_common()
    ]


def _traced(profiler: cProfile.Profile) -> list[list[Any]]:
    """Without the waiting for sockets."""
    stats: Any = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    rows = [
        [own, calls, _place(*place)]
        for place, (_, calls, own, _, _) in stats.items()
        if "poll" not in place[2]
    ]
    whole = sum(row[0] for row in rows) or 1.0
    return sorted(([own / whole, calls, place] for own, calls, place in rows), reverse=True)


def _place(file: str, line: int, name: str) -> str:
    if line == 0:
        return name  # of C
    return f"{'/'.join(file.split('/')[-2:])}:{line} {name}"


def as_text(title: str, report: Report, cost: float, operations: float) -> str:
    """A line for each function: its part of the CPU time, and what that is for one operation.

    `cost`: us of CPU for one operation, as measured without what comes before and after.
    """
    each = max(operations, 1)
    lines = [f"{title}: {cost:.2f} us of CPU per operation, of {operations:,.0f}"]
    lines.append(f"{'%':>6} {'ns/op':>9} {'calls/op':>9}  function by itself, with the C in it")
    for share, calls, place in report["rows"]:
        often = "-" if calls is None else f"{calls / each:.2f}"
        lines.append(f"{share * 100:6.1f} {share * cost * 1e3:9.0f} {often:>9}  {place}")
    return "\n".join(lines)
