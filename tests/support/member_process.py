"""A program that is nothing but a member of a cluster, and a handle on it for tests.

Run as a program it prints what happens as JSON lines and obeys lines on stdin: ``block <s>`` (a
handler that does not return), ``hold <s>`` (a C call that holds the GIL), ``leave``.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HEARTBEAT = {"pulse_interval": 0.2, "heartbeat_interval": 0.2, "heartbeat_timeout": 0.8}


class MemberProcess:
    """One operating system process with a member in it."""

    def __init__(self, node_id: str, seeds: list[str]) -> None:
        self.node_id = node_id
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, __file__, node_id, *seeds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()

    def wait(self, what: str, *, after: int = 0, timeout: float = 20.0, **fields: Any) -> int:
        """The index behind the first event with these fields, from `after` on."""
        wanted = {"what": what, **fields}.items()

        def found() -> int:
            events = enumerate(self.events[after:], after + 1)
            return next((i for i, event in events if wanted <= event.items()), 0)

        with self._news:
            if not self._news.wait_for(found, timeout):
                raise AssertionError(f"{self.node_id}: no {dict(wanted)} in {self.events[after:]}")
            return found()

    def wait_for_members(self, count: int, *, after: int = 0, timeout: float = 20.0) -> int:
        return self.wait("view", size=count, after=after, timeout=timeout)

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
        self.kill()
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def say(what: str, **fields: Any) -> None:
    print(json.dumps({"what": what, **fields}), flush=True)


def obey(line: list[str]) -> None:
    match line:
        case ["block", seconds]:
            until(time.monotonic() + float(seconds), time.monotonic)
        case ["hold", seconds]:
            ctypes.PyDLL(None).usleep(int(float(seconds) * 1_000_000))
    say("obeyed", line=line[0])


def until(end: float, clock: Callable[[], float]) -> None:
    while clock() < end:
        pass


async def main(node_id: str, seeds: list[str]) -> None:
    from noex.cluster.info import SelfDescription
    from noex.cluster.membership import ClusterCallbacks, Membership
    from noex.runtime.clock import SystemClock
    from noex.runtime.incarnation import make_incarnation
    from noex.runtime.node_id import parse_node_id
    from noex.transport.control import ControlLane, ControlSettings

    incarnation = make_incarnation(int(time.time() * 1000), os.getpid())
    lane = ControlLane(
        node_id=node_id,
        incarnation=incarnation,
        host="127.0.0.1",
        port=parse_node_id(node_id).port,
        settings=ControlSettings(**HEARTBEAT),
        on_event=lambda event: membership.on_event(event),
    )
    await lane.start()
    membership = Membership(
        node_id=node_id,
        incarnation=incarnation,
        control=lane,
        seeds=seeds,
        describe=lambda: SelfDescription(pub_endpoint=f"tcp://127.0.0.1:{lane.pub_port}"),
        callbacks=ClusterCallbacks(
            node_up=lambda m: say("up", node=m.node_id),
            node_down=lambda m, reason: say("down", node=m.node_id, reason=reason),
            view_changed=lambda v: say("view", size=len(v.members)),
            node_busy=lambda node, lag: say("busy", node=node),
            node_idle=lambda node: say("idle", node=node),
            life_ended=lambda reason: say("life_ended", reason=reason),
            new_life=lambda _: say("new_life"),
        ),
        clock=SystemClock(),
    )
    await membership.start()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        if line == ["leave"]:
            say("left", told=await membership.leave(5.0))
            break
        obey(line)
    await membership.stop()
    await lane.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
