"""How a member drains and leaves (G): a machine that is asked by `views`.

It tells every member, again and again, because any of them may have to lead. A leader that leaves
makes the view without itself, and stays until a quorum of *that* view is known to hold it: else the
oldest of two could decide alone, go, and the other would never learn.
"""

from __future__ import annotations

from noex.cluster.view import Lineage, Status, Uid, View, is_quorum


class Leaving:
    """What this life wants to become, and how far that is."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._said_at: float | None = None
        self._holders: set[Uid] = set()
        self.wish: Status | None = None
        self.exit_view: View | None = None
        """The view without this life, which it decided itself."""

    @property
    def leaves(self) -> bool:
        """Whether this life wants out."""
        return self.wish == "leaving"

    def want(self, status: Status) -> None:
        """From now on this life wants this status; leaving is not taken back."""
        if not self.leaves:
            self.wish = status
            self._said_at = None

    def say(self, present: Status, now: float) -> Status | None:
        """What to tell all members now."""
        done = self.wish is None or (self.wish == "draining" and present != "up")
        recently = self._said_at is not None and now - self._said_at < self._every
        if done or recently:
            return None
        self._said_at = now
        return self.wish

    def holds(self, uid: Uid, lineage: Lineage, epoch: int) -> None:
        """A peer has shown which view it holds."""
        later = self.exit_view
        if later is not None and lineage == later.lineage and epoch >= later.epoch:
            self._holders.add(uid)

    def may_go(self, view: View) -> bool:
        """Whether enough of those who stay know the view without this life."""
        return not view.members or is_quorum(self._holders, view)
