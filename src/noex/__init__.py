"""noex: GenServer processes, supervision trees, and clusters that survive a kill.

Everything that a program needs is here::

    from noex import GenServer, Node, DistributedSupervisor, ChildSpec, behavior
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

# Loaded at the first use of a name: `noex-node --help` needs none of them.
if TYPE_CHECKING:
    from noex.cluster.info import NodeInfo
    from noex.cluster.settings import ClusterSettings
    from noex.config import NodeConfig
    from noex.defaults import CLUSTER_DEFAULTS
    from noex.node import Node
    from noex.registry.behaviors import BehaviorRegistry, behavior
    from noex.registry.local import Registry
    from noex.registry.local_entries import Registered, RegistryEntry, SelectedEntry, Unregistered
    from noex.registry.names import GlobalRegistry
    from noex.runtime.calls import Caller
    from noex.runtime.errors import (
        BadArgumentsError,
        BadReturnValueError,
        BehaviorNotFoundError,
        CallCycleError,
        CallTimeoutError,
        GlobalNameConflictError,
        InitFailedError,
        InitTimeoutError,
        InsecureBindError,
        InvalidChildSpecError,
        InvalidNodeIdError,
        InvalidOptionError,
        InvalidValueError,
        JoinTimeoutError,
        MessageSerializationError,
        NameTakenError,
        NodeNotReachableError,
        NodeStoppedError,
        NoexError,
        NoProcessError,
        OverloadedError,
        PortInUseError,
        ProcessKilledError,
        RemoteError,
        ServerCrashedError,
        UnhandledMessageError,
        UnknownMethodError,
        WrongThreadError,
    )
    from noex.runtime.genserver import GenServer, Timer
    from noex.runtime.info import ProcessInfo, ProcessStatistics
    from noex.runtime.mailboxes import Mailbox
    from noex.runtime.messages import (
        TIMEOUT,
        Down,
        Exit,
        Frozen,
        LifeEnded,
        NameConflict,
        NodeBusy,
        NodeDown,
        NodeIdle,
        NodeUp,
        TaskResult,
        Thawed,
        ViewChanged,
    )
    from noex.runtime.monitors import Monitor
    from noex.runtime.ref import Ref
    from noex.runtime.returns import Ignore, NoReply, Ok, Reply, Stop, Unhandled
    from noex.runtime.tracing import TraceEvent
    from noex.runtime.typed import Request, call, cast
    from noex.supervisor.defaults import DISTRIBUTED_SUPERVISOR_DEFAULTS
    from noex.supervisor.distributed import DistributedSupervisor
    from noex.supervisor.errors import (
        ChildNotFoundError,
        ChildStartError,
        DistributedBehaviorNotFoundError,
        DistributedChildNotFoundError,
        DistributedDuplicateChildError,
        DistributedInvalidSimpleOneForOneError,
        DistributedMaxRestartsExceededError,
        DistributedMissingChildTemplateError,
        DistributedSupervisorError,
        DuplicateChildError,
        InvalidSimpleOneForOneError,
        MaxRestartsExceededError,
        MissingChildTemplateError,
        NoAvailableNodeError,
        SupervisorError,
    )
    from noex.supervisor.events import (
        ChildAdopted,
        ChildMigrated,
        ChildPending,
        ChildRestarted,
        ChildStarted,
        ChildStopped,
        EventsLost,
        NodeFailureDetected,
        SupervisorStarted,
        SupervisorStopped,
        SupervisorTakenOver,
    )
    from noex.supervisor.handle import SupervisorHandle
    from noex.supervisor.info import ChildInfo, SupervisorStats
    from noex.supervisor.local import Supervisor
    from noex.supervisor.selectors import selector
    from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity
    from noex.sync_errors import BlockingCallError, LoopHeldError
    from noex.sync_node import BlockingNode, blocking
    from noex.sync_ref import BlockingEvents, BlockingMonitor, BlockingRef
    from noex.sync_supervisor import BlockingSupervisor
    from noex.transport.keys import ClusterSecret, CurveMissingError, NodeKeys, WeakSecretError
    from noex.transport.message import message
    from noex.transport.ops import UnsupportedOperationError

_HOMES: Final = (
    "noex.cluster.info",
    "noex.cluster.settings",
    "noex.config",
    "noex.defaults",
    "noex.node",
    "noex.registry.behaviors",
    "noex.registry.local",
    "noex.registry.local_entries",
    "noex.registry.names",
    "noex.runtime.calls",
    "noex.runtime.errors",
    "noex.runtime.genserver",
    "noex.runtime.info",
    "noex.runtime.mailboxes",
    "noex.runtime.messages",
    "noex.runtime.monitors",
    "noex.runtime.ref",
    "noex.runtime.returns",
    "noex.runtime.tracing",
    "noex.runtime.typed",
    "noex.supervisor.defaults",
    "noex.supervisor.distributed",
    "noex.supervisor.errors",
    "noex.supervisor.events",
    "noex.supervisor.handle",
    "noex.supervisor.info",
    "noex.supervisor.local",
    "noex.supervisor.selectors",
    "noex.supervisor.spec",
    "noex.sync_errors",
    "noex.sync_node",
    "noex.sync_ref",
    "noex.sync_supervisor",
    "noex.transport.keys",
    "noex.transport.message",
    "noex.transport.ops",
)

__all__ = [
    "CLUSTER_DEFAULTS",
    "DISTRIBUTED_SUPERVISOR_DEFAULTS",
    "TIMEOUT",
    "BadArgumentsError",
    "BadReturnValueError",
    "BehaviorNotFoundError",
    "BehaviorRegistry",
    "BlockingCallError",
    "BlockingEvents",
    "BlockingMonitor",
    "BlockingNode",
    "BlockingRef",
    "BlockingSupervisor",
    "CallCycleError",
    "CallTimeoutError",
    "Caller",
    "ChildAdopted",
    "ChildInfo",
    "ChildMigrated",
    "ChildNotFoundError",
    "ChildPending",
    "ChildRestarted",
    "ChildSpec",
    "ChildStartError",
    "ChildStarted",
    "ChildStopped",
    "ChildTemplate",
    "ClusterSecret",
    "ClusterSettings",
    "CurveMissingError",
    "DistributedBehaviorNotFoundError",
    "DistributedChildNotFoundError",
    "DistributedDuplicateChildError",
    "DistributedInvalidSimpleOneForOneError",
    "DistributedMaxRestartsExceededError",
    "DistributedMissingChildTemplateError",
    "DistributedSupervisor",
    "DistributedSupervisorError",
    "Down",
    "DuplicateChildError",
    "EventsLost",
    "Exit",
    "Frozen",
    "GenServer",
    "GlobalNameConflictError",
    "GlobalRegistry",
    "Ignore",
    "InitFailedError",
    "InitTimeoutError",
    "InsecureBindError",
    "InvalidChildSpecError",
    "InvalidNodeIdError",
    "InvalidOptionError",
    "InvalidSimpleOneForOneError",
    "InvalidValueError",
    "JoinTimeoutError",
    "LifeEnded",
    "LoopHeldError",
    "Mailbox",
    "MaxRestartsExceededError",
    "MessageSerializationError",
    "MissingChildTemplateError",
    "Monitor",
    "NameConflict",
    "NameTakenError",
    "NoAvailableNodeError",
    "NoProcessError",
    "NoReply",
    "Node",
    "NodeBusy",
    "NodeConfig",
    "NodeDown",
    "NodeFailureDetected",
    "NodeIdle",
    "NodeInfo",
    "NodeKeys",
    "NodeNotReachableError",
    "NodeStoppedError",
    "NodeUp",
    "NoexError",
    "Ok",
    "OverloadedError",
    "PortInUseError",
    "ProcessInfo",
    "ProcessKilledError",
    "ProcessStatistics",
    "Ref",
    "Registered",
    "Registry",
    "RegistryEntry",
    "RemoteError",
    "Reply",
    "Request",
    "RestartIntensity",
    "SelectedEntry",
    "ServerCrashedError",
    "Stop",
    "Supervisor",
    "SupervisorError",
    "SupervisorHandle",
    "SupervisorStarted",
    "SupervisorStats",
    "SupervisorStopped",
    "SupervisorTakenOver",
    "TaskResult",
    "Thawed",
    "Timer",
    "TraceEvent",
    "Unhandled",
    "UnhandledMessageError",
    "UnknownMethodError",
    "Unregistered",
    "UnsupportedOperationError",
    "ViewChanged",
    "WeakSecretError",
    "WrongThreadError",
    "behavior",
    "blocking",
    "call",
    "cast",
    "message",
    "selector",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Load what lies behind the public names, all at once, when the first of them is used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for home in map(importlib.import_module, _HOMES):
            globals().update({each: getattr(home, each) for each in __all__ if hasattr(home, each)})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
