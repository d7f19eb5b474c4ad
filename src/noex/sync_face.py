"""Faces: what a thread without a loop holds of a node, a ref, a supervisor, a monitor.

A face stands before the *plain* object, the one with ``async def``. Its methods are those of the
plain object: done on the loop thread, and waited for. `blocked` makes one from the other, so that
both have one signature and one docstring.

Refs and handles change on their way, in both directions: a face that is an argument, or an element
of a list, tuple or dict that is one, arrives as the plain object; a plain ref or handle that is a
result, or an element of one, comes back as a face. What lies deeper stays as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    NamedTuple,
    ParamSpec,
    TypeVar,
    overload,
)

from noex.sync_errors import LoopHeldError
from noex.sync_job import Job
from noex.sync_loop import LoopThread

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
W = TypeVar("W")

GRACE: Final = 0.5
"""Seconds that the loop may be late with a time limit before it counts as held."""
INSTANT: Final = 30.0
"""Seconds for what only looks something up on the loop."""

Converter = Callable[[LoopThread, Any], Any]
TO_FACE: Final[dict[type, Converter]] = {}
TO_PLAIN: Final[dict[type, Converter]] = {}


def convert(table: dict[type, Converter], thread: LoopThread, value: Any) -> Any:
    """`value` with faces for plain objects, or the reverse; itself if there is nothing to do."""
    kind = type(value)
    if kind in table:
        return table[kind](thread, value)
    if kind is tuple or kind is list:
        items = tuple(value)  # in one step: its owner may be at work on it
        for item in items:
            if type(item) in table:
                return kind([_convert_item(table, thread, each) for each in items])
    elif kind is dict:
        pairs = tuple(value.items())
        for pair in pairs:
            if type(pair[0]) in table or type(pair[1]) in table:
                return {
                    _convert_item(table, thread, key): _convert_item(table, thread, item)
                    for key, item in pairs
                }
    return value


def _convert_item(table: dict[type, Converter], thread: LoopThread, item: Any) -> Any:
    converter = table.get(type(item))
    return item if converter is None else converter(thread, item)


def plain_arguments(
    thread: LoopThread, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, each with plain objects for faces."""
    if args:
        args = tuple([convert(TO_PLAIN, thread, each) for each in args])
    if kwargs:
        kwargs = {name: convert(TO_PLAIN, thread, each) for name, each in kwargs.items()}
    return args, kwargs


class Face(Generic[W]):
    """A plain object, and the loop thread on which it lives."""

    __slots__ = ("__weakref__", "_plain", "_thread")

    def __init__(self, thread: LoopThread, plain: W) -> None:
        self._thread = thread
        self._plain = plain

    @property
    def plain(self) -> W:
        """The object behind it, with ``async`` methods: for code that runs on the loop."""
        return self._plain

    def __repr__(self) -> str:
        return f"<blocking {self._plain!r}>"

    def __eq__(self, other: object) -> bool:
        return bool(self._plain == (other._plain if isinstance(other, Face) else other))

    def __hash__(self) -> int:
        return hash(self._plain)

    if not TYPE_CHECKING:  # a type checker would take any name for one of ours

        def __getattr__(self, name: str) -> Any:
            """What this class does not name: the same of the plain object, blocking."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
            return face_of(self._thread, getattr(self._plain, name))

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the plain object on the loop thread."""
        method = getattr(self._plain, name)
        return self._invoke(method, args, kwargs, time_limit(method).of(args, kwargs))

    def _invoke(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        kind: type[Job] = Job,
    ) -> Any:
        args, kwargs = plain_arguments(self._thread, args, kwargs)
        done = functools.partial(function, *args, **kwargs)
        try:
            value = self._thread.run(done, limit=grace(timeout), kind=kind)
        except LoopHeldError as error:
            late = self._late(timeout)
            raise late or error from None
        return convert(TO_FACE, self._thread, value)

    def _late(self, timeout: Any) -> Exception | None:
        """What to raise when the loop is held, if not `LoopHeldError`."""
        return None


class Delegate(Face[Any]):
    """A method, or an object of noex that has no face of its own."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it on the loop thread."""
        return self._invoke(self._plain, args, kwargs, time_limit(self._plain).of(args, kwargs))


def face_of(thread: LoopThread, value: Any) -> Any:
    """An attribute of a plain object: what can be called or has methods is done on the loop."""
    if type(value) in TO_FACE:
        return TO_FACE[type(value)](thread, value)
    is_value = isinstance(value, Exception | type) or hasattr(type(value), "__dataclass_fields__")
    of_noex = type(value).__module__.partition(".")[0] == "noex" and not is_value
    return Delegate(thread, value) if callable(value) or of_noex else value


# ---------------------------------------------------------------------- time limits


def grace(timeout: Any) -> float | None:
    """How long to wait for a loop that has to end something after `timeout` seconds itself."""
    if isinstance(timeout, int | float) and timeout >= 0:
        return timeout + GRACE
    return None  # None, or what is no time: then the loop says so


class TimeLimit(NamedTuple):
    """Where a function has its `timeout` (None: only by name), and what it is if not given."""

    place: int | None
    default: Any
    named: bool = True  # whether it has one at all

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The timeout of one call."""
        if self.named and "timeout" in kwargs:
            return kwargs["timeout"]
        if self.place is not None and self.place < len(args):
            return args[self.place]
        return self.default


def time_limit(function: Callable[..., Any]) -> TimeLimit:
    """Of a function, or of a bound method."""
    if inspect.ismethod(function):
        return _time_limit(function.__func__, 1)
    if inspect.isfunction(function):
        return _time_limit(function, 0)
    return _time_limit(type(function).__call__, 1)


@functools.lru_cache(maxsize=256)  # by the function: a bound method would keep its object alive
def _time_limit(function: Any, bound: int) -> TimeLimit:
    """One without a `timeout` that does not wait is bounded, too."""
    if not inspect.isfunction(function):
        return TimeLimit(None, None, named=False)
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.name == "timeout":
            by_place = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            return TimeLimit(place - bound if by_place else None, parameter.default)
    may_wait = inspect.iscoroutinefunction(function) or function.__name__ == "__call__"
    return TimeLimit(None, None if may_wait else INSTANT, named=False)


# ---------------------------------------------------------------------- methods

if TYPE_CHECKING:

    class Blocked(Generic[P, T_co]):
        """A method with the parameters of the ``async`` one, that returns its result."""

        @overload
        def __get__(self, instance: None, owner: type) -> Blocked[P, T_co]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> Callable[P, T_co]: ...
        def __get__(self, instance: object, owner: type) -> Any: ...

    @overload
    def blocked(
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
    ) -> Blocked[P, T]: ...
    @overload
    def blocked(method: Callable[Concatenate[Any, P], T]) -> Blocked[P, T]: ...
    def blocked(method: Any) -> Any: ...

else:

    def blocked(method: Callable[..., Any]) -> Callable[..., Any]:
        """The blocking form of a method of a plain object."""
        name = method.__name__

        @functools.wraps(method)
        def do(self: Face[Any], *args: Any, **kwargs: Any) -> Any:
            return self._call(name, *args, **kwargs)

        return do
