"""Values to bytes and back, exactly: the same value of the same type arrives, or sending raises.

Never pickle: what arrives is data, and the only code it reaches is that of classes which are
registered or already imported here (see `noex.transport.message`). The wire form is described in
`noex.transport.codec_tags`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from msgpack import Packer, Unpacker, unpackb

from noex.runtime import messages
from noex.runtime.errors import MessageSerializationError
from noex.runtime.typed import MethodCall
from noex.transport.codec_build import Hook, hook_for, refuse_extension
from noex.transport.codec_errors import DecodeError, UnknownTypeError
from noex.transport.codec_limits import CodecLimits
from noex.transport.codec_lower import Lowering
from noex.transport.codec_shape import LISTS as LISTS_HELD
from noex.transport.codec_shape import OTHER, shape, shape_inside
from noex.transport.codec_tags import (
    ATOMS,
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

__all__ = [
    "Codec",
    "CodecLimits",
    "DecodeError",
    "RefHooks",
    "UnknownTypeError",
    "message",
    "register",
]

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

    def encode(self, value: Any, *, operation: str = "send", root: str = "message") -> bytes:
        """The bytes of `value`.

        Raises `MessageSerializationError` with `operation` and the path from `root` to the part
        that cannot travel, such as ``message[2].args[0].conn``.
        """
        kind = type(value)
        if kind in ATOMS or (
            only_atoms(map(type, value))
            if kind is tuple
            else kind is dict
            and only_atoms(map(type, value))
            and only_atoms(map(type, value.values()))
        ):
            try:
                data = self._pack(value)
            except Exception:  # an int beyond 64 bits or a lone surrogate
                pass
            else:
                if len(data) <= self._quick or self._fits(value, kind, len(data)):
                    return data
        try:
            return self._encode(value, kind)
        except CannotTravel as refusal:
            path = refusal.path(root)
            raise MessageSerializationError(operation, path, refusal.reason) from None
        except Exception as error:  # a user's property, a list that grew meanwhile, a deep stack
            reason = f"{type(error).__name__}: {told(error)}"
            raise MessageSerializationError(operation, root, reason) from error

    def decode(self, data: bytes | memoryview) -> Any:
        """The value that `encode` was given.

        Raises `DecodeError` for bytes that are no valid message, and `UnknownTypeError` for a
        valid one of a type that is not known here; nothing else.
        """
        try:
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

    def _encode(self, value: Any, kind: type) -> bytes:
        form = self._plain_form(value, kind)
        if form is not None:
            data = self._packed(value)
            if data is not None:
                return self._bounded(form + data)
        else:
            data = self._packed(self._lowered(value, careful=False))
            if data is not None:
                return self._bounded(TAGGED + data)
        return self._bounded(TAGGED + self._pack(self._lowered(value, careful=True)))

    def _plain_form(self, value: Any, kind: type) -> bytes | None:
        """The mark of the plain form that can carry it, or None."""
        depth, items = self._limits.max_depth, self._limits.max_items
        if kind is tuple:
            found = shape_inside(value, depth, items)
            if not found & (LISTS_HELD | OTHER):
                return _PLAIN
            return TUPLE_OF_LISTS if found == LISTS_HELD else None
        if kind is not dict and kind is not list:
            return _PLAIN if kind in ATOMS else None
        found = shape(value, depth, items)
        if not found & (LISTS_HELD | OTHER):
            return _PLAIN
        return LISTS if found == LISTS_HELD else None

    def _packed(self, plain: Any) -> bytes | None:
        """The bytes of plain items; None if some int or str among them needs care."""
        try:
            return self._pack(plain)
        except Exception:
            return None

    def _lowered(self, value: Any, *, careful: bool) -> Any:
        lowering = Lowering(self._limits, self._ref_type, self._dump_ref, careful=careful)
        return lowering.lower(value)

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > _KEEP:
            self._pack = Packer().pack
        if len(data) > self._limits.max_bytes:
            raise CannotTravel(
                f"it takes {len(data)} bytes, and CodecLimits.max_bytes is {self._limits.max_bytes}"
            )
        return data

    def _decode(self, data: bytes | memoryview) -> Any:
        size = len(data)
        if size > self._limits.max_bytes:
            raise DecodeError(
                f"it has {size} bytes, and CodecLimits.max_bytes is {self._limits.max_bytes}"
            )
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
            ext_hook=refuse_extension,
            max_array_len=min(size, arrays),
            max_map_len=min(size, most),
        )


def _check_complete(data: bytes | memoryview, size: int) -> None:
    """Walks the bytes once without making anything.

    msgpack makes room for an array when it reads its claimed length. A few kilobytes of nested
    headers could so claim gigabytes; after this walk every claimed item is known to be there.
    """
    walker = Unpacker(max_buffer_size=size, read_size=1)
    walker.feed(data)
    walker.skip()
