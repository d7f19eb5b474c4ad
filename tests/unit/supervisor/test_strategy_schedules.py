"""The strategy machine under random schedules: whatever happens, its promises hold.

The bench checks at every step that no child has two copies, that each request is answered at most
once, and the machine's invariants. Here everything overlaps: starts and stops that take their
time, hosts that are silent, nodes that go, requests, retries. In the end all that was held is let
go, and then: every request has been answered, nothing is under way, and what is listed is what
lives.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from strategy_bench import HOME, Bench, bench, spec

from noex.supervisor.strategy_events import NodeDraining, PlacementChanged

RUNS = int(os.environ.get("NOEX_SCHEDULES", "60"))
NAMES = ["a", "b", "c", "d"]
NODES = [HOME, "b@h:2", "c@h:3"]
OUTCOMES = ["hold", "hold", "init", "no_node", "unknown", "node_lost", "ignore", "ok"]

RESTARTS = ["permanent", "permanent", "transient", "temporary"]
KINDS = {
    "crash": 8, "plan": 8, "hold": 3, "release": 8, "lose": 3, "drain": 2, "place": 2, "add": 4,
    "terminate": 2, "restart": 3, "wait": 4, "placement": 1, "retries": 1, "stop": 0.2,
}  # fmt: skip


def draw(chance: random.Random) -> tuple[Any, ...]:
    """One thing that happens."""
    name, node = chance.choice(NAMES), chance.choice(NODES)
    (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
    match kind:
        case "crash":
            return (
                kind,
                set(chance.sample(NAMES, chance.choice([1, 1, 2, 4]))),
                chance.random() < 0.2,
            )
        case "plan":
            return kind, name, chance.choice(OUTCOMES)
        case "release":
            return kind, name, chance.choice(OUTCOMES[2:])
        case "lose" | "drain":
            return kind, node
        case "place":
            return kind, name, node
        case "add":
            return kind, name, chance.choice(RESTARTS)
        case "wait":
            return kind, chance.choice([0.0, 0.5, 2.0])
        case "retries":
            return kind, chance.random() < 0.5
        case "placement" | "stop":
            return (kind,)
    return kind, name


def apply(b: Bench, operation: tuple[Any, ...]) -> None:
    match operation:
        case ("crash", who, orderly):
            alive = [ref.child_id for ref in b.alive if ref.child_id in who and knows(b, ref)]
            b.crash(*alive, reason="normal" if orderly else None)
        case ("plan", name, outcome):
            b.plan(name, outcome)
        case ("hold", name):
            b.held_stops.add(name)
        case ("release", name, outcome):
            release(b, name, outcome)
        case ("lose", node):
            b.lose(node)
        case ("drain", node):
            b.feed(NodeDraining(node))
        case ("place", name, node):
            b.nodes[name] = node
        case ("add", name, restart):
            b.start_child([] if b.options.is_simple else spec(name, restart))
        case ("terminate", name):
            b.terminate(name)
        case ("restart", name):
            b.restart(name)
        case ("wait", seconds):
            b.pass_time(seconds)
        case ("placement",):
            b.feed(PlacementChanged())
        case ("retries", held):
            b.hold_retries = held
        case ("stop",):
            b.stop()


def of_template(operation: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same operation on children that have the ids of a template."""
    ids = {name: f"child_{number}" for number, name in enumerate(NAMES, start=1)}
    kind, *rest = operation
    if kind == "crash":
        return kind, {ids[name] for name in rest[0]}, rest[1]
    return kind, *[ids.get(part, part) if isinstance(part, str) else part for part in rest]


def knows(b: Bench, ref: Any) -> bool:
    info = b.machine.child(ref.child_id)
    return info is not None and info.ref == ref


def release(b: Bench, name: str, outcome: str) -> None:
    b.held_stops.discard(name)
    if any(key[0] == name for key in [*b.flying, *b.stopping]):
        if outcome != "ok" and not any(key[0] == name for key in b.flying):
            outcome = "ok"
        b.release(name, outcome)


def settle(b: Bench) -> None:
    """Let go of everything that was held, until nothing happens any more."""
    b.plans.clear()
    b.held_stops.clear()
    b.hold_retries = False
    for _ in range(100):
        for name in {key[0] for key in [*b.flying, *b.stopping]}:
            release(b, name, "ok")
        b.pass_time(10.0).feed(PlacementChanged())
        if not (b.flying or b.stopping or b.timers):
            return
    raise AssertionError(f"it never settles: {b.status}")


def check_settled(b: Bench) -> None:
    assert set(b.answers) == set(range(1, b._requests + 1)), "a caller waits for ever"
    if b.finish is not None:
        assert not b.alive
        return
    listed = [info.ref for info in b.machine.children() if info.ref is not None]
    assert set(listed) == set(b.alive)
    for info in b.machine.children():
        if info.status == "pending":
            assert "restart_child failed" in b.machine.explain(info.id)
        else:
            assert info.status in ("running", "ignored")


@pytest.mark.parametrize(
    "strategy", ["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
)
@pytest.mark.parametrize("block", range(4))
def test_whatever_happens_it_settles_and_answers_everybody(strategy: str, block: int) -> None:
    for seed in range(block * RUNS, (block + 1) * RUNS):
        script: list[Any] = []
        try:
            run(strategy, random.Random(seed), script)
        except Exception as error:
            error.add_note(f"seed {seed}, {strategy}: {script}")
            raise


def run(strategy: str, chance: random.Random, script: list[Any]) -> None:
    simple = strategy == "simple_one_for_one"
    initial = [] if simple else NAMES[: chance.randrange(5)]
    children = [
        spec(name, chance.choice(RESTARTS), overlap=chance.random() < 0.3) for name in initial
    ]
    b = bench(strategy, *children, most=chance.choice([1, 3, 50]), distributed=True)
    for name in initial:
        b.nodes[name] = chance.choice(NODES)
    b.begin()
    for _ in range(chance.randrange(60)):
        operation = draw(chance)
        script.append(operation)
        apply(b, of_template(operation) if simple else operation)
    settle(b)
    check_settled(b)
    b.stop()
    assert b.finish is not None
