"""How a distributed supervisor starts and stops a child: through the host of the chosen node.

A start is reported by exactly one final event. When a host is silent beyond the spawn timeout,
``unknown`` is reported first, and the same token is asked for again and again: the host answers a
repeated spawn with what is there, so the final event says what is true. Only an answer, or the end
of that node's life, ends the doubt; a second copy is never started on silence alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from noex.runtime.errors import (
    BehaviorNotFoundError,
    CallTimeoutError,
    MessageSerializationError,
    NodeNotReachableError,
    NodeStoppedError,
    NoexError,
    NoProcessError,
    OverloadedError,
    ServerCrashedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.reasons import KILLED, NOCONNECTION, NOPROC, SHUTDOWN, is_node_stop, says
from noex.runtime.ref import Ref
from noex.supervisor import defaults
from noex.supervisor.errors import NoAvailableNodeError
from noex.supervisor.host import HOST
from noex.supervisor.local import cause_of
from noex.supervisor.placement import Node, Placement, Wish, shown_selector
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_actions import StartChild, StopChild
from noex.supervisor.strategy_events import (
    ChildGone,
    Event,
    StartFailed,
    StartIgnored,
    StartSucceeded,
)

ANSWER_MARGIN: Final = 2.0  # seconds for the way, beyond what the host may take itself
ASK_AGAIN: Final = 0.5  # seconds between two questions to a host that is silent
KILLED_REMEMBERED: Final = 4096  # killed children, each asked about before it is started again

_LIFE_OVER = (NodeNotReachableError, NodeStoppedError)
Report = Callable[[Event], None]


class Member(Node, Protocol):
    """A member that can be addressed: one life."""

    @property
    def incarnation(self) -> int: ...


class RemoteChildren:
    """Starts and stops the children of one supervisor, wherever they run."""

    def __init__(
        self,
        kernel: Kernel,
        owner: Ref[Any],
        term: int,
        placement: Placement,
        members: Callable[[], Sequence[Member]],
        default_selector: Any,
        copy: Callable[[Any], Any],
        spawn_timeout: float = defaults.SPAWN_TIMEOUT,
    ) -> None:
        self._kernel = kernel
        self._owner = owner
        self._term = term
        self._placement = placement
        self._members = members
        self._default_selector = default_selector
        self._copy = copy
        self._spawn_timeout = spawn_timeout
        self._places: dict[tuple[str, int], tuple[str, int]] = {}
        self._starting: dict[tuple[str, int], StartChild] = {}
        self._killed: OrderedDict[str, Ref[Any]] = OrderedDict()  # they may be zombies

    async def start(self, action: StartChild, report: Report) -> None:
        """Place and start a child; `report` the outcome."""
        try:
            await self._refuse_beside_zombie(action)
            life = self._choose(action)
        except (NoexError, BehaviorNotFoundError) as error:
            report(StartFailed(action.child_id, action.generation, error, "no_node"))
            return
        key = (action.child_id, action.generation)
        self._places[key], self._starting[key] = life, action
        final = await self._spawn(action, life, report)
        self._starting.pop(key, None)
        self._placement.settled(life[0], self._kernel.clock.now())
        if not isinstance(final, StartSucceeded):
            self.forget(*key)
        report(final)

    async def cancel(self, child_id: str, generation: int) -> None:
        """The start is not wanted any more: bar it at its host, which cuts it short."""
        action = self._starting.get((child_id, generation))
        if action is None:
            return
        life, shutdown = self._places[child_id, generation], action.spec.shutdown
        token = (self._term, generation)
        request = ("stop", self._owner, child_id, token, SHUTDOWN, shutdown)
        try:
            await self._ask(life, request, _stop_timeout(shutdown, self._kernel.kill_grace))
        except (*_LIFE_OVER, CallTimeoutError, OverloadedError):
            return  # the start itself finds out

    async def stop(self, action: StopChild) -> ChildGone:
        """Stop a child and confirm that it is gone; wait for the end of its node if need be."""
        life = self._places.get((action.child_id, action.generation))
        if life is None and action.ref is not None:
            life = (action.ref.node_id, action.ref.incarnation)
        reason = NOPROC if life is None else await self._stop(life, action)
        if action.ref is not None:
            self.ended(action.child_id, action.ref, reason)
        self.forget(action.child_id, action.generation)
        return ChildGone(action.child_id, action.generation, reason)

    def forget(self, child_id: str, generation: int) -> None:
        """This generation is gone."""
        self._places.pop((child_id, generation), None)

    def ended(self, child_id: str, ref: Ref[Any], reason: Any) -> None:
        """A process of this child has ended. What was killed may still hold its thread."""
        if says(reason, KILLED):
            self._killed[child_id] = ref
            self._killed.move_to_end(child_id)
            if len(self._killed) > KILLED_REMEMBERED:
                self._killed.popitem(last=False)

    async def reason_of_end(self, child_id: str, generation: int, ref: Ref[Any]) -> Any:
        """Why a process ended that was gone before it was watched; None: its node's life is over.

        Its host knows: a stop of what has ended is answered with the reason.
        """
        request = ("stop", self._owner, child_id, (self._term, generation), SHUTDOWN, 0.0)
        while True:
            try:
                _verdict, reason = await self._ask(
                    (ref.node_id, ref.incarnation), request, ANSWER_MARGIN
                )
                return reason
            except _LIFE_OVER:
                return None
            except MessageSerializationError as error:  # the answer: a reason that does not travel
                return error
            except (CallTimeoutError, OverloadedError):
                await asyncio.sleep(ASK_AGAIN)

    # ------------------------------------------------------------------ zombies

    async def _refuse_beside_zombie(self, action: StartChild) -> None:
        """A killed predecessor that still runs must not have a successor, on any node."""
        spec, ref = action.spec, self._killed.get(action.child_id)
        if ref is None or spec.replace_zombies:
            return
        found = await self._zombie(ref)
        if found is None:
            self._killed.pop(action.child_id, None)
            return
        reason = f"zombie: {ref} was killed {found}; replace_zombies=True starts a new one"
        raise NoAvailableNodeError(action.child_id, shown_selector(self._selector(spec)), reason)

    def _selector(self, spec: ChildSpec) -> Any:
        return self._default_selector if spec.node_selector is None else spec.node_selector

    async def _zombie(self, ref: Ref[Any]) -> str | None:
        """Why `ref` has to be taken for a zombie; None: it is none (or its node's life is over)."""
        life = (ref.node_id, ref.incarnation)
        try:
            still_runs = await self._ask(life, ("is_zombie", ref), ANSWER_MARGIN)
        except _LIFE_OVER:
            return None
        except (CallTimeoutError, OverloadedError):
            return f"and {ref.node_id} does not say whether its code still runs"
        return "but its code still runs" if still_runs else None

    # ------------------------------------------------------------------ placing

    def _choose(self, action: StartChild) -> tuple[str, int]:
        members = list(self._members())
        spec = action.spec
        wish = Wish(
            action.child_id,
            spec.behavior if isinstance(spec.behavior, str) else spec.behavior.__qualname__,
            self._selector(spec),
            frozenset(action.exclude_nodes),
            failover=action.why == "failover",
        )
        chosen = self._placement.choose_softly(wish, members, self._kernel.clock.now())
        return next((m.id, m.incarnation) for m in members if m.id == chosen)

    # ------------------------------------------------------------------ asking hosts

    async def _ask(self, life: tuple[str, int], request: tuple[Any, ...], timeout: Any) -> Any:
        host = self._kernel.named_ref(HOST, *life)
        while True:
            try:
                return await host.call(request, timeout=timeout)
            except (NoProcessError, ServerCrashedError) as error:
                # A node without its host leaves soon. What it ran may take until then to end.
                if not self._kernel.reaches(host):
                    raise NodeNotReachableError(life[0]) from error
            await asyncio.sleep(ASK_AGAIN)

    async def _spawn(self, action: StartChild, life: tuple[str, int], report: Report) -> Event:
        request = self._spawn_request(action, life)
        silent = False
        patience = self._spawn_timeout + min(ANSWER_MARGIN, self._spawn_timeout)
        while True:
            try:
                answer = await self._ask(life, request, patience)
                return self._outcome(action, life, *answer)
            except _LIFE_OVER as error:
                return self._failed(action, life, error, "node_lost")
            except OverloadedError as error:
                if not silent:  # refused before it was sent
                    return self._failed(action, life, error, "node_lost")
            except CallTimeoutError as error:
                if not silent:
                    report(self._failed(action, life, error, "unknown"))
                silent = True
            except NoexError as error:  # its arguments cannot travel
                return self._failed(action, life, error, "init")
            await asyncio.sleep(ASK_AGAIN)

    def _spawn_request(self, action: StartChild, life: tuple[str, int]) -> tuple[Any, ...]:
        spec = action.spec
        args, kwargs = tuple(spec.args), dict(spec.kwargs)
        if life[0] == self._kernel.node_id and (args or kwargs):
            # what a child does to its arguments must not reach its restart, here as elsewhere
            args, kwargs = self._copy((args, kwargs))
        order = (
            spec.behavior,
            args,
            kwargs,
            spec.shutdown,
            self._spawn_timeout,
        )
        token = (self._term, action.generation)
        return ("spawn", self._owner, action.child_id, token, order)

    def _outcome(
        self, action: StartChild, life: tuple[str, int], verdict: str, value: Any
    ) -> Event:
        child_id, generation = action.child_id, action.generation
        if verdict == "started":
            wall = self._kernel.clock.wall()
            return StartSucceeded(child_id, generation, value, life[0], wall, life[1])
        if verdict == "ignored":
            return StartIgnored(child_id, generation)
        # The behavior was advertised, but is gone; or the node stops: others may run the child.
        if isinstance(value, BehaviorNotFoundError | NodeStoppedError):
            return self._failed(action, life, value, "node_lost")
        if is_node_stop(value):
            return self._failed(action, life, NodeStoppedError(life[0]), "node_lost")
        if not isinstance(value, Exception):
            value = InterruptedError(f"it ended during its start, reason {value!r}")
        return self._failed(action, life, cause_of(value), "init")

    def _failed(
        self, action: StartChild, life: tuple[str, int], error: BaseException, kind: Any
    ) -> StartFailed:
        return StartFailed(action.child_id, action.generation, error, kind, life[0], life[1])

    async def _stop(self, life: tuple[str, int], action: StopChild) -> Any:
        token = (self._term, action.generation)
        request = ("stop", self._owner, action.child_id, token, action.reason, action.shutdown)
        timeout = _stop_timeout(action.shutdown, self._kernel.kill_grace)
        while True:
            try:
                _verdict, reason = await self._ask(life, request, timeout)
                return reason
            except _LIFE_OVER:
                return NOCONNECTION
            except MessageSerializationError as error:  # the answer: a reason that does not travel
                return error
            except (CallTimeoutError, OverloadedError):
                await asyncio.sleep(ASK_AGAIN)


def _stop_timeout(shutdown: Any, kill_grace: float) -> float | None:
    if shutdown == "infinity":
        return None
    seconds = 0.0 if shutdown == "brutal_kill" else float(shutdown)
    return seconds + kill_grace + ANSWER_MARGIN
