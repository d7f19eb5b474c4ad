"""The second OS process: serves until its parent is gone, and lets itself be profiled.

It prints its address as one line of JSON. Then it obeys its standard input: ``profile`` and
``traced`` begin a profile, ``report`` ends it and prints the costs; at the end of it, it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distant import load
from distant.costs import Costs
from distant.peer import Distant

SCRIPT = Path(__file__).parents[1] / "remote.py"
SIGN = "@@"  # before each line that is for us: libraries print as well
START_LIMIT = 60.0
LINE_LIMIT = 1 << 22


def say(value: Any) -> None:
    """One line to the parent."""
    print(f"{SIGN}{json.dumps(value)}", flush=True)


def serve(name: str) -> None:
    """Be the server of that peer."""
    peer = load(name)
    if peer.blocks:
        say(asyncio.run(peer.serve()))
        threading.Thread(target=_obey, args=(lambda _: None,), daemon=True).start()
        peer.run()
    asyncio.run(_serve(peer))


async def _serve(peer: Distant) -> None:
    address = await peer.serve()
    loop, costs = asyncio.get_running_loop(), Costs()

    def order(line: str) -> None:
        loop.call_soon_threadsafe(_carry_out, costs, line)

    threading.Thread(target=_obey, args=(order,), daemon=True).start()
    say(address)
    await asyncio.Event().wait()


def _obey(order: Callable[[str], object]) -> None:
    """The parent's orders, and its end."""
    for line in sys.stdin:
        order(line.strip())
    os._exit(0)


def _carry_out(costs: Costs, line: str) -> None:
    if line == "report":
        say(costs.end())
    else:
        costs.begin(traced=line == "traced")


class Server:
    """The client's handle on it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid = process.pid
        self.address = ""

    @classmethod
    async def start(cls, name: str) -> Server:
        """Start it, and wait until it says where it is."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), "--serve", name, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT
        )
        server = cls(process)
        server.address = await server.read(START_LIMIT)
        return server

    def order(self, line: str) -> None:
        """Say something to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def read(self, limit: float) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        return await read_line(self._process.stdout, limit)

    async def stop(self) -> None:
        """End it."""
        self._process.kill()
        await self._process.wait()


async def read_line(stream: asyncio.StreamReader, limit: float) -> Any:
    """The next line that is meant for us."""
    async with asyncio.timeout(limit):
        while line := (await stream.readline()).decode(errors="replace"):
            if line.startswith(SIGN):
                return json.loads(line.removeprefix(SIGN))
    raise EOFError("it has ended")
