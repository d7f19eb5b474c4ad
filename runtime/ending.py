"""How the runtime of a node ends: every process in order, and no task left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from noex.runtime import exits, states
from noex.runtime.current import handler_process
from noex.runtime.errors import CallCycleError
from noex.runtime.reasons import KILLED

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process


async def shutdown(kernel: Kernel, reason: Any, timeout: float) -> None:
    """End all processes: those without a parent first, the youngest first, in order.

    A supervisor ends its own children. What is left after `timeout` seconds is killed. Not to be
    awaited in a handler, which would wait for its own end (`CallCycleError`).
    """
    handler = handler_process()
    if handler is not None:
        raise CallCycleError(handler.ref)
    kernel.closing = True
    end = kernel.loop.time() + timeout
    for process in reversed(list(kernel.processes.values())):
        if process.parent is None or kernel.find(process.parent) is None:
            await _end(kernel, process, reason, end)
    for process in reversed(list(kernel.processes.values())):
        await _end(kernel, process, reason, end)
    for worker in kernel.workers.close():
        kernel.see_off(worker)
    if kernel.leaving:
        await asyncio.wait(kernel.leaving, timeout=kernel.kill_grace)
    kernel.closed = "it was stopped"
    if kernel.threads is not None:
        await kernel.threads.close(kernel.kill_grace)
    kernel.alarm.close()
    kernel.patience.close()


async def _end(kernel: Kernel, process: Process, reason: Any, end: float) -> None:
    if process.status == states.DEAD:
        return
    exits.interrupt(process, reason)
    if process.status == states.DEAD:  # at once, as most of them: the loop gets its turns, too
        if not kernel.turns.may_run():
            await kernel.turns.comes()
        return
    monitor = kernel.monitor(process.ref)
    try:
        await monitor.wait(max(end - kernel.loop.time(), 0.01))
    except TimeoutError:
        for late in list(kernel.processes.values()):  # together, or each has a grace of its own
            exits.kill(late)
        try:
            await monitor.wait(kernel.kill_grace + 1.0)
        except TimeoutError:
            kernel.bury(process, KILLED)
