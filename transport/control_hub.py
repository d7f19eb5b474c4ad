"""Waiting for many sockets at once, with the edge-triggered FDs of ZeroMQ among them.

A drain reads one source until it is empty (False) or until its bound (True: there may be more).
The rule for a ZeroMQ socket: its FD is cleared by any call on the socket, so after a call its
drain is marked, and a marked drain runs before the next wait.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Protocol

Drain = Callable[[], bool]


class HasFileno(Protocol):
    """A socket, or anything else that a selector takes."""

    def fileno(self) -> int:
        """The file descriptor."""
        ...


class Hub:
    """The sources of one thread. `on_error` hears what a drain raised; the others go on."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._selector = selectors.DefaultSelector()
        self._drains: dict[int, Drain] = {}
        self._marked: dict[Drain, None] = {}
        self._on_error = on_error

    def watch(self, fd: int, drain: Drain, *, writable: bool = False) -> None:
        """Run `drain` whenever `fd` is readable (or writable), and once now."""
        events = selectors.EVENT_WRITE if writable else selectors.EVENT_READ
        self._selector.register(fd, events)
        self._drains[fd] = drain
        if not writable:
            self.mark(drain)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed."""
        self._selector.unregister(fd)
        self._marked.pop(self._drains.pop(fd), None)

    def mark(self, drain: Drain) -> None:
        """Run `drain` before the next wait."""
        self._marked[drain] = None

    def mark_all(self) -> None:
        """Run every drain before the next wait, in case an edge was missed."""
        for fd, drain in self._drains.items():
            if self._selector.get_key(fd).events == selectors.EVENT_READ:
                self.mark(drain)

    def turn(self, timeout: float) -> None:
        """Wait for at most `timeout` seconds, then run what is ready."""
        for key, _ in self._selector.select(0 if self._marked else max(0.0, timeout)):
            self.mark(self._drains[key.fd])
        ready, self._marked = self._marked, {}
        while ready:
            drain = next(iter(ready))
            del ready[drain]
            if drain in self._marked or self._is_gone(drain):
                continue
            self._run(drain)

    def close(self) -> None:
        """Release the selector."""
        self._selector.close()
        self._drains.clear()
        self._marked.clear()

    def _is_gone(self, drain: Drain) -> bool:
        return drain not in self._drains.values()

    def _run(self, drain: Drain) -> None:
        try:
            if drain():
                self.mark(drain)
        except Exception as error:
            self._on_error(error)
