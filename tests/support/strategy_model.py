"""A second, slow statement of the restart rules, to compare the strategy machine with.

It is written the other way round: no events, no phases; each operation is carried out to its end
by plain loops, as if every process started and stopped at once. It knows nothing of the machine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class ModelChild:
    name: str
    restart: str
    significant: bool = False
    alive: bool = False
    ran: bool = False
    ignored: bool = False
    held: bool = False
    node: str = ""
    count: int = 0


class GaveUp(Exception):
    """The intensity was exceeded."""


class Ended(Exception):
    """A significant child has ended."""


@dataclass
class Model:
    """One supervisor. `story` is the order of starts and stops, `end` why it ended."""

    strategy: str
    most: int
    within: float
    auto: str
    counts: str
    now: float
    plans: dict[str, deque[str]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    home: str = "home"
    children: list[ModelChild] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    story: list[tuple[str, str]] = field(default_factory=list)
    end: str | None = None
    total: int = 0
    failovers: int = 0

    # Single processes.

    def attempt(self, child: ModelChild, lost: bool = False) -> str:
        self.story.append(("start", child.name))
        plan = self.plans.get(child.name)
        outcome = plan.popleft() if plan else "ok"
        child.ignored = outcome == "ignore"
        if outcome == "ok":
            child.alive, child.held = True, False
            child.node = self.nodes.get(child.name, self.home)
            if child.ran:
                child.count += 1
                self.total += 1
            self.failovers += lost
            child.ran = True
        if child.ignored and child.restart == "temporary":
            self.children.remove(child)
        return outcome

    def halt(self, child: ModelChild) -> None:
        if child.alive:
            self.story.append(("stop", child.name))
            child.alive = False

    def count(self) -> None:
        recent = [time for time in self.times if time >= self.now - self.within]
        if len(recent) >= self.most:
            raise GaveUp
        self.times.append(self.now)

    def find(self, name: str) -> ModelChild | None:
        return next((child for child in self.children if child.name == name), None)

    # Operations. Each returns what its caller hears: "ok", an error's name, or "".

    def begin(self, children: list[ModelChild]) -> None:
        for child in children:
            self.children.append(child)
            if self.attempt(child) == "init":
                self.close("start failed")
                return

    def crash(self, name: str, orderly: bool) -> None:
        child = self.find(name)
        assert child is not None
        child.alive = False
        try:
            if child.restart == "permanent" or (child.restart == "transient" and not orderly):
                self.count()
                self.bring_back([child], set())
            else:
                self.children.remove(child)
                self.significance(child)
        except GaveUp:
            self.close("max_restarts_exceeded")
        except Ended:
            self.close("shutdown")

    def lose(self, node: str) -> None:
        hit = [child for child in self.children if child.alive and child.node == node]
        for child in hit:
            child.alive = False
        try:
            for child in hit:
                if child.restart == "temporary":
                    self.children.remove(child)
                    self.significance(child)
            back = [child for child in hit if child.restart != "temporary"]
            if back:
                for _ in range({"once": 1, "none": 0, "each": len(back)}[self.counts]):
                    self.count()
                self.bring_back(back, {child.name for child in back})
        except GaveUp:
            self.close("max_restarts_exceeded")
        except Ended:
            self.close("shutdown")

    def add(self, child: ModelChild) -> str:
        if self.find(child.name):
            return "duplicate"
        self.children.append(child)
        if self.attempt(child) == "init":
            self.children.remove(child)
            return "start"
        return "ok"

    def drop(self, name: str) -> str:
        child = self.find(name)
        if child is None:
            return "not found"
        self.halt(child)
        self.children.remove(child)
        return "ok"

    def again(self, name: str) -> str:
        child = self.find(name)
        if child is None:
            return "not found"
        self.halt(child)
        if self.attempt(child) == "init":
            child.held = True
            return "start"
        return "ok"

    def close(self, why: str) -> None:
        for child in reversed(self.children):
            self.halt(child)
        self.children.clear()
        self.end = why

    # Rules.

    def significance(self, child: ModelChild) -> None:
        if not child.significant or self.auto == "never":
            return
        left = [other for other in self.children if other.significant and not other.ignored]
        if self.auto == "any_significant" or not left:
            raise Ended

    def bring_back(self, failed: list[ModelChild], lost: set[str]) -> None:
        if self.strategy == "one_for_one":
            self.one_by_one(failed, lost)
        elif self.strategy == "one_for_all":
            self.all_together(0, lost)
        else:
            self.all_together(min(self.children.index(child) for child in failed), lost)

    def one_by_one(self, failed: list[ModelChild], lost: set[str]) -> None:
        waiting = failed
        while waiting:  # all of them at the same time, then those that failed
            outcomes = [self.attempt(child, child.name in lost) for child in waiting]
            waiting = [c for c, out in zip(waiting, outcomes, strict=True) if out == "init"]
            for _ in waiting:
                self.count()

    def all_together(self, first: int, lost: set[str]) -> None:
        group = self.children[first:]
        for child in reversed(group):
            if child.restart == "temporary" and child.alive:
                self.children.remove(child)
            self.halt(child)
        for child in group:
            if child not in self.children or child.alive:
                continue
            if self.attempt(child, child.name in lost) == "init":
                self.count()
                again = 0 if self.strategy == "one_for_all" else self.children.index(child)
                done = {other.name for other in self.children if other.alive}
                self.all_together(again, lost - done)
                return
