"""Monitors: one direction, any number, exactly one `Down` each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.calls import Caller
from noex.runtime.checks import check_patience
from noex.runtime.crossing import is_foreign, on_loop
from noex.runtime.messages import Down
from noex.runtime.states import SYSTEM
from noex.runtime.system import Request

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

WATCHING, FIRED, CANCELLED = range(3)


class Monitor:
    """A watch over one process, from a process (a `Down` comes to `handle_info`) or from outside
    (`await monitor.wait()`, or ``async for down in monitor``)."""

    __slots__ = ("_kernel", "_status", "_told", "_waiter", "id", "owner", "reason", "ref", "stream")

    def __init__(self, kernel: Kernel, id: int, ref: Ref[Any], owner: Process | None) -> None:
        self._kernel = kernel
        self._status = WATCHING
        self._waiter: asyncio.Future[Any] | None = None
        self._told: Process | None = None  # in whose mailbox the `Down` is, or was
        self.id = id
        self.ref = ref
        self.owner = owner
        self.reason: Any = None
        self.stream = 0  # in which the other node was asked, if it is one

    def __repr__(self) -> str:
        return f"<Monitor #{self.id} of {self.ref}>"

    @property
    def active(self) -> bool:
        """Whether the `Down` is still to come (False once it fired or was cancelled)."""
        return self._status == WATCHING

    async def wait(self, timeout: float | None = None) -> Any:
        """Wait until the process is gone and return the reason.

        Raises TimeoutError after `timeout` seconds (None: no limit), and RuntimeError when the
        monitor was cancelled. Only for a monitor made outside of a process.
        """
        check_patience(timeout)
        if self._status == FIRED:
            return self.reason
        if self._status == CANCELLED:
            raise RuntimeError(f"{self!r} was cancelled; nothing will be delivered")
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self.waiter())

    def waiter(self) -> asyncio.Future[Any]:
        """What `wait` waits for, to be waited for together with other things."""
        if self._waiter is None:
            self._waiter = self._kernel.loop.create_future()
            if self._status == FIRED:
                self._waiter.set_result(self.reason)
        return self._waiter

    async def __aiter__(self) -> AsyncIterator[Down]:
        """Yield the one `Down`; nothing when the monitor is cancelled."""
        try:
            reason = await self.wait()
        except RuntimeError:
            return
        yield Down(self, self.ref, reason)

    def cancel(self) -> None:
        """Stop watching. Nothing is delivered afterwards, nor handled that is queued already."""
        if self._kernel.guarded and is_foreign(self._kernel):
            on_loop(self._kernel, self.cancel)
        elif self._status == WATCHING:
            self._status = CANCELLED
            self._kernel.forget_monitor(self)
            self._release()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(RuntimeError(f"{self!r} was cancelled"))
                self._waiter.exception()  # whoever waits still sees it; nobody else must
        elif self._told is not None:
            _withdraw(self._told, self)
            self._told = None

    def fire(self, reason: Any) -> None:
        """The process is gone: deliver, once."""
        if self._status != WATCHING:
            return
        self._status = FIRED
        self.reason = reason
        owner = self.owner
        self._release()
        if owner is not None:
            self._told = owner
            owner.deliver_info(Down(self, self.ref, reason))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(reason)

    def _release(self) -> None:
        if self.owner is not None:
            self.owner.drop_monitor(self)
            self.owner = None


def _withdraw(process: Process, monitor: Monitor) -> None:
    """Take a `Down` back that waits in the mailbox: something that does nothing takes its place,
    because the process has its turn already."""
    mailbox = process.mailbox
    if mailbox is None:
        return
    for place, (_, message, _) in enumerate(mailbox):
        if type(message) is Down and message.monitor is monitor:
            mailbox[place] = (SYSTEM, _NOTHING, None)
            return


def _nothing() -> Request:
    nobody = Caller()
    nobody.abandon()
    return Request("info", (), nobody)


_NOTHING: Final = _nothing()
