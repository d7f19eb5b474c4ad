"""What users ask for (rule 9), and when it is served.

- `terminate_child` and `stop`: at once, whatever is going on.
- `start_child`, `restart_child`: at once, but behind a group restart that is stopping or starting
  children; while that waits for a retry or a node, they are served.
- During the initial start and during the end: refused at once, with an error that says so. So a
  child that calls its own supervisor from `init` then gets an error, not a deadlock.
"""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Sequence

from noex.runtime.errors import NoexError
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_child import After, Child, Phase, Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_events import (
    RestartChildRequested,
    StartChildRequested,
    StopRequested,
    TerminateChildRequested,
)
from noex.supervisor.strategy_single import RestartStrategy

_brief = reprlib.Repr().repr
MAX_QUEUED = 10_000
"""More requests than this behind one group restart are refused."""

Queued = StartChildRequested | RestartChildRequested


class Requests:
    """The requests, and the queue of those that wait."""

    def __init__(self, core: Core, strategy: RestartStrategy) -> None:
        self._core = core
        self._strategy = strategy
        self._queue: deque[Queued] = deque()

    @property
    def waiting_ids(self) -> list[int]:
        """The ids of the requests that wait for a group restart."""
        return [request.request_id for request in self._queue]

    def refuse(self, request: Queued | TerminateChildRequested, why: str) -> None:
        """Answer that the supervisor cannot serve this now."""
        core = self._core
        core.open_requests.add(request.request_id)
        error = core.errors.supervisor(core.supervisor_id, why)
        if core.ending is not None and isinstance(core.ending.exit_reason, tuple):
            cause = core.ending.exit_reason[1]
            error.__cause__ = cause if isinstance(cause, BaseException) else None
        core.answer(request.request_id, error=error)

    def refuse_queued(self, why: str) -> None:
        """The supervisor ends: nothing of the queue will be done."""
        while self._queue:
            self.refuse(self._queue.popleft(), why)

    def asked(self, request: Queued) -> None:
        """A request that starts a child."""
        if len(self._queue) >= MAX_QUEUED:
            self.refuse(request, f"{MAX_QUEUED} requests wait for a group restart already")
            return
        self._core.open_requests.add(request.request_id)
        self._queue.append(request)

    def serve(self) -> bool:
        """Serve one request; False if there is none, or it has to wait."""
        if not self._queue or self._strategy.is_busy:
            return False
        request = self._queue.popleft()
        if isinstance(request, StartChildRequested):
            self._start(request)
        else:
            self._restart(request)
        return True

    def stop_requested(self, request: StopRequested) -> None:
        self._core.end(request.reason, request.reason)

    # start_child

    def _start(self, request: StartChildRequested) -> None:
        try:
            spec = self._spec(request.child)
        except NoexError as error:
            self._core.answer(request.request_id, error=error)
            return
        child = self._core.add(spec, "requested", request.request_id)
        self._core.await_turn(child)

    def _spec(self, child: ChildSpec | Sequence[object]) -> ChildSpec:
        core = self._core
        if core.options.is_simple:
            return self._spec_of_template(child)
        if not isinstance(child, ChildSpec):
            raise core.errors.invalid_simple(
                core.supervisor_id,
                f"start_child takes a ChildSpec with strategy={core.options.strategy!r}; "
                f"a list of args goes with simple_one_for_one; this is {_brief(child)}",
            )
        core.options.check_child(child)
        if child.id in core.children:
            raise core.errors.duplicate(core.supervisor_id, child.id)
        return child

    def _spec_of_template(self, args: ChildSpec | Sequence[object]) -> ChildSpec:
        core = self._core
        template = core.options.child_template
        if template is None:
            raise core.errors.missing_template(core.supervisor_id)
        if isinstance(args, ChildSpec | str | bytes) or not isinstance(args, Sequence):
            raise core.errors.invalid_simple(
                core.supervisor_id,
                "start_child takes the list of args with simple_one_for_one, not a ChildSpec; "
                f"this is {_brief(args)}",
            )
        core.last_dynamic += 1
        return template.spec(f"child_{core.last_dynamic}", args)

    # terminate_child

    def terminate(self, request: TerminateChildRequested) -> None:
        core = self._core
        core.open_requests.add(request.request_id)
        child = core.children.get(request.child_id)
        if child is None:
            error = core.errors.not_found(core.supervisor_id, request.child_id)
            core.answer(request.request_id, error=error)
            return
        child.terminators.append(request.request_id)
        if core.ending is None:  # else its turn to be stopped comes anyway
            core.stop(child, After.REMOVE)

    # restart_child

    def _restart(self, request: RestartChildRequested) -> None:
        core = self._core
        child = core.children.get(request.child_id)
        if child is None or child.after is After.REMOVE:
            error = core.errors.not_found(core.supervisor_id, request.child_id)
            core.answer(request.request_id, error=error)
            return
        child.waiters.append(request.request_id)
        if child.phase in (Phase.RUNNING, Phase.UNCONFIRMED):
            child.why, child.fallback = "manual", Wait.HOLD
            core.stop(child, After.RESTART)
        elif child.phase is Phase.WAITING:
            self._try_now(child)

    def _try_now(self, child: Child) -> None:
        """It has no process: try it now. A retry that was due goes on if this fails."""
        if child.wait is Wait.TURN and not child.grouped:
            return
        held = child.wait in (Wait.HOLD, Wait.IGNORED)
        child.fallback = Wait.HOLD if held else Wait.RETRY
        self._strategy.restart_now(child)
