"""The threads of one node, in which the handlers of `blocking = True` classes run.

A thread is made when there is work and no idle one, up to the size of the pool, and stays until
the node ends. Work beyond that waits in line; if it waits long, the log says so. A thread whose
handler waits for a coroutine (`self.run`) does not count: whom it waits for may need a thread.

The threads are daemons, not those of `concurrent.futures`: one whose handler never returns must
keep neither the node from ending nor the interpreter.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from noex.runtime.crossing import Crossings
from noex.runtime.reports import report_stuck_threads, report_threads_busy

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel

LONG_WAIT: Final = 1.0  # seconds in line, until the log says so; then twice, four times, ...
JOIN_LIMIT: Final = 1.0  # for a thread that has said that it ends


class Work(Protocol):
    """What a thread does."""

    def run(self) -> None:
        """Do it. Must not raise."""
        ...


class Threads:
    """Daemon threads that take work in the order in which it came."""

    def __init__(self, kernel: Kernel, size: int) -> None:
        self.crossings = Crossings(kernel.loop, kernel.node_id)
        self._kernel = kernel
        self._size = size
        self._changed = threading.Condition(threading.Lock())
        self._line: deque[Work] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._parked = 0  # threads that wait for something on the loop
        self._made = 0
        self._closed = False
        self._ended = asyncio.Event()
        self._watched: Work | None = None  # the first in line when the alarm was set

    @property
    def busy(self) -> int:
        """How many threads have work."""
        return len(self._threads) - self._idle

    # ------------------------------------------------------------------ on the loop

    def submit(self, work: Work) -> None:
        """Have `work` done. Raises RuntimeError if not even one thread can be made."""
        with self._changed:
            self._line.append(work)
            try:
                self._staff()
            except RuntimeError:  # the machine has no thread left, and this node has none at all
                self._line.pop()
                raise
            waits = len(self._line) > self._idle
        if waits and self._watched is None:
            self._watch(work, LONG_WAIT)

    def _watch(self, work: Work, pause: float) -> None:
        self._watched = work
        self._kernel.alarm.after(pause, lambda: self._look(work, pause))

    def _look(self, work: Work, pause: float) -> None:
        self._watched = None
        with self._changed:
            first = self._line[0] if self._line else None
        if first is work:
            zombies = len(self._kernel.zombies)
            report_threads_busy(self._kernel, self._size, len(self._line), zombies)
            self._watch(work, pause * 2)
        elif first is not None:
            self._watch(first, LONG_WAIT)

    async def close(self, limit: float) -> None:
        """End all threads, and wait `limit` seconds for those that still work."""
        with self._changed:
            self._closed = True
            self._line.clear()
            self._changed.notify_all()
            left = list(self._threads)
        self.crossings.close()  # who waits for the loop hears that the node has ended, and ends
        if left:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._ended.wait()
        if self._ended.is_set():
            for thread in left:
                thread.join(JOIN_LIMIT)
        stuck = [thread for thread in left if thread.is_alive()]
        if stuck:
            report_stuck_threads(self._kernel, stuck)

    # ------------------------------------------------------------------ in the threads

    @contextmanager
    def parked(self) -> Iterator[None]:
        """While this thread only waits, another one may work in its place."""
        with self._changed:
            self._parked += 1
            self._staff()
        try:
            yield
        finally:
            with self._changed:
                self._parked -= 1

    def _staff(self) -> None:
        """Wake a thread for what is in line, or make one. Under the lock."""
        if len(self._line) <= self._idle:
            self._changed.notify()
        elif len(self._threads) < self._size + self._parked and not self._closed:
            self._made += 1
            name = f"noex {self._kernel.node_id} blocking {self._made}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    raise
            else:  # it waits for the lock
                self._threads.add(thread)

    def _serve(self) -> None:
        work = self._next()
        while work is not None:
            work.run()
            work = None  # hold nothing of it while waiting
            work = self._next()

    def _next(self) -> Work | None:
        """The next in line; None when this thread is to end."""
        with self._changed:
            while True:
                surplus = len(self._threads) > self._size + self._parked
                if self._closed or surplus:
                    self._leave()
                    return None
                if self._line:
                    return self._line.popleft()
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    def _leave(self) -> None:
        self._threads.discard(threading.current_thread())
        if self._line and not self._closed:
            self._staff()  # it may have been woken for this
        if self._closed and not self._threads:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._kernel.loop.call_soon_threadsafe(self._ended.set)
