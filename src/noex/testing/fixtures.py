"""Fixtures for pytest: put ``pytest_plugins = ["noex.testing.fixtures"]`` into the top conftest.py.

They need no asyncio plugin (`noex_run` runs coroutines), and get along with one: what `noex_node`
and `process_cluster` have opened is closed after the test, on the loop on which it was opened. A
plugin may close its loop before any fixture ends, so on that loop it is done before all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

import pytest

from noex.node import Node
from noex.testing.captured import CapturedEvents, capture_events
from noex.testing.processes import ProcessCluster
from noex.testing.virtual import VirtualLoop, VirtualTime

T = TypeVar("T")


_own_loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


class Run(Protocol):
    """What the fixture `noex_run` gives."""

    def __call__(self, main: Coroutine[Any, Any, T], /) -> T:
        """Run a coroutine to its end and return its result."""
        ...


class _Opened:
    """What a test has opened, by the loop on which it must be closed."""

    def __init__(self) -> None:
        self._stacks: dict[asyncio.AbstractEventLoop, AsyncExitStack] = {}

    async def enter(self, thing: AbstractAsyncContextManager[T]) -> T:
        stack = self._stacks.setdefault(asyncio.get_running_loop(), AsyncExitStack())
        return await stack.enter_async_context(thing)

    def close(self, *, on_own_loops: bool) -> None:
        """Close what was opened on the loops of these fixtures, or what on those of others."""
        for loop in list(reversed(self._stacks)):
            if on_own_loops is (loop in _own_loops or isinstance(loop, VirtualLoop)):
                _close(loop, self._stacks.pop(loop))


def _close(loop: asyncio.AbstractEventLoop, stack: AsyncExitStack) -> None:
    if loop.is_closed():
        raise RuntimeError(
            "the loop was closed before the nodes on it could be stopped; run the test with "
            "noex_run or virtual_time, or open them with `async with`"
        )
    loop.run_until_complete(stack.aclose())


_OPENED = pytest.StashKey[_Opened]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Close what a test has opened on a loop of its own, before that is closed."""
    error: Exception | None = None
    try:
        if _OPENED in item.stash:
            item.stash[_OPENED].close(on_own_loops=False)
    except Exception as failure:  # raised after all fixtures have ended
        error = failure
    result = yield
    if error is not None:
        raise error
    return result


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    _own_loops.add(loop)
    return loop


@pytest.fixture
def noex_run() -> Iterator[Run]:
    """Runs coroutines, all of one test on one loop: ``noex_run(main())``."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        yield runner.run


@pytest.fixture
def virtual_time() -> Iterator[VirtualTime]:
    """The same in virtual time: ``virtual_time.run(main())``; see `VirtualTime`."""
    with VirtualTime() as time:
        yield time


@pytest.fixture
def noex_events() -> Iterator[CapturedEvents]:
    """What noex tells during the test; see `capture_events`."""
    with capture_events() as events:
        yield events


@pytest.fixture
def _opened(
    request: pytest.FixtureRequest, noex_run: Run, virtual_time: VirtualTime
) -> Iterator[_Opened]:
    # It asks for both loops, so that it is closed before them.
    opened = request.node.stash[_OPENED] = _Opened()
    yield opened
    opened.close(on_own_loops=True)


@pytest.fixture
def noex_node(_opened: _Opened) -> Callable[..., Awaitable[Node]]:
    """Starts nodes: ``node = await noex_node()``, with the arguments of `Node`.

    They are stopped after the test, the latest first.
    """

    async def start(*args: Any, **options: Any) -> Node:
        return await _opened.enter(Node(*args, **options))

    return start


@pytest.fixture
def process_cluster(_opened: _Opened) -> Callable[..., Awaitable[ProcessCluster]]:
    """Starts nodes in processes of their own: ``cluster = await process_cluster(3)``.

    With the arguments of `ProcessCluster`; killed after the test.
    """

    async def start(*args: Any, **options: Any) -> ProcessCluster:
        return await _opened.enter(ProcessCluster(*args, **options))

    return start
