"""Where one end of a pair spends its CPU time, per message: by samples, or traced by cProfile."""

from __future__ import annotations

import cProfile
import pstats
import time
from typing import Any

from profiling import Sampler

MOST = 28
Report = dict[str, Any]  # "cpu": seconds, "rows": [share, calls or None, place]


class Costs:
    """One profile. Tracing makes small functions look dearer than they are; samples do not."""

    def __init__(self) -> None:
        self._profiler: cProfile.Profile | Sampler | None = None
        self._cpu = 0.0

    def begin(self, *, traced: bool) -> None:
        """From now on."""
        self._profiler = profiler = cProfile.Profile() if traced else Sampler()
        self._cpu = time.process_time()
        profiler.__enter__()

    def end(self) -> Report:
        """Until now."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return {"cpu": 0.0, "rows": []}
        profiler.__exit__(None, None, None)
        rows = _sampled(profiler) if isinstance(profiler, Sampler) else _traced(profiler)
        return {"cpu": time.process_time() - self._cpu, "rows": rows[:MOST]}


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


def as_text(title: str, report: Report, operations: int) -> str:
    """A line for each function: its part of the CPU time, and what that is for one operation."""
    whole = report["cpu"] / max(operations, 1) * 1e6
    lines = [f"{title}: {whole:.2f} us of CPU per operation, of {operations:,}"]
    lines.append(f"{'%':>6} {'ns/op':>9} {'calls/op':>9}  function by itself, with the C in it")
    for share, calls, place in report["rows"]:
        often = "-" if calls is None else f"{calls / max(operations, 1):.2f}"
        lines.append(f"{share * 100:6.1f} {share * whole * 1e3:9.0f} {often:>9}  {place}")
    return "\n".join(lines)
