"""Crash reports: one structured log record for each process that ends badly."""

from __future__ import annotations

import asyncio
import logging
import reprlib
import threading
from collections.abc import Callable
from inspect import iscoroutine
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.frames import frame_of
from noex.runtime.reasons import is_orderly

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

# By the kinds of a mailbox.
KINDS: Final = ("call", "cast", "info", "continue", "stop", "exit")
_LET_IT_PASS: Final = "it swallows CancelledError or blocks; let CancelledError pass"
_SET_A_TIMEOUT: Final = "a thread cannot be cancelled; give what it waits for a timeout"
_records = logging.getLogger("noex")
MOST_SHOWN: Final = 16  # ancestors, and links
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 300


def in_brief(value: Any) -> str:
    """The repr, cut short."""
    return _brief.repr(value)


def _exc_info(error: BaseException) -> tuple[type[BaseException], BaseException, Any]:
    return type(error), error, error.__traceback__


def _told(process: Process, what: str, show: Callable[[], str]) -> str:
    """What a program's own code says: nothing that it raises keeps a process from its end."""
    try:
        return show()
    except KeyboardInterrupt as error:
        interrupted_aside(process, error)
        return f"<{what} was interrupted>"
    except BaseException as error:
        return f"<{what} failed: {_brief.repr(error)}>"


def interrupted_aside(process: Process, error: KeyboardInterrupt) -> None:
    """Ctrl-C in what must be brought to its end: it goes its own way to the loop, a turn later."""

    def propagate() -> None:
        raise error

    process.kernel.interrupted(error)
    process.kernel.loop.call_soon(propagate)


def _state_for_people(process: Process) -> str:
    def show() -> str:
        status = process.server.format_status(process.state)
        if iscoroutine(status):
            status.close()
            return "<format_status has to be `def`, not `async def`>"
        return _brief.repr(status)

    return _told(process, "format_status", show)


def _ancestors(process: Process) -> list[str]:
    """Whose child it is, and whose child that is, as far as they live here."""
    found: list[str] = []
    youngest: Process | None = process
    while youngest is not None and youngest.parent is not None and len(found) < MOST_SHOWN:
        found.append(str(youngest.parent))
        local = process.kernel.is_own(youngest.parent)
        youngest = process.kernel.find(youngest.parent) if local else None
    return found


def _who(process: Process) -> dict[str, str | None]:
    return {
        "behavior": process.callbacks.behavior,
        "name": process.name,
        "ref": str(process.ref),
    }


def report_crash(process: Process, error: BaseException) -> None:
    """A callback raised, or returned what it may not."""
    process.kernel.log.error(
        "process_crashed",
        **_who(process),
        ancestors=_ancestors(process),
        links=[str(other) for other in islice(process.links or (), MOST_SHOWN)],
        queued=len(process.mailbox or ()),
        last_message=_told(process, "repr", lambda: _brief.repr(process.last_message)),
        state=_state_for_people(process),
        exc_info=_exc_info(error),
    )


def report_stop(process: Process, reason: Any) -> None:
    """A process stops itself. Worth a record, unless the reason is an orderly end."""
    if isinstance(reason, BaseException):
        report_crash(process, reason)
    elif not is_orderly(reason):
        process.kernel.log.warning(
            "process_stopped",
            **_who(process),
            reason=_told(process, "repr", lambda: _brief.repr(reason)),
        )


def report_terminate_failure(process: Process, error: BaseException) -> None:
    """`terminate` raised; the exit reason stays what it was."""
    process.kernel.log.error(
        "terminate_failed",
        **_who(process),
        exc_info=_exc_info(error),
    )


def report_untold(process: Process, error: Exception) -> None:
    """Somebody who watches a process, or is linked to it, could not be told of its end."""
    process.kernel.log.error(
        "end_not_told",
        **_who(process),
        exc_info=_exc_info(error),
    )


def report_zombie(process: Process, remains: asyncio.Future[Any]) -> None:
    """A killed handler, or a task of an ended process, still runs after the grace time."""
    if isinstance(remains, asyncio.Task):
        stack, advice = _stack(remains), _LET_IT_PASS
    else:
        stack, advice = thread_stack(process.thread), _SET_A_TIMEOUT
    process.kernel.log.error(
        "zombie",
        **_who(process),
        stack=stack,
        advice=advice,
    )


def thread_stack(ident: int | None) -> list[str]:
    """Where a thread stands, the innermost call last."""
    frame = frame_of(ident)
    lines: list[str] = []
    while frame is not None and len(lines) < 32:
        code = frame.f_code
        lines.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        frame = frame.f_back
    lines.reverse()
    return lines


def report_threads_busy(kernel: Kernel, threads: int, waiting: int, zombies: int) -> None:
    """Handlers have waited long for a thread to run in."""
    kernel.log.warning("threads_busy", threads=threads, waiting=waiting, zombies=zombies)


def report_stuck_threads(kernel: Kernel, stuck: list[threading.Thread]) -> None:
    """The node has ended, and these run on: Python cannot end them."""
    for thread in stuck:
        kernel.log.error("thread_stuck", thread=thread.name, stack=thread_stack(thread.ident))


def _stack(task: asyncio.Task[Any]) -> list[str]:
    """Where a task stands, down to what it awaits (`Task.get_stack` knows the top alone)."""
    lines: list[str] = []
    waiting: Any = task.get_coro()
    while waiting is not None and len(lines) < 32:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is None:
            break
        code = frame.f_code
        lines.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return lines


def report_unexpected_info(process: Process, message: Any) -> None:
    """A message came to a process without `handle_info`."""
    process.kernel.log.warning(
        "unexpected_message",
        **_who(process),
        message=_brief.repr(message),
    )


def report_refused_cast(process: Process, error: Exception) -> None:
    """A method was cast that the process does not have, or with arguments that do not fit."""
    process.kernel.log.warning(
        "cast_refused",
        **_who(process),
        error=str(error),
    )


def report_full_mailbox(process: Process) -> None:
    """Messages of others do not get into a bounded mailbox, or push out older ones."""
    process.kernel.log.warning(
        "mailbox_full",
        **_who(process),
        limit=process.bound.limit if process.bound else None,
        policy=process.bound.policy if process.bound else None,
        dropped=process.dropped,
    )


def report_trace(process: Process, direction: str, kind: str, message: Any) -> None:
    """A message to a traced process, or an answer of it."""
    process.kernel.log.info(
        "process_trace",
        **_who(process),
        direction=direction,
        kind=kind,
        message=_brief.repr(message),
    )


def report_trace_hook_failed(process: Process, error: BaseException) -> None:
    """A hook of `ref.trace` raised; it is not called again."""
    process.kernel.log.warning(
        "trace_hook_failed",
        **_who(process),
        exc_info=_exc_info(error),
    )


def report_dead_letter(kernel: Kernel, ref: Ref[Any], kind: int, message: Any) -> None:
    """A message went to a process that is not (or no longer) there. Only told at debug.

    Dead letters come in floods, so with debug off this is one look at a cached flag.
    """
    if _records.isEnabledFor(logging.DEBUG):
        kernel.log.debug(
            "dead_letter", ref=str(ref), kind=KINDS[kind], message=_brief.repr(message)
        )
