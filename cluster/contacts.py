"""Whom a node greets: seeds, joiners it has heard of, and members it has lost sight of (B1).

A machine of one small idea: greet each contact for ever, with growing and jittered pauses, at once
when a link to it comes up, and not while it is a member of the own view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Uid, View

MAX_CONTACTS = 256
FOR_EVER = float("inf")
REMEMBERED = 3600.0
"""How long members that were lost from sight are greeted."""


@dataclass(slots=True)
class _Contact:
    endpoint: str
    seed: bool
    since: float
    """When it was first greeted, or last answered: silence is measured from here."""
    due: float
    pause: float
    uid: Uid | None = None
    """Who answered there last."""
    complained: bool = False
    until: float = FOR_EVER
    """When it is dropped."""


class Contacts:
    """The endpoints to greet. `own`: the endpoint of this node, which is never greeted."""

    def __init__(
        self,
        own: str,
        seeds: Iterable[str],
        others: Iterable[str],
        settings: ClusterSettings,
        now: float,
    ) -> None:
        self._own = own
        self._settings = settings
        self._contacts: dict[str, _Contact] = {}
        self._present = _Present(None)
        for endpoint in seeds:
            self.add(endpoint, now, seed=True)
        for endpoint in others:
            self.add(endpoint, now, keep=REMEMBERED)

    def __len__(self) -> int:
        return len(self._contacts)

    def __contains__(self, endpoint: str) -> bool:
        return endpoint in self._contacts

    def add(self, endpoint: str, now: float, *, seed: bool = False, keep: float = FOR_EVER) -> None:
        """Greet this endpoint for the next `keep` seconds."""
        if not endpoint or endpoint == self._own:
            return
        contact = self._contacts.get(endpoint)
        if contact is not None:
            contact.until = max(contact.until, now + keep)
        elif len(self._contacts) < MAX_CONTACTS:
            pause = self._settings.hello_first
            self._contacts[endpoint] = _Contact(endpoint, seed, now, now, pause, until=now + keep)

    def drop(self, endpoint: str) -> None:
        """Greet it no more (it was ourselves, under another name)."""
        self._contacts.pop(endpoint, None)

    def linked(self, endpoint: str, now: float) -> None:
        """A link to it stands: greet it at once."""
        contact = self._contacts.get(endpoint)
        if contact is not None:
            contact.due = now
            contact.pause = self._settings.hello_first

    def answered(self, endpoint: str, uid: Uid, now: float) -> None:
        """A node of our cluster has answered there."""
        contact = self._contacts.get(endpoint)
        if contact is not None:
            contact.uid, contact.since, contact.complained = uid, now, False

    def due(self, view: View | None, now: float, chance: float) -> list[str]:
        """Whom to greet now."""
        endpoints = []
        self._contacts = {e: c for e, c in self._contacts.items() if c.until > now}
        for contact in self._contacts.values():
            if contact.due > now:
                continue
            if self._is_in(contact, view):
                contact.due = now + self._settings.hello_cap
                continue
            contact.due = now + contact.pause * (0.5 + chance)
            contact.pause = min(2 * contact.pause, self._settings.hello_cap)
            endpoints.append(contact.endpoint)
        return endpoints

    def wanted(self, view: View | None) -> set[str]:
        """The endpoints to keep a link to."""
        return {c.endpoint for c in self._contacts.values() if not self._is_in(c, view)}

    def silent_seeds(self, view: View | None, now: float) -> list[str]:
        """Seeds to complain about, each once until it answers."""
        silent = []
        for contact in self._contacts.values():
            if self._is_in(contact, view):
                contact.since = now
            elif contact.seed and now - contact.since >= self._settings.alone_after:
                silent += [] if contact.complained else [contact.endpoint]
                contact.complained = True
        return silent

    def _is_in(self, contact: _Contact, view: View | None) -> bool:
        if self._present.view is not view:
            self._present = _Present(view)
        return self._present.has(contact)


class _Present:
    """Who is in a view, for quick answers: asked for each contact at each tick."""

    def __init__(self, view: View | None) -> None:
        self.view = view
        members = view.members if view else ()
        self._endpoints = {m.control_endpoint for m in members}
        self._nodes = {m.node_id for m in members}

    def has(self, contact: _Contact) -> bool:
        known = contact.uid is not None and contact.uid[0] in self._nodes
        return known or contact.endpoint in self._endpoints
