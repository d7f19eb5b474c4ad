"""Typed calls: what a type checker knows of a request, and of the methods of a GenServer.

Two kinds, which may be mixed in one class:

- A message that names the type of its reply: ``class Get(Request[int])``; `await ref.call(Get())`
  is an `int`. It is handled in `handle_call` like any other message.
- A method marked `@call` or `@cast`, reached through `ref.proxy` with its own signature. It travels
  as a `MethodCall`; `noex.runtime.proxy` is the side of the caller, `noex.runtime.methods` the one
  of the server.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from noex.runtime.returns import NoReply, Reply, Stop

if TYPE_CHECKING:
    from noex.runtime.proxy import RemoteCall, RemoteCast

    Special = Reply | NoReply | Stop

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
I_co = TypeVar("I_co", covariant=True)
G_co = TypeVar("G_co", covariant=True)
L = TypeVar("L")
L_co = TypeVar("L_co", covariant=True)

Told = TypeVar("Told", bound="NoReply | Stop | Coroutine[Any, Any, NoReply | Stop | None] | None")

MARK: Final = "__noex_mark__"
CALL: Final = "call"
CAST: Final = "cast"
CALLBACKS: Final = frozenset(
    {
        "init",
        "handle_call",
        "handle_cast",
        "handle_info",
        "handle_continue",
        "handle_stop",
        "terminate",
        "format_status",
    }
)
OF_ITSELF: Final = frozenset(
    {"state", "ref", "node", "kernel", "name", "log", "caller", "fence", "trap_exits"}
)
"""The properties of a GenServer: a marked method `state` would reply with itself."""


class Request(Generic[R_co]):
    """A message whose reply has a type: ``class Get(Request[int])``.

    ``await ref.call(Get())`` is then an `int` for mypy and pyright. What `handle_call` really
    replies is not looked at. A plain class or a dataclass; `@noex.message` lets it travel::

        @noex.message
        @dataclass(frozen=True)
        class Add(Request[int]):
            amount: int
    """

    __slots__ = ()


class State(Protocol):
    """What `init` returns unless that is `Ignore`: the one class which, for type checkers, does
    not fit here."""

    def __sizeof__(self) -> int: ...


class Startable(Protocol[P, I_co, G_co]):
    """A GenServer class, for type checkers: the arguments of its `init`, what that returns, and
    the instances."""

    def init(self, this: Any, /, *args: P.args, **kwargs: P.kwargs) -> I_co: ...
    def _instance(self) -> G_co: ...


class MethodCall(NamedTuple):
    """What travels when a method is called or cast through `ref.proxy`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


if TYPE_CHECKING:

    class CallMethod(Generic[P, L_co]):
        """A method marked `@call`: remote on the class (the proxy), plain on an instance."""

        @overload
        def __get__(
            self: CallMethod[P, Coroutine[Any, Any, R | Special]], instance: None, owner: type[Any]
        ) -> RemoteCall[P, R]: ...
        @overload
        def __get__(
            self: CallMethod[P, R | Special], instance: None, owner: type[Any]
        ) -> RemoteCall[P, R]: ...
        @overload
        def __get__(self, instance: object, owner: type[Any]) -> Callable[P, L_co]: ...
        def __get__(self, instance: Any, owner: type[Any]) -> Any: ...

    class CastMethod(Generic[P, L_co]):
        """A method marked `@cast`."""

        @overload
        def __get__(self, instance: None, owner: type[Any]) -> RemoteCast[P]: ...
        @overload
        def __get__(self, instance: object, owner: type[Any]) -> Callable[P, L_co]: ...
        def __get__(self, instance: Any, owner: type[Any]) -> Any: ...


def call(method: Callable[Concatenate[Any, P], L]) -> CallMethod[P, L]:
    """Mark a method of a GenServer that answers: ``await ref.proxy.add(5)``.

    What it returns is the reply; `self.state` is the state, to read and to set. `Reply`, `NoReply`
    and `Stop` mean what they mean in `handle_call`. An exception is a crash. `def` or
    `async def`::

        class Counter(GenServer[int]):
            def init(self, start: int = 0) -> int:
                return start

            @call
            def add(self, amount: int) -> int:
                self.state += amount
                return self.state

    ``ref.proxy.add.cast(5)`` does not wait. ``self.add(5)``, inside, is the plain method. An
    override in a subclass needs no mark of its own. Raises TypeError for what is no method, and
    for a callback such as `handle_call`, or a property such as `state`.
    """
    return typing.cast("CallMethod[P, L]", _marked(method, CALL))


def cast(method: Callable[Concatenate[Any, P], Told]) -> CastMethod[P, Told]:
    """Mark a method of a GenServer that does not answer: ``ref.proxy.reset()`` is a `ref.cast`.

    It returns None, `NoReply` or `Stop`; all else is as with `@call`.
    """
    return typing.cast("CastMethod[P, Told]", _marked(method, CAST))


def _marked(method: Any, mark: str) -> Any:
    """The function itself, so that ``self.add(5)`` and ``super().add(5)`` are ordinary calls."""
    if isinstance(method, staticmethod | classmethod | property) or not callable(method):
        raise TypeError(f"@{mark} marks a plain method, not {method!r}")
    name = getattr(method, "__name__", "")
    if name in CALLBACKS:
        raise TypeError(f"@{mark}: {name} is a callback of GenServer; mark a method of your own")
    if name in OF_ITSELF:
        raise TypeError(f"@{mark}: self.{name} is of GenServer itself; take another name")
    if mark_of(method) not in (None, mark):
        raise TypeError(f"@{mark}: {name} is marked @{mark_of(method)} already")
    setattr(method, MARK, mark)
    return method


def mark_of(method: Any) -> str | None:
    """``"call"`` or ``"cast"`` for a method that others may reach."""
    return getattr(method, MARK, None)
