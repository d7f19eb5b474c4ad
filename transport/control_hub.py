"""Waiting for many sockets at once, with the edge-triggered FDs of ZeroMQ among them.

A drain reads one source until it is empty (False) or until its bound (True: there may be more).
The rule for a ZeroMQ socket: its FD is cleared by any call on the socket, so after a call its
drain is marked, and a marked drain runs before the next wait.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable

Drain = Callable[[], bool]


class Hub:
    """The sources of one thread. `on_error` hears what a drain raised; the others go on."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._selector = selectors.DefaultSelector()
        self._drains: dict[int, Drain] = {}
        self._readers: set[Drain] = set()
        self._live: set[Drain] = set()
        self._marked: dict[Drain, None] = {}
        self._on_error = on_error

    def watch(self, fd: int, drain: Drain, *, writable: bool = False) -> None:
        """Run `drain` whenever `fd` is readable (or writable), and once now."""
        events = selectors.EVENT_WRITE if writable else selectors.EVENT_READ
        self._selector.register(fd, events)
        self._drains[fd] = drain
        self._live.add(drain)
        if not writable:
            self._readers.add(drain)
            self.mark(drain)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed."""
        self._selector.unregister(fd)
        drain = self._drains.pop(fd)
        self._live.discard(drain)
        self._readers.discard(drain)
        self._marked.pop(drain, None)

    def mark(self, drain: Drain) -> None:
        """Run `drain` before the next wait."""
        self._marked[drain] = None

    def mark_all(self) -> None:
        """Run every drain before the next wait, in case an edge was missed."""
        self._marked.update(dict.fromkeys(self._readers))

    def turn(self, timeout: float) -> None:
        """Wait for at most `timeout` seconds, then run what is ready."""
        for key, _ in self._selector.select(0 if self._marked else max(0.0, timeout)):
            self.mark(self._drains[key.fd])
        ready, self._marked = self._marked, {}
        for drain in ready:
            if drain in self._live:  # an earlier one may have closed it
                self._run(drain)

    def close(self) -> None:
        """Release the selector."""
        self._selector.close()
        self._drains.clear()
        self._live.clear()
        self._readers.clear()
        self._marked.clear()

    def _run(self, drain: Drain) -> None:
        try:
            if drain():
                self.mark(drain)
        except Exception as error:
            self._on_error(error)
