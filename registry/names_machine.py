"""The names machine: one node's part in the global names of a cluster.

**A name lives at the node of its process.** That node alone publishes it: a `Snapshot` to each
member that came up, then `Added` and `Removed`, in one ordered stream per member. What a node knows
of all streams is its `Directory`.

**The oldest member decides** who may have a name (`noex.registry.names_decider`). To register:

1. the owner node sends `Claim` to the oldest member;
2. that answers `Grant` with a stamp, or `Deny` with the owner;
3. the owner node publishes `Added` to all, then answers who asked. Whoever hears the answer through
   the owner's stream has read `Added` before it.

A name ends by `Removed`: its process has died, or it was unregistered. The end of the owner's life
is seen by every node itself, in its view. Who looks up a name that is not in the directory here
asks the oldest member (`Where`), so a lookup is right on every node as soon as `register` has
returned on any.

When the oldest member dies, each node sends its names and its open claims and questions to the next
one, which decides nothing until it has them from all. So a claim survives the decider; it ends by
being answered, by `expired` (its caller's deadline), or with its process.

This life of the node may end while the process goes on (`life_changed`): then nobody holds it for
the owner of anything; all its names become claims of the new life (with negative idents: nobody
waits for their answers). If one is denied, its process is told by `Dispossess`.

Messages may come late or twice: a claim is known by its ident, a name by its stamp. Messages to a
member that reads too slowly may be dropped by the shell, which then calls `resync`: both sides say
again all that is open between them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from noex.registry.names_decider import Decider
from noex.registry.names_directory import Directory
from noex.registry.names_messages import (
    Added,
    Answer,
    Check,
    Checked,
    Claim,
    Deny,
    Dispossess,
    Effect,
    Entry,
    Found,
    Grant,
    Lost,
    Message,
    Noted,
    Refuse,
    Removed,
    Resync,
    Send,
    Snapshot,
    Uid,
    Unwatch,
    Watch,
    Where,
    Withdraw,
)
from noex.runtime.errors import GlobalNameConflictError, NoProcessError


class NamesMachine:
    """Every method returns the effects, in order. `ident`s of requests are the shell's, above 0."""

    def __init__(self, me: Uid) -> None:
        self._effects: list[Effect] = []
        self._inbox: deque[Message] = deque()  # what this node says to itself
        self._own: dict[str, Entry] = {}
        self._registered: dict[str, int] = {}  # of `_own`: how many were told that it is theirs
        self._claims: dict[int, Claim] = {}
        self._questions: dict[int, str] = {}
        self._unregistering: set[int] = set()
        self._stakes: dict[Any, set[str | int]] = {}  # by process: its names and claims
        self._reclaims = 0
        self._begin_life(me)

    def _begin_life(self, me: Uid) -> None:
        self.me = me
        self._epoch = -1
        self.members: tuple[Uid, ...] = ()
        self._heard_from: set[Uid] = set()  # members whose names are all known here
        self._inbox.clear()
        self._directory = Directory()
        self._decider = Decider(self._directory, self._send)

    # ------------------------------------------------------------------ what is known here

    @property
    def oldest(self) -> Uid | None:
        """Who decides; None while this life is in no view."""
        return self.members[0] if self.members else None

    def known(self, name: str) -> Any:
        """The ref behind a name, as far as this node knows."""
        return self._directory.whereis(name)

    def names(self) -> list[str]:
        """All names that this node knows, sorted."""
        return self._directory.names()

    @property
    def is_complete(self) -> bool:
        """Whether this node is in a view and has heard the names of all its members."""
        return bool(self.members) and self._heard_from.union((self.me,)).issuperset(self.members)

    def own_names(self) -> list[str]:
        """The names of this node's processes."""
        return list(self._own)

    @property
    def open_rows(self) -> int:
        """Requests under way and what the decider remembers; 0 when everything has settled."""
        waiting = len(self._claims) + len(self._questions) + len(self._unregistering)
        return waiting + self._decider.open_rows

    # ------------------------------------------------------------------ membership

    def view_changed(self, epoch: int, members: tuple[Uid, ...]) -> list[Effect]:
        """A view was applied: its members in age order. One without this life says nothing here
        (`life_changed` follows), nor does an older one."""
        if self.me not in members or epoch < self._epoch:
            return []
        before, was_oldest = set(self.members), self.oldest
        self._epoch, self.members = epoch, members
        self._heard_from.intersection_update(members)
        for uid in before.difference(members):
            self._directory.drop(uid)
        for uid in members:
            if uid not in before and uid not in (self.me, members[0]):
                self._send(uid, self._snapshot(None))
        self._decider.view_changed(epoch, members, is_oldest=members[0] == self.me)
        if members[0] != was_oldest:
            self._report(members[0])
        elif members[0] not in before:
            self._send(members[0], self._snapshot(None))
        return self._done()

    def _report(self, oldest: Uid) -> None:
        """Tell a new decider (or one that has missed something) all that it must know."""
        self._send(oldest, self._snapshot(tuple(self._claims.values())))
        for ident, name in self._questions.items():
            self._send(oldest, Where(ident, name))
        for ident in sorted(self._unregistering):  # the snapshot is without those names
            self._effects.append(Answer(ident, True))
        self._unregistering.clear()

    def _snapshot(self, claims: tuple[Claim, ...] | None) -> Snapshot:
        rows = tuple((name, ref, stamp) for name, (ref, stamp) in self._own.items())
        return Snapshot(rows, claims)

    def life_changed(self, me: Uid) -> list[Effect]:
        """This node goes on as the life `me`, which is in no view yet."""
        if me == self.me:
            return []
        own, self._own, self._registered = self._own, {}, {}
        for name, (ref, _) in own.items():
            self._reclaims -= 1
            self._claims[self._reclaims] = Claim(self._reclaims, name, ref)
            self._stake(ref, self._reclaims)
            self._unstake(ref, name)
        for ident in sorted(self._unregistering):
            self._effects.append(Answer(ident, True))
        self._unregistering.clear()
        self._begin_life(me)
        return self._done()

    def resync(self, uid: Uid) -> list[Effect]:
        """The shell has dropped messages to `uid`, and can send again."""
        if uid in self.members:
            self._say_again(uid)
            self._send(uid, Resync())
        return self._done()

    def _say_again(self, uid: Uid) -> None:
        if uid == self.oldest:
            self._report(uid)
        else:
            self._send(uid, self._snapshot(None))
        self._decider.check_again(uid)

    # ------------------------------------------------------------------ requests

    def register_asked(self, ident: int, name: str, ref: Any) -> list[Effect]:
        """A living process of this node wants a name. Answered with True."""
        entry = self._own.get(name)
        if entry is not None and entry.ref == ref:
            self._registered[name] += 1
            self._effects.append(Answer(ident, True))
        elif entry is not None:
            self._effects.append(Refuse(ident, GlobalNameConflictError(name, entry.ref)))
        else:
            self._claims[ident] = claim = Claim(ident, name, ref)
            self._stake(ref, ident)
            self._tell_oldest(claim)
        return self._done()

    def unregister_asked(self, ident: int, name: str) -> list[Effect]:
        """A name of this node is to end. Answered with whether there was one, once the decider
        knows that it is free."""
        reclaims = [c for c in self._claims.values() if c.ident < 0 and c.name == name]
        for claim in reclaims:
            self._drop_claim(claim)
        if name in self._own:
            self._unregistering.add(ident)
            self._release(name, ident)
        else:
            self._effects.append(Answer(ident, bool(reclaims)))
        return self._done()

    def given_up(self, name: str, ref: Any) -> list[Effect]:
        """One who registered `name` for `ref` did not wait for the answer. Unless somebody else
        did, it was not registered."""
        entry = self._own.get(name)
        if entry is not None and entry.ref == ref:
            self._registered[name] -= 1
            if self._registered[name] == 0:
                self._release(name)
        return self._done()

    def whereis_asked(self, ident: int, name: str) -> list[Effect]:
        """Answered with a ref or None."""
        ref = self.known(name)
        if ref is not None:
            self._effects.append(Answer(ident, ref))
        else:
            self._questions[ident] = name
            self._tell_oldest(Where(ident, name))
        return self._done()

    def expired(self, ident: int) -> list[Effect]:
        """The deadline of a request has passed. It is not answered any more."""
        claim = self._claims.get(ident)
        if claim is not None:
            self._drop_claim(claim)
        name = self._questions.pop(ident, None)
        if name is not None:
            self._tell_oldest(Withdraw(ident, name))
        self._unregistering.discard(ident)
        return self._done()

    def process_down(self, ref: Any) -> list[Effect]:
        """A watched process has ended: its names are free, its claims fail."""
        for stake in sorted(self._stakes.get(ref, ()), key=str):
            if isinstance(stake, str):
                self._release(stake)
                continue
            self._drop_claim(self._claims[stake])
            if stake > 0:
                self._effects.append(Refuse(stake, NoProcessError(ref)))
        return [effect for effect in self._done() if effect != Unwatch(ref)]

    # ------------------------------------------------------------------ messages

    def received(self, uid: Uid, message: Message) -> list[Effect]:
        """A message of the member `uid`. From a life that is no member it says nothing."""
        if uid in self.members:
            self._take(uid, message)
        return self._done()

    def _take(self, uid: Uid, message: Message) -> None:
        match message:
            case Added() | Removed() | Snapshot():
                self._take_published(uid, message)
            case Claim():
                self._decider.claimed(uid, message)
            case Withdraw(ident, name):
                self._decider.withdrawn(uid, ident, name)
            case Checked(name, number, owner):
                self._decider.checked(uid, name, number, owner)
            case Where(ident, name):
                self._decider.asked(uid, ident, name)
            case Resync():
                self._say_again(uid)
            case _ if uid == self.oldest:
                self._take_decision(uid, message)

    def _take_published(self, uid: Uid, message: Added | Removed | Snapshot) -> None:
        match message:
            case Added(name, ref, stamp):
                self._directory.put(uid, name, Entry(ref, stamp))
                self._decider.published(uid, name, stamp)
            case Removed(name, ident):
                if self._directory.remove(uid, name):
                    self._decider.freed(name)
                if ident:
                    self._send(uid, Noted(ident))
            case Snapshot(rows, claims):
                self._heard_from.add(uid)
                gone = self._directory.replace(uid, rows)
                for name, _, stamp in rows:
                    self._decider.published(uid, name, stamp)
                if claims is not None:
                    self._decider.reported(uid, claims)
                for name in gone:
                    self._decider.freed(name)

    def _take_decision(self, oldest: Uid, message: Message) -> None:
        match message:
            case Grant(ident, name, stamp):
                self._granted(ident, name, stamp)
            case Deny(ident, name, owner):
                self._denied(ident, name, owner)
            case Check(name, number):
                entry = self._own.get(name)
                self._send(oldest, Checked(name, number, None if entry is None else entry.ref))
            case Found(ident, ref):
                if self._questions.pop(ident, None) is not None:
                    self._effects.append(Answer(ident, ref))
            case Noted(ident):
                if ident in self._unregistering:
                    self._unregistering.discard(ident)
                    self._effects.append(Answer(ident, True))
            case Lost(name, owner):
                self._lost(name, owner)

    def _granted(self, ident: int, name: str, stamp: tuple[int, int]) -> None:
        claim = self._claims.pop(ident, None)
        if claim is None:
            self._tell_oldest(Withdraw(ident, name))  # it has ended meanwhile, or comes twice
            return
        if name in self._own:  # claimed twice for one process
            self._tell_oldest(Withdraw(ident, name))
        else:
            self._own[name] = Entry(claim.ref, stamp)
            self._stake(claim.ref, name)
            self._registered[name] = 0
            self._publish(Added(name, claim.ref, stamp))
        self._unstake(claim.ref, ident)
        self._registered[name] += 1
        if ident > 0:
            self._effects.append(Answer(ident, True))

    def _denied(self, ident: int, name: str, owner: Any) -> None:
        claim = self._claims.pop(ident, None)
        if claim is None:
            return
        self._unstake(claim.ref, ident)
        if ident > 0:
            self._effects.append(Refuse(ident, GlobalNameConflictError(name, owner)))
        else:
            self._effects.append(Dispossess(claim.ref, name, owner))

    def _lost(self, name: str, owner: Any) -> None:
        entry = self._own.get(name)
        if entry is not None:
            self._release(name)
            self._effects.append(Dispossess(entry.ref, name, owner))

    # ------------------------------------------------------------------ steps

    def _release(self, name: str, ident: int = 0) -> None:
        """Give up a name. The decider tells us when it knows, if `ident` waits for that."""
        entry = self._own.pop(name)
        del self._registered[name]
        self._unstake(entry.ref, name)
        for uid in self.members:
            self._send(uid, Removed(name, ident if uid == self.oldest else 0))

    def _drop_claim(self, claim: Claim) -> None:
        del self._claims[claim.ident]
        self._unstake(claim.ref, claim.ident)
        self._tell_oldest(Withdraw(claim.ident, claim.name))

    def _stake(self, ref: Any, stake: str | int) -> None:
        """A process has a name, or a claim, more; with its first it is watched."""
        if ref not in self._stakes:
            self._stakes[ref] = set()
            self._effects.append(Watch(ref))
        self._stakes[ref].add(stake)

    def _unstake(self, ref: Any, stake: str | int) -> None:
        self._stakes[ref].discard(stake)
        if not self._stakes[ref]:
            del self._stakes[ref]
            self._effects.append(Unwatch(ref))

    def _publish(self, message: Message) -> None:
        for uid in self.members:
            self._send(uid, message)

    def _tell_oldest(self, message: Message) -> None:
        """While there is none, nothing is lost: the first oldest is told by `_report`."""
        oldest = self.oldest
        if oldest is not None:
            self._send(oldest, message)

    def _send(self, uid: Uid, message: Message) -> None:
        if uid == self.me:
            self._inbox.append(message)
        elif uid in self.members:
            self._effects.append(Send(uid, message))

    def _done(self) -> list[Effect]:
        """The end of every step: read what this node has said to itself, hand out the effects."""
        while self._inbox:
            self._take(self.me, self._inbox.popleft())
        effects, self._effects = self._effects, []
        return effects
