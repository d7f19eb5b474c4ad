"""What this node has open with each peer: calls, monitors and links, in both directions.

A row is here from the moment something is asked of a peer until it is answered or the peer's life
ends; then `lose` settles every row once. After that the tables are empty.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from noex.runtime.errors import NodeNotReachableError
from noex.runtime.reasons import NOCONNECTION

if TYPE_CHECKING:
    from noex.runtime.calls import Caller, LocalCaller
    from noex.runtime.kernel import Kernel
    from noex.runtime.monitors import Monitor
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

Uid = tuple[str, int]


class Peer:
    """One life of another node."""

    __slots__ = (
        "calls",
        "incoming",
        "is_alone",
        "is_lost",
        "links",
        "monitors",
        "node_id",
        "uid",
        "unlinking",
        "watched",
    )

    def __init__(self, uid: Uid) -> None:
        self.uid = uid
        self.node_id = uid[0]
        self.is_lost = False
        self.is_alone = False  # its last message came by itself: few calls are under way
        self.calls: dict[int, LocalCaller] = {}  # ours, waiting for its reply
        self.monitors: dict[int, Monitor] = {}  # ours, on its processes
        self.links: set[tuple[Ref[Any], Ref[Any]]] = set()  # (own process, its process)
        # Unlinks that were not answered yet, by (own serial, its serial). A link of the peer that
        # arrives meanwhile was made before it heard of ours: else only we would have it.
        self.unlinking: Counter[tuple[int, int]] = Counter()
        self.incoming: dict[int, Caller] = {}  # its calls that our processes still owe
        self.watched: dict[int, Process] = {}  # its monitors, on our processes

    @property
    def open_rows(self) -> int:
        """How many rows are open, over all tables."""
        return (
            len(self.calls)
            + len(self.monitors)
            + len(self.links)
            + len(self.unlinking)
            + len(self.incoming)
            + len(self.watched)
        )

    def lose(self, kernel: Kernel) -> None:
        """This life has ended: fail, fire and break everything that is open, exactly once."""
        self.is_lost = True
        for caller in _emptied(self.calls):
            caller.fail(NodeNotReachableError(self.node_id))
        for caller in _emptied(self.incoming):
            caller.abandon()
        watched = list(self.watched.items())
        self.watched.clear()
        for ident, process in watched:
            if process.watchers is not None:
                process.watchers.pop((self.uid, ident), None)
        for monitor in _emptied(self.monitors):
            monitor.fire(NOCONNECTION)
        self.unlinking.clear()
        links = list(self.links)
        self.links.clear()
        for own, other in links:
            kernel.link_broken(other, own, NOCONNECTION)


def _emptied(table: dict[int, Any]) -> list[Any]:
    rows = list(table.values())
    table.clear()
    return rows
