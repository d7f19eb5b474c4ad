"""What a process has queued costs its own calls nothing (case 137)."""

from __future__ import annotations

import time
from typing import Any

from actors import run, started

from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel

CALLS = 300
QUEUED = 300_000


class Echo(GenServer[None]):
    def init(self) -> None:
        return None

    async def handle_call(self, message: Any, state: None) -> Any:
        return message, state


class Asking(GenServer[int]):
    """Measures its calls of another process, in the middle of a handler."""

    def init(self) -> int:
        return 0

    async def handle_call(self, message: Any, state: int) -> Any:
        echo, queued = message
        for number in range(queued):
            self.ref.cast(number)
        best = min([await self._seconds(echo) for _ in range(5)])
        return best, state

    async def _seconds(self, echo: Any) -> float:
        start = time.process_time()
        for number in range(CALLS):
            assert await echo.call(number) == number
        return time.process_time() - start

    def handle_cast(self, message: Any, state: int) -> int:
        assert message == state
        return state + 1


def test_case_137_a_long_mailbox_does_not_slow_the_calls_of_its_owner() -> None:
    async def main(kernel: Kernel) -> None:
        echo = await started(kernel, Echo)
        short, long = await started(kernel, Asking), await started(kernel, Asking)
        few = await short.call((echo, 1), timeout=None)
        many = await long.call((echo, QUEUED), timeout=None)
        assert many < few * 10
        assert await long.call((echo, 0), timeout=None)  # after all that was queued, in order

    run(main)
