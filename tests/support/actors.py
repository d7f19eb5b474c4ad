"""Processes for tests of the runtime, and the runner that looks behind them.

`run` gives a test a kernel of its own and ends it. Whatever the test was about, nothing may be
left: no task, no process, no name, no error that asyncio had to report.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.runtime.returns import Unhandled

LIMIT = 40.0  # seconds for one test; a wait that hangs fails here


def run(main: Callable[[Kernel], Awaitable[None]], **options: Any) -> None:
    """Run `main(kernel)` on a new loop and check that nothing is left behind."""
    asyncio.run(_run(main, options))


async def _run(main: Callable[[Kernel], Awaitable[None]], options: dict[str, Any]) -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(str(context)))
    kernel = Kernel(**{"kill_grace": 0.2, **options})
    try:
        async with asyncio.timeout(LIMIT):
            await main(kernel)
    finally:
        await kernel.shutdown(timeout=0.5)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    gc.collect(1)
    assert left == [], f"tasks left behind: {left}"
    assert kernel.processes == {} and kernel.names == {}
    assert complaints == []


async def until(condition: Callable[[], Any], limit: float = 3.0) -> None:
    """Give way to the loop until `condition()` holds."""
    end = asyncio.get_running_loop().time() + limit
    while not condition():
        assert asyncio.get_running_loop().time() < end, "the condition did not come true in time"
        await asyncio.sleep(0)


async def turns(count: int = 10) -> None:
    """Let the loop go round: whatever is under way without waiting for time gets done."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """Where a handler stands still until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def passage(self) -> None:
        """Say that somebody is here, and wait."""
        self.reached.set()
        await self.opened.wait()


class Actor(GenServer[dict[str, Any]]):
    """A server told by its messages what to do; `calls` and `seen` show what it did.

    A message is a function of the server (run, its result is what the handler returns), or a
    plain value, which is noted and echoed.
    """

    def init(self, **options: Any) -> dict[str, Any]:
        self.seen: list[Any] = options.setdefault("seen", [])
        if options.get("trap"):
            self.trap_exits = True
        return options

    def handle_call(self, message: Any, state: dict[str, Any]) -> Any:
        if callable(message):
            return message(self, state)
        self.seen.append(message)
        return message, state

    def handle_cast(self, message: Any, state: dict[str, Any]) -> Any:
        if callable(message):
            return message(self, state)
        self.seen.append(message)
        return None

    def handle_info(self, message: Any, state: dict[str, Any]) -> Any:
        if callable(message):
            return message(self, state)
        self.seen.append(message)
        return None

    def handle_continue(self, token: Any, state: dict[str, Any]) -> Any:
        if callable(token):
            return token(self, state)
        self.seen.append(("continue", token))
        return None


class TidyActor(Actor):
    """An actor that notes its end."""

    def terminate(self, reason: Any, state: dict[str, Any]) -> None:
        self.seen.append(("terminate", reason))


class AsyncActor(Actor):
    """The same, with handlers that are coroutines."""

    async def handle_call(self, message: Any, state: dict[str, Any]) -> Any:
        if callable(message):
            return await _settled(message(self, state))
        await asyncio.sleep(0)
        self.seen.append(message)
        return message, state

    async def handle_cast(self, message: Any, state: dict[str, Any]) -> Any:
        if callable(message):
            return await _settled(message(self, state))
        await asyncio.sleep(0)
        self.seen.append(message)
        return None

    async def handle_info(self, message: Any, state: dict[str, Any]) -> Any:
        if callable(message):
            return await _settled(message(self, state))
        await asyncio.sleep(0)
        self.seen.append(message)
        return None


class TidyAsyncActor(AsyncActor):
    """An asynchronous actor that notes its end."""

    async def terminate(self, reason: Any, state: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.seen.append(("terminate", reason))


async def _settled(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) else value


class Mute(GenServer[None]):
    """A server without any callback but `init`."""

    def init(self) -> None:
        return None


async def started(kernel: Kernel, cls: type[Any], *args: Any, **kwargs: Any) -> Ref[Any]:
    """Start a process that is sure to come up; options of `start` go in `options=`."""
    options = kwargs.pop("options", {})
    ref = await kernel.start(cls, args, kwargs, **options)
    assert ref is not None
    return ref


def raises(error: BaseException) -> Callable[[Any, Any], Any]:
    """A message that makes the handler raise `error`."""

    def handler(_server: Any, _state: Any) -> Any:
        raise error

    return handler


__all__ = [
    "Actor",
    "AsyncActor",
    "Gate",
    "Mute",
    "TidyActor",
    "TidyAsyncActor",
    "Unhandled",
    "raises",
    "run",
    "started",
    "turns",
    "until",
]
