"""Encoding, the general way: a value becomes a tree of plain items that msgpack can pack.

1. `lower` finds how to take a value apart by its *exact* type. A subclass of str, int, dict, ...
   would arrive as its parent, so it is refused.
2. Every collection becomes an array that begins with its tag; a dict stays a map.
3. What has no encoding raises `CannotTravel`; each collection on the way out adds its step, so
   the sender reads ``message[2].args[0].conn``.
4. Two budgets bound the work: the depth of nesting (a list that holds itself runs into it), and
   the number of items altogether (ten lists of ten lists of ... would run into that).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum, Flag
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

from noex.transport import codec_exceptions
from noex.transport.codec_apart import BYTEARRAY, BYTES, SCALARS, Aside
from noex.transport.codec_limits import CodecLimits
from noex.transport.codec_tags import ATOMS, FEW, CannotTravel, Tag, only_atoms, shown
from noex.transport.extensions import DUMPS, dump_int, dump_text
from noex.transport.message import Plan, known, plan_of, wire_name

_PARENTS: Final = (str, int, float, bytes, list, tuple, dict, set, frozenset)
_NOTHING: Final[frozenset[type]] = frozenset()
_CODE: Final = (FunctionType, MethodType, BuiltinFunctionType, type)


class Lowering:
    """One value on its way to plain items."""

    __slots__ = ("aside", "careful", "depth", "dump_ref", "errors", "left", "ref_type", "simple")

    def __init__(
        self,
        limits: CodecLimits,
        ref_type: type | None,
        dump_ref: Callable[[Any], tuple[Any, ...]] | None,
        *,
        careful: bool,
        aside: Aside | None = None,
    ) -> None:
        self.depth = limits.max_depth
        self.left = limits.max_items
        self.ref_type = ref_type
        self.dump_ref = dump_ref
        self.careful = careful  # some int is beyond 64 bits, or some str has lone surrogates
        self.aside = aside  # takes the large binaries; None: they stay within
        # what needs no `lower`
        self.simple = _NOTHING if careful else ATOMS if aside is None else SCALARS
        self.errors: tuple[int, ...] = ()  # the exceptions on the path to here, by id

    def lower(self, value: Any) -> Any:
        """The plain items for one value. Raises `CannotTravel`."""
        kind = type(value)
        if kind in self.simple:
            return value
        if kind in ATOMS:
            return self._atom(value, kind)
        if kind is self.ref_type:
            return self._ref(value)
        lower = _HOW.get(kind)
        if lower is not None:
            return lower(self, value)
        dump = DUMPS.get(kind)
        if dump is not None:
            return self._put_aside(value, kind) or dump(value)
        return self._object(value, kind)

    def _atom(self, value: Any, kind: type) -> Any:
        if kind is int:
            return dump_int(value)
        if kind is str:
            return dump_text(value)
        aside = self.aside
        if kind is bytes and aside is not None and aside.takes(len(value)):
            return aside.put(BYTES, value)
        return value

    def _put_aside(self, value: Any, kind: type) -> Any:
        """What stands for a large bytearray or memoryview; None for anything else."""
        aside = self.aside
        if aside is None:
            return None
        if kind is bytearray and aside.takes(len(value)):
            return aside.put(BYTEARRAY, bytes(value))
        if kind is memoryview and aside.takes(value.nbytes):
            return aside.put_view(value)
        return None

    def enter(self, size: int) -> None:
        """Counts one collection of `size` items against both budgets; ends with ``depth += 1``."""
        self.left -= size
        if self.left < 0:
            raise CannotTravel("it holds too many items altogether (CodecLimits.max_items)")
        if self.depth <= 0:
            raise CannotTravel(
                "it is nested too deeply (CodecLimits.max_depth), or a collection holds itself"
            )
        self.depth -= 1

    def items(self, tag: int, values: Collection[Any]) -> list[Any]:
        """An array of this tag with all the values, lowered."""
        size = len(values)
        self.enter(size)
        out: list[Any] = [tag]
        if size > FEW and self.simple.issuperset(map(type, values)):
            out.extend(values)
        else:
            self._fill(out, values)
        self.depth += 1
        return out

    def _fill(self, out: list[Any], values: Collection[Any]) -> None:
        lower, simple = self.lower, self.simple
        try:
            for value in values:
                out.append(value if type(value) in simple else lower(value))
        except CannotTravel as refusal:
            refusal.inside(f"[{len(out) - 1}]")
            raise

    def map(self, values: dict[Any, Any]) -> Any:
        """A map with all the values lowered, or an array of pairs where a key needs that too."""
        self.enter(len(values))
        lower, simple = self.lower, self.simple
        key = None
        out = {}
        try:
            for key, value in values.items():
                out[key] = value if type(value) in simple else lower(value)
        except CannotTravel as refusal:
            refusal.inside(f"[{shown(key, 40)}]")
            raise
        if self.careful or not only_atoms(map(type, out)):
            out = self._pairs(out)
        self.depth += 1
        return out

    def _pairs(self, low: dict[Any, Any]) -> Any:
        out: list[Any] = [Tag.DICT]
        try:
            for key, value in low.items():
                out += (self.lower(key), value)
        except CannotTravel as refusal:
            refusal.inside(f".keys()[{(len(out) - 1) // 2}]")
            raise
        return out

    def record(self, plan: Plan, value: Any) -> list[Any]:
        """The fields of a registered dataclass or NamedTuple, by name."""
        names = plan.fields
        self.enter(len(names))
        name = ""
        out = {}
        try:
            for name in names:
                out[name] = self.lower(_field(value, name))
        except CannotTravel as refusal:
            refusal.inside(f".{name}")
            raise
        self.depth += 1
        return [Tag.OBJECT, plan.name, out]

    def _ref(self, value: Any) -> list[Any]:
        assert self.dump_ref is not None
        return [Tag.REF, *self.dump_ref(value)]

    def _object(self, value: Any, kind: type) -> Any:
        plan = plan_of(kind)
        if plan is not None:
            return self.record(plan, value)
        if self.ref_type is not None and isinstance(value, self.ref_type):
            return self._ref(value)
        if isinstance(value, Enum):
            return _enum(value, kind)
        if isinstance(value, BaseException):
            return codec_exceptions.dump(self, value)
        raise CannotTravel(_why_not(kind))


def _field(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        raise CannotTravel("this field is not set") from None


def _enum(value: Any, kind: type) -> list[Any]:
    name = wire_name(kind)
    if known(name) is not kind:
        raise CannotTravel(
            f"the Enum {kind.__qualname__} cannot be found by its name {name!r}; "
            "define it at the top level of a module, or register it with @noex.message"
        )
    if value._name_ in kind._member_map_:  # type: ignore[attr-defined]
        return [Tag.ENUM, name, value._name_]
    if isinstance(value, Flag):
        return [Tag.FLAG, name, dump_int(value._value_)]
    raise CannotTravel(f"a member of the Enum {kind.__qualname__} that it does not list")


def _why_not(kind: type) -> str:
    named = f"{kind.__module__}.{kind.__qualname__}"
    for parent in _PARENTS:
        if issubclass(kind, parent):
            return (
                f"{named} would arrive as a plain {parent.__name__}; convert it with "
                f"{parent.__name__}(...), or register its class with @noex.message if it is a "
                "NamedTuple"
            )
    if issubclass(kind, _CODE):
        return f"{named}: code does not travel; send a name that the other side knows"
    return f"{named} has no encoding; send plain data, or a dataclass under @noex.message"


_HOW: Final[dict[type, Callable[[Lowering, Any], Any]]] = {
    tuple: lambda lowering, value: lowering.items(Tag.TUPLE, value),
    list: lambda lowering, value: lowering.items(Tag.LIST, value),
    set: lambda lowering, value: lowering.items(Tag.SET, value),
    frozenset: lambda lowering, value: lowering.items(Tag.FROZENSET, value),
    dict: Lowering.map,
}
