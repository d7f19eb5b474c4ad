"""The demo's other programs: nodes started with ``noex-node start``, and the single process.

Each is ended by pid whatever happens, and ends by itself when this program is gone: it reads its
standard input, a pipe that only this program holds open.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, Final

from noex.cli import demo_single
from noex.cli.security import environment_without_keys
from noex.transport.ports import choose_ports

START_TIMEOUT: Final = 60.0  # four Pythons start at once, perhaps on a busy machine
STOP_TIMEOUT: Final = 5.0
BEHAVIORS: Final = "noex.cli.demo_actors"
SINGLE: Final = "noex.cli.demo_single"
SAID: Final = 4096  # characters of its last words that are kept


class ProgramFailedError(Exception):
    """A program that the demo needs ended, or was not ready in time."""


class Program:
    """A Python program of ours in a process of its own."""

    def __init__(self, title: str, *arguments: str) -> None:
        self.title = title
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._said = ""

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self.process.pid

    async def start(self) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment_without_keys(),  # all of it is on loopback, and this program has none
            start_new_session=True,  # Ctrl-C is ours; we end the others in order
        )
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Keep its last words. Unread, they would hold it up some day."""
        assert self.process.stderr is not None
        while piece := await self.process.stderr.read(SAID):
            self._said = (self._said + piece.decode(errors="replace"))[-SAID:]

    async def failure(self, what: str) -> ProgramFailedError:
        """It ended: `what` that means, and its last words."""
        if self._listening is not None:
            await asyncio.wait({self._listening}, timeout=1.0)
        said = self._said.strip() or "it said nothing"
        return ProgramFailedError(f"{self.title} {what}: {said}")

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power."""
        self._signal(signal.SIGKILL)

    async def end(self, number: int = signal.SIGTERM) -> None:
        """Have it stop in order, or kill it; returns when the process is gone."""
        if self._process is None:
            return
        self._signal(number)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        if self._listening is not None:
            self._listening.cancel()

    def _signal(self, number: int) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        try:
            # Not send_signal: on 3.11 that may reap the process before asyncio does.
            os.kill(self._process.pid, number)
        except ProcessLookupError:
            return  # it ended meanwhile


class NodeProgram(Program):
    """One ``noex-node start`` process."""

    def __init__(self, node_id: str, seeds: Iterable[str]) -> None:
        options = [part for seed in seeds for part in ("--seed", seed)]
        options += ["--behaviors", BEHAVIORS, "--log-level", "warning", "--log-text"]
        options += ["--join-timeout", f"{START_TIMEOUT:g}", "--drain-timeout", "1"]
        super().__init__(node_id, "noex.cli", "start", node_id, "--until-stdin-closes", *options)
        self.node_id = node_id

    async def ready(self) -> None:
        """Wait for the line that says it is a member. Raises `ProgramFailedError`."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), START_TIMEOUT)
        except TimeoutError:
            raise await self.failure(f"was not ready in {START_TIMEOUT:g} s") from None
        if not line.startswith(b"ready "):
            raise await self.failure("did not start")


class SingleProgram(Program):
    """The same work in one process, to compare with."""

    def __init__(self) -> None:
        super().__init__("the single process", SINGLE)
        self._reading: asyncio.Task[bytes] | None = None

    async def give(self, text: str, size: int, least: int) -> None:
        """Have it work on `text`, cut as the cluster's."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        self._reading = asyncio.create_task(stdout.read())
        data = text.encode()
        stdin.write(demo_single.header(data, size, least) + data)
        try:
            await stdin.drain()
        except ConnectionError:
            return  # it ended; `result` says why

    async def result(self) -> dict[str, Any]:
        """What it has counted. Raises `ProgramFailedError`."""
        assert self._reading is not None
        printed = await self._reading
        if await self.process.wait() != 0:
            raise await self.failure(f"ended with status {self.process.returncode}")
        result: dict[str, Any] = json.loads(printed)
        return result


def make_nodes(names: Iterable[str]) -> list[NodeProgram]:
    """Nodes of these names that have each other as seeds."""
    names = list(names)
    ids = [f"{n}@127.0.0.1:{port}" for n, port in zip(names, choose_ports(len(names)), strict=True)]
    return [NodeProgram(node_id, [other for other in ids if other != node_id]) for node_id in ids]
