"""The local Supervisor: children on the node of the supervisor itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from noex.registry.behaviors import default_behaviors
from noex.runtime.checks import check_name, check_timeout
from noex.runtime.errors import InitFailedError, InvalidOptionError
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref, check_ref
from noex.supervisor import defaults
from noex.supervisor.errors import NoAvailableNodeError, SupervisorError
from noex.supervisor.handle import (
    QUERY_TIMEOUT,
    STARTING_CHILDREN,
    SupervisorHandle,
    call_supervisor,
    is_starting,
)
from noex.supervisor.obituaries import watch
from noex.supervisor.options import AutoShutdown, Strategy, SupervisorOptions
from noex.supervisor.server import SupervisorServer
from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity
from noex.supervisor.starter import Report
from noex.supervisor.stopping import stop_process
from noex.supervisor.strategy import StrategyMachine
from noex.supervisor.strategy_actions import StartChild, StopChild
from noex.supervisor.strategy_events import (
    ChildGone,
    StartFailed,
    StartIgnored,
    StartSucceeded,
)


class LocalChildren:
    """Starts and stops children here. They are linked to the supervisor: they end with it."""

    def __init__(self, kernel: Kernel, owner: Ref[Any], term: int = 0) -> None:
        self._kernel = kernel
        self._owner = owner
        self._term = term
        self._tasks: dict[tuple[str, int], asyncio.Task[Any]] = {}
        self._refs: dict[str, Ref[Any]] = {}  # the latest process of each child
        self._zombies: dict[str, Ref[Any]] = {}

    async def start(self, action: StartChild, report: Report) -> None:
        child_id, generation = action.child_id, action.generation
        task = asyncio.current_task()
        assert task is not None
        self._tasks[child_id, generation] = task
        try:
            ref = await self._start(action)
        except NoAvailableNodeError as error:
            report(StartFailed(child_id, generation, error, "no_node", self._kernel.node_id))
        except asyncio.CancelledError as error:
            report(StartFailed(child_id, generation, error))
        except Exception as error:
            report(StartFailed(child_id, generation, cause_of(error)))
        else:
            report(self._outcome(action, ref))
        finally:
            del self._tasks[child_id, generation]

    async def cancel(self, child_id: str, generation: int) -> None:
        task = self._tasks.get((child_id, generation))
        if task is not None:
            task.cancel()

    async def stop(self, action: StopChild) -> ChildGone:
        reason = await stop_process(
            self._kernel, action.ref, self._owner, action.reason, action.shutdown
        )
        self.forget(action.child_id, action.generation)
        return ChildGone(action.child_id, action.generation, reason)

    def forget(self, child_id: str, generation: int) -> None:
        """Its process has ended; what is left of it as a zombie is remembered."""
        ref = self._refs.pop(child_id, None)
        if ref is not None and self._is_zombie(ref):
            self._zombies[child_id] = ref

    async def _start(self, action: StartChild) -> Ref[Any] | None:
        spec = action.spec
        self._refuse_beside_zombie(spec)
        cls = self._class_of(spec)
        return await self._kernel.start(
            cls,
            spec.args,
            dict(spec.kwargs),
            name=_local_name(cls, spec),
            parent=self._owner,
            link_to=self._owner,
            fence=(self._term, action.generation),
            terminate_timeout=_terminate_timeout(cls, spec),
        )

    def _outcome(self, action: StartChild, ref: Ref[Any] | None) -> StartSucceeded | StartIgnored:
        if ref is None:
            return StartIgnored(action.child_id, action.generation)
        self._refs[action.child_id] = ref
        wall = self._kernel.clock.wall()
        return StartSucceeded(
            action.child_id, action.generation, ref, ref.node_id, wall, ref.incarnation
        )

    def _class_of(self, spec: ChildSpec) -> type[Any]:
        if not isinstance(spec.behavior, str):
            return spec.behavior
        behaviors = getattr(self._kernel.node, "behaviors", None) or default_behaviors
        found: type[Any] = behaviors.get(spec.behavior, self._kernel.node_id)
        return found

    def _refuse_beside_zombie(self, spec: ChildSpec) -> None:
        """A killed predecessor that still runs must not have a successor beside it."""
        zombie = self._zombies.get(spec.id)
        if zombie is None or spec.replace_zombies:
            return
        if self._is_zombie(zombie):
            raise NoAvailableNodeError(
                spec.id,
                spec.node_selector,
                f"zombie: {zombie} was killed but its code still runs; replace_zombies=True "
                "starts a new one beside it",
            )
        del self._zombies[spec.id]

    def _is_zombie(self, ref: Ref[Any]) -> bool:
        return ref in self._kernel.zombies.values()


def kernel_of(node: Any) -> Kernel:
    """The runtime of the node that was given."""
    kernel = getattr(node, "kernel", None)
    if not isinstance(kernel, Kernel):
        raise InvalidOptionError("node", node, "a Node that has been started")
    return kernel


def chosen_intensity(given: Any) -> Any:
    """None is the default; anything else is looked at, also what only seems to be nothing."""
    return RestartIntensity() if given is None else given


def cause_of(error: BaseException) -> BaseException:
    """What a child's `init` raised, rather than the wrapping that says that it raised."""
    if isinstance(error, InitFailedError) and error.__cause__ is not None:
        return error.__cause__
    return error


