"""Exceptions on the wire.

An exception always travels: what cannot be encoded of it goes as its repr, with a note that says
so. It carries its class by name, its `args`, its attributes, its notes, its cause (a bounded
chain; or the index of the argument that is the cause) and its traceback as text.

On arrival its class is used if it is registered or already imported here, is an `Exception`, and
goes back to one of Python's own; the instance is made by that built-in ancestor, so neither
`__new__` nor `__init__` of the class itself runs. Anything else becomes a `RemoteError`.
The text of the remote traceback is in the attribute `remote_traceback`, and in a note.
"""

from __future__ import annotations

import traceback
from typing import Any, Final, Protocol

from noex.runtime.errors import NoexError, RemoteError
from noex.transport.codec_errors import DecodeError
from noex.transport.codec_tags import CannotTravel, Tag, shown, told
from noex.transport.extensions import checked, dump_text, sized
from noex.transport.message import known, wire_name

_NESTED: Final = 16  # exceptions within exceptions: causes, groups, args
_TRACEBACK: Final = 16_000  # characters
_TEXT: Final = 2_000
_NOTES: Final = 32
_REMOTE: Final = "Remote traceback:\n"
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_ARGS: Final[Any] = vars(BaseException)["args"]  # the slot itself, whatever a subclass calls args
_SLOTS: Final = ("name", "path", "filename", "filename2", "value")
"""What built-in exceptions keep beside their args. (`obj` of an AttributeError stays at home.)"""


class Lowers(Protocol):
    """What is needed of the encoder."""

    depth: int
    errors: tuple[int, ...]

    def lower(self, value: Any) -> Any: ...
    def enter(self, size: int) -> None: ...


def dump(lowering: Lowers, error: BaseException) -> list[Any]:
    """The tagged array of an exception."""
    if id(error) in lowering.errors:
        raise CannotTravel("an exception that holds itself")
    if len(lowering.errors) >= _NESTED:
        raise CannotTravel(f"more than {_NESTED} exceptions within each other")
    lowering.enter(1)
    outer = lowering.errors
    lowering.errors = (*outer, id(error))
    try:
        return _parts(lowering, error)
    finally:
        lowering.errors = outer
        lowering.depth += 1


def _parts(lowering: Lowers, error: BaseException) -> list[Any]:
    lost: list[str] = []
    args = [_part(lowering, arg, f"args[{i}]", lost) for i, arg in enumerate(_args_of(error))]
    attributes = {
        name: _part(lowering, value, name, lost) for name, value in _attributes_of(error).items()
    }
    return [
        Tag.ERROR,
        wire_name(type(error)),
        lowering.lower(told(error, _TEXT)),
        [Tag.TUPLE, *args],
        attributes,
        [Tag.TUPLE, *map(lowering.lower, _notes_of(error)), *map(lowering.lower, lost[:_NOTES])],
        lowering.lower(_traceback_of(error, outermost=len(lowering.errors) == 1)),
        _cause_of(lowering, error),
    ]


def _part(lowering: Lowers, value: Any, where: str, lost: list[str]) -> Any:
    depth = lowering.depth
    try:
        return lowering.lower(value)
    except CannotTravel as refusal:
        lowering.depth = depth
        lost.append(f"{refusal.path(where)} did not travel: {refusal.reason}")
        return lowering.lower(shown(value, _TEXT))


def _args_of(error: BaseException) -> tuple[Any, ...]:
    if isinstance(error, BaseExceptionGroup):
        return error.message, list(error.exceptions)
    args: tuple[Any, ...] = _ARGS.__get__(error)
    return args


def _attributes_of(error: BaseException) -> dict[str, Any]:
    built_in = _built_in(type(error))
    found = {}
    for name in _SLOTS:
        value = _slot(built_in, name, error)
        if value is not None:
            found[name] = value
    found.update(_dict_of(error))
    for name in ("__notes__", "remote_traceback"):
        found.pop(name, None)
    if isinstance(error, NoexError):
        _leave_out_fields(error, found)
    return {name: value for name, value in found.items() if _is_name(name)}


def _is_name(name: Any) -> bool:
    return type(name) is str and dump_text(name) is name


def _dict_of(error: BaseException) -> dict[str, Any]:
    """The attributes themselves, whatever a class does when it is asked for one."""
    found: dict[str, Any] = object.__getattribute__(error, "__dict__")
    return found


def _slot(built_in: type, name: str, error: BaseException) -> Any:
    slot: Any = getattr(built_in, name, None)
    return slot.__get__(error) if hasattr(slot, "__set__") else None


