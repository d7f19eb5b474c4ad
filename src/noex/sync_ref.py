"""Refs, monitors, timers and event streams for threads without a loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from noex.node_events import Subscription
from noex.runtime.errors import CallTimeoutError, NodeStoppedError
from noex.runtime.genserver import Timer
from noex.runtime.messages import Down
from noex.runtime.monitors import Monitor
from noex.runtime.proxy import DEFAULT_TIMEOUT, RemoteCast
from noex.runtime.reasons import NORMAL
from noex.runtime.ref import Ref
from noex.runtime.typed import Request
from noex.supervisor.lifecycle import EventStream
from noex.sync_face import TO_FACE, TO_PLAIN, Face, blocked, convert, grace, plain_arguments
from noex.sync_job import QuickJob
from noex.sync_loop import POST_LIMIT, LoopThread

R = TypeVar("R")
G_co = TypeVar("G_co", covariant=True)


class BlockingRef(Face[Ref[G_co]], Generic[G_co]):
    """The address of a process, as `Ref`, for threads without a loop. Safe in many at once.

    `plain` is the `Ref` itself, for code that runs on the loop. Two of one process are equal, and
    equal to its `Ref`.
    """

    __slots__ = ()

    @property
    def node_id(self) -> str:
        """The node to which the process belongs."""
        return self._plain.node_id

    @property
    def incarnation(self) -> int:
        """The life of that node."""
        return self._plain.incarnation

    @property
    def serial(self) -> int:
        """The number of the process in that life; 0 for a name."""
        return self._plain.serial

    @property
    def is_local(self) -> bool:
        """Whether the process belongs to the node through which this ref was obtained."""
        return self._plain.is_local

    @property
    def is_name(self) -> bool:
        """Whether this is a name, resolved anew at each use."""
        return self._plain.is_name

    @property
    def plain(self) -> Ref[G_co]:
        """The `Ref` itself, for code that runs on the loop."""
        return self._plain

    @property
    def proxy(self) -> Any:
        """Its methods marked `@call` and `@cast`: ``ref.proxy.add(5)``, ``ref.proxy.add.cast(5)``,
        ``ref.proxy.add.with_timeout(0.5)(5)``.

        Type checkers know nothing of them here; ``node.run(ref.plain.proxy.add, 5)`` is the same
        call with the signature checked.
        """
        return BlockingProxy(self)

    @overload
    def call(self, message: Request[R], *, timeout: float | None = 5.0) -> R: ...
    @overload  # without it mypy takes ``text: str = ref.call(Get())`` for right
    def call(  # type: ignore[overload-cannot-match]
        self, message: Request[object], *, timeout: float | None = 5.0
    ) -> object: ...
    @overload
    def call(self, message: Any, *, timeout: float | None = 5.0) -> Any: ...
    def call(self, message: Any, *, timeout: float | None = 5.0) -> Any:
        """Send a request and wait for the reply; as `Ref.call`.

        `timeout`: seconds, or None for no limit; Ctrl-C ends the wait in any case, and the request
        is withdrawn. Raises what `Ref.call` raises, `BlockingCallError` on a thread that runs a
        loop (a handler does), and `NodeStoppedError`.
        """
        kwargs = {"timeout": timeout}
        return self._invoke(self._plain.call, (message,), kwargs, timeout, QuickJob)

    def cast(self, message: Any) -> bool:
        """Send `message` to `handle_cast`, without waiting; as `Ref.cast`.

        For a process here True says that the message is on its way, in order with all else that
        this thread sends. To another node it waits until the loop has taken the message, so that
        one that cannot travel raises `MessageSerializationError` at this line. Works in a handler.
        """
        return bool(self.post(self._plain.cast, message))

    def send(self, message: Any) -> bool:
        """Send `message` to `handle_info`; like `cast` otherwise."""
        return bool(self.post(self._plain.send, message))

    def exit(self, reason: Any) -> None:
        """Send an exit signal, and do not wait; as `Ref.exit`."""
        self.post(self._plain.exit, reason)

    def post(self, do: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Have `do`, which sends something to this process, done without waiting for it.

        Returns what `do` would, as far as that is known (see `cast`).
        """
        thread, ref, kernel = self._thread, self._plain, self._plain.kernel
        if not thread.may_post():
            return False
        if not thread.is_current() and (kernel.guarded or not kernel.is_own(ref)):
            try:
                return self._invoke(do, args, kwargs, POST_LIMIT)
            except (CallTimeoutError, NodeStoppedError):
                return False
        args, kwargs = plain_arguments(thread, args, kwargs)
        if thread.is_current():
            return do(*args, **kwargs)
        known = kernel.find(ref) is not None
        return thread.post(functools.partial(do, *args, **kwargs)) and known

    def stop(self, reason: Any = NORMAL, *, timeout: float | None = 5.0) -> None:
        """Stop it after the messages that are queued, and wait until it is gone.

        As `Ref.stop`: raises `NoProcessError`, and `CallTimeoutError` after `timeout` seconds.
        """
        self._call("stop", reason, timeout=timeout)

    wait = blocked(Ref.wait)
    is_alive = blocked(Ref.is_alive)
    resolve = blocked(Ref.resolve)
    info = blocked(Ref.info)
    statistics = blocked(Ref.statistics)
    get_state = blocked(Ref.get_state)
    replace_state = blocked(Ref.replace_state)
    suspend = blocked(Ref.suspend)
    resume = blocked(Ref.resume)
    trace = blocked(Ref.trace)
    untrace = blocked(Ref.untrace)

    def _late(self, timeout: Any) -> Exception:
        return CallTimeoutError(self._plain, timeout)


