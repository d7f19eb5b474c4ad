"""Whose turn it is: how long callers may run their calls in their own turn of the loop.

One budget per iteration of the loop, shared by all callers: a thousand tasks that do nothing but
call give way to the loop after `TURN` seconds together. Who comes too late waits in line, and is
woken with as many others as fit into one iteration. Each of them then has its share of the budget
for its next calls, at least a `BURST`, so that the price of waking it is shared by several of
them. While somebody is in line nobody passes it, so no caller starves.

Where calls are slow, those woken too many, and all who have waited for `PATIENCE`, go through the
mailboxes: there the scheduler takes care of the loop, and the timeouts of the calls begin.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

TURN: Final = 0.002  # seconds of one loop iteration, for all callers together
BURST: Final = 0.00002  # seconds for one caller that was woken, at least
FEWEST: Final = 16  # callers that are woken in one iteration
FIRST: Final = 64
MOST: Final = 256
LINE: Final = 4096  # callers in line; more of them go through the mailboxes
PATIENCE: Final = 0.1  # seconds of work of others, while one waits in line


class Turns:
    """The budget of one node."""

    __slots__ = ("_batch", "_end", "_line", "_loop", "_share", "_spent", "_woken_at")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spent: Callable[[], float] = perf_counter
    ) -> None:
        self._loop = loop
        self._spent = spent
        self._end = 0.0  # until when a call may run; 0.0: nothing of this iteration was used yet
        self._line: deque[tuple[float, asyncio.Future[None]]] = deque()  # since when
        self._batch = FIRST
        self._share = TURN  # of one that was woken
        self._woken_at = 0.0

    def may_run(self) -> bool:
        """Whether a call may run at once."""
        now = perf_counter()  # not `_spent`: this is on the way of every call
        return now < self._end or (self._end == 0.0 and self._open(now))

    async def comes(self) -> bool:
        """Wait in line, after `may_run` said no. False when that is, or was, too long."""
        if self._end == 0.0:
            return True
        if len(self._line) >= LINE:
            return False
        waiter = self._loop.create_future()
        self._line.append((self._spent(), waiter))
        await waiter
        now = self._spent()
        if now - self._woken_at > 2 * TURN:  # those woken before have used it up
            return False
        if self._end == 0.0:
            self._open(now)
        else:
            self._end = now + self._share
        return True

    async def give_way(self) -> None:
        """Let the loop have its due. Whoever tries again and again what is answered without any
        waiting (a call to a process that is gone, say) must not keep it to itself."""
        if not self.may_run():
            await self.comes()

    def _open(self, now: float) -> bool:
        self._end = now + TURN
        self._loop.call_soon(self._next_iteration)
        return True

    def _next_iteration(self) -> None:
        line = self._line
        if not line:
            self._end = 0.0
            self._batch = FIRST
            return
        self._fit_batch()
        late = self._woken_at - line[0][0] > PATIENCE
        woken = min(MOST if late else self._batch, len(line))
        self._share = max(TURN / woken, BURST)
        for _ in range(woken):
            _, waiter = line.popleft()
            if not waiter.done():  # else its task was cancelled
                waiter.set_result(None)
        self._loop.call_soon(self._next_iteration)

    def _fit_batch(self) -> None:
        """As many callers as fill one iteration: calls may be short or long, alone or many."""
        now = self._spent()
        took, self._woken_at = now - self._woken_at, now
        if took > TURN:
            self._batch = max(self._batch // 2, FEWEST)
        elif took < TURN / 2:
            self._batch = min(self._batch * 2, MOST)


class PacedTurns(Turns):
    """The same by another measure of work than the machine's (see `noex.runtime.clock`)."""

    __slots__ = ()

    def may_run(self) -> bool:
        """Whether a call may run at once."""
        now = self._spent()
        return now < self._end or (self._end == 0.0 and self._open(now))


def turns_of(loop: asyncio.AbstractEventLoop, spent: Callable[[], float]) -> Turns:
    """The budget of a node whose clock measures work by `spent`."""
    return Turns(loop) if spent is perf_counter else PacedTurns(loop, spent)
