"""The strategy machine against an independent statement of the same rules."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_bench import HOME, Bench, bench, spec
from strategy_model import Model, ModelChild

from noex.supervisor import errors as e
from noex.supervisor.strategy_actions import Answer

NAMES = ["a", "b", "c", "d"]
NODES = [HOME, "b@h:2", "c@h:3"]
RESTARTS = ["permanent", "transient", "temporary"]

names = st.sampled_from(NAMES)
children = st.tuples(st.sampled_from(RESTARTS), st.booleans())
operations = st.one_of(
    st.tuples(st.just("crash"), names, st.booleans()),
    st.tuples(st.just("crash"), names, st.booleans()),
    st.tuples(st.just("lose"), st.sampled_from(NODES)),
    st.tuples(st.just("add"), names, children),
    st.tuples(st.just("drop"), names),
    st.tuples(st.just("again"), names),
    st.tuples(st.just("plan"), names, st.sampled_from(["init", "init", "ignore", "ok"])),
    st.tuples(st.just("place"), names, st.sampled_from(NODES)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 5.0, 6.0])),
)


def is_significant(restart: str, wanted: bool, auto: str) -> bool:
    return wanted and auto != "never" and restart != "permanent"


def heard(answer: Answer) -> str:
    kinds: dict[type, str] = {
        e.DuplicateChildError: "duplicate",
        e.ChildNotFoundError: "not found",
        e.ChildStartError: "start",
        type(None): "ok",
    }
    return kinds[type(answer.error)]


class Pair:
    """The machine on its bench, and the model, fed with the same operations."""

    def __init__(self, strategy: str, auto: str, counts: str, most: int, initial: Any) -> None:
        self.auto = auto
        given = [
            (name, restart, is_significant(restart, wanted, auto))
            for name, (restart, wanted) in zip(NAMES, initial, strict=False)
        ]
        self.bench: Bench = bench(
            strategy,
            *[spec(name, restart, significant=sign) for name, restart, sign in given],
            most=most,
            auto_shutdown=auto,
            node_failure_counts=counts,
        )
        self.model = Model(strategy, most, 5.0, auto, counts, self.bench.now, home=HOME)
        self.bench.begin()
        self.model.begin([ModelChild(*values) for values in given])

    def apply(self, operation: tuple[Any, ...]) -> None:
        match operation:
            case ("crash", name, orderly):
                self.crash(name, orderly)
            case ("lose", node):
                self.bench.lose(node)
                self.model.lose(node)
            case ("add", name, (restart, wanted)):
                self.add(name, restart, is_significant(restart, wanted, self.auto))
            case ("drop", name):
                answer = self.bench.answers[self.bench.terminate(name)]
                assert heard(answer) == self.model.drop(name)
            case ("again", name):
                answer = self.bench.answers[self.bench.restart(name)]
                assert heard(answer) == self.model.again(name)
            case ("plan", name, outcome):
                self.bench.plan(name, outcome)
                self.model.plans.setdefault(name, deque()).append(outcome)
            case ("place", name, node):
                self.bench.nodes[name] = self.model.nodes[name] = node
            case ("wait", seconds):
                self.bench.pass_time(seconds)
                self.model.now += seconds

    def crash(self, name: str, orderly: bool) -> None:
        child = self.model.find(name)
        if child is not None and child.alive:
            self.bench.crash(name, reason="normal" if orderly else None)
            self.model.crash(name, orderly)

    def add(self, name: str, restart: str, significant: bool) -> None:
        request = self.bench.start_child(spec(name, restart, significant=significant))
        expected = self.model.add(ModelChild(name, restart, significant))
        assert heard(self.bench.answers[request]) == expected

    def compare(self) -> None:
        machine, model = self.bench.machine, self.model
        assert machine.is_finished == (model.end is not None)
        if model.end is not None:  # starts that were under way are stopped as they come up
            assert sorted(self.bench.story) == sorted(model.story)
            return
        assert self.bench.story == model.story
        assert self.bench.status == {child.name: status(child) for child in model.children}
        assert [info.restart_count for info in machine.children()] == [
            child.count for child in model.children
        ]
        assert [info.node_id for info in machine.children() if info.ref] == [
            child.node for child in model.children if child.alive
        ]
        stats = machine.stats(0)
        assert (stats.total_restarts, stats.node_failure_restarts) == (
            model.total,
            model.failovers,
        )


def status(child: ModelChild) -> str:
    if child.alive:
        return "running"
    return "ignored" if child.ignored else "pending"


@settings(max_examples=150, deadline=None)
@given(
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    auto=st.sampled_from(["never", "any_significant", "all_significant"]),
    counts=st.sampled_from(["once", "none", "each"]),
    most=st.integers(0, 6),
    initial=st.lists(children, max_size=4),
    script=st.lists(operations, max_size=25),
)
def test_the_machine_does_what_the_rules_say(
    strategy: str, auto: str, counts: str, most: int, initial: Any, script: Any
) -> None:
    pair = Pair(strategy, auto, counts, most, initial)
    pair.compare()
    for operation in script:
        if pair.model.end is not None:
            break
        pair.apply(operation)
        pair.compare()
    if pair.bench.finish is not None and pair.bench.started:
        assert pair.bench.events[-1].reason == pair.model.end
