"""The membership machine of one life: joining, deciding, applying, leaving.

Theory. A life is `joining` until it applies a view that has it; then it is `member`, always of the
same lineage, until it is `over` (a view without it: C3, or a lineage that outranks its own: M2) or
has `left`. The shell makes the next life, under a higher incarnation.

Deciding. *The leader decides alone*: the oldest member that this node does not suspect (nor knows
to be busy) makes epoch e+1 and sends it to all. There are no votes, so under a partition, or with a
wrong suspicion, two leaders can decide. Three things keep that from doing lasting harm:

- without hard evidence a member is removed only if those who accuse it, the leader among them, are
  a quorum of the view (P3), and a leader that does not hear a quorum decides nothing (P4); neither
  holds while the lineage has never had more than two members;
- two views of one epoch are settled by the same rule at all who meet them (`view.settle`);
- of two sides that removed each other the weaker one's lives end (`view.stronger`).

Being behind. Whoever hears an envelope or heartbeat with an older epoch, another lineage, or a life
that is not in its view, answers with its view. That alone replaces obituaries and catch-up.

Order of one `handle`: notice an own stall; take the event; decide what is pending; want links.
"""

from __future__ import annotations

from noex.cluster import events as ev
from noex.cluster import messages as wire
from noex.cluster.admission import Door, TurnAway
from noex.cluster.contacts import REMEMBERED, Contacts
from noex.cluster.decider import Ballot, Leader
from noex.cluster.detector import Detector, Finding, Stalled
from noex.cluster.doubt import Doubt
from noex.cluster.events import Address, Effect, EndOfLife, Event
from noex.cluster.joining import Joining
from noex.cluster.leaving import Leaving
from noex.cluster.links import Links
from noex.cluster.messages import Envelope
from noex.cluster.outbox import MAX_REMEMBERED, Outbox, Standing
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import (
    HEARTBEAT_TIMEOUT,
    Member,
    Uid,
    View,
    found,
    outranks,
    settle,
    stronger,
    successor,
)

NEIGHBOUR_FOR = 10.0  # seconds for which a joiner that was only heard of is greeted


