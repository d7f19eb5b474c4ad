"""Helpers for tests of programs that use noex."""

from __future__ import annotations

from noex.testing.processes import NodeProcess, NodeProcessError, ProcessCluster

__all__ = ["NodeProcess", "NodeProcessError", "ProcessCluster"]
