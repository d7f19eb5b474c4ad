"""`ref.proxy`: the methods of a process, as its callers see them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from noex.runtime.methods import refusal
from noex.runtime.reports import report_refused_cast
from noex.runtime.typed import MethodCall

if TYPE_CHECKING:
    from noex.runtime.process import Process
    from noex.runtime.ref import Ref

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
DEFAULT_TIMEOUT: Final = 5.0  # seconds, as that of `Ref.call`


class RemoteCall(Generic[P, R_co]):
    """A method marked `@call`, to be called: ``await ref.proxy.add(5)``.

    Raises what `ref.call` raises; `UnknownMethodError` when the process has no such method, and
    `BadArgumentsError` when the arguments do not fit. The process lives on after either.
    """

    __slots__ = ("_name", "_ref", "_timeout")

    def __init__(self, ref: Ref[Any], name: str, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        self._ref = ref
        self._name = name
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._ref}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call it, and wait for the reply when this is awaited."""
        message = MethodCall(self._name, args, kwargs)
        process = self._ref.process or _named(self._ref)
        if process is not None and process.callbacks.methods is None:
            raise refusal(process, self._name)
        return self._ref.call(message, timeout=self._timeout)

    def cast(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Have it run without waiting, as `ref.cast`; its reply is dropped."""
        return _cast(self._ref, MethodCall(self._name, args, kwargs))

    def with_timeout(self, timeout: float | None) -> RemoteCall[P, R_co]:
        """The same method with another timeout: ``await ref.proxy.add.with_timeout(0.5)(5)``.

        `timeout`: seconds, by default 5, or None for no limit.
        """
        return RemoteCall(self._ref, self._name, timeout)


class RemoteCast(Generic[P]):
    """A method marked `@cast`: ``ref.proxy.reset()`` is a `ref.cast`, and returns what that does.

    A process without such a method, or whose method does not take these arguments, logs it and
    lives on.
    """

    __slots__ = ("_name", "_ref")

    def __init__(self, ref: Ref[Any], name: str) -> None:
        self._ref = ref
        self._name = name

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._ref}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Have it run, without waiting."""
        return _cast(self._ref, MethodCall(self._name, args, kwargs))

    def cast(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """The same, for those who cast all kinds of method."""
        return self(*args, **kwargs)


class Proxy:
    """The methods of a process, by name. Made anew by each `ref.proxy`; costs nothing to keep."""

    __slots__ = ("_ref",)

    def __init__(self, ref: Ref[Any]) -> None:
        self._ref = ref

    def __repr__(self) -> str:
        return f"<proxy of {self._ref}>"

    def __getattribute__(self, name: str) -> Any:
        # Not `__getattr__`, for which Python first makes an error that says there is none.
        if name[:2] == "__" or name == "_ref":  # asked for by copy, inspect and their like
            return object.__getattribute__(self, name)
        ref = _ref_of(self)
        if name in (_named_casts(ref) if ref.serial == 0 else ref.casts):
            return RemoteCast(ref, name)
        return RemoteCall(ref, name)


_ref_of: Final = Proxy.__dict__["_ref"].__get__


def _named(ref: Ref[Any]) -> Process | None:
    """The process that has the name now, if `ref` is a name on this node."""
    return ref.kernel.find(ref) if ref.serial == 0 and ref.is_local else None


def _named_casts(ref: Ref[Any]) -> tuple[str, ...]:
    process = _named(ref)
    if process is None or process.callbacks.methods is None:
        return ref.casts
    return process.callbacks.methods.casts


def _cast(ref: Ref[Any], message: MethodCall) -> bool:
    process = ref.process or _named(ref)
    if process is not None and process.callbacks.methods is None:
        report_refused_cast(process, refusal(process, message.name))
        return False
    return ref.cast(message)
