"""The codec against bare msgpack: how much exactness costs, for messages of several shapes.

Run it with ``python benchmarks/codec.py``. The last two columns are multiples of msgpack's own
time for the same message (with its tuples as lists); "-" where msgpack cannot carry it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from timeit import Timer
from typing import Any

import msgpack

from noex.transport.codec import Codec, message


@message
@dataclass
class Order:
    id: int
    name: str
    price: float


ROWS = [{"id": i, "name": f"n{i}", "tags": ["a", "b"], "price": i / 3} for i in range(2000)]
MESSAGES: dict[str, Any] = {
    "str": "get",
    "tuple": ("add", 1),
    "dict": {"a": 1, "b": "x", "c": None},
    "list": [1, 2, 3],
    "nested tuples": ("call", 7, ("add", (1, 2), {"by": 1})),
    "tuple of lists": ("set", [1, 2, 3]),
    "mixed": ("call", 7, ("set", [1, 2, 3])),
    "dataclass": Order(1, "x", 2.0),
    "datetime, Decimal": (datetime(2026, 1, 1), Decimal("1.5")),
    "exception": ValueError("x", 1),
    "2000 rows": ROWS,
    "2000 rows, mixed": ("put", (1,), ROWS),
    "1 MB of bytes": ("put", b"x" * 1_000_000),
}


def microseconds(run: Callable[[], Any]) -> float:
    """The best of five, each about 20 ms."""
    timer = Timer(run)
    once = timer.timeit(1)
    number = max(1, int(0.02 / max(once, 1e-7)))
    return min(timer.repeat(5, number)) / number * 1e6


def bare(value: Any) -> tuple[float, float] | None:
    """What msgpack takes by itself."""
    try:
        data = msgpack.packb(value)
    except TypeError:
        return None
    return microseconds(lambda: msgpack.packb(value)), microseconds(lambda: msgpack.unpackb(data))


def main() -> None:
    codec = Codec()
    print(f"Python {sys.version.split()[0]}, msgpack {msgpack.version}")
    print(
        f"{'message':20}{'bytes':>9}{'encode us':>11}{'decode us':>11}{'x pack':>8}{'x unpack':>9}"
    )
    for name, value in MESSAGES.items():
        data = codec.encode(value)
        encode = microseconds(lambda value=value: codec.encode(value))
        decode = microseconds(lambda data=data: codec.decode(data))
        raw = bare(value)
        ratios = f"{encode / raw[0]:8.1f}{decode / raw[1]:9.1f}" if raw else f"{'-':>8}{'-':>9}"
        print(f"{name:20}{len(data):9}{encode:11.2f}{decode:11.2f}{ratios}")


if __name__ == "__main__":
    main()
