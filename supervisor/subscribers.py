"""Subscribers on other nodes: each has a relay process there, which gets numbered events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from noex.runtime.errors import MessageSerializationError
from noex.runtime.genserver import GenServer
from noex.runtime.messages import Down
from noex.runtime.returns import Stop
from noex.supervisor.events import EventsLost

SUBSCRIBE: Final = "noex.subscribe"
EVENT: Final = "noex.event"


class Subscribers:
    """The relays of one supervisor. An event that finds a full link is lost, and leaves a gap."""

    def __init__(self, server: GenServer[Any]) -> None:
        self._server = server
        self._sent: dict[Any, int] = {}

    def add(self, relay: Any) -> None:
        """A relay on some node; it is watched."""
        if relay not in self._sent:
            self._sent[relay] = 0
            self._server.monitor(relay)

    def discard(self, relay: Any) -> None:
        """A relay is gone."""
        self._sent.pop(relay, None)

    def publish(self, event: Any) -> None:
        """Send an event to all relays."""
        for relay in list(self._sent):
            self._sent[relay] += 1
            _send(relay, self._sent[relay], event)


def _send(relay: Any, number: int, event: Any) -> None:
    """A child may end for a reason that cannot travel: that is no harm to its supervisor."""
    try:
        relay.send((EVENT, number, event))
    except MessageSerializationError:
        as_text = replace(event, reason=repr(event.reason))
        relay.send((EVENT, number, as_text))


class EventRelay(GenServer[int]):
    """Hands the events of a supervisor elsewhere to a function on this node, gaps marked."""

    def init(
        self,
        supervisor: Any,
        supervisor_id: str,
        sink: Callable[[Any], None],
        on_end: Callable[[], None],
    ) -> int:
        """`sink` gets the events, `on_end` is called when there will be no more."""
        self._supervisor_id, self._sink, self._on_end = supervisor_id, sink, on_end
        self.monitor(supervisor)
        supervisor.send((SUBSCRIBE, self.ref))
        return 0

    def handle_info(self, message: Any, last: int) -> Any:
        match message:
            case (tag, number, event) if tag == EVENT:
                if number > last + 1:
                    self._sink(EventsLost(self._supervisor_id, number - last - 1))
                self._sink(event)
                return number
            case Down():
                self._on_end()
                return Stop()
        return None
