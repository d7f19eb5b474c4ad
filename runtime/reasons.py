"""Exit reasons: why a process ended.

A reason is one of the strings below, the pair ``("shutdown", detail)``, an exception (a crash),
or any value that a program passes to `Stop` or `ref.exit`.
"""

from __future__ import annotations

from typing import Any, Final

from noex.runtime.errors import RemoteError

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


def is_same(asked: Any, reason: Any) -> bool:
    """Whether a process ended with the very reason that was asked for.

    An exception that has travelled is another object, and perhaps a `RemoteError`: it is known
    by its class and text then.
    """
    if asked is reason:
        return True
    if isinstance(asked, BaseException):
        return isinstance(reason, BaseException) and _looks(asked) == _looks(reason)
    if is_shutdown(asked) and is_shutdown(reason) and isinstance(asked, tuple):
        return isinstance(reason, tuple) and is_same(asked[1], reason[1])
    try:
        return bool(asked == reason)
    except Exception:  # `==` is a user's code
        return False


def _looks(error: BaseException) -> tuple[str, str]:
    """The class and the text of an exception, on whichever node it was raised."""
    if isinstance(error, RemoteError):
        return error.args[0], error.args[1]
    cls = type(error)
    try:
        return f"{cls.__module__}.{cls.__qualname__}", str(error)
    except Exception:  # so is `__str__`
        return f"{cls.__module__}.{cls.__qualname__}", ""
