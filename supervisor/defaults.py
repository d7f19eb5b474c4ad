"""The defaults of supervisors, under the reference's names; all times in seconds."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

NODE_SELECTOR: Final = "local_first"
STRATEGY: Final = "one_for_one"
MAX_RESTARTS: Final = 3
RESTART_WITHIN: Final = 5.0
SHUTDOWN_TIMEOUT: Final = 5.0
AUTO_SHUTDOWN: Final = "never"
SPAWN_TIMEOUT: Final = 10.0
CHILD_CHECK_INTERVAL: Final = 0.05
NODE_FAILURE_COUNTS: Final = "once"

DISTRIBUTED_SUPERVISOR_DEFAULTS: Final[MappingProxyType[str, str | int | float]] = MappingProxyType(
    {
        "NODE_SELECTOR": NODE_SELECTOR,
        "STRATEGY": STRATEGY,
        "MAX_RESTARTS": MAX_RESTARTS,
        "RESTART_WITHIN": RESTART_WITHIN,
        "SHUTDOWN_TIMEOUT": SHUTDOWN_TIMEOUT,
        "AUTO_SHUTDOWN": AUTO_SHUTDOWN,
        "SPAWN_TIMEOUT": SPAWN_TIMEOUT,
        "CHILD_CHECK_INTERVAL": CHILD_CHECK_INTERVAL,
        "NODE_FAILURE_COUNTS": NODE_FAILURE_COUNTS,
    }
)
"""A read-only mapping of the names above to their values."""
