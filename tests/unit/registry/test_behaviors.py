"""BehaviorRegistry: by name, process-wide or one's own."""

from __future__ import annotations

import pytest
from wrong import NO_NAMES, plain, refusal, table

from noex.registry.behaviors import BehaviorRegistry, behavior, default_behaviors
from noex.runtime.errors import BehaviorNotFoundError, InvalidOptionError
from noex.runtime.genserver import GenServer


class Worker(GenServer):
    def init(self):
        return None


class Other(GenServer):
    def init(self):
        return None


NO_CLASSES = (None, "Worker", 5, object, Worker(), plain, [Worker])


@pytest.fixture(autouse=True)
def clean_default():
    yield
    for name in ("w", "decorated"):
        BehaviorRegistry.unregister(name)


def test_the_class_is_the_process_wide_registry():
    BehaviorRegistry.register("w", Worker)
    assert BehaviorRegistry.get("w") is Worker
    assert BehaviorRegistry.has("w") and default_behaviors.has("w")
    assert "w" in BehaviorRegistry.names() and "w" in BehaviorRegistry.stats().names
    assert BehaviorRegistry.unregister("w") and not BehaviorRegistry.unregister("w")


def test_an_instance_is_a_registry_of_its_own():
    own = BehaviorRegistry({"w": Worker})
    assert own.get("w") is Worker
    assert not BehaviorRegistry.has("w")
    assert own.stats() == (1, ("w",))


def test_the_decorator_registers_and_names_the_behavior():
    @behavior("decorated")
    class Decorated(GenServer):
        def init(self):
            return None

    assert BehaviorRegistry.get("decorated") is Decorated
    assert Decorated.behavior_name == "decorated"


def test_an_unknown_name_says_what_to_do():
    with pytest.raises(BehaviorNotFoundError) as caught:
        BehaviorRegistry({}).get("nobody", "a@127.0.0.1:1")
    assert caught.value.behavior_name == "nobody"
    assert caught.value.node_id == "a@127.0.0.1:1"
    assert "@behavior" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "cls"),
    [("", Worker), (7, Worker), ("x" * 129, Worker), ("w", object), ("w", Worker())],
)
def test_wrong_arguments_are_named(name, cls):
    with pytest.raises(InvalidOptionError):
        BehaviorRegistry().register(name, cls)


def test_a_name_is_not_taken_over_by_another_class_but_a_redefinition_replaces():
    own = BehaviorRegistry({"w": Worker})
    own.register("w", Worker)
    with pytest.raises(InvalidOptionError, match="belongs to Worker"):
        own.register("w", Other)
    again = type("Worker", (GenServer,), {"__module__": Worker.__module__})
    again.__qualname__ = Worker.__qualname__
    own.register("w", again)
    assert own.get("w") is again


def test_listeners_hear_of_each_change_until_they_unsubscribe():
    own = BehaviorRegistry()
    heard = []
    unsubscribe = own.on_change(lambda: heard.append(own.names()))
    own.register("w", Worker)
    own.register("w", Worker)
    own.unregister("w")
    unsubscribe()
    own.register("w", Worker)
    assert heard == [("w",), ()]


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("name", lambda bad: BehaviorRegistry().register(bad, Worker), (*NO_NAMES, "x" * 129)),
        ("behavior", lambda bad: BehaviorRegistry().register("w", bad), NO_CLASSES),
        ("behavior", lambda bad: BehaviorRegistry({"w": bad}), NO_CLASSES),
        ("behaviors", BehaviorRegistry, ([("w", Worker)], "w", 5, Worker, {"w"})),
        ("name", lambda bad: BehaviorRegistry().unregister(bad), NO_NAMES),
        ("name", lambda bad: BehaviorRegistry().has(bad), NO_NAMES),
        ("name", behavior, (*NO_NAMES, Worker)),  # the last: `@behavior` without its parentheses
        ("registry", lambda bad: behavior("w", registry=bad), ({}, "mine", 5, BehaviorRegistry)),
        ("behavior", behavior("w"), NO_CLASSES),
        ("listener", lambda bad: BehaviorRegistry().on_change(bad), (None, 5, "x", plain)),
    ),
)
def test_each_wrong_argument_is_named_and_shown(call, value, request):
    field = request.node.callspec.id.rpartition("-")[0]
    refusal(lambda: call(value), field, value)
    assert not BehaviorRegistry.has("w")


def test_a_wrong_name_that_is_looked_up_is_not_there():
    for bad in NO_NAMES:
        with pytest.raises(BehaviorNotFoundError):
            BehaviorRegistry().get(bad)
