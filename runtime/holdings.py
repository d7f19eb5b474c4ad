"""What is kept for processes elsewhere in the node, and ends together with them.

A registry keeps entries of processes. They must be gone before anybody can hear that the process
is: so they are given up where the local name of a process is, not by a monitor among monitors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from noex.runtime.reports import report_untold

if TYPE_CHECKING:
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

Forget = Callable[["Ref[Any]"], None]


class Holdings:
    """Who keeps something for which process of one node. Empty for processes without any."""

    __slots__ = ("by_serial",)

    def __init__(self) -> None:
        self.by_serial: dict[int, tuple[Forget, ...]] = {}

    def add(self, serial: int, forget: Forget) -> None:
        """Have `forget(ref)` called when the process ends, before its callers and monitors hear."""
        self.by_serial[serial] = (*self.by_serial.get(serial, ()), forget)

    def discard(self, serial: int, forget: Forget) -> None:
        """Nothing is kept there for the process any more."""
        left = tuple(each for each in self.by_serial.get(serial, ()) if each is not forget)
        if left:
            self.by_serial[serial] = left
        else:
            self.by_serial.pop(serial, None)

    def settle(self, process: Process) -> None:
        """The process has ended: have all that is kept for it forgotten."""
        for forget in self.by_serial.pop(process.ref.serial, ()):
            try:
                forget(process.ref)
            except Exception as error:  # the others, and the rest of its end, must not suffer
                report_untold(process, error)
