"""Who is measured between two OS processes: one module for each, with its own idiom."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module, metadata
from shutil import which

from distant.peer import Distant

MODULES = {
    "noex": "distant.noex_peer:Noex",
    "noex+curve": "distant.noex_peer:NoexCurve",
    "raw": "distant.raw:Raw",
    "packed": "distant.raw:Packed",
    "casty": "distant.casty_peer:Casty",
    "xoscar": "distant.xoscar_peer:Xoscar",
    "grpc": "distant.grpc_peer:Grpc",
    "thespian": "distant.thespian_peer:Thespian",
    "erlang": "distant.erlang_peer:Erlang",
    "ray": "distant.ray_peer:Ray",
}
DISTRIBUTIONS = {"raw": "pyzmq", "packed": "pyzmq", "grpc": "grpcio", "noex+curve": "noex"}
ALONE = frozenset({"ray"})  # whose idle processes would disturb the others

__all__ = ["ALONE", "MODULES", "Distant", "load", "version"]


def version(name: str) -> str | None:
    """The installed version, or None if there is none to measure."""
    if name == "erlang":
        return which("erl") and "found"  # which one, it says itself
    if name == "noex+curve" and not _has_secret():
        return None
    try:
        return metadata.version(DISTRIBUTIONS.get(name, name))
    except metadata.PackageNotFoundError:
        return None


def _has_secret() -> bool:
    try:
        from noex import NodeConfig
    except ImportError:
        return False
    return "cluster_secret" in {field.name for field in fields(NodeConfig)}


def load(name: str) -> Distant:
    """The peer of that name."""
    module, cls = MODULES[name].split(":")
    peer: Distant = getattr(import_module(module), cls)()
    peer.name = name
    return peer
