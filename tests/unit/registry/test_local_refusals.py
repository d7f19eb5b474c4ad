"""The local registry refuses what is wrong, and says what is legal."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from actors import Actor, AsyncActor, Gate, Mute, run, started
from registries import does, registry_of

from noex.registry.local import Registry
from noex.runtime.errors import InvalidOptionError, NoProcessError
from noex.runtime.kernel import Kernel


def test_who_is_registered_is_a_living_process_of_this_node() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        with pytest.raises(InvalidOptionError, match="outside of a process it must be given"):
            registry.register("key")
        with pytest.raises(InvalidOptionError, match="a Ref, or None"):
            registry.register("key", ref="name")  # type: ignore[arg-type]
        dead = await started(kernel, Mute)
        await dead.stop()
        with pytest.raises(NoProcessError):
            registry.register("key", ref=dead)
        elsewhere = kernel.ref_for("b@127.0.0.1:4370", 7, 3)
        with pytest.raises(InvalidOptionError, match="has names for all nodes"):
            registry.register("key", ref=elsewhere)
        assert registry.keys(dead) == registry.keys(elsewhere) == []
        here = await started(kernel, Mute)
        registry.register("key", ref=here)
        twin = kernel.ref_for("b@127.0.0.1:4370", 7, here.serial)
        assert registry.keys(twin) == [] and registry.unregister("key", ref=twin) == 0
        assert registry.unregister("key", ref=here) == 1
        assert registry.unregister("key", ref=dead) == 0
        other = Kernel(incarnation=2)
        stranger = await started(other, Actor)
        refusal = await stranger.call(does(lambda: registry.register("key")))
        assert isinstance(refusal, InvalidOptionError) and "no process of" in str(refusal)
        await other.shutdown()
        assert registry.count() == 0

    run(main)


def test_a_killed_process_registers_nothing_more() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        gate, errors = Gate(), []

        async def clings(_server: Any, _state: Any) -> None:
            try:
                await gate.passage()
            except asyncio.CancelledError:
                for attempt in (registry.register, registry.unregister):
                    try:
                        attempt("late")
                    except NoProcessError as error:
                        errors.append(error.ref)
                raise

        ref = await started(kernel, AsyncActor)
        registry.register("early", ref=ref)
        ref.cast(clings)
        await gate.reached.wait()
        ref.exit("kill")
        with pytest.raises(NoProcessError):
            registry.register("from outside", ref=ref)
        assert registry.whereis("early") is ref  # its handler has not come to its end
        await ref.wait(1)
        assert errors == [ref] and registry.count() == 0

    run(main)


def test_a_local_name_stands_for_its_process() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        ref = await started(kernel, Mute, options={"name": "db"})
        registry.register("key", ref=kernel.named_ref("db"))
        assert registry.whereis("key") is ref and registry.keys(kernel.named_ref("db")) == ["key"]
        with pytest.raises(NoProcessError):
            registry.register("other", ref=kernel.named_ref("nobody"))

    run(main)


@pytest.mark.parametrize("key", [[1], {}, ("room", []), {1, 2}])
def test_a_key_that_cannot_be_hashed_is_refused_everywhere(key: Any) -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        ref = await started(kernel, Mute)
        for ask in (
            lambda: registry.register(key, ref=ref),
            lambda: registry.unregister(key, ref=ref),
            lambda: registry.lookup(key),
            lambda: registry.select(key=key),
            lambda: key in registry,
            lambda: registry.broadcast(key, "message"),
        ):
            with pytest.raises(InvalidOptionError, match="must be hashable"):
                ask()
        assert registry.count() == 0 and kernel.holdings.by_serial == {}

    run(main)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("node", {"node": "a@127.0.0.1:4369"}),
        ("node", {"node": None}),
        ("keys", {"keys": "many"}),
        ("keys", {"keys": None}),
        ("keys", {"keys": ["unique"]}),
        ("name", {"name": ""}),
        ("name", {"name": 7}),
        ("listeners", {"listeners": "audit"}),
        ("listeners", {"listeners": print}),
        ("listeners", {"listeners": [7]}),
        ("listeners", {"listeners": [""]}),
        ("listeners", {"listeners": [asyncio.sleep]}),
    ],
)
def test_a_wrong_option_is_named(field: str, arguments: dict[str, Any]) -> None:
    async def main(kernel: Kernel) -> None:
        with pytest.raises(InvalidOptionError) as caught:
            Registry(**{"node": SimpleNamespace(kernel=kernel), **arguments})
        assert caught.value.field == field

    run(main)


def test_a_listener_is_a_process_of_this_node() -> None:
    async def main(kernel: Kernel) -> None:
        elsewhere = kernel.ref_for("b@127.0.0.1:4370", 7, 3)
        with pytest.raises(InvalidOptionError, match="of this node"):
            registry_of(kernel, listeners=[elsewhere])

    run(main)


def test_a_function_that_is_none_is_named() -> None:
    async def main(kernel: Kernel) -> None:
        registry = registry_of(kernel)
        ref = await started(kernel, Mute)
        registry.register("key", 1, ref=ref)
        for ask in (
            lambda: registry.dispatch("key", "message"),
            lambda: registry.update_value("key", 5, ref=ref),
            lambda: registry.select(where=5),
            lambda: registry.match("key", where="x"),
            lambda: registry.count_match("key", where=asyncio.sleep),
        ):
            with pytest.raises(InvalidOptionError) as caught:
                ask()
            assert caught.value.field in ("function", "where")
        assert registry.lookup("key") == [(ref, 1)]

    run(main)
