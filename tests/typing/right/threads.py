"""Handlers in a thread, and what they get through `self.run`."""

from __future__ import annotations

import asyncio
from typing import assert_type

from noex import GenServer, Node, Ref, Registry, Request, Timer, call


class Get(Request[int]):
    pass


class Account(GenServer[int]):
    def init(self, balance: int) -> int:
        return balance

    @call
    def deposit(self, amount: int) -> int:
        self.state += amount
        return self.state


def whereis(registry: Registry, *, key: str) -> Ref | None:
    return registry.whereis(key)


async def rate(currency: str) -> float:
    await asyncio.sleep(0)
    return 1.0 if currency == "EUR" else 0.9


class Ledger(GenServer[list[int]]):
    blocking = True

    def init(self, account: Ref[Account], registry: Registry) -> list[int]:
        assert_type(self.run(account.call(Get())), int)
        assert_type(self.run(account.proxy.deposit(5)), int)
        assert_type(self.run(account.is_alive()), bool)
        assert_type(self.run(rate, "EUR"), float)
        assert_type(self.run(rate("USD")), float)
        assert_type(self.run(whereis, registry, key="it"), Ref | None)
        assert_type(self.send_after(1.0, "tick"), Timer)
        account.cast("done")
        return []


async def main() -> None:
    async with Node(blocking_threads=4) as node:
        account = await node.start(Account, 10)
        await node.start(Ledger, account, Registry(node))


asyncio.run(main())
