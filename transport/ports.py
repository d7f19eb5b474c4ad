"""Ports for nodes that must know each other's addresses before they start.

Between the choice of a port and its use somebody else may take it. Ports that the system itself
hands out (to sockets that bind to 0, and to every outgoing connection) come from a range that
begins at 32768 on Linux; here they are chosen below it, by chance, so a clash is most unlikely.
"""

from __future__ import annotations

import random
import socket
from typing import Final

LOWEST: Final = 10_000
HIGHEST: Final = 32_000
_TRIES: Final = 200


def choose_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports of `host` on which nobody listens now.

    Raises OSError when no free port is found.
    """
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            held.append(_hold_one(host))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _hold_one(host: str) -> socket.socket:
    for _ in range(_TRIES):
        one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            one.bind((host, random.randint(LOWEST, HIGHEST)))
        except OSError:
            one.close()
        else:
            return one
    raise OSError(f"no free port between {LOWEST} and {HIGHEST} on {host} after {_TRIES} tries")
