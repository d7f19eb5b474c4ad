"""The seam between a supervisor and its children: how one is started and stopped.

The supervisor's process and its strategy are the same everywhere; a `Starter` is what differs
between children on this node and children anywhere in the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from noex.supervisor.strategy_actions import StartChild, StopChild
from noex.supervisor.strategy_events import ChildGone, Event

Report = Callable[[Event], None]


class Starter(Protocol):
    """Starts and stops children. Its methods run in tasks of the supervisor's process."""

    async def start(self, action: StartChild, report: Report) -> None:
        """Start a child and `report` the outcome: one final event.

        `StartFailed` with kind ``unknown`` may come before it. Report a success in the turn in
        which it is known: the supervisor begins to watch the process in that moment.
        """
        ...

    async def cancel(self, child_id: str, generation: int) -> None:
        """Cut a start short if that is possible; `start` still reports."""
        ...

    async def stop(self, action: StopChild) -> ChildGone:
        """Stop a child; return when it is certain that this generation is gone for ever."""
        ...

    def forget(self, child_id: str, generation: int) -> None:
        """A child has ended by itself."""
        ...
