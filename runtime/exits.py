"""How processes end: exit signals, kills, zombies, and the order in which the world hears of it.

An exit signal reaches a process in one of three ways:

- it traps exits: the signal is a message (`Exit`), except from its parent, whose order is obeyed;
- it overrides `terminate`, so it wants to end in order: the signal waits, before all queued
  messages, for the handler in progress, then `terminate` runs;
- else it ends at once, and a handler in progress is cancelled.

A *kill* closes the mailbox and cancels, again and again until `kill_grace` is over. What then
still runs, in a task or in a thread (`noex.runtime.blocking`), is a zombie: the process counts as
down, its code may not use noex any more. The tasks of `spawn_task` are cancelled when their
process ends, and are zombies if they outlive the grace.

When a process ends: (1) its name and its table entry go, (2) waiting callers fail, (3) monitors
fire, (4) links get their exit signal. A wave of deaths is worked off by a loop, not by recursion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from noex.runtime import states
from noex.runtime.crossing import needs_care
from noex.runtime.errors import ServerCrashedError
from noex.runtime.messages import Exit
from noex.runtime.reasons import KILL, KILLED, NORMAL, says
from noex.runtime.reports import (
    interrupted_aside,
    report_crash,
    report_terminate_failure,
    report_untold,
    report_zombie,
)

if TYPE_CHECKING:
    from noex.runtime.deadlines import Deadline
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

KILL_RETRY: Final = 0.05  # seconds between two cancellations of a killed handler


def signal(process: Process, sender: Ref[Any] | None, reason: Any, *, linked: bool) -> None:
    """An exit signal arrives, from a link or by `ref.exit`."""
    if process.status >= states.CLOSED:
        return
    from_parent = sender is not None and sender == process.parent
    if says(reason, KILL) and not linked:
        kill(process)
    elif process.trap_exits:
        if from_parent:
            interrupt(process, reason)
        else:
            process.deliver_info(Exit(sender, reason))
    elif not says(reason, NORMAL) or (sender == process.ref and not linked):
        interrupt(process, reason)  # "normal" ends only a process that tells it to itself


def interrupt(process: Process, reason: Any) -> None:
    """End for `reason`: between two messages if it has a `terminate`, else at once."""
    status = process.status
    if status >= states.STOPPING:
        return
    if status == states.STARTING:
        _doom(process, reason)
    elif process.callbacks.has_terminate or process.trap_exits:
        process.deliver_first((states.EXIT, reason, None))
    elif status == states.RUNNING and process.worker is not None:
        _doom(process, reason)
    elif status == states.RUNNING:  # the signal comes from its own `def` handler
        process.deliver_first((states.EXIT, reason, None))
    else:
        begin(process, reason)


def order(process: Process, reason: Any) -> None:
    """An ordered stop arrives: it takes its turn, unless nothing else does."""
    item = (states.STOP, reason, None)
    if process.status == states.SUSPENDED:
        process.deliver_first(item)
    else:
        process.deliver(item)


def kill(process: Process) -> None:
    """End now, with reason ``"killed"``; `terminate` does not run."""
    status = process.status
    if status >= states.CLOSED:
        return
    process.status = states.CLOSED
    process.doomed = (KILLED,)
    process.mailbox, calls = None, process.mailbox
    _fail_queued(process, calls, KILLED)
    if process.worker is not None:
        _cancel_until(process, process.worker, _now(process) + process.kernel.kill_grace)
    elif status not in (states.RUNNING, states.STARTING):
        process.kernel.bury(process, KILLED)
    # else its own `def` handler is on the stack: it ends when that returns


def crashed(process: Process, error: BaseException) -> None:
    """A callback raised. `KeyboardInterrupt` is Ctrl-C: it ends the node and propagates."""
    if process.doomed is not None:
        doom_fulfilled(process)
    else:
        try:
            report_crash(process, error)
        finally:  # a log of the program's own may raise
            begin(process, error)
    if isinstance(error, KeyboardInterrupt):
        process.kernel.interrupted(error)
        raise error


def begin(process: Process, reason: Any) -> None:
    """Start to end: run `terminate`, then bury."""
    if process.status >= states.STOPPING:
        return
    inside = process.in_handler()
    process.status = states.STOPPING
    process.reason = reason
    process.caller = None
    if not process.callbacks.has_terminate:
        process.kernel.bury(process, reason)
        return
    terminate = process.handler(states.TERMINATE)
    try:
        if inside:
            ending = terminate(reason, process.state)
        else:
            ending = process.context.run(terminate, reason, process.state)
    except BaseException as error:
        try:
            _terminate_failed(process, error)
        finally:
            process.kernel.bury(process, reason)
        return
    if asyncio.iscoroutine(ending):
        _await_terminate(process, ending)
    else:
        process.kernel.bury(process, reason)


def _await_terminate(process: Process, ending: Coroutine[Any, Any, Any]) -> None:
    if process.status != states.STOPPING:  # killed by its own `terminate`
        ending.close()
        return

    async def run() -> None:
        try:
            await ending
        except GeneratorExit:
            raise
        except BaseException as error:
            if process.doomed is None:
                _terminate_failed(process, error)

    # The old worker may be on the stack (it called us): from here on it is not the worker.
    process.run_as_worker(run(), ending, worker_ended)
    kill_if_it_clings(process)


def _terminate_failed(process: Process, error: BaseException) -> None:
    """The exit reason stays what it was. Ctrl-C goes its own way to the loop, so that what this
    death has set going (links, monitors) is not left half done."""
    if isinstance(error, KeyboardInterrupt):
        interrupted_aside(process, error)
    report_terminate_failure(process, error)


def worker_ended(
    process: Process, handler: Coroutine[Any, Any, Any], task: asyncio.Task[Any]
) -> None:
    """A worker task is done. If nobody has drawn the consequences yet, draw them."""
    handler.close()  # a task cancelled before its first step never awaited it
    # Looked at, or asyncio complains; a KeyboardInterrupt has its own way to the loop.
    error = None if task.cancelled() else task.exception()
    if process.worker is task:
        process.worker = None
        process.context.run(_without_worker, process, error)


def _without_worker(process: Process, error: BaseException | None) -> None:
    """`error` is a GeneratorExit out of a handler, since the worker lets that pass: where the loop
    is gone it means that all is gone, but then nobody comes here."""
    status = process.status
    if status == states.CLOSED:
        process.kernel.bury(process, KILLED)
    elif status in (states.DEAD, states.STARTING):
        return  # buried as a zombie; or `init`, which `start` itself waits for
    elif status == states.STOPPING:
        if isinstance(error, GeneratorExit):
            report_terminate_failure(process, error)
        process.kernel.bury(process, process.reason)
    elif process.doomed is not None:
        doom_fulfilled(process)
    else:
        crashed(process, error or asyncio.CancelledError("the worker was cancelled from outside"))


def doom_fulfilled(process: Process) -> None:
    """The handler that was cancelled, or killed from inside, has come to its end."""
    assert process.doomed is not None
    if process.status >= states.CLOSED:
        process.kernel.bury(process, KILLED)
        return
    (reason,), process.doomed = process.doomed, None
    begin(process, reason)


def _doom(process: Process, reason: Any) -> None:
    if process.doomed is not None:  # the first signal decides, and cancels once
        return
    process.doomed = (reason,)
    if process.worker is not None:
        process.worker.cancel()
        kill_if_it_clings(process)


def kill_if_it_clings(process: Process) -> None:
    """A worker that neither ends nor obeys is killed after the terminate timeout."""
    limit, worker = process.terminate_timeout, process.worker
    if limit is not None and limit < 0:
        limit = process.kernel.terminate_timeout
    if limit is None or worker is None:
        return

    def clings() -> None:
        if process.worker is worker:
            kill(process)

    deadline = process.kernel.alarm.after(limit, clings)
    worker.add_done_callback(lambda _task: deadline.cancel())


def _now(process: Process) -> float:
    return process.kernel.clock.now()


def _cancel_until(process: Process, worker: asyncio.Task[Any], end: float) -> None:
    if worker.done() and process.job is None:
        return
    worker.cancel()
    left = end - _now(process)
    if left > 0:
        again = min(KILL_RETRY, left)
        process.kernel.alarm.after(again, lambda: _cancel_until(process, worker, end))
    else:
        _declare_zombie(process, worker if process.job is None else process.job.over)


def _declare_zombie(process: Process, remains: asyncio.Future[Any]) -> None:
    """What remains of it: a task, or the handler in a thread, which no task can wait for."""
    process.zombie = True
    process.kernel.zombies[remains] = process.ref
    process.kernel.guarded = True  # what it does is watched until it is done
    remains.add_done_callback(partial(_zombie_gone, process.kernel))
    report_zombie(process, remains)
    process.kernel.bury(process, KILLED)
    if process.job is not None and process.worker is not None:
        process.worker.cancel()


def _zombie_gone(kernel: Kernel, remains: asyncio.Future[Any]) -> None:
    kernel.zombies.pop(remains, None)
    kernel.guarded = needs_care(kernel) or kernel.threads is not None


def abandon_init(process: Process) -> None:
    """Nobody waits for this `init` any more: gone at once, while its task is still ending."""
    worker = process.worker
    if process.starter is not None:
        process.kernel.unlink(process, process.starter)
    kill(process)
    process.kernel.bury(process, KILLED)
    if worker is not None:
        process.kernel.see_off(worker)


def announce(process: Process, reason: Any) -> None:
    """Tell everybody, after the tables have forgotten the process. Called by `Kernel.bury`."""
    _drop_timers(process)
    mailbox, process.mailbox = process.mailbox, None
    _fail_queued(process, mailbox, reason)
    for caller in list(process.open_calls or ()):
        caller.fail(ServerCrashedError(process.ref, reason))
    process.open_calls = None
    for monitor in list(process.monitoring or ()):
        monitor.cancel()
    process.monitoring = None
    watchers, process.watchers = process.watchers, None
    for watcher in list((watchers or {}).values()):
        _tell(process, watcher.fire, reason)
    links, process.links = process.links, None
    for other in links or ():
        _tell(process, process.kernel.link_broken, process.ref, other, reason)
    _end_tasks(process)


def _tell(process: Process, tell: Callable[..., object], *args: Any) -> None:
    """One who cannot be told (a reason that cannot travel) must not keep it from the others."""
    try:
        tell(*args)
    except Exception as error:
        report_untold(process, error)


def _drop_timers(process: Process) -> None:
    timers, process.timers = process.timers, None
    for timer in list(timers or ()):
        timer.cancel()
    if process.idle_deadline is not None:
        process.idle_deadline.cancel()
        process.idle_deadline = None


def _fail_queued(process: Process, mailbox: Any, reason: Any) -> None:
    for kind, message, caller in mailbox or ():
        if kind == states.SYSTEM:
            caller = message.caller
        if caller is not None:
            caller.fail(ServerCrashedError(process.ref, reason))


def _end_tasks(process: Process) -> None:
    tasks, process.tasks = process.tasks, None
    for task in tasks or ():
        if task.done():
            continue
        task.cancel()
        process.kernel.see_off(task)
        clings = process.kernel.alarm.after(
            process.kernel.kill_grace, partial(_task_clings, process, task)
        )
        task.add_done_callback(partial(_forget, clings))


def _task_clings(process: Process, task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
        _declare_zombie(process, task)


def _forget(deadline: Deadline, _task: asyncio.Task[Any]) -> None:
    deadline.cancel()
