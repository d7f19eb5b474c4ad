"""All deadlines of a node: a machine that is asked what is due.

Most of them are timeouts of calls, which are set by the million, with the same few delays, and
hardly ever come. Those of one delay fall due in the order in which they were set: they stand in a
line, and only the first of a line stands in the heap, among all that have a time of their own.

Cancelled entries are forgotten when they come up, from the front of a line at once, and altogether
as soon as they outnumber the living ones. So a million calls that were answered cost no memory.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

_REBUILD_AT: Final = 512  # below this many dead entries a rebuild is not worth its cost
_MOST_LINES: Final = 256  # delays with a line of their own; the others stand in the heap


class Deadline:
    """Something to do at `when`, unless cancelled before."""

    __slots__ = ("_home", "callback", "serial", "when")

    def __init__(
        self, when: float, serial: int, callback: Callable[[], object], home: Deadlines | _Line
    ) -> None:
        self.when = when
        self.serial = serial
        self.callback: Callable[[], object] | None = callback
        self._home = home

    def cancel(self) -> bool:
        """Forget it. Returns whether it was still to come."""
        if self.callback is None:
            return False
        self.callback = None
        self._home.one_died()
        return True


class _Line:
    """The deadlines of one delay, the next one first."""

    __slots__ = ("dead", "delay", "entries", "owner")

    def __init__(self, owner: Deadlines, delay: float) -> None:
        self.owner = owner
        self.delay = delay
        self.entries: deque[Deadline] = deque()
        self.dead = 0  # of the entries

    def one_died(self) -> None:
        self.owner.living -= 1
        self.dead += 1
        self.sweep()
        if self.dead > _REBUILD_AT and self.dead * 2 > len(self.entries):
            self.entries = deque(entry for entry in self.entries if entry.callback is not None)
            self.dead = 0

    def sweep(self) -> None:
        """Forget the dead at the front."""
        entries = self.entries
        while entries and entries[0].callback is None:
            entries.popleft()
            self.dead -= 1


class Deadlines:
    """`add` and `after` return a handle to cancel; `due` takes out all that is due, in order."""

    __slots__ = ("_dead", "_heap", "_lines", "_serial", "living")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._lines: dict[float, _Line] = {}  # by delay; the first of each has a row in the heap
        self._serial = 0
        self._dead = 0  # rows of the heap that stand for themselves alone
        self.living = 0

    def __len__(self) -> int:
        return self.living

    def add(self, when: float, callback: Callable[[], object]) -> Deadline:
        """Remember `callback` for the time `when`."""
        self._serial += 1
        self.living += 1
        entry = Deadline(when, self._serial, callback, self)
        heapq.heappush(self._heap, (when, self._serial, entry))
        return entry

    def after(self, delay: float, when: float, callback: Callable[[], object]) -> Deadline:
        """The same for a time that is `delay` from now: with others of that delay it is cheaper."""
        line = self._lines.get(delay)
        if line is None:
            return self._open_line(delay, when, callback)
        entries = line.entries
        if entries and entries[-1].when > when:  # the clock was set back
            return self.add(when, callback)
        self._serial += 1
        self.living += 1
        entry = Deadline(when, self._serial, callback, line)
        entries.append(entry)
        return entry

    def next(self) -> float | None:
        """The time of the earliest living entry, or None."""
        while self._heap and self._heap[0][2].callback is None:
            self._take_first()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, most: int | None = None) -> list[Callable[[], object]]:
        """Take out and return the callbacks whose time has come, `most` of them at most."""
        found: list[Callable[[], object]] = []
        while self._heap and self._heap[0][0] <= now and len(found) != most:
            entry = self._heap[0][2]
            callback, entry.callback = entry.callback, None
            if callback is not None:
                found.append(callback)
                self.living -= 1
                self._count_dead(entry)
            self._take_first()
        return found

    def one_died(self) -> None:
        """An entry of the heap was cancelled."""
        self.living -= 1
        self._dead += 1
        if self._dead > _REBUILD_AT and self._dead * 2 > len(self._heap):
            self._heap = [
                row for row in self._heap if row[2]._home is not self or row[2].callback is not None
            ]
            heapq.heapify(self._heap)
            self._dead = 0

    def _open_line(self, delay: float, when: float, callback: Callable[[], object]) -> Deadline:
        if len(self._lines) >= _MOST_LINES:
            return self.add(when, callback)
        line = self._lines[delay] = _Line(self, delay)
        self._serial += 1
        self.living += 1
        entry = Deadline(when, self._serial, callback, line)
        line.entries.append(entry)
        heapq.heappush(self._heap, (when, self._serial, entry))
        return entry

    def _count_dead(self, entry: Deadline) -> None:
        if isinstance(entry._home, _Line):
            entry._home.dead += 1
        else:
            self._dead += 1

    def _take_first(self) -> None:
        """The first row goes, which is dead. The next of its line takes its place."""
        home = heapq.heappop(self._heap)[2]._home
        if not isinstance(home, _Line):
            self._dead -= 1
            return
        home.sweep()
        if home.entries:
            first = home.entries[0]
            heapq.heappush(self._heap, (first.when, first.serial, first))
        else:
            del self._lines[home.delay]
