"""The local registry: both kinds of keys, what ends an entry, and who may do what."""

from __future__ import annotations

from typing import Any

import pytest
from actors import Actor, AsyncActor, Mute, TidyActor, run, started, turns
from registries import does, registry_of

from noex.registry.local import Registry
from noex.runtime.errors import (
    InitFailedError,
    InvalidOptionError,
    NameTakenError,
    NodeStoppedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.messages import Down

# ---------------------------------------------------------------------- unique keys (case 206)


def test_a_unique_key_is_taken_once_by_another_or_the_same_process() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        first, second = await started(kernel, Mute), await started(kernel, Mute)
        registry.register("name", "value", ref=first)
        for ref in (first, second):
            with pytest.raises(NameTakenError) as caught:
                registry.register("name", "other", ref=ref)
            assert (caught.value.name, caught.value.owner) == ("name", first)
        assert registry.lookup("name") == [(first, "value")]
        assert registry.whereis("name") is first
        assert registry.keys(first) == ["name"] and registry.keys(second) == []

    run(main)


def test_a_process_registers_itself_and_from_its_tasks() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        ref = await started(kernel, AsyncActor)

        async def in_a_task() -> None:
            registry.register("by its task", 2)

        async def handler(server: Any, state: Any) -> Any:
            registry.register("by itself", 1)
            await server.spawn_task(in_a_task())
            return registry.keys(), state

        assert await ref.call(handler) == ["by itself", "by its task"]
        assert registry.lookup("by itself") == [(ref, 1)]

    run(main)


def test_unregistering_frees_a_key_of_ones_own_and_no_other() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        first, second = await started(kernel, Mute), await started(kernel, Mute)
        registry.register("name", ref=first)
        assert registry.unregister("name", ref=second) == 0
        assert registry.unregister("nobody's", ref=first) == 0
        assert registry.whereis("name") is first
        assert registry.unregister("name", ref=first) == 1
        assert registry.unregister("name", ref=first) == 0
        assert registry.whereis("name") is None and registry.lookup("name") == []
        registry.register("name", ref=second)
        assert registry.whereis("name") is second

    run(main)


def test_a_value_is_updated_by_its_owner_only() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        owner, other = await started(kernel, Actor), await started(kernel, Actor)
        registry.register("hits", 1, ref=owner)
        add = does(lambda: registry.update_value("hits", lambda hits: hits + 1))
        assert await owner.call(add) == 2
        refusal = await other.call(add)
        assert isinstance(refusal, InvalidOptionError) and str(owner) in str(refusal)
        assert registry.values("hits", owner) == [2] and registry.values("hits", other) == []
        with pytest.raises(InvalidOptionError, match="nobody is registered there"):
            registry.update_value("misses", lambda value: value, ref=owner)

    run(main)


def test_a_failing_update_leaves_the_value() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        ref = await started(kernel, Mute)
        registry.register("key", 0, ref=ref)
        with pytest.raises(ZeroDivisionError):
            registry.update_value("key", lambda value: 1 // value, ref=ref)

        async def coroutine(value: Any) -> Any:
            return value

        with pytest.raises(InvalidOptionError, match="nobody would await it"):
            registry.update_value("key", coroutine, ref=ref)
        assert registry.lookup("key") == [(ref, 0)]

        def gives_up(_value: Any) -> int:
            registry.unregister("key", ref=ref)
            return 1

        with pytest.raises(InvalidOptionError, match="nobody is registered"):
            registry.update_value("key", gives_up, ref=ref)
        assert registry.count() == 0

    run(main)


# ---------------------------------------------------------------------- duplicate keys (case 208)


def test_a_duplicate_key_has_any_number_of_entries_of_one_process_too() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate")
        first, second = await started(kernel, Mute), await started(kernel, Mute)
        for ref, value in [(first, "a"), (second, "b"), (first, "a"), (first, "c")]:
            registry.register("topic", value, ref=ref)
        assert sorted(value for _, value in registry.lookup("topic")) == ["a", "a", "b", "c"]
        assert registry.keys(first) == ["topic"] * 3
        assert registry.values("topic", first) == ["a", "a", "c"]
        assert registry.count() == 4 and "topic" in registry
        assert registry.unregister("topic", ref=first) == 3
        assert registry.lookup("topic") == [(second, "b")]

    run(main)


def test_questions_that_need_unique_keys_say_so() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate")
        ref = await started(kernel, Mute)
        with pytest.raises(InvalidOptionError, match="update_value needs keys"):
            registry.update_value("topic", lambda value: value, ref=ref)
        with pytest.raises(InvalidOptionError, match="whereis needs keys"):
            registry.whereis("topic")

    run(main)


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
def test_keys_that_python_takes_for_equal_are_different_keys(keys: str) -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, keys)
        ref = await started(kernel, Mute)
        names = [1, 1.0, True, (1, "x"), (1.0, "x"), "1", b"1", frozenset({1}), None, ()]
        for name in names:
            assert name not in registry
            registry.register(name, repr(name), ref=ref)
        for name in names:
            assert registry.lookup(name) == [(ref, repr(name))]
        assert [repr(key) for key in registry.keys(ref)] == [repr(name) for name in names]
        assert registry.unregister(True, ref=ref) == 1
        assert 1 in registry and 1.0 in registry and True not in registry
        assert [entry.value for entry in registry.select(key=1)] == ["1"]

    run(main)


def test_match_and_count_by_pattern_and_guard() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate")
        refs = [await started(kernel, Mute) for _ in range(4)]
        for age, ref in enumerate(refs):
            role = "admin" if age % 2 else "guest"
            registry.register("users", {"role": role, "age": age}, ref=ref)
        admins = registry.match("users", {"role": "admin"})
        assert [ref for ref, _ in admins] == [refs[1], refs[3]]
        old = registry.match("users", where=lambda entry: entry.value["age"] > 1)
        assert [ref for ref, _ in old] == [refs[2], refs[3]]
        both = {"role": "admin"}, lambda entry: entry.ref is not refs[3]
        assert registry.count_match("users", both[0], where=both[1]) == 1
        assert registry.count_match("users") == 4 and registry.count_match("nobody") == 0
        assert registry.count_match("users", {"age": True}) == 0

    run(main)


def test_unregister_match_takes_only_entries_of_ones_own() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate")
        own, other = await started(kernel, Actor), await started(kernel, Mute)
        for ref in (own, other):
            for value in (1, 1.0, 2, 3):
                registry.register("key", value, ref=ref)
        assert await own.call(does(lambda: registry.unregister_match("key", 1))) == 1
        assert registry.values("key", own) == [1.0, 2, 3]
        guard = {"where": lambda entry: entry.value > 2}
        assert registry.unregister_match("key", ref=own, **guard) == 1
        assert registry.unregister_match("key", ..., ref=own) == 2
        assert registry.keys(own) == [] and registry.values("key", other) == [1, 1.0, 2, 3]

    run(main)


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
def test_select_by_patterns_of_key_and_value_and_by_guard(keys: str) -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, keys)
        ref = await started(kernel, Mute)
        for number in range(4):
            registry.register(("room", number), {"size": number * 10}, ref=ref)
        registry.register("lobby", {"size": 10}, ref=ref)
        assert len(registry.select()) == 5
        rooms = registry.select(key=("room", ...))
        assert [key for key, _, _ in rooms] == [("room", number) for number in range(4)]
        assert registry.select(key=("room", 2)) == [(("room", 2), ref, {"size": 20})]
        tens = registry.select(value={"size": 10})
        assert {entry.key for entry in tens} == {("room", 1), "lobby"}
        big = registry.select(key=("room", ...), where=lambda entry: entry.value["size"] > 10)
        assert [entry.key for entry in big] == [("room", 2), ("room", 3)]
        assert registry.select(key="nobody") == []

    run(main)


