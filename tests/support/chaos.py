"""A storm over a cluster of real processes, and what must be true when it is over.

The storm keeps its own books: what it asked for and what it was answered. What runs is taken from
the journal, where every child writes its starts, and from a census of the processes of each node;
what the supervisor says is compared with that last.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena import eventually, until
from cluster_actors import hold_gil

from noex import ChildSpec, DistributedSupervisor, RestartIntensity
from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.errors import CallTimeoutError
from noex.supervisor.errors import ChildNotFoundError, ChildStartError, NoAvailableNodeError
from noex.supervisor.options import Strategy
from noex.testing import ProcessCluster

DEADLINE = 20.0  # of each request
LATE = 4.0  # how much later than its deadline an answer may be seen on a busy machine
SETTLE = 40.0
OUT_AT_ONCE = 2  # nodes that are dead or stopped at the same time: the others are a quorum


@dataclass
class Fact:
    """What the storm knows of a child: `fate` is ``wanted``, ``gone`` or ``unknown``."""

    restart: str
    args: tuple[Any, ...]
    fate: str = "wanted"
    may_end: bool = False  # it was told to end in a way after which it is not started again
    closed_at: int | None = None  # length of the journal when terminate_child had returned


class Storm:
    """One run: `seed` decides what is done, the machine when exactly."""

    def __init__(self, seed: int, node: Node, cluster: ProcessCluster, journal: Path) -> None:
        self.seed = seed
        self.story: list[str] = []
        self.wrong: list[str] = []
        self.facts: dict[str, Fact] = {}
        self._chance = random.Random(seed)
        self._node = node
        self._cluster = cluster
        self._journal = journal
        self._out: set[str] = set()  # nodes that are being tortured
        self._held: set[str] = set()  # children with a request under way
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = time.monotonic()
        self._numbers = 0
        self.sup: Any = None

    # ------------------------------------------------------------------ the run

    async def start(self, children: int, strategy: Strategy) -> None:
        """The supervisor and its first children."""
        specs = [self._spec() for _ in range(children)]
        self.sup = await DistributedSupervisor.start(
            self._node,
            name="storm",
            strategy=strategy,
            node_selector="round_robin",
            children=specs,
            restart_intensity=RestartIntensity(100_000, 1.0),
        )
        for spec in specs:
            self._know(spec)

    async def blow(self, seconds: float) -> None:
        """Do harm, in random order, for this long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.wrong:
            name = self._chance.choices(list(HARM), [weight for _, weight in HARM.values()])[0]
            HARM[name][0](self)
            await asyncio.sleep(self._chance.choice([0.0, 0.01, 0.05, 0.2]))

    def _note(self, text: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:7.3f} {text}")

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.wrong.append(f"{task.get_coro()} failed: {task.exception()!r}")

    def _spec(self) -> ChildSpec:
        self._numbers += 1
        child = f"c{self._numbers}"
        restart: Any = self._chance.choice(["permanent"] * 3 + ["transient", "temporary"])
        args = (str(self._journal), child, self._numbers, ("x", None), {"n": [self._numbers]})
        return ChildSpec(child, "survivor", args=args, restart=restart, shutdown=2.0)

    def _know(self, spec: ChildSpec) -> Fact:
        fact = self.facts[spec.id] = Fact(spec.restart, tuple(spec.args[2:]))
        return fact

    # ------------------------------------------------------------------ harm to nodes

    def _victim(self) -> str | None:
        free = [node.name for node in self._cluster.nodes if node.name not in self._out]
        if len(self._out) >= OUT_AT_ONCE or not free:
            return None
        return self._chance.choice(free)

    def _torture(self, how: Callable[[str], Awaitable[None]]) -> None:
        name = self._victim()
        if name is not None:
            self._out.add(name)
            self._do(self._tortured(name, how))

    async def _tortured(self, name: str, how: Callable[[str], Awaitable[None]]) -> None:
        try:
            await how(name)
        finally:
            self._out.discard(name)

    def kill(self) -> None:
        pause = self._chance.uniform(0.0, 1.5)

        async def act(name: str) -> None:
            self._note(f"kill {name}, again after {pause:.2f}")
            self._cluster.kill(name)
            await self._cluster[name].ended()
            await asyncio.sleep(pause)
            await self._cluster.restart(name)
            self._note(f"{name} is back")

        self._torture(act)

    def replace_at_once(self) -> None:
        async def act(name: str) -> None:
            await self._cluster.prepare(name)
            self._note(f"kill {name}, again at once")
            self._cluster.kill(name)
            await self._cluster.restart(name)
            self._note(f"{name} is back")

        self._torture(act)

    def pause(self) -> None:
        seconds = self._chance.choice([0.05, 0.3, 1.0, 2.2, 2.6, 3.5, 5.0])

        async def act(name: str) -> None:
            self._note(f"stop {name} for {seconds}")
            self._cluster.pause(name)
            await asyncio.sleep(seconds)
            self._cluster.resume(name)
            self._note(f"{name} goes on")

        self._torture(act)

    def terminate_node(self) -> None:
        async def act(name: str) -> None:
            self._note(f"SIGTERM {name}")
            self._cluster[name].signal(signal.SIGTERM)
            await self._cluster[name].ended(25.0)
            self._note(f"{name} has ended")
            await self._cluster.restart(name)
            self._note(f"{name} is back")

        self._torture(act)

    # ------------------------------------------------------------------ harm to children

    def _some_child(self) -> str | None:
        free = [c for c, f in self.facts.items() if f.fate == "wanted" and c not in self._held]
        return self._chance.choice(free) if free else None

    def _tell(self, message: Any, *, ends: bool = False) -> None:
        child = self._some_child()
        if child is not None:
            self.facts[child].may_end |= ends
            self._do(self._told(child, message))

    async def _told(self, child: str, message: Any) -> None:
        info = await self.sup.get_child(child, timeout=DEADLINE)
        if info is not None and info.ref is not None:
            self._note(f"{child} on {info.node_id} is told {message}")
            info.ref.exit("kill") if message == "kill" else info.ref.cast(message)

    def crash(self) -> None:
        self._tell(self._chance.choice(["crash", "crash", "kill"]))

    def end(self) -> None:
        self._tell(("end", self._chance.choice(["normal", "shutdown"])), ends=True)

    def stall(self) -> None:
        """The loop of the supervisor's own node stands still."""
        seconds = self._chance.choice([0.3, 1.2, 2.5])
        self._note(f"the supervisor's node stalls for {seconds}")
        (hold_gil if self._chance.random() < 0.5 else time.sleep)(seconds)

    def block(self) -> None:
        kind = self._chance.choice(["block", "hold"])
        self._tell((kind, self._chance.choice([0.05, 0.5, 1.5, 3.0])))

    # ------------------------------------------------------------------ requests

    def start_child(self) -> None:
        spec = self._spec()
        fact = self._know(spec)
        fact.fate = "unknown"
        self._held.add(spec.id)
        self._do(self._asked(spec.id, "start", self.sup.start_child(spec, timeout=DEADLINE)))

    def terminate_child(self) -> None:
        self._ask("terminate", lambda child: self.sup.terminate_child(child, timeout=DEADLINE))

    def restart_child(self) -> None:
        self._ask("restart", lambda child: self.sup.restart_child(child, timeout=DEADLINE))

    def _ask(self, kind: str, request: Callable[[str], Coroutine[Any, Any, Any]]) -> None:
        child = self._some_child()
        if child is not None:
            self._held.add(child)
            self._do(self._asked(child, kind, request(child)))

    async def _asked(self, child: str, kind: str, request: Coroutine[Any, Any, Any]) -> None:
        began = time.monotonic()
        self._note(f"{kind} {child}")
        try:
            await request
        except Exception as error:
            self._refused(child, kind, error)
        else:
            self._served(child, kind)
        took = time.monotonic() - began
        if took > DEADLINE + LATE:
            self.wrong.append(f"{kind} {child} took {took:.1f} s")
        self._held.discard(child)

    def _served(self, child: str, kind: str) -> None:
        fact = self.facts[child]
        fact.fate = "gone" if kind == "terminate" else "wanted"
        if kind == "terminate":
            fact.closed_at = len(self._lines())
        self._note(f"{kind} {child} is done")

    def _refused(self, child: str, kind: str, error: Exception) -> None:
        fact = self.facts[child]
        self._note(f"{kind} {child}: {error!r} {error}")
        match error:
            case ChildNotFoundError():
                if kind == "start" or (fact.restart == "permanent"):
                    self.wrong.append(f"{kind} {child}: {error}")
                fact.fate = "gone"
            case ChildStartError(outcome="unknown") | CallTimeoutError():
                fact.fate = "unknown"
            case ChildStartError() | NoAvailableNodeError() if kind == "start":
                fact.fate = "gone"
            case ChildStartError() | NoAvailableNodeError() if kind == "restart":
                pass  # it is pending
            case _:
                self.wrong.append(f"{kind} {child}: {error!r}")

    # ------------------------------------------------------------------ the end

    async def calm(self) -> None:
        """Let everything that is under way come to its end."""
        await until(lambda: not self._tasks or self.wrong, "the storm is over", SETTLE)
        self._check()
        self._note("calm")
        await self._node.wait_for_members(len(self._cluster.nodes) + 1, SETTLE)
        await eventually(self._all_answer, bool, SETTLE)
        self._note("settled")

    async def _all_answer(self) -> bool:
        """Whether all children run, and what they were told before has reached them."""
        children = await self.sup.get_children()
        if any(info.status != "running" for info in children):
            return False
        calls = (info.ref.call("who", timeout=DEADLINE) for info in children)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return not any(isinstance(answer, BaseException) for answer in answers)

    async def judge(self) -> None:
        """All that must be true now."""
        found = await self._census()
        by_child: dict[str, list[Any]] = {}
        for child, pid, token, args, ref in found:
            by_child.setdefault(child, []).append((pid, token, args, ref))
        lines = self._lines()
        for child, fact in self.facts.items():
            self._judge(child, fact, by_child.pop(child, []))
            self._judge_lines(child, fact, lines)
        if by_child:
            self.wrong.append(f"nobody asked for {by_child}")
        await self._compare(found)
        self._check()

    def _judge(self, child: str, fact: Fact, live: list[Any]) -> None:
        must = fact.fate == "wanted" and fact.restart == "permanent"
        must |= fact.fate == "wanted" and fact.restart == "transient" and not fact.may_end
        if len(live) > 1 or (must and not live) or (fact.fate == "gone" and live):
            self.wrong.append(f"{child} {fact}: {len(live)} live: {live}")
        for _pid, token, args, _ref in live:
            if args != fact.args:
                self.wrong.append(f"{child} has {args}, not {fact.args}")
            newest = self._tokens(child)[-1:]
            if [token] != newest:
                self.wrong.append(f"{child} runs as {token}, the newest start is {newest}")

    def _judge_lines(self, child: str, fact: Fact, lines: list[dict[str, Any]]) -> None:
        tokens = self._tokens(child)
        if any(later <= earlier for earlier, later in itertools.pairwise(tokens)):
            self.wrong.append(f"{child}: tokens do not grow: {tokens}")
        wanted = json.loads(json.dumps(fact.args))
        for number, line in enumerate(lines):
            if line["child"] != child:
                continue
            if line["args"] != wanted:
                self.wrong.append(f"{child} was started with {line['args']}")
            if fact.closed_at is not None and number >= fact.closed_at and line["what"] == "start":
                self.wrong.append(f"{child} was started after terminate_child: {line}")

    async def _compare(self, found: list[Any]) -> None:
        told = {info.id: info.ref for info in await self.sup.get_children() if info.ref}
        real = {child: ref for child, _pid, _token, _args, ref in found}
        if told != real:
            both = set(told) | set(real)
            differ = {c: (told.get(c), real.get(c)) for c in both if told.get(c) != real.get(c)}
            self.wrong.append(f"the supervisor does not know what runs: {differ}")
        if not await self.sup.is_running():
            self.wrong.append("the supervisor is gone")

    async def _census(self) -> list[Any]:
        found: list[Any] = []
        for node in self._cluster.nodes:
            clerk = await self._node.spawn("census", on=node.node_id)
            found += await clerk.call("all", timeout=DEADLINE)
            await clerk.stop()
        return found

    def _tokens(self, child: str) -> list[tuple[int, int]]:
        lines = self._lines()
        return [tuple(x["token"]) for x in lines if x["child"] == child and x["what"] == "start"]

    def _lines(self) -> list[dict[str, Any]]:
        if not self._journal.exists():
            return []
        return [json.loads(line) for line in self._journal.read_text().splitlines()]

    def _check(self) -> None:
        assert not self.wrong, "\n".join([f"seed {self.seed}", *self.story, *self.wrong])


