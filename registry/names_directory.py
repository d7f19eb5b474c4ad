"""The directory: who has published which name. Pure data, the same machine on every node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from noex.registry.names_messages import Entry, Row, Uid


class Directory:
    """The published names of all members.

    A name that moved from one node to another may be here twice for a moment, because the two
    nodes' messages are not ordered among each other: the later grant counts.
    """

    def __init__(self) -> None:
        self._holders: dict[str, dict[Uid, Entry]] = {}
        self._names: dict[Uid, set[str]] = {}  # both tables hold the same pairs

    def put(self, uid: Uid, name: str, entry: Entry) -> None:
        """`uid` has published a name."""
        self._holders.setdefault(name, {})[uid] = entry
        self._names.setdefault(uid, set()).add(name)

    def remove(self, uid: Uid, name: str) -> bool:
        """`uid` has given up a name. Returns whether it had it."""
        names = self._names.get(uid)
        if names is None or name not in names:
            return False
        names.discard(name)
        if not names:
            del self._names[uid]
        holders = self._holders[name]
        del holders[uid]
        if not holders:
            del self._holders[name]
        return True

    def replace(self, uid: Uid, rows: Iterable[Row]) -> list[str]:
        """`uid` has published all it has. Returns the names that it has no more."""
        table = {name: Entry(ref, stamp) for name, ref, stamp in rows}
        gone = [name for name in self._names.get(uid, ()) if name not in table]
        for name in gone:
            self.remove(uid, name)
        for name, entry in table.items():
            self.put(uid, name, entry)
        return gone

    def drop(self, uid: Uid) -> None:
        """The life `uid` has ended."""
        self.replace(uid, ())

    def holder(self, name: str) -> tuple[Uid, Entry] | None:
        """Who has the name, by the latest grant."""
        holders = self._holders.get(name)
        if not holders:
            return None
        return max(holders.items(), key=lambda item: (item[1].stamp, item[0]))

    def whereis(self, name: str) -> Any:
        """The ref behind a name, or None."""
        found = self.holder(name)
        return None if found is None else found[1].ref

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._holders)

    def disputed(self) -> Iterator[tuple[str, list[tuple[Uid, Entry]]]]:
        """Names that several nodes have, with their holders, the oldest grant first."""
        for name, holders in list(self._holders.items()):
            if len(holders) > 1:
                yield name, sorted(holders.items(), key=lambda item: (item[1].stamp, item[0]))

    def __len__(self) -> int:
        return len(self._holders)
