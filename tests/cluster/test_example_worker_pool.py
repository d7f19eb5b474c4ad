"""The reference's complete example runs as it stands, in three real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from noex.transport.ports import choose_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "worker_pool.py"
DEADLINE = 30.0


class Program:
    """One running copy of the example, ended by pid in all cases."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.lines = []

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLE),
            *self.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def until(self, text, times=1):
        async with asyncio.timeout(DEADLINE):
            while sum(text in line for line in self.lines) < times:
                line = await self.process.stdout.readline()
                assert line, f"it ended without saying {text!r}: {self.lines}"
                self.lines.append(line.decode())

    async def ends(self):
        async with asyncio.timeout(DEADLINE):
            rest, _ = await self.process.communicate()
        self.lines += rest.decode().splitlines()
        return self.process.returncode


def test_the_worker_pool_example_survives_the_kill_of_a_worker_node():
    async def main():
        one, two, three = choose_ports(3)
        first, second = f"worker1@127.0.0.1:{one}", f"worker2@127.0.0.1:{two}"
        seeds = ["--seed", first, "--seed", second]
        async with Program(first) as worker1, Program(second, "--seed", first) as worker2:
            await worker1.until("is up")
            await worker2.until("is up")
            boss = Program(f"supervisor-node@127.0.0.1:{three}", *seeds, "--supervise")
            async with boss:
                await boss.until("Waiting for node events")
                shown = "".join(boss.lines)
                for node_id in (first, second):
                    assert f"{node_id}: 1 children" in shown
                assert "did 1 task" in shown
                os.kill(worker1.process.pid, signal.SIGKILL)
                await boss.until("[Event] node_failure_detected")
                lost = boss.lines[-1].count("'worker-")
                assert lost in (1, 2)  # one by turn, and perhaps the one added
                await boss.until("[Event] child_migrated", times=lost)
                os.kill(boss.process.pid, signal.SIGINT)
                assert await boss.ends() == 0
                assert f"Total restarts: {lost}" in "".join(boss.lines)
                assert f"Node failure restarts: {lost}" in "".join(boss.lines)
                assert any("Worker terminated after" in line for line in boss.lines)

    asyncio.run(main())


def test_the_example_goes_through_all_steps_at_once():
    async def main():
        (port,) = choose_ports(1)
        program = Program(f"solo@127.0.0.1:{port}", "--supervise", "--once")
        async with program:
            assert await program.ends() == 0
            text = "".join(program.lines)
            assert f"solo@127.0.0.1:{port}: 3 children" in text
            assert "Node failure restarts: 0" in text

    asyncio.run(main())