def _leave_out_fields(error: NoexError, found: dict[str, Any]) -> None:
    for name, value in zip(type(error).fields, error.args, strict=False):
        if found.get(name, found) is value:
            del found[name]


def _notes_of(error: BaseException) -> list[str]:
    notes = _dict_of(error).get("__notes__")
    if type(notes) is not list:
        return []
    return [n for n in notes[:_NOTES] if type(n) is str and not n.startswith(_REMOTE)]


def _traceback_of(error: BaseException, *, outermost: bool) -> str:
    text = _dict_of(error).get("remote_traceback", "")
    if type(text) is not str:
        text = ""
    if error.__traceback__ is not None:
        text += _formatted(error, chain=outermost)
    return text if len(text) <= _TRACEBACK else "...\n" + text[-_TRACEBACK:]


def _formatted(error: BaseException, *, chain: bool) -> str:
    try:
        lines = traceback.format_exception(
            type(error), error, error.__traceback__, limit=-30, chain=chain
        )
    except Exception:  # it prints the error, and that is a user's code
        return ""
    return "".join(lines)


def _cause_of(lowering: Lowers, error: BaseException) -> Any:
    for index, arg in enumerate(_args_of(error)):
        if arg is error.__cause__ and arg is not None:
            return index  # it is on its way already
    depth = lowering.depth
    try:
        return None if error.__cause__ is None else lowering.lower(error.__cause__)
    except CannotTravel:  # the chain is too long, or closes on itself
        lowering.depth = depth
        return None


def load(items: list[Any]) -> Exception:
    """The exception of a tagged array."""
    name, text, args, attributes, notes, trace, cause = sized(items, 7)
    checked(args, tuple)
    checked(attributes, dict)
    for note in checked(notes, tuple):
        checked(note, str)
    if type(cause) is int:
        cause = _argument(args, cause)
    elif cause is not None and not isinstance(cause, Exception):
        raise DecodeError("the cause of an exception is none")
    error = _rebuilt(checked(name, str), args, attributes)
    if error is None:
        shown_name = name.replace(":", ".", 1)
        error = RemoteError(shown_name, checked(text, str), args)
    _attach(error, notes, checked(trace, str), cause)
    return error


def _argument(args: tuple[Any, ...], index: int) -> Exception | None:
    """The argument that is the cause, too. What was too deep to travel came as a text."""
    if not 0 <= index < len(args):
        raise DecodeError(f"the cause of an exception is its argument {index}, of {len(args)}")
    return args[index] if isinstance(args[index], Exception) else None


def _rebuilt(name: str, args: tuple[Any, ...], attributes: dict[str, Any]) -> Exception | None:
    cls = known(name)
    if cls is None or not issubclass(cls, Exception):
        return None
    built_in = _built_in(cls)
    try:
        error = built_in.__new__(cls, *args)
        if not issubclass(cls, BaseExceptionGroup):
            _initialise(error, args)
        _set_attributes(built_in, error, attributes)
    except Exception:  # a class that changed since, or args that no one gave it
        return None
    return error if type(error) is cls else None


def _built_in(cls: type) -> Any:
    """The built-in class whose memory layout `cls` has."""
    base: Any = cls
    while base.__flags__ & _HEAP_TYPE:
        base = base.__base__
    return base


def _initialise(error: BaseException, args: tuple[Any, ...]) -> None:
    """Runs the `__init__` that `super().__init__(*args)` reaches in the end, Python's own."""
    first: Any = next(base for base in type(error).__mro__ if not base.__flags__ & _HEAP_TYPE)
    try:
        first.__init__(error, *args)
    except Exception:  # e.g. a subclass of UnicodeError that gives its parent one sentence
        pass
    _ARGS.__set__(error, args)


def _set_attributes(built_in: Any, error: Any, attributes: dict[str, Any]) -> None:
    own = _dict_of(error)
    if isinstance(error, NoexError):
        own.update(zip(type(error).fields, error.args, strict=False))
    for name, value in attributes.items():
        checked(name, str)
        slot: Any = getattr(built_in, name, None) if name in _SLOTS else None
        if hasattr(slot, "__set__"):
            slot.__set__(error, value)
        elif name not in ("__notes__", "remote_traceback"):
            own[name] = value


def _attach(error: Exception, notes: tuple[str, ...], trace: str, cause: Exception | None) -> None:
    all_notes = list(notes)
    if trace:
        _dict_of(error)["remote_traceback"] = trace
        all_notes.append(_REMOTE + trace)
    if all_notes:
        _dict_of(error)["__notes__"] = all_notes
    if cause is not None:
        error.__cause__ = cause
