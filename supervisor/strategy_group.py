"""one_for_all and rest_for_one: the group restart.

1. A child fails, or children are lost with a node. That counts once, and chooses the group: all
   children, or those from the first failed one on.
2. Members with a process are stopped in reverse start order, one at a time; temporary ones for
   good. A member that ends by itself meanwhile is absorbed: no second count.
3. Members are started in start order, one at a time.
4. A start fails: it counts. one_for_all begins anew at 2 with everybody, rest_for_one with the
   failed child and those after it; 3 waits for the retry, so that requests and other exits are
   served in between.
5. A member that finds no node is pending, and the later ones wait for it.

A child that fails during 3 (or any other that does not belong to the group) is a failure of its
own: it counts, and the group is chosen anew from there, together with what was not yet started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from noex.supervisor.strategy_child import After, Child, Phase, Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_single import admit_loss, start_ready, try_again


class Grouped:
    """Restarts of several children together."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._everybody = core.options.strategy == "one_for_all"
        self._active = False
        self._stops: list[Child] = []  # the last one is next
        self._starts: deque[Child] = deque()
        self._retry: Child | None = None  # starts wait until it is due
        self._retry_armed = False

    @property
    def is_active(self) -> bool:
        """Whether a group restart is going on."""
        return self._active

    @property
    def is_busy(self) -> bool:
        """Whether it is stopping or starting, rather than waiting for a retry or a node."""
        if not self._active:
            return False
        if self._stops:
            return True
        return not (self._retry_armed or self._blocked())

    def failed(self, child: Child) -> None:
        if child.must_stop:  # it was about to be stopped anyway
            child.must_stop = False
        elif self._core.admit():
            child.why = "restart"
            self._choose(child)

    def lost(self, children: Sequence[Child], counted: bool) -> None:
        fresh = [child for child in children if not child.must_stop]
        for child in children:
            child.must_stop = False
            child.why = "failover"
        if fresh and (not counted or admit_loss(self._core, len(fresh))):
            self._choose(min(fresh, key=lambda child: child.order))

    def go_on(self, children: Sequence[Child]) -> None:
        self._choose(min(children, key=lambda child: child.order))

    def start_failed(self, child: Child, counted: bool) -> None:
        if not child.grouped:
            try_again(self._core, child, counted)
        elif not counted or self._core.admit():
            self._choose(child)
            self._retry, self._retry_armed = child, False

    def retry_due(self, child: Child) -> None:
        if child is self._retry:
            self._retry, self._retry_armed = None, False
        elif child.wait is not Wait.TURN:
            self._core.await_turn(child)

    def restart_now(self, child: Child) -> None:
        if child is self._retry:
            self._retry, self._retry_armed = None, False
        self._core.await_turn(child, "manual")

    def advance(self) -> None:
        if self._active and self._stop_next() and self._retry_is_over() and self._start_next():
            self._active = False
        start_ready(self._core)

    def _choose(self, first: Child) -> None:
        """Make up the group, anew or together with what is left of the one before."""
        core = self._core
        self._active = True
        self._retry, self._retry_armed = None, False
        for child in core.children.values():
            if self._everybody or child.order >= first.order:
                self._join(child)
        members = [child for child in core.children.values() if child.grouped]
        self._stops = [child for child in members if child.must_stop]
        self._starts = deque(members)

    def _join(self, child: Child) -> None:
        self._core.ready.pop(child.id, None)
        child.grouped = True
        if child.has_process:
            child.must_stop = True
            child.why = "bystander"
        else:
            child.wait = Wait.TURN
            if child.why == "initial":  # its init said Ignore then
                child.why = "bystander"

    def _stop_next(self) -> bool:
        """Order the next stop; True when all are done."""
        while self._stops:
            child = self._stops[-1]
            if child.must_stop and child.has_process:
                if child.after is None:
                    self._core.stop(child, _after(child))
                return False
            child.must_stop = False
            self._stops.pop()
        return True

    def _retry_is_over(self) -> bool:
        if self._retry is None or self._core.children.get(self._retry.id) is not self._retry:
            self._retry = None  # nobody to retry, or removed while it waited
            return True
        if not self._retry_armed:
            self._retry_armed = True
            self._core.schedule_retry(self._retry)
        return False

    def _start_next(self) -> bool:
        """Order the next start; True when all are up."""
        while self._starts:
            child = self._starts[0]
            if child.grouped and child.phase is not Phase.RUNNING and child.wait != Wait.IGNORED:
                if child.wait is Wait.TURN:
                    self._core.start(child)
                return False
            child.grouped = False
            self._starts.popleft()
        return True

    def _blocked(self) -> bool:
        """Whether the next start waits for something outside of this supervisor."""
        if not self._starts:
            return False
        child = self._starts[0]
        return child.phase is Phase.UNCONFIRMED or child.wait is Wait.NODE


def _after(child: Child) -> After:
    """A temporary child is stopped for good, unless it was not even up yet."""
    if child.spec.restart == "temporary" and not child.is_new:
        return After.REMOVE
    return After.RESTART
