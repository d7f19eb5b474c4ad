"""Plain values beyond msgpack's own: dates, numbers, paths, buffers.

Each type has a *dump* (value to tagged array of plain items) and a *load* (that array, tag
included, to the value). A load checks the types of what it gets: the bytes come from outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import (
    PosixPath,
    PurePath,
    PurePosixPath,
    PureWindowsPath,
    WindowsPath,
)
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from noex.transport.codec_errors import DecodeError, UnknownTypeError
from noex.transport.codec_tags import CannotTravel, Tag, shown, told

_MICROSECOND: Final = timedelta(microseconds=1)
_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")
_PATHS: Final[dict[str, type[PurePath]]] = {
    cls.__name__: cls for cls in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)
}


def checked(value: Any, *kinds: type) -> Any:
    """`value`, if it is exactly of one of these types; else DecodeError."""
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise DecodeError(f"expected {names}, got {type(value).__name__}")
    return value


def sized(items: list[Any], count: int) -> list[Any]:
    """The items after the tag, which must be `count`."""
    if len(items) != count + 1:
        raise DecodeError(f"expected {count} items after the tag {items[0]}, got {len(items) - 1}")
    return items[1:]


def _one(items: list[Any], kind: type) -> Any:
    return checked(sized(items, 1)[0], kind)


def dump_int(value: int) -> Any:
    """An int as msgpack has it, or its two's complement beyond 64 bits."""
    if -(1 << 63) <= value < 1 << 64:
        return value
    return [Tag.INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]


def _load_int(items: list[Any]) -> int:
    return int.from_bytes(_one(items, bytes), "big", signed=True)


def dump_text(value: str) -> Any:
    """A str as msgpack has it, or with its lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return [Tag.TEXT, value.encode("utf-8", "surrogatepass")]
    return value


def _load_text(items: list[Any]) -> str:
    text: str = _one(items, bytes).decode("utf-8", "surrogatepass")
    return text


def _load_bytearray(items: list[Any]) -> bytearray:
    return bytearray(_one(items, bytes))


def _dump_memoryview(value: memoryview) -> list[Any]:
    if value.format == "B" and value.ndim == 1:
        return [Tag.MEMORYVIEW, bytes(value)]
    return [Tag.MEMORYVIEW, value.tobytes(), value.format, *(value.shape or ())]


def _load_memoryview(items: list[Any]) -> memoryview:
    flat: Any = memoryview(checked(items[1], bytes))
    if len(items) > 2:
        flat = flat.cast(checked(items[2], str), [checked(n, int) for n in items[3:]])
    return checked(flat, memoryview)  # type: ignore[no-any-return]


def _load_complex(items: list[Any]) -> complex:
    real, imaginary = sized(items, 2)
    return complex(checked(real, float), checked(imaginary, float))


def _load_decimal(items: list[Any]) -> Decimal:
    return Decimal(_one(items, str))


def _load_uuid(items: list[Any]) -> UUID:
    return UUID(bytes=_one(items, bytes))


def _dump_timezone(value: timezone) -> list[Any]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return [Tag.TIMEZONE, offset // _MICROSECOND, *name]


def _load_timezone(items: list[Any]) -> timezone:
    offset = timedelta(microseconds=checked(items[1], int))
    if len(items) == 2:
        return timezone(offset)
    return timezone(offset, checked(items[2], str))


def _dump_zone(value: ZoneInfo) -> list[Any]:
    if value.key is None or not _ZONE_KEY.fullmatch(value.key):
        raise CannotTravel(f"a ZoneInfo without a key of the time zone database ({shown(value)})")
    return [Tag.ZONE, value.key]


def _load_zone(items: list[Any]) -> ZoneInfo:
    key = _one(items, str)
    if not _ZONE_KEY.fullmatch(key):
        raise DecodeError("not the key of a time zone")
    try:
        return ZoneInfo(key)
    except Exception as error:
        raise UnknownTypeError(
            f"the time zone {key!r}", f"install the package tzdata here ({told(error)})"
        ) from None


def _dump_tz(value: Any) -> Any:
    if value is None:
        return None
    if type(value) is timezone:
        return _dump_timezone(value)
    if type(value) is ZoneInfo:
        return _dump_zone(value)
    kind = type(value)
    raise CannotTravel(
        f"tzinfo of class {kind.__module__}.{kind.__qualname__}; "
        "use datetime.timezone or zoneinfo.ZoneInfo"
    )


def _load_tz(value: Any) -> Any:
    return checked(value, type(None), timezone, ZoneInfo)


def _dump_datetime(v: datetime) -> list[Any]:
    return [
        Tag.DATETIME, v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond,
        v.fold, _dump_tz(v.tzinfo),
    ]  # fmt: skip


def _load_datetime(items: list[Any]) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = sized(items, 9)
    zone = _load_tz(zone)
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _dump_time(v: time) -> list[Any]:
    return [Tag.TIME, v.hour, v.minute, v.second, v.microsecond, v.fold, _dump_tz(v.tzinfo)]


def _load_time(items: list[Any]) -> time:
    hour, minute, second, microsecond, fold, zone = sized(items, 6)
    return time(hour, minute, second, microsecond, _load_tz(zone), fold=fold)


def _load_date(items: list[Any]) -> date:
    return date.fromordinal(_one(items, int))


def _load_timedelta(items: list[Any]) -> timedelta:
    days, seconds, microseconds = (checked(n, int) for n in sized(items, 3))
    return timedelta(days, seconds, microseconds)


def _load_path(items: list[Any]) -> PurePath:
    name, text = sized(items, 2)
    cls = _PATHS.get(checked(name, str))
    if cls is None:
        raise DecodeError(f"{shown(name)} is no class of paths")
    try:
        return cls(checked(text, str))
    except NotImplementedError:
        raise UnknownTypeError(
            f"a {name}", "it exists on another operating system only; send a PurePath"
        ) from None


def _dump_path(value: PurePath) -> list[Any]:
    return [Tag.PATH, type(value).__name__, dump_text(str(value))]


DUMPS: Final[dict[type, Callable[[Any], Any]]] = {
    bytearray: lambda v: [Tag.BYTEARRAY, bytes(v)],
    memoryview: _dump_memoryview,
    complex: lambda v: [Tag.COMPLEX, v.real, v.imag],
    Decimal: lambda v: [Tag.DECIMAL, str(v)],
    UUID: lambda v: [Tag.UUID, v.bytes],
    datetime: _dump_datetime,
    date: lambda v: [Tag.DATE, v.toordinal()],
    time: _dump_time,
    timedelta: lambda v: [Tag.TIMEDELTA, v.days, v.seconds, v.microseconds],
    timezone: _dump_timezone,
    ZoneInfo: _dump_zone,
    **dict.fromkeys(_PATHS.values(), _dump_path),
}

LOADS: Final[dict[int, Callable[[list[Any]], Any]]] = {
    Tag.INT: _load_int,
    Tag.TEXT: _load_text,
    Tag.BYTEARRAY: _load_bytearray,
    Tag.MEMORYVIEW: _load_memoryview,
    Tag.COMPLEX: _load_complex,
    Tag.DECIMAL: _load_decimal,
    Tag.UUID: _load_uuid,
    Tag.DATETIME: _load_datetime,
    Tag.DATE: _load_date,
    Tag.TIME: _load_time,
    Tag.TIMEDELTA: _load_timedelta,
    Tag.TIMEZONE: _load_timezone,
    Tag.ZONE: _load_zone,
    Tag.PATH: _load_path,
}
