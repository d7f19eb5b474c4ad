"""What a supervisor says in the log: each thing once, whoever subscribes, on its own node.

Progress is debug, a restart or a move info, what somebody should look at a warning, and giving up
an error. That a process crashed is told by the runtime, with its traceback, where it ran.
"""

from __future__ import annotations

import logging
import reprlib
from typing import Any, Final

from noex.runtime.reasons import says
from noex.supervisor.events import (
    ChildMigrated,
    ChildPending,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    NodeFailureDetected,
    SupervisorEvent,
    SupervisorStarted,
    SupervisorStopped,
)
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.strategy_actions import Report
from noex.supervisor.strategy_core import GAVE_UP

_records: Final = logging.getLogger("noex")
_brief: Final = reprlib.Repr()
_brief.maxstring = _brief.maxother = 300


class SupervisorReports:
    """Writes for one supervisor. `log` is its node's logger."""

    def __init__(self, log: Any, supervisor_id: str, options: SupervisorOptions) -> None:
        self._log = log.bind(supervisor=supervisor_id)
        self._options = options

    def failure(self, report: Report) -> None:
        """A child did what it should not."""
        facts = {
            "child": report.child_id,
            "on": report.node_id,
            "reason": _brief.repr(report.reason),
            "restart": report.restart,
            "restart_count": report.restart_count,
        }
        match report.what:
            case "failed":
                self._log.warning("child_failed", **facts)
            case "start_failed":
                self._log.warning("child_start_failed", **facts)
            case "shutdown_error":
                self._log.warning("child_shutdown_error", **facts)

    def event(self, event: SupervisorEvent) -> None:
        """A lifecycle event."""
        match event:
            case ChildRestarted(child_id=child, node_id=on, attempt=count):
                self._log.info("child_restarted", child=child, on=on, restart_count=count)
            case ChildMigrated(child_id=child, from_node=source, to_node=target):
                self._log.info("child_migrated", child=child, source=source, target=target)
            case ChildPending(child_id=child, reason=why):
                self._log.warning("child_pending", child=child, reason=why)
            case NodeFailureDetected(node_id=lost, affected_children=children):
                self._log.warning("node_failure_detected", peer=lost, children=children)
            case SupervisorStopped(reason=reason) if says(reason, GAVE_UP):
                self._gave_up()
            case _ if _records.isEnabledFor(logging.DEBUG):
                self._progress(event)

    def _gave_up(self) -> None:
        intensity = self._options.restart_intensity
        self._log.error(
            "supervisor_gave_up",
            max_restarts=intensity.max_restarts,
            within=intensity.within,
        )

    def _progress(self, event: SupervisorEvent) -> None:
        match event:
            case ChildStarted(child_id=child, node_id=on):
                self._log.debug("child_started", child=child, on=on)
            case ChildStopped(child_id=child, reason=reason):
                self._log.debug("child_stopped", child=child, reason=_brief.repr(reason))
            case SupervisorStarted():
                self._log.debug("supervisor_started", strategy=self._options.strategy)
            case SupervisorStopped(reason=reason):
                self._log.debug("supervisor_stopped", reason=_brief.repr(reason))
