"""Host names of peers, looked up beside the control thread.

A lookup may take as long as the resolver's timeouts, and neither the control thread nor libzmq's
I/O thread (which answers the heartbeats of every socket) may wait for it. So both get numeric
addresses alone, and a name that is not known yet is asked for in a daemon thread of its own: at
most `MAX_LOOKUPS` at a time. There is no callback: who asked in vain asks again later.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable

MAX_LOOKUPS = 4
KEEP_FOUND = 30.0
KEEP_FAILED = 1.0

Resolve = Callable[[str], str | None]


def is_numeric(host: str) -> bool:
    """Whether `host` (without brackets) is an address, not a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def resolve(host: str) -> str | None:
    """Ask the system, as long as it takes. An IPv4 address is preferred, then what comes first."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    found.sort(key=lambda item: item[0] != socket.AF_INET)
    return str(found[0][4][0]) if found else None


class Names:
    """The addresses that are known. Used by one thread; lookups report from theirs."""

    def __init__(
        self, resolve: Resolve = resolve, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolve = resolve
        self._clock = clock
        self._found: dict[str, tuple[str | None, float]] = {}
        self._asked: set[str] = set()

    def find(self, host: str) -> str | None:
        """The address of `host`, or None: not known (yet)."""
        if is_numeric(host):
            return host
        address, until = self._found.get(host, (None, 0.0))
        if self._clock() < until:
            return address
        if host not in self._asked and len(self._asked) < MAX_LOOKUPS:
            self._asked.add(host)
            threading.Thread(
                target=self._look_up, args=(host,), name=f"noex-lookup-{host}", daemon=True
            ).start()
        return None

    def forget(self, host: str) -> None:
        """The address did not answer: it may have moved. Look again, at most once a second."""
        address, until = self._found.get(host, (None, 0.0))
        if address is not None:
            self._found[host] = (address, min(until, self._clock() + KEEP_FAILED))

    def prune(self) -> None:
        """Drop what is out of date, so that names that are used no more take no memory."""
        now = self._clock()
        for host, (_, until) in list(self._found.items()):
            if until < now:
                self._found.pop(host, None)

    def _look_up(self, host: str) -> None:
        address = self._resolve(host)
        keep = KEEP_FOUND if address is not None else KEEP_FAILED
        self._found[host] = (address, self._clock() + keep)
        self._asked.discard(host)