# ---------------------------------------------------------------------- to all of them


def test_dispatch_hands_all_entries_to_a_function_and_lets_through_what_it_raises() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate")
        refs = [await started(kernel, Mute) for _ in range(3)]
        for number, ref in enumerate(refs):
            registry.register("topic", number, ref=ref)
        seen: list[Any] = []
        assert registry.dispatch("topic", seen.extend) == 3
        assert seen == list(zip(refs, range(3), strict=True))
        assert registry.dispatch("nobody", seen.append) == 0 and len(seen) == 3
        with pytest.raises(ZeroDivisionError):
            registry.dispatch("topic", lambda entries: 1 // 0)
        registry.dispatch("topic", lambda entries: [registry.unregister("topic", ref=refs[0])])
        assert registry.count() == 2

    run(main)


def test_broadcast_sends_to_all_under_a_key_and_counts_them() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate")
        heard: list[Any] = []
        refs = [await started(kernel, Actor, seen=heard) for _ in range(3)]
        for ref in refs:
            registry.register("news", ref=ref)
        assert registry.broadcast("news", "extra") == 3
        assert registry.broadcast("weather", "rain") == 0
        await refs[0].stop()
        assert registry.broadcast("news", "late") == 2
        await turns()
        assert sorted(heard) == ["extra"] * 3 + ["late"] * 2

    run(main)


# ---------------------------------------------------------------------- the end of a process


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
@pytest.mark.parametrize("how", ["stop", "crash", "kill", "exit"])
def test_whoever_sees_a_process_end_finds_its_keys_free(keys: str, how: str) -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, keys)
        ref = await started(kernel, TidyActor)
        found: list[int] = []

        class Watcher(Actor):
            def handle_info(self, message: Any, state: Any) -> Any:
                if isinstance(message, Down):
                    found.append(registry.count())

        watcher = await started(kernel, Watcher)
        await watcher.call(lambda server, state: (server.monitor(ref), state))
        registry.register("name", ref=ref)
        registry.register(("other", 1), ref=ref)
        if how == "stop":
            ref.cast(lambda server, state: None)
            await ref.stop()
        elif how == "crash":
            ref.cast(lambda server, state: 1 // 0)
        else:
            ref.exit("kill" if how == "kill" else "odd")
        await ref.wait(1)
        assert registry.count() == 0 and registry.keys(ref) == []
        await turns()
        assert found == [0]

    run(main)


def test_an_entry_never_leads_to_a_dead_process_not_even_within_a_wave_of_deaths() -> None:
    async def main(kernel: Kernel) -> None:
        dead: list[Any] = []

        def look(_event: Any) -> None:
            dead.extend(ref for _, ref, _ in registry.select() if kernel.find(ref) is None)

        registry = registry_of(kernel, listeners=[look])
        first, *others = [await started(kernel, Mute) for _ in range(5)]
        registry.register(0, ref=first)
        for number, ref in enumerate(others, 1):
            registry.register(number, ref=ref)
            kernel.link(kernel.find(first), ref)
        first.exit("odd")  # all of them end before this returns
        assert kernel.process_count == 0
        assert dead == [] and registry.count() == 0

    run(main)


def test_a_process_keeps_its_keys_until_terminate_is_done() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        seen: list[Any] = []

        class Tidy(Actor):
            def terminate(self, reason: Any, state: Any) -> None:
                seen.append(registry.keys())
                registry.unregister("first")
                seen.append(registry.keys())

        ref = await started(kernel, Tidy)
        registry.register("first", ref=ref)
        registry.register("second", ref=ref)
        await ref.stop()
        assert seen == [["first", "second"], ["second"]] and registry.count() == 0

    run(main)


def test_a_failed_init_leaves_no_entry() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)

        class Fails(Actor):
            def init(self, **options: Any) -> Any:
                registry.register("name")
                assert registry.whereis("name") is self.ref
                raise RuntimeError("no")

        with pytest.raises(InitFailedError) as caught:
            await started(kernel, Fails)
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert registry.count() == 0

    run(main)


def test_nothing_is_left_when_the_node_has_stopped() -> None:
    registries: list[Registry[Any, Any]] = []

    async def main(kernel: Kernel) -> None:
        registries.append(registry_of(kernel))
        registries.append(registry_of(kernel, "duplicate"))
        for number in range(10):
            ref = await started(kernel, TidyActor)
            for registry in registries:
                registry.register(number, ref=ref)
        await kernel.shutdown()
        assert [registry.count() for registry in registries] == [0, 0]
        assert kernel.holdings.by_serial == {}
        assert registries[0].lookup(1) == [] and registries[0].unregister(1, ref=ref) == 0
        with pytest.raises(NodeStoppedError):
            registries[0].register("late", ref=ref)

    run(main)


def test_it_says_what_it_is() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel, "duplicate", name="topics")
        registry.register("news", ref=await started(kernel, Mute))
        assert repr(registry) == "<Registry 'topics' with 1 entries, duplicate keys>"

    run(main)
