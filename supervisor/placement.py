"""Where a child goes: a machine that sees the members and picks one.

A member is eligible when it is up (not busy, draining or leaving), is not excluded, and advertises
the child's behavior. Among those the selector decides:

- ``local_first``: the supervisor's own node, else the least loaded. On a failover it acts as
  ``least_loaded``, so that the children of a dead node do not pile up on one survivor.
- ``round_robin``: the node whose turn was longest ago, the oldest first. So it stays even when
  members come and go.
- ``least_loaded``: the fewest processes, counting starts under way and what was placed since the
  node last told its count; ties by age.
- ``random``; ``{"node": id}``; a callable or registered name, whose answer is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from noex.supervisor.errors import DistributedBehaviorNotFoundError, NoAvailableNodeError

PLACEMENT_MEMORY: Final = 5.0  # seconds: older placements are in the node's own count by now


class Node(Protocol):
    """What placement needs to know of a member (`NodeInfo` has it)."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def process_count(self) -> int: ...
    @property
    def behaviors(self) -> Collection[str]: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """One child that needs a place."""

    child_id: str
    behavior: str
    selector: Any
    exclude: frozenset[str] = frozenset()
    failover: bool = False


@dataclass(slots=True)
class Placement:
    """The memory of one supervisor's placements. `choice` picks one of many (randomness)."""

    local: str
    choice: Callable[[Sequence[str]], str]
    find_selector: Callable[[str], Callable[[Sequence[Any], str], str] | None]
    _turns: dict[str, int] = field(default_factory=dict)
    _turn: int = 0
    _recent: dict[str, list[float]] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)  # of those under way: in the count already
    _under_way: dict[str, int] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def choose(self, wish: Wish, nodes: Sequence[Node], now: float) -> str:
        """The id of the node that gets the child; it is under way there until it has `settled`.

        Raises `DistributedBehaviorNotFoundError` when no member (or not the one asked for) can run
        the behavior, `NoAvailableNodeError` with the reason when those that can may not now, or
        when a custom selector failed (the exception is its cause).
        """
        _require_behavior(wish, nodes, self.local)
        eligible = [node for node in nodes if why_not(wish, node) is None]
        if not eligible:
            raise NoAvailableNodeError(
                wish.child_id, shown_selector(wish.selector), _reasons(wish, nodes)
            )
        chosen = self._select(wish, eligible, now)
        self._remember(chosen)
        return chosen

    def choose_softly(self, wish: Wish, nodes: Sequence[Node], now: float) -> str:
        """As `choose`; when only excluded nodes are left, one of those is better than none."""
        try:
            return self.choose(wish, nodes, now)
        except NoAvailableNodeError:
            if not wish.exclude:
                raise
            return self.choose(replace(wish, exclude=frozenset()), nodes, now)

    def forget(self, node_id: str) -> None:
        """A node is gone: its turns and loads are history."""
        self._turns.pop(node_id, None)
        self._recent.pop(node_id, None)
        self._seen.pop(node_id, None)
        self._under_way.pop(node_id, None)
        self._counts.pop(node_id, None)

    def settled(self, node_id: str, now: float) -> None:
        """A start that was placed there has ended: it runs, and the node's next count has it."""
        waiting = self._under_way.get(node_id, 0)
        if waiting:
            self._under_way[node_id] = waiting - 1
            self._seen[node_id] = max(self._seen.get(node_id, 0) - 1, 0)
            self._recent.setdefault(node_id, []).append(now)

    def _select(self, wish: Wish, eligible: list[Node], now: float) -> str:
        selector = wish.selector
        ids = [node.id for node in eligible]
        if isinstance(selector, Mapping):
            return ids[0]  # the only one that is not excluded by `why_not`
        if selector == "local_first":
            local_fits = self.local in ids and not wish.failover
            return self.local if local_fits else self._least_loaded(eligible, now)
        if selector == "round_robin":
            return min(ids, key=lambda node_id: self._turns.get(node_id, -1))
        if selector == "least_loaded":
            return self._least_loaded(eligible, now)
        if selector == "random":
            return self.choice(ids)
        return self._ask(wish, eligible, now)

    def _ask(self, wish: Wish, eligible: list[Node], now: float) -> str:
        function = wish.selector
        if isinstance(function, str):
            function = self.find_selector(function)
            if function is None:
                reason = f"no selector is registered as {wish.selector!r} on {self.local}"
                raise NoAvailableNodeError(wish.child_id, shown_selector(wish.selector), reason)
        try:
            answer = function(tuple(eligible), wish.child_id)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plain function: no cancellation of ours comes from it
            failed = NoAvailableNodeError(
                wish.child_id, shown_selector(wish.selector), f"the selector raised {error!r}"
            )
            raise failed from error
        if not isinstance(answer, str) or answer not in {node.id for node in eligible}:
            reason = f"the selector answered {answer!r}, which is none of the nodes it was given"
            cause = ValueError(reason)
            raise NoAvailableNodeError(
                wish.child_id, shown_selector(wish.selector), reason
            ) from cause
        return answer

    def _least_loaded(self, eligible: list[Node], now: float) -> str:
        return min(eligible, key=lambda node: self._load(node, now)).id

    def _load(self, node: Node, now: float) -> int:
        """Its process count, what is under way to it, and what came since that count was told."""
        under_way, told = self._under_way.get(node.id, 0), self._counts.get(node.id)
        if told != node.process_count:
            self._counts[node.id] = node.process_count
            self._recent.pop(node.id, None)
            # What is under way may be counted already, before it is known to have been started.
            grown = 0 if told is None else max(node.process_count - told, 0)
            self._seen[node.id] = min(self._seen.get(node.id, 0) + grown, under_way)
        recent = [t for t in self._recent.get(node.id, ()) if now - t < PLACEMENT_MEMORY]
        self._recent[node.id] = recent
        return node.process_count + under_way - self._seen.get(node.id, 0) + len(recent)

    def _remember(self, node_id: str) -> None:
        self._turn += 1
        self._turns[node_id] = self._turn
        self._under_way[node_id] = self._under_way.get(node_id, 0) + 1


def why_not(wish: Wish, node: Node) -> str | None:
    """Why this member may not get the child now; None if it may."""
    if isinstance(wish.selector, Mapping) and wish.selector["node"] != node.id:
        return "is not the node asked for"
    if node.status != "up":
        return f"is {node.status}"
    if wish.behavior not in node.behaviors:
        return f"does not have behavior {wish.behavior!r}"
    if node.id in wish.exclude:
        return "was just tried"
    return None


def _require_behavior(wish: Wish, nodes: Sequence[Node], local: str) -> None:
    if isinstance(wish.selector, Mapping):
        wanted = [node for node in nodes if node.id == wish.selector["node"]]
        if wanted and wish.behavior not in wanted[0].behaviors:
            raise DistributedBehaviorNotFoundError(wish.behavior, wanted[0].id)
    elif not any(wish.behavior in node.behaviors for node in nodes):
        raise DistributedBehaviorNotFoundError(wish.behavior, local)


def _reasons(wish: Wish, nodes: Sequence[Node]) -> str:
    if isinstance(wish.selector, Mapping) and wish.selector["node"] not in {n.id for n in nodes}:
        return f"{wish.selector['node']} is not a member"
    found = [f"{node.id} {why_not(wish, node)}" for node in nodes]
    return "; ".join(found[:5]) if found else "there is no member"


def shown_selector(selector: Any) -> Any:
    """A selector as it can travel in an error: a bare callable by its name."""
    return (
        selector
        if isinstance(selector, str | Mapping)
        else getattr(selector, "__name__", "callable")
    )
