"""Pairs of OS processes as the benchmark sees them: started, told what to measure, ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import asdict
from typing import Any

from distant.processes import MARK, end_marked
from distant.rows import Row, Size
from distant.serving import LINE_LIMIT, SCRIPT, read_line

START_LIMIT = 90.0
END_LIMIT = 15.0


class NotMeasured(Exception):
    """What a peer has said instead of a figure, or that it has said nothing in time."""


class Pair:
    """One client with its server."""

    def __init__(self, name: str, process: Process, mark: str) -> None:
        self.name = name
        self.about: dict[str, str] = {}  # its version, and that of its Python
        self._process = process
        self._mark = mark

    @classmethod
    async def start(cls, name: str, python: str, *, loud: bool = False) -> Pair:
        """Start both processes, and wait until they are connected. Raises `NotMeasured`."""
        mark = uuid.uuid4().hex
        process = await asyncio.create_subprocess_exec(
            *(python, str(SCRIPT), "--client", name),
            stdin=PIPE,
            stdout=PIPE,
            stderr=None if loud else DEVNULL,
            env={**os.environ, MARK: mark},
            start_new_session=True,  # a Ctrl-C is for us, and we end them
            limit=LINE_LIMIT,
        )
        pair = cls(name, process, mark)
        try:
            pair.about = await pair._hear(START_LIMIT)
        except BaseException:
            await pair.end()
            raise
        return pair

    async def measure(self, row: Row, size: Size, profile: str | None = None) -> dict[str, Any]:
        """One row's figures, and with `profile` a report. Raises `NotMeasured`."""
        order: dict[str, Any] = {"row": row.key, "size": asdict(size)}
        if profile is not None:
            order["profile"] = profile
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(order)}\n".encode())
        return await self._hear(90.0 + 5 * size.seconds)

    async def _hear(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            answer: dict[str, Any] = await read_line(self._process.stdout, limit)
        except TimeoutError:
            raise NotMeasured(f"nothing for {limit:.0f} s") from None
        except (OSError, EOFError, ValueError) as error:
            raise NotMeasured(str(error) or type(error).__name__) from None
        if "error" in answer:
            raise NotMeasured(answer["error"])
        return answer

    async def end(self) -> None:
        """Let it leave, and then end whatever is left of it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_LIMIT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        finally:
            if sys.platform.startswith("linux"):
                await asyncio.to_thread(end_marked, self._mark)
