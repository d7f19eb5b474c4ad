"""What the strategy machine wants done, in this order. The shell decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from noex.supervisor.events import SupervisorEvent
from noex.supervisor.spec import ChildSpec, RestartType, Shutdown

Why = Literal["initial", "requested", "restart", "failover", "bystander", "manual", "drain"]
Trouble = Literal["failed", "start_failed", "shutdown_error"]


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a process; report `StartSucceeded`, `StartFailed` or `StartIgnored`, exactly one.

    `exclude_nodes`: take another node if there is one (the child was lost there, or could not be
    started there just now).
    """

    child_id: str
    generation: int
    spec: ChildSpec
    exclude_nodes: tuple[str, ...]
    why: Why


@dataclass(frozen=True, slots=True)
class CancelStart:
    """The outcome of this start is not wanted any more: cut it short if that is possible.

    It must still be reported. A success that comes all the same is followed by a `StopChild`.
    """

    child_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class StopChild:
    """End a process: signal `reason`, wait up to `shutdown`, kill. Report `ChildGone`.

    `ref` None: it is not known whether it runs; see to it that `generation` never will.
    """

    child_id: str
    generation: int
    ref: Any
    node_id: str | None
    shutdown: Shutdown
    reason: Any


@dataclass(frozen=True, slots=True)
class ScheduleRetry:
    """Report `RetryDue` after `delay` seconds; 0 means behind what is in the mailbox now."""

    child_id: str
    generation: int
    delay: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a request: with `error` if it is not None, else with `value`."""

    request_id: int
    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the subscribers."""

    event: SupervisorEvent


@dataclass(frozen=True, slots=True)
class Report:
    """Say in the log what a child did. `restart_count` is what it was before.

    ``failed``: it ended by itself, and should not have; ``start_failed``: an attempt to restart it
    has failed; ``shutdown_error``: it was told to stop, and ended in another way.
    """

    what: Trouble
    child_id: str
    node_id: str | None
    reason: Any
    restart: RestartType
    restart_count: int


@dataclass(frozen=True, slots=True)
class Started:
    """The initial children are up: `start` may return."""


@dataclass(frozen=True, slots=True)
class Finish:
    """No child is left: end the supervisor's process with `reason`.

    `error` is set if it never came up: it is what `start` raises. Nothing comes after this.
    """

    reason: Any
    error: BaseException | None = None


Action = (
    StartChild | CancelStart | StopChild | ScheduleRetry | Answer | Emit | Report | Started | Finish
)
