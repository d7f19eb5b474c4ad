"""Where each thread is: `sys._current_frames`, made safe to call from any thread.

It holds a lock of the interpreter, for which whoever starts a thread waits, with the GIL. If the
garbage collector runs meanwhile, and with it any code of Python, that code may have to wait for the
GIL: then nobody goes on, for ever (CPython gh-106883; later versions keep the collector out
themselves). So there is no collection in it here.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from types import FrameType

_one_at_a_time = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child must not begin with the collector switched off
    os.register_at_fork(
        before=_one_at_a_time.acquire,
        after_in_parent=_one_at_a_time.release,
        after_in_child=_one_at_a_time.release,
    )


def frame_of(thread: int | None) -> FrameType | None:
    """The innermost frame of a thread, None for one that there is not (any more)."""
    return _current_frames().get(thread or 0)


def _current_frames() -> dict[int, FrameType]:
    with _one_at_a_time:  # else one could switch the collector on while another is inside
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames()
        finally:
            if was_enabled:
                gc.enable()
