"""Waiting for a condition with a deadline, without looking at the clock in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class _Waiter:
    look: Callable[[], Any]
    future: asyncio.Future[None]

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Waiters:
    """Who waits for something to become true; `changed` says that it may be so now."""

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []
        self._lock = threading.Lock()

    def changed(self) -> None:
        """Let all look again. May be called in any thread."""
        with self._lock:
            waiting = list(self._waiters)
        for waiter in waiting:
            if waiter.look() is not None:
                with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                    waiter.future.get_loop().call_soon_threadsafe(waiter.wake)

    async def until(
        self, look: Callable[[], T | None], timeout: float | None, missing: Callable[[], str]
    ) -> T:
        """Wait until `look` returns something else than None, which is returned.

        Raises TimeoutError with the text of `missing` after `timeout` seconds of the loop's time.
        """
        waiter = _Waiter(look, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiters.append(waiter)
        try:  # the first look comes after the entry, so that no change falls in between
            async with asyncio.timeout(timeout):
                while (found := look()) is None:
                    await waiter.future
                    waiter.future = asyncio.get_running_loop().create_future()
                return found
        except TimeoutError:
            raise TimeoutError(f"not within {timeout:g} s: {missing()}") from None
        finally:
            with self._lock:
                self._waiters.remove(waiter)
