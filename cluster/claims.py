"""Whether a control message speaks for the node whose key it came with (pure)."""

from __future__ import annotations

from noex.cluster.messages import Admin, AdminReply, Envelope, Hello, Join, Welcome
from noex.transport.curve import CLIENT


def speaks_for(message: Envelope, peer: str) -> bool:
    """Whether `peer` may have said this.

    It may speak of others: relay their wish to join, accuse them, tell a view. What is asked of a
    node from outside (`Admin`), and its answer, speak for no member; a client says nothing else.
    """
    body = message.body
    if isinstance(body, Admin | AdminReply):
        return True
    if peer.startswith(CLIENT):
        return False
    if isinstance(body, Hello | Welcome):
        return message.sender[0] == body.me.node_id == peer
    if isinstance(body, Join) and not body.relayed:
        return message.sender[0] == body.member.node_id == peer
    return message.sender[0] == peer
