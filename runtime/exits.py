"""How processes end: exit signals, kills, zombies, and the order in which the world hears of it.

An exit signal reaches a process in one of three ways:

- it traps exits: the signal is a message (`Exit`), except from its parent, whose order is obeyed;
- it overrides `terminate`, so it wants to end in order: the signal waits, before all queued
  messages, for the handler in progress, then `terminate` runs;
- else it ends at once, and a handler in progress is cancelled.

A *kill* closes the mailbox and cancels, again and again until `kill_grace` is over. What then
still runs is a zombie: the process counts as down, its code may not use noex any more.

When a process ends: (1) its name and its table entry go, (2) waiting callers fail, (3) monitors
fire, (4) links get their exit signal. A wave of deaths is worked off by a loop, not by recursion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from noex.runtime import states
from noex.runtime.errors import ServerCrashedError
from noex.runtime.messages import Exit
from noex.runtime.reasons import KILL, KILLED, NORMAL
from noex.runtime.reports import report_crash, report_terminate_failure, report_zombie

if TYPE_CHECKING:
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

KILL_RETRY: Final = 0.05  # seconds between two cancellations of a killed handler


def signal(process: Process, sender: Ref[Any] | None, reason: Any, *, linked: bool) -> None:
    """An exit signal arrives, from a link or by `ref.exit`."""
    if process.status == states.DEAD:
        return
    from_parent = sender is not None and sender == process.parent
    if reason == KILL and not linked:
        kill(process)
    elif process.trap_exits and not from_parent:
        process.deliver_info(Exit(sender, reason))
    elif isinstance(reason, str) and reason == NORMAL and not from_parent:
        if sender == process.ref and not linked:  # a process may tell itself to end
            interrupt(process, reason)
    else:
        interrupt(process, reason)


def interrupt(process: Process, reason: Any) -> None:
    """End for `reason`: between two messages if it has a `terminate`, else at once."""
    status = process.status
    if status in (states.DEAD, states.STOPPING):
        return
    if status == states.STARTING:
        _doom(process, reason)
    elif process.callbacks.has_terminate or process.trap_exits:
        process.deliver_first((states.STOP, reason, None))
    elif status == states.RUNNING and process.worker is not None:
        _doom(process, reason)
    elif status == states.RUNNING:  # the signal comes from its own `def` handler
        process.deliver_first((states.STOP, reason, None))
    else:
        begin(process, reason)


def kill(process: Process) -> None:
    """End now, with reason ``"killed"``; `terminate` does not run."""
    if process.status == states.DEAD or process.doomed == KILLED:
        return
    process.doomed = KILLED
    process.mailbox, calls = None, process.mailbox
    _fail_queued(process, calls, KILLED)
    if process.worker is None and process.status not in (states.RUNNING, states.STARTING):
        process.kernel.bury(process, KILLED)
    elif process.worker is not None:
        _cancel_until(process, process.kernel.clock.now() + process.kernel.kill_grace)
    # else its own `def` handler is on the stack: it ends when that returns


def crashed(process: Process, error: BaseException) -> None:
    """A callback raised. `KeyboardInterrupt` is Ctrl-C: it ends the node and propagates."""
    if process.doomed is not None:
        doom_fulfilled(process)
    else:
        report_crash(process, error)
        begin(process, error)
    if isinstance(error, KeyboardInterrupt):
        process.kernel.interrupted(error)
        raise error


def begin(process: Process, reason: Any) -> None:
    """Start to end: run `terminate`, then bury."""
    if process.status in (states.STOPPING, states.DEAD):
        return
    process.status = states.STOPPING
    process.reason = reason
    process.caller = None
    if not process.callbacks.has_terminate:
        process.kernel.bury(process, reason)
        return
    try:
        ending = process.run_callback(process.server.terminate, reason, process.state)
    except BaseException as error:
        report_terminate_failure(process, error)
        process.kernel.bury(process, reason)
        if isinstance(error, KeyboardInterrupt):
            raise
        return
    if asyncio.iscoroutine(ending):
        _await_terminate(process, ending)
    else:
        process.kernel.bury(process, reason)


def _await_terminate(process: Process, ending: Coroutine[Any, Any, Any]) -> None:
    async def run() -> None:
        try:
            await ending
        except BaseException as error:
            if process.doomed is None:
                report_terminate_failure(process, error)

    # The old worker may be on the stack (it called us): from here on it is not the worker.
    process.run_as_worker(run(), ending)
    _kill_if_it_clings(process)


def worker_ended(
    process: Process, handler: Coroutine[Any, Any, Any], task: asyncio.Task[Any]
) -> None:
    """A worker task is done. If nobody has drawn the consequences yet, draw them."""
    handler.close()  # a task cancelled before its first step never awaited it
    if not task.cancelled():
        task.exception()  # mark it as seen: a KeyboardInterrupt has its own way to the loop
    if process.worker is not task:
        return
    process.worker = None
    if process.status in (states.DEAD, states.STARTING):
        return  # buried as a zombie; or `init`, which `Kernel.start` itself waits for
    if process.doomed == KILLED:
        process.kernel.bury(process, KILLED)
    elif process.status == states.STOPPING:
        process.kernel.bury(process, process.reason)
    elif process.doomed is not None:
        doom_fulfilled(process)
    else:
        crashed(process, asyncio.CancelledError("the worker was cancelled from outside"))


def doom_fulfilled(process: Process) -> None:
    """The handler that was cancelled has come to its end."""
    reason = process.doomed
    if reason == KILLED:
        process.kernel.bury(process, KILLED)
    else:
        process.doomed = None
        begin(process, reason)


def _doom(process: Process, reason: Any) -> None:
    if process.doomed is None:
        process.doomed = reason
    if process.worker is not None:
        process.worker.cancel()
        _kill_if_it_clings(process)


def _kill_if_it_clings(process: Process) -> None:
    """A worker that neither ends nor obeys is killed after the terminate timeout."""
    limit, worker = process.terminate_timeout, process.worker
    if limit is None:
        return

    def clings() -> None:
        if process.worker is worker and process.status != states.DEAD:
            kill(process)

    process.kernel.alarm.after(limit, clings)


def _cancel_until(process: Process, end: float) -> None:
    worker = process.worker
    if worker is None or process.status == states.DEAD:
        return
    worker.cancel()
    if process.kernel.clock.now() < end:
        process.kernel.alarm.after(KILL_RETRY, lambda: _cancel_until(process, end))
        return
    if worker.done():
        return
    process.zombie = True
    process.kernel.zombies[process.ref] = worker
    worker.add_done_callback(lambda _task: process.kernel.zombies.pop(process.ref, None))
    report_zombie(process)
    process.kernel.bury(process, KILLED)


def announce(process: Process, reason: Any) -> None:
    """Tell everybody, after the tables have forgotten the process. Called by `Kernel.bury`."""
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
        watcher.fire(reason)
    links, process.links = process.links, None
    for other in links or ():
        process.kernel.link_broken(process.ref, other, reason)
    _end_tasks(process)


def _fail_queued(process: Process, mailbox: Any, reason: Any) -> None:
    for kind, _message, caller in mailbox or ():
        if kind == states.CALL and caller is not None:
            caller.fail(ServerCrashedError(process.ref, reason))


def _end_tasks(process: Process) -> None:
    tasks, process.tasks = process.tasks, None
    for task in tasks or ():
        task.cancel()
