"""The local registry against a list of entries, in random order (cases 206, 208, 209).

The model is what the words say: a list of (key, owner, value), in which keys are compared with
their types. After each step every question is answered the same, and the tables hold nothing more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

from actors import Mute, started
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from noex.registry.local import Registry
from noex.runtime.errors import InvalidOptionError, NameTakenError, NoProcessError
from noex.runtime.kernel import Kernel

KEYS = st.sampled_from(["a", "b", 1, 1.0, True, ("a", 1), ("a", True), None])
VALUES = st.sampled_from([0, 1, True, "x", {"n": 1}])
PICK = st.integers(0, 5)


def typed(value: Any) -> Any:
    """A value with its types, so that 1 is not True."""
    return (type(value), tuple(map(typed, value)) if isinstance(value, tuple) else repr(value))


class RegistryLife(RuleBasedStateMachine):
    """Processes register, update, unregister and die."""

    @initialize(keys=st.sampled_from(["unique", "duplicate"]))
    def begin(self, keys: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.kernel = self.loop.run_until_complete(self._kernel())
        self.unique = keys == "unique"
        self.heard: list[Any] = []
        self.entries: list[list[Any]] = []  # the model: [key, owner, value]
        self.told: list[Any] = []  # and what it has told
        self.owners: list[Any] = []
        self.dead: list[Any] = []
        self.registry = Registry[Any, Any](
            SimpleNamespace(kernel=self.kernel), keys, listeners=[self.heard.append]
        )

    async def _kernel(self) -> Kernel:
        return Kernel()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self.loop.run_until_complete(self.kernel.shutdown())
        assert self.registry.count() == 0 and self.kernel.holdings.by_serial == {}
        tables = vars(self.registry._table)
        assert not any(table for table in tables.values())
        self.loop.close()

    def owner(self, pick: int) -> Any:
        return self.owners[pick % len(self.owners)]

    def under(self, key: Any, owner: Any = None) -> list[list[Any]]:
        return [
            entry
            for entry in self.entries
            if typed(entry[0]) == typed(key) and owner in (None, entry[1])
        ]

    def gone(self, entries: list[list[Any]]) -> None:
        for entry in entries:
            self.entries = [each for each in self.entries if each is not entry]
            self.told.append(("unregistered", typed(entry[0]), entry[1], typed(entry[2])))

    @precondition(lambda self: len(self.owners) < 5)
    @rule()
    def start(self) -> None:
        self.owners.append(self.loop.run_until_complete(started(self.kernel, Mute)))

    @precondition(lambda self: self.owners)
    @rule(pick=PICK, reason=st.sampled_from(["kill", "odd"]))
    def die(self, pick: int, reason: str) -> None:
        ref = self.owner(pick)
        ref.exit(reason)
        self.owners.remove(ref)
        self.dead.append(ref)
        self.gone([entry for entry in self.entries if entry[1] == ref])

    @precondition(lambda self: self.owners)
    @rule(pick=PICK, key=KEYS, value=VALUES)
    def register(self, pick: int, key: Any, value: Any) -> None:
        ref, taken = self.owner(pick), self.under(key)
        try:
            self.registry.register(key, value, ref=ref)
        except NameTakenError as error:
            assert self.unique and error.owner == taken[0][1] and error.name is key
        else:
            assert not (self.unique and taken)
            self.entries.append([key, ref, value])
            self.told.append(("registered", typed(key), ref, typed(value)))

    @precondition(lambda self: self.dead)
    @rule(pick=PICK, key=KEYS)
    def register_the_dead(self, pick: int, key: Any) -> None:
        ref = self.dead[pick % len(self.dead)]
        try:
            self.registry.register(key, ref=ref)
        except NoProcessError:
            assert self.registry.unregister(key, ref=ref) == 0
        else:
            raise AssertionError("a dead process was registered")

    @precondition(lambda self: self.owners)
    @rule(pick=PICK, key=KEYS)
    def unregister(self, pick: int, key: Any) -> None:
        own = self.under(key, self.owner(pick))
        assert self.registry.unregister(key, ref=self.owner(pick)) == len(own)
        self.gone(own)

    @precondition(lambda self: self.owners)
    @rule(pick=PICK, key=KEYS, pattern=VALUES)
    def unregister_match(self, pick: int, key: Any, pattern: Any) -> None:
        own = self.under(key, self.owner(pick))
        matching = [entry for entry in own if typed(entry[2]) == typed(pattern)]
        found = self.registry.unregister_match(key, pattern, ref=self.owner(pick))
        assert found == len(matching)
        self.gone(matching)

    @precondition(lambda self: self.owners and self.unique)
    @rule(pick=PICK, key=KEYS, value=VALUES)
    def update(self, pick: int, key: Any, value: Any) -> None:
        own = self.under(key, self.owner(pick))
        try:
            self.registry.update_value(key, lambda _old: value, ref=self.owner(pick))
        except InvalidOptionError:
            assert not own
        else:
            own[0][2] = value

    @rule(key=KEYS, pattern=VALUES)
    def ask(self, key: Any, pattern: Any) -> None:
        under = self.under(key)
        expected = Counter((entry[1], typed(entry[2])) for entry in under)
        found = self.registry.lookup(key)
        assert Counter((ref, typed(value)) for ref, value in found) == expected
        assert (key in self.registry) == bool(under)
        matching = [entry for entry in under if typed(entry[2]) == typed(pattern)]
        assert self.registry.count_match(key, pattern) == len(matching)
        assert len(self.registry.select(key=key, value=pattern)) == len(matching)
        for ref in self.owners + self.dead:
            own = [typed(entry[2]) for entry in self.under(key, ref)]
            assert [typed(value) for value in self.registry.values(key, ref)] == own

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "registry"):
            return
        selected = self.registry.select()
        assert self.registry.count() == len(selected) == len(self.entries)
        assert Counter((typed(key), ref, typed(value)) for key, ref, value in selected) == Counter(
            (typed(key), ref, typed(value)) for key, ref, value in self.entries
        )
        for ref in self.owners + self.dead:
            own = Counter(typed(entry[0]) for entry in self.entries if entry[1] == ref)
            assert Counter(map(typed, self.registry.keys(ref))) == own
        owners = {entry[1].serial for entry in self.entries}
        assert set(self.kernel.holdings.by_serial) == owners
        heard = [
            (event.type, typed(event.key), event.ref, typed(event.value)) for event in self.heard
        ]
        assert heard == self.told


RegistryLife.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=False
)
TestRegistryLife = RegistryLife.TestCase
