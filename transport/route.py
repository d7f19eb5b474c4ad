"""Where to dial a member now: its socket file on this host, or its address.

1. When somebody listens under the member's name in our directory for ``ipc://``, that is dialled.
   A dial that follows soon after one to the socket file goes over TCP: the first was of no use.
2. An address of numbers is dialled as it is.
3. A host name is looked up beside the loop (`noex.transport.control_names`). libzmq would do it in
   the thread that answers the heartbeats of every socket, and a resolver may take many seconds.
   While it is not known there is nothing to dial, and the session tries again soon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from noex.transport.control_names import Names, is_numeric
from noex.transport.control_sockets import endpoint_of, parse_endpoint
from noex.transport.ipc import IpcFolder

RETRY_AFTER: Final = 5.0
"""Seconds in which another dial means that the one before was of no use."""


class Route:
    """The way to the node `node_id`, whose user lane listens at `endpoint`."""

    __slots__ = (
        "_clock",
        "_dialled_at",
        "_endpoint",
        "_folder",
        "_host",
        "_local_at",
        "_names",
        "_node_id",
        "_port",
    )

    def __init__(
        self,
        node_id: str,
        endpoint: str,
        *,
        names: Names,
        folder: IpcFolder | None,
        clock: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._node_id, self._folder = node_id, folder
        self._names, self._clock = names, clock
        self._dialled_at = self._local_at = -math.inf
        self._host, self._port = _name_in(endpoint)
        if self._host:
            names.find(self._host)  # so that it is known when the first message goes out

    def __call__(self) -> str | None:
        """What to dial now; None: not known (yet)."""
        now = self._clock()
        is_again = now - self._dialled_at < RETRY_AFTER
        self._dialled_at = now
        local = self._find_here(now)
        if local is not None or not self._host:
            return local or self._endpoint
        if is_again:
            self._names.forget(self._host)  # it may stand for another address by now
        address = self._names.find(self._host)
        return endpoint_of((address, self._port)) if address is not None else None

    def _find_here(self, now: float) -> str | None:
        if self._folder is None or now - self._local_at < RETRY_AFTER:
            self._local_at = -math.inf
            return None
        found = self._folder.find(self._node_id)
        self._local_at = now if found is not None else -math.inf
        return found


def _name_in(endpoint: str) -> tuple[str, int]:
    """The host name and the port of an endpoint; no name if it has a numeric address, or none."""
    try:
        host, port = parse_endpoint(endpoint)
    except ValueError:
        return "", 0  # libzmq says what is wrong with it
    return ("", 0) if is_numeric(host) else (host, port)
