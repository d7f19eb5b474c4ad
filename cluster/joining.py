"""How a node without a view comes into one: a machine that looks for members, then joiners (J, B).

1. It greets its contacts. A member's answer carries its view: the node asks that member to let it
   in, again every `join_retry`, taking turns among those who answered from the strongest lineage.
2. While only other joiners answer, they tell each other whom they know. The smallest node id among
   those who are heard directly founds, once they have known each other for `found_after`; the rest
   meet its view at their next greeting, and join it.
3. If nobody answers for `alone_after`, it founds alone; at once if it has no contacts at all. Not
   while a contact turns it away for want of the right key: that is a mistake to be mended, and a
   cluster beside the one that it was to join would hide it.

Two that found at the same time make two lineages, and the weaker ends when they meet (M). No
agreement is needed to begin.
"""

from __future__ import annotations

from dataclasses import dataclass

from noex.cluster.events import Address
from noex.cluster.messages import Known
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Uid, View, outranks

FRESH = 4.0
"""An answer older than this counts no more."""
MAX_JOINERS = 64


@dataclass(slots=True)
class _Host:
    """A member that has answered."""

    address: Address
    view: View
    heard_at: float
    asked_at: float


@dataclass(slots=True)
class _Joiner:
    endpoint: str
    heard_at: float


class Joining:
    """What a joiner knows. `uid` is the life that wants to join."""

    def __init__(self, uid: Uid, settings: ClusterSettings, now: float) -> None:
        self._uid = uid
        self._settings = settings
        self._quiet_since = now
        self._started_at = now
        self._company_since: float | None = None
        self._turned_away_at: float | None = None
        self._hosts: dict[Uid, _Host] = {}
        self._joiners: dict[Uid, _Joiner] = {}

    @property
    def known(self) -> tuple[Known, ...]:
        """The joiners heard directly, this one not among them."""
        return tuple(Known(*uid, joiner.endpoint) for uid, joiner in self._joiners.items())

    def host(self, uid: Uid, address: Address, view: View, now: float) -> None:
        """A member has answered."""
        self._quiet_since = now
        self._joiners.pop(uid, None)
        before = self._hosts.get(uid)
        asked_at = before.asked_at if before else now - self._settings.join_retry
        if len(self._hosts) < MAX_JOINERS or before:
            self._hosts[uid] = _Host(address, view, now, asked_at)

    def joiner(self, uid: Uid, endpoint: str, now: float) -> None:
        """Another joiner was heard."""
        self._quiet_since = now
        stale = [u for u in self._joiners if u[0] == uid[0] and u != uid]
        for old in stale:
            del self._joiners[old]
        if uid in self._joiners or len(self._joiners) < MAX_JOINERS:
            self._joiners[uid] = _Joiner(endpoint, now)
        if self._company_since is None:
            self._company_since = now

    def unwelcome(self, now: float) -> None:
        """Somebody who listens where a contact should be does not accept this node's key."""
        self._turned_away_at = now

    def lost(self, endpoint: str) -> None:
        """Nobody listens at `endpoint` any more."""
        self._joiners = {u: j for u, j in self._joiners.items() if j.endpoint != endpoint}
        self._hosts = {u: h for u, h in self._hosts.items() if h.address != endpoint}

    def ask(self, now: float) -> Address | None:
        """Whom to ask now to be let in."""
        hosts = self._strongest(now)
        if not hosts or now - max(h.asked_at for h in hosts) < self._settings.join_retry:
            return None
        chosen = min(hosts, key=lambda h: h.asked_at)
        chosen.asked_at = now
        return chosen.address

    def _strongest(self, now: float) -> list[_Host]:
        fresh = [h for h in self._hosts.values() if now - h.heard_at < FRESH]
        return [h for h in fresh if not any(outranks(o.view, h.view) for o in fresh)]

    def may_found(self, contacts: int, now: float) -> bool:
        """Whether this node should found a cluster now."""
        self._forget_silent(now)
        if self._strongest(now):
            return False
        company = len(self._joiners) + 1
        if self._settings.expect is not None and company < self._settings.expect:
            return False
        if not self._joiners:
            if self._turned_away_at is not None and now - self._turned_away_at < FRESH:
                return False
            patience = self._settings.alone_after if contacts else 0.0
            return now - self._quiet_since >= patience
        known_for = now - max(self._started_at, self._company_since or now)
        smallest = self._uid[0] < min(uid[0] for uid in self._joiners)
        return smallest and known_for >= self._settings.found_after

    def _forget_silent(self, now: float) -> None:
        self._joiners = {u: j for u, j in self._joiners.items() if now - j.heard_at < FRESH}
        if not self._joiners:
            self._company_since = None
