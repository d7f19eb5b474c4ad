"""noex: two nodes of one cluster, the server the seed of the client."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any, ClassVar, Final

from distant.peer import Distant, sequential
from noex import BehaviorRegistry, ClusterSettings, GenServer, Node, OverloadedError, Ref
from noex.transport.control_events import ControlSettings

PULSE: Final = 0.2  # seconds between two heartbeats
LONG: Final = 60.0
RETRY: Final = 0.001
SECRET: Final = "no secret, but long enough to be one"


class Echo(GenServer[int]):
    """Adds."""

    def init(self) -> int:
        self.casts = 0
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        if type(message) is bytes:
            return len(message), state
        if message == "received":
            return self.casts, state
        return state + message[1], state + message[1]

    def handle_cast(self, message: Any, state: int) -> None:
        self.casts += message[1]


class Listener(GenServer[bool]):
    """Watches the heartbeats of all other nodes, from one call to the next, which ends it."""

    def init(self) -> bool:
        self.last: dict[str, float] = {}
        self.longest = 0.0
        return False

    async def listen(self) -> None:
        assert self.node is not None
        while True:
            for member in self.node.members():
                at = member.last_heartbeat_at
                if at is not None and member.id != self.node.id:
                    self.longest = max(self.longest, at - self.last.get(member.id, at))
                    self.last[member.id] = at
            await asyncio.sleep(PULSE / 20)

    def handle_call(self, message: Any, listens: bool) -> Any:
        if not listens:
            self.last.clear()
            self.longest = 0.0
            self.task = self.spawn_task(self.listen())
            return 0.0, True
        self.task.cancel()
        silent = (time() - at for at in self.last.values())
        return max(self.longest, *silent, 0.0), False


class Sender(GenServer[None]):
    """Told ``(call, end)``, it calls one after the other until that time.

    Order holds for all that one process sends to a peer, and what no process sends counts as sent
    by one. So whoever is to pass a large message must be another process.
    """

    def init(self) -> None:
        return None

    async def handle_call(self, message: Any, state: None) -> Any:
        return await sequential(*message), state


class Noex(Distant):
    """Us."""

    options: ClassVar[dict[str, Any]] = {}
    spawns_at_most = 200_000

    def _node(self, name: str, **more: Any) -> Node:
        behaviors = BehaviorRegistry()
        behaviors.register("echo", Echo)
        return Node(
            f"{name}@127.0.0.1:0",
            behaviors=behaviors,
            membership=ClusterSettings(found_after=0.05),
            control=ControlSettings(pulse_interval=PULSE),
            **self.options,
            **more,
        )

    async def serve(self) -> str:
        self.node = await self._node("server").__aenter__()
        await self.node.options(name="listener").start(Listener)
        return self.node.id

    async def connect(self, address: str) -> None:
        self.node = await self._node("client", seeds=[address]).__aenter__()
        self.server = address
        self.ref: Ref[Any] = await self.node.spawn("echo", on=address)
        self.call, self.cast = self.ref.call, self.ref.cast
        self.second: Ref[Any] = await self.node.spawn("echo", on=address)
        self.sender = await self.node.start(Sender)
        own = await self.node.start(Listener)
        self.listeners = [own, self.node.ref("listener", on=address)]

    async def other(self, message: Any) -> Any:
        while True:
            try:
                return await self.second.call(message, timeout=LONG)
            except OverloadedError:
                self.refused += 1
                await asyncio.sleep(RETRY)

    async def close(self) -> None:
        await self.node.stop()

    async def received(self) -> int:
        return int(await self.ref.call("received", timeout=LONG))

    async def length(self, data: bytes) -> int:
        """Patient: until there is room for it."""
        while True:
            try:
                return int(await self.ref.call(data, timeout=LONG))
            except OverloadedError:
                await asyncio.sleep(RETRY)

    async def sequence(self, end: float) -> list[float]:
        times: list[float] = await self.sender.call((self.other, end), timeout=LONG)
        return times

    async def spawn(self) -> Any:
        return await self.node.spawn("echo", on=self.server)

    async def heartbeat_gaps(self) -> float | None:
        gaps: list[float] = [
            await listener.call("gap", timeout=LONG) for listener in self.listeners
        ]
        return max(gaps)


class NoexCurve(Noex):
    """Us, with every socket encrypted."""

    options: ClassVar[dict[str, Any]] = {"cluster_secret": SECRET}
