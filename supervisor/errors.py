"""What supervisors raise: a local family, and a distributed one of which each is a subclass.

The tree, below `noex.runtime.errors.NoexError`::

    NoexError
    ├── SupervisorError(supervisor_id, reason)       not running, gone, or not able to serve now
    │   ├── DuplicateChildError(supervisor_id, child_id)
    │   ├── ChildNotFoundError(supervisor_id, child_id)
    │   ├── ChildStartError(supervisor_id, child_id, outcome)   the cause is `__cause__`
    │   ├── MaxRestartsExceededError(supervisor_id, max_restarts, within)
    │   ├── MissingChildTemplateError(supervisor_id)
    │   ├── InvalidSimpleOneForOneError(supervisor_id, reason)
    │   └── DistributedSupervisorError(supervisor_id, reason)
    │       ├── DistributedDuplicateChildError          also a DuplicateChildError
    │       ├── DistributedChildNotFoundError           also a ChildNotFoundError
    │       ├── DistributedMaxRestartsExceededError     also a MaxRestartsExceededError
    │       ├── DistributedMissingChildTemplateError    also a MissingChildTemplateError
    │       └── DistributedInvalidSimpleOneForOneError  also an InvalidSimpleOneForOneError
    ├── BehaviorNotFoundError(behavior_name, node_id)
    │   └── DistributedBehaviorNotFoundError
    ├── NoAvailableNodeError(child_id, selector, reason)   no member fits this child now
    └── InvalidValueError
        ├── InvalidOptionError(field, value, reason)
        └── InvalidChildSpecError(field, value, reason)

So one ``except DuplicateChildError`` serves both kinds of supervisor. `ErrorFamily` is how the one
strategy machine raises the right kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from noex.runtime.errors import BehaviorNotFoundError, NoexError

StartOutcome = Literal["failed", "unknown"]


class SupervisorError(NoexError):
    """The supervisor is not running (see `__cause__`), or cannot serve this request now."""

    fields: tuple[str, ...] = ("supervisor_id", "reason")
    supervisor_id: str
    reason: Any

    def __init__(self, supervisor_id: str, reason: str = "it is not running") -> None:
        super().__init__(supervisor_id, reason)

    def describe(self) -> str:
        cause = f": {self.__cause__}" if self.__cause__ is not None else ""
        return f"supervisor {self.args[0]!r} cannot be used: {self.args[1]}{cause}"


class DuplicateChildError(SupervisorError):
    """A child of this id exists (running, restarting, pending or on its way out)."""

    fields = ("supervisor_id", "child_id")
    child_id: str

    def __init__(self, supervisor_id: str, child_id: str) -> None:
        NoexError.__init__(self, supervisor_id, child_id)

    def describe(self) -> str:
        supervisor_id, child_id = self.args
        return (
            f"supervisor {supervisor_id!r} already has a child {child_id!r}; "
            "choose another id, or terminate_child it first"
        )


class ChildNotFoundError(SupervisorError):
    """There is no child of this id."""

    fields = ("supervisor_id", "child_id")
    child_id: str

    def __init__(self, supervisor_id: str, child_id: str) -> None:
        NoexError.__init__(self, supervisor_id, child_id)

    def describe(self) -> str:
        supervisor_id, child_id = self.args
        return (
            f"supervisor {supervisor_id!r} has no child {child_id!r}; "
            "a child that ended and is not restarted is removed"
        )


class ChildStartError(SupervisorError):
    """A child could not be started; the reason is `__cause__`.

    `outcome` is ``"failed"`` (nothing runs, nothing is left behind) or ``"unknown"``: its host
    was silent beyond the spawn timeout. The id then stays taken, pending (``unconfirmed``), until
    the host confirms or leaves the cluster.
    """

    fields = ("supervisor_id", "child_id", "outcome")
    child_id: str
    outcome: StartOutcome

    def __init__(self, supervisor_id: str, child_id: str, outcome: StartOutcome = "failed") -> None:
        NoexError.__init__(self, supervisor_id, child_id, outcome)

    def describe(self) -> str:
        supervisor_id, child_id, outcome = self.args
        cause = f": {self.__cause__!r}" if self.__cause__ is not None else ""
        what = "could not be started" if outcome == "failed" else "may or may not have been started"
        return f"child {child_id!r} of supervisor {supervisor_id!r} {what}{cause}"


class MaxRestartsExceededError(SupervisorError):
    """More than `max_restarts` restarts were needed within `within` seconds.

    The supervisor has given up: its exit reason is ``("shutdown", this error)``, and this error is
    the cause of what its handles raise from then on.
    """

    fields = ("supervisor_id", "max_restarts", "within")
    max_restarts: int
    within: float

    def __init__(self, supervisor_id: str, max_restarts: int, within: float) -> None:
        NoexError.__init__(self, supervisor_id, max_restarts, within)

    def describe(self) -> str:
        supervisor_id, max_restarts, within = self.args
        return (
            f"supervisor {supervisor_id!r} gave up: more than {max_restarts} restarts "
            f"within {within:g} s; look at why its children end, or raise restart_intensity"
        )


class MissingChildTemplateError(SupervisorError):
    """``simple_one_for_one`` needs `child_template`."""

    fields = ("supervisor_id",)

    def __init__(self, supervisor_id: str) -> None:
        NoexError.__init__(self, supervisor_id)

    def describe(self) -> str:
        return (
            f"supervisor {self.args[0]!r} is simple_one_for_one and has no child_template; "
            "pass child_template=ChildTemplate(...)"
        )


class InvalidSimpleOneForOneError(SupervisorError):
    """Something that does not go with this strategy: static children, a spec, or an args list."""

    fields = ("supervisor_id", "reason")

    def describe(self) -> str:
        return f"supervisor {self.args[0]!r}: {self.args[1]}"


class NoAvailableNodeError(NoexError):
    """No member fits this child now (up, not busy, not draining, with its behavior).

    `reason` says what each member lacks. When a selector of one's own raised, or answered with no
    such node, that is `__cause__`. `start` and `start_child` leave nothing behind; `restart_child`
    leaves the child pending.
    """

    fields = ("child_id", "selector", "reason")

    def __init__(self, child_id: str, selector: Any = None, reason: str = "") -> None:
        super().__init__(child_id, selector, reason)

    def describe(self) -> str:
        child_id, selector, reason = self.args
        why = reason or "no member is up, idle enough and able to run its behavior"
        return f"no node for child {child_id!r} (node_selector={selector!r}): {why}"


class DistributedSupervisorError(SupervisorError):
    """As `SupervisorError`, of a distributed supervisor."""


class DistributedDuplicateChildError(DuplicateChildError, DistributedSupervisorError):
    """As `DuplicateChildError`, of a distributed supervisor."""


class DistributedChildNotFoundError(ChildNotFoundError, DistributedSupervisorError):
    """As `ChildNotFoundError`, of a distributed supervisor."""


class DistributedMaxRestartsExceededError(MaxRestartsExceededError, DistributedSupervisorError):
    """As `MaxRestartsExceededError`, of a distributed supervisor."""


class DistributedMissingChildTemplateError(MissingChildTemplateError, DistributedSupervisorError):
    """As `MissingChildTemplateError`, of a distributed supervisor."""


class DistributedInvalidSimpleOneForOneError(
    InvalidSimpleOneForOneError, DistributedSupervisorError
):
    """As `InvalidSimpleOneForOneError`, of a distributed supervisor."""


class DistributedBehaviorNotFoundError(BehaviorNotFoundError):
    """The behavior of a child is registered on no node that could run it."""


@dataclass(frozen=True, slots=True)
class ErrorFamily:
    """The error classes of one kind of supervisor."""

    supervisor: type[SupervisorError]
    duplicate: type[DuplicateChildError]
    not_found: type[ChildNotFoundError]
    max_restarts: type[MaxRestartsExceededError]
    missing_template: type[MissingChildTemplateError]
    invalid_simple: type[InvalidSimpleOneForOneError]


LOCAL_ERRORS: Final = ErrorFamily(
    SupervisorError,
    DuplicateChildError,
    ChildNotFoundError,
    MaxRestartsExceededError,
    MissingChildTemplateError,
    InvalidSimpleOneForOneError,
)
DISTRIBUTED_ERRORS: Final = ErrorFamily(
    DistributedSupervisorError,
    DistributedDuplicateChildError,
    DistributedChildNotFoundError,
    DistributedMaxRestartsExceededError,
    DistributedMissingChildTemplateError,
    DistributedInvalidSimpleOneForOneError,
)
