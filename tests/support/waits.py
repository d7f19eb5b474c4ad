"""A process whose handlers are given to it, and notes of what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from actors import started, turns

from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.runtime.workers import Worker

Task = Callable[["Runner"], Awaitable[Any]]


class Runner(GenServer[dict[str, Any]]):
    """Each message is an ``async def`` function of the server; the reply is what it returns."""

    async def init(self, **state: Any) -> dict[str, Any]:
        self.notes: list[Any] = state.setdefault("notes", [])
        return state

    async def handle_call(self, message: Task, state: dict[str, Any]) -> Any:
        return await message(self), state

    async def handle_cast(self, message: Task, state: dict[str, Any]) -> None:
        await message(self)

    async def handle_info(self, message: Task, state: dict[str, Any]) -> None:
        await message(self)


async def started_warm(kernel: Kernel, **state: Any) -> Ref[Any]:
    """Start one whose next handler begins at once, in the turn of who calls it."""

    class Fresh(Runner):  # no handler of which has ever waited
        pass

    ref = await started(kernel, Fresh, **state)
    await ref.call(_nothing)
    await turns(3)  # the task for the next one is made
    return ref


async def _nothing(_server: Runner) -> None:
    """Does not wait."""


def at_once(function: Task) -> Task:
    """The same, and sure that it has begun in such a way."""

    async def begin(server: Runner) -> Any:
        assert isinstance(asyncio.current_task(), Worker)
        return await function(server)

    return begin
