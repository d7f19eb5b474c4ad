"""The caller of a call: exactly one outcome, whoever is quicker."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any

from noex.runtime.awaitables import is_awaitable
from noex.runtime.crossing import is_foreign, on_loop
from noex.runtime.errors import (
    BadReturnValueError,
    CallTimeoutError,
    InvalidOptionError,
    NoexError,
)

if TYPE_CHECKING:
    from noex.runtime.deadlines import Deadline
    from noex.runtime.ref import Ref


_SPENT: Any = None


class Caller:
    """Who waits for the reply to one call. Keep it and answer later with `reply`.

    Only the first `reply` or `fail` counts; a reply after the caller has given up reaches nobody.
    """

    __slots__ = ("_answered", "process")

    def __init__(self) -> None:
        self._answered = False
        self.process: Any = None  # the process that owes the answer, once it is deferred

    @property
    def is_answered(self) -> bool:
        """Whether it was answered, or given up."""
        return self._answered

    @property
    def expired(self) -> bool:
        """Whether nobody waits any more."""
        return self._answered

    def is_over(self) -> bool:
        """Asked when the call comes out of the mailbox: whether it need not be executed."""
        return self.expired

    def reply(self, value: Any) -> bool:
        """Answer. Returns False when somebody was quicker or the caller has given up."""
        if is_awaitable(value):
            raise BadReturnValueError("reply", value)
        if self._is_elsewhere():
            return bool(on_loop(self.process.kernel, self.reply, value))
        if self.expired:
            self._settle()
            return False
        self._tell_of(value)
        self._settle()
        self._deliver(value)
        return True

    def answer(self, value: Any) -> None:
        """The reply that a handler returned, which was looked at already."""
        if self.expired:
            self._settle()
        else:
            self._tell_of(value)
            self._settle()
            self._deliver(value)

    def fail(self, error: BaseException) -> bool:
        """Answer with an error, raised by the caller's `call`. Returns what `reply` would."""
        if self._is_elsewhere():
            return bool(on_loop(self.process.kernel, self.fail, error))
        if not isinstance(error, BaseException):
            raise InvalidOptionError("error", error, "an exception")
        if isinstance(error, StopIteration):  # no future takes it: it would end whoever awaits
            error = RuntimeError(f"the call ended with {error!r}")
        if self.expired:
            self._settle()
            return False
        self._tell_of(error)
        self._settle()
        self._deliver_error(error)
        return True

    def abandon(self) -> None:
        """Nobody waits any more, for a reason that the caller knows."""
        self._settle()

    def _tell_of(self, answer: Any) -> None:
        """A traced process tells of its answers; such a one owes them all."""
        if self.process is not None and self.process.tracing is not None:
            self.process.tracing.answered(answer)

    def _is_elsewhere(self) -> bool:
        process = self.process
        return process is not None and process.kernel.guarded and is_foreign(process.kernel)

    def _settle(self) -> None:
        self._answered = True
        if self.process is not None:
            self.process.forget_caller(self)

    def _deliver(self, value: Any) -> None:
        raise NotImplementedError

    def _deliver_error(self, error: BaseException) -> None:
        raise NotImplementedError


class LocalCaller(Caller):
    """A caller on this node: a future on its loop, with an optional timeout."""

    __slots__ = ("deadline", "future", "ident", "target", "timeout", "until")

    def __init__(
        self, future: asyncio.Future[Any], target: Ref[Any], timeout: float | None = None
    ) -> None:
        self._answered = False
        self.process = None
        self.future = future
        self.target = target
        self.timeout = timeout
        self.until = inf  # the time of the loop at which it gives up
        self.deadline: Deadline | None = None  # of its own, seldom (`noex.runtime.patience`)
        self.ident = 0  # of the call on the wire, until its outcome has come

    @property
    def expired(self) -> bool:
        """Whether nobody waits any more: answered, timed out, or the waiting task was cancelled."""
        return self._answered or self.future.done()

    def is_over(self) -> bool:
        """Also when the deadline has passed while the loop was too busy to say so."""
        if self.expired:
            return True
        if self.until <= self.future.get_loop().time():
            self.expire()
            return True
        return False

    def answer(self, value: Any) -> None:
        """As `Caller.answer`, in fewer steps."""
        future = self.future
        if self._answered or future.done():
            return
        self._answered = True
        process = self.process
        if process is not None:
            process.forget_caller(self)
            if process.tracing is not None:
                process.tracing.answered(value)
        if self.target.kernel.copier is not None:
            self._deliver(value)
        else:
            future.set_result(value)

    def expire(self) -> None:
        """The deadline has passed."""
        if not self.future.done():
            self._deliver_error(CallTimeoutError(self.target, self.timeout or 0.0))
        self._settle()

    def resolve(self, value: Any) -> None:
        """The reply has come over the wire, where it was checked when it was given."""
        self._answered, self.ident = True, 0
        if not self.future.done():
            self.future.set_result(value)

    def give_up(self) -> None:
        """The caller waits no more (reply taken, or its task cancelled): free what it held."""
        if self.deadline is not None:
            self.deadline.cancel()
        if not self._answered:
            self._settle()
        self.future = _SPENT  # the outcome belongs to whoever waited: this may be kept for longer

    def _deliver(self, value: Any) -> None:
        copier = self.target.kernel.copier
        if copier is not None:
            try:
                value = copier(value)
            except NoexError as error:  # a reply that cannot travel is the caller's error
                self._deliver_error(error)
                return
        self.future.set_result(value)

    def _deliver_error(self, error: BaseException) -> None:
        self.future.set_exception(error)
        self.future.exception()  # seen: after a Ctrl-C in the caller's own turn nobody looks
