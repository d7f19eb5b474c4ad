"""Thespian on TCP: an admin process, and one process for each actor.

Its calls block, so a thousand callers are one thread that has a thousand messages under way, which
is kinder than a thousand threads. Messages travel by pickle.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from time import perf_counter
from typing import Any

from thespian.actors import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    Actor,
    ActorSystem,
)

from distant.peer import MESSAGE, Distant

LIMIT = timedelta(seconds=30)
CASTS = 100  # between two questions how many have arrived: it loses what is too much


class Echo(Actor):  # type: ignore[misc, unused-ignore]
    """Adds. ``("cast", 1)`` is not answered."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.casts = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if type(message) is bytes:
            self.send(sender, len(message))
        elif message == "pid":
            self.send(sender, os.getpid())
        elif message == "received":
            self.send(sender, self.casts)
        elif type(message) is tuple and message[0] == "cast":
            self.casts += 1
        elif type(message) is tuple:
            self.total += message[1]
            self.send(sender, self.total)


class Thespian(Distant):
    """Its admin process is none of ours to serve in."""

    has_server = False
    spawns_at_most = 20  # processes

    async def connect(self, address: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        capabilities = {"Admin Port": port, "Convention Address.IPv4": f"127.0.0.1:{port}"}
        silent = {"version": 1, "disable_existing_loggers": False}
        self.system = ActorSystem("multiprocTCPBase", capabilities, logDefs=silent)
        self.actor = self.system.createActor(Echo)
        self.second = self.system.createActor(Echo)
        self.server_pid = self._ask("pid")
        self.call, self.other = self._call, self._call

    def _ask(self, message: Any) -> Any:
        answer = self.system.ask(self.actor, message, LIMIT)
        if answer is None:
            raise TimeoutError("no answer")
        return answer

    async def _call(self, message: Any) -> Any:
        return self._ask(message)

    async def close(self) -> None:
        self.system.shutdown()

    async def received(self) -> int:
        return int(self._ask("received"))

    async def calls(self, callers: int, seconds: float) -> int:
        return self._windowed(MESSAGE, callers, seconds)

    def _windowed(self, message: Any, window: int, seconds: float) -> int:
        end, done, tell, listen = perf_counter() + seconds, 0, self.system.tell, self.system.listen
        for _ in range(window):
            tell(self.actor, message)
        while perf_counter() < end:
            if listen(LIMIT) is None:
                raise TimeoutError("no answer")
            tell(self.actor, message)
            done += 1
        for _ in range(window):
            if listen(LIMIT) is None:
                raise TimeoutError("no answer")
        return done + window

    async def casts(self, seconds: float) -> int:
        before, sent, end = await self.received(), 0, perf_counter() + seconds
        while perf_counter() < end:
            for _ in range(CASTS):
                self.system.tell(self.actor, ("cast", 1))
            sent += CASTS
            await self.received()
        await self.arrived(before + sent)
        return sent

    async def payloads(self, callers: int, size: int, seconds: float) -> int:
        return self._windowed(bytes(size), callers, seconds)

    async def spawns(self, seconds: float) -> int:
        """It answers before the process is there, so each is asked something."""
        end = perf_counter() + seconds
        for count in range(1, self.spawns_at_most + 1):
            self.system.ask(self.system.createActor(Echo), MESSAGE, LIMIT)
            if perf_counter() > end:
                return count
        return self.spawns_at_most

    async def beside(self, size: int, seconds: float) -> tuple[list[float], int]:
        return [], 0  # a client that blocks does one thing at a time


__all__ = ["Thespian"]
