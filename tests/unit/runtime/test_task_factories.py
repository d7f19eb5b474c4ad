"""The loop's task factory is the program's own: the runtime works under any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from actors import run, started

from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel


def without_contexts(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[Any]:
    """As they were written before tasks had contexts."""
    return asyncio.Task(coroutine, loop=loop)


FACTORIES: list[Callable[..., Any]] = [without_contexts]
if hasattr(asyncio, "eager_task_factory"):  # begins tasks within whoever makes them
    FACTORIES.append(asyncio.eager_task_factory)


class Asks(GenServer[Any]):
    """Waits in all its callbacks, and asks another one."""

    async def init(self, other: Any = None) -> Any:
        await asyncio.sleep(0)  # sleep: gives way to the loop once
        return other

    async def handle_call(self, message: Any, other: Any) -> Any:
        await asyncio.sleep(0)  # sleep: gives way to the loop once
        return message if other is None else await other.call(message), other

    async def terminate(self, reason: Any, other: Any) -> None:
        await asyncio.sleep(0)  # sleep: gives way to the loop once


class AsksFromAThread(GenServer[Any]):
    blocking = True

    def init(self, other: Any) -> Any:
        return other

    def handle_call(self, message: Any, other: Any) -> Any:
        return self.run(other.call(message)), other


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_handlers_wait_call_and_end_under_any_task_factory(factory: Any) -> None:
    # An eager factory entered the context of a process twice; one that knows of no contexts left a
    # handler in a thread waiting for ever.
    async def main(kernel: Kernel) -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        last = await started(kernel, Asks)
        first = await started(kernel, Asks, other=last)
        blocking = await started(kernel, AsksFromAThread, other=first)
        for n in range(30):
            assert await first.call(n) == n
            assert await blocking.call(n) == n
        for ref in (blocking, first, last):
            await ref.stop()
        asyncio.get_running_loop().set_task_factory(None)

    run(main)
