"""Every error that a process or a node can raise, under one root.

The tree (supervisor errors continue it in `noex.supervisor.errors`)::

    NoexError
    ├── NoProcessError(ref)                      the target is not alive
    ├── ServerCrashedError(ref, reason)          the target ended before it did what was asked
    ├── CallTimeoutError(ref, timeout)           no reply in time; also a TimeoutError
    ├── NodeNotReachableError(node_id)           the target's node is gone; also a ConnectionError
    ├── OverloadedError(node_id, ref)            the queue to a node, or a mailbox, is full
    ├── CallCycleError(ref)                      the call could only wait for itself
    ├── ProcessKilledError(ref)                  the caller was killed and runs on as a zombie
    ├── WrongThreadError(operation, advice)      not in this thread; also a RuntimeError
    ├── InitFailedError(behavior, name)          `init` raised; the exception is `__cause__`
    ├── InitTimeoutError(behavior, timeout)      `init` did not return in time; also a TimeoutError
    ├── NameTakenError(name, owner)              a local name is in use
    ├── GlobalNameConflictError(name, owner)     a global name is in use
    ├── BadReturnValueError(callback, value)     a callback returned what it may not
    ├── UnknownMethodError(method, behavior)     `ref.proxy` has no method of this name
    ├── BadArgumentsError(method, signature)     its arguments do not fit; also a TypeError
    ├── UnhandledMessageError(message)           raised by a `match` that knows no such message
    ├── BehaviorNotFoundError(behavior_name, node_id)
    ├── MessageSerializationError(operation, path)
    ├── RemoteError(type_name)                   an exception whose class is not known here
    ├── NodeStoppedError(node_id)                the node is not running
    ├── PortInUseError(address)                  also an OSError
    ├── InsecureBindError(address)               a bind beyond loopback without security
    ├── JoinTimeoutError(node_id, reason)        no member in time; also a TimeoutError
    └── InvalidValueError                        also a ValueError
        ├── InvalidNodeIdError(input, reason)
        ├── InvalidOptionError(field, value, reason)
        └── InvalidChildSpecError(field, value, reason)

Each class rebuilds itself from its `args`, so an error that was raised on another node
arrives as the same class with the same fields.
"""

from __future__ import annotations

import re
from typing import Any, Final

_OPTION: Final = re.compile(
    r"^ got an unexpected keyword argument '(name|link|register|mailbox|init_timeout|timeout)'"
)


class NoexError(Exception):
    """The root of all errors of noex: ``except NoexError`` catches each of them.

    A subclass names its fields in `fields`; they are its `args`, in that order, which is what
    lets an error travel. `describe` makes the sentence that people read.
    """

    fields: tuple[str, ...] = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for name, value in zip(self.fields, args, strict=False):
            setattr(self, name, value)

    def __str__(self) -> str:
        try:
            return self.describe()
        except Exception:  # a half-built error (foreign args) must still print
            return super().__str__()

    def describe(self) -> str:
        """The sentence shown to people: what happened, to whom, and what to do."""
        return super().__str__()


class NoProcessError(NoexError):
    """The target of a call is not alive: it ended, or the ref is of an earlier life of its node."""

    fields = ("ref",)

    def __init__(self, ref: Any) -> None:
        super().__init__(ref)

    def describe(self) -> str:
        return f"{self.args[0]} is not alive; look it up again before you retry"


class ServerCrashedError(NoexError):
    """The target ended while the call was waiting for its reply, or a stop for its orderly end.

    `reason` is its exit reason: the exception of a crash, or a string such as ``"killed"``. An
    exception is the cause of this error too, so that a traceback shows where it was raised.
    """

    fields = ("ref", "reason")

    def __init__(self, ref: Any, reason: Any) -> None:
        super().__init__(ref, reason)
        if isinstance(reason, BaseException):
            self.__cause__ = reason

    def describe(self) -> str:
        ref, reason = self.args
        noex = isinstance(reason, NoexError)
        said = f"{type(reason).__name__}: {reason}" if noex else repr(reason)
        return f"{ref} ended before it did what was asked, reason {said}"


