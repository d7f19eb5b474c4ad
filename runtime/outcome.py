"""What follows from what a handler returned: the reply, the new state, what comes next, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noex.runtime import exits
from noex.runtime.awaitables import is_awaitable
from noex.runtime.errors import BadReturnValueError
from noex.runtime.messages import TIMEOUT
from noex.runtime.reports import report_stop
from noex.runtime.returns import NO_TOKEN, UNCHANGED, NoReply, Reply, Stop, _Next, is_no_state
from noex.runtime.states import CALL, CALLBACK_NAMES, CONTINUE, INFO, RUNNING, Item

if TYPE_CHECKING:
    from noex.runtime.process import Process


def finish(process: Process, item: Item, result: Any) -> None:
    """Carry out what a handler returned."""
    if process.doomed is not None:  # cancelled, or killed from inside its own handler
        exits.doom_fulfilled(process)
    elif process.status == RUNNING:
        try:
            _obey(process, item, result)
        except Exception as error:  # an awaitable as the reply of a `Stop`, a bad timeout
            _crash(process, item, error)
        process.caller = None


def _crash(process: Process, item: Item, error: Exception) -> None:
    process.last_message = item[1]
    exits.crashed(process, error)


def _obey(process: Process, item: Item, result: Any) -> None:
    kind = item[0]
    if type(result) is Stop:
        _stop_as_told(process, item, result)
    elif kind == CALL:
        _finish_call(process, item, result)
    elif result is None:
        pass
    elif type(result) is NoReply:
        follow_up(process, result)
    elif is_no_state(result):
        _crash(process, item, BadReturnValueError(CALLBACK_NAMES[kind], result))
    else:
        process.state = result


def _finish_call(process: Process, item: Item, result: Any) -> None:
    caller = item[2]
    assert caller is not None
    follow: _Next | None = None
    if type(result) is tuple and len(result) == 2:
        reply, state = result
    elif type(result) is Reply:
        reply, state, follow = result.value, result.state, result
    elif type(result) is NoReply:
        follow_up(process, result)
        return
    else:
        _crash(process, item, BadReturnValueError("handle_call", result))
        return
    if is_awaitable(reply):
        _crash(process, item, BadReturnValueError("handle_call", reply))
        return
    if state is not UNCHANGED:
        process.state = state
    caller.answer(reply)
    if follow is not None:
        follow_up(process, follow)


def _stop_as_told(process: Process, item: Item, stop: Stop) -> None:
    process.last_message = item[1]
    if stop.state is not UNCHANGED:
        process.state = stop.state
    caller = process.caller
    if item[0] == CALL and caller is not None and stop.reply is not UNCHANGED:
        caller.reply(stop.reply)
    try:
        report_stop(process, stop.reason)
    finally:  # a log of the program's own may raise
        exits.begin(process, stop.reason)


def follow_up(process: Process, result: _Next) -> None:
    """Take over the state, and arrange the continuation and the idle timeout asked for."""
    if result.state is not UNCHANGED:
        process.state = result.state
    if result.timeout is not None:
        if result.timeout <= 0:
            process.deliver_first((INFO, TIMEOUT, None))
        else:
            process.await_messages(result.timeout)
    if result.continue_with is not NO_TOKEN:
        process.deliver_first((CONTINUE, result.continue_with, None))
