"""Ctrl-C and SIGTERM, from the first moment of a command to its last.

asyncio takes its own handlers away while a loop closes, and then Ctrl-C is a traceback. So these
are plain signal handlers: they are there before the loop and after it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once(number: int, _frame: Any = None) -> None:
    """The handler while there is nothing to be put in order."""
    os._exit(128 + number)


def leave(status: int) -> NoReturn:
    """End with `status`, all being done. While Python ends, a signal would change the status."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def on_stop_signals(loop: AbstractEventLoop, heard: Callable[[int], None]) -> None:
    """Have `heard(number)` called on `loop` for each SIGINT, SIGTERM and SIGHUP.

    Once the loop is closed, such a signal ends the program at once.
    """

    def handle(number: int, frame: Any) -> None:
        try:
            loop.call_soon_threadsafe(heard, number)
        except RuntimeError:  # the loop is closed
            end_at_once(number, frame)

    for number in STOPPING:
        signal.signal(number, handle)
