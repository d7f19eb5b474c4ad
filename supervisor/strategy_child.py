"""One child as the strategy machine sees it.

::

    WAITING -> STARTING -> RUNNING -> STOPPING -> WAITING, or removed
                  |  \\_ UNCONFIRMED _/
                  \\____ WAITING, or removed

A child has at most one attempt or process at a time. What must be stopped while its start is
under way keeps `after`, and is stopped when the start succeeds: a start is never forgotten.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from noex.supervisor.info import ChildInfo, ChildStatus
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_actions import Why


class Phase(Enum):
    """Whether there is a process."""

    WAITING = "waiting"  # no
    STARTING = "starting"  # a start is under way
    UNCONFIRMED = "unconfirmed"  # its host is silent: perhaps
    RUNNING = "running"  # yes
    STOPPING = "stopping"  # it was told to stop


class Wait(Enum):
    """What a WAITING child waits for."""

    TURN = "turn"  # to be started as soon as its strategy allows
    RETRY = "retry"  # a RetryDue
    NODE = "node"  # a node that fits
    HOLD = "hold"  # restart_child: the last one failed
    IGNORED = "ignored"  # nothing: init said Ignore


class After(Enum):
    """What happens to a child when its process is gone."""

    REMOVE = "remove"
    RESTART = "restart"


class Child:
    """The record of one child. Only the machine changes it."""

    __slots__ = (
        "after",
        "announced",
        "early_exit",
        "exclude",
        "fallback",
        "from_node",
        "generation",
        "grouped",
        "incarnation",
        "is_new",
        "last_exit",
        "must_stop",
        "node_failed",
        "node_id",
        "order",
        "phase",
        "reason",
        "ref",
        "restart_count",
        "spec",
        "started_at",
        "starter",
        "successor",
        "tentative",
        "terminators",
        "wait",
        "waiters",
        "why",
    )

    def __init__(self, spec: ChildSpec, order: int, why: Why, starter: int | None = None) -> None:
        self.spec = spec
        self.order = order  # the place in the start order; never changes
        self.phase = Phase.WAITING
        self.wait: Wait | None = Wait.TURN
        self.after: After | None = None
        self.generation = 0  # of the latest attempt
        self.ref: Any = None
        self.node_id: str | None = None
        self.incarnation = 0
        self.started_at: float | None = None
        self.restart_count = 0
        self.is_new = True  # it has never run
        self.announced = False  # an event has spoken of it, so its removal is one, too
        self.why: Why = why  # of the next or present attempt
        self.reason: str | None = None  # why it is pending
        self.last_exit: Any = None  # why its latest process ended, or its latest start failed
        self.from_node: str | None = None  # it is on its way from there
        self.node_failed = False  # ... because that node went down
        self.exclude: dict[str, None] = {}  # nodes to avoid in this round
        self.early_exit: tuple[Any] | None = None  # its end was seen before its start
        self.grouped = False  # the group restart will start it
        self.must_stop = False  # the group restart has to stop it first
        self.fallback: Wait | None = None  # a manual attempt: what it waits for if that fails
        self.successor = 0  # the attempt that replaces the running process without a gap
        self.tentative = False  # its start_child was answered with "unknown"
        self.starter: int | None = starter  # the start_child that waits for it
        self.waiters: list[int] = []  # the restart_child that wait for it
        self.terminators: list[int] = []  # the terminate_child that wait for its end

    def __repr__(self) -> str:
        return f"<Child {self.spec.id} {self.status} #{self.generation}>"

    @property
    def id(self) -> str:
        """Its id."""
        return self.spec.id

    @property
    def has_process(self) -> bool:
        """Whether something runs, may run, or is about to run."""
        return self.phase is not Phase.WAITING

    @property
    def status(self) -> ChildStatus:
        """The word that users see."""
        if self.phase is Phase.RUNNING:
            return "running"
        if self.after is not None:
            return "stopping"
        if self.phase is Phase.UNCONFIRMED or self.wait in (Wait.NODE, Wait.HOLD):
            return "pending"
        if self.wait is Wait.IGNORED:
            return "ignored"
        return "starting" if self.is_new else "restarting"

    def clear_process(self, wait: Wait) -> None:
        """Its process is gone, or never came: it waits."""
        self.phase = Phase.WAITING
        self.wait = wait
        self.after = None
        self.ref = None
        self.node_id = None
        self.early_exit = None

    def info(self) -> ChildInfo:
        """A snapshot for users."""
        return ChildInfo(
            id=self.spec.id,
            ref=self.ref,
            spec=self.spec,
            node_id=self.node_id,
            status=self.status,
            restart_count=self.restart_count,
            started_at=self.started_at,
            generation=self.generation,
            reason=self.reason,
        )
