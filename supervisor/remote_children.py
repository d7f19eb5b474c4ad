"""How a distributed supervisor starts and stops a child: through the host of the chosen node.

A start is reported by exactly one final event. When a host is silent beyond the spawn timeout,
``unknown`` is reported first, and the same token is asked for again and again: the host answers a
repeated spawn with what is there, so the final event says what is true. Only an answer, or the end
of that node's life, ends the doubt; a second copy is never started on silence alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from noex.runtime.errors import (
    BehaviorNotFoundError,
    CallTimeoutError,
    InitFailedError,
    NodeNotReachableError,
    NodeStoppedError,
    NoexError,
    NoProcessError,
    OverloadedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.reasons import NOCONNECTION, NOPROC, SHUTDOWN
from noex.runtime.ref import Ref
from noex.supervisor import defaults
from noex.supervisor.host import HOST
from noex.supervisor.placement import Node, Placement, Wish
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

_LIFE_OVER = (NodeNotReachableError, NoProcessError, NodeStoppedError)
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
    ) -> None:
        self._kernel = kernel
        self._owner = owner
        self._term = term
        self._placement = placement
        self._members = members
        self._default_selector = default_selector
        self._places: dict[tuple[str, int], tuple[str, int]] = {}
        self._starting: dict[tuple[str, int], StartChild] = {}

    async def start(self, action: StartChild, report: Report) -> None:
        """Place and start a child; `report` the outcome."""
        try:
            life = self._choose(action)
        except (NoexError, BehaviorNotFoundError) as error:
            report(StartFailed(action.child_id, action.generation, error, "no_node"))
            return
        key = (action.child_id, action.generation)
        self._places[key], self._starting[key] = life, action
        final = await self._spawn(action, life, report)
        self._starting.pop(key, None)
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
        self.forget(action.child_id, action.generation)
        return ChildGone(action.child_id, action.generation, reason)

    def forget(self, child_id: str, generation: int) -> None:
        """This generation is gone."""
        self._places.pop((child_id, generation), None)

    # ------------------------------------------------------------------ placing

    def _choose(self, action: StartChild) -> tuple[str, int]:
        members = list(self._members())
        spec = action.spec
        wish = Wish(
            action.child_id,
            spec.behavior if isinstance(spec.behavior, str) else spec.behavior.__qualname__,
            spec.node_selector if spec.node_selector is not None else self._default_selector,
            frozenset(action.exclude_nodes),
            failover=action.why == "failover",
        )
        chosen = self._placement.choose_softly(wish, members, self._kernel.clock.now())
        return next((m.id, m.incarnation) for m in members if m.id == chosen)

    # ------------------------------------------------------------------ asking hosts

    async def _ask(self, life: tuple[str, int], request: tuple[Any, ...], timeout: Any) -> Any:
        host = self._kernel.named_ref(HOST, *life)
        return await host.call(request, timeout=timeout)

    async def _spawn(self, action: StartChild, life: tuple[str, int], report: Report) -> Event:
        request = self._spawn_request(action)
        silent = False
        while True:
            try:
                answer = await self._ask(life, request, defaults.SPAWN_TIMEOUT + ANSWER_MARGIN)
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

    def _spawn_request(self, action: StartChild) -> tuple[Any, ...]:
        spec = action.spec
        order = (
            spec.behavior,
            tuple(spec.args),
            dict(spec.kwargs),
            spec.shutdown,
            defaults.SPAWN_TIMEOUT,
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
        if isinstance(value, BehaviorNotFoundError):  # advertised, but gone: others may have it
            return self._failed(action, life, value, "node_lost")
        if not isinstance(value, Exception):
            cause = value
            value = InitFailedError(str(action.spec.behavior))
            value.__cause__ = InterruptedError(f"it ended during its start, reason {cause!r}")
        return self._failed(action, life, value, "init")

    def _failed(
        self, action: StartChild, life: tuple[str, int], error: Exception, kind: Any
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
            except (CallTimeoutError, OverloadedError):
                await asyncio.sleep(ASK_AGAIN)


def _stop_timeout(shutdown: Any, kill_grace: float) -> float | None:
    if shutdown == "infinity":
        return None
    seconds = 0.0 if shutdown == "brutal_kill" else float(shutdown)
    return seconds + kill_grace + ANSWER_MARGIN
