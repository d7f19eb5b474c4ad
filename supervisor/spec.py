"""What a user says about a child, checked when it is said.

Each wrong field raises its own `InvalidChildSpecError`, in the caller, before anything is started.
Whether `significant` goes with the supervisor's `auto_shutdown` is checked in
`noex.supervisor.options`, since a spec alone cannot know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Final, Literal, NoReturn

from noex.runtime.checks import is_time
from noex.runtime.errors import InvalidChildSpecError, InvalidNodeIdError, InvalidOptionError
from noex.runtime.node_id import parse_node_id
from noex.supervisor import defaults

RestartType = Literal["permanent", "transient", "temporary"]
Shutdown = float | Literal["infinity", "brutal_kill"]
NodeSelector = str | Mapping[str, str] | Callable[..., str]

RESTART_TYPES: Final = ("permanent", "transient", "temporary")
SHUTDOWN_WORDS: Final = ("infinity", "brutal_kill")
BUILT_IN_SELECTORS: Final = ("local_first", "round_robin", "least_loaded", "random")

# A GenServer is known by these: its class cannot be imported here, where all is pure.
_CALLBACKS: Final = ("init", "handle_call", "handle_cast", "handle_info")
_SHUTDOWN_LEGAL = 'legal are seconds (0 or more), "infinity" and "brutal_kill"'
_SELECTOR_LEGAL = (
    "legal are " + ", ".join(BUILT_IN_SELECTORS) + ", the name of a registered selector, "
    '{"node": node_id}, or a callable(nodes, child_id) -> node_id'
)


def _is_seconds(value: Any) -> bool:
    return is_time(value) and 0 <= value < math.inf


def selector_problem(value: object) -> str | None:
    """Why `value` does not have the shape of a node selector, or None if it has."""
    if isinstance(value, str):
        return None if value else f"a selector's name is not empty; {_SELECTOR_LEGAL}"
    if isinstance(value, Mapping):
        if set(value) != {"node"}:
            return f'a selector in dict form has the one key "node"; {_SELECTOR_LEGAL}'
        try:
            parse_node_id(value["node"])
        except InvalidNodeIdError as error:
            return str(error)
        return None
    if iscoroutinefunction(value):
        return f"a selector is a plain `def` function; {_SELECTOR_LEGAL}"
    return None if callable(value) else _SELECTOR_LEGAL


@dataclass(frozen=True)
class RestartIntensity:
    """At most `max_restarts` restarts in any `within` seconds; one more ends the supervisor.

    - `max_restarts`: 0 or more, by default 3; with 0 the first failure ends it.
    - `within`: seconds, by default 5.

    A group restart counts once, and so does the loss of a node; each start that fails during a
    restart counts; `restart_child` does not. Raises `InvalidOptionError`.
    """

    max_restarts: int = defaults.MAX_RESTARTS
    within: float = defaults.RESTART_WITHIN

    def __post_init__(self) -> None:
        count, within = self.max_restarts, self.within
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InvalidOptionError("max_restarts", count, "it must be an int, 0 or more")
        if not _is_seconds(within) or within <= 0:
            raise InvalidOptionError("within", within, "it must be seconds, more than 0")


@dataclass(frozen=True)
class ChildSpec:
    """One child: what to run, and what to do when it ends.

    - `id`: unique in its supervisor.
    - `behavior`: a GenServer class, or a registered name (a distributed supervisor needs a name).
    - `args`, `kwargs`: for its `init`, at each start.
    - `restart`: ``permanent`` (always), ``transient`` (unless it ended with ``normal``,
      ``shutdown`` or ``("shutdown", x)``), ``temporary`` (never).
    - `node_selector`: where it may run; None means as its supervisor says.
    - `shutdown`: seconds from the signal ``shutdown`` to a kill (default 5), ``"infinity"`` (wait:
      right for a child that is a supervisor), or ``"brutal_kill"``.
    - `significant`: its own end may end the supervisor (`auto_shutdown`); not with ``permanent``.
    - `backoff`: seconds to wait before a *failed* restart is tried again; None means at once.
    - `overlap`: on a drain, start it elsewhere before the old one is told to stop.
    - `replace_zombies`: replace it even if its killed predecessor still holds its thread.

    Raises `InvalidChildSpecError`, which names the field and the legal values.
    """

    id: str
    behavior: type[Any] | str
    _: KW_ONLY
    args: Sequence[Any] = field(default=(), hash=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    restart: RestartType = "permanent"
    node_selector: NodeSelector | None = field(default=None, hash=False)
    shutdown: Shutdown = defaults.SHUTDOWN_TIMEOUT
    significant: bool = False
    backoff: float | None = None
    overlap: bool = False
    replace_zombies: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            _refuse("id", self.id, "it must be a string that is not empty")
        _check_common(self)


@dataclass(frozen=True)
class ChildTemplate:
    """What all children of a ``simple_one_for_one`` supervisor have in common.

    The fields are those of `ChildSpec`, but for `id`: children are ``child_1``, ``child_2``, ...
    A child's own arguments come after the template's `args`. Raises `InvalidChildSpecError`.
    """

    behavior: type[Any] | str
    _: KW_ONLY
    args: Sequence[Any] = field(default=(), hash=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    restart: RestartType = "permanent"
    node_selector: NodeSelector | None = field(default=None, hash=False)
    shutdown: Shutdown = defaults.SHUTDOWN_TIMEOUT
    significant: bool = False
    backoff: float | None = None
    overlap: bool = False
    replace_zombies: bool = False

    def __post_init__(self) -> None:
        _check_common(self)

    def spec(self, child_id: str, args: Sequence[Any]) -> ChildSpec:
        """The spec of one child: this template with `args` after its own."""
        return ChildSpec(
            child_id,
            self.behavior,
            args=(*self.args, *args),
            kwargs=self.kwargs,
            restart=self.restart,
            node_selector=self.node_selector,
            shutdown=self.shutdown,
            significant=self.significant,
            backoff=self.backoff,
            overlap=self.overlap,
            replace_zombies=self.replace_zombies,
        )


def _refuse(name: str, value: object, reason: str) -> NoReturn:
    raise InvalidChildSpecError(name, value, reason)


def _check_common(spec: ChildSpec | ChildTemplate) -> None:
    _check_behavior(spec.behavior)
    _freeze_arguments(spec)
    _check_restart(spec)
    _check_shutdown(spec.shutdown)
    _check_selector(spec.node_selector)
    _check_backoff(spec.backoff)
    for name in ("significant", "overlap", "replace_zombies"):
        _check_flag(name, getattr(spec, name))


def _check_behavior(behavior: object) -> None:
    if isinstance(behavior, str):
        if not behavior:
            _refuse("behavior", behavior, "a registered name is not empty")
    elif not (isinstance(behavior, type) and all(hasattr(behavior, c) for c in _CALLBACKS)):
        _refuse("behavior", behavior, "it must be a GenServer class or a registered name")


def _freeze_arguments(spec: ChildSpec | ChildTemplate) -> None:
    """Copy `args` and `kwargs`: a later change of the caller's list must not reach a restart."""
    if isinstance(spec.args, str | bytes) or not isinstance(spec.args, Sequence):
        _refuse("args", spec.args, "it must be a tuple or list of positional arguments")
    if not isinstance(spec.kwargs, Mapping) or not all(isinstance(k, str) for k in spec.kwargs):
        _refuse("kwargs", spec.kwargs, "it must be a dict with the names of arguments as keys")
    object.__setattr__(spec, "args", tuple(spec.args))
    object.__setattr__(spec, "kwargs", dict(spec.kwargs))


def _check_restart(spec: ChildSpec | ChildTemplate) -> None:
    if spec.restart not in RESTART_TYPES:
        _refuse("restart", spec.restart, "legal are " + ", ".join(RESTART_TYPES))
    if spec.significant is True and spec.restart == "permanent":
        _refuse(
            "significant",
            True,
            "a permanent child is always restarted, so it can never be the reason of a shutdown; "
            'use restart="transient" or "temporary"',
        )


def _check_shutdown(shutdown: object) -> None:
    if isinstance(shutdown, str):
        if shutdown not in SHUTDOWN_WORDS:
            _refuse("shutdown", shutdown, _SHUTDOWN_LEGAL)
    elif not _is_seconds(shutdown):
        _refuse("shutdown", shutdown, _SHUTDOWN_LEGAL)


def _check_selector(selector: object) -> None:
    problem = None if selector is None else selector_problem(selector)
    if problem is not None:
        _refuse("node_selector", selector, problem)


def _check_backoff(backoff: object) -> None:
    if backoff is not None and not _is_seconds(backoff):
        _refuse("backoff", backoff, "it must be seconds (0 or more), or None: try again at once")


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        _refuse(name, value, "it must be True or False")