class CallTimeoutError(NoexError, TimeoutError):
    """No reply within `timeout` seconds. The target may still have done, or do, the work.

    Only a local call that was still in the mailbox is certain not to be carried out.
    """

    fields = ("ref", "timeout")

    def __init__(self, ref: Any, timeout: float) -> None:
        super().__init__(ref, timeout)

    def describe(self) -> str:
        return (
            f"{self.args[0]} did not reply within {self.args[1]:g} s; "
            "pass timeout= for slower work, and note that the request may still be carried out"
        )


class NodeNotReachableError(NoexError, ConnectionError):
    """The node of the target is not a member, or was lost while the call was waiting.

    In the second case nobody knows whether the request was carried out.
    """

    fields = ("node_id",)

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)

    def describe(self) -> str:
        return f"node {self.args[0]} is not reachable: it is not (or no longer) a member here"


class OverloadedError(NoexError):
    """More waits than may. The request was not carried out.

    Either the queue to a node is full, because it reads more slowly than this node sends (how much
    may wait is `LaneSettings.window_bytes`). Or the mailbox of `ref` has a bound (`Mailbox`), and
    is full; `ref` is None otherwise.
    """

    fields = ("node_id", "ref")

    def __init__(self, node_id: str, ref: Any = None) -> None:
        super().__init__(node_id, ref)

    def describe(self) -> str:
        node_id, ref = self.args
        full = f"the send queue to node {node_id}" if ref is None else f"the mailbox of {ref}"
        return f"{full} is full; slow down, or retry later"


class CallCycleError(NoexError):
    """The call could only wait for itself: a process called itself, or A calls B calls A."""

    fields = ("ref",)

    def __init__(self, ref: Any) -> None:
        super().__init__(ref)

    def describe(self) -> str:
        return (
            f"calling {self.args[0]} from here would wait for this very handler; "
            "use cast, or call from a task started with spawn_task"
        )


class ProcessKilledError(NoexError):
    """The calling process was killed; its code that still runs may not use noex any more.

    Such a handler is a zombie. Let this error pass, and `CancelledError` too.
    """

    fields = ("ref",)

    def __init__(self, ref: Any) -> None:
        super().__init__(ref)

    def describe(self) -> str:
        return f"{self.args[0]} was killed; this is what is left of its handler"


class WrongThreadError(NoexError, RuntimeError):
    """The operation belongs to another thread than the one in which it was tried.

    A coroutine of noex belongs to the loop of its node, and not to one that a handler in a thread
    runs for itself; `self.run` belongs to the thread of a handler.
    """

    fields = ("operation", "advice")

    def __init__(self, operation: str, advice: str) -> None:
        super().__init__(operation, advice)

    def describe(self) -> str:
        operation, advice = self.args
        return f"{operation} cannot be used in this thread: {advice}"


class InitFailedError(NoexError):
    """`init` raised (see `__cause__`). The process is dead and its name is free."""

    fields = ("behavior", "name")

    def __init__(self, behavior: str, name: str | None = None) -> None:
        super().__init__(behavior, name)

    def describe(self) -> str:
        named = f" (named {self.args[1]!r})" if self.args[1] else ""
        cause = f": {self.__cause__!r}" if self.__cause__ is not None else ""
        return f"init of {self.args[0]}{named} failed{cause}{_advice(self.args[0], self.__cause__)}"


def _advice(behavior: str, cause: BaseException | None) -> str:
    """For the mistakes of a first class: an option given to `init`, and `__init__` for `init`."""
    text = str(cause)
    if isinstance(cause, TypeError) and _OPTION.search(text.rpartition(f"{behavior}.init()")[2]):
        return "; options go to node.options(...).start(...), init takes what start is given"
    is_constructor = isinstance(cause, TypeError) and f"{behavior}.__init__() " in text
    if is_constructor or (isinstance(cause, AttributeError) and cause.name == "_process"):
        return "; write init(), not __init__(): it gets the arguments of start, and has the process"
    return ""


