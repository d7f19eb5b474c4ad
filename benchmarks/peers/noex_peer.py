"""noex: one node without a name, so without sockets."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from noex import GenServer, Node
from peers.peer import ASYNC, DEF, Peer


class Counter(GenServer[int]):
    """Adds."""

    def init(self) -> int:
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        return state + message, state + message

    def handle_cast(self, message: Any, state: int) -> int:
        return state + message  # type: ignore[no-any-return]


class AsyncCounter(Counter):
    """With a coroutine as its handler."""

    async def handle_call(self, message: Any, state: int) -> Any:
        return state + message, state + message


class WaitingCounter(Counter):
    """Whose handler waits for one iteration of the loop."""

    async def handle_call(self, message: Any, state: int) -> Any:
        await asyncio.sleep(0)
        return state + message, state + message


class Holder(Counter):
    """Waits for an event, if it gets one."""

    def handle_cast(self, message: Any, state: int) -> Any:
        if isinstance(message, asyncio.Event):
            return self.hold(message)
        return state + message

    async def hold(self, gate: asyncio.Event) -> None:
        await gate.wait()


class Noex(Peer):
    """Us."""

    async def __aenter__(self) -> Self:
        self.node = await Node().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.node.__aexit__(None, None, None)

    async def start(self, handler: str = DEF) -> Any:
        cls = {DEF: Counter, ASYNC: AsyncCounter}.get(handler, WaitingCounter)
        return await self.node.start(cls)

    async def start_many(self, count: int) -> list[Any]:
        start = self.node.start
        return [await start(Counter) for _ in range(count)]

    async def start_holder(self) -> Any:
        return await self.node.start(Holder)

    async def settle(self, actor: Any) -> None:
        await actor.call(1, timeout=600)


PEER = Noex
