"""The demo's node processes: started with ``noex-node start``, ended by pid whatever happens.

A node started here ends by itself when this program is gone: it reads its standard input, a pipe
that only this program holds open.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterable
from typing import Final

READY_TIMEOUT: Final = 15.0
STOP_TIMEOUT: Final = 5.0


class NodeFailedError(Exception):
    """A node process ended, or was not ready in time."""


class NodeProcess:
    """One ``noex-node start`` process."""

    def __init__(self, node_id: str, seeds: Iterable[str]) -> None:
        self.node_id = node_id
        self.name = node_id.partition("@")[0]
        self._seeds = list(seeds)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process; `ready` waits for it."""
        seeds = [part for seed in self._seeds for part in ("--seed", seed)]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "noex.cli", "start", self.node_id, *seeds),
            *("--behaviors", "noex.cli.demo_actors", "--log-level", "warning"),
            *("--drain-timeout", "1", "--until-stdin-closes"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours; we end the nodes in order
        )

    async def ready(self) -> None:
        """Wait for the line that says it is a member. Raises `NodeFailedError`."""
        assert self._process is not None and self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), READY_TIMEOUT)
        except TimeoutError:
            raise NodeFailedError(f"{self.node_id} was not ready in {READY_TIMEOUT:g} s") from None
        if not line.startswith(b"ready "):
            assert self._process.stderr is not None
            said = (await self._process.stderr.read(4000)).decode(errors="replace").strip()
            raise NodeFailedError(f"{self.node_id} did not start: {said or 'it said nothing'}")

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power."""
        os.kill(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Have it stop in order, or kill it; returns when the process is gone."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return  # it ended meanwhile


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now."""
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            held.append(one)
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def make_nodes(count: int) -> list[NodeProcess]:
    """Nodes ``one``, ``two``, ... that have each other as seeds."""
    names = ("one", "two", "three", "four", "five")[:count]
    ids = [f"{n}@127.0.0.1:{port}" for n, port in zip(names, free_ports(count), strict=True)]
    return [NodeProcess(node_id, [other for other in ids if other != node_id]) for node_id in ids]
