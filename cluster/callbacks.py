"""What membership needs from below, and whom it tells above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from noex.cluster import events as ev
from noex.cluster import messages as wire
from noex.cluster.view import Member, View


class Control(Protocol):
    """What membership needs of the control lane."""

    def connect(self, endpoint: str) -> None: ...
    def disconnect(self, endpoint: str) -> None: ...
    def subscribe(self, endpoint: str) -> None: ...
    def unsubscribe(self, endpoint: str) -> None: ...
    def send(self, endpoint: str, data: bytes) -> None: ...
    def answer(self, origin: bytes, data: bytes) -> None: ...
    def ping(self, endpoint: str, token: int = 0) -> None: ...
    def set_pulse(self, **fields: Any) -> None: ...
    def new_life(self, incarnation: int) -> None: ...


def _ignore(*_: Any) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class ClusterCallbacks:
    """Plain functions that are called on the loop. What they raise is logged, and harms nobody.

    - `node_down(member, reason)`, `node_up(member)`, `view_changed(view)`
    - `node_busy(node_id, lag)`, `node_idle(node_id)`
    - `life_ended(reason)`: ``removed``, ``outranked`` or ``stale``; then `new_life(incarnation)`
    - `refused(reason, by)`: a member does not let this node in (``id_in_use``, ``unreachable``), or
      an address does not (``wrong secret``, ...; see `HandshakeFailed`); it goes on asking
    - `spoofed(peer, claim)`: a message with the key of the node `peer` spoke for another one
    - `other_message(origin, kind, body)`: an `Admin` or `AdminReply`; see `Membership.reply`
    """

    node_down: Callable[[Member, str], None] = _ignore
    node_up: Callable[[Member], None] = _ignore
    view_changed: Callable[[View], None] = _ignore
    node_busy: Callable[[str, float], None] = _ignore
    node_idle: Callable[[str], None] = _ignore
    life_ended: Callable[[str], None] = _ignore
    new_life: Callable[[int], None] = _ignore
    refused: Callable[[str, str], None] = _ignore
    spoofed: Callable[[str, str], None] = _ignore
    other_message: Callable[[ev.Address, str, wire.Admin | wire.AdminReply], None] = _ignore
