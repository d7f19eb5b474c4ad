"""Refs: how processes are addressed, wherever they live.

A ref names one process of one life of a node: `(node id, incarnation, serial)`. It never leads to
a process of a later life. A ref with serial 0 names whoever has the local name `label` there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, overload

from noex.runtime import system
from noex.runtime.checks import check_patience, check_timeout
from noex.runtime.crossing import may_call_inline
from noex.runtime.errors import InvalidOptionError, NoProcessError
from noex.runtime.execution import OpenReply, call_inline
from noex.runtime.proxy import Proxy
from noex.runtime.reasons import NORMAL
from noex.runtime.states import CAST, IDLE, INFO
from noex.runtime.typed import Request
from noex.runtime.waiting import reply_to

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from typing_extensions import TypeVar

    from noex.runtime.info import ProcessInfo, ProcessStatistics
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process
    from noex.runtime.tracing import TraceEvent

    G_co = TypeVar("G_co", covariant=True, default=Any)  # a bare `Ref` is a Ref[Any]
else:
    from typing import TypeVar

    G_co = TypeVar("G_co", covariant=True)

R = TypeVar("R")


def check_ref(ref: Any, field: str = "ref") -> None:
    """Refuse what is no `Ref`."""
    if not isinstance(ref, Ref):
        raise InvalidOptionError(field, ref, "the Ref of a process")


class Ref(Generic[G_co]):
    """The address of a process. Hashable, comparable, sendable in messages.

    It works the same for a process here and on another node. `node_id` and `incarnation` name the
    life of the node it belongs to, `serial` the process; a ref of an earlier life never reaches a
    process of a later one. ``node.ref(name)`` is a name as an address, resolved at each use.

    Every `timeout` is in seconds, by default 5, or None for no limit; `CallTimeoutError` comes
    after it. `wait` alone has no limit by default, and raises a plain TimeoutError.
    """

    __slots__ = (
        "__weakref__",
        "casts",
        "incarnation",
        "kernel",
        "label",
        "node_id",
        "process",
        "serial",
    )

    def __init__(
        self,
        kernel: Kernel,
        node_id: str,
        incarnation: int,
        serial: int,
        label: str | None = None,
    ) -> None:
        self.kernel = kernel
        self.node_id = node_id
        self.incarnation = incarnation
        self.serial = serial
        self.label = label
        self.process: Process | None = None  # while it lives here
        self.casts: tuple[str, ...] = ()  # its methods marked `@cast`, for `proxy`

    def __repr__(self) -> str:
        if self.serial == 0:
            return f"<name {self.label!r} at {self.node_id}>"
        return f"<{self.label or 'process'} #{self.serial} at {self.node_id}>"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Ref):
            return NotImplemented
        return (
            self.serial == other.serial
            and self.node_id == other.node_id
            and self.incarnation == other.incarnation
            and (self.serial != 0 or self.label == other.label)
        )

    def __hash__(self) -> int:
        return hash((self.node_id, self.incarnation, self.serial))

    @property
    def is_local(self) -> bool:
        """Whether the process belongs to the node through which this ref was obtained."""
        return self.kernel.is_own(self)

    @property
    def is_name(self) -> bool:
        """Whether this is a name, resolved anew at each use."""
        return self.serial == 0

    @property
    def proxy(self) -> type[G_co]:
        """Its methods marked `@call` and `@cast`, with their own signatures.

        ``await ref.proxy.add(5)``, ``ref.proxy.add.cast(5)``,
        ``await ref.proxy.add.with_timeout(0.5)(5)``. See `RemoteCall` for what is raised.
        """
        return Proxy(self)  # type: ignore[return-value]  # it has the methods of the class

    @overload
    async def call(self, message: Request[R], *, timeout: float | None = 5.0) -> R: ...
    @overload  # without it mypy takes ``text: str = await ref.call(Get())`` for right
    async def call(  # type: ignore[overload-cannot-match]
        self, message: Request[object], *, timeout: float | None = 5.0
    ) -> object: ...
    @overload
    async def call(self, message: Any, *, timeout: float | None = 5.0) -> Any: ...
    async def call(self, message: Any, *, timeout: float | None = 5.0) -> Any:
        """Send a request and wait for the reply.

        `timeout`: seconds, or None for no limit. Raises `CallTimeoutError`, `NoProcessError`,
        `ServerCrashedError(reason)` when the target ends before it replied,
        `NodeNotReachableError` when its node is lost, `OverloadedError`, `CallCycleError`, and
        `MessageSerializationError` when `message` cannot travel. A local call that timed out
        before its turn is not executed; a remote one may still be.
        """
        if timeout is not None and not (type(timeout) is float and timeout > 0):
            check_timeout(timeout)
        process, kernel = self.process, self.kernel
        if (
            process is not None
            and process.status == IDLE
            and (not kernel.guarded or may_call_inline(kernel))
            and (kernel.turns.may_run() or await self._turn_comes(process))
        ):
            reply = call_inline(process, message)
            if type(reply) is not OpenReply:
                return reply
            if reply.caller.future.done():
                return reply.caller.future.result()
            return await reply_to(kernel, reply.caller, timeout)
        return await kernel.call(self, message, timeout)

    async def _turn_comes(self, process: Process) -> bool:
        """Wait until the loop had its due. Whether the call may still run in this turn."""
        kernel = self.kernel
        may_run = await kernel.turns.comes() and process.status == IDLE
        return may_run and (not kernel.guarded or may_call_inline(kernel))

    def cast(self, message: Any) -> bool:
        """Send `message` to `handle_cast`, without waiting.

        Returns False when it is known already that it will not arrive. Never raises because of
        the target; only a message that cannot travel raises `MessageSerializationError`.
        """
        process, kernel = self.process, self.kernel
        if kernel.guarded:
            return kernel.cast(self, message)
        if process is not None:
            return process.deliver((CAST, message, None))
        if kernel.remote is not None and self.node_id != kernel.node_id:
            return kernel.remote.cast(self, message)
        return kernel.cast(self, message)

    def send(self, message: Any) -> bool:
        """Send `message` to `handle_info`; like `cast` otherwise."""
        process = self.process
        if process is None or self.kernel.guarded:
            return self.kernel.send(self, message)
        return process.deliver((INFO, message, None))

    def exit(self, reason: Any) -> None:
        """Send an exit signal, and do not wait.

        The process ends with `reason`, after `terminate` if it has one; a process that traps exits
        gets an `Exit` message instead. ``"kill"`` cannot be trapped and runs no `terminate`: the
        reason that others see is ``"killed"``. ``"normal"`` is ignored. Never raises because of
        the target.
        """
        self.kernel.exit(self, reason)

    async def stop(self, reason: Any = NORMAL, *, timeout: float | None = 5.0) -> None:
        """Stop it after the messages that are queued, and wait until it is gone.

        `reason` is what `terminate` and its monitors get; `timeout` is seconds, or None.
        Raises `NoProcessError` if it is not alive, `CallTimeoutError` after `timeout` seconds
        (it may still stop later), and `ServerCrashedError(reason)` if it ended for another reason
        first: it crashed on a message before this one, say, or was killed.
        """
        check_timeout(timeout)
        try:
            await self.kernel.stop_process(self, reason, timeout)
        except NoProcessError:
            await self.kernel.turns.give_way()
            raise

    async def wait(self, timeout: float | None = None) -> Any:
        """Wait until it is gone; returns the exit reason (``"noproc"`` if it was gone before).

        Raises TimeoutError after `timeout` seconds (0: it only looks; None: no limit).
        """
        check_patience(timeout)
        monitor = self.kernel.monitor(self)  # first of all: the reason of an end from now on counts
        try:
            await self.kernel.turns.give_way()
            return await monitor.wait(timeout)
        finally:
            monitor.cancel()

    async def is_alive(self, *, timeout: float | None = 5.0) -> bool:
        """Whether it lives now. Asks the other node if it is remote; False if that is lost.

        Raises `CallTimeoutError` when that node says nothing for `timeout` seconds.
        """
        check_timeout(timeout)
        await self.kernel.turns.give_way()
        return await self.kernel.is_alive(self, timeout)

    async def resolve(self, *, timeout: float | None = 5.0) -> Ref[G_co] | None:
        """Whom a name leads to now, on any node: the ref of that process, or None.

        Of a ref that is no name: itself while it lives. Raises `CallTimeoutError`, and
        `NodeNotReachableError` when its node is lost.
        """
        try:
            return (await self.info(timeout=timeout)).ref
        except NoProcessError:
            return None

    # ------------------------------------------------------------------ looking inside

    async def info(self, *, timeout: float | None = 5.0) -> ProcessInfo:
        """What it is, and what it is doing: answered at once, also by a busy or suspended process.

        Raises what `call` raises, but is never refused for being busy.
        """
        info: ProcessInfo = await self._ask("info", timeout=timeout)
        return info

    async def statistics(self, *, timeout: float | None = 5.0) -> ProcessStatistics:
        """What it has done so far, and what it has open: answered at once, like `info`."""
        statistics: ProcessStatistics = await self._ask("statistics", timeout=timeout)
        return statistics

    async def get_state(self, *, timeout: float | None = 5.0) -> Any:
        """Its state, after the messages that are queued; at once while it is suspended.

        On one node that is the very object: look, and leave it as it is. From another node it is a
        copy, and a state that cannot travel raises `MessageSerializationError`. For tests and
        repairs; programs ask by a `call` of their own. Raises what `call` raises.
        """
        return await self._ask("get_state", timeout=timeout)

    async def replace_state(self, state: Any, *, timeout: float | None = 5.0) -> None:
        """Give it another state, after the messages that are queued; at once while suspended.

        No callback runs for it. Raises what `call` raises.
        """
        await self._ask("replace_state", state, timeout=timeout)

    async def suspend(self, *, timeout: float | None = 5.0) -> None:
        """Have it handle nothing until `resume`, after the messages that are queued.

        What comes waits in its mailbox, so calls time out. `info`, `get_state` and the other
        questions here are answered, and `stop`, `exit` and exit signals of links end it as ever.
        To suspend it again changes nothing. Raises what `call` raises.
        """
        await self._ask("suspend", timeout=timeout)

    async def resume(self, *, timeout: float | None = 5.0) -> None:
        """Have it go on, with what has come meanwhile, in order. Nothing if it is not suspended."""
        await self._ask("resume", timeout=timeout)

    async def trace(
        self,
        hook: Callable[[TraceEvent], object] | bool = True,
        *,
        id: Hashable = None,
        timeout: float | None = 5.0,
    ) -> None:
        """Tell of each message to it, and of each answer to a call, from now on.

        - ``trace()``: in the log, one `process_trace` for each.
        - ``trace(hook)``: `hook` is called with each `TraceEvent`. Only on its own node. The same
          hook installed twice is called once, unless under another `id`. One that raises is
          logged, and removed.
        - ``trace(False)``: no more of all this; `untrace` ends one.

        A process that is not traced pays nothing. Raises `InvalidOptionError`, and what `call`
        raises.
        """
        if hook is False:
            await self._ask("untrace", timeout=timeout)
        elif hook is True or self.is_local:
            await self._ask("trace", hook, id, timeout=timeout)
        else:
            reason = f"a function does not travel to {self.node_id}; trace(True) logs there"
            raise InvalidOptionError("hook", hook, reason)

    async def untrace(self, hook: Hashable, *, timeout: float | None = 5.0) -> None:
        """End one trace: of this hook, of the hook with this id, or (True) the one to the log.

        One that was not there is no error. Raises what `call` raises.
        """
        await self._ask("untrace", hook, timeout=timeout)

    async def _ask(self, operation: str, *args: Any, timeout: float | None) -> Any:
        check_timeout(timeout)
        return await system.ask(self.kernel, self, operation, args, timeout)
