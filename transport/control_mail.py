"""What the loop and the control thread leave for each other. Both sides are bounded.

Loop to thread: frames to send, in a deque of bounded length and size, and the endpoints that are
wanted, as a whole: a state needs no queue. Thread to loop: a `Backlog`. The loop's lag is measured
by a mark that the thread leaves with the loop: what it waits for is what everybody waits for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from noex.transport.control_backlog import Backlog
from noex.transport.control_events import ControlEvent, ControlSettings

_SLICE = 256
_SLICE_TIME = 0.003


class Outgoing(NamedTuple):
    """A frame to send: over the link to `endpoint`, or back to `origin`."""

    endpoint: str | None
    origin: bytes | None
    frame: bytes


class Wanted(NamedTuple):
    """The links and subscriptions that shall exist.

    A link has a number: another number is another link, so that a `disconnect` with a `connect`
    right after it is noticed. A subscription has the node that publishes there, if that is known.
    """

    links: Mapping[str, int] = MappingProxyType({})
    subscriptions: Mapping[str, str | None] = MappingProxyType({})


class ControlMail:
    """The two-way exchange. Methods say on which side they may be called."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ControlSettings,
        deliver: Callable[[ControlEvent], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._deliver = deliver
        self._lock = threading.Lock()
        self._outgoing: deque[Outgoing] = deque()
        self._outgoing_bytes = 0
        self._backlog = Backlog(settings)
        self._delivering: deque[ControlEvent] = deque()
        self._scheduled = False
        self._silent = False
        self._closed = False
        self._marked_at: float | None = None
        self._last_lag = 0.0
        self._woken = False
        self.wake_reader, self._wake_writer = socket.socketpair()
        self.wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self.wanted = Wanted()
        self.commands_dropped = 0
        self.orphaned = False
        """The loop was closed without `stop`: the thread has no owner any more and ends."""

    # On the loop.

    def put(self, outgoing: Outgoing) -> bool:
        """Leave a frame for the thread; False if it was dropped because the thread is behind."""
        with self._lock:
            if self._silent:
                return False
            full = len(self._outgoing) >= self._settings.max_commands
            size = self._outgoing_bytes + len(outgoing.frame)
            if full or size > self._settings.max_command_bytes:
                self.commands_dropped += 1
                return False
            self._outgoing.append(outgoing)
            self._outgoing_bytes = size
        self.wake()
        return True

    def want(self, wanted: Wanted) -> None:
        """Say which links and subscriptions shall exist from now on."""
        self.wanted = wanted
        self.wake()

    def wake(self) -> None:
        """Let the thread look. Wake-ups that were not yet noticed are one."""
        with self._lock:
            if self._woken or self._closed:
                return
            self._woken = True
            self._wake_writer.send(b"\0")

    def silence(self) -> None:
        """Deliver nothing more; the thread may still be woken."""
        with self._lock:
            self._silent = True
            self._delivering.clear()
            self._backlog.take()

    @property
    def events_waiting(self) -> int:
        """Events that the loop has not read yet."""
        return len(self._backlog) + len(self._delivering)

    @property
    def events_dropped(self) -> int:
        """Events that the bounds pushed out."""
        return self._backlog.dropped

    # On the thread.

    def take_outgoing(self) -> deque[Outgoing]:
        """All frames that wait, oldest first. Also takes notice of the wake-up."""
        with self._lock:
            if self._woken:
                self._woken = False
                self.wake_reader.recv(64)
            outgoing, self._outgoing = self._outgoing, deque()
            self._outgoing_bytes = 0
        return outgoing

    def post(self, event: ControlEvent) -> None:
        """Leave an event for the loop."""
        with self._lock:
            if self._silent:
                return
            self._backlog.add(event)
            if self._scheduled:
                return
            self._scheduled = True
        self.call_loop(self._read_events)

    def loop_lag(self, now: float) -> float:
        """How late the loop runs, and a fresh mark for the next time."""
        marked_at = self._marked_at
        if marked_at is not None:
            self.orphaned = self.orphaned or self._loop.is_closed()
            return max(0.0, now - marked_at)
        lag = self._last_lag
        self._marked_at = now
        self.call_loop(self._read_mark)
        return lag

    def call_loop(self, callback: Callable[[], None]) -> None:
        """Run `callback` on the loop, unless it is closed."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed
            self.orphaned = True

    def close(self) -> None:
        """Release the wake-up; the last act of the thread."""
        with self._lock:
            self._closed = True
            self.wake_reader.close()
            self._wake_writer.close()

    # Called back on the loop.

    def _read_mark(self) -> None:
        if self._marked_at is not None:
            self._last_lag = max(0.0, time.monotonic() - self._marked_at)
            self._marked_at = None

    def _read_events(self) -> None:
        """Deliver a slice and give way; events that arrive meanwhile come after.

        It is bounded in time, too: each may cost its reader much, and a stranger may have sent it.
        """
        if not self._delivering:
            with self._lock:
                self._delivering.extend(self._backlog.take())
        end = time.monotonic() + _SLICE_TIME
        for _ in range(min(_SLICE, len(self._delivering))):
            if self._delivering:  # a delivery may have closed us
                self._deliver(self._delivering.popleft())
            if time.monotonic() >= end:
                break
        with self._lock:
            self._scheduled = bool(self._delivering or len(self._backlog)) and not self._silent
        if self._scheduled:
            self._loop.call_soon(self._read_events)
