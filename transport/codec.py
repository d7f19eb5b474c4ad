"""Values to bytes and back, exactly: the same value of the same type arrives, or sending raises.

Never pickle: what arrives is data, and the only code it reaches is that of classes which are
registered or already imported here (see `noex.transport.message`). The wire form is described in
`noex.transport.codec_tags`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, overload

from msgpack import Packer, Unpacker, unpackb

from noex.runtime import messages
from noex.runtime.errors import MessageSerializationError
from noex.runtime.typed import MethodCall
from noex.transport.codec_apart import APART_FROM, SCALARS, Aside, Brought, only_scalars
from noex.transport.codec_build import Hook, hook_for, refuse_extension
from noex.transport.codec_errors import DecodeError, UnknownTypeError
from noex.transport.codec_limits import CodecLimits
from noex.transport.codec_lower import Lowering
from noex.transport.codec_shape import LISTS as LISTS_HELD
from noex.transport.codec_shape import OTHER, shape, shape_inside
from noex.transport.codec_tags import (
    ATOMS,
    FEW,
    LISTS,
    MARK,
    TAGGED,
    TUPLE_OF_LISTS,
    CannotTravel,
    only_atoms,
    told,
)
from noex.transport.extensions import checked
from noex.transport.message import message, register
from noex.transport.parcel import Parcel

__all__ = [
    "Codec",
    "CodecLimits",
    "DecodeError",
    "Parcel",
    "RefHooks",
    "UnknownTypeError",
    "message",
    "register",
]

_SHORT: Final = 6  # items: up to here a loop is quicker than a set
_SMALL: Final = 4096  # bytes: below it, claims of absent items cannot cost much memory
_KEEP: Final = 1 << 20  # bytes: a packer keeps the buffer of its largest message
_PLAIN: Final = b""
_TAGGED_BYTE: Final = TAGGED[1]
_LISTS_BYTE: Final = LISTS[1]
_TUPLE_OF_LISTS_BYTE: Final = TUPLE_OF_LISTS[1]

for _cls in (messages.Down, messages.Exit, messages.NodeUp, messages.NodeDown):
    register(_cls)
register(messages.NameConflict)
register(MethodCall)


class RefHooks(Protocol):
    """How refs travel. Encoding a ref stamps the present life of its node: `dump` decides."""

    ref_type: type

    def dump(self, ref: Any) -> tuple[Any, ...]:
        """``(node_id, incarnation, serial, name, *casts)``: str, int, int, str or None, and str."""
        ...

    def load(
        self, node_id: str, incarnation: int, serial: int, name: str | None, *casts: str
    ) -> Any:
        """The ref for what `dump` gave."""
        ...


class Codec:
    """Encodes and decodes messages.

    `refs`: how refs travel; without it they do not.
    `limits`: bounds on the size and shape of one message.

    An instance holds a packer with a buffer. It has no other state, and one call into it never
    gives way to another, so it may be shared freely.
    """

    __slots__ = ("_build", "_dump_ref", "_limits", "_pack", "_quick", "_ref_type", "_small")

    def __init__(self, *, refs: RefHooks | None = None, limits: CodecLimits | None = None) -> None:
        self._limits = limits or CodecLimits()
        self._ref_type = None if refs is None else refs.ref_type
        self._dump_ref = None if refs is None else refs.dump
        self._pack: Callable[[Any], bytes] = Packer().pack
        self._build = hook_for(None if refs is None else refs.load)
        self._quick = min(_KEEP, self._limits.max_bytes, self._limits.max_items)
        self._small = min(_SMALL, self._limits.max_bytes, self._limits.max_items)

    @overload
    def encode(
        self,
        value: Any,
        *,
        operation: str = ...,
        root: str = ...,
        apart: Literal[False] = ...,
    ) -> bytes: ...

    @overload
    def encode(
        self, value: Any, *, operation: str = ..., root: str = ..., apart: Literal[True]
    ) -> bytes | Parcel: ...

    def encode(
        self,
        value: Any,
        *,
        operation: str = "send",
        root: str = "message",
        apart: bool = False,
    ) -> bytes | Parcel:
        """The bytes of `value`. With `apart`, large binaries in it come beside them, uncopied.

        Raises `MessageSerializationError` with `operation` and the path from `root` to the part
        that cannot travel, such as ``message[2].args[0].conn``.
        """
        kind = type(value)
        if kind is tuple and len(value) < _SHORT:  # most messages: what follows, written out
            for item in value:
                if type(item) not in SCALARS:
                    break
            else:
                try:
                    data = self._pack(value)
                    if len(data) <= self._quick:
                        return data
                except Exception:  # the long way knows what is wrong
                    pass
        simple, only_simple = (SCALARS, only_scalars) if apart else (ATOMS, only_atoms)
        if (
            kind in simple
            or (
                only_simple(map(type, value))
                if kind is tuple
                else kind is dict
                and only_atoms(map(type, value))
                and only_simple(map(type, value.values()))
            )
            or (apart and _is_small(value, kind))
        ):
            try:
                data = self._pack(value)
            except Exception:  # an int beyond 64 bits or a lone surrogate
                pass
            else:
                if len(data) <= self._quick or self._fits(value, kind, len(data)):
                    return data
        try:
            return self._encode(value, kind, simple)
        except CannotTravel as refusal:
            path = refusal.path(root)
            raise MessageSerializationError(operation, path, refusal.reason) from None
        except Exception as error:  # a user's property, a list that grew meanwhile, a deep stack
            reason = f"{type(error).__name__}: {told(error)}"
            raise MessageSerializationError(operation, root, reason) from error

    def decode(self, data: bytes | memoryview | Parcel) -> Any:
        """The value that `encode` was given.

        Raises `DecodeError` for bytes that are no valid message, and `UnknownTypeError` for a
        valid one of a type that is not known here; nothing else.
        """
        try:
            if type(data) is Parcel:
                return self._decode_apart(data)
            if data[0] != MARK and len(data) <= self._small:
                return unpackb(
                    data,
                    use_list=False,
                    strict_map_key=False,
                    timestamp=3,
                    ext_hook=refuse_extension,
                )
            return self._decode(data)
        except (DecodeError, UnknownTypeError):
            raise
        except Exception as error:  # whatever msgpack or a class says about a stranger's bytes
            reason = f"{type(error).__name__}: {told(error)}"
        raise DecodeError(reason)

    def _fits(self, value: Any, kind: type, size: int) -> bool:
        """Whether a large message of atoms alone is within the limits."""
        if size > _KEEP:
            self._pack = Packer().pack
        items = 1 if kind in ATOMS else len(value)
        return size <= self._limits.max_bytes and items <= self._limits.max_items

    def _encode(self, value: Any, kind: type, simple: frozenset[type]) -> bytes | Parcel:
        form = self._plain_form(value, kind, simple)
        if form is not None:
            data = self._packed(value)
            if data is not None:
                return self._bounded(form + data)
        else:
            aside = Aside() if simple is SCALARS else None
            data = self._packed(self._lowered(value, aside, careful=False))
            if data is not None:
                return self._bounded(TAGGED + data, aside)
        aside = Aside() if simple is SCALARS else None
        return self._bounded(TAGGED + self._pack(self._lowered(value, aside, careful=True)), aside)

    def _plain_form(self, value: Any, kind: type, simple: frozenset[type]) -> bytes | None:
        """The mark of the plain form that can carry it, or None."""
        depth, items = self._limits.max_depth, self._limits.max_items
        if kind is tuple:
            found = shape_inside(value, depth, items, simple)
            if not found & (LISTS_HELD | OTHER):
                return _PLAIN
            return TUPLE_OF_LISTS if found == LISTS_HELD else None
        if kind is not dict and kind is not list:
            return _PLAIN if kind in simple or (kind is bytes and _is_small(value, kind)) else None
        found = shape(value, depth, items, simple)
        if not found & (LISTS_HELD | OTHER):
            return _PLAIN
        return LISTS if found == LISTS_HELD else None

    def _packed(self, plain: Any) -> bytes | None:
        """The bytes of plain items; None if some int or str among them needs care."""
        try:
            return self._pack(plain)
        except Exception:
            return None

    def _lowered(self, value: Any, aside: Aside | None, *, careful: bool) -> Any:
        limits, ref_type, dump_ref = self._limits, self._ref_type, self._dump_ref
        return Lowering(limits, ref_type, dump_ref, careful=careful, aside=aside).lower(value)

    def _bounded(self, data: bytes, aside: Aside | None = None) -> bytes | Parcel:
        if len(data) > _KEEP:
            self._pack = Packer().pack
        size = len(data) if aside is None else len(data) + aside.size
        if size > self._limits.max_bytes:
            raise CannotTravel(
                f"it takes {size} bytes, and CodecLimits.max_bytes is {self._limits.max_bytes}"
            )
        return data if aside is None or not aside.buffers else Parcel(data, aside.buffers)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise DecodeError(
                f"it has {size} bytes, and CodecLimits.max_bytes is {self._limits.max_bytes}"
            )

    def _decode_apart(self, parcel: Parcel) -> Any:
        self._check_size(len(parcel))
        data = parcel.data[parcel.start :]
        if bytes(data[:2]) != TAGGED:
            raise DecodeError("buffers beside a message of a form without placeholders")
        brought = Brought(parcel.buffers)
        value = self._unpacked(data[2:], list_hook=self._build, ext_hook=brought)
        brought.check()
        return value

    def _decode(self, data: bytes | memoryview) -> Any:
        size = len(data)
        self._check_size(size)
        if data[0] != MARK:
            return self._unpacked(data, use_list=False)
        form, body = data[1], data[2:] if size <= _SMALL else memoryview(data)[2:]
        if form == _TAGGED_BYTE:
            return self._unpacked(body, list_hook=self._build)
        if form == _LISTS_BYTE:
            return self._unpacked(body)
        if form == _TUPLE_OF_LISTS_BYTE:
            return tuple(checked(self._unpacked(body), list))
        raise DecodeError(f"a form {form} that is not known here")

    def _unpacked(
        self,
        data: bytes | memoryview,
        *,
        use_list: bool = True,
        list_hook: Hook | None = None,
        ext_hook: Callable[[int, bytes], Any] = refuse_extension,
    ) -> Any:
        size = len(data)
        if size > _SMALL:
            _check_complete(data, size)
        most = self._limits.max_items
        arrays = most if list_hook is None else 2 * most + 1  # a tag; a dict as keys and values
        return unpackb(
            data,
            use_list=use_list,
            list_hook=list_hook,
            strict_map_key=False,
            timestamp=3,
            ext_hook=ext_hook,
            max_array_len=min(size, arrays),
            max_map_len=min(size, most),
        )


def _is_small(value: Any, kind: type) -> bool:
    """Whether it is a few atoms, small ones: then all of it stays in one."""
    if kind is bytes:
        return len(value) < APART_FROM
    if kind is not tuple or len(value) > FEW or not only_atoms(map(type, value)):
        return False
    for item in value:  # noqa: SIM110 - a generator would take as long as all the rest
        if type(item) is bytes and len(item) >= APART_FROM:
            return False
    return True


def _check_complete(data: bytes | memoryview, size: int) -> None:
    """Walks the bytes once without making anything.

    msgpack makes room for an array when it reads its claimed length. A few kilobytes of nested
    headers could so claim gigabytes; after this walk every claimed item is known to be there.
    """
    walker = Unpacker(max_buffer_size=size, read_size=1)
    walker.feed(data)
    walker.skip()
