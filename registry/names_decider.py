"""The decider machine: the oldest member's part in global names. It alone grants them.

Becoming the oldest (the one before has died, or this node is the first):

1. Each member sends its `Snapshot` with its open claims to whom *it* holds for the oldest. From
   then on its stream tells the decider everything about its names, in order.
2. The decider is not *open* until it has this from all members of its present view. Claims and
   questions wait until then.
3. It is open for the rest of its life: members join at the end of the age order, and a life that
   joins brings no name that this decider has not granted.

A claim for a free name is granted. One for a name that is taken is not denied at once: its holder
may have freed it in a message that is still under way. The decider asks the holder (`Check`). Its
answer comes after whatever it said before; if the name is still taken then, the claims that had
arrived before the question are denied, and for those that came since the question is put again.
So whoever has seen a name freed, by whatever way, can take it at once.

Nothing here waits for time: the claimant withdraws what has lasted too long, and a holder that does
not answer leaves the view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from noex.registry.names_directory import Directory
from noex.registry.names_messages import (
    Check,
    Claim,
    Deny,
    Entry,
    Found,
    Grant,
    Lost,
    Message,
    Stamp,
    Uid,
)


class Granted(NamedTuple):
    """Granted, but not yet published by its holder."""

    uid: Uid
    ident: int
    entry: Entry


class Contest:
    """Claims for a name that is taken: `asked` wait for the answer to check `number`."""

    __slots__ = ("asked", "holder", "later", "number")

    def __init__(self, holder: Uid) -> None:
        self.holder = holder
        self.number = 0
        self.asked: list[tuple[Uid, Claim]] = []
        self.later: list[tuple[Uid, Claim]] = []

    def drop(self, unwanted: Callable[[Uid, Claim], bool]) -> None:
        """Forget the claims that nobody waits for any more."""
        self.asked = [pair for pair in self.asked if not unwanted(*pair)]
        self.later = [pair for pair in self.later if not unwanted(*pair)]


class Decider:
    """Grants names while this node is the oldest member. `send` queues a message to a member."""

    def __init__(self, directory: Directory, send: Callable[[Uid, Message], None]) -> None:
        self._directory = directory
        self._send = send
        self._epoch = 0
        self._serial = 0
        self._check_serial = 0
        self._is_oldest = False
        self._open = False
        self._members: tuple[Uid, ...] = ()
        self._reported: set[Uid] = set()
        self._waiting: dict[tuple[Uid, int], Claim] = {}  # until it is open
        self._questions: list[tuple[Uid, int, str]] = []  # until it is open
        self._granted: dict[str, Granted] = {}
        self._contests: dict[str, Contest] = {}

    @property
    def is_open(self) -> bool:
        """Whether it decides."""
        return self._open

    @property
    def open_rows(self) -> int:
        """What it remembers beside the directory."""
        contested = sum(len(c.asked) + len(c.later) for c in self._contests.values())
        return len(self._waiting) + len(self._questions) + len(self._granted) + contested

    # ------------------------------------------------------------------ membership

    def view_changed(self, epoch: int, members: tuple[Uid, ...], *, is_oldest: bool) -> None:
        """The members, in age order. The directory has forgotten who is gone already."""
        gone = set(self._members) - set(members)
        self._epoch, self._members, self._is_oldest = epoch, members, is_oldest
        for uid in gone:
            self._forget(uid)
        self._open_if_complete()

    def _forget(self, uid: Uid) -> None:
        """A life has ended: nobody waits for its claims, and its names are free."""
        self._reported.discard(uid)
        self._waiting = {key: claim for key, claim in self._waiting.items() if key[0] != uid}
        self._questions = [question for question in self._questions if question[0] != uid]
        for contest in self._contests.values():
            contest.drop(lambda claimant, _claim: claimant == uid)
        for name in [name for name, granted in self._granted.items() if granted.uid == uid]:
            del self._granted[name]
        for name in [n for n, contest in self._contests.items() if contest.holder == uid]:
            self.freed(name)

    def reported(self, uid: Uid, claims: tuple[Claim, ...]) -> None:
        """`uid` holds this node for the oldest member, and these are its open claims."""
        self._reported.add(uid)
        idents = {claim.ident for claim in claims}
        for key in [key for key in self._waiting if key[0] == uid]:
            del self._waiting[key]
        for name in [
            name
            for name, granted in self._granted.items()
            if granted.uid == uid and granted.ident not in idents
        ]:
            del self._granted[name]
            self.freed(name)
        for claim in claims:
            self.claimed(uid, claim)
        self._open_if_complete()

    def _open_if_complete(self) -> None:
        if self._open or not self._is_oldest or not self._reported.issuperset(self._members):
            return
        self._open = True
        self._settle_disputes()
        waiting, self._waiting = self._waiting, {}
        for (uid, _), claim in waiting.items():
            self._decide(uid, claim)
        questions, self._questions = self._questions, []
        for uid, ident, name in questions:
            self.asked(uid, ident, name)

    def _settle_disputes(self) -> None:
        """Two nodes have one name, granted by deciders that did not know of each other."""
        for name, holders in self._directory.disputed():
            for uid, _ in holders[1:]:
                self._send(uid, Lost(name, holders[0][1].ref))

    # ------------------------------------------------------------------ claims

    def claimed(self, uid: Uid, claim: Claim) -> None:
        """A claim arrives, perhaps not for the first time."""
        if self._open:
            self._decide(uid, claim)
        else:
            self._waiting[uid, claim.ident] = claim

    def withdrawn(self, uid: Uid, ident: int, name: str) -> None:
        """A claim or a question is given up."""
        self._waiting.pop((uid, ident), None)
        self._questions = [q for q in self._questions if q[:2] != (uid, ident)]
        contest = self._contests.get(name)
        if contest is not None:
            contest.drop(lambda claimant, claim: claimant == uid and claim.ident == ident)
        granted = self._granted.get(name)
        if granted is not None and (granted.uid, granted.ident) == (uid, ident):
            del self._granted[name]
            self.freed(name)

    def _decide(self, uid: Uid, claim: Claim) -> None:
        granted = self._granted.get(claim.name)
        if granted is not None:
            self._contest(granted.uid, uid, claim)
            return
        published = self._directory.holder(claim.name)
        if published is None or (published[0], published[1].ref) == (uid, claim.ref):
            self._grant(uid, claim)
        else:
            self._contest(published[0], uid, claim)

    def _grant(self, uid: Uid, claim: Claim) -> None:
        """Also for a process that has the name already: it may be giving it up at this moment,
        and then has it by this grant; if not, it withdraws the claim."""
        self._serial += 1
        entry = Entry(claim.ref, (self._epoch, self._serial))
        self._granted[claim.name] = Granted(uid, claim.ident, entry)
        self._send(uid, Grant(claim.ident, claim.name, entry.stamp))

    def _contest(self, holder: Uid, uid: Uid, claim: Claim) -> None:
        contest = self._contests.get(claim.name)
        if contest is None:
            contest = self._contests[claim.name] = Contest(holder)
        if (uid, claim) in contest.asked or (uid, claim) in contest.later:
            return
        contest.later.append((uid, claim))
        if not contest.asked:
            self._check(claim.name, contest)

    def _check(self, name: str, contest: Contest) -> None:
        self._check_serial += 1
        contest.number = self._check_serial
        contest.asked, contest.later = contest.later, []
        self._send(contest.holder, Check(name, contest.number))

    # ------------------------------------------------------------------ holders

    def published(self, uid: Uid, name: str, stamp: Stamp) -> None:
        """`uid` has published a name that it was granted."""
        granted = self._granted.get(name)
        if granted is not None and (granted.uid, granted.entry.stamp) == (uid, stamp):
            del self._granted[name]

    def freed(self, name: str) -> None:
        """Somebody has given up a name: those who wait for it are next."""
        contest = self._contests.pop(name, None)
        if contest is None:
            return
        for uid, claim in contest.asked + contest.later:
            self._decide(uid, claim)

    def checked(self, uid: Uid, name: str, number: int, owner: Any) -> None:
        """A holder has answered `Check`."""
        contest = self._contests.get(name)
        if contest is None or (contest.holder, contest.number) != (uid, number):
            return
        if owner is None:  # it has no such name: what it said of it before was lost
            self._directory.remove(uid, name)
            self._granted.pop(name, None)
            self.freed(name)
            return
        del self._contests[name]
        for claimant, claim in contest.asked:
            if (claimant, claim.ref) == (uid, owner):  # published meanwhile, for the same process
                self._decide(claimant, claim)
            else:
                self._send(claimant, Deny(claim.ident, name, owner))
        for claimant, claim in contest.later:
            self._decide(claimant, claim)

    def check_again(self, uid: Uid) -> None:
        """Messages from or to `uid` were dropped: put the open questions to it anew."""
        for name, contest in self._contests.items():
            if contest.holder == uid:
                contest.later, contest.asked = contest.asked + contest.later, []
                self._check(name, contest)

    # ------------------------------------------------------------------ questions

    def asked(self, uid: Uid, ident: int, name: str) -> None:
        """`uid` does not know the name; does anybody have it?"""
        if not self._open:
            self._questions.append((uid, ident, name))
            return
        granted = self._granted.get(name)
        ref = self._directory.whereis(name) if granted is None else granted.entry.ref
        self._send(uid, Found(ident, ref))
