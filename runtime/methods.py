"""The methods of a GenServer class that others may reach: the server's side of `ref.proxy`.

A class with methods marked `@call` or `@cast` gets handlers of its own for calls and casts, made
once: a `MethodCall` goes to the method that it names, all else to `handle_call` and `handle_cast`
as ever. A class without such methods pays nothing.

What a caller gets wrong, the name or the arguments, is told to the caller, or logged for a cast;
the process lives on. What a method raises is a crash, like an exception out of `handle_call`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.awaitables import PLAIN
from noex.runtime.errors import (
    BadArgumentsError,
    BadReturnValueError,
    NoexError,
    UnknownMethodError,
)
from noex.runtime.reports import report_refused_cast
from noex.runtime.returns import UNCHANGED, NoReply, Reply, Stop, is_no_state
from noex.runtime.typed import CALL, CAST, MethodCall, mark_of

if TYPE_CHECKING:
    from noex.runtime.process import Process

Handler = Callable[[Any, Any, Any], Any]

_NO_METHOD: Final = (staticmethod, classmethod, property, type)


class Methods:
    """The marked methods of one class, and the handlers that lead to them."""

    __slots__ = ("behavior", "casts", "functions")

    def __init__(self, behavior: str, marks: dict[str, str], cls: type) -> None:
        self.behavior = behavior
        self.functions = {name: getattr(cls, name) for name in sorted(marks)}
        self.casts = tuple(name for name in self.functions if marks[name] == CAST)

    def handle_call(self, otherwise: Handler) -> Handler:
        """The handler of calls; `otherwise` gets what is no `MethodCall`."""
        functions, casts = self.functions, self.casts

        def handle(server: Any, message: Any, state: Any) -> Any:
            if type(message) is not MethodCall:
                return otherwise(server, message, state)
            name, args, kwargs = message
            function = functions.get(name) if type(name) is str else None
            if function is None:
                return _refuse_call(server, self.unknown(name))
            try:
                result = function(server, *args, **kwargs)
            except TypeError:
                misfit = self._misfit(server, message)
                if misfit is None:
                    raise
                return _refuse_call(server, misfit)
            if name in casts:
                return _finish(server, name, result, _replied_none)
            if type(result) in PLAIN:
                return result, server._process.state
            return _finish(server, name, result, _replied)

        return handle

    def handle_cast(self, otherwise: Handler) -> Handler:
        """The handler of casts."""
        functions, casts = self.functions, self.casts

        def handle(server: Any, message: Any, state: Any) -> Any:
            if type(message) is not MethodCall:
                return otherwise(server, message, state)
            name, args, kwargs = message
            function = functions.get(name) if type(name) is str else None
            if function is None:
                return report_refused_cast(server._process, self.unknown(name))
            try:
                result = function(server, *args, **kwargs)
            except TypeError:
                misfit = self._misfit(server, message)
                if misfit is None:
                    raise
                return report_refused_cast(server._process, misfit)
            if result is None:
                return None
            return _finish(server, name, result, _told if name in casts else _dropped)

        return handle

    def unknown(self, name: Any) -> UnknownMethodError:
        """The error for a name that is none of these."""
        return UnknownMethodError(str(name), self.behavior, tuple(self.functions))

    def _misfit(self, server: Any, message: MethodCall) -> BadArgumentsError | None:
        """Whether a TypeError came of arguments that do not fit, and not out of the method."""
        name, args, kwargs = message
        signature = _signature(self.functions[name])
        try:
            signature.bind(server, *args, **kwargs)
        except TypeError as error:
            own = list(signature.parameters.values())[1:]
            text = str(signature.replace(parameters=own))
            return BadArgumentsError(f"{self.behavior}.{name}", text, str(error))
        return None


Reader = Callable[[Any, str, Any], Any]
"""``reader(server, name, result)``: what a method returned, as `handle_call` or `handle_cast` would
have returned it."""


def _finish(server: Any, name: str, result: Any, read: Reader) -> Any:
    if iscoroutine(result):
        return _finish_later(server, name, result, read)
    return read(server, name, result)


async def _finish_later(
    server: Any, name: str, coroutine: Coroutine[Any, Any, Any], read: Reader
) -> Any:
    return read(server, name, await coroutine)


def _replied(server: Any, name: str, result: Any) -> Any:
    """A `@call` method was called."""
    if type(result) in (Reply, NoReply, Stop):
        return result
    if is_no_state(result):
        raise _bad_return(server, CALL, name, result)
    return result, server._process.state


def _dropped(server: Any, name: str, result: Any) -> Any:
    """A `@call` method was cast: nobody waits for its reply."""
    if type(result) is Reply:
        follow = {"continue_with": result.continue_with, "timeout": result.timeout}
        return NoReply(result.state, **follow)
    if type(result) in (NoReply, Stop):
        return result
    if is_no_state(result):
        raise _bad_return(server, CALL, name, result)
    return None


def _told(server: Any, name: str, result: Any) -> Any:
    """A `@cast` method was cast."""
    if result is None or type(result) in (NoReply, Stop):
        return result
    raise _bad_return(server, CAST, name, result)


def _replied_none(server: Any, name: str, result: Any) -> Any:
    """A `@cast` method was called, by one who could not know: the reply is None."""
    told = _told(server, name, result)
    if told is None:
        return None, server._process.state
    if type(told) is NoReply:
        follow = {"continue_with": told.continue_with, "timeout": told.timeout}
        return Reply(None, told.state, **follow)
    reply = None if told.reply is UNCHANGED else told.reply
    return Stop(told.reason, reply=reply, state=told.state)


def _bad_return(server: Any, mark: str, name: str, result: Any) -> BadReturnValueError:
    behavior = server._process.callbacks.behavior
    return BadReturnValueError(f"@{mark} {behavior}.{name}", result)


def _refuse_call(server: Any, error: NoexError) -> NoReply:
    caller = server._process.current_caller()
    if caller is not None:
        caller.fail(error)
    return NoReply()


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """With the annotations as they are written, also under postponed evaluation."""
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # names that exist for type checkers alone
        return inspect.signature(function)


def methods_of(cls: type, behavior: str) -> Methods | None:
    """The marked methods of a class; None if it has none.

    An override in a subclass keeps the mark of what it overrides, also without one of its own.
    """
    marks: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            mark = mark_of(value) or marks.get(name)
            if mark is None:
                continue
            if callable(value) and not isinstance(value, _NO_METHOD):
                marks[name] = mark
            else:  # hidden by something that is no method
                del marks[name]
    return Methods(behavior, marks, cls) if marks else None


def casts_of(cls: type) -> tuple[str, ...]:
    """The methods of a class that are marked `@cast`."""
    methods = methods_of(cls, cls.__qualname__)
    return () if methods is None else methods.casts


def refusal(process: Process, name: str) -> UnknownMethodError:
    """Why a `MethodCall` is not for a process whose class has no marked methods at all.

    It is refused before it is sent, or when it arrives from another node, so that `handle_call`
    of such a class never meets one.
    """
    return UnknownMethodError(name, process.callbacks.behavior)
