"""A bench for the strategy machine: a world of pretended processes around it.

It carries out actions as a shell would, and checks the machine's invariants after every event and
its promises to the world at every action: no start beside a live or starting copy of the same
child, no stop of a process that was not started, every request answered once.

By default everything succeeds at once. A test makes a child's next starts end otherwise with
`plan`, holds a start or a stop back with ``"hold"`` and lets it go with `release`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from noex.supervisor.errors import NoAvailableNodeError
from noex.supervisor.info import ChildInfo
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity
from noex.supervisor.strategy import StrategyMachine
from noex.supervisor.strategy_actions import (
    Action,
    Answer,
    CancelStart,
    Emit,
    Finish,
    ScheduleRetry,
    StartChild,
    Started,
    StopChild,
)
from noex.supervisor.strategy_events import (
    Begin,
    ChildExited,
    ChildGone,
    Event,
    NodeLost,
    RestartChildRequested,
    RetryDue,
    StartChildRequested,
    StartFailed,
    StartIgnored,
    StartSucceeded,
    StopRequested,
    TerminateChildRequested,
)

HOME = "home@h:1"
WALL = 1_700_000_000.0


class Crash(Exception):
    """How children of tests crash."""


@dataclass(frozen=True)
class FakeRef:
    """A process of a test."""

    child_id: str
    generation: int
    node_id: str

    def __str__(self) -> str:
        return f"<{self.child_id} #{self.generation} at {self.node_id}>"


@dataclass
class Bench:
    """One machine in its world. See the module."""

    options: SupervisorOptions
    now: float = 100.0
    machine: StrategyMachine = field(init=False)
    alive: dict[FakeRef, None] = field(default_factory=dict)
    flying: dict[tuple[str, int], StartChild] = field(default_factory=dict)
    silent: dict[tuple[str, int], str] = field(default_factory=dict)
    begun: set[tuple[str, int]] = field(default_factory=set)
    stopping: dict[tuple[str, int], StopChild] = field(default_factory=dict)
    timers: list[tuple[float, ScheduleRetry]] = field(default_factory=list)
    plans: dict[str, deque[str]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    held_stops: set[str] = field(default_factory=set)
    canceled: list[str] = field(default_factory=list)
    story: list[tuple[str, str]] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    finish: Finish | None = None
    started: bool = False
    hold_retries: bool = False
    _queue: deque[Event] = field(default_factory=deque)
    _requests: int = 0

    def __post_init__(self) -> None:
        self.options.check("sup")
        self.machine = StrategyMachine("sup", self.options)

    # What happens.

    def begin(self) -> Bench:
        return self.feed(Begin("handle", WALL))

    def feed(self, *events: Event) -> Bench:
        """Let events happen, and everything that follows from them at once."""
        self._queue.extend(events)
        while self._queue:
            self._step(self._queue.popleft())
        return self

    def crash(self, *child_ids: str, reason: Any = None) -> Bench:
        """These children end in the same instant (with a crash, unless `reason` is given)."""
        return self.feed(
            *[self._end(child_id, reason or Crash(child_id)) for child_id in child_ids]
        )

    def _end(self, child_id: str, reason: Any) -> ChildExited:
        ref = self.ref(child_id)
        del self.alive[ref]
        self.stopping.pop((child_id, ref.generation), None)
        return ChildExited(child_id, ref.generation, reason)

    def lose(self, node_id: str, *, counted: bool = True) -> Bench:
        """A node goes down with all that runs on it."""
        for ref in [ref for ref in self.alive if ref.node_id == node_id]:
            del self.alive[ref]
        for key, stop in list(self.stopping.items()):
            if stop.node_id == node_id:
                del self.stopping[key]
        over = [NodeLost(node_id, counted=counted), *self._silent_no_more(node_id)]
        return self.feed(*over)

    def _silent_no_more(self, node_id: str) -> list[Event]:
        """Whoever still asks a host that was lost hears that now."""
        keys = [key for key, silent in self.silent.items() if silent == node_id]
        for key in keys:
            del self.silent[key]
            self.flying.pop(key, None)
        return [StartFailed(*key, Crash("lost"), "node_lost", node_id) for key in keys]

    def ask(self, request: type, subject: Any) -> int:
        """Make a request; its id."""
        self._requests += 1
        self.feed(request(self._requests, subject))
        return self._requests

    def start_child(self, child: Any) -> int:
        return self.ask(StartChildRequested, child)

    def terminate(self, child_id: str) -> int:
        return self.ask(TerminateChildRequested, child_id)

    def restart(self, child_id: str) -> int:
        return self.ask(RestartChildRequested, child_id)

    def stop(self, reason: Any = "normal") -> Bench:
        return self.feed(StopRequested(reason))

    def plan(self, child_id: str, *outcomes: str) -> Bench:
        """How the next starts of a child end: ok, ignore, hold, or a kind of `StartFailed`."""
        self.plans.setdefault(child_id, deque()).extend(outcomes)
        return self

    def release(self, child_id: str, outcome: str = "ok") -> Bench:
        """Let a held start or stop of this child end."""
        for key, stop in list(self.stopping.items()):
            if key[0] == child_id and outcome == "ok":
                self._stopped(stop)
                return self.feed()
        for key, action in list(self.flying.items()):
            if key[0] == child_id:
                self._conclude(action, outcome)
                return self.feed()
        raise AssertionError(f"nothing of {child_id} is under way")

    def pass_time(self, seconds: float) -> Bench:
        """Time passes; retries that are due happen."""
        self.now += seconds
        return self.fire()

    def fire(self) -> Bench:
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        return self.feed(*[RetryDue(retry.child_id, retry.generation) for _, retry in due])

    # What can be seen.

    def info(self, child_id: str) -> ChildInfo:
        info = self.machine.child(child_id)
        assert info is not None, f"no child {child_id}"
        return info

    def ref(self, child_id: str) -> FakeRef:
        ref: FakeRef = self.info(child_id).ref
        return ref

    @property
    def ids(self) -> list[str]:
        return [info.id for info in self.machine.children()]

    @property
    def status(self) -> dict[str, str]:
        return {info.id: info.status for info in self.machine.children()}

    def told(self, *kinds: str) -> list[tuple[str, ...]]:
        """Lifecycle events as (type, child id) pairs, of these types if any are named."""
        pairs = [(event.type, getattr(event, "child_id", "")) for event in self.events]
        return [pair for pair in pairs if not kinds or pair[0] in kinds]

    def forget(self) -> Bench:
        """Start a new chapter of the story."""
        self.story.clear()
        self.events.clear()
        return self

    # How the world works.

    def _step(self, event: Event) -> None:
        actions = self.machine.handle(event, self.now)
        self.machine.validate()
        for action in actions:
            assert self.finish is None or isinstance(action, Answer | StopChild)
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case StartChild():
                self._start(action)
            case CancelStart():
                assert (action.child_id, action.generation) in self.begun
                self.canceled.append(action.child_id)
            case StopChild():
                self._stop(action)
            case ScheduleRetry():
                self._schedule(action)
            case Answer():
                assert action.request_id not in self.answers, "answered twice"
                self.answers[action.request_id] = action
            case Emit():
                self.events.append(action.event)
            case Started():
                self.started = True
            case Finish():
                assert not self.alive, f"left behind: {list(self.alive)}"
                assert not self.flying and not self.stopping
                self.finish = action

    def _start(self, action: StartChild) -> None:
        child_id = action.child_id
        overlaps = action.spec.overlap and action.why == "drain"
        copies = [ref for ref in self.alive if ref.child_id == child_id]
        assert not copies or overlaps, "a second copy"
        assert not [key for key in self.flying if key[0] == child_id], "a second start"
        self.story.append(("start", child_id))
        self.flying[child_id, action.generation] = action
        self.begun.add((child_id, action.generation))
        plan = self.plans.get(child_id)
        outcome = plan.popleft() if plan else "ok"
        if outcome != "hold":
            self._conclude(action, outcome)

    def _conclude(self, action: StartChild, outcome: str) -> None:
        child_id, generation = action.child_id, action.generation
        node_id = self.nodes.get(child_id, HOME)
        if outcome == "unknown":
            self.silent[child_id, generation] = node_id
        else:
            self.silent.pop((child_id, generation), None)
            del self.flying[child_id, generation]
            if outcome != "ok":
                self.stopping.pop((child_id, generation), None)
        event: Event
        if outcome == "ok":
            ref = FakeRef(child_id, generation, node_id)
            self.alive[ref] = None
            event = StartSucceeded(child_id, generation, ref, node_id, WALL + self.now)
        elif outcome == "ignore":
            event = StartIgnored(child_id, generation)
        elif outcome == "no_node":
            event = StartFailed(
                child_id, generation, NoAvailableNodeError(child_id, "random"), "no_node"
            )
        else:
            kind: Any = outcome
            event = StartFailed(child_id, generation, Crash("init"), kind, node_id)
        self._queue.append(event)

    def _stop(self, action: StopChild) -> None:
        self.story.append(("stop", action.child_id))
        if action.ref is not None:
            assert action.ref.generation == action.generation
        self.stopping[action.child_id, action.generation] = action
        dead = action.ref is not None and action.ref not in self.alive
        if dead or action.child_id not in self.held_stops:
            self._stopped(action)

    def _stopped(self, action: StopChild) -> None:
        del self.stopping[action.child_id, action.generation]
        self.alive.pop(action.ref, None)
        self.flying.pop((action.child_id, action.generation), None)
        self.silent.pop((action.child_id, action.generation), None)
        self._queue.append(ChildGone(action.child_id, action.generation, action.reason))

    def _schedule(self, action: ScheduleRetry) -> None:
        if action.delay == 0 and not self.hold_retries:
            self._queue.append(RetryDue(action.child_id, action.generation))
        else:
            self.timers.append((self.now + action.delay, action))


def spec(child_id: str, restart: Any = "permanent", **more: Any) -> ChildSpec:
    return ChildSpec(child_id, "worker", restart=restart, **more)


def bench(
    strategy: Any,
    *children: ChildSpec | str,
    most: int = 3,
    within: float = 5.0,
    **options: Any,
) -> Bench:
    """A supervisor with these children that is up. A bare id is a permanent child."""
    specs = [child if isinstance(child, ChildSpec) else spec(child) for child in children]
    if strategy == "simple_one_for_one":
        options.setdefault("child_template", ChildTemplate("worker"))
    made = SupervisorOptions(
        strategy=strategy,
        children=specs,
        restart_intensity=RestartIntensity(most, within),
        **options,
    )
    return Bench(made)
