"""What happens around a node, for whoever listens: bounded queues, one per subscriber."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final
from weakref import WeakSet

QUEUE_BOUND: Final = 1024


class NodeEvents:
    """Publishes to all subscriptions; a slow one loses its oldest events, and nobody else does."""

    def __init__(self) -> None:
        # weak: an iterator that its user has dropped ends its subscription
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._closed = False

    def subscribe(self) -> Subscription:
        """A new subscription, from now on."""
        subscription = Subscription(self)
        if self._closed:
            subscription.close()
        else:
            self._subscriptions.add(subscription)
        return subscription

    def publish(self, event: Any) -> None:
        """Tell everybody."""
        for subscription in list(self._subscriptions):
            subscription.put(event)

    def close(self) -> None:
        """End all subscriptions after what they have."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()

    def discard(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._subscriptions.discard(subscription)


class Subscription:
    """An async iterator over events. `lost` counts what a full queue had to drop."""

    def __init__(self, events: NodeEvents) -> None:
        self._events = events
        self._queue: deque[Any] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self.lost = 0

    def put(self, event: Any) -> None:
        """Queue an event, dropping the oldest when full."""
        if len(self._queue) >= QUEUE_BOUND:
            self._queue.popleft()
            self.lost += 1
        self._queue.append(event)
        self._ready.set()

    def close(self) -> None:
        """No more events after those that are queued."""
        self._closed = True
        self._events.discard(self)
        self._ready.set()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()
