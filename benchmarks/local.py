"""One node against other ways to have actors in Python, in one run, with ratios.

    python benchmarks/local.py [--quick] [--only ROW ...] [--peers NAME ...] [--cpu]

Plain asyncio; the garbage collector as it is by default; each measurement in a fresh OS process,
the peers taking turns, and the median of the repetitions. Figures drift with the machine; the
ratio is what to compare. On a machine that is busy with something else, look at `--cpu`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import peers
from rows import ROWS, Figures, Row, Size

QUICK = Size(seconds=0.1, step=200, idle=500, scale=2000, scale_seconds=5.0)
Table = dict[str, dict[str, Figures]]  # row, peer


def measure_here(row: Row, peer_name: str, size: Size) -> Figures | None:
    """One measurement, in this OS process."""

    async def main() -> Figures | None:
        async with peers.load(peer_name) as peer:
            return await row.measure(peer, size)

    return asyncio.run(main())


def measure_apart(row: Row, peer_name: str, size: Size) -> Figures | None:
    """One measurement, in an OS process of its own. None if that fails."""
    command = [sys.executable, os.path.abspath(__file__), "--cell", row.key, peer_name]
    command.append(json.dumps(asdict(size)))
    limit = 120 + 10 * size.seconds + (size.scale_seconds if not row.repeated else 0) * 2
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, text=True, check=True)
        figures: Figures | None = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"{row.key} of {peer_name}: {error}", file=sys.stderr)
        print(getattr(error, "stderr", None) or "", file=sys.stderr)
        return None
    return figures


def measure_all(rows: list[Row], names: list[str], size: Size, repetitions: int) -> Table:
    """Every row for every peer, the peers taking turns."""
    table: Table = {}
    for row in rows:
        runs: dict[str, list[Figures]] = {name: [] for name in names}
        for _ in range(repetitions if row.repeated else 1):
            for name in names:
                figures = measure_apart(row, name, size)
                if figures is not None:
                    runs[name].append(figures)
        table[row.key] = {name: median(figures) for name, figures in runs.items() if figures}
    return table


def median(runs: list[Figures]) -> Figures:
    """Of each figure by itself."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def render(table: Table, rows: list[Row], names: list[str], clock: str) -> str:
    """The table, as text."""
    others = [name for name in names if name != "noex"]
    heads = "".join(f"{name:>12}" for name in names) + "".join(f"{'/' + n:>9}" for n in others)
    lines = [f"{'':40}{heads}{'gap ms':>9}{'gc ms':>8}{'gc %':>6}"]
    for row in rows:
        cells = {name: shown(row, figures, clock) for name, figures in table[row.key].items()}
        line = f"{row.title:40}" + "".join(f"{number(cells.get(name)):>12}" for name in names)
        line += "".join(f"{ratio(cells, name):>9}" for name in others)
        lines.append(line + tail(table[row.key].get("noex", {})))
    return "\n".join(lines)


def shown(row: Row, figures: Figures, clock: str) -> float:
    """The figure that stands for the row."""
    if row.key == "scale":
        return figures["kept"]
    return figures.get(clock, figures["wall"])


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def ratio(cells: dict[str, float], name: str) -> str:
    ours, theirs = cells.get("noex"), cells.get(name)
    return "-" if not ours or not theirs else f"{ours / theirs:.2f}"


def tail(figures: Figures) -> str:
    """Of noex: longest gap of the loop, longest run of the collector, its share of the time."""
    gap, longest = figures.get("gap"), figures.get("gc_longest")
    text = f"{'-':>9}" if gap is None else f"{gap * 1e3:9.1f}"
    if longest is None:
        return text + f"{'-':>8}{'-':>6}"
    return text + f"{longest * 1e3:8.1f}{figures['gc_share'] * 100:6.1f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One node against other actors in Python.")
    keys = [row.key for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="a few seconds in all")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="ROW", help=", ".join(keys))
    parser.add_argument("--peers", nargs="+", choices=list(peers.MODULES), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=1.0, help="each measurement")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="rates by CPU time, not the wall clock")
    parser.add_argument("--json", metavar="FILE", help="all figures, to that file")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.cell:
        key, peer_name, size = options.cell
        row = next(row for row in ROWS if row.key == key)
        print(json.dumps(measure_here(row, peer_name, Size(**json.loads(size)))))
        return
    size = QUICK if options.quick else Size(seconds=options.seconds)
    rows = [row for row in ROWS if not options.only or row.key in options.only]
    versions = {name: peers.version(name) for name in options.peers or peers.MODULES}
    names = [name for name, version in versions.items() if version]
    print(f"Python {platform.python_version()}, {platform.machine()}, plain asyncio")
    print(", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items()))
    table = measure_all(rows, names, size, 1 if options.quick else options.repetitions)
    print(render(table, rows, names, "cpu" if options.cpu else "wall"))
    if options.json:
        write_json(options.json, versions, table)


def write_json(path: str, versions: dict[str, Any], table: Table) -> None:
    with open(path, "w") as file:
        json.dump({"python": sys.version, "versions": versions, "rows": table}, file, indent=1)


if __name__ == "__main__":
    main()
