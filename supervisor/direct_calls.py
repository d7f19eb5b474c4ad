"""Calls to a local supervisor on a node that copies messages.

`Node(copy_messages=True)` sends every message through the codec, to find what could not travel. A
local supervisor's specs hold classes, which never travel and need not: such calls go past the
codec, with all the rest as in `ref.call`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from noex.runtime import states
from noex.runtime.calls import Caller
from noex.runtime.errors import CallTimeoutError, NoProcessError

if TYPE_CHECKING:
    from noex.runtime.ref import Ref


class DirectCaller(Caller):
    """Who waits, by a future that gets the reply as it is."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        super().__init__()
        self.future = future

    @property
    def expired(self) -> bool:
        """Whether nobody waits any more."""
        return self._answered or self.future.done()

    def _deliver(self, value: Any) -> None:
        self.future.set_result(value)

    def _deliver_error(self, error: BaseException) -> None:
        self.future.set_exception(error)


async def call_uncopied(ref: Ref[Any], message: Any, timeout: float | None) -> Any:
    """As `ref.call`, for a process of this node, without copies."""
    kernel = ref.kernel
    kernel.check_usable()
    process = kernel.find(ref)
    caller = DirectCaller(kernel.loop.create_future())
    if process is None or not process.deliver((states.CALL, message, caller)):
        raise NoProcessError(ref)
    try:
        async with asyncio.timeout(timeout):
            return await caller.future
    except TimeoutError:
        if caller.future.done() and not caller.future.cancelled():
            raise  # the answer is itself a TimeoutError
        raise CallTimeoutError(ref, timeout or 0.0) from None
