"""What a callback may return, beside a plain state or ``(reply, state)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from noex.runtime.awaitables import is_awaitable
from noex.runtime.checks import is_time
from noex.runtime.errors import InvalidOptionError, UnhandledMessageError


class _Unchanged:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final[Any] = _Unchanged()
"""The state stays what it is (the default of `state=`)."""

NO_TOKEN: Final[Any] = _Unchanged()

Unhandled = UnhandledMessageError
"""``case _: raise Unhandled(message)`` ends a well-written `match`."""


class _Next:
    """What follows a callback: the state, a continuation, a timeout."""

    __slots__ = ("continue_with", "state", "timeout")

    def __init__(
        self,
        state: Any = UNCHANGED,
        *,
        continue_with: Any = NO_TOKEN,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and not (is_time(timeout) and timeout >= 0):
            raise InvalidOptionError("timeout", timeout, "seconds, 0 or more, or None for none")
        self.state = state
        self.continue_with = continue_with
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}(state={self.state!r})"


class Ok(_Next):
    """From `init`: the state, and what to do next.

    - `state`: the first state.
    - `continue_with`: a token; `handle_continue` gets it before any message.
    - `timeout`: seconds; if nothing arrives in that time, `TIMEOUT` comes to `handle_info`. A
      continuation is no arrival: with both, the time runs on while it does.
    """

    __slots__ = ()


class NoReply(_Next):
    """From `handle_call`: the answer comes later, through ``caller.reply(value)``.

    From the other callbacks: go on. The options are those of `Ok`; a `state` that is not given
    stays what it is, and ``NoReply(state=None)`` is the way to set it to None.
    """

    __slots__ = ()


class Reply(_Next):
    """From `handle_call`: the reply, the state, and what to do next.

    - `value`: the reply.
    - `state`: the new state; not given, it stays what it is.
    - `continue_with`, `timeout`: as in `Ok`.
    """

    __slots__ = ("value",)

    def __init__(
        self,
        value: Any,
        state: Any = UNCHANGED,
        *,
        continue_with: Any = NO_TOKEN,
        timeout: float | None = None,
    ) -> None:
        super().__init__(state, continue_with=continue_with, timeout=timeout)
        self.value = value


class Stop:
    """From any callback: end with `reason`, after an optional `reply`.

    - `reason`: the exit reason, by default ``"normal"``. Anything but ``"normal"``,
      ``"shutdown"`` and ``("shutdown", detail)`` is a failure: links and supervisors treat it so.
    - `reply`: what the caller gets, in a `handle_call`; without it `ServerCrashedError`.
    - `state`: the state that `terminate` gets.
    """

    __slots__ = ("reason", "reply", "state")

    def __init__(
        self, reason: Any = "normal", *, reply: Any = UNCHANGED, state: Any = UNCHANGED
    ) -> None:
        self.reason = reason
        self.reply = reply
        self.state = state

    def __repr__(self) -> str:
        return f"Stop({self.reason!r})"


if TYPE_CHECKING:

    class _NoState(type):
        __sizeof__: None  # type: ignore[assignment]

else:
    _NoState = type


class Ignore(metaclass=_NoState):
    """From `init`: do not start, and do not count this as a failure. The class or an instance.

    `node.start` then returns None, and so does `start_child`.
    """

    __slots__ = ()
    if TYPE_CHECKING:  # a type checker tells it from a state by this (see `State`)
        __sizeof__: None  # type: ignore[assignment]


_SPECIAL: Final = (_Next, Stop, Ignore)


def is_no_state(value: Any) -> bool:
    """Whether a handler cannot have meant `value` as its new state."""
    if isinstance(value, type):  # ``return NoReply`` for ``return NoReply()``
        return issubclass(value, _SPECIAL)
    return isinstance(value, _SPECIAL) or is_awaitable(value)
