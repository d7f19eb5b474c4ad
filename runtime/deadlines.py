"""One heap for all deadlines of a node: a machine that is asked what is due.

Cancelled entries stay in the heap until they come up or until they outnumber the living ones;
then the heap is rebuilt. So a million calls that were answered in time cost no memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

_REBUILD_AT = 512  # below this many dead entries a rebuild is not worth its cost


class Deadline:
    """Something to do at `when`, unless cancelled before."""

    __slots__ = ("_heap", "callback", "when")

    def __init__(self, when: float, callback: Callable[[], object], heap: Deadlines) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback
        self._heap = heap

    def cancel(self) -> bool:
        """Forget it. Returns whether it was still to come."""
        if self.callback is None:
            return False
        self.callback = None
        self._heap._one_died()
        return True


class Deadlines:
    """The heap. `add` returns a handle to cancel; `due` pops all that is due, in order of time."""

    __slots__ = ("_dead", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._serial = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def add(self, when: float, callback: Callable[[], object]) -> Deadline:
        """Remember `callback` for the time `when`."""
        entry = Deadline(when, callback, self)
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, entry))
        return entry

    def next(self) -> float | None:
        """The time of the earliest living entry, or None."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._dead -= 1
        return heap[0][0] if heap else None

    def due(self, now: float, most: int | None = None) -> list[Callable[[], object]]:
        """Take out and return the callbacks whose time has come, `most` of them at most."""
        heap = self._heap
        found: list[Callable[[], object]] = []
        while heap and heap[0][0] <= now and len(found) != most:
            entry = heapq.heappop(heap)[2]
            if entry.callback is None:
                self._dead -= 1
                continue
            found.append(entry.callback)
            entry.callback = None
        return found

    def _one_died(self) -> None:
        self._dead += 1
        if self._dead > _REBUILD_AT and self._dead * 2 > len(self._heap):
            self._heap = [row for row in self._heap if row[2].callback is not None]
            heapq.heapify(self._heap)
            self._dead = 0
