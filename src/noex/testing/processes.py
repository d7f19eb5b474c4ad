"""ProcessCluster: real nodes in operating system processes of their own, for tests.

::

    async with ProcessCluster(3, behaviors=["my_project.actors"]) as cluster:
        async with Node("test@127.0.0.1:0", seeds=cluster.ids) as node:
            await node.wait_for_members(4)
            cluster.kill("n2")  # SIGKILL
            ...

Each node is a ``noex-node start``, with default settings, and can import whatever the test can
(`sys.path` is handed on). Order of events:

1. The first node founds the cluster, or all join `seeds`; the others start together.
2. Entering the block returns when every node has said that it is a member.
3. Leaving it kills every process by its pid, stopped ones too, and waits for its end. After an
   exception it first prints what the nodes logged, to standard error.
4. A test that dies itself leaves nothing behind: each node stops when its standard input closes.
   A node that is stopped (SIGSTOP) then gets SIGHUP and SIGCONT from the system, because its
   process group, one of its own in the session of the test, is orphaned.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from noex.runtime.node_id import parse_node_id
from noex.transport.ports import choose_ports

END_TIMEOUT: Final = 10.0
LOG_TAIL: Final = 4000  # characters of a log that an error shows
_AT_ONCE: Final = ("-m", "noex.cli")
_WHEN_TOLD: Final = (
    "-c",
    "import sys, noex.cli.start; from noex.cli.main import main; sys.stdin.readline() and main()",
)


class NodeProcessError(Exception):
    """A node process ended, or did not get ready in time; says what it logged last."""


class NodeProcess:
    """One node in a process of its own; the same node id through all its lives."""

    def __init__(self, node_id: str, arguments: Iterable[str] = ()) -> None:
        self.node_id = node_id
        self.name = node_id.partition("@")[0]
        self._arguments = list(arguments)
        # Without a name, so that nothing is left of it, whatever becomes of this program.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._last_words = b""
        self._process: asyncio.subprocess.Process | None = None
        self._next: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.is_running else "not running"
        return f"<NodeProcess {self.node_id} {state}>"

    @property
    def pid(self) -> int:
        """The pid of its present, or latest, life."""
        if self._process is None:
            raise NodeProcessError(f"{self.node_id} has not been launched")
        return self._process.pid

    @property
    def next_pid(self) -> int | None:
        """The pid of the process that was prepared for its next life."""
        return None if self._next is None else self._next.pid

    @property
    def is_running(self) -> bool:
        """Whether its process exists, as far as this process has heard."""
        return self._process is not None and self._process.returncode is None

    def log(self) -> str:
        """What it wrote to standard error and output, in all its lives."""
        if self._log.closed:
            return self._last_words.decode(errors="replace")
        # At an offset: the file's own position is where the process writes.
        descriptor = self._log.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    # ------------------------------------------------------------------ life

    async def launch(self, seeds: Iterable[str], env: Mapping[str, str]) -> None:
        """Start the process, or use the prepared one; `ready` waits until it is a member."""
        if self.is_running:
            raise NodeProcessError(f"{self.node_id} runs already, as pid {self.pid}")
        if self._next is None:
            self._process = await self._start(_AT_ONCE, seeds, env)
            return
        self._process, self._next = self._next, None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def prepare(self, seeds: Iterable[str], env: Mapping[str, str]) -> None:
        """Start the process of the next `launch`: it imports what it needs, and waits."""
        if self._next is None:
            self._next = await self._start(_WHEN_TOLD, seeds, env)

    async def _start(
        self, program: tuple[str, str], seeds: Iterable[str], env: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        seed_options = [f"--seed={seed}" for seed in seeds if seed != self.node_id]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *program, "start", self.node_id, *seed_options),
            *("--until-stdin-closes", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env=dict(env),
            process_group=0,  # Ctrl-C is for the test; and see the module's point 4
        )

    async def ready(self, timeout: float) -> None:
        """Wait for the line that says it is a member. Raises `NodeProcessError`."""
        assert self._process is not None and self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
        except TimeoutError:
            raise self._error(f"was not ready after {timeout:g} s") from None
        if not line.startswith(b"ready "):
            raise self._error("did not start")
        self.node_id = line.split()[1].decode()
        self._listening = asyncio.create_task(self._listen(self._process.stdout))

    async def _listen(self, output: asyncio.StreamReader) -> None:
        """Read what it prints, so that no behavior has to wait for a reader."""
        while text := await output.read(4096):
            os.write(self._log.fileno(), text)

    def signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError when the process is gone."""
        os.kill(self.pid, number)

    async def ended(self, timeout: float = END_TIMEOUT) -> int:
        """Wait for its end; returns the exit code (minus the signal's number)."""
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), timeout)
        except TimeoutError:
            raise self._error(f"still runs after {timeout:g} s") from None

    def kill(self) -> None:
        """SIGKILL to what runs of it, now, whatever state that is in."""
        for process in (self._process, self._next):
            if process is not None and process.returncode is None:
                _kill(process)

    async def end(self) -> None:
        """Kill its present life, if it runs, and wait until it is gone."""
        if self._process is None:
            return
        if self.is_running:
            _kill(self._process)
        await self.ended()
        if self._listening is not None:
            await self._listening
            self._listening = None

    async def close(self) -> None:
        """End it, and what was prepared for it, and keep only its log."""
        self.kill()
        await self.end()
        if self._next is not None:
            self._process, self._next = self._next, None
            await self.end()
        self._last_words = self.log().encode()
        self._log.close()

    def _error(self, text: str) -> NodeProcessError:
        said = self.log()[-LOG_TAIL:].strip() or "nothing"
        return NodeProcessError(f"{self.node_id} {text}; it logged: {said}")


