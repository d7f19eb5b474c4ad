"""Links, monitors and exit signals against a simple model (cases 157, 158, 161, 164).

The model knows who is alive, who is linked with whom and who watches whom; a death spreads through
it by its reason. After each step the runtime must agree: the same processes alive, the same tables,
and in every mailbox exactly the messages that the model delivered.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any

from actors import Actor, AsyncActor, TidyActor, TidyAsyncActor, started, turns
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from noex.runtime.kernel import Kernel
from noex.runtime.messages import Down, Exit

CLASSES = [Actor, AsyncActor, TidyActor, TidyAsyncActor]
REASONS = st.sampled_from(["normal", "shutdown", "killed", "kill", "odd", None])
PICK = st.integers(0, 1000)


class Model:
    """The table, in as few lines as it takes."""

    def __init__(self) -> None:
        self.traps: dict[int, bool] = {}
        self.alive: set[int] = set()
        self.links: set[frozenset[int]] = set()
        self.monitors: dict[int, tuple[int, int]] = {}  # id -> (watcher, target)
        self.messages: dict[int, Counter[Any]] = {}

    def start(self, name: int, traps: bool) -> None:
        self.traps[name] = traps
        self.alive.add(name)
        self.messages[name] = Counter()

    def link(self, a: int, b: int) -> None:
        if a == b:
            return
        if b in self.alive:
            self.links.add(frozenset((a, b)))
        else:
            self.signal(a, b, "noproc")

    def unlink(self, a: int, b: int) -> None:
        self.links.discard(frozenset((a, b)))

    def monitor(self, number: int, watcher: int, target: int) -> None:
        if target in self.alive:
            self.monitors[number] = (watcher, target)
        else:
            self.messages[watcher][("down", number, target, "noproc")] += 1

    def exit(self, target: int, reason: Any) -> None:
        if target not in self.alive:
            return
        if reason == "kill":
            self.die(target, "killed")
        else:
            self.signal(target, None, reason)

    def signal(self, target: int, sender: int | None, reason: Any) -> None:
        if self.traps[target]:
            self.messages[target][("exit", sender, reason)] += 1
        elif reason != "normal":
            self.die(target, reason)

    def die(self, first: int, reason: Any) -> None:
        wave = deque([first])
        while wave:
            dead = wave.popleft()
            if dead not in self.alive:
                continue
            self.alive.discard(dead)
            for number, (watcher, target) in list(self.monitors.items()):
                if target == dead:
                    self.messages[watcher][("down", number, dead, reason)] += 1
                if dead in (watcher, target):
                    del self.monitors[number]
            for pair in [pair for pair in self.links if dead in pair]:
                self.links.discard(pair)
                (other,) = pair - {dead}
                if self.traps[other]:
                    self.messages[other][("exit", dead, reason)] += 1
                elif reason != "normal":
                    wave.append(other)


class SignalsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.complaints: list[Any] = []
        self.loop.set_exception_handler(lambda _loop, context: self.complaints.append(context))
        self.kernel = Kernel(loop=self.loop, kill_grace=0.2)
        self.model = Model()
        self.refs: list[Any] = []
        self.seen: list[list[Any]] = []
        self.handles: dict[int, Any] = {}

    def run(self, work: Any = None) -> Any:
        async def both() -> Any:
            result = await work if work is not None else None
            await turns(30)
            return result

        return self.loop.run_until_complete(both())

    def living(self, pick: int) -> int:
        return sorted(self.model.alive)[pick % len(self.model.alive)]

    def anyone(self, pick: int) -> int:
        return pick % len(self.refs)

    @rule(cls=st.sampled_from(CLASSES), traps=st.booleans())
    def start(self, cls: type[Any], traps: bool) -> None:
        seen: list[Any] = []
        self.refs.append(self.run(started(self.kernel, cls, seen=seen, trap=traps)))
        self.seen.append(seen)
        self.model.start(len(self.refs) - 1, traps)

    @precondition(lambda self: self.model.alive)
    @rule(a=PICK, b=PICK)
    def link(self, a: int, b: int) -> None:
        one, other = self.living(a), self.anyone(b)
        self.kernel.link(self.refs[one].process, self.refs[other])
        self.model.link(one, other)
        self.run()

    @precondition(lambda self: self.model.alive)
    @rule(a=PICK, b=PICK, order=st.permutations("luLU"))
    def link_and_unlink_from_both_sides(self, a: int, b: int, order: list[str]) -> None:
        one, other = self.living(a), self.living(b)
        for step in order:
            x, y = (one, other) if step.islower() else (other, one)
            linking = step in "lL"
            operation = self.kernel.link if linking else self.kernel.unlink
            operation(self.refs[x].process, self.refs[y])
            (self.model.link if linking else self.model.unlink)(x, y)

    @precondition(lambda self: self.model.alive)
    @rule(a=PICK, b=PICK)
    def monitor(self, a: int, b: int) -> None:
        watcher, target = self.living(a), self.anyone(b)
        handle = self.kernel.monitor(self.refs[target], self.refs[watcher].process)
        self.handles[handle.id] = handle
        self.model.monitor(handle.id, watcher, target)
        self.run()

    @precondition(lambda self: self.handles)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        number = sorted(self.handles)[pick % len(self.handles)]
        self.handles[number].cancel()
        self.model.monitors.pop(number, None)

    @precondition(lambda self: self.refs)
    @rule(pick=PICK, reason=REASONS)
    def exit(self, pick: int, reason: Any) -> None:
        target = self.anyone(pick)
        self.refs[target].exit(reason)
        self.model.exit(target, reason)
        self.run()

    @precondition(lambda self: self.model.alive)
    @rule(pick=PICK, reason=st.sampled_from(["normal", "shutdown", "odd"]))
    def stop(self, pick: int, reason: str) -> None:
        target = self.living(pick)
        self.run(self.refs[target].stop(reason))
        self.model.die(target, reason)

    @invariant()
    def the_same_are_alive(self) -> None:
        alive = {n for n, ref in enumerate(self.refs) if ref.process is not None}
        assert alive == self.model.alive
        assert self.kernel.process_count == len(alive)

    @invariant()
    def links_are_whole(self) -> None:
        halves = {
            (n, self.refs.index(other))
            for n in self.model.alive
            for other in self.refs[n].process.links or ()
        }
        assert halves == {(a, b) for pair in self.model.links for a in pair for b in pair - {a}}

    @invariant()
    def monitors_are_watched_for(self) -> None:
        watchers = {
            number for n in self.model.alive for number in (self.refs[n].process.watchers or ())
        }
        watching = {
            monitor.id
            for n in self.model.alive
            for monitor in self.refs[n].process.monitoring or ()
        }
        assert watchers == watching == set(self.model.monitors)

    @invariant()
    def the_living_have_the_model_s_messages(self) -> None:
        for n in self.model.alive:
            assert Counter(map(self.in_words, self.seen[n])) == self.model.messages[n]

    def in_words(self, message: Any) -> Any:
        match message:
            case Exit(ref, reason):
                return ("exit", None if ref is None else self.refs.index(ref), reason)
            case Down(monitor, ref, reason):
                return ("down", monitor.id, self.refs.index(ref), reason)
        return message

    def teardown(self) -> None:
        self.loop.run_until_complete(self.kernel.shutdown())
        left = asyncio.all_tasks(self.loop)
        self.loop.close()
        assert left == set() and self.complaints == []


TestSignals = SignalsMachine.TestCase
TestSignals.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
