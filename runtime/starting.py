"""How a process comes to life: name, `init`, and what happens when that fails.

1. The name is taken, the process is in the table: it can be looked up, its mailbox collects.
2. `init` runs: a plain one in the starter's turn, an `async def` one in a task of its own.
3. It is up; `start` returns. Or it is dead and its name free, and `start` raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Final, get_origin

from noex.runtime import exits, outcome
from noex.runtime.awaitables import PLAIN
from noex.runtime.blocking import in_thread
from noex.runtime.bounded import BoundedProcess
from noex.runtime.callbacks import Callbacks, callbacks_of, known
from noex.runtime.checks import check_name, check_timeout
from noex.runtime.current import current_process
from noex.runtime.errors import (
    BadReturnValueError,
    InitFailedError,
    InitTimeoutError,
    InvalidOptionError,
    NameTakenError,
    ServerCrashedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.mailboxes import Mailbox, mailbox_of
from noex.runtime.process import NODE_DEFAULT, Process
from noex.runtime.reasons import NORMAL
from noex.runtime.ref import Ref
from noex.runtime.returns import UNCHANGED, Ignore, Ok, is_no_state
from noex.runtime.states import IDLE

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel


DEFAULT_INIT_TIMEOUT: Final = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """How a process is started, beside its class and the arguments of `init`.

    `terminate_timeout`: seconds that `terminate` may take before the process is killed, None for
    no limit (default: the node's). `fence`: what `self.fence` shows. `mailbox`: how many messages
    may wait for it (default: what the class says).
    """

    name: str | None = None
    parent: Ref[Any] | None = None
    link_to: Ref[Any] | None = None
    init_timeout: float | None = DEFAULT_INIT_TIMEOUT
    fence: Any = None
    terminate_timeout: float | None = NODE_DEFAULT
    mailbox: Mailbox | int | None = None

    def check(self) -> None:
        """Raise `InvalidOptionError` if the name or the timeout is none."""
        if self.name is not None:
            check_name(self.name)
        check_timeout(self.init_timeout, "init_timeout")

    def apply(self, kernel: Kernel, process: Process) -> None:
        """What is known of the process before it runs."""
        if self.name is not None:
            process.name = process.ref.label = self.name
            kernel.names[self.name] = process
        if self.parent is not None:
            process.parent = self.parent
        if self.fence is not None:
            process.fence = self.fence
        if self.terminate_timeout != NODE_DEFAULT:
            process.terminate_timeout = self.terminate_timeout
        if self.link_to is not None:
            process.starter = self.link_to
            kernel.link(process, self.link_to)


async def start(
    kernel: Kernel,
    cls: type[Any],
    args: Any,
    kwargs: dict[str, Any],
    settings: Settings | None = None,
) -> Ref[Any] | None:
    """Start a process of class `cls` and return its ref when `init` has returned.

    Returns None if `init` says `Ignore`. Raises `InitFailedError` (with the cause),
    `InitTimeoutError` after the `init_timeout`, `NameTakenError`, `InvalidOptionError`.
    """
    try:
        callbacks = known[cls]
    except (KeyError, TypeError):
        callbacks = callbacks_of(behavior_class(cls), GenServer)
    if settings is not None:
        settings.check()
    # Who does nothing but start processes gives way to the loop, too. `init` is seldom so quick
    # that a look at the clock counts, but often enough; and a name may be taken again and again.
    if not kernel.last_serial & 3 or (settings is not None and settings.name is not None):
        await kernel.turns.give_way()
    if kernel.guarded or kernel.closing or kernel.closed is not None:
        kernel.refuse_start()
    process = _enter(kernel, callbacks, settings)
    # The callbacks run in a context of their own, which begins as that of the starter.
    context = process.kept_context = copy_context()
    if settings is not None:
        settings.apply(kernel, process)
    try:
        context.run(current_process.set, process)
        if callbacks.blocking:
            result = context.run(in_thread, process, process.server.init, args, kwargs)
        else:
            result = context.run(process.server.init, *args, **kwargs)
    except KeyboardInterrupt as error:  # Ctrl-C is for the node; all else is the process's own
        kernel.bury(process, error)
        kernel.interrupted(error)
        raise
    except BaseException as error:
        raise _failed(kernel, process, error) from error
    if type(result) in PLAIN:
        process.state = result
        return _up(kernel, process)
    if iscoroutine(result):
        timeout = DEFAULT_INIT_TIMEOUT if settings is None else settings.init_timeout
        try:
            result = await _await_init(kernel, process, result, timeout)
        except BaseException:  # whatever it was, nothing is left behind
            exits.abandon_init(process)
            raise
    return _conclude(kernel, process, result)


def behavior_class(behavior: Any) -> Any:
    """The class itself, also of one with its types filled in, such as ``Cache[str]``.

    Raises `InvalidOptionError` for what is no GenServer class.
    """
    cls = behavior if isinstance(behavior, type) else get_origin(behavior) or behavior
    if not (isinstance(cls, type) and issubclass(cls, GenServer)):
        raise InvalidOptionError("behavior", cls, "a subclass of GenServer")
    return cls


def _enter(kernel: Kernel, callbacks: Callbacks, settings: Settings | None) -> Process:
    """Into the table."""
    bound = callbacks.bound
    if settings is not None:
        if settings.name in kernel.names:
            raise NameTakenError(settings.name, kernel.names[settings.name].ref)
        if settings.mailbox is not None:
            bound = mailbox_of(settings.mailbox)
    try:
        server = callbacks.cls()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        name = None if settings is None else settings.name
        raise InitFailedError(callbacks.behavior, name) from error
    serial = kernel.last_serial = kernel.last_serial + 1
    ref: Ref[Any] = Ref(kernel, kernel.node_id, kernel.incarnation, serial, callbacks.behavior)
    if bound is None:
        process = Process(kernel, ref, server, callbacks, kernel.clock.wall())
    else:
        process = BoundedProcess(kernel, ref, server, callbacks, kernel.clock.wall())
        process.bound = bound
    server._process = process
    ref.process = process
    if callbacks.methods is not None:
        ref.casts = callbacks.methods.casts
    kernel.processes[serial] = process
    return process


async def _await_init(
    kernel: Kernel, process: Process, coroutine: Coroutine[Any, Any, Any], timeout: float | None
) -> Any:
    """Run the coroutine in a task of its own, so that a time limit or a signal can end it."""
    if process.doomed is not None:
        coroutine.close()
        return None
    process.run_as_worker(_outcome(kernel, coroutine), coroutine, exits.worker_ended)
    worker, monitor = process.worker, kernel.monitor(process.ref)
    assert worker is not None
    try:
        # The process may be gone before its task: a killed `init` that clings is a zombie.
        until = {worker, monitor.waiter()}
        done, _ = await asyncio.wait(until, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            _unlink_starter(kernel, process)
            exits.kill(process)
            await asyncio.wait({monitor.waiter()}, timeout=kernel.kill_grace + 1.0)
            raise InitTimeoutError(process.callbacks.behavior, timeout or 0.0)
    finally:
        monitor.cancel()
    process.worker = None
    if process.doomed is not None:
        return None
    result, error = _result_of(worker)
    if error is not None:
        raise _failed(kernel, process, error) from error
    return result


def _result_of(worker: asyncio.Task[Any]) -> tuple[Any, BaseException | None]:
    if worker.cancelled():
        return None, asyncio.CancelledError()
    if isinstance(raised := worker.exception(), GeneratorExit):
        return None, raised
    result: tuple[Any, BaseException | None] = worker.result()
    return result


async def _outcome(
    kernel: Kernel, coroutine: Coroutine[Any, Any, Any]
) -> tuple[Any, BaseException | None]:
    """Hold back what a task would let out of the loop or turn into its own cancellation."""
    try:
        return await coroutine, None
    except GeneratorExit:
        raise
    except KeyboardInterrupt as error:
        kernel.interrupted(error)
        raise
    except BaseException as error:
        return None, error


def _failed(kernel: Kernel, process: Process, error: BaseException) -> InitFailedError:
    _unlink_starter(kernel, process)
    kernel.bury(process, error if process.doomed is None else process.doomed[0])
    return InitFailedError(process.callbacks.behavior, process.name)


def _unlink_starter(kernel: Kernel, process: Process) -> None:
    """Who starts a process hears of a failure by the exception: no exit signal comes as well."""
    if process.starter is not None:
        kernel.unlink(process, process.starter)


def _conclude(kernel: Kernel, process: Process, result: Any) -> Ref[Any] | None:
    """What `init` returned is no plain state."""
    if process.doomed is not None:
        raise _ended_by_signal(kernel, process)
    if result is Ignore or isinstance(result, Ignore):
        _unlink_starter(kernel, process)
        kernel.bury(process, NORMAL)
        return None
    if is_no_state(result) and type(result) is not Ok:
        bad = BadReturnValueError("init", result)
        raise _failed(kernel, process, bad) from bad
    if type(result) is not Ok:
        process.state = result
        return _up(kernel, process)
    process.state = None if result.state is UNCHANGED else result.state
    ref = _up(kernel, process)
    outcome.follow_up(process, result)
    return ref


def _up(kernel: Kernel, process: Process) -> Ref[Any]:
    """It has its state, and takes messages."""
    if process.doomed is not None:
        raise _ended_by_signal(kernel, process)
    if process.starter is not None:
        process.starter = None
    process.spare_context()
    if process.mailbox:
        process.rest()
    else:
        process.status = IDLE
    return process.ref


def _ended_by_signal(kernel: Kernel, process: Process) -> InitFailedError:
    assert process.doomed is not None
    signal = ServerCrashedError(process.ref, process.doomed[0])
    failed = _failed(kernel, process, signal)
    failed.__cause__ = signal
    return failed
