"""The states of a process and the kinds of message in a mailbox: plain ints, for speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from noex.runtime.calls import Caller

STARTING: Final = 0  # `init` is running; the mailbox collects
IDLE: Final = 1  # nothing to do
QUEUED: Final = 2  # has messages, waits for its turn on the run queue
RUNNING: Final = 3  # a handler is running, on the stack or in the worker
SUSPENDED: Final = 4  # handles nothing but system messages; the mailbox collects
STOPPING: Final = 5  # `terminate` is running
CLOSED: Final = 6  # killed: takes no messages, its handler is being cancelled
DEAD: Final = 7

STATUS_NAMES: Final = (
    "starting",
    "idle",
    "queued",
    "running",
    "suspended",
    "stopping",
    "stopping",
    "dead",
)

CALL: Final = 0
CAST: Final = 1
INFO: Final = 2
CONTINUE: Final = 3
STOP: Final = 4  # an ordered stop, in its turn
EXIT: Final = 5  # an exit signal, before all that is queued
TERMINATE: Final = 6  # no message: `terminate`, where callbacks are looked up by kind
SYSTEM: Final = 7  # a system message (`noex.runtime.system`)

MESSAGES_PER_SLICE: Final = 64  # of one process at most, before the next one has its turn

CALLBACK_NAMES: Final = (
    "handle_call",
    "handle_cast",
    "handle_info",
    "handle_continue",
    "handle_stop",
    "handle_stop",
    "terminate",
    "_system",
)

Item: TypeAlias = "tuple[int, Any, Caller | None]"
"""A message in a mailbox: its kind, what was sent, and who waits for the reply of a call."""
