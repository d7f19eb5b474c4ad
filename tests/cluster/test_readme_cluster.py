"""The cluster of the README runs as it stands there: two nodes and a program, one node killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from noex.transport.ports import choose_ports

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
DEADLINE = 30.0


class Program:
    """One of the three terminals; ended by pid in all cases."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder, self.words, self.lines = folder, command.split(), list[str]()

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self.words,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
        await self.process.communicate()

    async def until(self, text: str, times: int = 1) -> None:
        """Read on until `text` has been said in so many lines."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while sum(text in line for line in self.lines) < times:
                line = await self.process.stdout.readline()
                assert line, f"it ended without saying {text!r}: {self.lines}"
                self.lines.append(line.decode())


def blocks(language: str, having: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S
    )
    return [block for block in found if having in block]


def on_free_ports(text: str, ports: dict[str, int]) -> str:
    for written, port in ports.items():
        text = text.replace(f":{written}", f":{port}")
    return text


def test_the_cluster_of_the_readme_survives_a_kill(tmp_path: Path) -> None:
    async def main() -> None:
        ports = dict(zip(("4369", "4371", "4372"), choose_ports(3), strict=True))
        (program,) = blocks("python", "DistributedSupervisor")
        (terminals,) = blocks("sh", "python workers.py")
        (tmp_path / "workers.py").write_text(on_free_ports(program, ports), encoding="utf-8")
        one, two, three = on_free_ports(terminals, ports).splitlines()
        commands = [
            line.replace("noex-node", "-m noex.cli").replace("python ", "", 1)
            for line in (one, two, three)
        ]
        first, second, third = (Program(tmp_path, command) for command in commands)
        async with first, second, third:
            await first.until("ready one@")
            await second.until("ready two@")
            await third.until("on two@", times=2)
            await third.until("worker 5 on ")
            os.kill(second.process.pid, signal.SIGKILL)
            await third.until("NodeFailureDetected(")
            await third.until("ChildMigrated(", times=2)
            assert third.process.returncode is None

    asyncio.run(main())
