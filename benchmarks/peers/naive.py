"""The usual home-made actor: a Task and an asyncio.Queue for each."""

from __future__ import annotations

import asyncio
from typing import Any

from peers.peer import ASYNC, DEF, Peer


class Actor:
    """Adds. Nothing of what makes a runtime: no crash isolation, no timeouts, no monitors."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue()
        self.total = 0
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        while True:
            number, reply = await self.queue.get()
            self.total += number
            if reply is not None and not reply.done():
                reply.set_result(self.total)

    async def call(self, number: int) -> int:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((number, reply))
        return await reply

    def cast(self, number: int) -> None:
        self.queue.put_nowait((number, None))


class AsyncActor(Actor):
    """With a coroutine as its handler."""

    async def run(self) -> None:
        while True:
            number, reply = await self.queue.get()
            await self.handle(number)
            if reply is not None and not reply.done():
                reply.set_result(self.total)

    async def handle(self, number: int) -> None:
        self.total += number


class WaitingActor(AsyncActor):
    """Whose handler waits for one iteration of the loop."""

    async def handle(self, number: int) -> None:
        await asyncio.sleep(0)
        self.total += number


class Holder(AsyncActor):
    """Waits for an event, if it gets one."""

    async def handle(self, number: int) -> None:
        if isinstance(number, asyncio.Event):
            await number.wait()
        else:
            self.total += number


class Naive(Peer):
    """What one writes in an afternoon."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []

    async def start(self, handler: str = DEF) -> Any:
        cls = {DEF: Actor, ASYNC: AsyncActor}.get(handler, WaitingActor)
        self.actors.append(actor := cls())
        return actor

    async def start_many(self, count: int) -> list[Any]:
        actors = [Actor() for _ in range(count)]
        self.actors += actors
        await asyncio.sleep(0)  # each task has run up to its queue
        return actors

    async def start_holder(self) -> Any:
        self.actors.append(actor := Holder())
        return actor

    async def __aexit__(self, *exc: object) -> None:
        for actor in self.actors:
            actor.task.cancel()
        await asyncio.sleep(0)


PEER = Naive
