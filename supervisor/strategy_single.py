"""one_for_one and simple_one_for_one: a child's failure concerns that child alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from noex.supervisor.strategy_child import Child, Wait
from noex.supervisor.strategy_core import Core


class RestartStrategy(Protocol):
    """What differs between the strategies. All children named here want to be restarted."""

    @property
    def is_busy(self) -> bool:
        """Whether requests that start children have to wait."""

    def failed(self, child: Child) -> None:
        """A child has ended; it waits, without a process."""

    def lost(self, children: Sequence[Child], counted: bool) -> None:
        """Children were lost with one node; they wait, without processes."""

    def go_on(self, children: Sequence[Child]) -> None:
        """These children, which wait, are to be restarted; that is counted already."""

    def start_failed(self, child: Child, counted: bool) -> None:
        """An attempt to restart a child has failed."""

    def retry_due(self, child: Child) -> None:
        """The time to try this child again has come."""

    def restart_now(self, child: Child) -> None:
        """A user wants this waiting child to be tried now."""

    def advance(self) -> None:
        """Do what can be done now. Called after each event."""


def start_ready(core: Core) -> None:
    """Start the children that wait for nobody, all at once."""
    for child in list(core.ready.values()):
        core.start(child)


def try_again(core: Core, child: Child, counted: bool) -> None:
    """A failed attempt of one child: it counts, and is tried again through the mailbox."""
    if counted and not core.admit():
        return
    child.wait = Wait.RETRY
    core.schedule_retry(child)


def admit_loss(core: Core, children: int) -> bool:
    """Count a node's failure as the options say; False if that was one too many."""
    mode = core.options.node_failure_counts
    times = {"none": 0, "once": min(children, 1), "each": children}[mode]
    return all(core.admit() for _ in range(times))


class Single:
    """Each child by itself; any number of restarts at the same time."""

    is_busy = False

    def __init__(self, core: Core) -> None:
        self._core = core

    def failed(self, child: Child) -> None:
        if self._core.admit():
            self._core.await_turn(child, "restart")

    def lost(self, children: Sequence[Child], counted: bool) -> None:
        if not counted or admit_loss(self._core, len(children)):
            for child in children:
                self._core.await_turn(child, "failover")

    def go_on(self, children: Sequence[Child]) -> None:
        for child in children:
            self._core.await_turn(child)

    def start_failed(self, child: Child, counted: bool) -> None:
        try_again(self._core, child, counted)

    def retry_due(self, child: Child) -> None:
        self._core.await_turn(child)

    def restart_now(self, child: Child) -> None:
        self._core.await_turn(child, "manual")

    def advance(self) -> None:
        start_ready(self._core)
