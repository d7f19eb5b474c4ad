"""Pykka: a thread for each actor, and blocking calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pykka

from peers.peer import DEF, Peer


class Counter(pykka.ThreadingActor):
    """Adds."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: Any) -> Any:
        self.total += message
        return self.total


class Pykka(Peer):
    """There is no coroutine to be a handler, so those rows stay empty."""

    has_loop = False
    handlers = (DEF,)
    is_flat_worth = False
    spawns_at_most = 2000  # threads

    async def start(self, handler: str = DEF) -> Any:
        return Counter.start()

    async def sequential(self, actor: Any, count: int) -> int:
        for _ in range(count):
            actor.ask(1)
        return count

    async def concurrent(self, actor: Any, count: int, callers: int) -> int:
        """Kinder than `callers` threads: one that has as many calls open."""
        for _ in range(max(1, count // callers)):
            for future in [actor.ask(1, block=False) for _ in range(callers)]:
                future.get()
        return max(1, count // callers) * callers

    async def casts(self, actor: Any, count: int) -> int:
        for _ in range(count):
            actor.tell(1)
        actor.ask(1)
        return count

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(pykka.ActorRegistry.stop_all, timeout=60)


PEER = Pykka
