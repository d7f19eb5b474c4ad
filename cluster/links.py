"""Which endpoints a life wants to be linked to (part of a machine)."""

from __future__ import annotations

from collections.abc import Iterable

from noex.cluster.events import SetLinks
from noex.cluster.view import Member

RELINK = 0.5
"""How often the wanted links are looked through without a reason."""


class Links:
    """The links that were asked for last. `own` is never among them."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._looked_at: float | None = None
        self.control: frozenset[str] = frozenset()
        self.pub: frozenset[str] = frozenset()

    def __contains__(self, endpoint: str) -> bool:
        return endpoint in self.control

    def due(self, now: float) -> bool:
        """Whether it is time to look again."""
        return self._looked_at is None or now - self._looked_at >= RELINK

    def soon(self) -> None:
        """Look again at the next event, whatever it is."""
        self._looked_at = None

    def want(self, peers: Iterable[Member], others: set[str], now: float) -> SetLinks | None:
        """Links to these members, and control links to these other endpoints."""
        self._looked_at = now
        peers = list(peers)
        control = frozenset({m.control_endpoint for m in peers} | others) - {self._own, ""}
        pub = frozenset(m.pub_endpoint for m in peers) - {""}
        if (control, pub) == (self.control, self.pub):
            return None
        self.control, self.pub = control, pub
        return SetLinks(control, pub)
