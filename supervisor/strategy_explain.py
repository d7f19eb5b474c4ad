"""Why a child is where it is: one sentence for people."""

from __future__ import annotations

from noex.supervisor.strategy_child import Child, Phase, Wait
from noex.supervisor.strategy_core import Core


def explain(core: Core, child_id: str) -> str:
    """Why this child runs where it does, or why it does not run."""
    child = core.children.get(child_id)
    if child is None:
        return (
            f"supervisor {core.supervisor_id!r} has no child {child_id!r}: "
            "it was never started, or it ended and is not restarted"
        )
    return f"child {child_id!r} is {child.status}: {_why(core, child)}"


def _why(core: Core, child: Child) -> str:
    if child.phase is Phase.RUNNING:
        return f"{child.ref} on {child.node_id}, {_history(child)}"
    if child.phase is Phase.STOPPING:
        return f"{child.ref} on {child.node_id} was told to stop (shutdown={child.spec.shutdown!r})"
    if child.phase is Phase.STARTING:
        return f"attempt {child.generation} is under way ({child.why}), {_history(child)}"
    if child.phase is Phase.UNCONFIRMED or child.wait in (Wait.NODE, Wait.HOLD):
        return child.reason or "it waits"
    if child.wait is Wait.IGNORED:
        return "its init said Ignore; restart_child tries it again"
    if child.grouped:
        return f"it waits for its turn in a {core.options.strategy} restart, {_history(child)}"
    return f"its next start is due, {_history(child)}"


def _history(child: Child) -> str:
    if child.last_exit is None:
        return f"restarted {child.restart_count} times"
    return f"restarted {child.restart_count} times, the last end was {child.last_exit!r}"
