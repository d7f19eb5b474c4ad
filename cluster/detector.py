"""The failure detector: a pure machine that judges each peer of a view, for this observer alone.

Three signals per peer: its heartbeat (and any other frame: a life sign), the link (ZeroMQ answers
for a process whose Python is stuck, and not for one that is stopped or cut off), and hard evidence
(the link broke and a fresh connect is refused, or somebody else answers at that address).

====================================  ==========================================================
what is seen                          what it means
====================================  ==========================================================
heartbeat late, link up               busy; down only after `busy_cap`
the peer's loop late                  busy; down only after `busy_cap`
link down, silent                     down after `silence_after`: ``heartbeat_timeout``
link down, connect refused            down at once: ``connection_closed`` (``connection_refused``
                                      if there never was a link). *Hard* from the same host; from
                                      another host it is evidence about a path, so others must agree
a later life answers there            down at once, hard: ``superseded``
====================================  ==========================================================

Silence just after meeting a peer is not lateness: heartbeats count from the first one on.

A gap in the own clock longer than `stall_after` makes everything worthless that was measured
before: who was silent, the peer or we? The machine then reports `Stalled`, withholds all judgement
for `stall_grace`, and measures afresh from there.

A soft judgement is taken back by any life sign. A hard one only by the same life answering on a new
link: a heartbeat that waited in a buffer proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from noex.cluster.events import BusyChanged
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import (
    CONNECTION_CLOSED,
    CONNECTION_REFUSED,
    HEARTBEAT_TIMEOUT,
    SUPERSEDED,
    Member,
    Uid,
)
from noex.runtime.node_id import is_loopback


@dataclass(frozen=True, slots=True)
class Accusation:
    """This observer holds a life for ended. `hard`: seen from its own host."""

    uid: Uid
    reason: str
    hard: bool


@dataclass(frozen=True, slots=True)
class Stalled:
    """This node itself was stalled for `gap` seconds."""

    gap: float


Finding = BusyChanged | Stalled


def host_of(endpoint: str) -> str:
    """The host part of ``tcp://host:port``."""
    return endpoint.removeprefix("tcp://").rpartition(":")[0]


def same_host(a: str, b: str) -> bool:
    """Whether two endpoints are certainly on one machine."""
    host_a, host_b = host_of(a), host_of(b)
    return host_a == host_b or (is_loopback(host_a) and is_loopback(host_b))


@dataclass(slots=True)
class _Peer:
    """What is known of one life. Times are monotonic seconds."""

    uid: Uid
    endpoint: str
    local: bool
    heard_at: float
    """The last life sign, or when the measuring began."""
    lost_at: float
    """Since when there is no link; meaningless while `linked`."""
    linked: bool = False
    ever_linked: bool = False
    linked_at: float = 0.0
    refused: bool = False
    pulsed_at: float | None = None
    interval: float = 0.0
    """The usual pause between heartbeats (a moving average)."""
    loop_lag: float = 0.0
    lag_at: float = 0.0
    lagging_since: float | None = None
    busy: bool = False
    ended: str | None = None
    """The reason of hard evidence."""
    silent: bool = False


