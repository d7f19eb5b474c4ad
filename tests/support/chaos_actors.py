"""What the nodes of a chaos run execute: children that write down their lives, and a census."""

from __future__ import annotations

import os
import time
from typing import Any

from cluster_actors import append, hold_gil

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer
from noex.runtime.returns import Stop


class Crash(Exception):
    """How children die."""


@behavior("survivor")
class Survivor(GenServer[Any]):
    """A child of a chaos run."""

    def init(self, journal: str, child: str, *args: Any) -> Any:
        self.journal, self.child, self.given = journal, child, args
        self._write("start")
        return 0

    def _write(self, what: str) -> None:
        line = {"what": what, "child": self.child, "pid": os.getpid()}
        append(self.journal, {**line, "token": self.fence, "args": self.given})

    def handle_call(self, message: Any, state: Any) -> Any:
        return (os.getpid(), self.child, tuple(self.fence), self.given), state

    def handle_cast(self, message: Any, state: Any) -> Any:
        match message:
            case "crash":
                raise Crash(self.child)
            case ("end", reason):
                return Stop(reason)
            case ("block", seconds):
                time.sleep(seconds)
            case ("hold", seconds):
                hold_gil(seconds)
        return None

    def terminate(self, reason: Any, state: Any) -> None:
        self._write("end")


@behavior("census")
class Census(GenServer[Any]):
    """Counts the survivors of its node, without asking any supervisor."""

    def init(self) -> Any:
        return None

    def handle_call(self, message: Any, state: Any) -> Any:
        found = [
            (server.child, os.getpid(), tuple(server.fence), server.given, process.ref)
            for process in self.kernel.processes.values()
            if isinstance(server := process.server, Survivor) and hasattr(server, "given")
        ]
        return found, state
