"""A simulated cluster of names machines: one seed, random order, everything reproducible.

What is kept, because the runtime keeps it: messages of one node to another arrive in order and
once; a death is in the mailbox of its node's name process at once; views are applied in their order
(each node at a time of its own, perhaps several at once); nothing arrives from a life that is not,
or no longer, in the view. Everything else happens in any order.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from noex.registry import names_messages as m
from noex.registry.names_machine import NamesMachine

Ref = tuple[str, int]


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Lookup:
    """A `whereis` under way, and what it may answer."""

    name: str
    registered: Ref | None
    changes: int  # to `holding` until it was asked


@dataclass
class SimNode:
    """One node, over all its lives."""

    name: str
    uid: m.Uid
    machine: NamesMachine
    seen: int = -1  # index of the newest view that was applied
    alive: bool = True
    mailbox: deque = field(default_factory=deque)
    processes: set[Ref] = field(default_factory=set)


class NamesSim:
    """The cluster. `answers[ident]` is True, False, a ref, None or an exception."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.chance = random.Random(seed)
        self.nodes: dict[str, SimNode] = {}
        self.views: list[tuple[int, tuple[m.Uid, ...]]] = []
        self.channels: dict[tuple[m.Uid, m.Uid], deque] = {}
        self.answers: dict[int, object] = {}
        self.requests: dict[int, tuple[SimNode, str, Ref | None]] = {}
        self.lookups: dict[int, Lookup] = {}
        self.holding: dict[str, Ref] = {}  # registered and answered, and nothing happened since
        self.since: dict[str, int] = {}  # numbers the beginnings of what is in `holding`
        self.changes = 0
        self.dispossessed: list[tuple[Ref, str, Ref]] = []
        self._ident = 0
        self._incarnation = 0
        self._process = 0
        for index in range(nodes):
            self.join(f"n{index}")

    # ------------------------------------------------------------------ membership

    @property
    def members(self) -> tuple[m.Uid, ...]:
        return self.views[-1][1] if self.views else ()

    def living(self) -> list[SimNode]:
        """Nodes whose present life is in the newest view."""
        return [
            node
            for node in self.nodes.values()
            if node.alive and node.uid == node.machine.me and node.uid in self.members
        ]

    def node_of(self, uid: m.Uid) -> SimNode | None:
        return next((node for node in self.nodes.values() if node.uid == uid), None)

    def _decide(self, members: tuple[m.Uid, ...]) -> None:
        self.views.append((len(self.views) + 1, members))

    def _next_uid(self, name: str) -> m.Uid:
        self._incarnation += 1
        return (name, self._incarnation)

    def join(self, name: str) -> SimNode:
        uid = self._next_uid(name)
        node = self.nodes[name] = SimNode(name, uid, NamesMachine(uid))
        self._decide((*self.members, uid))
        return node

    def crash(self, node: SimNode) -> None:
        """The node is gone; what it had sent may be lost from some point on."""
        node.alive = False
        for (origin, _), channel in self.channels.items():
            if origin == node.uid and channel:
                for _ in range(self.chance.randrange(len(channel) + 1)):
                    channel.pop()
        for name, ref in list(self.holding.items()):
            if ref in node.processes:
                del self.holding[name]
        if node.uid in self.members:
            self._decide(tuple(uid for uid in self.members if uid != node.uid))

    def expel(self, node: SimNode) -> None:
        """The others hold it for dead, wrongly; it comes back as a new life."""
        for name, ref in list(self.holding.items()):
            if ref in node.processes:
                del self.holding[name]
        self._decide(tuple(uid for uid in self.members if uid != node.uid))

    def return_of(self, node: SimNode) -> None:
        node.uid, node.seen = self._next_uid(node.name), -1
        node.mailbox.append(("life", node.uid))
        self._decide((*self.members, node.uid))

    # ------------------------------------------------------------------ programs

    def spawn(self, node: SimNode) -> Ref:
        self._process += 1
        ref = (node.name, self._process)
        node.processes.add(ref)
        return ref

    def kill(self, node: SimNode, ref: Ref) -> None:
        node.processes.discard(ref)
        node.mailbox.append(("down", ref))
        self._freed(ref)

    def _freed(self, ref: Ref, name: str | None = None) -> None:
        for held, holder in list(self.holding.items()):
            if holder == ref and name in (None, held):
                del self.holding[held]

    def register(self, node: SimNode, name: str, ref: Ref) -> int:
        ident = self._next_ident(node, name, ref)
        node.mailbox.append(("register", ident, name, ref))
        return ident

    def unregister(self, node: SimNode, name: str) -> int:
        ident = self._next_ident(node, name, None)
        node.mailbox.append(("unregister", ident, name))
        return ident

    def whereis(self, node: SimNode, name: str) -> int:
        ident = self._next_ident(node, name, None)
        self.lookups[ident] = Lookup(name, self.holding.get(name), self.changes)
        node.mailbox.append(("whereis", ident, name))
        return ident

    def expire(self, ident: int) -> None:
        node = self.requests[ident][0]
        if ident not in self.answers and node.alive:
            self.answers[ident] = TimeoutError()
            node.mailbox.append(("expired", ident))

    def _next_ident(self, node: SimNode, name: str, ref: Ref | None) -> int:
        self._ident += 1
        self.requests[self._ident] = (node, name, ref)
        return self._ident

    # ------------------------------------------------------------------ steps

    def step(self) -> bool:
        """Let one thing happen that can. False when nothing can."""
        moves = []
        for node in self.nodes.values():
            if not node.alive:
                continue
            if node.mailbox:
                moves.append((self._run_one, node))
            if self._has_news(node):
                moves.append((self._apply_view, node))
        for key in list(self.channels):
            target = self._receiver(key)
            if target is not None:
                moves.append((self._deliver, key))
        if not moves:
            return False
        move, what = self.chance.choice(moves)
        move(what)
        self._check_owners()
        return True

    def settle(self) -> None:
        for _ in range(200_000):
            if not self.step():
                return
        raise Broken("it does not come to rest")

    def _has_news(self, node: SimNode) -> bool:
        return any(node.uid in members for _, members in self.views[node.seen + 1 :])

    def _apply_view(self, node: SimNode) -> None:
        news = [i for i in range(node.seen + 1, len(self.views)) if node.uid in self.views[i][1]]
        before = set(self.views[node.seen][1]) if node.seen >= 0 else set()
        node.seen = self.chance.choice(news)
        epoch, members = self.views[node.seen]
        for uid in before - set(members):
            self.channels.pop((uid, node.uid), None)
            self.channels.pop((node.uid, uid), None)
        node.mailbox.append(("view", epoch, members))

    def _receiver(self, key: tuple[m.Uid, m.Uid]) -> SimNode | None:
        origin, to = key
        node = self.node_of(to)
        if not self.channels[key] or node is None or not node.alive or node.seen < 0:
            return None
        return node if origin in self.views[node.seen][1] else None

    def _deliver(self, key: tuple[m.Uid, m.Uid]) -> None:
        node = self.node_of(key[1])
        assert node is not None
        node.mailbox.append(("message", key[0], self.channels[key].popleft()))

    def _run_one(self, node: SimNode) -> None:
        machine = node.machine
        match node.mailbox.popleft():
            case ("view", epoch, members):
                effects = machine.view_changed(epoch, members)
            case ("life", uid):
                effects = machine.life_changed(uid)
            case ("message", uid, message):
                effects = machine.received(uid, message)
            case ("register", ident, name, ref) if ref in node.processes:
                effects = machine.register_asked(ident, name, ref)
            case ("register", ident, _, ref):
                effects = [m.Refuse(ident, LookupError(ref))]
            case ("unregister", ident, name):
                if self.holding.get(name, ("", 0))[0] == node.name:
                    del self.holding[name]
                effects = machine.unregister_asked(ident, name)
            case ("whereis", ident, name):
                effects = machine.whereis_asked(ident, name)
            case ("expired", ident):
                effects = machine.expired(ident)
            case ("down", ref):
                effects = machine.process_down(ref)
            case other:
                raise Broken(f"no such item: {other!r}")
        for effect in effects:
            self._perform(node, effect)

    def _perform(self, node: SimNode, effect: m.Effect) -> None:
        match effect:
            case m.Send(to, message):
                self.channels.setdefault((node.machine.me, to), deque()).append(message)
            case m.Answer(ident, value):
                self._answered(node, ident, value)
            case m.Refuse(ident, error):
                self._answered(node, ident, error)
            case m.Dispossess(ref, name, winner):
                self.dispossessed.append((ref, name, winner))

    def _answered(self, node: SimNode, ident: int, value: object) -> None:
        late = isinstance(self.answers.get(ident), TimeoutError)
        if ident in self.answers and not late:
            raise Broken(f"request {ident} is answered twice")
        _, name, ref = self.requests[ident]
        if late:
            if ref is not None and value is True:
                for effect in node.machine.given_up(name, ref):
                    self._perform(node, effect)
            return
        self.answers[ident] = value
        if value is True and ref in node.processes and node.machine.known(name) == ref:
            self._holds(node, name, ref)
        lookup = self.lookups.pop(ident, None)
        if lookup is not None and lookup.registered is not None and value is None:
            is_held_still = self.since.get(lookup.name, 0) <= lookup.changes
            if lookup.name in self.holding and is_held_still and node in self.living():
                raise Broken(f"{name} is registered, and {node.name} did not find it")

    def _holds(self, node: SimNode, name: str, ref: Ref) -> None:
        if node not in self.living():
            return
        if self.holding.get(name) != ref:
            self.changes += 1
            self.since[name] = self.changes
        self.holding[name] = ref

    # ------------------------------------------------------------------ what must hold

    def _check_owners(self) -> None:
        owners: dict[str, list[str]] = {}
        for node in self.living():
            for name in node.machine.own_names():
                owners.setdefault(name, []).append(node.name)
        for name, nodes in owners.items():
            if len(nodes) > 1:
                raise Broken(f"{name} has two owners: {nodes}")

    def check_settled(self) -> None:
        """All agree, all that is registered lives, and nothing is left open."""
        living = self.living()
        tables = {
            node.name: {name: node.machine.known(name) for name in node.machine.names()}
            for node in living
        }
        first = tables[living[0].name]
        for name, table in tables.items():
            if table != first:
                raise Broken(f"{name} and {living[0].name} differ: {table} {first}")
        alive = {ref for node in living for ref in node.processes}
        for name, ref in first.items():
            if ref not in alive:
                raise Broken(f"{name} leads to the dead {ref}")
        for name, ref in self.holding.items():
            if first.get(name) != ref:
                raise Broken(f"{name} of {ref} got lost: {first.get(name)}")
        for node in living:
            if node.machine.open_rows:
                raise Broken(f"{node.name} has {node.machine.open_rows} open rows")
        for ident, (node, *_rest) in self.requests.items():
            if node.alive and ident not in self.answers:
                raise Broken(f"request {ident} at {node.name} hangs")
