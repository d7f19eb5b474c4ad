"""What a life says: envelopes with its standing, and not too often the same (part of a machine)."""

from __future__ import annotations

from collections.abc import Iterable

from noex.cluster.events import Address, Effect, Send
from noex.cluster.messages import Body, Envelope, News
from noex.cluster.view import Lineage, Member, Uid, View

Standing = tuple[Lineage | None, int, int]
"""Which view a life holds: (lineage, epoch, digest)."""

TELL_AGAIN = 0.5
MAX_REMEMBERED = 1024


class Outbox:
    """Collects the effects of one step; fills in who speaks, and from which view."""

    def __init__(self, uid: Uid, cluster: str) -> None:
        self._uid = uid
        self._cluster = cluster
        self._view: View | None = None
        self._told: dict[Uid, float] = {}
        self._effects: list[Effect] = []
        self.standing: Standing = (None, 0, 0)

    def take(self) -> list[Effect]:
        """All that was said since the last time."""
        effects, self._effects = self._effects, []
        return effects

    def stand(self, view: View) -> None:
        """Speak from this view from now on; everybody may be told again."""
        self._view = view
        self._told.clear()
        self.standing = (view.lineage, view.epoch, view.digest())

    def add(self, *effects: Effect) -> None:
        """Append effects."""
        self._effects += effects

    def envelope(self, body: Body) -> Envelope:
        """A message of this life as it stands."""
        lineage, epoch, digest = self.standing
        return Envelope(self._cluster, self._uid, lineage, epoch, digest, body)

    def send(self, to: Address, body: Body) -> None:
        """Send a message."""
        self._effects.append(Send(to, self.envelope(body)))

    def publish(self, view: View, to: Iterable[Member]) -> None:
        """Send a view to these members."""
        for member in to:
            self.send(member.control_endpoint, News(view))

    def told(self, uid: Uid, now: float) -> None:
        """This peer was given the view just now."""
        if len(self._told) >= MAX_REMEMBERED:
            self._told.clear()
        self._told[uid] = now

    def tell(self, uid: Uid, address: Address, now: float) -> None:
        """Give the own view to somebody who seems to hold another, not too often."""
        if self._view is None or now - self._told.get(uid, -TELL_AGAIN) < TELL_AGAIN:
            return
        self.told(uid, now)
        self.send(address, News(self._view))
