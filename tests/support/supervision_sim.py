"""One supervisor, its remote children and the hosts of several nodes, in virtual time.

Real are the strategy machine, `RemoteChildren`, `Placement` and the host machines. Played are the
network (FIFO between two lives, exactly once, any delay; lost with the life), the processes and
the detection of a crash, which comes late. A call that has timed out may still arrive.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

from noex.runtime.errors import CallTimeoutError, NodeNotReachableError
from noex.supervisor import host_machine as hosts
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.placement import Placement
from noex.supervisor.remote_children import RemoteChildren
from noex.supervisor.strategy import StrategyMachine
from noex.supervisor.strategy_actions import (
    Action,
    Answer,
    CancelStart,
    Emit,
    Finish,
    ScheduleRetry,
    StartChild,
    StopChild,
)
from noex.supervisor.strategy_events import (
    Begin,
    ChildExited,
    ChildGone,
    Event,
    NodeLost,
    PlacementChanged,
    RetryDue,
    StartSucceeded,
)

Uid = tuple[str, int]
HOME = "home@h:1"


@dataclass(frozen=True)
class SimRef:
    """A process."""

    node_id: str
    incarnation: int
    serial: int

    @property
    def life(self) -> Uid:
        return self.node_id, self.incarnation


@dataclass
class Life:
    """A life of a node: its host, its processes, and when the last message to and from it came."""

    uid: Uid
    machine: hosts.HostMachine = field(default_factory=hosts.HostMachine)
    alive: bool = True  # the node itself
    known: bool = True  # to the supervisor's node, as a member
    status: str = "up"
    processes: dict[SimRef, hosts.Child] = field(default_factory=dict)
    watched: set[SimRef] = field(default_factory=set)
    calls: set[asyncio.Future[Any]] = field(default_factory=set)
    lines: dict[str, float] = field(default_factory=lambda: {"to": 0.0, "from": 0.0})


class World:
    """The nodes, and the shell of one supervisor on `HOME`, which does not crash."""

    def __init__(self, seed: int, options: SupervisorOptions, nodes: int = 3) -> None:
        self.random = Random(seed)
        self.loop = asyncio.get_running_loop()
        self.serials = itertools.count(1)
        self.incarnations = itertools.count(1)
        self.lives: dict[str, Life] = {}
        self.past: list[Life] = []
        self.story: list[str] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.finished: Finish | None = None
        self.answers: dict[int, Answer] = {}
        self.cut: set[tuple[Uid, hosts.Child]] = set()  # starts that were cut short
        self.delays = self.random.choice([[0.0, 0.001, 0.05, 0.4], [0.0, 0.05, 0.4, 1.5]])
        self.cutting = self.random.choice([0.0, 0.7])  # how often a start can be cut short
        self.failing = 0.1  # how often a start fails
        clock = SimpleNamespace(now=self.loop.time, wall=self.loop.time)
        kernel: Any = SimpleNamespace(
            node_id=HOME, kill_grace=0.2, clock=clock, named_ref=lambda _, *life: Host(self, life)
        )
        self.machine = StrategyMachine("sim", options, 1)
        self.children = RemoteChildren(
            kernel,
            "owner",  # type: ignore[arg-type]
            1,
            Placement(HOME, lambda ids: self.random.choice(list(ids)), lambda _: None),
            self.members,
            options.node_selector,
            lambda value: value,
            spawn_timeout=0.5,
        )
        for name in [HOME, *(f"n{i}@h:1" for i in range(nodes))]:
            self.join(name)
        self.tell(Begin("sup", 0.0))

    # ------------------------------------------------------------------ nodes

    def members(self) -> list[Any]:
        return [
            SimpleNamespace(
                id=life.uid[0],
                incarnation=life.uid[1],
                status=life.status,
                process_count=len(life.processes),
                behaviors=("worker",),
            )
            for life in self.lives.values()
            if life.known
        ]

    def join(self, name: str) -> None:
        self.note("join", name)
        self.lives[name] = Life((name, next(self.incarnations)))
        if len(self.lives) > 1:
            self.tell(PlacementChanged())

    def crash(self, name: str) -> None:
        """The node is gone at once; the supervisor's node sees it later."""
        life = self.lives[name]
        if not life.alive or name == HOME:
            return
        self.note("crash", name)
        life.alive = False
        life.processes.clear()
        self.past.append(life)
        self.loop.call_later(self.random.choice([0.01, 0.3, 2.0]), self.see_crash, life)

    def see_crash(self, life: Life) -> None:
        self.note("seen", life.uid[0])
        life.known = False
        for call in life.calls:
            if not call.done():
                call.set_exception(NodeNotReachableError(life.uid[0]))
        self.tell(NodeLost(*life.uid))
        self.loop.call_later(self.random.choice([0.0, 0.2, 3.0]), self.join, life.uid[0])

    # ------------------------------------------------------------------ messages

    def post(self, life: Life, way: str, deliver: Any, *args: Any) -> None:
        """A message, behind the ones before it on the same way; lost if the life has ended."""
        delay = self.random.choice(self.delays) if life.uid[0] != HOME else 0.0
        at = max(life.lines[way], self.loop.time() + delay)
        life.lines[way] = at + 1e-9

        def arrive() -> None:
            if life.alive and (way == "to" or life.known):
                deliver(*args)

        # a life that has died meanwhile delivers what was under way to us, or loses it
        self.loop.call_at(at, arrive)

    async def ask(self, uid: Uid, request: Any, timeout: float | None) -> Any:
        life = self.lives.get(uid[0])
        if life is None or life.uid != uid or not life.known:
            raise NodeNotReachableError(uid[0])
        answer: asyncio.Future[Any] = self.loop.create_future()
        life.calls.add(answer)
        self.post(life, "to", self.host_asked, life, request, answer)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            self.note("timeout", uid[0], request[0], request[2])
            raise CallTimeoutError("host", timeout or 0) from None
        finally:
            life.calls.discard(answer)

    # ------------------------------------------------------------------ hosts

    def host_asked(self, life: Life, request: Any, asker: Any) -> None:
        if asker.done() and self.random.random() < 0.5:
            return  # the caller has given up, and its word of that was faster than the mailbox
        match request:
            case ("spawn", owner, child_id, token, order):
                child = hosts.Child(owner, child_id, token)
                self.host_does(life, life.machine.spawn_asked(asker, child, hosts.Order(*order)))
            case ("stop", owner, child_id, token, reason, shutdown):
                child = hosts.Child(owner, child_id, token)
                self.host_does(life, life.machine.stop_asked(asker, child, reason, shutdown))
            case ("is_zombie", _):
                self.post(life, "from", resolve, asker, False)

    def host_does(self, life: Life, effects: Any) -> None:
        for effect in effects:
            match effect:
                case hosts.StartProcess(child, _):
                    delay = self.random.choice([0.0, 0.01, 0.7])
                    self.later(life, delay, self.start_ends, life, child)
                case hosts.CancelStart(child) if self.random.random() < self.cutting:
                    self.later(life, 0.001, self.start_is_cut, life, child)
                case hosts.StopProcess(_, ref, reason, _):
                    self.later(life, self.random.choice([0.0, 0.3, 2.0]), self.end, ref, reason)
                case hosts.Tell(asker, outcome):
                    self.post(life, "from", resolve, asker, tuple(outcome))

    def later(self, life: Life, delay: float, act: Any, *args: Any) -> None:
        self.loop.call_later(delay, lambda: act(*args) if life.alive else None)

    def start_ends(self, life: Life, child: hosts.Child) -> None:
        if (life.uid, child) in self.cut or child in life.processes.values():
            return
        if self.random.random() < self.failing:
            outcome = hosts.Outcome("failed", ValueError("init"))
        else:
            ref = SimRef(*life.uid, next(self.serials))
            life.processes[ref] = child
            self.note("up", child.child_id, life.uid[0])
            outcome = hosts.Outcome("started", ref)
        self.host_does(life, life.machine.start_ended(child, outcome))
        self.check_copies()

    def start_is_cut(self, life: Life, child: hosts.Child) -> None:
        if child in life.processes.values():
            return  # it was up before
        self.cut.add((life.uid, child))
        outcome = hosts.Outcome("failed", ValueError("cut short"))
        self.host_does(life, life.machine.start_ended(child, outcome))

    def end(self, ref: SimRef, reason: Any) -> None:
        """A process ends; its host hears of it, and who watches it."""
        life = self.lives[ref.node_id]
        child = life.processes.pop(ref, None) if life.uid == ref.life else None
        if child is None:
            return
        self.note("end", child.child_id, ref.node_id, reason)
        self.host_does(life, life.machine.process_down(child, reason))
        if ref in life.watched:
            self.post(life, "from", self.hear_down, ref, child, reason)

    def watch(self, event: StartSucceeded) -> None:
        life = self.lives[event.node_id]
        if life.uid == event.ref.life and life.known:
            self.post(life, "to", self.watched, life, event)

    def watched(self, life: Life, event: StartSucceeded) -> None:
        child = life.processes.get(event.ref)
        if child is None:
            gone = hosts.Child("owner", event.child_id, (1, event.generation))
            self.post(life, "from", self.hear_down, event.ref, gone, "noproc")
        else:
            life.watched.add(event.ref)

    def hear_down(self, ref: SimRef, child: hosts.Child, reason: Any) -> None:
        if reason == "noproc":
            self.task(self.ask_why(ref, child))
            return
        self.children.forget(child.child_id, child.token[1])
        self.tell(ChildExited(child.child_id, child.token[1], reason))

    async def ask_why(self, ref: Any, child: hosts.Child) -> None:
        reason = await self.children.reason_of_end(child.child_id, child.token[1], ref)
        if reason is not None:
            assert reason in ("odd", "shutdown"), reason
            self.children.forget(child.child_id, child.token[1])
            self.report(ChildGone(child.child_id, child.token[1], reason))

    # ------------------------------------------------------------------ the supervisor's shell

    def tell(self, event: Event) -> None:
        if self.finished is None:
            for action in self.machine.handle(event, self.loop.time()):
                self.carry_out(action)
            self.machine.validate()

    def carry_out(self, action: Action) -> None:
        match action:
            case StartChild():
                self.note("start", action.child_id, action.generation, action.why)
                self.task(self.children.start(action, self.report))
            case CancelStart(child_id, generation):
                self.task(self.children.cancel(child_id, generation))
            case StopChild():
                self.note("stop", action.child_id, action.generation)
                self.task(self.stop_child(action))
            case ScheduleRetry(child_id, generation, delay):
                self.loop.call_later(delay, self.tell, RetryDue(child_id, generation))
            case Answer(request_id):
                assert request_id not in self.answers, "answered twice"
                self.answers[request_id] = action
            case Emit(event):
                self.note(*(str(part) for part in (event.type, getattr(event, "child_id", ""))))
            case Finish():
                self.finished = action

    async def stop_child(self, action: StopChild) -> None:
        self.report(await self.children.stop(action))

    def report(self, event: Event) -> None:
        if isinstance(event, StartSucceeded):
            self.watch(event)
        self.note("report", event)
        self.loop.call_soon(self.tell, event)

    def task(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ------------------------------------------------------------------ what must hold

    def note(self, *words: Any) -> None:
        self.story.append(f"{self.loop.time():9.4f} " + " ".join(str(word) for word in words))

    def copies(self) -> Counter[str]:
        return Counter(
            child.child_id
            for life in self.lives.values()
            if life.alive
            for child in life.processes.values()
        )

    def check_copies(self) -> None:
        twice = [child_id for child_id, count in self.copies().items() if count > 1]
        assert not twice, f"two copies of {twice}:\n" + "\n".join(self.story[-60:])

    def check_rest(self) -> None:
        """When nothing has happened for long: what should run runs once, and nothing else."""
        wanted = {
            info.id: info
            for info in self.machine.children()
            if not (info.reason or "").startswith("restart_child failed")  # that is its end
        }
        status = {child_id: info.status for child_id, info in wanted.items()}
        story = "\n".join(self.story[-60:])
        assert set(status.values()) <= {"running"}, f"{status}\n{story}"
        assert self.copies() == dict.fromkeys(wanted, 1), f"{self.copies()} {status}\n{story}"
        for info in wanted.values():
            assert info.ref in self.lives[info.node_id].processes, f"{info}\n{story}"


class Host:
    """The address of a host."""

    def __init__(self, world: World, uid: Any) -> None:
        self.world, self.uid = world, tuple(uid)

    async def call(self, request: Any, timeout: float | None) -> Any:
        return await self.world.ask(self.uid, request, timeout)


def resolve(answer: asyncio.Future[Any], value: Any) -> None:
    """An answer has come; it may be too late."""
    if not answer.done():
        answer.set_result(value)
