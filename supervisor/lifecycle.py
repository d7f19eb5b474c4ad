"""Lifecycle events on their way to whoever listens on this node.

A supervisor publishes an event; each subscriber's handler runs in a later turn of the loop, in the
order of publication and in the context in which it subscribed. So a handler that raises is logged
and harms nobody, and one that talks to the supervisor is not taken for the supervisor itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from noex.runtime.log import get_logger
from noex.supervisor.events import EventsLost

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.ref import Ref

Handler = Callable[[Any], object]
QUEUE_BOUND: Final = 1024
"""Events that a stream holds for a slow reader; more are lost, and marked by `EventsLost`."""


_everywhere: list[Handler] = []


def watch_everywhere(handler: Handler) -> Callable[[], None]:
    """Call `handler` with every event in this OS process, when it is published: for tests.

    Returns the function that ends this. `handler` must not raise.
    """
    _everywhere.append(handler)
    return lambda: _everywhere.remove(handler)


class LifecycleEvents:
    """The subscribers of one node."""

    def __init__(self) -> None:
        self._tickets = itertools.count()
        self._subscribers: dict[int, tuple[Handler, Any, contextvars.Context]] = {}

    def subscribe(self, handler: Handler, supervisor: Ref[Any] | None = None) -> Callable[[], None]:
        """Call `handler` with each event, of `supervisor` or of all; returns how to end that."""
        ticket = next(self._tickets)
        self._subscribers[ticket] = (handler, supervisor, contextvars.copy_context())

        def unsubscribe() -> None:
            self._subscribers.pop(ticket, None)

        return unsubscribe

    def publish(self, supervisor: Ref[Any], event: Any) -> None:
        """Tell the subscribers."""
        for handler in tuple(_everywhere):
            handler(event)
        loop = asyncio.get_running_loop()
        for ticket, (_, wanted, context) in list(self._subscribers.items()):
            if wanted is None or wanted == supervisor:
                loop.call_soon(self._call, ticket, event, context=context)

    def _call(self, ticket: int, event: Any) -> None:
        subscriber = self._subscribers.get(ticket)
        if subscriber is None:  # it unsubscribed meanwhile
            return
        try:
            subscriber[0](event)
        except KeyboardInterrupt:
            raise
        except BaseException:  # a SystemExit would end the loop, and with it the node
            get_logger().exception("lifecycle_handler_failed", event_type=event.type)


_without_node: WeakKeyDictionary[Kernel, LifecycleEvents] = WeakKeyDictionary()


def lifecycle_of(kernel: Kernel) -> LifecycleEvents:
    """The events of the node of `kernel` (a kernel without a node has some of its own)."""
    events = getattr(kernel.node, "lifecycle", None)
    if isinstance(events, LifecycleEvents):
        return events
    return _without_node.setdefault(kernel, LifecycleEvents())


class EventStream:
    """``async for event in sup.events()``: from the call on, until the supervisor is gone."""

    def __init__(self, supervisor_id: str) -> None:
        self._supervisor_id = supervisor_id
        self._queue: deque[Any] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._on_close: Callable[[], None] | None = None

    def attach(self, on_close: Callable[[], None]) -> None:
        """What to do when nobody reads any more."""
        self._on_close = on_close

    def put(self, event: Any) -> None:
        """Queue an event; a full queue keeps a count of what it cannot take."""
        if self._closed:
            return
        last = self._queue[-1] if self._queue else None
        if len(self._queue) < QUEUE_BOUND:
            self._queue.append(event)
        elif isinstance(last, EventsLost):
            self._queue[-1] = EventsLost(self._supervisor_id, last.count + 1)
        else:
            self._queue.append(EventsLost(self._supervisor_id, 1))
        self._ready.set()

    def close(self) -> None:
        """No more events after those that are queued. Idempotent."""
        if not self._closed:
            self._closed = True
            self._ready.set()
            if self._on_close is not None:
                self._on_close()

    async def aclose(self) -> None:
        """As `close`, for ``contextlib.aclosing``."""
        self.close()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Any:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()
