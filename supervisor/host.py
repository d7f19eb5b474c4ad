"""The host: the system process ``noex.host`` that runs children for distributed supervisors.

Requests (calls): ``("spawn", owner, child_id, token, order)`` and
``("stop", owner, child_id, token, reason, shutdown)``; each is answered with an `Outcome` as a
plain pair once it is true. ``("life_ended",)`` is a cast: it must be in the mailbox before the
`Down` of an owner on a node that the ended life has lost, and say why the children end.
``("node_stops",)`` is answered when all children have ended, with a reason of its own: after the
plain ``"shutdown"`` of a stopping node a transient child would be taken for done, and a permanent
one for a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.errors import BehaviorNotFoundError, InitFailedError, InvalidOptionError
from noex.runtime.genserver import GenServer
from noex.runtime.messages import Down, TaskResult
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply
from noex.supervisor.errors import DistributedBehaviorNotFoundError
from noex.supervisor.host_machine import (
    CancelStart,
    Child,
    Effect,
    ForgetOwner,
    HostMachine,
    Order,
    Outcome,
    StartProcess,
    StopProcess,
    Tell,
    WatchOwner,
)
from noex.supervisor.stopping import stop_process

HOST: Final = "noex.host"


class Host(GenServer[HostMachine]):
    """Carries out what `HostMachine` decides."""

    def init(self, behaviors: BehaviorRegistry) -> HostMachine:
        """`behaviors`: the classes that this node can run."""
        self._behaviors = behaviors
        self._starts: dict[Child, asyncio.Task[Any]] = {}
        self._starting: dict[asyncio.Task[Any], tuple[Child, Order]] = {}
        self._children: dict[Any, Child] = {}  # by the ref of their process
        self._owners: dict[Any, Any] = {}  # owner -> our monitor on it
        self._leaving: list[Any] = []  # callers that wait for the end of all children
        self._machine = HostMachine()
        return self._machine

    def handle_call(self, message: Any, state: HostMachine) -> Any:
        match message:
            case ("spawn", Ref() as owner, str() as child_id, (int(), int()) as token, order) if (
                _is_order(order)
            ):
                child = Child(owner, child_id, tuple(token))
                self._carry_out(state.spawn_asked(self.caller, child, Order(*order)))
            case (
                "stop",
                Ref() as owner,
                str() as child_id,
                (int(), int()) as token,
                reason,
                limit,
            ):
                child = Child(owner, child_id, tuple(token))
                self._carry_out(state.stop_asked(self.caller, child, reason, limit))
            case ("count",):
                return state.running, state
            case ("node_stops",):
                self._leaving.append(self.caller)
                self._carry_out(state.node_stops())
            case ("is_zombie", Ref() as ref):
                return ref in self.kernel.zombies.values(), state
            case _:
                return self._refuse(message)
        return NoReply()

    def _refuse(self, message: Any) -> NoReply:
        """Nonsense ends nobody here: without its host a node has to leave."""
        assert self.caller is not None
        self.caller.fail(InvalidOptionError("message", message, "no request of a host"))
        return NoReply()

    def handle_cast(self, message: Any, state: HostMachine) -> None:
        if message == ("life_ended",):
            self._carry_out(state.life_ended())

    def handle_info(self, message: Any, state: HostMachine) -> None:
        match message:
            case TaskResult(task=task) if task in self._starting:
                self._start_was_cut(*self._starting.pop(task))
            case TaskResult(error=error) if error is not None:
                self.log.error("host_task_failed", error=repr(error))
            case Down(ref=ref, reason=reason) if ref in self._children:
                self._carry_out(state.process_down(self._children.pop(ref), reason))
            case Down(ref=ref) if ref in self._owners:
                self._carry_out(state.owner_down(ref))

    def _start_was_cut(self, child: Child, order: Order) -> None:
        """Its task was cancelled before it could say anything."""
        if child in self._starts:
            self._start_ended(child, Outcome("failed", InitFailedError(order.behavior)))

    def _start_ended(self, child: Child, outcome: Outcome) -> None:
        """In the turn in which it is known: a process may end in the next one, and it has to be
        watched by then, or nobody ever knows why it ended."""
        self._starts.pop(child, None)
        if outcome.verdict == "started":
            self._children[outcome.value] = child
            self.monitor(outcome.value)
        self._carry_out(self._machine.start_ended(child, outcome))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartProcess(child, order):
                    task = self.spawn_task(self._start(child, order))
                    self._starts[child], self._starting[task] = task, (child, order)
                case CancelStart(child):
                    if child in self._starts:
                        self._starts[child].cancel()
                case StopProcess(child, ref, reason, shutdown):
                    # from its parent, whose order a child obeys even if it traps exits
                    stop = stop_process(self.kernel, ref, child.owner, reason, shutdown)
                    self.spawn_task(stop)
                case Tell(asker, (verdict, value)):
                    asker.reply((verdict, value))
                case WatchOwner(owner):
                    self._owners[owner] = self.monitor(owner)
                case ForgetOwner(owner):
                    self._owners.pop(owner).cancel()
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        """Whoever stops the node waits for the end of its children."""
        if self._leaving and not self._machine.running:
            leaving, self._leaving = self._leaving, []
            for caller in leaving:
                caller.reply(None)

    async def _start(self, child: Child, order: Order) -> None:
        outcome = await self._try_start(child, order)
        self._start_ended(child, outcome)

    async def _try_start(self, child: Child, order: Order) -> Outcome:
        node_id = self.kernel.node_id
        try:
            ref = await self.kernel.start(
                self._behaviors.get(order.behavior, node_id),
                order.args,
                order.kwargs,
                parent=child.owner,
                init_timeout=order.init_timeout,
                fence=child.token,
                terminate_timeout=_terminate_timeout(order.shutdown),
            )
        except BehaviorNotFoundError:
            return Outcome("failed", DistributedBehaviorNotFoundError(order.behavior, node_id))
        except Exception as error:
            return Outcome("failed", error)
        return Outcome("ignored") if ref is None else Outcome("started", ref)


def _is_order(order: Any) -> bool:
    match order:
        case (str(), tuple() | list(), dict(), _, _):
            return True
    return False


def _terminate_timeout(shutdown: Any) -> float | None:
    """How long `terminate` may take after a crash: as long as in an ordered stop."""
    if shutdown == "infinity":
        return None
    return 5.0 if shutdown == "brutal_kill" else float(shutdown)
