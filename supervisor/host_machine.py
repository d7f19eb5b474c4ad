"""The host machine: what one node runs for distributed supervisors of any node.

The owner of a child (its supervisor's process) asks a host to start or stop one *token*
``(term, generation)`` of it. The host remembers the highest token per child, so that

- a spawn that comes twice is answered with what is there, and starts nothing;
- a stop bars a spawn of the same or a lower token that comes late;
- two tokens of one child never run beside each other here: the older one ends first.

A row goes ``STARTING -> RUNNING -> STOPPING -> GONE``; a stop during the start cuts that short.
When the owner's process is gone, for whatever reason, its children end with
``("shutdown", "orphaned")``: nothing runs unwatched. When this node's life has ended, all end with
``("shutdown", "superseded")``; when the node stops, with ``("shutdown", "node_stopped")``.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, Final, NamedTuple

from noex.runtime.reasons import NODE_STOPPED, NOPROC, ORPHANED, SUPERSEDED

GONE_ROWS_PER_OWNER: Final = 4096  # late spawns come within a session's window, not after this many

Token = tuple[int, int]
Asker = Any  # who waits for an answer; the machine only hands it back


class Order(NamedTuple):
    """How to run a child: enough to start it here."""

    behavior: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shutdown: Any
    init_timeout: float | None


class Child(NamedTuple):
    """One token of one child of one owner."""

    owner: Any
    child_id: str
    token: Token


class Outcome(NamedTuple):
    """What an asker is told: `verdict` is ``started``, ``ignored``, ``failed``, ``gone`` or
    ``stale``; `value` a ref, an error or an exit reason."""

    verdict: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start it; report `start_ended`."""

    child: Child
    order: Order


@dataclass(frozen=True, slots=True)
class CancelStart:
    """Cut the start short; it still reports `start_ended`."""

    child: Child


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Signal `reason`, wait up to `shutdown`, kill. `process_down` reports the end."""

    child: Child
    ref: Any
    reason: Any
    shutdown: Any


@dataclass(frozen=True, slots=True)
class Tell:
    """Answer whoever asked."""

    asker: Asker
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class WatchOwner:
    """Monitor the owner's process; report `owner_down`."""

    owner: Any


@dataclass(frozen=True, slots=True)
class ForgetOwner:
    """Nothing of this owner is left here."""

    owner: Any


Effect = StartProcess | CancelStart | StopProcess | Tell | WatchOwner | ForgetOwner


