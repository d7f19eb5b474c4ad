"""What `self.run` gives, taken for what it is not."""

from __future__ import annotations

import asyncio

from noex import GenServer, Ref, Request


class Get(Request[int]):
    pass


async def rate(currency: str) -> float:
    await asyncio.sleep(0)
    return 1.0 if currency == "EUR" else 0.9


class Ledger(GenServer[int]):
    blocking = True

    def init(self, other: Ref) -> int:
        # error: mypy[assignment] pyright[reportAssignmentType]
        text: str = self.run(other.call(Get()))
        # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
        self.run(rate, 5)
        # error: mypy[call-overload] pyright[reportArgumentType, reportCallIssue]
        self.run(42)
        return len(text)


class Unclear(GenServer[int]):
    # error: mypy[assignment] pyright[reportAssignmentType]
    blocking = "yes"
