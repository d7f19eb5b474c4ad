"""The distributed supervisor: children anywhere in the cluster, brought back when a node dies.

The strategy is that of the local Supervisor. What differs: a child is started by the host of a
chosen node (`remote_children`), the loss of a node is one event for all its children, and the
supervisor's name is global.

Order of events when a node goes down: its monitors fire ``noconnection`` (or, when it stops in
order, ``("shutdown", "node_stopped")``), which is ignored here, since `NodeDown` follows at once
and speaks for all children of that life together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from noex.cluster.view import GRACEFUL_SHUTDOWN
from noex.runtime.checks import check_limit, check_name, check_timeout
from noex.runtime.errors import (
    CallTimeoutError,
    GlobalNameConflictError,
    InitFailedError,
    MessageSerializationError,
    NodeNotReachableError,
    NoexError,
    NoProcessError,
    ServerCrashedError,
)
from noex.runtime.messages import NodeDown
from noex.runtime.reasons import NOCONNECTION, NOPROC, is_node_stop, says
from noex.runtime.returns import NoReply
from noex.supervisor import defaults
from noex.supervisor.errors import DistributedSupervisorError
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.info import ChildInfo
from noex.supervisor.local import cause_of, chosen_intensity, kernel_of
from noex.supervisor.obituaries import watch
from noex.supervisor.options import (
    AutoShutdown,
    NodeFailureCounts,
    Strategy,
    SupervisorOptions,
)
from noex.supervisor.placement import Placement, shown_selector
from noex.supervisor.remote_children import RemoteChildren
from noex.supervisor.selectors import find_selector
from noex.supervisor.server import SupervisorServer
from noex.supervisor.spec import ChildSpec, ChildTemplate, NodeSelector, RestartIntensity
from noex.supervisor.strategy import StrategyMachine
from noex.supervisor.strategy_events import ChildGone, NodeDraining, NodeLost, PlacementChanged
from noex.supervisor.travel import TravelCheck

FIND_TIMEOUT: Final = 30.0  # a supervisor answers when its initial children are up
ENSURE_PAUSE: Final = 0.1
NAME_TIMEOUT: Final = 5.0
_GONE = (NoProcessError, ServerCrashedError, NodeNotReachableError)


class DistributedServer(SupervisorServer):
    """The process of a distributed supervisor."""

    is_distributed_supervisor: ClassVar = True  # for whoever must not import all of this

    async def init(self, options: SupervisorOptions) -> StrategyMachine:
        """Claim the name, then start the children."""
        self._drained: set[tuple[str, int]] = set()
        self._travel = TravelCheck(self.kernel)
        supervisor_id = options.name or f"supervisor_{self.ref.serial}@{self.kernel.node_id}"
        term = int(self.kernel.clock.wall() * 1000)
        self.set_up(supervisor_id, self._fit_to_travel(options), term)
        if options.name is not None:
            await self.node.registry.register(options.name, self.ref)
        self.kernel.node_watchers.add(self._process)
        try:
            return await self.start_children()
        except BaseException:
            await self._free_name()
            raise

    async def terminate(self, reason: Any, state: Any) -> None:
        """Children first, then the name, so that it is free when this process is gone."""
        await super().terminate(reason, state)
        await self._free_name()

    async def _free_name(self) -> None:
        name = self.machine.options.name
        if name is not None:
            try:
                await self.node.registry.unregister(name, timeout=1.0, owner=self.ref)
            except NoexError:
                return  # it goes with this process

    def make_starter(self, options: SupervisorOptions) -> RemoteChildren:
        self._placement = Placement(self.kernel.node_id, random.choice, find_selector)
        self._children = RemoteChildren(
            self.kernel,
            self.ref,
            self.machine.term,
            self._placement,
            self._members,
            options.node_selector,
            self._travel.copy_value,
            options.spawn_timeout,
        )
        return self._children

    def _members(self) -> Sequence[Any]:
        """Where children may go; a frozen node decides nothing."""
        members: Sequence[Any] = () if self.node.is_frozen else self.node.members()
        return members

    def _fit_to_travel(self, options: SupervisorOptions) -> SupervisorOptions:
        """The options with arguments that can travel, and that no caller can change any more."""
        children = [
            self._travel.copy(spec, f"start of child {spec.id!r}") for spec in options.children
        ]
        template = options.child_template
        if template is not None:
            template = self._travel.copy(template, "child_template")
        return replace(options, children=children, child_template=template)

    # ------------------------------------------------------------------ messages

    def handle_call(self, message: Any, state: StrategyMachine) -> Any:
        match message:
            case ("start_child", child):
                try:
                    message = ("start_child", self._travel.copy(child, "start_child"))
                except MessageSerializationError as error:
                    caller = self.caller
                    if caller is not None:
                        caller.fail(error)
                    return NoReply()
            case ("children",):
                return [_fit_to_answer(info) for info in state.children()], state
            case ("child", str() as child_id):
                info = state.child(child_id)
                return None if info is None else _fit_to_answer(info), state
        return super().handle_call(message, state)

    def hear_other(self, message: Any) -> None:
        match message:
            case NodeDown(node_id=node_id, incarnation=incarnation, reason=reason):
                self._placement.forget(node_id)
                self._drained.discard((node_id, incarnation))
                in_order = reason == GRACEFUL_SHUTDOWN
                self.tell(NodeLost(node_id, incarnation, counted=not in_order))
            case _ if getattr(message, "type", None) in ("node_up", "node_idle", "view_changed"):
                self._look_for_draining()
                self.tell(PlacementChanged())

    def _look_for_draining(self) -> None:
        for info in self.node.members():
            life = (info.id, info.incarnation)
            if info.status == "draining" and life not in self._drained:
                self._drained.add(life)
                self.tell(NodeDraining(*life))

    def _down(self, ref: Any, reason: Any) -> None:
        lost = says(reason, NOCONNECTION) and not self.kernel.reaches(ref)
        if lost or is_node_stop(reason):
            self._subscribers.discard(ref)
            key = self._monitors.pop(ref, None)
            if key is not None:
                self._children.forget(*key)
            return
        key = self._monitors.get(ref)
        if key is not None and says(reason, NOPROC):
            del self._monitors[ref]
            self.spawn_task(self._ask_why_it_ended(*key, ref))
            return
        if key is not None:
            self._children.ended(key[0], ref, reason)
        super()._down(ref, reason)

    async def _ask_why_it_ended(self, child_id: str, generation: int, ref: Any) -> None:
        """It was gone before its monitor arrived; a transient child may have done its work."""
        reason = await self._children.reason_of_end(child_id, generation, ref)
        if reason is not None:  # else the loss of its node speaks for it
            self._children.ended(child_id, ref, reason)
            self._children.forget(child_id, generation)
            self.report(ChildGone(child_id, generation, reason))


class DistributedSupervisor:
    """Starts, finds and ensures distributed supervisors; each returns a `SupervisorHandle`.

    The handle works from every node, and can be sent in messages.
    """

    @staticmethod
    async def start(
        node: Any,
        *,
        name: str | None = None,
        strategy: Strategy = defaults.STRATEGY,
        node_selector: NodeSelector = defaults.NODE_SELECTOR,
        children: Sequence[ChildSpec] = (),
        child_template: ChildTemplate | None = None,
        restart_intensity: RestartIntensity | None = None,
        auto_shutdown: AutoShutdown = defaults.AUTO_SHUTDOWN,
        node_failure_counts: NodeFailureCounts = defaults.NODE_FAILURE_COUNTS,
        spawn_timeout: float = defaults.SPAWN_TIMEOUT,
        timeout: float | None = None,
    ) -> SupervisorHandle:
        """Start a supervisor on `node`; returns when all its children are up.

        1. Options and specs are checked, and that all arguments can travel.
        2. A `name` is claimed in the whole cluster (`GlobalNameConflictError` with the owner).
        3. The children start one by one in order, each where its selector says. If one cannot,
           those that are up are stopped in reverse order and the error is raised:
           `ChildStartError` with the cause, `NoAvailableNodeError`, or
           `DistributedBehaviorNotFoundError`. Nothing is left behind.

        `spawn_timeout`: seconds that one child's `init` may take; a host that is silent for longer
        makes the start ``unknown``. `timeout` bounds the whole start, in seconds
        (`InitTimeoutError`); None: no limit beyond those of the children.
        """
        options = SupervisorOptions(
            strategy=strategy,
            children=children,
            child_template=child_template,
            restart_intensity=chosen_intensity(restart_intensity),
            auto_shutdown=auto_shutdown,
            node_failure_counts=node_failure_counts,
            node_selector=node_selector,
            spawn_timeout=spawn_timeout,
            name=name,
            distributed=True,
        )
        options.check(name or "supervisor")
        kernel = kernel_of(node)
        check_timeout(timeout)
        try:
            ref = await kernel.start(
                DistributedServer, (options,), init_timeout=timeout, terminate_timeout=None
            )
            assert ref is not None
            watch(ref)
            return await _handle_of(ref)
        except (InitFailedError, *_GONE) as error:
            failure = cause_of(error)
        if isinstance(failure, _GONE):
            why = "it was ended while it started its children"
            raise DistributedSupervisorError(name or "supervisor", why) from failure
        raise failure

    @staticmethod
    async def find(node: Any, name: str, *, timeout: float = FIND_TIMEOUT) -> SupervisorHandle:
        """The handle of the running supervisor `name`, wherever it lives.

        One that is still starting its initial children is waited for, up to `timeout` seconds.
        Raises `DistributedSupervisorError` if there is none of this name.
        """
        kernel_of(node)
        check_name(name)
        check_limit(timeout, "timeout")
        ref = await node.registry.whereis(name, timeout=min(timeout, NAME_TIMEOUT))
        if ref is None:
            raise DistributedSupervisorError(name, "there is none of this name in the cluster")
        if not _is_supervisor(ref):
            raise DistributedSupervisorError(name, f"{ref} has this name, and is no supervisor")
        try:
            return await _handle_of(ref, timeout)
        except _GONE as error:
            raise DistributedSupervisorError(name, "it has just ended") from error

    @staticmethod
    async def ensure(
        node: Any, *, name: str, timeout: float = FIND_TIMEOUT, **options: Any
    ) -> SupervisorHandle:
        """Start the supervisor `name`, or find the one that runs: for a program that is the same
        on every node. The options are those of `start`; they count only if it is started here.

        Raises what `start` raises (`GlobalNameConflictError` only if the owner of the name is no
        supervisor), and `CallTimeoutError` after `timeout` seconds.
        """
        kernel = kernel_of(node)
        check_name(name)
        check_limit(timeout, "timeout")
        deadline = kernel.clock.now() + timeout
        while True:
            try:
                return await DistributedSupervisor.find(node, name, timeout=timeout)
            except DistributedSupervisorError:
                pass
            try:
                return await DistributedSupervisor.start(node, name=name, **options)
            except GlobalNameConflictError as conflict:
                if not _is_supervisor(conflict.args[1]):
                    raise
                if kernel.clock.now() >= deadline:
                    raise CallTimeoutError(conflict.args[1], timeout) from conflict
            await asyncio.sleep(ENSURE_PAUSE)


def _fit_to_answer(info: ChildInfo) -> ChildInfo:
    """A bare callable does not travel: whoever asks, from whichever node, sees its name."""
    selector = info.spec.node_selector
    if selector is None or not callable(selector):
        return info
    return replace(info, spec=replace(info.spec, node_selector=shown_selector(selector)))


def _is_supervisor(ref: Any) -> bool:
    """Whether it may be asked: what a supervisor understands can crash another process."""
    return getattr(ref, "label", None) in (None, DistributedServer.__name__)


async def _handle_of(ref: Any, timeout: float | None = FIND_TIMEOUT) -> SupervisorHandle:
    supervisor_id, distributed = await ref.call(("describe",), timeout=timeout)
    return SupervisorHandle(supervisor_id, ref, distributed)
