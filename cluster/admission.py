"""The door of a leader: which joiners may enter (J1, J2); a machine.

A request to join is believed only after a dial to the advertised address was answered by that very
life. So a late duplicate, an address that nobody can reach, or a second process with the node id of
a living one never gets in: the last is told ``id_in_use`` when the *old* life answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from noex.cluster.events import Address
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member, Uid

MAX_GUESTS = 64
"""Each is dialled, at an address that it has given: that takes file descriptors."""
ASK_AGAIN = 0.1


@dataclass(slots=True)
class Guest:
    """Somebody at the door."""

    member: Member
    address: Address
    """Where the request came from: the joiner itself, or the member that relayed it."""
    since: float
    knocked_at: float
    asked_at: float = -1.0
    confirmed_at: float | None = None


@dataclass(frozen=True, slots=True)
class TurnAway:
    """Refuse a guest."""

    guest: Guest
    reason: str


class Door:
    """The joiners that a leader has heard of and not yet let in."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._guests: dict[Uid, Guest] = {}

    @property
    def endpoints(self) -> set[str]:
        """The addresses to dial."""
        return {guest.member.control_endpoint for guest in self._guests.values()}

    @property
    def guests(self) -> list[Uid]:
        """Who is at the door."""
        return list(self._guests)

    def knock(self, member: Member, address: Address, now: float) -> bool:
        """A request to join; whether it is new. An earlier life of its node id is forgotten."""
        before = self._guests.get(member.uid)
        if before is not None:
            before.address, before.knocked_at = address, now
            return False
        for uid in [u for u in self._guests if u[0] == member.node_id]:
            if uid[1] > member.incarnation:
                return False
            del self._guests[uid]
        if len(self._guests) >= MAX_GUESTS:
            return False
        self._guests[member.uid] = Guest(member, address, now, now)
        return True

    def forget(self, uid: Uid) -> None:
        """The guest is in, or is to be forgotten."""
        self._guests.pop(uid, None)

    def answered(self, endpoint: str, uid: Uid, at: float) -> list[TurnAway]:
        """Somebody answered at `endpoint`; answers read before the request came do not count."""
        turned_away = []
        for guest in list(self._guests.values()):
            if guest.member.control_endpoint != endpoint or guest.confirmed_at is not None:
                continue
            if at < guest.since:
                continue
            if guest.member.uid == uid:
                guest.confirmed_at = at
            elif uid[0] == guest.member.node_id and uid[1] < guest.member.incarnation:
                self.forget(guest.member.uid)
                turned_away.append(TurnAway(guest, "id_in_use"))
        return turned_away

    def to_ask(self, now: float) -> list[str]:
        """The addresses to ask now who is there."""
        asked = []
        for guest in self._guests.values():
            if guest.confirmed_at is None and now - guest.asked_at >= ASK_AGAIN:
                guest.asked_at = now
                asked.append(guest.member.control_endpoint)
        return asked

    def linked(self, endpoint: str) -> None:
        """A link to a guest stands: ask at once."""
        for guest in self._guests.values():
            if guest.member.control_endpoint == endpoint:
                guest.asked_at = -1.0

    def tick(self, now: float) -> list[TurnAway]:
        """Turn away those who could not be dialled in time; forget those who ask no more."""
        patience = self._settings.guest_timeout
        gone = [u for u, g in self._guests.items() if now - g.knocked_at >= patience]
        for uid in gone:
            self.forget(uid)
        late = [
            guest
            for guest in self._guests.values()
            if guest.confirmed_at is None and now - guest.since >= patience
        ]
        for guest in late:
            self.forget(guest.member.uid)
        return [TurnAway(guest, "unreachable") for guest in late]

    def ready(self, now: float, *, at_once: bool) -> list[Member]:
        """Those who may come in now: confirmed, and others had time to join them."""
        confirmed = [g for g in self._guests.values() if g.confirmed_at is not None]
        waited = max((now - (g.confirmed_at or now) for g in confirmed), default=0.0)
        if not at_once and waited < self._settings.join_batch:
            return []
        return [guest.member for guest in confirmed]
