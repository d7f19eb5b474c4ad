"""The two tables of a local registry: pure data, found by key and by owner.

The invariant of both: an entry stands under its key exactly if it stands under its owner, and
nothing empty is kept. So an entry is found, added and removed in O(1), and an owner is removed in
as many steps as it has entries.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import chain
from typing import Any, Protocol

from noex.runtime.errors import NameTakenError
from noex.runtime.ref import Ref


class Record:
    """An entry, as the tables keep it. `place` is what `place_of` says for its key."""

    __slots__ = ("key", "place", "ref", "value")

    def __init__(self, key: Any, place: Hashable, ref: Ref[Any], value: Any) -> None:
        self.key = key
        self.place = place
        self.ref = ref
        self.value = value


class Table(Protocol):
    """What both tables can do. Owners are known by the serial of their ref."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Record]: ...

    def at(self, place: Hashable) -> list[Record]:
        """All entries of a key."""

    def of(self, serial: int, place: Hashable) -> list[Record]:
        """The entries of one owner under one key."""

    def all_of(self, serial: int) -> list[Record]:
        """The entries of one owner."""

    def has_owner(self, serial: int) -> bool:
        """Whether this owner has any entry."""

    def add(self, record: Record) -> None:
        """Add an entry, or raise `NameTakenError`."""

    def discard(self, record: Record) -> bool:
        """Remove an entry. Returns whether it was there."""

    def pop_owner(self, serial: int) -> list[Record]:
        """Remove all entries of an owner, and return them in the order in which they came."""


class UniqueTable:
    """At most one entry for each key."""

    def __init__(self) -> None:
        self._records: dict[Hashable, Record] = {}
        self._owned: dict[int, dict[Hashable, Record]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def at(self, place: Hashable) -> list[Record]:
        record = self._records.get(place)
        return [] if record is None else [record]

    def of(self, serial: int, place: Hashable) -> list[Record]:
        record = self._records.get(place)
        return [record] if record is not None and record.ref.serial == serial else []

    def all_of(self, serial: int) -> list[Record]:
        return list(self._owned.get(serial, {}).values())

    def has_owner(self, serial: int) -> bool:
        return serial in self._owned

    def add(self, record: Record) -> None:
        holder = self._records.setdefault(record.place, record)
        if holder is not record:
            raise NameTakenError(record.key, holder.ref)
        self._owned.setdefault(record.ref.serial, {})[record.place] = record

    def discard(self, record: Record) -> bool:
        if self._records.get(record.place) is not record:
            return False
        del self._records[record.place]
        owned = self._owned[record.ref.serial]
        del owned[record.place]
        if not owned:
            del self._owned[record.ref.serial]
        return True

    def pop_owner(self, serial: int) -> list[Record]:
        owned = self._owned.pop(serial, {})
        for place in owned:
            del self._records[place]
        return list(owned.values())


class DuplicateTable:
    """Any number of entries for each key, of one owner too."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, dict[int, list[Record]]] = {}  # by key, then by owner
        self._owned: dict[int, dict[Record, None]] = {}  # in the order in which they came
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        for bucket in self._buckets.values():
            yield from chain.from_iterable(bucket.values())

    def at(self, place: Hashable) -> list[Record]:
        return list(chain.from_iterable(self._buckets.get(place, {}).values()))

    def of(self, serial: int, place: Hashable) -> list[Record]:
        return list(self._buckets.get(place, {}).get(serial, ()))

    def all_of(self, serial: int) -> list[Record]:
        return list(self._owned.get(serial, ()))

    def has_owner(self, serial: int) -> bool:
        return serial in self._owned

    def add(self, record: Record) -> None:
        serial = record.ref.serial
        self._buckets.setdefault(record.place, {}).setdefault(serial, []).append(record)
        self._owned.setdefault(serial, {})[record] = None
        self._count += 1

    def discard(self, record: Record) -> bool:
        serial, place = record.ref.serial, record.place
        owned = self._owned.get(serial, {})
        if record not in owned:
            return False
        del owned[record]
        if not owned:
            del self._owned[serial]
        bucket = self._buckets[place]
        bucket[serial].remove(record)
        if not bucket[serial]:
            self._drop(place, serial)
        self._count -= 1
        return True

    def pop_owner(self, serial: int) -> list[Record]:
        found = self.all_of(serial)
        self._owned.pop(serial, None)
        for place in {record.place for record in found}:
            self._drop(place, serial)
        self._count -= len(found)
        return found

    def _drop(self, place: Hashable, serial: int) -> None:
        bucket = self._buckets[place]
        del bucket[serial]
        if not bucket:
            del self._buckets[place]
