"""The handle of a supervisor: what programs hold, here or on another node."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from noex.runtime.checks import check_handler, check_name, check_timeout
from noex.runtime.current import handler_process
from noex.runtime.errors import (
    CallCycleError,
    MessageSerializationError,
    NodeNotReachableError,
    NoexError,
    NoProcessError,
    ServerCrashedError,
)
from noex.runtime.ref import Ref, check_ref
from noex.runtime.states import STARTING
from noex.supervisor.direct_calls import call_uncopied
from noex.supervisor.errors import DISTRIBUTED_ERRORS, LOCAL_ERRORS, ErrorFamily
from noex.supervisor.info import ChildInfo, SupervisorStats
from noex.supervisor.lifecycle import EventStream, LifecycleEvents, lifecycle_of
from noex.supervisor.obituaries import reason_of, watch
from noex.supervisor.spec import ChildSpec
from noex.supervisor.subscribers import EventRelay

STARTING_CHILDREN: Final = "it is still starting its initial children"
QUERY_TIMEOUT: Final = 5.0
WORK_TIMEOUT: Final = 60.0
"""Seconds for requests that start or stop processes, which take their own time."""


def is_starting(ref: Ref[Any]) -> bool:
    """Whether a supervisor on this node is in its initial start, and so answers nobody."""
    process = ref.kernel.find(ref) if ref.is_local else None
    return process is not None and process.status == STARTING


async def call_supervisor(
    ref: Ref[Any], message: Any, timeout: float | None, distributed: bool
) -> Any:
    """Call a supervisor's process; what only a local one may hold is not made to travel."""
    if ref.kernel.copier is not None and ref.is_local and not distributed:
        return await call_uncopied(ref, message, timeout)
    return await ref.call(message, timeout=timeout)