class InitTimeoutError(NoexError, TimeoutError):
    """`init` did not return within `timeout` seconds. The process is dead and its name is free."""

    fields = ("behavior", "timeout")

    def __init__(self, behavior: str, timeout: float) -> None:
        super().__init__(behavior, timeout)

    def describe(self) -> str:
        return (
            f"init of {self.args[0]} did not return within {self.args[1]:g} s; "
            "raise init_timeout, or do the slow part after init"
        )


class NameTakenError(NoexError):
    """A local name is in use by `owner`."""

    fields = ("name", "owner")

    def __init__(self, name: str, owner: Any) -> None:
        super().__init__(name, owner)

    def describe(self) -> str:
        return f"the name {self.args[0]!r} belongs to {self.args[1]}"


class GlobalNameConflictError(NoexError):
    """A global name is in use by `owner`."""

    fields = ("name", "owner")

    def __init__(self, name: str, owner: Any) -> None:
        super().__init__(name, owner)

    def describe(self) -> str:
        return f"the global name {self.args[0]!r} belongs to {self.args[1]}"


class BadReturnValueError(NoexError):
    """A callback returned a value that its contract does not allow. It ends the process."""

    fields = ("callback", "value")

    def __init__(self, callback: str, value: Any) -> None:
        super().__init__(callback, value)

    def describe(self) -> str:
        callback, value = self.args
        if hasattr(type(value), "__await__"):
            return (
                f"{callback} returned an awaitable ({value!r}); await it in an `async def` handler"
            )
        legal = {
            "handle_call": "(reply, state), Reply, NoReply or Stop",
            "init": "the state, Ok or Ignore",
            "@call": "the reply, Reply, NoReply or Stop",
            "@cast": "None, NoReply or Stop, and a new state is set as self.state",
        }.get(callback.partition(" ")[0], "the new state, None, NoReply or Stop")
        return f"{callback} returned {value!r}; legal is {legal}"


