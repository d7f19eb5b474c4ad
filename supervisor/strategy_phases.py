"""The initial start, drains, and the end."""

from __future__ import annotations

from collections import deque

from noex.supervisor.events import SupervisorStarted, SupervisorStopped
from noex.supervisor.spec import ChildSpec
from noex.supervisor.strategy_actions import Finish, Started
from noex.supervisor.strategy_child import After, Child, Phase, Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_events import NodeDraining


class Startup:
    """The initial children, one after the other; the first failure ends the supervisor (rule 7).

    Ends of children that are up already are looked at when all are up, as in OTP.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._specs: deque[ChildSpec] = deque(core.options.children)
        self._current: Child | None = None
        self.is_done = False

    def skip(self) -> None:
        """There is none: the supervisor was taken over."""
        self._specs.clear()
        self.is_done = True

    def advance(self) -> None:
        core = self._core
        if self._current is not None:
            if self._current.wait is Wait.TURN and self._current.id in core.ready:
                core.start(self._current)  # its node was lost: another one
            if self._current.phase is Phase.STARTING:
                return
        if self._specs:
            self._current = core.add(self._specs.popleft(), "initial")
            core.start(self._current)
            return
        self.is_done = True
        core.emit(SupervisorStarted(core.ref))
        core.act(Started())


class Drains:
    """Children of a node that is about to leave are moved one by one (rule D10).

    A child with `overlap` is started elsewhere first, and told to stop when its successor is up;
    the others are stopped first. A child for which no node is found stays, if it can, and is
    tried again when the cluster has changed.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._nodes: dict[str, int | None] = {}  # draining: node id -> incarnation
        self._tried: set[str] = set()  # not again before the cluster has changed
        self._current: Child | None = None

    def draining(self, event: NodeDraining) -> None:
        self._nodes[event.node_id] = event.incarnation

    def node_lost(self, node_id: str) -> None:
        self._nodes.pop(node_id, None)

    def placement_changed(self) -> None:
        self._tried.clear()

    def advance(self) -> None:
        """Move the next one, unless the present one is still under way."""
        if self._current is not None and self._is_moving(self._current):
            return
        self._current = None
        if self._nodes:
            due = (child for child in self._core.children.values() if self._is_due(child))
            self._current = next(due, None)
        if self._current is not None:
            self._move(self._current)

    def _is_due(self, child: Child) -> bool:
        if child.phase is not Phase.RUNNING or child.node_id not in self._nodes:
            return False
        if self._nodes[child.node_id] not in (None, child.incarnation):
            return False
        return child.id not in self._tried

    def _move(self, child: Child) -> None:
        self._tried.add(child.id)
        child.from_node, child.why = child.node_id, "drain"
        if child.node_id is not None:
            child.exclude[child.node_id] = None
        if child.spec.overlap:
            self._core.start_successor(child)
        else:
            self._core.stop(child, After.RESTART)

    def _is_moving(self, child: Child) -> bool:
        if self._core.children.get(child.id) is not child:
            return False
        if child.successor or self._core.strays.has(child.id):
            return True
        return child.phase in (Phase.STOPPING, Phase.STARTING) or child.wait is Wait.TURN


class Closing:
    """The end: children in reverse start order, one by one (template children all at once)."""

    def __init__(self, core: Core, startup: Startup) -> None:
        self._core = core
        self._startup = startup
        self._stack: list[Child] | None = None
        self.is_finished = False

    def advance(self) -> None:
        if self._stack is None:
            self._stack = self._begin()
        while self._stack:
            child = self._stack[-1]
            if self._core.children.get(child.id) is child:
                if child.after is not After.REMOVE:
                    self._core.stop(child, After.REMOVE)
                if child.has_process:
                    return
            self._stack.pop()
        self._finish()

    def _begin(self) -> list[Child]:
        """What is not up yet is not waited for: its start is cut short at once."""
        core = self._core
        core.ready.clear()
        stack = list(core.children.values())
        for child in reversed(stack):
            if core.options.is_simple or child.phase is Phase.STARTING:
                core.stop(child, After.REMOVE)
        return stack

    def _finish(self) -> None:
        core = self._core
        ending = core.ending
        if self.is_finished or ending is None or core.strays:
            return
        self.is_finished = True
        if self._startup.is_done:
            core.emit(SupervisorStopped(core.ref, ending.event_reason))
        core.act(Finish(ending.exit_reason, ending.error))
