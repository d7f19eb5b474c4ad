"""Processes that want to hear of nodes: `NodeUp`, `NodeDown` and the like in `handle_info`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from noex.runtime.states import DEAD

if TYPE_CHECKING:
    from noex.runtime.process import Process


class NodeWatchers:
    """The watching processes of one node, in the order in which they came."""

    __slots__ = ("_processes",)

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}

    def add(self, process: Process) -> Callable[[], None]:
        """Have node events sent to `process` from now on; returns the function that ends this."""
        serial = process.ref.serial
        self._processes[serial] = process

        def remove() -> None:
            self._processes.pop(serial, None)

        return remove

    def tell(self, event: Any) -> None:
        """Send `event` to all that still live."""
        for serial, process in list(self._processes.items()):
            if process.status == DEAD:
                del self._processes[serial]
            else:
                process.deliver_info(event)
