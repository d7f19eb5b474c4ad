"""Waiting for the outcome of a call: for a process of this node, or of another one.

Who waits gives up in the end, whatever happens: with the outcome, by the deadline, or because its
task was cancelled. Then nothing of the call is left, here or there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from noex.runtime.calls import LocalCaller
from noex.runtime.current import handler_process

if TYPE_CHECKING:
    import asyncio

    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

    Send = Callable[[Ref[Any], Any, LocalCaller], None]


def reply_to(
    kernel: Kernel, caller: LocalCaller, timeout: float | None
) -> Coroutine[Any, Any, Any]:
    """Wait for a reply that a call in its caller's turn left open."""
    caller.timeout = timeout
    return outcome_for(kernel, handler_process(), caller)


def outcome_for(
    kernel: Kernel, handler: Process | None, caller: LocalCaller
) -> Coroutine[Any, Any, Any]:
    """Wait, and let others see for whom, so that a cycle of calls is noticed."""
    return _outcome(kernel, caller) if handler is None else _seen(kernel, handler, caller)


async def _seen(kernel: Kernel, handler: Process, caller: LocalCaller) -> Any:
    handler.waiting_on = kernel.find(caller.target)
    try:
        return await _outcome(kernel, caller)
    finally:
        handler.waiting_on = None


async def _outcome(kernel: Kernel, caller: LocalCaller) -> Any:
    if caller.timeout is not None and not caller.future.done():
        kernel.patience.bound(caller, caller.timeout)
    try:
        return await caller.future
    finally:
        caller.give_up()


async def outcome_from_elsewhere(
    kernel: Kernel, send: Send, ref: Ref[Any], message: Any, timeout: float | None
) -> Any:
    """Send a call by way of `send`, which is one of `Remote`, and wait for its outcome."""
    future: asyncio.Future[Any] = kernel.loop.create_future()
    caller = LocalCaller(future, ref, timeout)
    send(ref, message, caller)
    try:
        if future.done():
            await kernel.turns.give_way()
        elif timeout is not None:
            kernel.patience.bound(caller, timeout)
        return await future
    finally:
        if caller.ident and kernel.remote is not None:  # no reply has come
            kernel.remote.cancel_call(ref, caller)
        caller.give_up()