class BlockingProxy:
    """The methods of a process, by name: what `BlockingRef.proxy` returns."""

    __slots__ = ("_ref",)

    def __init__(self, ref: BlockingRef[Any]) -> None:
        self._ref = ref

    def __repr__(self) -> str:
        return f"<proxy of {self._ref}>"

    def __getattr__(self, name: str) -> BlockingMethod:
        return BlockingMethod(self._ref, getattr(self._ref.plain.proxy, name))


class BlockingMethod:
    """A method marked `@call` or `@cast`, to be called from a thread without a loop."""

    __slots__ = ("_plain", "_ref", "_timeout")

    def __init__(
        self,
        ref: BlockingRef[Any],
        plain: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        self._ref = ref
        self._plain = plain
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<blocking {self._plain!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and wait for the reply, if it is one that replies; see `RemoteCall`."""
        if isinstance(self._plain, RemoteCast):
            return self.cast(*args, **kwargs)
        return self._ref._invoke(self._plain, args, kwargs, self._timeout, QuickJob)

    def cast(self, *args: Any, **kwargs: Any) -> bool:
        """Have it run without waiting, as `BlockingRef.cast`; its reply is dropped."""
        return bool(self._ref.post(self._plain.cast, *args, **kwargs))

    def with_timeout(self, timeout: float | None) -> BlockingMethod:
        """The same method with another timeout, in seconds (by default 5), or None for no limit."""
        return BlockingMethod(self._ref, self._plain.with_timeout(timeout), timeout)


class BlockingMonitor(Face[Monitor]):
    """A watch over one process, as `Monitor`: ``reason = node.monitor(ref).wait()``."""

    __slots__ = ()

    @property
    def ref(self) -> BlockingRef[Any]:
        """The process that is watched."""
        return BlockingRef(self._thread, self._plain.ref)

    @property
    def active(self) -> bool:
        """Whether the `Down` is still to come (False once it fired or was cancelled)."""
        return self._plain.active

    @property
    def reason(self) -> Any:
        """The exit reason, once it has fired."""
        return self._plain.reason

    wait = blocked(Monitor.wait)
    cancel = blocked(Monitor.cancel)

    def __iter__(self) -> Iterator[Down]:
        """Wait for the one `Down`, and yield it; nothing when the monitor is cancelled."""
        try:
            reason = self.wait()
        except RuntimeError:
            return
        yield Down(self, self.ref, reason)


class BlockingTimer(Face[Timer]):
    """A message to come, as `Timer`."""

    __slots__ = ()

    cancel = blocked(Timer.cancel)


class BlockingEvents(Face[Any]):
    """``for event in node.events()``: from the call on, until the node or the supervisor ends.

    One thread may read while another closes it. As a context manager it closes itself.
    """

    __slots__ = ()

    def __iter__(self) -> BlockingEvents:
        return self

    def __next__(self) -> Any:
        try:
            return self.get()
        except StopAsyncIteration:
            raise StopIteration from None

    def get(self, timeout: float | None = None) -> Any:
        """The next event. Raises TimeoutError when there is none for `timeout` seconds (None: no
        limit), and StopAsyncIteration when there will be no more.
        """
        try:
            next_event = functools.partial(_next, self._plain, timeout)
            event = self._thread.run(next_event, limit=grace(timeout))
        except NodeStoppedError:
            if not self._thread.was_stopped:
                raise
            raise StopAsyncIteration from None
        return convert(TO_FACE, self._thread, event)

    def close(self) -> None:
        """No more events after those that are queued. Fine when the node is gone."""
        self._thread.post(self._plain.close)

    def __enter__(self) -> BlockingEvents:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


async def _next(events: AsyncIterator[Any], timeout: float | None) -> Any:
    async with asyncio.timeout(timeout):
        return await anext(events)


def at_home(thread: LoopThread, ref: Ref[Any]) -> Ref[Any]:
    """The ref as the node of `thread` has it: one of another loop must not be used on this one."""
    kernel = thread.kernel
    if kernel is None or ref.kernel is kernel:
        return ref
    there: Ref[Any] = kernel.ref_for(ref.node_id, ref.incarnation, ref.serial, ref.label)
    there.casts = ref.casts
    return there


def _down(thread: LoopThread, down: Down) -> Down:
    return replace(down, ref=convert(TO_FACE, thread, down.ref))


TO_FACE.update(
    {
        Ref: BlockingRef,
        Monitor: BlockingMonitor,
        Timer: BlockingTimer,
        Subscription: BlockingEvents,
        EventStream: BlockingEvents,
        Down: _down,
    }
)
TO_PLAIN.update(
    {
        Ref: at_home,
        BlockingRef: lambda thread, face: at_home(thread, face.plain),
        BlockingMonitor: lambda _thread, face: face.plain,
        BlockingTimer: lambda _thread, face: face.plain,
        BlockingEvents: lambda _thread, face: face.plain,
    }
)