HARM: dict[str, tuple[Callable[[Storm], None], int]] = {
    "kill": (Storm.kill, 3),
    "replace_at_once": (Storm.replace_at_once, 2),
    "pause": (Storm.pause, 4),
    "terminate_node": (Storm.terminate_node, 1),
    "crash": (Storm.crash, 8),
    "end": (Storm.end, 2),
    "block": (Storm.block, 2),
    "stall": (Storm.stall, 1),
    "start_child": (Storm.start_child, 5),
    "terminate_child": (Storm.terminate_child, 4),
    "restart_child": (Storm.restart_child, 5),
}


async def storm(
    seed: int,
    folder: Path,
    *,
    nodes: int = 4,
    children: int = 40,
    seconds: float = 6.0,
    strategy: Strategy = "one_for_one",
) -> Storm:
    """Run one storm, and judge it."""
    async with Node("test@127.0.0.1:0", behaviors=BehaviorRegistry()) as node:
        workers = ProcessCluster(nodes, seeds=[node.id], behaviors=["chaos_actors"])
        async with workers:
            run = Storm(seed, node, workers, folder / f"journal-{seed}")
            await node.wait_for_members(nodes + 1)
            await run.start(children, strategy)
            try:
                await run.blow(seconds)
                await run.calm()
                await run.judge()
            except BaseException:
                print("\n".join(run.story))
                raise
            await run.sup.stop("shutdown", timeout=DEADLINE)
            assert await run._census() == []
    return run
