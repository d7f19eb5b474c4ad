"""Erlang's own distribution: two virtual machines, driven from here. The loads are in distant.erl.

`erl` and `erlc` have to be on PATH. A daemon of Erlang's, epmd, is ended with the rest if it was
not there before.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

from distant.peer import SPAWNERS, Distant
from distant.serving import START_LIMIT, read_line

SOURCE = Path(__file__).with_name("distant.erl")
LIMIT = 120.0
LOOPBACK = ("-kernel", "inet_dist_use_interface", "{127,0,0,1}")


class Erlang(Distant):
    """Not one of ours serves: both ends are Erlang's."""

    has_server = False

    async def connect(self, address: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        await self._compile()
        self.cookie = uuid.uuid4().hex
        self.server = await self._start("server", "serve")
        self.server_pid = self.server.pid
        name = await _hear(self.server, START_LIMIT)
        self.client = await self._start("client", "client", f"'{name}'")
        self.release = await _hear(self.client, START_LIMIT)

    def version(self) -> str:
        return f"OTP {self.release}"

    async def _compile(self) -> None:
        compiler = await asyncio.create_subprocess_exec("erlc", "-o", self.folder.name, str(SOURCE))
        async with asyncio.timeout(START_LIMIT):
            if await compiler.wait():
                raise RuntimeError("erlc refuses distant.erl")

    async def _start(self, name: str, function: str, *arguments: str) -> Process:
        long_name = f"{name}{uuid.uuid4().hex[:8]}@127.0.0.1"
        return await asyncio.create_subprocess_exec(
            *("erl", "-noshell", "-name", long_name, "-setcookie", self.cookie, *LOOPBACK),
            *("-pa", self.folder.name, "-eval", f"distant:{function}({_list(arguments)})."),
            stdin=PIPE,
            stdout=PIPE,
            limit=1 << 26,
            env={**os.environ, "ERL_EPMD_ADDRESS": "127.0.0.1"},
        )

    async def close(self) -> None:
        for process in (self.client, self.server):
            process.kill()
            await process.wait()
        self.folder.cleanup()

    async def _ask(self, *words: object) -> Any:
        assert self.client.stdin is not None
        self.client.stdin.write(f"{' '.join(map(str, words))}\n".encode())
        return await _hear(self.client, LIMIT)

    async def latencies(self, seconds: float) -> list[float]:
        return [each / 1e9 for each in await self._ask("latencies", _ms(seconds))]

    async def calls(self, callers: int, seconds: float) -> int:
        return int(await self._ask("calls", callers, _ms(seconds)))

    async def casts(self, seconds: float) -> int:
        return int(await self._ask("casts", _ms(seconds)))

    async def received(self) -> int:
        return int(await self._ask("received"))

    async def payloads(self, callers: int, size: int, seconds: float) -> int:
        return int(await self._ask("payloads", callers, size, _ms(seconds)))

    async def spawns(self, seconds: float) -> int:
        return int(await self._ask("spawns", SPAWNERS, _ms(seconds)))

    async def beside(self, size: int, seconds: float) -> tuple[list[float], int]:
        done, *times = await self._ask("beside", size, _ms(seconds))
        return [each / 1e9 for each in times], done


def _list(arguments: tuple[str, ...]) -> str:
    return f"[{','.join(arguments)}]" if arguments else ""


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


async def _hear(process: Process, limit: float) -> Any:
    assert process.stdout is not None
    return await read_line(process.stdout, limit)
