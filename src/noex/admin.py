"""What a node answers over its control lane: the requests of `noex-node`.

Values travel as JSON, so that any program can ask. A request never waits for the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from noex.cluster.messages import Admin as Request
from noex.cluster.messages import AdminReply

if TYPE_CHECKING:
    from noex.node import Node


class Admin:
    """Answers admin requests of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._commands: dict[str, Callable[[], dict[str, Any]]] = {
            "ping": self._ping,
            "status": self._status,
        }

    def asked(self, request: Request, reply: Callable[[AdminReply], None]) -> None:
        """Answer `request`; an unknown command is answered with what is known."""
        command = self._commands.get(request.command)
        if command is None:
            known = ", ".join(sorted(self._commands))
            text = f"unknown command {request.command!r}; known are {known}"
            reply(AdminReply(request.request_id, False, json.dumps({"error": text}).encode()))
            return
        answer = json.dumps(command(), default=str).encode()
        reply(AdminReply(request.request_id, True, answer))

    def _ping(self) -> dict[str, Any]:
        return {"id": self._node.id, "incarnation": self._node.incarnation}

    def _status(self) -> dict[str, Any]:
        node = self._node
        kernel = node.kernel
        membership = node.network.membership if node.network is not None else None
        view = membership.view if membership is not None else None
        return {
            "id": node.id,
            "incarnation": node.incarnation,
            "cluster": node.config.cluster,
            "phase": membership.phase if membership is not None else "alone",
            "epoch": view.epoch if view is not None else None,
            "frozen": node.is_frozen,
            "secured": node.config.is_secure,
            "peers_refused": node.network.peers_refused if node.network is not None else {},
            "process_count": kernel.process_count,
            "dead_letters": kernel.dead_letters,
            "zombies": len(kernel.zombies),
            "behaviors": list(node.behaviors.names()),
            "members": [asdict(info) for info in node.members()],
        }
