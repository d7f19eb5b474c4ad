"""Which mechanism a node asks for: the first bytes that it says to anybody.

When two nodes have different mechanisms, or secrets that do not fit, one of them hangs up, and the
other often hears nothing but that. So it asks once more, without ZeroMQ: a listener says its
mechanism as soon as it has seen a signature and a version.

Source: the greeting of ZMTP 3 (rfc.zeromq.org/spec/23): a signature of 10 bytes, two bytes of
version, 20 bytes of mechanism. Asking takes a round trip or a timeout, so it has a thread, which
ends with it; at most `MAX_ASKED` at a time.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Final

Address = tuple[str, int]

MAX_ASKED: Final = 4
TIMEOUT: Final = 1.0
_HELLO: Final = b"\xff" + bytes(8) + b"\x7f" + b"\x03"
_GREETING: Final = 64
_MECHANISM: Final = slice(12, 32)


class Greetings:
    """Asks nodes for their mechanism, each address once at a time. Used by one thread."""

    def __init__(self) -> None:
        self._asked: set[Address] = set()

    def ask(self, address: Address, answer: Callable[[str], None]) -> None:
        """Call `answer`, on another thread, if a node at `address` says its mechanism."""
        if address in self._asked or len(self._asked) >= MAX_ASKED:
            return
        self._asked.add(address)
        name = f"noex-greeting-{address[1]}"
        threading.Thread(target=self._ask, args=(address, answer), name=name, daemon=True).start()

    def _ask(self, address: Address, answer: Callable[[str], None]) -> None:
        try:
            mechanism = mechanism_at(address)
        finally:
            self._asked.discard(address)
        if mechanism:
            answer(mechanism)


def mechanism_at(address: Address, timeout: float = TIMEOUT) -> str:
    """The mechanism of the node at `address`; empty if none answers like one."""
    greeting = b""
    try:
        with socket.create_connection(address, timeout) as connection:
            connection.sendall(_HELLO)
            while len(greeting) < _GREETING and (part := connection.recv(_GREETING)):
                greeting += part
    except OSError:
        pass  # it has closed after what it said, or said nothing
    if len(greeting) < _MECHANISM.stop or greeting[0] != 0xFF or greeting[9] != 0x7F:
        return ""
    return greeting[_MECHANISM].rstrip(b"\0").decode("ascii", "replace")
