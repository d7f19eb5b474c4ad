"""Node ids: ``name@host:port``, the one form in which a node is named."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from noex.runtime.errors import InvalidNodeIdError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,62}")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?"  # `_` as in a container's name
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_IPV4 = re.compile(r"[0-9.]+")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45})(%[A-Za-z0-9_.]+)?\]")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")  # one spelling for each port: ids are compared as text


class NodeAddress(NamedTuple):
    """The parts of a node id. An IPv6 host keeps its brackets, and its scope (``%eth0``)."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}@{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The ZeroMQ address of the node's control socket."""
        return f"tcp://{self.host}:{self.port}"


def parse_node_id(text: object) -> NodeAddress:
    """Split ``name@host:port`` into its parts.

    `name` is 1 to 63 letters, digits, ``_ . -``; `host` a host name, an IPv4 address or an IPv6
    address in brackets, which is brought to its one short form (``[::1]``); `port` 0 to 65535 (0:
    chosen at start). Raises `InvalidNodeIdError` with the input and the reason.
    """
    if not isinstance(text, str):
        raise InvalidNodeIdError(text, f"it is a {type(text).__name__}, not a string")
    name, at, address = text.partition("@")
    if not at:
        raise InvalidNodeIdError(text, "there is no '@' in it")
    host, colon, port = address.rpartition(":")
    if not colon:
        raise InvalidNodeIdError(text, "there is no port in it")
    if not _NAME.fullmatch(name):
        raise InvalidNodeIdError(text, "the name must be 1 to 63 of letters, digits, '_', '.', '-'")
    spelled = _spelled(host)
    if spelled is None:
        raise InvalidNodeIdError(text, f"{host!r} is not a host name or address (IPv6 in brackets)")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise InvalidNodeIdError(text, f"the port must be a number from 0 to 65535, not {port!r}")
    return NodeAddress(name, spelled, int(port))


def checked_node_id(text: object) -> str:
    """`text`, if it is a node id. Raises `InvalidNodeIdError`."""
    return str(parse_node_id(text))


def _spelled(host: str) -> str | None:
    """The host in its one spelling; None if it is none."""
    bracketed = _IPV6.fullmatch(host)
    try:
        if bracketed:
            return f"[{_short(IPv6Address(bracketed[1]))}{bracketed[2] or ''}]"
        if _IPV4.fullmatch(host):
            return str(IPv4Address(host))
    except ValueError:
        return None
    return host if len(host) <= 253 and _HOST.fullmatch(host) else None


def _short(address: IPv6Address) -> str:
    mapped = address.ipv4_mapped  # which is spelled as the version of Python likes it
    return f"::ffff:{mapped}" if mapped is not None else address.compressed


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine. An IPv6 address may have brackets."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
