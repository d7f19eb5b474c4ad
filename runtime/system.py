"""System messages: what may be asked of any process, whatever its class.

- `info`, `statistics`, `trace` and `untrace` are carried out at once, whatever the process does.
- `get_state`, `replace_state`, `suspend` and `resume` take their turn in the mailbox; where nothing
  is before them, or the process is suspended, that is at once.

None of them counts as a message of the process: none is handled by it, or ends its idle timeout.

A *suspended* process handles nothing: what comes waits in its mailbox, and so does the `TIMEOUT`
of a time that passes meanwhile. System messages and orders to end reach it past what waits. So
they do when they were queued already as it was suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from noex.runtime import tracing
from noex.runtime.calls import Caller, LocalCaller
from noex.runtime.current import handler_process
from noex.runtime.errors import InvalidOptionError, NodeNotReachableError, NoProcessError
from noex.runtime.info import info_of, statistics_of
from noex.runtime.states import IDLE, STOP, SUSPENDED, SYSTEM, Item
from noex.runtime.waiting import outcome_for, outcome_from_elsewhere

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref


class Request(NamedTuple):
    """A system message in a mailbox."""

    operation: str
    args: tuple[Any, ...]
    caller: Caller


async def ask(
    kernel: Kernel, ref: Ref[Any], operation: str, args: tuple[Any, ...], timeout: float | None
) -> Any:
    """Send a system message to a process, here or elsewhere, and wait for the answer."""
    kernel.check_usable()
    if not kernel.is_own(ref):
        if kernel.remote is None:
            raise NodeNotReachableError(ref.node_id)
        send = kernel.remote.ask
        return await outcome_from_elsewhere(kernel, send, ref, (operation, *args), timeout)
    process = kernel.find(ref)
    if process is None or not process.is_alive():
        await kernel.turns.give_way()
        raise NoProcessError(ref)
    handler = handler_process()
    if operation in _IN_TURN:
        kernel.refuse_cycle(handler, process)
        if kernel.copier is not None:
            args = kernel.copier(args)
    caller = LocalCaller(kernel.loop.create_future(), ref, timeout)
    accept(process, operation, args, caller)
    if caller.future.done():
        await asyncio.sleep(0)  # who does nothing but ask gives way to the loop
    return await outcome_for(kernel, handler, caller)


def accept(process: Process, operation: Any, args: tuple[Any, ...], caller: Caller) -> None:
    """A system message arrives: carry it out now, or in its turn."""
    request = Request(operation, args, caller)
    if operation in _AT_ONCE:
        _carry_out(process, request, _AT_ONCE[operation])
    elif operation not in _IN_TURN:
        known = ", ".join((*_AT_ONCE, *_IN_TURN))
        caller.fail(InvalidOptionError("operation", operation, f"known are {known}"))
    elif process.status == IDLE or process.status == SUSPENDED:
        _carry_out(process, request, _IN_TURN[operation])
    elif not process.deliver((SYSTEM, request, None)):
        caller.fail(NoProcessError(process.ref))


def take_turn(process: Process, request: Request) -> None:
    """Its turn has come in the mailbox."""
    process.handled -= 1  # it was counted like a message of the process
    _serve(process, request)


def _serve(process: Process, request: Request) -> None:
    if not request.caller.is_over():
        _carry_out(process, request, _IN_TURN[request.operation])


def _carry_out(process: Process, request: Request, operation: Callable[..., Any]) -> None:
    caller = request.caller
    try:
        answer = operation(process, *request.args)
    except Exception as error:  # bad arguments, from another node
        caller.fail(error)
    else:
        caller.answer(answer)


# ---------------------------------------------------------------------- operations


def _get_state(process: Process) -> Any:
    return process.state


def _replace_state(process: Process, state: Any) -> None:
    process.state = state


def _suspend(process: Process) -> None:
    if process.status == SUSPENDED:
        return
    process.status = SUSPENDED
    process.worker = None  # it has nothing to go on with, and ends
    for item in _not_held_up(process):
        if item[0] == STOP:
            process.deliver_first(item)
        else:
            _serve(process, item[1])


def _not_held_up(process: Process) -> list[Item]:
    """Take what a suspension does not hold up out of the mailbox: up to a resume or a stop, after
    which everything goes its way again."""
    taken: list[Item] = []
    mailbox = process.mailbox
    if not mailbox:
        return taken
    left, over = [], False
    for item in mailbox:
        if over or item[0] not in (SYSTEM, STOP):
            left.append(item)
            continue
        taken.append(item)
        over = item[0] == STOP or item[1].operation == "resume"
    if taken:
        mailbox.clear()
        mailbox.extend(left)
    return taken


def _resume(process: Process) -> None:
    if process.status == SUSPENDED:
        process.rest()


_AT_ONCE: Final[dict[str, Callable[..., Any]]] = {
    "info": info_of,
    "statistics": statistics_of,
    "trace": tracing.install,
    "untrace": tracing.remove,
}
_IN_TURN: Final[dict[str, Callable[..., Any]]] = {
    "get_state": _get_state,
    "replace_state": _replace_state,
    "suspend": _suspend,
    "resume": _resume,
}
