"""Who may come in, by their CURVE key: the machine behind ``inproc://zeromq.zap.01`` (ZAP).

libzmq asks once in each handshake, after the peer has proved that it holds the secret half of its
key; the answer names who it is (the User-Id of all its messages), or refuses it. What is refused:

- a key that is not in the list (``unknown key``);
- another mechanism than CURVE (``no security``): libzmq itself refuses it before this is asked, so
  this is the second lock on that door;
- another version, or frames that make no sense.

Source: rfc.zeromq.org/spec/27. Pure: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

VERSION: Final = b"1.0"
CURVE: Final = b"CURVE"
MAX_PART: Final = 255
RAW_KEY: Final = 32
"""Bytes of a key as it comes in."""


class Verdict(NamedTuple):
    """What to answer (nothing to what is no request), and why somebody was refused."""

    reply: list[bytes]
    address: str = ""
    reason: str = ""
    key: bytes = b""


class Zap:
    """Answers the questions of libzmq. `admitted`: User-Id by public key, as its 32 bytes."""

    def __init__(self, admitted: Mapping[bytes, str]) -> None:
        self._admitted = dict(admitted)

    def handle(self, frames: Sequence[bytes]) -> Verdict:
        """One request, without its envelope."""
        if len(frames) < 6 or len(frames[1]) > MAX_PART:
            return Verdict([], reason="no question")
        version, request, _domain, address, _identity, mechanism, *credentials = frames
        where = address[:MAX_PART].decode("ascii", "replace")
        if version != VERSION:
            return _refusal(request, b"500", where, "another version of ZAP")
        if mechanism != CURVE:
            return _refusal(request, b"400", where, "no security")
        if len(credentials) != 1 or len(credentials[0]) != RAW_KEY:
            return _refusal(request, b"500", where, "no key")
        user = self._admitted.get(credentials[0])
        if user is None:
            return _refusal(request, b"400", where, "unknown key", credentials[0])
        return Verdict([VERSION, request, b"200", b"OK", user.encode(), b""])


def _refusal(request: bytes, status: bytes, address: str, reason: str, key: bytes = b"") -> Verdict:
    reply = [VERSION, request, status, reason.encode(), b"", b""]
    return Verdict(reply, address, reason, key)
