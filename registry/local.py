"""Registry: the processes of one node by key, with values; and publish and subscribe with it.

A registry is no process: everything it does is done when the method returns, in the turn of the
caller. It belongs to the loop of its node, and nothing else changes it, so there are no races.

What happens to an entry when its process ends, in this order: (1) the entry goes, with all others
of the process, (2) listeners hear `Unregistered`, (3) the waiting callers of the process fail, its
monitors fire. So whoever has seen a process end finds its keys free.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, get_args

from noex.registry.local_entries import (
    K,
    Listener,
    Registered,
    RegistryEntry,
    SelectedEntry,
    Unregistered,
    V,
)
from noex.registry.local_listeners import Listeners
from noex.registry.local_patterns import ANYTHING, is_open, matches, place_of
from noex.registry.local_tables import DuplicateTable, Record, Table, UniqueTable
from noex.runtime.current import current_process
from noex.runtime.errors import InvalidOptionError, NoProcessError
from noex.runtime.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Hashable

    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process

Keys = Literal["unique", "duplicate"]
_NONE: Final[Any] = None  # a default for values of any type


class HasKernel(Protocol):
    """A started node, as far as a registry needs one."""

    @property
    def kernel(self) -> Kernel:
        """The runtime below."""


class Registry(Generic[K, V]):
    """Processes of one node by key, each with a value.

    ``Registry(node)`` has unique keys: names, of any hashable kind. ``Registry(node,
    keys="duplicate")`` has any number of processes under a key: topics, roles, properties. There is
    nothing to start, to await or to stop. Entries go when their process ends, before anybody can
    hear of that end. Other nodes know nothing of it: `node.registry` has names for all of them.

    - `keys`: ``"unique"`` or ``"duplicate"``.
    - `name`: what the registry is called in events and in the log.
    - `listeners`: refs or local names of processes, and functions; each gets `Registered` and
      `Unregistered` when that happens. A name without a process is passed over.

    Keys are told apart strictly: 1, 1.0 and True are three keys. Where a method takes ``ref=``, it
    is about that process; without it, about the process whose code is calling. Raises
    `InvalidOptionError`, which says which value is wrong and what is legal. Like all of a node,
    it is used from the node's own loop only.
    """

    def __init__(
        self,
        node: HasKernel,
        keys: Keys = "unique",
        *,
        name: str = "registry",
        listeners: Iterable[Listener] = (),
    ) -> None:
        if inspect.getattr_static(node, "kernel", None) is None:
            raise InvalidOptionError("node", node, "a Node")
        if keys not in get_args(Keys):
            raise InvalidOptionError("keys", keys, 'legal are "unique" and "duplicate"')
        if not (isinstance(name, str) and name):
            raise InvalidOptionError("name", name, "a non-empty string")
        self.name = name
        self.has_unique_keys = keys == "unique"
        self._node = node
        self._table: Table = UniqueTable() if self.has_unique_keys else DuplicateTable()
        self._listeners = Listeners(listeners)
        self._on_end = self._forget  # one object, by which it is known to the kernel

    def __repr__(self) -> str:
        kind = "unique" if self.has_unique_keys else "duplicate"
        return f"<Registry {self.name!r} with {len(self._table)} entries, {kind} keys>"

    # ------------------------------------------------------------------ changes

    def register(self, key: K, value: V = _NONE, *, ref: Ref[Any] | None = None) -> None:
        """Put a living process of this node under `key`, with `value`.

        Raises `NameTakenError(key, owner)` if keys are unique and this one is taken, by the same
        process too; `NoProcessError` if the process has ended, `NodeStoppedError`. With duplicate
        keys, a process may be under one key several times.
        """
        place = _place(key)
        process = self._living(ref)
        record = Record(key, place, process.ref, value)
        serial = process.ref.serial
        is_first = not self._table.has_owner(serial)
        self._table.add(record)
        if is_first:
            process.kernel.holdings.add(serial, self._on_end)
        if self._listeners:
            event = Registered(self.name, key, process.ref, value)
            self._listeners.tell(process.kernel, event)

    def unregister(self, key: K, *, ref: Ref[Any] | None = None) -> int:
        """Remove all entries of a process under `key`. Returns how many there were."""
        return self._remove(self._table.of(self._serial(ref), _place(key)))

    def unregister_match(
        self,
        key: K,
        pattern: Any = ANYTHING,
        *,
        where: Callable[[RegistryEntry[V]], object] | None = None,
        ref: Ref[Any] | None = None,
    ) -> int:
        """Remove those entries of a process under `key` that `match` would find.

        Returns how many there were. Entries of other processes stay.
        """
        own = self._table.of(self._serial(ref), _place(key))
        return self._remove(_matching(own, pattern, where))

    def update_value(self, key: K, function: Callable[[V], V], *, ref: Ref[Any] | None = None) -> V:
        """Set the value under a unique `key` to ``function(old value)``, and return it.

        Only for the process that is registered there: else, and with duplicate keys, it raises
        `InvalidOptionError`. If `function` raises, the value stays and the exception passes.
        """
        self._only_if_unique("update_value")
        place, serial = _place(key), self._serial(ref)
        for record in self._table.of(serial, place):
            value: V = _called("function", function, record.value)
            if record in self._table.of(serial, place):  # `function` may have done anything
                record.value = value
                return value
        raise InvalidOptionError("key", key, self._why_not_own(place))

    # ------------------------------------------------------------------ questions

    def lookup(self, key: K) -> list[RegistryEntry[V]]:
        """Who is under `key`: ``[(ref, value), ...]``, empty if nobody is."""
        return [RegistryEntry(each.ref, each.value) for each in self._table.at(_place(key))]

    def whereis(self, key: K) -> Ref[Any] | None:
        """The process under a unique `key`, or None."""
        self._only_if_unique("whereis")
        for record in self._table.at(_place(key)):
            return record.ref
        return None

    def __contains__(self, key: K) -> bool:
        """Whether any process is under `key`."""
        return bool(self._table.at(_place(key)))

    def keys(self, ref: Ref[Any] | None = None) -> list[K]:
        """The keys of a process; one that it has several times is there as often."""
        return [record.key for record in self._table.all_of(self._serial(ref))]

    def values(self, key: K, ref: Ref[Any] | None = None) -> list[V]:
        """The values that a process has under `key`."""
        return [record.value for record in self._table.of(self._serial(ref), _place(key))]

    def match(
        self,
        key: K,
        pattern: Any = ANYTHING,
        *,
        where: Callable[[RegistryEntry[V]], object] | None = None,
    ) -> list[RegistryEntry[V]]:
        """Those under `key` whose value matches `pattern`, and for which `where(entry)` is true.

        In a pattern, ``...`` stands for anything. A dict matches each dict that has its items, a
        tuple or list one of the same length; anything else what is equal and of the same type.
        """
        found = _matching(self._table.at(_place(key)), pattern, where)
        return [RegistryEntry(record.ref, record.value) for record in found]

    def select(
        self,
        *,
        key: Any = ANYTHING,
        value: Any = ANYTHING,
        where: Callable[[SelectedEntry[K, V]], object] | None = None,
    ) -> list[SelectedEntry[K, V]]:
        """All entries ``(key, ref, value)`` whose key and value match, and for which `where` holds.

        `key` and `value` are patterns, as in `match`. It looks at every entry, unless there is no
        ``...`` in `key`.
        """
        records = list(self._table) if is_open(key) else self._table.at(_place(key))
        found = [
            SelectedEntry(record.key, record.ref, record.value)
            for record in records
            if matches(key, record.key) and matches(value, record.value)
        ]
        return [entry for entry in found if where is None or _called("where", where, entry)]

    def count(self) -> int:
        """How many entries there are."""
        return len(self._table)

    def count_match(
        self,
        key: K,
        pattern: Any = ANYTHING,
        *,
        where: Callable[[RegistryEntry[V]], object] | None = None,
    ) -> int:
        """How many entries `match` would find."""
        return len(_matching(self._table.at(_place(key)), pattern, where))

    # ------------------------------------------------------------------ to all of them

    def dispatch(self, key: K, function: Callable[[list[RegistryEntry[V]]], object]) -> int:
        """Call `function` with the entries under `key`, if there are any; returns how many.

        It is called here and now; what it raises passes, and harms nobody else.
        """
        entries = self.lookup(key)
        if entries:
            _called("function", function, entries)
        return len(entries)

    def broadcast(self, key: K, message: Any) -> int:
        """Send `message` to the `handle_info` of all under `key`; returns to how many.

        A process that is there several times gets it as often.
        """
        return sum([record.ref.send(message) for record in self._table.at(_place(key))])

    # ------------------------------------------------------------------ inside

    def _living(self, ref: Ref[Any] | None) -> Process:
        """The process to be registered."""
        kernel = self._node.kernel
        kernel.check_usable()
        if ref is None:
            process = self._calling_process()
        else:
            self._check_ref(ref)
            if not kernel.is_own(ref):
                legal = f"a process of {kernel.node_id}; node.registry has names for all nodes"
                raise InvalidOptionError("ref", ref, legal)
            found = kernel.find(ref)
            if found is None:
                raise NoProcessError(ref)
            process = found
        if not process.is_alive():
            raise NoProcessError(process.ref)
        return process

    def _serial(self, ref: Ref[Any] | None) -> int:
        """By what the entries of a process are found; it may have ended, or live elsewhere."""
        if ref is None:
            return self._calling_process().ref.serial
        self._check_ref(ref)
        kernel = self._node.kernel
        if not kernel.is_own(ref):
            return 0
        process = kernel.find(ref)
        return 0 if process is None else process.ref.serial

    def _calling_process(self) -> Process:
        process = current_process.get()
        if process is None:
            raise InvalidOptionError("ref", None, "outside of a process it must be given")
        if process.kernel is not self._node.kernel:
            legal = f"the caller is no process of {self._node.kernel.node_id}, so it must be given"
            raise InvalidOptionError("ref", None, legal)
        return process

    def _check_ref(self, ref: Any) -> None:
        if not isinstance(ref, Ref):
            raise InvalidOptionError("ref", ref, "a Ref, or None for the calling process")

    def _only_if_unique(self, method: str) -> None:
        if not self.has_unique_keys:
            raise InvalidOptionError("keys", "duplicate", f'{method} needs keys="unique"')

    def _why_not_own(self, place: Hashable) -> str:
        owners = [record.ref for record in self._table.at(place)]
        whose = f"it belongs to {owners[0]}" if owners else "nobody is registered there"
        return f"{whose}; a process may update the value of its own key"

    def _remove(self, records: list[Record]) -> int:
        removed = [record for record in records if self._table.discard(record)]
        if removed:
            owner = removed[0].ref
            if not self._table.has_owner(owner.serial):
                self._node.kernel.holdings.discard(owner.serial, self._on_end)
            self._tell_gone(removed)
        return len(removed)

    def _forget(self, ref: Ref[Any]) -> None:
        """The process has ended."""
        self._tell_gone(self._table.pop_owner(ref.serial))

    def _tell_gone(self, records: list[Record]) -> None:
        if self._listeners:
            for record in records:
                event = Unregistered(self.name, record.key, record.ref, record.value)
                self._listeners.tell(self._node.kernel, event)


def _place(key: Any) -> Hashable:
    if type(key) is str:
        return key
    try:
        place = place_of(key)
        hash(place)
    except Exception as error:
        raise InvalidOptionError("key", key, "a key must be hashable") from error
    return place


def _matching(records: list[Record], pattern: Any, where: Any) -> list[Record]:
    found = [record for record in records if matches(pattern, record.value)]
    if where is None:
        return found
    entries = (RegistryEntry(record.ref, record.value) for record in found)
    return [
        record
        for record, entry in zip(found, entries, strict=True)
        if _called("where", where, entry)
    ]


def _called(field: str, function: Any, argument: Any) -> Any:
    """What `function` says, which must be able to say it at once."""
    if not callable(function):
        raise InvalidOptionError(field, function, "a function")
    result = function(argument)
    if inspect.iscoroutine(result):
        result.close()
        raise InvalidOptionError(field, function, "a plain function: nobody would await it")
    return result
