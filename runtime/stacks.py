"""What a thread is doing right now, read from its frames: for the watchdog.

The frames of a loop's thread, from the outside in::

    ... run_forever, _run_once, Handle._run    the loop and the callback that it runs
    Scheduler._drain, Process.run_slice, ...   the runtime, with a `Process` in `self` or `process`
    Worker.handle_cast, helper, ...            the code of that process

The innermost frame of the runtime with a `Process` tells whose code it is: with calls in the
caller's turn, several processes are on one stack. A task that has no such frame (an `init` that is
a coroutine, `spawn_task`) belongs to the process of its context.

Only the locals of frames of asyncio and of the runtime are looked at, never those of user code,
and no frame is kept: nothing lives longer because somebody looked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.current import current_process
from noex.runtime.process import Process

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel

DEPTH: Final = 64  # lines of a stack in the log, the innermost
_RUN_ONCE: Final[CodeType] = asyncio.base_events.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]
_RUN: Final[CodeType] = asyncio.Handle._run.__code__
_RUNTIME: Final = "noex.runtime."


@dataclass(frozen=True, slots=True)
class Activity:
    """Who holds the loop. Strings only: what was seen may be gone when it is told."""

    stack: tuple[str, ...]  # "file:line in function", the innermost last
    behavior: str | None = None  # None: it is in no process
    name: str | None = None
    ref: str | None = None
    handler: str | None = None  # the function that the runtime called
    elsewhere: bool = False  # it is a process of another node of this thread


def running_handle(frame: FrameType | None) -> tuple[bool, Any]:
    """Whether the loop is at work, and the asyncio handle that it runs.

    An idle loop gives (False, None). One that has no frames, because it is not asyncio's own, may
    be at work on anything: (True, None).
    """
    called: FrameType | None = None
    while frame is not None:
        if frame.f_code is _RUN_ONCE:
            if called is None or called.f_code is not _RUN:
                return False, None
            return True, called.f_locals.get("self")
        called, frame = frame, frame.f_back
    return True, None


def activity(innermost: FrameType | None, kernel: Kernel) -> Activity:
    """Who runs, as seen from the innermost frame of the thread of that kernel's loop."""
    frames = _callback_frames(innermost)
    process, called = _by_frames(frames)
    if process is None:
        _, handle = running_handle(innermost)
        process, called = _by_task(handle), frames
    lines = tuple(_line(frame) for frame in frames[-DEPTH:])
    if process is None:
        return Activity(lines)
    if process.kernel is not kernel:
        return Activity(lines, elsewhere=True)
    return Activity(
        lines,
        process.callbacks.behavior,
        process.name,
        str(process.ref),
        _first_beyond_the_runtime(called),
    )


def _callback_frames(frame: FrameType | None) -> list[FrameType]:
    """The frames of what the loop runs, the outermost first; all, if there is no loop in them."""
    found: list[FrameType] = []
    while frame is not None and frame.f_code is not _RUN:
        found.append(frame)
        frame = frame.f_back
    found.reverse()
    return found


def _by_frames(frames: list[FrameType]) -> tuple[Process | None, list[FrameType]]:
    """The process of the innermost frame that has one, and the frames that it has called."""
    for depth in range(len(frames) - 1, -1, -1):
        frame = frames[depth]
        if _is_runtime(frame):
            for name in ("self", "process"):
                value = frame.f_locals.get(name)
                if isinstance(value, Process):
                    return value, frames[depth + 1 :]
    return None, []


def _by_task(handle: Any) -> Process | None:
    """The process of the task that a handle steps: tasks inherit it in their context."""
    callback = getattr(handle, "_callback", None)
    if not isinstance(getattr(callback, "__self__", None), asyncio.Task):
        return None
    context = getattr(handle, "_context", None)
    return None if context is None else context.get(current_process)


def _first_beyond_the_runtime(frames: list[FrameType]) -> str | None:
    return next((frame.f_code.co_name for frame in frames if not _is_runtime(frame)), None)


def _is_runtime(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_RUNTIME)


def _line(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
