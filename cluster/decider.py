"""The decider of the first step: the leader decides alone (a machine, owned by `views`).

It keeps what the next view should contain besides joins: who accuses whom, who wants to leave. It
is the seam where a voting decider goes; `views` asks it three things: who leads, what to report to
the leader, and what the next view removes or changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from noex.cluster.detector import Detector
from noex.cluster.events import Address
from noex.cluster.messages import Alert
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import GRACEFUL_SHUTDOWN, Member, Status, Uid, View, is_quorum

FRESH = 2.0
"""A report that was not repeated for so long counts no more."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """What the next view changes, besides letting in joiners."""

    removals: dict[Uid, str] = field(default_factory=dict)
    statuses: dict[Uid, Status] = field(default_factory=dict)


@dataclass(slots=True)
class _Report:
    reason: str
    hard: bool
    at: float


class Leader:
    """What this node knows as the leader, or would have to know if it became the leader."""

    def __init__(self, me: Member, detector: Detector, settings: ClusterSettings) -> None:
        self._me = me.uid
        self._detector = detector
        self._settings = settings
        self._reports: dict[Uid, dict[Uid, _Report]] = {}  # subject -> accuser -> report
        self._leaves: dict[Uid, tuple[Status, Address]] = {}
        self._sent: dict[Uid, tuple[Uid, float]] = {}  # subject -> leader told, when

    # -- what comes in --------------------------------------------------------------------------

    def alert(self, accuser: Uid, subject: Uid, reason: str, hard: bool, now: float) -> None:
        """A member holds another for down."""
        self._reports.setdefault(subject, {})[accuser] = _Report(reason, hard, now)

    def leave(self, uid: Uid, status: Status, address: Address) -> None:
        """A member wants to drain or to leave."""
        self._leaves[uid] = (status, address)

    def prune(self, view: View, now: float) -> None:
        """Forget what is stale, or about lives that are not in the view."""
        if not (self._leaves or self._sent or self._reports):
            return
        members = {m.uid for m in view.members}
        self._leaves = {uid: w for uid, w in self._leaves.items() if uid in members}
        self._sent = {uid: s for uid, s in self._sent.items() if uid in members}
        for subject in list(self._reports):
            fresh = {
                accuser: report
                for accuser, report in self._reports[subject].items()
                if accuser in members and now - report.at < FRESH
            }
            if fresh and subject in members and subject != self._me:
                self._reports[subject] = fresh
            else:
                del self._reports[subject]

    # -- what is decided ------------------------------------------------------------------------

    def of(self, view: View) -> Member | None:
        """The leader, as this node sees it: the oldest that is neither suspected nor busy.

        Who is busy cannot decide now, and a crash must not wait for it. That two may lead is
        harmless: they decide the same, or settle on one view.
        """
        suspected = {a.uid for a in self._detector.accusations} | set(self._proven())
        able = [m for m in view.members if m.uid not in suspected]
        return next((m for m in able if not self._detector.is_busy(m.uid)), next(iter(able), None))

    def _proven(self) -> dict[Uid, str]:
        """Whose end somebody has seen from its own host, with the reason."""
        proven = {
            subject: report.reason
            for subject, reports in self._reports.items()
            for report in reports.values()
            if report.hard
        }
        return proven | {a.uid: a.reason for a in self._detector.accusations if a.hard}

    def address(self, uid: Uid) -> Address | None:
        """Where a member that wants to leave can be told that it has."""
        wish = self._leaves.get(uid)
        return wish[1] if wish else None

    def hears_quorum(self, view: View) -> bool:
        """Whether this node may decide: it hears a quorum, or there were never more than two."""
        deaf_to = {a.uid for a in self._detector.accusations} - set(self._proven())
        heard = [m.uid for m in view.members if m.uid not in deaf_to]
        return view.peak <= 2 or is_quorum(heard, view)

    def ballot(self, view: View, own_wish: Status | None) -> Ballot:
        """What the next view should change."""
        wishes = {uid: status for uid, (status, _) in self._leaves.items()}
        if own_wish is not None:
            wishes[self._me] = own_wish
        removals = self._removals(view)
        statuses: dict[Uid, Status] = {}
        for uid, status in wishes.items():
            member = view.find(uid)
            if member is None:
                continue
            if status == "leaving":
                removals[uid] = GRACEFUL_SHUTDOWN
            elif member.status == "up":
                statuses[uid] = status
        return Ballot(removals, statuses)

    def _removals(self, view: View) -> dict[Uid, str]:
        removals = {uid: why for uid, why in self._proven().items() if uid != self._me}
        for accusation in self._detector.accusations:
            accusers = {self._me, *self._reports.get(accusation.uid, {})}
            if view.peak <= 2 or is_quorum(accusers, view):
                removals.setdefault(accusation.uid, accusation.reason)
        return removals

    def reports(self, view: View, now: float) -> list[tuple[Member, Alert]]:
        """What to tell the leader now: own accusations, again after a while or to a new leader."""
        leader = self.of(view)
        if leader is None:
            return []
        reports = []
        for accusation in self._detector.accusations:
            told, at = self._sent.get(accusation.uid, (None, now))
            if told == leader.uid and now - at < self._settings.alert_every:
                continue
            self._sent[accusation.uid] = (leader.uid, now)
            alert = Alert(accusation.uid, accusation.reason, accusation.hard)
            reports.append((leader, alert))
        return reports
