"""Helpers for tests of programs that use noex; docs/testing.md shows them at work.

The fixtures for pytest are in `noex.testing.fixtures`; nothing here needs pytest.
"""

from __future__ import annotations

from noex.testing.captured import CapturedEvents, capture_events
from noex.testing.children import Child, ChildFault, ChildServer, Family
from noex.testing.processes import NodeProcess, NodeProcessError, ProcessCluster
from noex.testing.virtual import DeadlockError, VirtualLoop, VirtualTime, run_virtual, settle

__all__ = [
    "CapturedEvents",
    "Child",
    "ChildFault",
    "ChildServer",
    "DeadlockError",
    "Family",
    "NodeProcess",
    "NodeProcessError",
    "ProcessCluster",
    "VirtualLoop",
    "VirtualTime",
    "capture_events",
    "run_virtual",
    "settle",
]