def _kill(process: asyncio.subprocess.Process) -> None:
    try:
        process.kill()
    except ProcessLookupError:
        return  # it ended by itself just now


class ProcessCluster:
    """Some nodes as operating system processes, to be killed, stopped and started again.

    - `nodes`: their names, or how many (then ``n1``, ``n2``, ...).
    - `behaviors`: modules that register behaviors, imported by every node.
    - `seeds`: join this cluster, instead of founding one.
    - `options`: more options of ``noex-node start``, such as ``("--label", "zone=a")``.
    - `log_level`: what the nodes log; see `NodeProcess.log`.
    - `env`: more environment variables.
    - `ready_timeout`: seconds until a node must be a member.
    """

    def __init__(
        self,
        nodes: int | Iterable[str] = 3,
        *,
        behaviors: Iterable[str] = (),
        seeds: Iterable[str] = (),
        options: Iterable[str] = (),
        log_level: str = "info",
        env: Mapping[str, str] | None = None,
        ready_timeout: float = 30.0,
    ) -> None:
        names = [f"n{i}" for i in range(1, nodes + 1)] if isinstance(nodes, int) else list(nodes)
        self._names = names
        self._seeds = list(seeds)
        self._ready_timeout = ready_timeout
        self._arguments = [
            *(f"--behaviors={module}" for module in behaviors),
            *("--log-level", log_level, "--drain-timeout", "1"),
            *options,
        ]
        self._env = {**_environment(), **(env or {})}
        self._nodes: dict[str, NodeProcess] = {}

    # ------------------------------------------------------------------ looking

    def __getitem__(self, name: str) -> NodeProcess:
        """A node by its name or its whole node id."""
        return self._nodes[name.partition("@")[0]]

    @property
    def nodes(self) -> list[NodeProcess]:
        """All nodes, in the order in which they were added, dead ones included."""
        return list(self._nodes.values())

    @property
    def ids(self) -> list[str]:
        """The node ids, in that order: the seeds for a node of the test's own."""
        return [node.node_id for node in self.nodes]

    def id(self, name: str) -> str:
        """The node id of a name."""
        return self[name].node_id

    # ------------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        try:
            first = [] if self._seeds else self._names[:1]
            for name in first:
                await self.add(name)
            await asyncio.gather(*(self.add(name) for name in self._names[len(first) :]))
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(error)

    async def add(self, name: str, *, port: int = 0) -> NodeProcess:
        """Start one more node and wait until it is a member. `port` 0: a free one is chosen."""
        # Not one that the system hands out: after a kill it could hand it to somebody else.
        port = port or choose_ports(1)[0]
        parse_node_id(node_id := f"{name}@127.0.0.1:{port}")
        if name in self._nodes:
            raise NodeProcessError(f"there is a node {name} already; use restart")
        node = self._nodes[name] = NodeProcess(node_id, self._arguments)
        await self._launch(node)
        await node.ready(self._ready_timeout)
        return node

    async def _launch(self, node: NodeProcess) -> None:
        await node.launch(self._seeds_now(), self._env)

    def _seeds_now(self) -> list[str]:
        known = [each.node_id for each in self.nodes if not each.node_id.endswith(":0")]
        return [*self._seeds, *known]

    async def _close(self, error: BaseException | None) -> None:
        if error is not None:
            for node in self.nodes:
                sys.stderr.write(f"---- {node} logged:\n{node.log()[-LOG_TAIL:]}\n")
        for node in self.nodes:  # before the first wait, which could be cancelled
            node.kill()
        await asyncio.gather(*(node.close() for node in self.nodes))

    # ------------------------------------------------------------------ doing

    def kill(self, name: str) -> float:
        """SIGKILL, as a machine that loses its power. Returns when, on `time.monotonic`."""
        at = time.monotonic()
        self[name].signal(signal.SIGKILL)
        return at

    def pause(self, name: str) -> None:
        """SIGSTOP: the process stands still, its connections stay open."""
        self[name].signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT: a paused process goes on where it stood."""
        self[name].signal(signal.SIGCONT)

    async def stop(self, name: str, timeout: float = END_TIMEOUT) -> int:
        """SIGTERM, and wait for the orderly end. Returns the exit code."""
        self[name].signal(signal.SIGTERM)
        return await self[name].ended(timeout)

    async def restart(self, name: str) -> NodeProcess:
        """Start it again under the same node id, killing it first if it runs.

        Returns when its new life is a member.
        """
        node = self[name]
        await node.end()
        await self._launch(node)
        await node.ready(self._ready_timeout)
        return node

    async def prepare(self, name: str) -> None:
        """Have the process of its next `restart` started already, so that this is quick."""
        await self[name].prepare(self._seeds_now(), self._env)


def _environment() -> dict[str, str]:
    """What a node inherits: this process's import path, and no settings of a node."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith("NOEX_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
