"""casty: a node of one, and a client of it. Its messages are typed: a frozen dataclass each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import casty  # type: ignore[import-not-found, unused-ignore]

from distant.peer import Distant

LIMITS = casty.Limits(message=64 << 20)


@dataclass(frozen=True)
class Add(casty.Askable[int]):  # type: ignore[misc, unused-ignore]
    """The message ``("add", 1)``."""

    name: str
    number: int


@dataclass(frozen=True)
class Note:
    """The same as a cast."""

    name: str
    number: int


@dataclass(frozen=True)
class Data(casty.Askable[int]):  # type: ignore[misc, unused-ignore]
    """Bytes, answered with their length."""

    data: bytes


@dataclass(frozen=True)
class Received(casty.Askable[int]):  # type: ignore[misc, unused-ignore]
    """How many casts there were."""


@casty.actor(initial=0)  # type: ignore[untyped-decorator, unused-ignore]
async def echo(ctx: casty.Context[int, Add | Note | Data | Received]) -> None:
    """Adds. The total is not its saved state: that would be replicated for each message."""
    total = casts = 0
    async for message in ctx.inbox:
        match message:
            case Add(_, number):
                total += number
                message.reply_to.tell(total)
            case Note(_, number):
                casts += 1
                total += number
            case Data(data):
                message.reply_to.tell(len(data))
            case Received():
                message.reply_to.tell(casts)


class Casty(Distant):
    """The sender awaits nothing for a `tell`, so it gives way now and then like everybody."""

    async def serve(self) -> str:
        cluster = casty.Cluster(bind="127.0.0.1:0", limits=LIMITS)
        self.system = await casty.ActorSystem(cluster=cluster).__aenter__()
        return str(self.system.node.address)

    async def connect(self, address: str) -> None:
        self.client = await casty.Client(seeds=(address,), limits=LIMITS).__aenter__()
        self.keys = map(str, itertools.count())
        self.ref, self.second = self._ref(), self._ref()
        ask, tell, other = self.ref.ask, self.ref.tell, self.second.ask
        self.call = lambda message: ask(Add(*message))
        self.other = lambda message: other(Add(*message))
        self.cast = lambda message: tell(Note(*message))

    def _ref(self) -> Any:
        return self.client.ref(echo, next(self.keys))

    async def close(self) -> None:
        await self.client.__aexit__(None, None, None)

    async def received(self) -> int:
        return int(await self.ref.ask(Received()))

    async def length(self, data: bytes) -> int:
        return int(await self.ref.ask(Data(data)))

    async def spawn(self) -> Any:
        """Its actors are there when they are asked something."""
        ref = self._ref()
        await ref.ask(Received())
        return ref


__all__ = ["Casty"]
