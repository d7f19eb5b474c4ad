"""Where one load spends its CPU time, by samples: nothing is slowed down, nothing is rewritten.

Every few milliseconds of CPU time the interpreter notes, at its next call or jump back, where it
is. A run of the garbage collector shows as `measuring.py: _see`, which it calls at its end.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from types import FrameType
from typing import Self

INTERVAL = 0.001  # seconds of CPU time; many systems have 0.004 at best
Place = tuple[str, int, str]  # file, line, function


class Sampler:
    """Counts where the program is, while it is entered. For the main thread, and POSIX."""

    def __init__(self) -> None:
        self.lines: Counter[Place] = Counter()
        self.functions: Counter[Place] = Counter()
        self.inclusive: Counter[Place] = Counter()
        self.samples = 0

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.samples += 1
        self.lines[frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name] += 1
        self.functions[_function(frame)] += 1
        seen: set[Place] = set()
        while frame is not None:
            seen.add(_function(frame))
            frame = frame.f_back
        self.inclusive.update(seen)

    def report(self, most: int = 25) -> str:
        """The hottest functions with what they called, by themselves, and the hottest lines."""
        return "\n".join(
            self._part(title, counts, most)
            for title, counts in (
                ("function, with all it calls", self.inclusive),
                ("function by itself (and the C code that it calls)", self.functions),
                ("line", self.lines),
            )
        )

    def _part(self, title: str, counts: Counter[Place], most: int) -> str:
        lines = [f"{'%':>6}  {title}"]
        for (file, line, name), count in counts.most_common(most + 20):
            if count == self.samples or len(lines) > most:
                continue  # what is always there says nothing
            place = f"{'/'.join(file.split(os.sep)[-2:])}:{line}"
            lines.append(f"{count / max(self.samples, 1) * 100:6.1f}  {place:45} {name}")
        return "\n".join(lines) + "\n"


def _function(frame: FrameType) -> Place:
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, code.co_name
