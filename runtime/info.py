"""What can be seen of a process from outside, without disturbing it: `ref.info`, `ref.statistics`.

Both are read off the process as it stands, also while it is busy or suspended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from noex.runtime.execution import in_progress
from noex.runtime.reports import in_brief
from noex.runtime.states import CALLBACK_NAMES, STARTING, STATUS_NAMES, STOPPING
from noex.runtime.typed import MethodCall

if TYPE_CHECKING:
    from noex.runtime.mailboxes import Mailbox
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

Status = Literal["starting", "idle", "queued", "running", "suspended", "stopping"]

_BESIDE_MESSAGES: Final = {STARTING: "init", STOPPING: "terminate"}


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process, as it was when its node answered.

    - `status`: ``"starting"`` (`init` runs), ``"idle"``, ``"queued"`` (it has messages, and waits
      for its turn), ``"running"`` (a handler runs or awaits), ``"suspended"``, ``"stopping"``.
    - `mailbox_length`: messages that wait. `mailbox`: its bound, if it has one; `messages_dropped`:
      how many that one has refused or dropped.
    - `messages_handled`: since it was started. `started_at`: seconds of the Unix epoch.
    - `links`; `monitors`: whom it watches; `monitored_by`: how many watch it.
    - `current_handler`, `current_message`: the callback that awaits something, and what it
      handles, in brief; None for a plain `def`. `calling`: whom it waits for.
    - `parent`: its supervisor. `fence`: see `GenServer.fence`.
    """

    ref: Ref[Any]
    behavior: str
    name: str | None
    node_id: str
    status: Status
    mailbox_length: int
    messages_handled: int
    started_at: float
    links: tuple[Ref[Any], ...] = ()
    monitors: tuple[Ref[Any], ...] = ()
    monitored_by: int = 0
    parent: Ref[Any] | None = None
    current_handler: str | None = None
    current_message: str | None = None
    calling: Ref[Any] | None = None
    trap_exits: bool = False
    fence: Any = None
    is_traced: bool = False
    mailbox: Mailbox | None = None
    messages_dropped: int = 0


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """What a process has done so far, and what it has open.

    Nothing is counted for this that is not counted anyway, so it costs nothing to be asked.

    - `uptime`: seconds since it was started.
    - `messages_handled`, and `messages_per_second`, the mean of all that time.
    - `mailbox_length`: messages that wait; `messages_dropped`: by a bounded mailbox.
    - `replies_owed`: calls that it has taken, and not answered yet.
    - `timers`: of `send_after`; `tasks`: of `spawn_task`.
    """

    uptime: float
    messages_handled: int
    messages_per_second: float
    mailbox_length: int
    messages_dropped: int
    replies_owed: int
    timers: int
    tasks: int


def info_of(process: Process) -> ProcessInfo:
    """`ref.info`."""
    handler, message = _current(process)
    status: Any = STATUS_NAMES[process.status]
    return ProcessInfo(
        ref=process.ref,
        behavior=process.callbacks.behavior,
        name=process.name,
        node_id=process.kernel.node_id,
        status=status,
        mailbox_length=len(process.mailbox or ()),
        messages_handled=process.handled,
        started_at=process.started_at,
        links=tuple(process.links or ()),
        monitors=tuple(monitor.ref for monitor in process.monitoring or ()),
        monitored_by=len(process.watchers or ()),
        parent=process.parent,
        current_handler=handler,
        current_message=message,
        calling=None if process.waiting_on is None else process.waiting_on.ref,
        trap_exits=process.trap_exits,
        fence=process.fence,
        is_traced=process.tracing is not None,
        mailbox=process.bound,
        messages_dropped=process.dropped,
    )


def statistics_of(process: Process) -> ProcessStatistics:
    """`ref.statistics`."""
    uptime = max(process.kernel.clock.wall() - process.started_at, 0.0)
    return ProcessStatistics(
        uptime=uptime,
        messages_handled=process.handled,
        messages_per_second=process.handled / uptime if uptime else 0.0,
        mailbox_length=len(process.mailbox or ()),
        messages_dropped=process.dropped,
        replies_owed=len(process.open_calls or ()),
        timers=len(process.timers or ()),
        tasks=len(process.tasks or ()),
    )


def _current(process: Process) -> tuple[str | None, str | None]:
    """The handler that awaits, and its message."""
    if process.worker is None:
        return None, None
    if process.status in _BESIDE_MESSAGES:
        return _BESIDE_MESSAGES[process.status], None
    item = in_progress(process)
    if item is None:
        return None, None
    kind, message, _ = item
    if type(message) is MethodCall:
        return str(message.name), in_brief((message.args, message.kwargs))
    return CALLBACK_NAMES[kind], in_brief(message)
