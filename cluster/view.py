"""Membership views: the value that all members of a cluster share.

A view is ``(lineage, epoch, members in age order, gone, peak, forced)``, sent whole. A *lineage*
is one chain of views, named by its founder and its first epoch, so two never share a name.

Invariants, kept by every function here:

- a life (node id, incarnation) that is in `gone` is not a member (J1: it never comes back);
- at most one life of a node id is a member, and it is later than the one in `gone` (J4);
- members are sorted by age: the epoch in which they came in, then node id;
- the status of a life only goes forward: up, draining, leaving;
- peak never falls within a lineage (M1).

Because of the first and the last two, two views of one lineage have a least view that includes
both (`settle`). The present decider is one leader without votes, so two leaders *can* make two
different views of one epoch; members that meet such a pair all compute the same third one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple
from zlib import crc32

Uid = tuple[str, int]
"""A life of a node: (node id, incarnation)."""

Status = Literal["up", "draining", "leaving"]
STATUSES: Final[tuple[Status, ...]] = ("up", "draining", "leaving")

HEARTBEAT_TIMEOUT: Final = "heartbeat_timeout"
CONNECTION_CLOSED: Final = "connection_closed"
CONNECTION_REFUSED: Final = "connection_refused"
GRACEFUL_SHUTDOWN: Final = "graceful_shutdown"
SUPERSEDED: Final = "superseded"
FENCED: Final = "fenced"

MAX_GONE: Final = 4096
"""How many removed node ids a view remembers; those whose life began first are forgotten first."""


class Lineage(NamedTuple):
    """The name of one chain of views."""

    node_id: str
    incarnation: int
    epoch: int


class Member(NamedTuple):
    """A life that is in a view, and how to reach it. Endpoints are ``tcp://host:port``."""

    node_id: str
    incarnation: int
    status: Status = "up"
    control_endpoint: str = ""
    user_endpoint: str = ""
    pub_endpoint: str = ""
    behaviors: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    born: int = 0
    """The epoch in which it came in: its age."""

    @property
    def uid(self) -> Uid:
        """The life that this is."""
        return (self.node_id, self.incarnation)

    @property
    def age_key(self) -> tuple[int, str, int]:
        """Sorts the oldest member first."""
        return (self.born, self.node_id, self.incarnation)


class Gone(NamedTuple):
    """The latest life of a node id that was removed, and why."""

    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class View:
    """Who is in, as of one epoch of one lineage."""

    lineage: Lineage
    epoch: int
    members: tuple[Member, ...]
    gone: Mapping[str, Gone] = field(default_factory=dict)
    peak: int = 1
    forced: int = 0

    @property
    def oldest(self) -> Member:
        """The first member by age."""
        return self.members[0]

    def find(self, uid: Uid) -> Member | None:
        """The member that is this very life, or None."""
        return next((m for m in self.members if m.uid == uid), None)

    def find_node(self, node_id: str) -> Member | None:
        """The life of this node that is a member, or None."""
        return next((m for m in self.members if m.node_id == node_id), None)

    def removed(self, uid: Uid) -> bool:
        """Whether this life was a member and is not any more (or can never be one)."""
        node_id, incarnation = uid
        gone, present = self.gone.get(node_id), self.find_node(node_id)
        superseded = present is not None and incarnation < present.incarnation
        return superseded or (gone is not None and incarnation <= gone.incarnation)

    def why_gone(self, uid: Uid) -> str:
        """The reason for `NodeDown` of a life that this view lacks."""
        gone = self.gone.get(uid[0])
        return gone.reason if gone is not None and gone.incarnation == uid[1] else SUPERSEDED

    def highest(self, node_id: str) -> int:
        """The highest incarnation of a node id that this view knows, 0 if none."""
        gone, member = self.gone.get(node_id), self.find_node(node_id)
        return max(gone.incarnation if gone else 0, member.incarnation if member else 0)

    def digest(self) -> int:
        """Differs (almost surely) between two views of one epoch that are not the same."""
        members = [(m.node_id, m.incarnation, m.status, m.born) for m in self.members]
        gone = sorted((node_id, g.incarnation) for node_id, g in self.gone.items())
        return crc32(repr((members, gone)).encode())


def found(founder: Member, unix_ms: int) -> View:
    """The first view of a new lineage, with `founder` alone (B2: the epoch is the unix time)."""
    lineage = Lineage(founder.node_id, founder.incarnation, unix_ms)
    return View(lineage, unix_ms, (founder._replace(born=unix_ms),))