class Detector:
    """Judges the peers that it is told to `watch`. Every method takes the time as `now`."""

    def __init__(self, endpoint: str, settings: ClusterSettings, now: float) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._peers: dict[Uid, _Peer] = {}
        self._links: dict[str, float] = {}  # endpoint -> since when a link stands
        self._verdicts: list[Accusation] | None = None
        self._looked_at = now
        self._withhold_until = now

    # -- what others ask ------------------------------------------------------------------------

    @property
    def accusations(self) -> list[Accusation]:
        """Whom this observer holds for down."""
        if self._verdicts is None:  # asked at every event, and rarely another than before
            judged = map(self._accusation, self._peers.values())
            self._verdicts = [a for a in judged if a is not None]
        return self._verdicts

    def withholds(self, now: float) -> bool:
        """Whether this node was stalled just now and must not judge."""
        return now < self._withhold_until

    def is_busy(self, uid: Uid) -> bool:
        """Whether a peer is late, but not down."""
        peer = self._peers.get(uid)
        return peer is not None and peer.busy

    def has_link(self, endpoint: str) -> bool:
        """Whether a link to `endpoint` stands."""
        return endpoint in self._links

    def _accusation(self, peer: _Peer) -> Accusation | None:
        if peer.ended is not None:
            return Accusation(peer.uid, peer.ended, True)
        if peer.refused and not peer.linked:
            reason = CONNECTION_CLOSED if peer.ever_linked else CONNECTION_REFUSED
            return Accusation(peer.uid, reason, peer.local)
        if peer.silent:
            return Accusation(peer.uid, HEARTBEAT_TIMEOUT, False)
        return None

    # -- what it hears --------------------------------------------------------------------------

    def watch(self, members: Iterable[Member], now: float) -> None:
        """Judge exactly these peers from now on; what is known of those who stay is kept."""
        peers = {}
        for member in members:
            peers[member.uid] = self._peers.get(member.uid) or self._meet(member, now)
        self._peers = peers
        self._verdicts = None

    def _meet(self, member: Member, now: float) -> _Peer:
        endpoint = member.control_endpoint
        peer = _Peer(member.uid, endpoint, same_host(self._endpoint, endpoint), now, now)
        if endpoint in self._links:
            peer.linked = peer.ever_linked = True
            peer.linked_at = self._links[endpoint]
        return peer

    def link_up(self, endpoint: str, at: float) -> None:
        """Our dial was answered. By whom, the answer to a question will tell (`answered`)."""
        self._verdicts = None
        self._links[endpoint] = at
        for peer in self._at(endpoint):
            peer.linked = peer.ever_linked = True
            peer.linked_at = at
            peer.refused = False

    def link_down(self, endpoint: str, at: float) -> None:
        """Our connection is lost."""
        self._verdicts = None
        self._links.pop(endpoint, None)
        for peer in self._at(endpoint):
            peer.linked = False
            peer.lost_at = at

    def refused(self, endpoint: str) -> None:
        """Nobody listens there."""
        self._verdicts = None
        for peer in self._at(endpoint):
            if not peer.linked:
                peer.refused = True

    def forget_links(self, endpoints: Iterable[str]) -> None:
        """These links were closed by ourselves."""
        for endpoint in endpoints:
            self._links.pop(endpoint, None)

    def answered(self, endpoint: str, uid: Uid, at: float) -> None:
        """The process at `endpoint` has said which life it is."""
        self._verdicts = None
        for peer in self._at(endpoint):
            if peer.uid == uid:
                self.life_sign(uid, at)
            elif peer.linked and at >= peer.linked_at:
                self._replaced(peer, uid)

    def _replaced(self, peer: _Peer, uid: Uid) -> None:
        node_id, incarnation = uid
        if node_id != peer.uid[0]:
            peer.ended = CONNECTION_CLOSED
        elif incarnation > peer.uid[1]:
            peer.ended = SUPERSEDED

    def life_sign(self, uid: Uid, at: float) -> None:
        """A frame of this life has been read at `at`."""
        peer = self._peers.get(uid)
        if peer is None:
            return
        peer.heard_at = max(peer.heard_at, at)
        if peer.silent or peer.ended is not None:
            self._verdicts = None
        peer.silent = False
        if peer.linked and at > peer.linked_at and peer.ended == CONNECTION_CLOSED:
            peer.ended = None

    def pulse(self, uid: Uid, loop_lag: float, at: float) -> None:
        """A heartbeat; a later life of a peer's node id supersedes it."""
        peer = self._peers.get(uid)
        if peer is None:
            self._later_life(uid)
            return
        if peer.pulsed_at is not None and at > peer.pulsed_at:
            gap = at - peer.pulsed_at
            peer.interval = gap if not peer.interval else 0.8 * peer.interval + 0.2 * gap
        peer.pulsed_at = at
        self.life_sign(uid, at)
        self._lag(peer, loop_lag, at)

    def _later_life(self, uid: Uid) -> None:
        for peer in self._peers.values():
            if peer.uid[0] == uid[0] and peer.uid[1] < uid[1]:
                peer.ended = SUPERSEDED
                self._verdicts = None

    def _lag(self, peer: _Peer, loop_lag: float, at: float) -> None:
        peer.loop_lag = loop_lag
        if loop_lag < self._settings.busy_lag:
            peer.lagging_since = None
        elif peer.lagging_since is None:
            peer.lagging_since = at - loop_lag

    # -- time -----------------------------------------------------------------------------------

    def is_late(self, now: float) -> bool:
        """Whether the next `look` will notice that this node was stalled."""
        return now - self._looked_at > self._settings.stall_after

    def look(self, now: float) -> list[Finding]:
        """Say first, at every event, that it is `now`: notices that this node was stalled."""
        was_stalled = self.is_late(now)
        gap, self._looked_at = now - self._looked_at, now
        if not was_stalled:
            return []
        self._withhold_until = now + self._settings.stall_grace
        self._verdicts = None
        for peer in self._peers.values():
            peer.heard_at = now
            peer.lost_at = now
            peer.silent = False
            peer.interval, peer.pulsed_at = 0.0, None
            if peer.lagging_since is not None:
                peer.lagging_since = now
        return [Stalled(gap)]

    def tick(self, now: float) -> list[Finding]:
        """Judge by the time that has passed."""
        if self.withholds(now):
            return []
        findings: list[Finding] = []
        self._verdicts = None
        for peer in self._peers.values():
            findings += self._judge(peer, now)
        return findings

    def _judge(self, peer: _Peer, now: float) -> list[Finding]:
        quiet = now - peer.heard_at
        if not peer.linked:
            peer.silent = now - max(peer.heard_at, peer.lost_at) >= self._settings.silence_after
            return []
        lag = self._lateness(peer, now)
        peer.silent = max(quiet, self._loop_lateness(peer, now)) >= self._settings.busy_cap
        if (lag is not None) == peer.busy:
            return []
        peer.busy = lag is not None
        return [BusyChanged(peer.uid, peer.busy, lag or 0.0)]

    def _lateness(self, peer: _Peer, now: float) -> float | None:
        """How late the peer is, None if it is not busy."""
        quiet = now - peer.heard_at
        allowed = max(self._settings.busy_after, 3 * peer.interval)
        if peer.pulsed_at is not None and quiet > allowed:
            return quiet
        return peer.loop_lag if peer.lagging_since is not None else None

    def _loop_lateness(self, peer: _Peer, now: float) -> float:
        return 0.0 if peer.lagging_since is None else now - peer.lagging_since

    def _at(self, endpoint: str) -> list[_Peer]:
        return [peer for peer in self._peers.values() if peer.endpoint == endpoint]
