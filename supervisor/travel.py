"""The supervisor's values that travel between nodes, made known to the codec."""

from __future__ import annotations

from typing import Any

from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.supervisor import events
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.info import ChildInfo, SupervisorStats
from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity
from noex.transport.codec import Codec
from noex.transport.message import register
from noex.transport.remote import RefBinding

for _cls in (
    SupervisorHandle,
    ChildInfo,
    SupervisorStats,
    ChildSpec,
    ChildTemplate,
    RestartIntensity,
    events.SupervisorStarted,
    events.SupervisorStopped,
    events.ChildStarted,
    events.ChildStopped,
    events.ChildRestarted,
    events.ChildMigrated,
    events.NodeFailureDetected,
    events.ChildPending,
    events.ChildAdopted,
    events.SupervisorTakenOver,
    events.EventsLost,
):
    register(_cls)


class TravelCheck:
    """Whether a child's arguments can travel: asked when it is given, not at its failover."""

    def __init__(self, kernel: Kernel) -> None:
        self._codec = Codec(refs=RefBinding(kernel, Ref))

    def check(self, child: Any, operation: str) -> None:
        """Raise `MessageSerializationError` that names the path, as ``args[0].conn``."""
        if isinstance(child, ChildSpec | ChildTemplate):
            self._encode(tuple(child.args), operation, "args")
            self._encode(dict(child.kwargs), operation, "kwargs")
        else:
            self._encode(child, operation, "args")

    def _encode(self, value: Any, operation: str, root: str) -> None:
        if value:
            self._codec.encode(value, operation=operation, root=root)
