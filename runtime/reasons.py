"""Exit reasons: why a process ended.

A reason is one of the strings below, the pair ``("shutdown", detail)``, an exception (a crash),
or any value that a program passes to `Stop` or `ref.exit`.
"""

from __future__ import annotations

from typing import Any, Final

NORMAL: Final = "normal"
SHUTDOWN: Final = "shutdown"
KILLED: Final = "killed"
KILL: Final = "kill"  # as a signal only; the process that dies of it has reason KILLED
NOPROC: Final = "noproc"
NOCONNECTION: Final = "noconnection"

ORPHANED: Final = (SHUTDOWN, "orphaned")
SUPERSEDED: Final = (SHUTDOWN, "superseded")
NODE_STOPPED: Final = (SHUTDOWN, "node_stopped")


def says(reason: Any, word: str) -> bool:
    """Whether `reason` is this word. (`==` of any value may do anything.)"""
    return isinstance(reason, str) and reason == word


def is_shutdown(reason: Any) -> bool:
    """Whether `reason` is ``"shutdown"`` or ``("shutdown", detail)``."""
    if isinstance(reason, tuple):
        return len(reason) == 2 and says(reason[0], SHUTDOWN)
    return says(reason, SHUTDOWN)


def is_node_stop(reason: Any) -> bool:
    """Whether a process ended because its node stops: no doing of its own."""
    return isinstance(reason, tuple) and is_shutdown(reason) and says(reason[1], NODE_STOPPED[1])


def is_orderly(reason: Any) -> bool:
    """Whether `reason` is an orderly end: after it a transient child is not restarted."""
    return says(reason, NORMAL) or is_shutdown(reason)


def is_crash(reason: Any) -> bool:
    """Whether `reason` deserves a crash report (an exception that is not an ordered end)."""
    return isinstance(reason, BaseException)
