"""One run of the demo: the programs that take part, in the order in which things happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import click

from noex.cli.demo_actors import CHIEF, SUPERVISOR
from noex.cli.demo_nodes import (
    START_TIMEOUT,
    NodeProgram,
    Program,
    ProgramFailedError,
    SingleProgram,
    make_nodes,
)
from noex.cli.demo_report import Outcome
from noex.cli.demo_run import Coordinator, Figures, MoveFailedError
from noex.cli.demo_text import chunk_size, cut
from noex.cli.signals import leave, on_stop_signals
from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.errors import NoexError
from noex.supervisor.distributed import DistributedSupervisor

NAMES: Final = ("one", "two", "three")
KILL_AFTER: Final = 0.25  # of the chunks
CHUNKS_EACH: Final = 8  # at least, per worker
TIME_LIMIT: Final = 120.0  # seconds without the work itself
WORK_LIMIT: Final = 0.0005  # seconds per character: some forty times what it takes

Say = Callable[[str], None]
FAILURES: Final = (ProgramFailedError, MoveFailedError, NoexError, TimeoutError, OSError)


def run(text: str, workers: int, say: Say) -> Outcome:
    """The outcome; without one, the reason is said, and the program ends."""
    demo = Demo(text, workers, say)
    outcome, reason = None, ""
    try:
        outcome = asyncio.run(demo.run())
    except (Exception, BaseExceptionGroup, asyncio.CancelledError) as error:
        first = _first(error)
        if not demo.interrupted_by and not isinstance(first, FAILURES):
            raise  # a fault of ours, with its traceback
        reason = str(first) or type(first).__name__
    if demo.interrupted_by:
        click.echo("noex-node: interrupted; nothing is left running", err=True)
        leave(128 + demo.interrupted_by)
    if outcome is None:
        click.echo(f"noex-node: the demo failed: {reason}", err=True)
        leave(1)
    return outcome


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Demo:
    """One run."""

    def __init__(self, text: str, workers: int, say: Say) -> None:
        least = CHUNKS_EACH * workers
        self.size, self.least = chunk_size(len(text), least), least
        self.text = text
        self.chunks = cut(text, self.size, least)
        self.workers = workers
        self.say = say
        self.interrupted_by = 0
        self._is_ending = False
        self._nodes = make_nodes(NAMES)
        self._single = SingleProgram()
        self._placement: dict[str, list[str]] = {}
        self._victim = ""
        self._work_began = 0.0

    @property
    def programs(self) -> list[Program]:
        """All processes that it starts."""
        return [*self._nodes, self._single]

    async def run(self) -> Outcome:
        """From nothing to nothing: whatever happens, no process is left."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        on_stop_signals(loop, lambda number: self._interrupted(number, task))
        began = time.monotonic()
        try:
            figures, expected = await self._limited()
            work_ended = time.monotonic()
        finally:
            self._is_ending = True
            await self._end()
        return Outcome(
            figures=figures,
            expected=expected,
            chunks=len(self.chunks),
            placement=self._placement,
            victim=self._victim,
            seconds=time.monotonic() - began,
            work_seconds=work_ended - self._work_began,
        )

    def _interrupted(self, number: int, task: asyncio.Task[Any]) -> None:
        """The first signal ends everything in order, each later one kills what is left."""
        if not self.interrupted_by and not self._is_ending:
            task.cancel()
        else:
            for program in self.programs:
                program.kill()
        self.interrupted_by = self.interrupted_by or number

    async def _limited(self) -> tuple[Figures, dict[str, Any]]:
        limit = TIME_LIMIT + WORK_LIMIT * len(self.text)
        try:
            async with asyncio.timeout(limit):
                await self._start()
                figures = await self._with_cluster()
                self.say("\nAll done; now the same from one process alone, which takes longer.")
                return figures, await self._single.result()
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"not finished after {limit:.0f} s") from error

    async def _end(self) -> None:
        """The youngest first. No child needs to move any more: the single process is killed."""
        self._single.kill()
        await asyncio.gather(*(program.end() for program in self.programs))

    async def _start(self) -> None:
        self.say(f"Starting {len(NAMES)} nodes, which look for each other:")
        for node in self._nodes:
            await node.start()
        await asyncio.gather(*(node.ready() for node in self._nodes))
        for node in self._nodes:
            self.say(f"  {node.node_id:24} pid {node.pid}")
        await self._single.start()
        await self._single.give(self.text, self.size, self.least)

    async def _with_cluster(self) -> Figures:
        """Join the three nodes, have the workers started, and run all chunks."""
        seeds = [node.node_id for node in self._nodes]
        own = Node("demo@127.0.0.1:0", seeds=seeds, behaviors=BehaviorRegistry(), join_timeout=30.0)
        async with own:
            await own.wait_for_members(len(NAMES) + 1, timeout=START_TIMEOUT)
            starting = own.options(timeout=START_TIMEOUT)
            await starting.spawn(CHIEF, self.workers, len(NAMES), on=seeds[0])
            supervisor = await DistributedSupervisor.find(own, SUPERVISOR)
            refs = {child.id: child.ref for child in await supervisor.get_children()}
            victim = self._show_placement(refs)
            coordinator = Coordinator(
                supervisor,
                self.chunks,
                refs=refs,
                victim=victim.node_id,
                kill_after=max(1, int(KILL_AFTER * len(self.chunks))),
                kill=lambda: self._kill(victim, coordinator),
                say=self.say,
            )
            self._work_began = time.monotonic()
            await coordinator.run()
            return coordinator.figures

    def _show_placement(self, refs: dict[str, Any]) -> NodeProgram:
        """Say which child runs where; returns the node to kill: the last one that has some."""
        self.say(f"\nA distributed supervisor on {NAMES[0]} has spread {len(refs)} workers:")
        for node in self._nodes:
            children = [child for child, ref in refs.items() if ref.node_id == node.node_id]
            self._placement[node.node_id] = children
            self.say(f"  {_name(node.node_id):6} {', '.join(children) or 'none'}")
        victims = [node for node in self._nodes[1:] if self._placement[node.node_id]]
        if not victims:
            raise ProgramFailedError("all workers are on one node; the others were too busy")
        self._victim = victims[-1].node_id
        self.say(f"\n{len(self.chunks)} chunks of text; a worker gets one at a time.")
        return victims[-1]

    def _kill(self, victim: NodeProgram, coordinator: Coordinator) -> None:
        victim.kill()
        done = len(coordinator.figures.acknowledged)
        self.say(f"After {done} of them, SIGKILL to {_name(victim.node_id)} (pid {victim.pid}).")
        held = coordinator.figures.held_at_kill.items()
        chunks = ", ".join(f"{child} had chunk {number}" for child, number in held)
        self.say(f"Lost with it: {', '.join(self._placement[victim.node_id])} ({chunks}).")
        self.say("Since the kill:")


def _name(node_id: str) -> str:
    return node_id.partition("@")[0]
