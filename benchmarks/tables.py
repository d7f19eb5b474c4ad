"""The figures as text: for a terminal, or as Markdown for docs/performance.md."""

from __future__ import annotations

import os
import platform
import statistics
import sysconfig
import time
from collections.abc import Iterable

from flatness import COUNTS
from rows import Figures, Row

Table = dict[str, dict[str, Figures]]  # row, peer
Lines = list[list[str]]
FLAT_FROM = 1000
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def median(runs: list[Figures]) -> Figures:
    """Of each figure by itself."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def header(versions: dict[str, str | None]) -> str:
    """Where and with what this was measured."""
    named = [f"{name} {version}" for name, version in versions.items() if version]
    missing = [name for name, version in versions.items() if not version]
    lines = [machine(), ", ".join(named) + "."]
    if missing:
        lines.append(f"Not installed: {', '.join(missing)} (pip install -e '.[bench]').")
    return "\n".join(lines)


def machine() -> str:
    """The day, the machine and the Python: one that is built without them is a third slower."""
    options = sysconfig.get_config_var("CONFIG_ARGS")  # None on Windows
    plain = options is not None and "--enable-optimizations" not in options
    built = " (built without --enable-optimizations)" if plain else ""
    return (
        f"{time.strftime('%Y-%m-%d')}, {processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}{built}, plain asyncio."
    )


def processor() -> str:
    """What the system calls it."""
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main_table(table: Table, rows: Iterable[Row], names: list[str], clock: str) -> Lines:
    """A row for each load: the figures, and ours as a multiple of the others'."""
    others = [name for name in names if name != "noex"]
    lines = [["", *names, *(f"/ {name}" for name in others)]]
    for row in rows:
        for title, figure in row.lines:
            key = clock if figure == "rate" else figure
            values = {name: cell.get(key) for name, cell in table[row.key].items()}
            lines.append([title, *(_number(values.get(name)) for name in names)])
            lines[-1] += [_ratio(values.get("noex"), values.get(name)) for name in others]
    return lines


def pauses(table: Table, rows: Iterable[Row], names: list[str]) -> Lines:
    """The longest gap of the loop under each load, and what part the collector had in ours."""
    lines = [["longest gap of the loop, ms", *names, "collector, ms at once", "% of time"]]
    for row in rows:
        cells = table[row.key]
        if not any("gap" in cell for cell in cells.values()):
            continue
        gaps = [_milliseconds(cells.get(name, {}).get("gap")) for name in names]
        ours = cells.get("noex", {})
        share = ours.get("gc_share")
        lines.append([row.title, *gaps, _milliseconds(ours.get("gc_longest"))])
        lines[-1].append("-" if share is None else f"{share * 100:.1f}")
    return lines


def flat_table(table: Table, rows: Iterable[Row], names: list[str]) -> Lines:
    """A row for each kind of message and peer, a column for each number of them.

    One alone is another load: its messages come in a burst. So the last is compared with 1000.
    """
    counts = [f"{count:,}" for count in COUNTS]
    lines = [["ns of CPU per message, with ... of them", *counts, f"last / {FLAT_FROM:,}"]]
    for row in rows:
        for name in names:
            figures = table[row.key].get(name, {})
            for what in dict.fromkeys(key.split("|")[0] for key in figures):
                line = [figures.get(f"{what}|{count}") for count in COUNTS]
                cells = [_number(value) for value in line]
                lines.append([f"{row.title}: {what}, {name}", *cells])
                known = [value for value in line[COUNTS.index(FLAT_FROM) :] if value is not None]
                lines[-1].append(_ratio(known[-1], known[0]) if len(known) > 1 else "-")
    return lines


def disturbance(table: Table) -> str:
    """A warning, if there was less of the CPU to be had than a load would have used."""
    parts = [
        cell["wall"] / cell["cpu"]
        for cells in table.values()
        for name, cell in cells.items()
        if name != "pykka" and "cpu" in cell  # threads wait for each other
    ]
    if not parts or min(parts) > 0.9:
        return ""
    return (
        f"The machine was busy: some load had the CPU for {min(parts):.0%} of its time only; "
        "--cpu shows the rates by CPU time."
    )


def all_tables(
    table: Table, rows: Iterable[Row], flat: Iterable[Row], names: list[str], clock: str
) -> list[Lines]:
    """Every table of which there are rows."""
    rows = [row for row in rows if row.key in table]
    flat = [row for row in flat if row.key in table]
    parts = [
        main_table(table, rows, names, clock),
        pauses(table, rows, names),
        flat_table(table, flat, names),
    ]
    return [part for part in parts if len(part) > 1]


def as_text(lines: Lines) -> str:
    """For a terminal."""
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]

    def render(line: list[str]) -> str:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join([line[0].replace("`", "").ljust(widths[0]), *cells])

    return "\n".join(map(render, lines))


def as_markdown(lines: Lines) -> str:
    """For docs/performance.md."""
    rule = ["---"] + ["---:"] * (len(lines[0]) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def put_into(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with `text` between its marks."""
    (before, rest), (_, after) = page.split(begin), page.split(end)
    assert end in rest, "the marks are in the wrong order"
    return f"{before}{begin}\n{text}\n{end}{after}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if not ours or not theirs else f"{ours / theirs:.2f}"
