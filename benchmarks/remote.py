"""Two OS processes on loopback: noex against raw pyzmq and others, in one run, with ratios.

    python benchmarks/remote.py [--rows ROW ...] [--peers NAME ...] [--seconds 0.5]
    python benchmarks/remote.py --python casty=/path/to/python3.13    # a peer in another Python
    python benchmarks/remote.py --markdown --page docs/performance.md
    python benchmarks/remote.py --profile casts [--traced]            # which functions cost

Each peer is a pair of processes, a client and a server. All pairs are started, then take turns at
each row; that is repeated, and the table has the medians. Figures drift with the machine; the
ratio is what to compare. On a machine that is busy with something else, look at the CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import distant
import tables
from distant import tables as remote_tables
from distant.client import ALL, be_client
from distant.comparison import Comparison
from distant.pairs import NotMeasured, Pair
from distant.rows import Row, Size
from distant.serving import serve

QUICK = Size(seconds=0.05, transfer=1 << 22)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Two OS processes on loopback.")
    keys, names = list(ALL), list(distant.MODULES)
    parser.add_argument("--quick", action="store_true", help="every row, but only a moment each")
    parser.add_argument("--rows", nargs="+", choices=keys, metavar="ROW", help=", ".join(keys))
    parser.add_argument(
        "--peers", nargs="+", choices=names, metavar="NAME", help=", ".join(distant.MODULES)
    )
    parser.add_argument("--seconds", type=float, help="each measurement (0.5)")
    parser.add_argument("--repetitions", type=int, help="of which the median is taken (5)")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="run that peer with another Python, which has it and what else it needs",
    )
    parser.add_argument("--markdown", action="store_true", help="tables for docs/performance.md")
    parser.add_argument("--page", metavar="FILE", help="with --markdown: put them into that page")
    parser.add_argument("--json", metavar="FILE", help="all figures, to that file")
    parser.add_argument("--profile", choices=keys, metavar="ROW", help="sample one row")
    parser.add_argument("--traced", action="store_true", help="with --profile: cProfile instead")
    parser.add_argument("--client", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=names, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.serve:
        serve(options.serve)
    elif options.client:
        be_client(options.client)
    elif options.profile:
        asyncio.run(profile(ALL[options.profile], options))
    else:
        compare(options)


def size_of(options: argparse.Namespace, seconds: float) -> Size:
    """How much to measure."""
    usual = QUICK if options.quick else Size(seconds=seconds)
    return usual if options.seconds is None else Size(options.seconds, usual.transfer)


def pythons_of(options: argparse.Namespace) -> dict[str, str]:
    """The interpreter for each peer that is there; those that are named are tried in any case."""
    others = dict(text.partition("=")[::2] for text in options.python)
    return {
        name: others.get(name, sys.executable)
        for name in options.peers or distant.MODULES
        if name in others or options.peers or distant.version(name)
    }


async def profile(row: Row, options: argparse.Namespace) -> None:
    """Run one row, and print which functions cost what, at both ends."""
    name = options.peers[0] if options.peers else "noex"
    try:
        answer = await _profiled(row, name, options)
    except NotMeasured as error:
        raise SystemExit(f"{row.key} of {name}: {error}") from None
    print(answer.get("report", "No report: its server is not one of Python's."))
    print(json.dumps(answer["figures"], indent=1))


async def _profiled(row: Row, name: str, options: argparse.Namespace) -> dict[str, Any]:
    pair = await Pair.start(name, pythons_of(options).get(name, sys.executable), loud=True)
    try:
        how = "traced" if options.traced else "sampled"
        return await pair.measure(row, size_of(options, 3.0), how)
    finally:
        await pair.end()


def compare(options: argparse.Namespace) -> None:
    """Measure, and print the tables."""
    rows = [ALL[key] for key in options.rows or ALL]
    comparison = Comparison(rows, pythons_of(options), size_of(options, 0.5))
    asyncio.run(comparison.repeat(options.repetitions or (1 if options.quick else 5)))
    head, text = header(comparison), report(comparison, options.markdown)
    print(f"{head}\n\n{text}")
    if options.page:
        page = Path(options.page)
        marks = remote_tables.BEGIN, remote_tables.END
        page.write_text(tables.put_into(page.read_text(), f"{head}\n\n{text}", *marks))
    if options.json:
        figures = {"about": comparison.about, "rows": comparison.table()}
        Path(options.json).write_text(json.dumps(figures, indent=1))


def report(comparison: Comparison, markdown: bool) -> str:
    """All tables, and what could not be measured."""
    render = tables.as_markdown if markdown else tables.as_text
    table, names = comparison.table(), list(comparison.about)
    parts = [render(lines) for lines in remote_tables.all_tables(table, comparison.rows, names)]
    parts.append(remote_tables.against_raw(table))
    parts += [f"{name}: {text}." for name, text in comparison.failures.items()]
    return "\n\n".join(part for part in parts if part)


def header(comparison: Comparison) -> str:
    """Where and with what this was measured."""
    own, busy = sys.version.split()[0], comparison.load_before
    load = "" if busy is None else f" Load before it began: {busy:.1f}."
    if busy is not None and busy > 0.5:
        load += " So it was busy with something else: trust the CPU time more than the clock."
    versions = {name: distant.version(name) for name in distant.MODULES}
    for name, about in comparison.about.items():
        known = about["version"] or versions[name] or ""
        versions[name] = known if about["python"] == own else f"{known} (Python {about['python']})"
    missing = [name for name in distant.MODULES if not versions[name]]
    named = [f"{name} {versions[name]}" for name in comparison.about]
    lines = [f"{tables.machine()}{load}", ", ".join(named) + "."]
    if missing:
        lines.append(f"Not installed: {', '.join(missing)}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