def successor(
    view: View,
    *,
    joins: Iterable[Member] = (),
    removals: Mapping[Uid, str] | None = None,
    statuses: Mapping[Uid, Status] | None = None,
) -> View:
    """The view after `view` with all that is pending in it.

    A join of a life that is, or was, a member is dropped (J1); a later life of a member's node id
    replaces it as `superseded`, and comes last in age (J4).
    """
    epoch = view.epoch + 1
    removals = dict(removals or {})
    newcomers = {m.node_id: m._replace(born=epoch) for m in joins if _may_join(view, m)}
    for member in view.members:
        if member.node_id in newcomers:
            removals.setdefault(member.uid, SUPERSEDED)
    gone = _join_gone(
        view.gone, {uid[0]: Gone(uid[1], why) for uid, why in removals.items() if view.find(uid)}
    )
    stay = [
        _advance(m, (statuses or {}).get(m.uid, m.status))
        for m in view.members
        if m.uid not in removals
    ]
    members = _by_age([*stay, *newcomers.values()])
    return replace(view, epoch=epoch, members=members, gone=gone, peak=max(view.peak, len(members)))


def _may_join(view: View, member: Member) -> bool:
    present = view.find_node(member.node_id)
    later = present is None or present.incarnation < member.incarnation
    return later and not view.removed(member.uid)


def _advance(member: Member, status: Status) -> Member:
    forward = max(member.status, status, key=STATUSES.index)
    return member if forward == member.status else member._replace(status=forward)


def _by_age(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda m: m.age_key))


def settle(own: View, other: View) -> View:
    """What a member whose view is `own` holds after it heard `other`, of the same lineage.

    That is `other` if it includes all of `own` and is newer; `own` if it is the other way round;
    otherwise (two leaders) the least view that includes both, one epoch above both. It is the
    same at every member that meets the same two. Two sides that removed each other altogether
    have no such view: the stronger one goes on.
    """
    gone = _join_gone(own.gone, other.gone)
    members = _join_members(own, other, gone)
    merged = (members, gone)
    covers_own = merged == (other.members, other.gone)
    covers_other = merged == (own.members, own.gone)
    if covers_own and other.epoch > own.epoch:
        return other
    if covers_other and (own.epoch > other.epoch or (covers_own and own.epoch == other.epoch)):
        return own
    if not members:
        return own if stronger(own, other) else other
    return View(
        own.lineage,
        max(own.epoch, other.epoch) + 1,
        members,
        gone,
        max(own.peak, other.peak, len(members)),
        max(own.forced, other.forced),
    )


def _join_gone(a: Mapping[str, Gone], b: Mapping[str, Gone]) -> dict[str, Gone]:
    joined = dict(a)
    for node_id, gone in b.items():
        joined[node_id] = max(joined.get(node_id, gone), gone)
    if len(joined) > MAX_GONE:
        latest = sorted(joined.items(), key=lambda item: (item[1], item[0]))[-MAX_GONE:]
        joined = dict(latest)
    return joined


def _join_members(a: View, b: View, gone: Mapping[str, Gone]) -> tuple[Member, ...]:
    best: dict[str, Member] = {}
    for member in (*a.members, *b.members):
        removed = gone.get(member.node_id)
        if removed is not None and member.incarnation <= removed.incarnation:
            continue
        rival = best.get(member.node_id)
        best[member.node_id] = member if rival is None else _better(rival, member)
    return _by_age(best.values())


def _better(a: Member, b: Member) -> Member:
    if a.incarnation != b.incarnation:
        return a if a.incarnation > b.incarnation else b
    first = min(a, b, key=lambda m: (m.age_key, m))
    return _advance(_advance(first, a.status), b.status)


def outranks(a: View, b: View) -> bool:
    """Whether the lineage of `a` outranks that of `b` (M): forced, then peak, then the older."""
    rank_a, rank_b = (a.forced, a.peak, -a.lineage.epoch), (b.forced, b.peak, -b.lineage.epoch)
    return rank_a > rank_b or (rank_a == rank_b and a.lineage < b.lineage)


def stronger(a: View, b: View) -> bool:
    """Of two views of one lineage whose members removed each other: whether `a` goes on.

    The one with more members, else the one with the oldest member. The others' lives end.
    """
    key_a, key_b = (-len(a.members), a.oldest.age_key), (-len(b.members), b.oldest.age_key)
    return (key_a, [m.uid for m in a.members]) < (key_b, [m.uid for m in b.members])


def is_quorum(some: Iterable[Uid], view: View) -> bool:
    """More than half of the members, or exactly half with the oldest among them (Q)."""
    chosen = {m.uid for m in view.members} & set(some)
    twice, total = 2 * len(chosen), len(view.members)
    return twice > total or (twice == total and view.oldest.uid in chosen)