class Phase(Enum):
    """Where a row stands."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(slots=True)
class _Row:
    token: Token
    order: Order
    phase: Phase = Phase.STARTING
    ref: Any = None
    reason: Any = NOPROC
    spawn_askers: list[Asker] = field(default_factory=list)
    stop_askers: list[Asker] = field(default_factory=list)
    stop: tuple[Any, Any] | None = None  # (reason, shutdown), once it has been told to end
    barred: Token = (0, 0)  # the highest token that a stop has named
    next: tuple[Token, Order, list[Asker]] | None = None  # waits for this one's end


@dataclass(slots=True)
class _Owner:
    """The rows of one owner, by child id, the least recently started first."""

    rows: OrderedDict[str, _Row] = field(default_factory=OrderedDict)
    over: bool = False  # it is gone, or this life is: rows only end

    def is_empty(self) -> bool:
        return all(row.phase is Phase.GONE for row in self.rows.values())

    def trim(self) -> None:
        """Forget the oldest of the rows that only bar late spawns."""
        surplus = len(self.rows) - GONE_ROWS_PER_OWNER
        if surplus > 0:
            gone = [key for key, row in self.rows.items() if row.phase is Phase.GONE]
            for key in gone[:surplus]:
                del self.rows[key]


_NO_ORDER: Final = Order("", (), {}, 0, None)


class HostMachine:
    """All rows of one node. Every method returns the effects, in order."""

    def __init__(self) -> None:
        self._owners: dict[Any, _Owner] = {}
        self._node_stops = False

    @property
    def running(self) -> int:
        """How many children run, start or stop here."""
        rows = (row for owner in self._owners.values() for row in owner.rows.values())
        return sum(row.phase is not Phase.GONE for row in rows)

    def children(self) -> list[tuple[Child, Phase, Any]]:
        """All rows, for people: (child, phase, ref)."""
        return [
            (Child(ref, child_id, row.token), row.phase, row.ref)
            for ref, owner in self._owners.items()
            for child_id, row in owner.rows.items()
        ]

    # ------------------------------------------------------------------ requests

    def spawn_asked(self, asker: Asker, child: Child, order: Order) -> list[Effect]:
        """An owner wants this token to run here."""
        if self._node_stops:
            return [Tell(asker, Outcome("gone", NODE_STOPPED))]
        owner, effects = self._owner(child.owner)
        if owner.over:
            return [Tell(asker, Outcome("gone", ORPHANED))]
        row = owner.rows.get(child.child_id)
        if row is not None and child.token <= row.token:
            return effects + self._spawn_again(asker, child, row)
        if row is not None and row.phase is not Phase.GONE:
            return effects + self._spawn_after(asker, child, row, order)
        return effects + self._start(child, order, [asker])

    def _owner(self, ref: Any) -> tuple[_Owner, list[Effect]]:
        known = self._owners.get(ref)
        if known is not None:
            return known, []
        self._owners[ref] = fresh = _Owner()
        return fresh, [WatchOwner(ref)]

    def _spawn_again(self, asker: Asker, child: Child, row: _Row) -> list[Effect]:
        if child.token < row.token:
            return [Tell(asker, Outcome("stale", row.token))]
        if row.phase is Phase.STARTING and row.stop is None:
            row.spawn_askers.append(asker)
            return []
        if row.phase is Phase.RUNNING:
            return [Tell(asker, Outcome("started", row.ref))]
        if row.phase is Phase.GONE:
            return [Tell(asker, Outcome("gone", row.reason))]
        row.stop_askers.append(asker)  # not before it is true
        return []

    def _spawn_after(self, asker: Asker, child: Child, row: _Row, order: Order) -> list[Effect]:
        """A newer token while an older one is still here: first the older one ends."""
        effects: list[Effect] = []
        if row.next is not None and row.next[0] == child.token:
            row.next[2].append(asker)
            return effects
        if row.next is not None:
            effects += [Tell(other, Outcome("stale", child.token)) for other in row.next[2]]
        row.next = (child.token, order, [asker])
        older = Child(child.owner, child.child_id, row.token)
        return effects + self._end(older, row, "shutdown", row.order.shutdown)

    def stop_asked(self, asker: Asker, child: Child, reason: Any, shutdown: Any) -> list[Effect]:
        """An owner wants this token, and every lower one, not to run here, now or later."""
        owner, effects = self._owner(child.owner)
        row = owner.rows.get(child.child_id)
        if row is None or row.phase is Phase.GONE:
            self._bar(owner, child, row)
            return [*effects, Tell(asker, Outcome("gone", row.reason if row else NOPROC))]
        if child.token < row.token:
            return [Tell(asker, Outcome("gone", NOPROC))]
        if row.next is not None and row.next[0] <= child.token:
            effects += [Tell(other, Outcome("gone", reason)) for other in row.next[2]]
            row.next = None
        row.stop_askers.append(asker)
        row.barred = max(row.barred, child.token)
        present = Child(child.owner, child.child_id, row.token)
        return effects + self._end(present, row, reason, shutdown)

    def _bar(self, owner: _Owner, child: Child, row: _Row | None) -> None:
        if row is not None:
            row.token = max(row.token, child.token)
            return
        owner.rows[child.child_id] = _Row(child.token, _NO_ORDER, Phase.GONE)
        owner.trim()

    # ------------------------------------------------------------------ facts

    def start_ended(self, child: Child, outcome: Outcome) -> list[Effect]:
        """A start has ended: ``started`` with a ref, ``ignored``, or ``failed`` with the error."""
        row = self._row(child)
        if row is None or row.phase is not Phase.STARTING:
            return []
        askers, row.spawn_askers = row.spawn_askers, []
        if outcome.verdict == "started" and row.stop is not None:
            # whoever wanted it hears that it is gone when it is, and may start it elsewhere then
            row.stop_askers += askers
            askers = []
        if outcome.verdict != "started":
            told: list[Effect] = [Tell(asker, outcome) for asker in askers]
            row.reason = outcome.value if outcome.verdict == "failed" else NOPROC
            return told + self._gone(child, row)
        row.phase, row.ref = Phase.RUNNING, outcome.value
        told = [Tell(asker, outcome) for asker in askers]
        return told if row.stop is None else self._end(child, row, *row.stop)

    def process_down(self, child: Child, reason: Any) -> list[Effect]:
        """The process of a child has ended."""
        row = self._row(child)
        if row is None or row.phase not in (Phase.RUNNING, Phase.STOPPING):
            return []
        row.reason = reason
        return self._gone(child, row)

    def owner_down(self, owner: Any) -> list[Effect]:
        """The owner's process is gone: its children end."""
        return self._end_all(owner, ORPHANED)

    def life_ended(self) -> list[Effect]:
        """This node's life is over for the others: everything that it runs for them ends."""
        return self._end_all_owners(SUPERSEDED)

    def node_stops(self) -> list[Effect]:
        """This node stops: its children end, and no others are started."""
        self._node_stops = True
        return self._end_all_owners(NODE_STOPPED)

    def _end_all_owners(self, reason: Any) -> list[Effect]:
        return [effect for owner in list(self._owners) for effect in self._end_all(owner, reason)]

    # ------------------------------------------------------------------ steps

    def _start(self, child: Child, order: Order, askers: list[Asker]) -> list[Effect]:
        rows = self._owners[child.owner].rows
        rows[child.child_id] = _Row(child.token, order, spawn_askers=askers)
        rows.move_to_end(child.child_id)
        return [StartProcess(child, order)]

    def _end(self, child: Child, row: _Row, reason: Any, shutdown: Any) -> list[Effect]:
        if row.phase is Phase.STARTING:
            first = row.stop is None
            row.stop = row.stop or (reason, shutdown)
            return [CancelStart(child)] if first else []
        if row.phase is Phase.GONE:
            return []
        if row.phase is Phase.RUNNING or _is_stricter(shutdown, row.stop):
            row.phase = Phase.STOPPING
            row.stop = (reason, shutdown)
            return [StopProcess(child, row.ref, reason, shutdown)]
        return []

    def _gone(self, child: Child, row: _Row) -> list[Effect]:
        row.phase, row.ref = Phase.GONE, None
        askers, row.stop_askers = row.stop_askers, []
        effects: list[Effect] = [Tell(asker, Outcome("gone", row.reason)) for asker in askers]
        if row.next is not None:
            token, order, waiting = row.next
            return effects + self._start(Child(child.owner, child.child_id, token), order, waiting)
        row.token = max(row.token, row.barred)
        row.order = _NO_ORDER  # arguments of what has ended are not kept
        self._owners[child.owner].trim()
        return effects + self._forget_if_over(child.owner)

    def _end_all(self, ref: Any, reason: Any) -> list[Effect]:
        owner = self._owners.get(ref)
        if owner is None:
            return []
        owner.over = True
        effects: list[Effect] = []
        for child_id, row in reversed(list(owner.rows.items())):
            if row.next is not None:
                effects += [Tell(asker, Outcome("gone", reason)) for asker in row.next[2]]
                row.next = None
            child = Child(ref, child_id, row.token)
            effects += self._end(child, row, reason, row.order.shutdown)
        return effects + self._forget_if_over(ref)

    def _forget_if_over(self, ref: Any) -> list[Effect]:
        owner = self._owners.get(ref)
        if owner is None or not owner.over or not owner.is_empty():
            return []
        del self._owners[ref]
        return [ForgetOwner(ref)]

    def _row(self, child: Child) -> _Row | None:
        owner = self._owners.get(child.owner)
        row = owner.rows.get(child.child_id) if owner is not None else None
        return row if row is not None and row.token == child.token else None


def _is_stricter(shutdown: Any, stop: tuple[Any, Any] | None) -> bool:
    """Whether a second order to end leaves less time than the first."""
    return stop is not None and _seconds(shutdown) < _seconds(stop[1])


def _seconds(shutdown: Any) -> float:
    if shutdown == "brutal_kill":
        return 0.0
    return inf if shutdown == "infinity" else float(shutdown)
