"""The options of a supervisor, checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Literal

from noex.runtime.checks import check_limit, check_name
from noex.runtime.errors import InvalidChildSpecError, InvalidOptionError
from noex.supervisor import defaults
from noex.supervisor.errors import DISTRIBUTED_ERRORS, LOCAL_ERRORS, ErrorFamily
from noex.supervisor.spec import (
    ChildSpec,
    ChildTemplate,
    NodeSelector,
    RestartIntensity,
    selector_problem,
)

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
NodeFailureCounts = Literal["once", "none", "each"]

STRATEGIES: Final = ("one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one")
SIMPLE: Final = "simple_one_for_one"
AUTO_SHUTDOWNS: Final = ("never", "any_significant", "all_significant")
NODE_FAILURE_COUNTINGS: Final = ("once", "none", "each")


@dataclass(frozen=True)
class SupervisorOptions:
    """All options of a supervisor.

    - `strategy`: whom to restart together (`STRATEGIES`).
    - `children`: started in this order; none for ``simple_one_for_one``.
    - `child_template`: for ``simple_one_for_one``, and only for it.
    - `restart_intensity`: how many restarts are too many.
    - `auto_shutdown`: whether the end of significant children ends the supervisor.
    - `node_failure_counts`: a node that goes down counts ``once`` in the restart window however
      many children it held, ``none``, or ``each`` (once per lost child that is restarted).
    - `node_selector`: placement of children that do not say it themselves.
    - `spawn_timeout`: seconds for one child's start on another node.
    - `name`: of the supervisor's process; `distributed` chooses the family of errors.
    """

    _: KW_ONLY
    strategy: Strategy = defaults.STRATEGY
    children: Sequence[ChildSpec] = ()
    child_template: ChildTemplate | None = None
    restart_intensity: RestartIntensity = field(default_factory=RestartIntensity)
    auto_shutdown: AutoShutdown = defaults.AUTO_SHUTDOWN
    node_failure_counts: NodeFailureCounts = defaults.NODE_FAILURE_COUNTS
    node_selector: NodeSelector = field(default=defaults.NODE_SELECTOR, hash=False)
    spawn_timeout: float = defaults.SPAWN_TIMEOUT
    name: str | None = None
    distributed: bool = False

    def __post_init__(self) -> None:
        _one_of("strategy", self.strategy, STRATEGIES)
        _one_of("auto_shutdown", self.auto_shutdown, AUTO_SHUTDOWNS)
        _one_of("node_failure_counts", self.node_failure_counts, NODE_FAILURE_COUNTINGS)
        check_limit(self.spawn_timeout, "spawn_timeout")
        if self.name is not None:
            check_name(self.name)
        _check_types(self)
        object.__setattr__(self, "children", tuple(self.children))

    @property
    def is_simple(self) -> bool:
        """Whether the children come from the template alone."""
        return self.strategy == SIMPLE

    @property
    def errors(self) -> ErrorFamily:
        """The error classes that this kind of supervisor raises."""
        return DISTRIBUTED_ERRORS if self.distributed else LOCAL_ERRORS

    def check(self, supervisor_id: str) -> None:
        """Check what concerns several options together; the errors name `supervisor_id`."""
        if self.is_simple:
            self._check_simple(supervisor_id)
        elif self.child_template is not None:
            raise InvalidOptionError(
                "child_template", self.child_template, f"it goes with strategy={SIMPLE!r} only"
            )
        seen: set[str] = set()
        for spec in self.children:
            if spec.id in seen:
                raise self.errors.duplicate(supervisor_id, spec.id)
            seen.add(spec.id)
            self.check_child(spec)

    def check_child(self, spec: ChildSpec | ChildTemplate) -> None:
        """Check a child against these options: at start, and in `start_child`."""
        if spec.significant and self.auto_shutdown == "never":
            raise InvalidChildSpecError(
                "significant",
                True,
                'it has no effect with auto_shutdown="never"; '
                'use auto_shutdown="any_significant" or "all_significant"',
            )
        if self.distributed and not isinstance(spec.behavior, str):
            raise InvalidChildSpecError(
                "behavior",
                spec.behavior,
                "a distributed supervisor needs the name of a registered behavior, "
                "since other nodes know it by that name",
            )

    def _check_simple(self, supervisor_id: str) -> None:
        if self.child_template is None:
            raise self.errors.missing_template(supervisor_id)
        if self.children:
            raise self.errors.invalid_simple(
                supervisor_id,
                f"{SIMPLE} takes no static children; start them with start_child([args])",
            )
        self.check_child(self.child_template)


def _one_of(name: str, value: object, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InvalidOptionError(name, value, "legal are " + ", ".join(legal))


def _check_types(options: Any) -> None:
    intensity, template, children = (
        options.restart_intensity,
        options.child_template,
        options.children,
    )
    if not isinstance(intensity, RestartIntensity):
        raise InvalidOptionError(
            "restart_intensity", intensity, "it must be a RestartIntensity(max_restarts, within)"
        )
    if template is not None and not isinstance(template, ChildTemplate):
        raise InvalidOptionError("child_template", template, "it must be a ChildTemplate")
    if isinstance(children, str | bytes) or not isinstance(children, Sequence):
        raise InvalidOptionError("children", children, "it must be a list of ChildSpec")
    for spec in children:
        if not isinstance(spec, ChildSpec):
            raise InvalidOptionError("children", spec, "each child must be a ChildSpec")
    problem = selector_problem(options.node_selector)
    if problem is not None:
        raise InvalidOptionError("node_selector", options.node_selector, problem)
