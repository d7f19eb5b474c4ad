"""Who is measured: one module for each, with the loads in its own idiom."""

from __future__ import annotations

from importlib import import_module, metadata

from peers.peer import Peer

MODULES = {
    "noex": "peers.noex_peer",
    "naive": "peers.naive",
    "pykka": "peers.pykka_peer",
    "xoscar": "peers.xoscar_peer",
}

__all__ = ["MODULES", "Peer", "load", "version"]


def version(name: str) -> str | None:
    """The installed version, or None if there is none to measure."""
    if name == "naive":
        return "asyncio"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def load(name: str) -> Peer:
    """The peer of that name."""
    peer: Peer = import_module(MODULES[name]).PEER()
    return peer
