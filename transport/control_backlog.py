"""What the control thread has to tell a loop that may be stuck: bounded, in order.

A loop can be busy for as long as it likes, while peers go on pulsing. What may be lost, and what
may not:

- pulses: the oldest of that peer go first (the detector wants the newest), and the oldest of all
  when strangers invent names;
- messages: the newest are refused beyond a count and a size, and beyond a share of one origin, so
  that a stranger who never stops talking keeps nobody else out; the machines repeat theirs;
- links: the last `LinkDown` of an endpoint always stays. Down, up, down becomes the last down, so
  what is read still alternates; at most three events and one refusal wait per endpoint.
"""

from __future__ import annotations

from collections import deque

from noex.transport.control_events import (
    ControlEvent,
    ControlSettings,
    DialRefused,
    HandshakeFailed,
    LinkDown,
    LinkUp,
    Pulse,
    Received,
)

_Life = tuple[str, int]


class Backlog:
    """Events between the thread and the loop. Not thread-safe: its owner holds a lock.

    Invariant: `_events` holds every waiting event once, by the number under which it came; the
    other tables hold numbers of `_events` alone.
    """

    def __init__(self, settings: ControlSettings) -> None:
        self._settings = settings
        self._events: dict[int, ControlEvent] = {}
        self._number = 0
        self._pulses: dict[_Life, deque[int]] = {}
        self._pulse_order: dict[int, _Life] = {}
        self._links: dict[str, list[int]] = {}
        self._refusals: dict[str, int] = {}
        self._received = 0
        self._received_bytes = 0
        self._from: dict[bytes, int] = {}  # how many of each origin wait
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: ControlEvent) -> None:
        """Append an event; what the bounds push out counts in `dropped`."""
        match event:
            case Pulse():
                self._add_pulse(event)
            case LinkUp() | LinkDown():
                self._add_link(event)
            case DialRefused() | HandshakeFailed():
                self._add_refusal(event)
            case Received():
                self._add_message(event)
            case _:
                self._add_received(event, 0)

    def take(self) -> list[ControlEvent]:
        """All that waits, oldest first; nothing waits afterwards."""
        events = list(self._events.values())
        self._events = {}
        self._pulses = {}
        self._pulse_order = {}
        self._links = {}
        self._refusals = {}
        self._received = 0
        self._received_bytes = 0
        self._from = {}
        return events

    def _append(self, event: ControlEvent) -> int:
        self._number += 1
        self._events[self._number] = event
        return self._number

    def _drop(self, number: int) -> None:
        del self._events[number]
        self.dropped += 1

    def _add_pulse(self, pulse: Pulse) -> None:
        life = (pulse.node_id, pulse.incarnation)
        if len(self._pulses.get(life, ())) >= self._settings.max_pulses_per_peer:
            self._drop_oldest_pulse(life)
        elif len(self._pulse_order) >= self._settings.max_pulses:
            self._drop_oldest_pulse(next(iter(self._pulse_order.values())))
        number = self._append(pulse)
        self._pulses.setdefault(life, deque()).append(number)
        self._pulse_order[number] = life

    def _drop_oldest_pulse(self, life: _Life) -> None:
        numbers = self._pulses[life]
        number = numbers.popleft()
        if not numbers:
            del self._pulses[life]
        del self._pulse_order[number]
        self._drop(number)

    def _add_link(self, event: LinkUp | LinkDown) -> None:
        numbers = self._links.setdefault(event.endpoint, [])
        if isinstance(event, LinkDown) and isinstance(self._event(numbers, -2), LinkDown):
            self._drop(numbers.pop())
            self._drop(numbers.pop())
            self._drop_refusal(event.endpoint)
        numbers.append(self._append(event))

    def _event(self, numbers: list[int], index: int) -> ControlEvent | None:
        return self._events[numbers[index]] if len(numbers) >= -index else None

    def _add_refusal(self, event: DialRefused | HandshakeFailed) -> None:
        self._drop_refusal(event.endpoint)
        self._refusals[event.endpoint] = self._append(event)

    def _drop_refusal(self, endpoint: str) -> None:
        number = self._refusals.pop(endpoint, None)
        if number is not None:
            self._drop(number)

    def _add_message(self, event: Received) -> None:
        if event.origin is None:  # it came on a link that we dialled
            self._add_received(event, len(event.data))
            return
        waiting = self._from.get(event.origin, 0)
        if waiting >= self._settings.max_received_per_origin:
            self.dropped += 1
        elif self._add_received(event, len(event.data)):
            self._from[event.origin] = waiting + 1

    def _add_received(self, event: ControlEvent, size: int) -> bool:
        full = self._received >= self._settings.max_received
        if full or self._received_bytes + size > self._settings.max_received_bytes:
            self.dropped += 1
            return False
        self._received += 1
        self._received_bytes += size
        self._append(event)
        return True
