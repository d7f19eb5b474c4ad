"""Who is running: the process whose code is executed, known through a context variable.

The variable is set once in the context that a process owns, so it is right in `def` and
`async def` handlers and in every task that they start.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from noex.runtime.calls import Caller
    from noex.runtime.process import Process

current_process: ContextVar[Process | None] = ContextVar("noex_process", default=None)

NOBODY: Final = (None, None)
task_caller: ContextVar[tuple[Process | None, Caller | None]] = ContextVar(
    "noex_caller", default=NOBODY
)
"""In a task that a handler started: the process, and the caller whose message it handled then.

With the process, because a process that is started by a handler inherits its context.
"""


def handler_process() -> Process | None:
    """The process whose *handler* is this very task, or None.

    A task that a handler started has the same context, but may wait for its own process. That
    in which a handler in a thread waits (`self.run`) stands for the handler.
    """
    process = current_process.get()
    if process is None or process.worker is None:
        return None
    task = asyncio.current_task()
    is_it = task is process.worker or (task is process.runner and task is not None)
    return process if is_it else None
