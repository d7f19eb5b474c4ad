"""One node against other ways to have actors in Python, in one run, with ratios.

    python benchmarks/local.py [--quick] [--only ROW ...] [--peers NAME ...] [--cpu]
    python benchmarks/local.py --markdown --page docs/performance.md
    python benchmarks/local.py --profile casts            # where the time goes

Plain asyncio; the garbage collector as it is by default; each measurement in a fresh OS process,
the peers taking turns, and the median of the repetitions. Figures drift with the machine; the
ratio is what to compare. On a machine that is busy with something else, look at `--cpu`.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import peers
import tables
from flatness import FLAT
from profiling import Sampler
from rows import ROWS, Figures, Row, Size

ALL = {row.key: row for row in (*ROWS, *FLAT)}
QUICK = Size(seconds=0.05, step=200, idle=500, scale=2000, scale_seconds=5.0)


def measure_here(row: Row, peer_name: str, size: Size) -> Figures | None:
    """One measurement, in this OS process."""

    async def main() -> Figures | None:
        async with peers.load(peer_name) as peer:
            return await row.measure(peer, size)

    return asyncio.run(main())


def measure_apart(row: Row, peer_name: str, size: Size) -> Figures | None:
    """One measurement, in an OS process of its own. None if the peer has no such thing."""
    command = [sys.executable, os.path.abspath(__file__), "--cell", row.key, peer_name]
    command.append(json.dumps(asdict(size)))
    limit = 120 + 40 * size.seconds + (0 if row.repeated else 4 * size.scale_seconds)
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, text=True, check=True)
        figures: Figures | None = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", None) or f"{error}").strip().splitlines()
        print(f"Not measured: {row.key} of {peer_name}: {said[-1]}", file=sys.stderr)
        return None
    return figures


def measure_all(
    rows: list[Row], names: list[str], size: Size, repetitions: int, apart: bool = True
) -> tables.Table:
    """Every row for every peer, the peers taking turns."""
    measure = measure_apart if apart else measure_here
    table: tables.Table = {}
    for row in rows:
        if sys.stderr.isatty():
            print(f"{row.title} ...", file=sys.stderr)
        runs: dict[str, list[Figures]] = {name: [] for name in names}
        for _ in range(repetitions if row.repeated else 1):
            for name in names:
                figures = measure(row, name, size)
                if figures is not None:
                    runs[name].append(figures)
        table[row.key] = {name: tables.median(each) for name, each in runs.items() if each}
    return table


def profile(row: Row, peer_name: str, size: Size, traced: bool) -> None:
    """Run one row here, and print where it spends its time: without its imports and its end."""
    profiler = cProfile.Profile() if traced else Sampler()

    async def main() -> Figures | None:
        async with peers.load(peer_name) as peer:
            with profiler:
                return await row.measure(peer, size)

    figures = asyncio.run(main())
    if isinstance(profiler, Sampler):
        print(profiler.report())
    else:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
    print(json.dumps(figures, indent=1))


def report(table: tables.Table, names: list[str], clock: str, markdown: bool) -> str:
    """All tables of which there are rows."""
    render = tables.as_markdown if markdown else tables.as_text
    parts = tables.all_tables(table, ROWS, FLAT, names, clock)
    note = tables.disturbance(table) if clock == "wall" else "Rates are by CPU time."
    texts = [*map(render, parts), note]
    return "\n\n".join(text for text in texts if text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One node against other actors in Python.")
    keys = ", ".join(ALL)
    parser.add_argument("--quick", action="store_true", help="every row, but only a moment each")
    parser.add_argument("--only", nargs="+", choices=list(ALL), metavar="ROW", help=keys)
    parser.add_argument("--peers", nargs="+", choices=list(peers.MODULES), metavar="NAME")
    parser.add_argument("--seconds", type=float, help="each measurement (1)")
    parser.add_argument("--scale", type=int, help="processes, messages at the most (1000000)")
    parser.add_argument("--repetitions", type=int, help="of which the median is taken (3)")
    parser.add_argument("--together", action="store_true", help="all in one OS process: less fair")
    parser.add_argument("--cpu", action="store_true", help="rates by CPU time, not the wall clock")
    parser.add_argument("--markdown", action="store_true", help="tables for docs/performance.md")
    parser.add_argument("--page", metavar="FILE", help="with --markdown: put them into that page")
    parser.add_argument("--json", metavar="FILE", help="all figures, to that file")
    parser.add_argument("--profile", choices=list(ALL), metavar="ROW", help="sample one row")
    parser.add_argument("--traced", action="store_true", help="with --profile: cProfile instead")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def size_of(options: argparse.Namespace) -> Size:
    """How much to measure."""
    size = QUICK if options.quick else Size()
    if options.seconds is not None:
        size = replace(size, seconds=options.seconds)
    if options.scale is not None:
        size = replace(size, scale=options.scale)
    return size


def main() -> None:
    options = arguments()
    if options.cell:
        key, name, given = options.cell
        print(json.dumps(measure_here(ALL[key], name, Size(**json.loads(given)))))
        return
    if options.profile:
        name = options.peers[0] if options.peers else "noex"
        size = size_of(options) if options.seconds or options.quick else Size(seconds=3.0)
        profile(ALL[options.profile], name, size, options.traced)
        return
    compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure, and print the tables."""
    versions = {name: peers.version(name) for name in options.peers or peers.MODULES}
    names = [name for name, version in versions.items() if version]
    rows = [ALL[key] for key in options.only or ALL]
    header = tables.header(versions)
    print(header + "\n", flush=True)
    repetitions = options.repetitions or (1 if options.quick else 3)
    table = measure_all(rows, names, size_of(options), repetitions, not options.together)
    text = report(table, names, "cpu" if options.cpu else "wall", options.markdown)
    print(text)
    if options.page:
        page = Path(options.page)
        page.write_text(tables.put_into(page.read_text(), f"{header}\n\n{text}"))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"python": sys.version, "versions": versions, "rows": table}, file, indent=1)


if __name__ == "__main__":
    main()
