"""CLUSTER_DEFAULTS: what a node does when nothing is said, as one read-only mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final

from noex.config import NodeConfig


def _upper(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name.upper(): value for name, value in settings.items()}


_config = NodeConfig()

CLUSTER_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "CLUSTER": _config.cluster,
        "JOIN_TIMEOUT": _config.join_timeout,
        "DRAIN_TIMEOUT": _config.drain_timeout,
        "KILL_GRACE": _config.kill_grace,
        "HEARTBEAT_INTERVAL": _config.control.pulse_interval,
        **_upper(asdict(_config.membership)),
    }
)
"""Seconds, and the name of the cluster."""