class UnknownMethodError(NoexError):
    """The process has no such method marked `@call` or `@cast`. It lives on.

    `known` are those that it has.
    """

    fields = ("method", "behavior", "known")

    def __init__(self, method: str, behavior: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(method, behavior, known)

    def describe(self) -> str:
        method, behavior, known = self.args
        has = f"it has {', '.join(known)}" if known else "it has none"
        return f"{behavior} has no method {method!r} marked @call or @cast; {has}"


class BadArgumentsError(NoexError, TypeError):
    """The arguments do not fit the method. It was not called, and the process lives on."""

    fields = ("method", "signature", "reason")

    def __init__(self, method: str, signature: str, reason: str) -> None:
        super().__init__(method, signature, reason)

    def describe(self) -> str:
        method, signature, reason = self.args
        return f"{method}{signature} cannot be called so: {reason}"


class UnhandledMessageError(NoexError):
    """The handler has no case for this message. Write `case _: raise Unhandled(message)`.

    `missing` names the callback if the class has none for this kind of message.
    """

    fields = ("message", "missing")

    def __init__(self, message: Any, missing: str = "") -> None:
        super().__init__(message, missing)

    def describe(self) -> str:
        message, missing = self.args
        lack = f": {missing} is not defined" if missing else ""
        return f"no handler for message {message!r}{lack}"


class BehaviorNotFoundError(NoexError):
    """No behavior of this name is registered on that node."""

    fields = ("behavior_name", "node_id")

    def __init__(self, behavior_name: str, node_id: str) -> None:
        super().__init__(behavior_name, node_id)

    def describe(self) -> str:
        return (
            f"behavior {self.args[0]!r} is not registered on {self.args[1]}; "
            "register it there with @behavior or BehaviorRegistry.register before the node starts"
        )


class MessageSerializationError(NoexError):
    """A value cannot travel. `path` names the field, e.g. ``args[0].conn``.

    Raised at the line that sends; a reply that cannot travel raises it at the caller. `operation`
    says what was being sent, `reason` why it cannot. A class of one's own travels with `@message`.
    """

    fields = ("operation", "path", "reason")

    def __init__(self, operation: str, path: str, reason: str = "") -> None:
        super().__init__(operation, path, reason)

    def describe(self) -> str:
        operation, path, reason = self.args
        return f"{operation}: {path or 'the value'} cannot travel: {reason}"


class RemoteError(NoexError):
    """An exception from another node whose class is not known here.

    `type_name` is its class, `text` its message, `remote_args` its arguments. Classes of modules
    that are imported here arrive as themselves.
    """

    fields = ("type_name", "text", "remote_args")

    def __init__(self, type_name: str, text: str = "", remote_args: tuple[Any, ...] = ()) -> None:
        super().__init__(type_name, text, remote_args)

    def describe(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class NodeStoppedError(NoexError):
    """The node is not running: not started yet, stopped, or carried through a fork."""

    fields = ("node_id", "reason")

    def __init__(self, node_id: str, reason: str = "it is not running") -> None:
        super().__init__(node_id, reason)

    def describe(self) -> str:
        return f"node {self.args[0]} cannot be used: {self.args[1]}"


class PortInUseError(NoexError, OSError):
    """Another socket is bound to this address."""

    fields = ("address",)

    def __init__(self, address: str) -> None:
        super().__init__(address)

    def describe(self) -> str:
        return (
            f"cannot bind {self.args[0]}: the address is in use; "
            "stop the other program, choose another port, or use port 0"
        )


class InsecureBindError(NoexError):
    """A bind beyond loopback without any security.

    ``cluster_secret=`` or ``keys=`` encrypts; ``insecure=True`` allows it in the clear.
    """

    fields = ("address",)

    def __init__(self, address: str) -> None:
        super().__init__(address)

    def describe(self) -> str:
        return (
            f"refusing to bind {self.args[0]}: without security a node binds to loopback only; "
            "give it a cluster_secret= that all nodes have, or keys= (NodeKeys), bind a loopback "
            "address, or say insecure=True to send everything unencrypted and believe everybody"
        )


class JoinTimeoutError(NoexError, TimeoutError):
    """The node was not let into a cluster within `join_timeout`; `reason` says what is known."""

    fields = ("node_id", "reason")

    def __init__(self, node_id: str, reason: str) -> None:
        super().__init__(node_id, reason)

    def describe(self) -> str:
        return f"{self.args[0]} is {self.args[1]}"


def _shown(value: Any) -> str:
    """The repr of what was wrong, bounded, whatever it does when it is asked for one."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__} object>"
    return text if len(text) <= 200 else text[:197] + "..."


class InvalidValueError(NoexError, ValueError):
    """A value given by the user is not legal: `field` and `reason` of the subclasses say more."""


class InvalidNodeIdError(InvalidValueError):
    """A node id that is not ``name@host:port``."""

    fields = ("input", "reason")

    def __init__(self, input: Any, reason: str) -> None:
        super().__init__(input, reason)

    def describe(self) -> str:
        return f"invalid node id {_shown(self.args[0])}: {self.args[1]}; the form is name@host:port"


class InvalidOptionError(InvalidValueError):
    """An option has a value that is not legal."""

    fields = ("field", "value", "reason")

    def __init__(self, field: str, value: Any, reason: str) -> None:
        super().__init__(field, value, reason)

    def describe(self) -> str:
        return f"option {self.args[0]}={_shown(self.args[1])}: {self.args[2]}"


class InvalidChildSpecError(InvalidValueError):
    """A field of a child spec has a value that is not legal."""

    fields = ("field", "value", "reason")

    def __init__(self, field: str, value: Any, reason: str) -> None:
        super().__init__(field, value, reason)

    def describe(self) -> str:
        return f"child spec field {self.args[0]}={_shown(self.args[1])}: {self.args[2]}"
