"""GenServer: the class that people write. One process runs one instance of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, Self, overload

from noex.runtime.blocking import wait_in_handler
from noex.runtime.checks import check_delay, check_flag
from noex.runtime.crossing import is_foreign, on_loop
from noex.runtime.current import task_caller
from noex.runtime.errors import (
    InvalidOptionError,
    NoexError,
    NoProcessError,
    ProcessKilledError,
    UnhandledMessageError,
)
from noex.runtime.messages import TIMEOUT, Down, Exit, TaskResult
from noex.runtime.ref import Ref, check_ref
from noex.runtime.reports import report_unexpected_info
from noex.runtime.returns import Stop
from noex.runtime.system import take_turn

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from noex.runtime.calls import Caller
    from noex.runtime.kernel import Kernel
    from noex.runtime.mailboxes import Mailbox
    from noex.runtime.monitors import Monitor
    from noex.runtime.process import Process
    from noex.runtime.system import Request

    S = TypeVar("S", default=Any)
else:
    from typing import TypeVar

    S = TypeVar("S")

P = ParamSpec("P")
R = TypeVar("R")


class Timer:
    """A message to come. It ends with its process."""

    __slots__ = ("_deadline", "_message", "_process")

    def __init__(self, process: Process, delay: float, message: Any) -> None:
        self._process = process
        self._message = message
        self._deadline = process.kernel.alarm.after(delay, self._fire)
        if process.timers is None:
            process.timers = set()
        process.timers.add(self)

    def cancel(self) -> bool:
        """Do not deliver it. Returns whether it was still to come."""
        if is_foreign(self._process.kernel):
            return bool(on_loop(self._process.kernel, self.cancel))
        self._leave()
        return self._deadline.cancel()

    def _fire(self) -> None:
        self._leave()
        self._process.deliver_info(self._message)

    def _leave(self) -> None:
        if self._process.timers is not None:
            self._process.timers.discard(self)


class GenServer(Generic[S]):
    """A process with a state, driven by messages.

    Override the callbacks you need; only `init` is required. Each may be `def` or `async def`.
    One message is handled at a time: the next one waits until the callback has returned, also
    while it awaits. A callback that raises ends the process with that exception as its reason;
    links, monitors and supervisors do the rest.

    A `def` callback that blocks holds up the whole node. With ``blocking = True`` on the class its
    callbacks run in a thread, all of them `def`, with the same rules. There, everything on `self`,
    what `self` and refs return, and ``cast``, ``send`` and ``exit`` of refs may be used; all that
    is awaited goes through `run`. So does what else noex has, such as a registry: that is for the
    thread of the loop.

    ``mailbox = Mailbox(1000)`` on the class bounds how many messages may wait for it.

    Start one with `node.start(Class, ...)`, or name its class in a `ChildSpec`.
    """

    behavior_name: ClassVar[str | None] = None
    blocking: ClassVar[bool] = False
    mailbox: ClassVar[Mailbox | int | None] = None
    _process: Process

    if TYPE_CHECKING:

        @classmethod
        def _instance(cls) -> Self:
            """For `Startable`: how a type checker gets from the class to its instances."""

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Make the first state from the arguments of `start`: the state, `Ok` or `Ignore`.

        `start` returns when this has returned. If it raises, `start` raises `InitFailedError`.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no init")

    def handle_call(self, message: Any, state: S) -> Any:
        """Answer a `ref.call`. Returns ``(reply, new state)``, `Reply`, `NoReply` or `Stop`.

        After `NoReply` the caller waits on: keep `self.caller`, and answer with
        ``caller.reply(value)``. Any other value ends the process (`BadReturnValueError`).
        """
        raise UnhandledMessageError(message, f"{type(self).__qualname__}.handle_call")

    def handle_cast(self, message: Any, state: S) -> Any:
        """Handle a `ref.cast`. Returns the new state, None (unchanged), `NoReply` or `Stop`."""
        raise UnhandledMessageError(message, f"{type(self).__qualname__}.handle_cast")

    def handle_info(self, message: Any, state: S) -> Any:
        """Handle a `ref.send`, or a message of the system. Returns what `handle_cast` may.

        Of the system: `Down`, `Exit`, `TIMEOUT`, `TaskResult`, `NameConflict`, and, after
        `node.monitor_nodes(self.ref)`, `NodeUp`, `NodeDown` and more. Timers come here too.
        """
        if not isinstance(message, Down | Exit | TaskResult) and message is not TIMEOUT:
            report_unexpected_info(self._process, message)
        return None

    def handle_continue(self, token: Any, state: S) -> Any:
        """Go on after a return with ``continue_with=token``, before any queued message."""
        raise UnhandledMessageError(token, f"{type(self).__qualname__}.handle_continue")

    def terminate(self, reason: Any, state: S) -> Any:
        """Clean up. Runs on stop, crash and shutdown, not on a kill.

        It may take as long as the supervisor's `shutdown` (else `terminate_timeout` of the node).
        """

    def format_status(self, state: S) -> Any:
        """What crash reports may show of the state. Override it to hide secrets."""
        return state

    def handle_stop(self, reason: Any, state: S) -> Any:
        """An ordered stop arrives. For behaviours of noex itself that end in several steps."""
        return Stop(reason)

    def _system(self, request: Request, state: S) -> None:
        take_turn(self._process, request)

    @property
    def state(self) -> S:
        """The state, to read and to set.

        The `state` argument of a callback is the same value, and what the callback returns becomes
        the state, over what it has set here.
        """
        state: S = self._process.state
        return state

    @state.setter
    def state(self, value: S) -> None:
        self._process.state = value

    @property
    def ref(self) -> Ref[Any]:
        """The ref of this process."""
        return self._process.ref

    @property
    def kernel(self) -> Kernel:
        """The runtime of the node."""
        return self._process.kernel

    @property
    def node(self) -> Any:
        """The `Node` on which this process runs."""
        return self._process.kernel.node

    @property
    def name(self) -> str | None:
        """The local name, if it has one."""
        return self._process.name

    @property
    def fence(self) -> Any:
        """``(term, generation)`` of a supervised child, else None.

        It grows with each start of the child. Send it along with what you write outside, and have
        the storage refuse a lower one: so a copy that was cut off cannot overwrite its successor.
        """
        return self._process.fence

    @property
    def log(self) -> Any:
        """A structlog logger bound to this process."""
        process = self._process
        return process.kernel.log.bind(
            behavior=process.callbacks.behavior, name=process.name, ref=str(process.ref)
        )

    @property
    def caller(self) -> Caller | None:
        """Who waits for the reply to the message being handled (None for a cast).

        In a task that a handler started: who waited for the message that it handled then.
        """
        return self._process.current_caller()

    @property
    def trap_exits(self) -> bool:
        """Whether exit signals arrive as `Exit` messages in `handle_info`. By default False.

        A kill, and the orders of the own supervisor, are never trapped.
        """
        return self._process.trap_exits

    @trap_exits.setter
    def trap_exits(self, value: bool) -> None:
        check_flag(value, "trap_exits")
        self._process.trap_exits = value

    def send_after(self, delay: float, message: Any) -> Timer:
        """Send `message` to this process's `handle_info` in `delay` seconds.

        Returns the `Timer`, which can be cancelled, and ends with the process. Raises
        `InvalidOptionError` for a negative delay.
        """
        check_delay(delay, "delay")
        self._refuse_the_dead()
        if is_foreign(self.kernel):
            return on_loop(self.kernel, self.send_after, delay, message)  # type: ignore[no-any-return]
        return Timer(self._process, delay, message)

    def monitor(self, ref: Ref[Any]) -> Monitor:
        """Watch `ref`, here or elsewhere: exactly one `Down(monitor, ref, reason)` comes to
        `handle_info`, at once if it is dead. ``monitor.cancel()`` ends this.
        """
        check_ref(ref)
        self._refuse_the_dead()
        return self._process.kernel.monitor(ref, self._process)

    def link(self, ref: Ref[Any]) -> None:
        """Tie this process and `ref` together: when one ends, the other gets an exit signal.

        The reason ``"normal"`` is ignored by the other one; any other reason ends it, unless it
        traps exits. There is at most one link between two processes. A dead `ref` answers with the
        signal ``"noproc"``. A name is looked up now; one on another node cannot be linked to.
        """
        check_ref(ref)
        if ref.is_name and not ref.is_local:
            legal = "a process: whom a name on another node means is not known here"
            raise InvalidOptionError("ref", ref, legal)
        self._refuse_the_dead()
        if is_foreign(self.kernel):
            on_loop(self.kernel, self.link, ref)
        else:
            self._process.kernel.link(self._process, ref)

    def unlink(self, ref: Ref[Any]) -> None:
        """Undo `link`."""
        check_ref(ref)
        if is_foreign(self.kernel):
            on_loop(self.kernel, self.unlink, ref)
        else:
            self._process.kernel.unlink(self._process, ref)

    def spawn_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `coroutine` beside the handlers; it dies with the process.

        `TaskResult(task, value, error)` arrives in `handle_info` when it has ended.
        """
        if not asyncio.iscoroutine(coroutine):
            raise InvalidOptionError("coroutine", coroutine, "the call of an `async def` function")
        process = self._process
        try:
            self._refuse_the_dead()
        except NoexError:
            coroutine.close()
            raise
        if is_foreign(process.kernel):
            return on_loop(process.kernel, self.spawn_task, coroutine)  # type: ignore[no-any-return]
        context = (process.context if process.job is None else process.job.context).copy()
        context.run(task_caller.set, (process, process.current_caller()))
        task = process.kernel.loop.create_task(_contained(process, coroutine), context=context)
        if process.tasks is None:
            process.tasks = set()
        process.tasks.add(task)
        task.add_done_callback(lambda done: _task_ended(process, coroutine, done))
        return task

    @overload
    def run(self, what: Awaitable[R], /) -> R: ...
    @overload
    def run(
        self, what: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def run(self, what: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def run(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """In a class with `blocking = True`: have a coroutine, or ``what(*args, **kwargs)``, done
        on the loop of the node, and wait for the result: ``self.run(ref.call("get"))``.

        What it raises is raised here. When an exit signal or a kill ends the process meanwhile,
        it is cancelled, and so is this (`CancelledError`; let it pass). Raises `WrongThreadError`
        anywhere but in the thread of a callback.
        """
        return wait_in_handler(self._process, what, args, kwargs)

    def _refuse_the_dead(self) -> None:
        """What belongs to a process cannot be made for one that has ended."""
        process = self._process
        if not process.is_alive():
            error = NoProcessError if process.doomed is None else ProcessKilledError
            raise error(process.ref)


async def _contained(process: Process, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Keep a SystemExit from ending the whole program, and tell of Ctrl-C, as in a handler."""
    try:
        return await coroutine
    except KeyboardInterrupt as error:
        process.kernel.interrupted(error)
        raise
    except SystemExit as error:
        raise RuntimeError(f"the task raised {error!r}") from error


def _task_ended(
    process: Process, coroutine: Coroutine[Any, Any, Any], task: asyncio.Task[Any]
) -> None:
    coroutine.close()  # a task cancelled before its first step never awaited it
    if process.tasks is None:  # the process is gone
        if not task.cancelled():
            task.exception()  # mark it as seen
        return
    process.tasks.discard(task)
    if task.cancelled():
        process.deliver_info(TaskResult(task, error=asyncio.CancelledError()))
        return
    error = task.exception()
    process.deliver_info(
        TaskResult(task, error=error) if error else TaskResult(task, task.result())
    )