class Views:
    """One life's membership. `me` is this life; `seeds` and `contacts` are control endpoints."""

    def __init__(
        self,
        me: Member,
        *,
        seeds: tuple[str, ...] = (),
        contacts: tuple[str, ...] = (),
        settings: ClusterSettings,
        now: float,
    ) -> None:
        self.me = me
        self.phase: wire.Phase = "joining"
        self.left = False
        self.view: View | None = None
        self.detector = Detector(me.control_endpoint, settings, now)
        self._settings = settings
        self._contacts = Contacts(me.control_endpoint, seeds, contacts, settings, now)
        self._joining = Joining(me.uid, settings, now)
        self._door = Door(settings)
        self._leader = Leader(me, self.detector, settings)
        self._links = Links(me.control_endpoint)
        self._relayed: dict[Uid, Address] = {}
        self._strangers: set[str] = set()
        self._leaving = Leaving(settings.alert_every)
        self._wall_ms = 0
        self._links.soon()
        self._out = Outbox(me.uid, settings.cluster)
        self.doubt = Doubt(me.uid, self._out, settings, self._greet, self._welcome)

    # -- the one entrance -----------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; returns what to do, in order."""
        if self._ended:
            return []
        self._find(self.detector.look(now), now)
        self._take(event, now)
        if not self._ended:
            self._seek(now)
            self._decide(now)
        rare = not isinstance(event, ev.PulseSeen | ev.Tick)
        if not self._ended and (rare or self._links.due(now)):
            self._link(now)
        return self._out.take()

    @property
    def _ended(self) -> bool:
        return self.left or self.phase == "over"

    @property
    def standing(self) -> Standing:
        """Which view this life holds, for its heartbeats: (lineage, epoch, digest)."""
        return self._out.standing

    @property
    def leader(self) -> Member | None:
        """The oldest member that this node neither suspects nor knows to be busy."""
        return None if self.view is None else self._leader.of(self.view)

    def _take(self, event: Event, now: float) -> None:
        match event:
            case ev.Heard(address, message, at):
                self._heard(address, message, at, now)
            case ev.PulseSeen():
                self._pulse(event, now)
            case ev.LinkUp(endpoint, at) if endpoint in self._links:
                self._link_up(endpoint, at, now)
            case ev.LinkDown(endpoint, at) if endpoint in self._links:
                self.detector.link_down(endpoint, at)
            case ev.DialRefused(endpoint) if endpoint in self._links:
                self.detector.refused(endpoint)
                self._joining.lost(endpoint)
            case ev.Unwelcome():
                self._joining.unwelcome(now)
            case ev.Answered(endpoint, uid, at):
                self._answered(endpoint, uid, at)
                self.doubt.answered(endpoint, event.token)
            case ev.Tick():
                self._tick(event, now)
            case ev.LeaveWanted(status):
                self._leaving.want(status)

    def envelope(self, body: wire.Body) -> Envelope:
        """A message of this life, for the floors above."""
        return self._out.envelope(body)

    # -- saying ---------------------------------------------------------------------------------

    def _greet(self, endpoint: str) -> None:
        self._out.send(endpoint, wire.Hello(self.phase, self.me, self._joining.known))

    def _others(self, view: View) -> list[Member]:
        return [m for m in view.members if m.uid != self.me.uid]

    def _link(self, now: float) -> None:
        peers = self._others(self.view) if self.view else []
        others = self._contacts.wanted(self.view) | self._door.endpoints
        before = self._links.control
        changed = self._links.want(peers, others, now)
        if changed is not None:
            self.detector.forget_links(before - changed.control)
            self._out.add(changed)

    # -- what is heard --------------------------------------------------------------------------

    def _heard(self, address: Address, message: Envelope, at: float, now: float) -> None:
        if isinstance(message.body, wire.Admin | wire.AdminReply):
            self._out.add(ev.AdminAsked(address, message))
        elif message.cluster != self._settings.cluster:
            self._stranger(address, message)
        elif message.sender == self.me.uid:
            self._myself(address, message)
        else:
            if isinstance(address, str):
                self._contacts.answered(address, message.sender, now)
                self._answered(address, message.sender, at)
            self.detector.life_sign(message.sender, at)
            self._read(address, message, now)
            if not self._ended:
                self._compare(message, address, now)

    def _stranger(self, address: Address, message: Envelope) -> None:
        if isinstance(message.body, wire.Hello):
            self._out.send(address, wire.Refused(message.sender, "other_cluster"))
        where = address if isinstance(address, str) else message.sender[0]
        if where not in self._strangers and len(self._strangers) < MAX_REMEMBERED:
            self._strangers.add(where)
            details = {"peer": where, "theirs": message.cluster, "ours": self._settings.cluster}
            self._out.add(ev.Note("warning", "peer_of_another_cluster", details))

    def _myself(self, address: Address, message: Envelope) -> None:
        # A seed may be this very node under another name of its host.
        if isinstance(message.body, wire.Hello):
            self._out.send(address, wire.Welcome(self.phase, self.me))
        if isinstance(address, str):
            self._contacts.drop(address)

    def _read(self, address: Address, message: Envelope, now: float) -> None:
        match message.body:
            case wire.Hello(phase, peer, joiners):
                self._hello(address, message, now)
                self._joiner_heard(phase, peer, joiners, now)
            case wire.Welcome(phase, peer, joiners, view):
                if view is not None:
                    self._view_seen(view, message.sender, address, now)
                self._joiner_heard(phase, peer, joiners, now)
                self.doubt.welcomed(address, message, self.view)
            case wire.Join(member, relayed):
                self._join_wanted(address, member, relayed, now)
            case wire.Refused(uid, reason, highest):
                self._refused(uid, reason, highest, message.sender)
            case wire.Alert(subject, reason, hard):
                self._leader.alert(message.sender, subject, reason, hard, now)
            case wire.Leave(status):
                self._leader.leave(message.sender, status, address)
            case wire.News(view):
                self._view_seen(view, message.sender, address, now)
                if not self._ended:
                    self._out.send(address, wire.Ack())

    def _hello(self, address: Address, message: Envelope, now: float) -> None:
        if self.doubt.defers(message.sender, address, self.view, now):
            return
        same = (message.lineage, message.epoch, message.digest) == self.standing
        if not same and self.view is not None:
            self._out.told(message.sender, now)
        self._welcome(address, None if same else self.view)

    def _welcome(self, address: Address, view: View | None = None) -> None:
        self._out.send(address, wire.Welcome(self.phase, self.me, self._joining.known, view))

    def _joiner_heard(
        self, phase: wire.Phase, peer: Member, joiners: tuple[wire.Known, ...], now: float
    ) -> None:
        if self.phase != "joining" or phase != "joining":
            return
        self._joining.joiner(peer.uid, peer.control_endpoint, now)
        self._contacts.add(peer.control_endpoint, now, keep=NEIGHBOUR_FOR)
        for known in joiners:
            if known.node_id != self.me.node_id:
                self._contacts.add(known.endpoint, now, keep=NEIGHBOUR_FOR)

    def _answered(self, endpoint: str, uid: Uid, at: float) -> None:
        self.detector.answered(endpoint, uid, at)
        for turned_away in self._door.answered(endpoint, uid, at):
            self._turn_away(turned_away)

    def _link_up(self, endpoint: str, at: float, now: float) -> None:
        self.detector.link_up(endpoint, at)
        self._contacts.linked(endpoint, now)
        self._door.linked(endpoint)
        self._out.add(ev.Ask(endpoint))
        self._greet(endpoint)

    def _pulse(self, pulse: ev.PulseSeen, now: float) -> None:
        self.detector.pulse(pulse.uid, pulse.loop_lag, pulse.at)
        member = None if self.view is None else self.view.find(pulse.uid)
        theirs = (pulse.lineage, pulse.epoch, pulse.digest)
        if member is not None:
            self._compare_standing(member.uid, theirs, member.control_endpoint, now)

    def _compare(self, message: Envelope, address: Address, now: float) -> None:
        theirs = (message.lineage, message.epoch, message.digest)
        self._compare_standing(message.sender, theirs, address, now)

    def _compare_standing(self, uid: Uid, theirs: Standing, address: Address, now: float) -> None:
        """Whoever is behind, elsewhere, or not a member is told; whoever is ahead is asked."""
        lineage, epoch, _ = theirs
        if self.view is None or lineage is None or theirs == self.standing:
            return
        self._leaving.holds(uid, lineage, epoch)
        if lineage == self.view.lineage and epoch > self.view.epoch and self.view.find(uid):
            self._out.send(address, wire.Ack())  # they see by our epoch that we are behind
        else:
            self._out.tell(uid, address, now)

    # -- time -----------------------------------------------------------------------------------

    def _tick(self, tick: ev.Tick, now: float) -> None:
        self._wall_ms = tick.wall_ms
        for endpoint in self._contacts.due(self.view, now, tick.chance):
            self._greet(endpoint)
        for endpoint in self._contacts.silent_seeds(self.view, now):
            self._out.add(ev.Note("warning", "seed_does_not_answer", {"seed": endpoint}))
        for turned_away in self._door.tick(now):
            self._turn_away(turned_away)
        self._find(self.detector.tick(now), now)
        self.doubt.look(self.view, now)

    def _find(self, findings: list[Finding], now: float) -> None:
        for finding in findings:
            if isinstance(finding, Stalled):
                self.doubt.begin(finding.gap, self.view, now)
            else:
                self._out.add(finding)

    # -- joining (the side that wants in) -------------------------------------------------------

    def _seek(self, now: float) -> None:
        if self.phase != "joining":
            return
        if self._leaving.leaves:
            self._leave()
            return
        host = self._joining.ask(now)
        if host is not None:
            self._out.send(host, wire.Join(self.me))
        elif self._wall_ms and self._joining.may_found(len(self._contacts), now):
            self._found(now)

    def _found(self, now: float) -> None:
        joiners = self._joining.known
        self._apply(found(self.me, self._wall_ms), now)
        for joiner in joiners:
            self._out.send(joiner.endpoint, wire.Welcome(self.phase, self.me, (), self.view))

    def _refused(self, uid: Uid, reason: str, highest: int, by: Uid) -> None:
        if uid != self.me.uid:
            address = self._relayed.pop(uid, None)
            if address is not None:
                self._out.send(address, wire.Refused(uid, reason, highest))
        elif self.phase == "joining" and reason == "stale":
            self._over("stale", highest, ())
        elif self.phase == "joining":
            self._out.add(ev.Rejected(reason, by[0]))

    # -- the door (the side that lets in) -------------------------------------------------------

    def _join_wanted(self, address: Address, member: Member, relayed: bool, now: float) -> None:
        view = self.view
        if view is None or member.node_id == self.me.node_id:
            return
        if view.find(member.uid) is not None:
            self._out.tell(member.uid, address, now)
        elif view.removed(member.uid):
            highest = view.highest(member.node_id)
            self._out.send(address, wire.Refused(member.uid, "stale", highest))
        elif self._leads(view):
            self._knock(member, address, now)
        elif not relayed:
            self._relay(address, member, view)

    def _knock(self, member: Member, address: Address, now: float) -> None:
        new = self._door.knock(member._replace(status="up"), address, now)
        endpoint = member.control_endpoint
        if new and endpoint in self._links and not self.detector.has_link(endpoint):
            self._out.add(ev.Redial(endpoint))

    def _leads(self, view: View) -> bool:
        leader = self._leader.of(view)
        return leader is not None and leader.uid == self.me.uid

    def _relay(self, address: Address, member: Member, view: View) -> None:
        leader = self._leader.of(view)
        if leader is not None:
            if len(self._relayed) >= MAX_REMEMBERED:
                self._relayed.clear()
            self._relayed[member.uid] = address
            self._out.send(leader.control_endpoint, wire.Join(member, relayed=True))

    def _turn_away(self, turned_away: TurnAway) -> None:
        member, view = turned_away.guest.member, self.view
        highest = view.highest(member.node_id) if view else 0
        refusal = wire.Refused(member.uid, turned_away.reason, highest)
        self._out.send(turned_away.guest.address, refusal)
        details = {"peer": member.node_id, "reason": turned_away.reason}
        self._out.add(ev.Note("warning", "joiner_turned_away", details))

    # -- deciding -------------------------------------------------------------------------------

    def _decide(self, now: float) -> None:
        view = self.view
        if view is None or self.phase != "member":
            return
        self._leader.prune(view, now)
        self._say_wish(view, now)
        later = self._leaving.exit_view
        if later is not None:
            if self._leaving.may_go(later):
                self._leave()
        elif self.detector.withholds(now):
            return
        elif not self._leads(view):
            for leader, body in self._leader.reports(view, now):
                self._out.send(leader.control_endpoint, body)
        else:
            self._lead(view, now)

    def _lead(self, view: View, now: float) -> None:
        for endpoint in self._door.to_ask(now):
            self._out.add(ev.Ask(endpoint))
        ballot = self._leader.ballot(view, self._leaving.wish)
        joins = self._door.ready(now, at_once=bool(ballot.removals))
        if not (joins or ballot.removals or ballot.statuses):
            return
        if not (self._leader.hears_quorum(view) or self._leaving.leaves):
            return
        self._propose(view, joins, ballot, now)

    def _propose(self, view: View, joins: list[Member], ballot: Ballot, now: float) -> None:
        later = successor(view, joins=joins, removals=ballot.removals, statuses=ballot.statuses)
        for uid in self._door.guests:
            if later.find(uid) or later.removed(uid):
                self._door.forget(uid)
        farewells = [self._leader.address(uid) for uid in ballot.removals]
        if self.me.uid in ballot.removals:
            self._leaving.exit_view = later
            self._out.publish(later, later.members)
            return
        self.doubt.end()
        self._apply(later, now)
        self._out.publish(later, self._others(later))
        for address in farewells:
            if address is not None:
                self._out.send(address, wire.News(later))

    # -- applying -------------------------------------------------------------------------------

    def _view_seen(self, view: View, sender: Uid, address: Address, now: float) -> None:
        if self._ended:
            return
        if self.view is None:
            self._view_offered(view, sender, address, now)
        elif view.lineage != self.view.lineage:
            self._other_lineage(self.view, view, sender, address, now)
        elif view.removed(self.me.uid):
            self._without_me(self.view, view, sender, address, now)
        elif self.view.removed(sender):
            self._out.tell(sender, address, now)
        else:
            self._adopt(self.view, view, sender, address, now)

    def _view_offered(self, view: View, sender: Uid, address: Address, now: float) -> None:
        if view.find(self.me.uid) is not None:
            self._apply(view, now)
        elif view.removed(self.me.uid):
            self._over("stale", view.highest(self.me.node_id), ())
        else:
            self._joining.host(sender, address, view, now)

    def _other_lineage(
        self, own: View, other: View, sender: Uid, address: Address, now: float
    ) -> None:
        if outranks(other, own):
            self._over("outranked", other.highest(self.me.node_id), other.members)
        else:
            self._out.tell(sender, address, now)

    def _without_me(
        self, own: View, other: View, sender: Uid, address: Address, now: float
    ) -> None:
        if self._leaving.leaves:
            self._leave()
        elif own.removed(sender) and stronger(own, other):
            self._out.tell(sender, address, now)
        else:
            self._over("removed", other.highest(self.me.node_id), other.members)

    def _adopt(self, own: View, other: View, sender: Uid, address: Address, now: float) -> None:
        settled = settle(own, other)
        if settled is own:
            if other.epoch < own.epoch or other.digest() != own.digest():
                self._out.tell(sender, address, now)
            return
        self._apply(settled, now)
        if settled is not other:
            self._out.add(ev.Note("info", "views_settled", {"epoch": settled.epoch}))
            self._out.publish(settled, self._others(settled))

    def _apply(self, view: View, now: float) -> None:
        before = self.view.members if self.view else ()
        self.view, self.phase = view, "member"
        self.me = view.find(self.me.uid) or self.me
        downs = [(m, view.why_gone(m.uid)) for m in before if view.find(m.uid) is None]
        known = {m.uid for m in before} | {self.me.uid}
        ups = tuple(m for m in view.members if m.uid not in known)
        self.detector.watch(self._others(view), now)
        self._out.stand(view)
        for member, reason in downs:
            if reason == HEARTBEAT_TIMEOUT:  # it may live: tell it when it can be reached again
                self._contacts.add(member.control_endpoint, now, keep=REMEMBERED)
        self._out.add(ev.Applied(view, tuple(downs), ups))
        self._links.soon()

    # -- the end of a life ----------------------------------------------------------------------

    def _over(self, reason: EndOfLife, above: int, members: tuple[Member, ...]) -> None:
        known = (*members, *(self.view.members if self.view else ()))
        contacts = frozenset(m.control_endpoint for m in known) - {self.me.control_endpoint}
        self.phase = "over"
        self._out.add(ev.LifeOver(reason, max(above, self.me.incarnation), contacts))

    def _say_wish(self, view: View, now: float) -> None:
        wish = self._leaving.say(self.me.status, now)
        if wish is None:
            return
        for member in self._others(view):
            self._out.send(member.control_endpoint, wire.Leave(wish))
        if self._leaving.exit_view is not None:
            self._out.publish(self._leaving.exit_view, self._leaving.exit_view.members)

    def _leave(self) -> None:
        self.left = True
        self._out.add(ev.Left())
