"""The rows: each puts one pair under one load, and returns its figures."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter

from distant.peer import Distant
from distant.processes import cpu_seconds, family, highest, resident

MEGABYTE = 1 << 20
TEN_KILOBYTES = 10_000
CALLERS_OF_MEGABYTES = 8
TRANSFER = 50 * MEGABYTE
LONGER = 3  # times the usual, so that there are some transfers and heartbeats
ENOUGH = 1000  # actors, to say what one of them takes
Figures = dict[str, float]  # the clock's in us, ms or /s; "cpu_*" in us of CPU per operation


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    seconds: float = 0.5  # each measurement
    transfer: int = TRANSFER


Measure = Callable[[Distant, Size], Awaitable[Figures | None]]  # None: the peer has no such thing


@dataclass(frozen=True, slots=True)
class Line:
    """What of a row's figures stands in the table."""

    title: str
    figure: str
    less_is_better: bool = False
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One load."""

    key: str
    measure: Measure
    lines: tuple[Line, ...]


class Meter:
    """The clock, and what the processes of both ends have used of the CPU."""

    def __init__(self, peer: Distant) -> None:
        self._server = family(peer.server_pid) if peer.server_pid else []
        self._client = family(os.getpid(), besides=self._server)
        self._wall = perf_counter()
        self._cpus = cpu_seconds(self._client), cpu_seconds(self._server)

    def figures(self, done: int) -> Figures:
        """Of so many operations since the start."""
        wall = perf_counter() - self._wall
        client, server = cpu_seconds(self._client), cpu_seconds(self._server)
        return {
            "done": done,
            "rate": done / wall,
            "cpu_client": (client - self._cpus[0]) / done * 1e6,
            "cpu_server": (server - self._cpus[1]) / done * 1e6,
        }


def percentile(values: list[float], percent: int) -> float:
    """Of a few values it is the nearest one."""
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _warm(seconds: float) -> float:
    return min(seconds / 5, 0.2)


async def _latency(peer: Distant, size: Size) -> Figures | None:
    await peer.latencies(_warm(size.seconds))
    meter = Meter(peer)
    times = await peer.latencies(size.seconds)
    if not times:
        return None
    figures = meter.figures(len(times))
    return figures | {"p50": percentile(times, 50) * 1e6, "p99": percentile(times, 99) * 1e6}


def _rate(load: Callable[[Distant, float], Awaitable[int]], unit: float = 1.0) -> Measure:
    """Operations a second, and those times `unit`."""

    async def measure(peer: Distant, size: Size) -> Figures | None:
        await load(peer, _warm(size.seconds))
        meter = Meter(peer)
        done = await load(peer, size.seconds)
        if not done:
            return None
        figures = meter.figures(done)
        return figures | {"amount": figures["rate"] * unit}

    return measure


async def _spawns(peer: Distant, size: Size) -> Figures | None:
    meter = Meter(peer)
    before = resident(family(peer.server_pid))
    done = await peer.spawns(size.seconds)
    if not done:
        return None
    figures = meter.figures(done)
    if done >= ENOUGH:
        figures["bytes"] = (resident(family(peer.server_pid)) - before) / done
    return figures


async def _memory(peer: Distant, size: Size) -> Figures | None:
    if not peer.server_pid:
        return None
    servers = family(peer.server_pid)
    everybody = family(os.getpid())  # with the servers that are children of ours, or without
    everybody += [pid for pid in servers if pid not in everybody]
    return {"now": resident(servers) / 1e6, "peak": highest(everybody) / 1e6}


async def _beside(peer: Distant, size: Size) -> Figures | None:
    if size.transfer > peer.largest:
        return None
    await peer.heartbeat_gaps()
    peer.refused = 0
    start = perf_counter()
    times, done = await peer.beside(size.transfer, LONGER * size.seconds)
    wall = perf_counter() - start
    if not times or not done:
        return None
    gap = await peer.heartbeat_gaps()
    figures = {
        "p99": percentile(times, 99) * 1e3,
        "amount": done * size.transfer / wall / 1e9,
        "refused": peer.refused / len(times),
    }
    return figures | ({} if gap is None else {"gap": gap * 1e3})


# What is large comes last: memory that goes back to the system would hide what actors take.
CALLS = "calls/s, {} callers"
ROWS = (
    Row(
        "memory",
        _memory,
        (Line("MB resident, fresh server", "now", less_is_better=True),),
    ),
    Row(
        "sequential",
        _latency,
        (
            Line("sequential call, p50 us", "p50", True, "1.5 times raw"),
            Line("sequential call, p99 us", "p99", True),
        ),
    ),
    Row("callers-100", _rate(lambda p, s: p.calls(100, s)), (Line(CALLS.format(100), "rate"),)),
    Row(
        "callers-1000",
        _rate(lambda p, s: p.calls(1000, s)),
        (Line(CALLS.format(1000), "rate", wanted="200,000"),),
    ),
    Row("casts", _rate(lambda p, s: p.casts(s)), (Line("casts/s", "rate", wanted="800,000"),)),
    Row(
        "spawns",
        _spawns,
        (
            Line("remote spawns/s, all kept", "rate"),
            Line("bytes resident for each", "bytes", less_is_better=True),
        ),
    ),
    Row(
        "ten-kilobytes",
        _rate(lambda p, s: p.payloads(100, TEN_KILOBYTES, s)),
        (Line("calls/s with 10 kB, 100 callers", "rate"),),
    ),
    Row(
        "megabytes",
        _rate(lambda p, s: p.payloads(CALLERS_OF_MEGABYTES, MEGABYTE, s), MEGABYTE / 1e9),
        (Line("1 MiB, 8 callers, GB/s", "amount", wanted="2.5"),),
    ),
    Row(
        "beside",
        _beside,
        (
            Line("small calls beside 50 MiB, p99 ms", "p99", True, "20"),
            Line("refused for the time being, for each", "refused", True),
            Line("GB/s of 50 MiB then", "amount"),
            Line("longest gap of heartbeats then, ms", "gap", True, "under 400"),
        ),
    ),
    Row(
        "peak",
        _memory,
        (Line("MB resident at the most, both ends", "peak", less_is_better=True),),
    ),
)