def _terminate_timeout(cls: type[Any], spec: ChildSpec) -> float | None:
    """How long `terminate` may take: as long as an ordered stop may.

    A supervisor has no limit of its own, since it ends as slowly as its children.
    """
    if spec.shutdown == "infinity" or issubclass(cls, SupervisorServer):
        return None
    if isinstance(spec.shutdown, str):
        return defaults.SHUTDOWN_TIMEOUT
    return float(spec.shutdown)


def _local_name(cls: type[Any], spec: ChildSpec) -> str | None:
    """A nested supervisor may be named, as any other, by `name` among its options."""
    return spec.kwargs.get("name") if issubclass(cls, SupervisorServer) else None


class Supervisor(SupervisorServer):
    """Starts children, restarts them when they end, and ends them in order.

    ``await Supervisor.start(node, ...)`` returns its handle. As a child of another supervisor:
    ``ChildSpec("db_tree", Supervisor, kwargs={"strategy": ..., "children": [...]},
    shutdown="infinity")``.
    """

    @classmethod
    async def start(
        cls,
        node: Any,
        *,
        strategy: Strategy = defaults.STRATEGY,
        children: Sequence[ChildSpec] = (),
        child_template: ChildTemplate | None = None,
        restart_intensity: RestartIntensity | None = None,
        auto_shutdown: AutoShutdown = defaults.AUTO_SHUTDOWN,
        name: str | None = None,
        timeout: float | None = None,
    ) -> SupervisorHandle:
        """Start a supervisor on `node`; returns when all its children are up.

        1. The options are checked; each wrong one raises its own error, and nothing is started.
        2. The children start one by one in order. If one fails, those that are up are stopped in
           reverse order, and `ChildStartError` names it, with the cause. Nothing is left behind.

        `name` is a local name (`NameTakenError`). `timeout` bounds the whole start, in seconds
        (`InitTimeoutError`); each child's `init` has 30 s of its own.
        """
        options = SupervisorOptions(
            strategy=strategy,
            children=children,
            child_template=child_template,
            restart_intensity=chosen_intensity(restart_intensity),
            auto_shutdown=auto_shutdown,
            name=name,
        )
        options.check(name or "supervisor")
        kernel = kernel_of(node)
        check_timeout(timeout)
        try:
            ref = await kernel.start(
                cls, (options,), name=name, init_timeout=timeout, terminate_timeout=None
            )
        except InitFailedError as error:
            failure = cause_of(error)
        else:
            assert ref is not None
            handle = await cls.handle_of(ref)
            watch(ref)
            return handle
        raise failure

    @classmethod
    async def handle_of(
        cls, ref: Ref[Any], *, timeout: float | None = QUERY_TIMEOUT
    ) -> SupervisorHandle:
        """The handle of the supervisor whose process is `ref` (a nested one, say).

        Raises `SupervisorError` while it starts its initial children.
        """
        check_ref(ref)
        if is_starting(ref):
            raise SupervisorError(str(ref.label), STARTING_CHILDREN)
        supervisor_id, distributed = await call_supervisor(ref, ("describe",), timeout, False)
        return SupervisorHandle(supervisor_id, ref, distributed)

    @classmethod
    async def find(cls, node: Any, name: str) -> SupervisorHandle:
        """The supervisor with the local name `name`. Raises `SupervisorError`."""
        kernel = kernel_of(node)
        check_name(name)
        ref = kernel.whereis(name)
        if ref is None:
            raise SupervisorError(name, f"there is none of this name on {kernel.node_id}")
        return await cls.handle_of(ref)

    async def init(self, options: SupervisorOptions | None = None, **given: Any) -> StrategyMachine:
        """Either ready `options`, or those of `start` by name."""
        chosen = options if options is not None else _options(given)
        self.set_up(chosen.name or f"supervisor_{self.ref.serial}", chosen)
        return await self.start_children()

    def make_starter(self, options: SupervisorOptions) -> LocalChildren:
        return LocalChildren(self.kernel, self.ref)


def _options(given: dict[str, Any]) -> SupervisorOptions:
    if given.get("restart_intensity", ...) is None:
        del given["restart_intensity"]
    return SupervisorOptions(**given)
