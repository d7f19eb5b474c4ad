"""Control lanes under test: in this process, and as OS processes that can be killed and stopped.

Run as a program, it is such a process: it prints its ports as a line of JSON, obeys one word a
line on stdin (`hold`: one C call that keeps the GIL; `busy`: a Python loop that keeps the event
loop), and ends at the end of stdin, so that none outlives its test.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from noex.transport.control import (
    ControlEvent,
    ControlLane,
    ControlSettings,
    LinkDown,
    LinkUp,
    Pulse,
)

FAST = ControlSettings(
    pulse_interval=0.1,
    heartbeat_interval=0.15,
    heartbeat_timeout=0.8,
    handshake_timeout=1.0,
    dial_timeout=1.0,
)
DEADLINE = 20.0


class Rig:
    """A lane and all that it has said."""

    def __init__(self, name: str = "a", **options: Any) -> None:
        self.events: list[ControlEvent] = []
        self._heard = asyncio.Event()
        options.setdefault("settings", FAST)
        options.setdefault("incarnation", 1)
        self.lane = ControlLane(
            node_id=f"{name}@127.0.0.1:1", host="127.0.0.1", on_event=self._hear, **options
        )

    def _hear(self, event: ControlEvent) -> None:
        self.events.append(event)
        self._heard.set()

    async def __aenter__(self) -> Rig:
        await self.lane.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.lane.stop()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.lane.port}"

    @property
    def pub_endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.lane.pub_port}"

    def of(self, kind: type[Any], since: int = 0, **fields: Any) -> list[Any]:
        """The events of a kind, from the number `since` on, with these fields."""
        return [
            event
            for event in self.events[since:]
            if isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in fields.items())
        ]

    async def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait until the condition holds after an event; returns its value."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not (value := condition()):
                    self._heard.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._heard.wait(), 0.02)
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; last events {self.events[-8:]}") from None
        return value

    async def heard(self, kind: type[Any], since: int = 0, **fields: Any) -> Any:
        """The first such event, waited for."""
        found = await self.until(lambda: self.of(kind, since, **fields), f"{kind} {fields}")
        return found[0]

    async def link(self, endpoint: str) -> None:
        """Connect, and wait until the link stands."""
        self.lane.connect(endpoint)
        await self.heard(LinkUp, endpoint=endpoint)

    def is_linked(self, endpoint: str) -> bool:
        """What the events say about the link."""
        states = [e for e in self.of((LinkUp, LinkDown)) if e.endpoint == endpoint]  # type: ignore[arg-type]
        return bool(states) and isinstance(states[-1], LinkUp)


class Peer:
    """A lane in a process of its own."""

    def __init__(self, port: int = 0, pub_port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(port), str(pub_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        ports = json.loads(self.process.stdout.readline())
        self.port, self.pub_port = ports["port"], ports["pub_port"]
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self.pub_endpoint = f"tcp://127.0.0.1:{self.pub_port}"

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def a_peer(port: int = 0, pub_port: int = 0) -> Iterator[Peer]:
    """A lane in a process of its own, which is ended in all cases."""
    peer = Peer(port, pub_port)
    try:
        yield peer
    finally:
        peer.end()


def longest_gap(pulses: list[Pulse]) -> float:
    """The longest time between two pulses."""
    times = [pulse.at for pulse in pulses]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def lane_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("noex-control")]


def hold_gil(seconds: float) -> None:
    """Keep the GIL for this long in one C call (a `PyDLL` does not release it)."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


def stay_busy(seconds: float) -> None:
    """Keep the event loop in Python code."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def _serve(port: int, pub_port: int) -> None:
    rig = Rig("peer", port=port, pub_port=pub_port)
    ended = asyncio.Event()
    actions = {b"hold": hold_gil, b"busy": stay_busy}

    def obey() -> None:
        words = os.read(sys.stdin.fileno(), 4096)
        for word in words.split():
            actions[word](2.5)
        if not words:
            ended.set()

    async with rig:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), obey)
        print(json.dumps({"port": rig.lane.port, "pub_port": rig.lane.pub_port}), flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