@dataclass(frozen=True)
class SupervisorHandle:
    """A running supervisor: what `start`, `ensure` and `find` return.

    `id` is its name, or a made one; `ref` its process. The handle of a distributed supervisor works
    from every node, and can be sent in messages.

    Every method that asks it takes `timeout=` seconds (None: no limit; by default 5 for questions,
    60 for what starts or stops processes) and raises `CallTimeoutError` after it, and
    `SupervisorError` (`DistributedSupervisorError`) when the supervisor is gone, with the reason
    as its cause. Two handles of one supervisor are equal.
    """

    id: str
    ref: Ref[Any]
    distributed: bool = False

    @property
    def node_id(self) -> str:
        """The node on which the supervisor itself runs."""
        return self.ref.node_id

    @property
    def _errors(self) -> ErrorFamily:
        return DISTRIBUTED_ERRORS if self.distributed else LOCAL_ERRORS

    # ------------------------------------------------------------------ children

    async def start_child(
        self, child: ChildSpec | Sequence[Any], *, timeout: float | None = WORK_TIMEOUT
    ) -> Any:
        """Start a child, from a spec, or for ``simple_one_for_one`` from a list of args.

        Returns its `Ref`, or None if its `init` said Ignore. Raises, and leaves nothing behind:
        `DuplicateChildError`; `ChildStartError` with the cause; `InvalidChildSpecError`;
        `InvalidSimpleOneForOneError` for the wrong kind of argument. A distributed one also
        `NoAvailableNodeError`, `DistributedBehaviorNotFoundError`, and `MessageSerializationError`
        for arguments that cannot travel. Only ``ChildStartError.outcome == "unknown"`` leaves the
        child, as pending: its host was silent.
        """
        try:
            return await self._work("start_child", child, timeout)
        except MessageSerializationError as error:
            operation, path, reason = error.args
            if operation != "call":
                raise
        raise MessageSerializationError("start_child", _path_of(path), reason)

    async def terminate_child(self, child_id: str, *, timeout: float | None = WORK_TIMEOUT) -> None:
        """Stop a child and remove it; when this returns, its process is gone.

        Raises `ChildNotFoundError`.
        """
        check_name(child_id, "child_id")
        await self._work("terminate_child", child_id, timeout)

    async def restart_child(self, child_id: str, *, timeout: float | None = WORK_TIMEOUT) -> Any:
        """Stop a child and start it again, in its place; not counted as a failure.

        Returns its new `Ref`, perhaps on another node, or None if its `init` said Ignore. It adds 1
        to the child's `restart_count`. Raises `ChildNotFoundError`; `ChildStartError` and
        `NoAvailableNodeError` leave the child pending.
        """
        check_name(child_id, "child_id")
        return await self._work("restart_child", child_id, timeout)

    async def get_children(self, *, timeout: float | None = QUERY_TIMEOUT) -> list[ChildInfo]:
        """All children as of now, in start order, those without a process included."""
        children: list[ChildInfo] = await self._ask(("children",), timeout)
        return children

    async def get_child(
        self, child_id: str, *, timeout: float | None = QUERY_TIMEOUT
    ) -> ChildInfo | None:
        """One child as of now, or None if there is none of this id."""
        check_name(child_id, "child_id")
        child: ChildInfo | None = await self._ask(("child", child_id), timeout)
        return child

    async def count_children(self, *, timeout: float | None = QUERY_TIMEOUT) -> int:
        """How many children there are, in any status."""
        count: int = await self._ask(("count",), timeout)
        return count

    async def which_child(
        self, ref: Ref[Any], *, timeout: float | None = QUERY_TIMEOUT
    ) -> str | None:
        """The id of the child whose process is `ref`, or None."""
        check_ref(ref)
        child_id: str | None = await self._ask(("which", ref), timeout)
        return child_id

    async def explain(self, child_id: str, *, timeout: float | None = QUERY_TIMEOUT) -> str:
        """Why this child is where it is, or why it is pending: one sentence for people."""
        check_name(child_id, "child_id")
        sentence: str = await self._ask(("explain", child_id), timeout)
        return sentence

    # ------------------------------------------------------------------ the supervisor

    async def get_stats(self, *, timeout: float | None = QUERY_TIMEOUT) -> SupervisorStats:
        """The supervisor in numbers."""
        stats: SupervisorStats = await self._ask(("stats",), timeout)
        return stats

    async def is_running(self, *, timeout: float | None = QUERY_TIMEOUT) -> bool:
        """Whether it is alive; False when its node is lost."""
        return await self.ref.is_alive(timeout=timeout)

    async def stop(self, reason: Any = "normal", *, timeout: float | None = WORK_TIMEOUT) -> None:
        """Stop its children in reverse start order, then the supervisor.

        When this returns, all of them are gone, on every node. It is fine if the supervisor is
        gone already. `reason` is the exit reason that its own monitors see; children get
        ``"shutdown"``. Raises `CallTimeoutError`; it goes on stopping then.
        """
        self._refuse_own_child()
        watch(self.ref)
        try:
            await self.ref.stop(reason, timeout=timeout)
        except (NoProcessError, ServerCrashedError):  # it was gone, or gave up at that moment
            pass

    async def wait(self, *, timeout: float | None = None) -> Any:
        """Wait until it has ended; returns the reason (``"noproc"`` if it was gone long ago).

        After giving up the reason is ``("shutdown", MaxRestartsExceededError)``. Raises
        TimeoutError after `timeout` seconds (None: no limit).
        """
        return await watch(self.ref).wait(timeout)

    # ------------------------------------------------------------------ events

    def on_lifecycle_event(self, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Call `handler` with each event from now on; returns the function that ends this.

        The handler runs on the loop, in order, later than what it tells of. One that raises is
        logged, and harms nobody. For events from before `start` returns, those of the initial
        children, use `node.on_lifecycle_event`. From another node the subscription begins when the
        supervisor has heard of it.
        """
        check_handler(handler)
        if self.ref.is_local:
            return lifecycle_of(self.ref.kernel).subscribe(handler, self.ref)
        alone = LifecycleEvents()  # of another node: not among the events of this one
        alone.subscribe(handler)
        return self._relay(lambda event: alone.publish(self.ref, event), lambda: None)

    def events(self) -> EventStream:
        """The events from now on: ``async for event in sup.events()``. Ends with the supervisor.

        A reader that is more than 1024 events behind misses some, and finds `EventsLost` there.
        ``stream.close()`` ends it sooner.
        """
        stream = EventStream(self.id)
        if not self.ref.is_local:
            stream.attach(self._relay(stream.put, stream.close))
            return stream
        unsubscribe = lifecycle_of(self.ref.kernel).subscribe(stream.put, self.ref)
        monitor = self.ref.kernel.monitor(self.ref)
        loop = asyncio.get_running_loop()
        # Later than the events that the supervisor published in its last turn.
        monitor.waiter().add_done_callback(lambda _: loop.call_soon(stream.close))

        def end() -> None:
            unsubscribe()
            monitor.cancel()

        stream.attach(end)
        return stream

    def _relay(self, sink: Callable[[Any], None], on_end: Callable[[], None]) -> Callable[[], None]:
        """Have the events of a supervisor elsewhere sent here."""
        kernel = self.ref.kernel
        starting = kernel.loop.create_task(
            kernel.start(EventRelay, (self.ref, self.id, sink, on_end)),
            context=contextvars.copy_context(),
        )

        def stop() -> None:
            if not starting.done():
                starting.cancel()
            elif not starting.cancelled() and starting.exception() is None:
                relay = starting.result()
                if relay is not None:
                    kernel.ask_to_stop(relay, "normal")

        return stop

    # ------------------------------------------------------------------ asking

    async def _work(self, kind: str, subject: Any, timeout: float | None) -> Any:
        self._refuse_own_child()
        return await self._ask((kind, subject), timeout)

    async def _ask(self, message: Any, timeout: float | None) -> Any:
        check_timeout(timeout)
        watch(self.ref)
        self._refuse_while_starting()
        try:
            return await call_supervisor(self.ref, message, timeout, self.distributed)
        except (NoProcessError, ServerCrashedError) as error:
            if error.args[0] != self.ref:  # an error of a child, as an answer
                raise
            gone, cause = self._gone(error)
        except NodeNotReachableError as error:
            if error.args[0] != self.node_id:
                raise
            gone, cause = self._gone(error)
        raise gone from cause

    def _gone(self, error: NoexError) -> tuple[NoexError, BaseException]:
        """The supervisor is not there: say why, if that is known."""
        reason = error.args[1] if isinstance(error, ServerCrashedError) else reason_of(self.ref)
        told = self._errors.supervisor(self.id, f"it has ended, reason {reason!r}")
        if isinstance(reason, tuple) and len(reason) == 2:
            reason = reason[1]
        return told, reason if isinstance(reason, BaseException) else error

    def _refuse_while_starting(self) -> None:
        """A child that asks its supervisor from `init` gets an error, not a deadlock."""
        if is_starting(self.ref):
            raise self._errors.supervisor(self.id, STARTING_CHILDREN)

    def _refuse_own_child(self) -> None:
        """A child may not change its supervisor from `init`, which the supervisor waits for."""
        process = handler_process()
        if process is not None and process.status == STARTING and process.parent == self.ref:
            raise CallCycleError(self.ref)


def _path_of(path: str) -> str:
    """A path in the request, as the caller knows it: ``args[0].conn`` of the child."""
    if path.startswith("message[1]."):  # of a ChildSpec
        return path.removeprefix("message[1].")
    return path.replace("message[1]", "args", 1)
