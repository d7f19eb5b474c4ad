"""The supervisor's values that travel between nodes, made known to the codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.supervisor import events
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.info import ChildInfo, SupervisorStats
from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity
from noex.transport.codec import Codec
from noex.transport.message import register
from noex.transport.remote import RefBinding

VALUES: Final = (
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
)

for _cls in VALUES:
    register(_cls)


C = TypeVar("C", ChildSpec, ChildTemplate, Sequence[Any])


class TravelCheck:
    """Whether a child's arguments can travel: asked when it is given, not at its failover."""

    def __init__(self, kernel: Kernel) -> None:
        self._codec = Codec(refs=RefBinding(kernel, Ref))

    def copy(self, child: C, operation: str) -> C:
        """`child` with arguments of its own, which nobody else can change.

        Raises `MessageSerializationError` that names the path, as ``args[0].conn``.
        """
        if not isinstance(child, ChildSpec | ChildTemplate):
            arguments: C = self._copied(child, operation, "args")
            return arguments
        args = self._copied(tuple(child.args), operation, "args")
        kwargs = self._copied(dict(child.kwargs), operation, "kwargs")
        return replace(child, args=args, kwargs=kwargs)

    def copy_value(self, value: Any) -> Any:
        """As if it came from another node."""
        return self._codec.decode(self._codec.encode(value))

    def _copied(self, value: Any, operation: str, root: str) -> Any:
        if not value:
            return value
        return self._codec.decode(self._codec.encode(value, operation=operation, root=root))
