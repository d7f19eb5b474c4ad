"""For tests of handlers that run in threads: processes, and places where a thread stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from actors import TidyActor, run

from noex.runtime.kernel import Kernel
from noex.runtime.returns import NoReply

LIMIT = 8.0  # seconds: a thread that nobody lets go fails its test by itself


class BlockingActor(TidyActor):
    """An actor whose callbacks run in a thread."""

    blocking = True


class Door:
    """Where a thread stands still until the test opens it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def pass_through(self, *_: Any) -> NoReply:
        """Say that somebody is here, and wait. A handler for every kind of message."""
        self.reached.set()
        assert self.opened.wait(LIMIT), "nobody has opened the door"
        return NoReply()


def node_threads() -> list[threading.Thread]:
    """The threads that run handlers."""
    return [thread for thread in threading.enumerate() if " blocking " in thread.name]


def run_threads(main: Callable[[Kernel], Awaitable[None]], **options: Any) -> None:
    """As `run`, and no thread may be left either."""
    run(main, **options)
    deadline = time.monotonic() + 2.0
    while node_threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert node_threads() == []
