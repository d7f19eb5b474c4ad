"""A simulated network of membership machines: virtual time, one seed, everything reproducible.

Each `Process` runs the `Views` of its present life. What is simulated is what the control lane
would say: dials and refusals, links that break when a process dies or is stopped, heartbeats and
answers of the control thread (which a busy loop does not hold up), lost and delayed messages.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from noex.cluster import events as ev
from noex.cluster.messages import decode, encode
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import FENCED, Member, Uid, View
from noex.cluster.views import Views

TICK = 0.1
PULSE = 0.5
HEARTBEAT_TIMEOUT = 1.5
"""After this a link to a stopped or unreachable process breaks."""
LEAVE_TIMEOUT = 5.0
EPOCH_MS = 1_700_000_000_000


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Link:
    """What one process has of its connection to an endpoint."""

    endpoint: str
    number: int
    peer: Process | None = None
    backoff: float = 0.05


@dataclass
class Observer:
    """Checks what one life is told: up and down pair, and nothing comes back."""

    uid: Uid
    up: dict[str, int] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    story: list[tuple[str, Uid, str]] = field(default_factory=list)

    def node_up(self, uid: Uid) -> None:
        self.story.append(("up", uid, ""))
        node_id, incarnation = uid
        if node_id in self.up:
            raise Broken(f"{self.uid}: up({uid}) while {self.up[node_id]} is up")
        if incarnation <= self.highest.get(node_id, -1):
            raise Broken(f"{self.uid}: {uid} came back: {self.story}")
        self.up[node_id] = self.highest[node_id] = incarnation

    def node_down(self, uid: Uid, reason: str) -> None:
        self.story.append(("down", uid, reason))
        if self.up.pop(uid[0], None) != uid[1]:
            raise Broken(f"{self.uid}: down({uid}) of what was not up: {self.story}")


class Process:
    """One operating system process with a node in it."""

    def __init__(
        self,
        net: Network,
        node_id: str,
        seeds: tuple[str, ...],
        settings: ClusterSettings,
        listens: bool,
    ) -> None:
        self.net = net
        self.settings = settings
        self.listens = listens
        self.node_id = node_id
        self.seeds = seeds
        self.endpoint = net.endpoint(node_id)
        self.alive = True
        self.left = False
        self.stopped = False  # SIGSTOP: neither loop nor thread runs
        self.busy_since: float | None = None  # the loop is blocked, the thread runs
        self.gil = False  # neither runs, but ZeroMQ answers
        self.links: dict[str, Link] = {}
        self.pubs: frozenset[str] = frozenset()
        self.waiting: list[Callable[[], ev.Event]] = []
        self.lives: list[Observer] = []
        self.rejected: list[str] = []
        self.over: list[str] = []
        self.busy_story: list[tuple[Uid, bool]] = []
        self.notes: list[str] = []
        self.stopped_at = 0.0
        self.skew_ms = net.rng.randrange(-200, 200)
        self._begin(0, ())

    def _begin(self, above: int, contacts: tuple[str, ...]) -> None:
        self.incarnation = max(above, self.net.next_incarnation())
        me = Member(
            self.node_id,
            self.incarnation,
            control_endpoint=self.endpoint,
            user_endpoint=self.endpoint + "1",
            pub_endpoint=self.endpoint + "2",
        )
        self.lives.append(Observer(me.uid))
        self.views = Views(
            me, seeds=self.seeds, contacts=contacts, settings=self.settings, now=self.net.now
        )

    @property
    def uid(self) -> Uid:
        return (self.node_id, self.incarnation)

    @property
    def view(self) -> View | None:
        return self.views.view

    @property
    def loop_runs(self) -> bool:
        return self.alive and not self.stopped and not self.gil and self.busy_since is None

    @property
    def thread_runs(self) -> bool:
        return self.alive and not self.stopped and not self.gil

    def feed(self, make: Callable[[float], ev.Event]) -> None:
        """Give an event to the machine now, or when the loop runs again."""
        if not self.alive:
            return
        if self.loop_runs:
            self._handle(make(self.net.now))
        elif self.thread_runs:
            event = make(self.net.now)
            self.waiting.append(lambda: event)
        else:
            self.waiting.append(lambda: make(self.net.now))

    def wake(self) -> None:
        """The loop runs again: everything that waited comes at once."""
        while self.waiting and self.loop_runs:
            self._handle(self.waiting.pop(0)())

    def tick(self) -> None:
        if self.loop_runs:
            wall = EPOCH_MS + int(self.net.now * 1000) + self.skew_ms
            self._handle(ev.Tick(wall, self.net.rng.random()))

    def want_to_leave(self) -> None:
        """Leave; after a deadline it just ends, as the shell does."""
        self.feed(lambda at: ev.LeaveWanted("leaving"))
        self.net.later(LEAVE_TIMEOUT, lambda: self.net.crash(self) if self.alive else None)

    def _handle(self, event: ev.Event) -> None:
        life = self.lives[-1]
        for effect in self.views.handle(event, self.net.now):
            self._carry_out(effect, life)

    def _carry_out(self, effect: ev.Effect, life: Observer) -> None:
        match effect:
            case ev.Send(to, message):
                self.net.send(self, to, encode(message))
            case ev.Ask(endpoint, token):
                self.net.ask(self, endpoint, token)
            case ev.Redial(endpoint):
                kept = frozenset(self.links)
                self.net.set_links(self, kept - {endpoint})
                self.net.set_links(self, kept)
            case ev.SetLinks(control, pub):
                self.net.set_links(self, control)
                self.pubs = pub
            case ev.Applied(_, downs, ups):
                for member, reason in downs:
                    life.node_down(member.uid, reason)
                for member in ups:
                    life.node_up(member.uid)
            case ev.LifeOver(reason, above, contacts):
                self.over.append(reason)
                for node_id, incarnation in list(life.up.items()):
                    life.node_down((node_id, incarnation), FENCED)
                self._begin(above + 1, tuple(contacts))
            case ev.Left():
                self.left = True
                self.net.crash(self)
            case ev.Rejected(reason):
                self.rejected.append(reason)
            case ev.BusyChanged(uid, busy):
                self.busy_story.append((uid, busy))
            case ev.Note(_, name):
                self.notes.append(name)


class Network:
    """All processes, and the time. `loss` is the chance that a message vanishes."""

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        delay: float = 0.005,
        settings: ClusterSettings | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.loss = loss
        self.delay = delay
        self.settings = settings or ClusterSettings()
        self.processes: list[Process] = []
        self.cut: set[frozenset[str]] = set()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._incarnation = 1000
        self._origins: dict[bytes, tuple[Process, Link]] = {}

    def next_incarnation(self) -> int:
        self._incarnation += 10
        return self._incarnation

    def endpoint(self, node_id: str) -> str:
        return f"tcp://{node_id.partition('@')[2]}"

    # -- time -----------------------------------------------------------------------------------

    def later(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, action))

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until `done()`; says whether it came to that."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if done():
                return True
        self.now = end
        return done()

    # -- processes ------------------------------------------------------------------------------

    def start(
        self,
        node_id: str,
        seeds: tuple[str, ...] = (),
        *,
        settings: ClusterSettings | None = None,
    ) -> Process:
        if self.at(self.endpoint(node_id)) is not None:
            raise ValueError(f"{node_id} runs")
        return self._launch(node_id, seeds, settings, listens=True)

    def start_unreachable(self, node_id: str, seeds: tuple[str, ...]) -> Process:
        """A process that advertises an address at which it does not listen."""
        return self._launch(node_id, seeds, None, listens=False)

    def set_incarnations_back(self, to: int) -> None:
        self._incarnation = to

    def _launch(
        self,
        node_id: str,
        seeds: tuple[str, ...],
        settings: ClusterSettings | None,
        *,
        listens: bool,
    ) -> Process:
        endpoints = tuple(self.endpoint(s) for s in seeds)
        process = Process(self, node_id, endpoints, settings or self.settings, listens)
        self.processes.append(process)
        self._keep_ticking(process)
        self.later(self.rng.random() * PULSE, lambda: self._pulse(process))
        return process

    def _keep_ticking(self, process: Process) -> None:
        if process.alive:
            process.tick()
            self.later(TICK, lambda: self._keep_ticking(process))

    def at(self, endpoint: str) -> Process | None:
        """Who listens there."""
        return next(
            (p for p in self.processes if p.alive and p.listens and p.endpoint == endpoint), None
        )

    def living(self) -> list[Process]:
        return [p for p in self.processes if p.alive]

    def crash(self, process: Process) -> None:
        process.alive = False
        self.processes.remove(process)
        for other in self.living():
            for link in list(other.links.values()):
                if link.peer is process:
                    self.later(0.001, lambda o=other, k=link: self._lost(o, k))  # type: ignore[misc]

    def stop(self, process: Process) -> None:
        process.stopped = True
        process.stopped_at = self.now
        self.later(HEARTBEAT_TIMEOUT, lambda: self._break_stopped(process))

    def resume(self, process: Process) -> None:
        process.stopped = False
        if self.now - process.stopped_at > HEARTBEAT_TIMEOUT:
            for link in list(process.links.values()):
                self._lost(process, link)
        process.wake()

    def _break_stopped(self, process: Process) -> None:
        if process.stopped and process.alive:
            for other in self.living():
                for link in list(other.links.values()):
                    if link.peer is process:
                        self._lost(other, link)

    def block(self, process: Process, seconds: float, *, gil: bool = False) -> None:
        """The loop (with `gil`, everything in Python) is held up."""
        process.busy_since = self.now
        process.gil = gil
        self.later(seconds, lambda: self._unblock(process))

    def _unblock(self, process: Process) -> None:
        process.busy_since, process.gil = None, False
        process.wake()

    # -- partitions -----------------------------------------------------------------------------

    def partition(self, a: Process, b: Process) -> None:
        pair = frozenset((a.endpoint, b.endpoint))
        self.cut.add(pair)
        self.later(HEARTBEAT_TIMEOUT, lambda: self._break_cut(pair))

    def heal(self) -> None:
        self.cut.clear()

    def _break_cut(self, pair: frozenset[str]) -> None:
        if pair in self.cut:
            for process in self.living():
                for link in list(process.links.values()):
                    if frozenset((process.endpoint, link.endpoint)) == pair:
                        self._lost(process, link)

    def reachable(self, process: Process, endpoint: str) -> bool:
        return frozenset((process.endpoint, endpoint)) not in self.cut

    # -- links ----------------------------------------------------------------------------------

    def set_links(self, process: Process, wanted: frozenset[str]) -> None:
        for endpoint in list(process.links):
            if endpoint not in wanted:
                del process.links[endpoint]
        for endpoint in sorted(wanted - set(process.links)):
            self._count += 1
            link = process.links[endpoint] = Link(endpoint, self._count)
            self._dial(process, link)

    def _dial(self, process: Process, link: Link) -> None:
        self.later(self.rng.uniform(0.0005, 0.003), lambda: self._dialled(process, link))

    def _dialled(self, process: Process, link: Link) -> None:
        endpoint = link.endpoint
        if process.links.get(endpoint) is not link or not process.alive or link.peer:
            return
        if not process.thread_runs:
            self.later(0.2, lambda: self._dial(process, link))
            return
        peer = self.at(endpoint)
        link.backoff = min(link.backoff * 2, 1.0)
        again = link.backoff * self.rng.uniform(0.5, 1.0)
        if not self.reachable(process, endpoint) or (peer is not None and peer.stopped):
            self.later(again, lambda: self._dial(process, link))
        elif peer is None:
            process.feed(lambda at: ev.DialRefused(endpoint, at))
            self.later(again, lambda: self._dial(process, link))
        else:
            link.peer, link.backoff = peer, 0.05
            self._count += 1
            link.number = self._count
            process.feed(lambda at: ev.LinkUp(endpoint, at))

    def _lost(self, process: Process, link: Link) -> None:
        if not process.alive or process.links.get(link.endpoint) is not link or not link.peer:
            return
        link.peer = None
        process.feed(lambda at: ev.LinkDown(link.endpoint, at))
        self._dial(process, link)

    # -- messages -------------------------------------------------------------------------------

    def _delay(self) -> float:
        return self.rng.uniform(0.0002, self.delay)

    def send(self, process: Process, to: ev.Address, data: bytes) -> None:
        if self.rng.random() < self.loss:
            return
        if isinstance(to, str):
            link = process.links.get(to)
            if link is not None and link.peer is not None and self.reachable(process, to):
                self._forward(process, link, data)
        elif to in self._origins:
            asker, link = self._origins[to]
            if link.peer is process and self.reachable(process, asker.endpoint):
                self.later(self._delay(), lambda: self._come_back(asker, link, process, data))

    def _forward(self, process: Process, link: Link, data: bytes) -> None:
        peer, origin = link.peer, str(link.number).encode()
        assert peer is not None
        self._origins[origin] = (process, link)
        self.later(self._delay(), lambda: peer.feed(lambda at: ev.Heard(origin, decode(data), at)))

    def _come_back(self, asker: Process, link: Link, peer: Process, data: bytes) -> None:
        if link.peer is peer:
            asker.feed(lambda at: ev.Heard(link.endpoint, decode(data), at))

    def ask(self, process: Process, endpoint: str, token: int) -> None:
        link = process.links.get(endpoint)
        peer = link.peer if link else None
        if peer is not None and self.reachable(process, endpoint):
            self.later(self._delay(), lambda: self._answer(process, peer, endpoint, token))

    def _answer(self, process: Process, peer: Process, endpoint: str, token: int) -> None:
        if peer.thread_runs:
            uid = peer.uid
            process.feed(lambda at: ev.Answered(endpoint, uid, at, token=token))

    def _pulse(self, process: Process) -> None:
        if not process.alive:
            return
        self.later(PULSE, lambda: self._pulse(process))
        if not process.thread_runs or not process.listens:
            return
        lag = 0.0 if process.busy_since is None else self.now - process.busy_since
        uid, standing = process.uid, process.views.standing
        for other in self.living():
            hears = process.endpoint + "2" in other.pubs
            if hears and self.reachable(other, process.endpoint) and self.rng.random() >= self.loss:
                self.later(self._delay(), self._pulse_to(other, uid, lag, standing))

    def _pulse_to(self, other, uid, lag, standing):  # type: ignore[no-untyped-def]
        return lambda: other.feed(lambda at: ev.PulseSeen(uid, at, lag, *standing))

    # -- judgement ------------------------------------------------------------------------------

    def settled(self) -> bool:
        """Whether all living nodes share one view with exactly the living lives."""
        living = self.living()
        lives = {p.uid for p in living}
        if any(p.view is None for p in living):
            return False
        views = [p.view for p in living if p.view is not None]
        return all(
            v.lineage == views[0].lineage
            and v.epoch == views[0].epoch
            and v.digest() == views[0].digest()
            and {m.uid for m in v.members} == lives
            for v in views
        )

    def describe(self) -> str:
        """For a failing test: who believes what."""
        lines = []
        for p in self.living():
            view = p.view
            shown = (
                f"{view.lineage.node_id}#{view.epoch - view.lineage.epoch} "
                f"{[(m.node_id, m.incarnation) for m in view.members]} gone={dict(view.gone)}"
                if view
                else "no view"
            )
            lines.append(
                f"{p.uid} {p.views.phase}: {shown} over={p.over} rejected={p.rejected[-3:]}"
            )
        return "\n".join(lines)
