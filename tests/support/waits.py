"""A process whose handlers are given to it, and notes of what becomes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from noex.runtime.genserver import GenServer

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
