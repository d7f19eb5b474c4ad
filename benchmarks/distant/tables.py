"""The figures as text: for a terminal, or as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable

from distant.comparison import Table
from distant.rows import Row

Lines = list[list[str]]
BEGIN, END = "<!-- remote: begin -->", "<!-- remote: end -->"
US = "noex"
CURVE = "noex+curve"


def figures_table(table: Table, rows: Iterable[Row], names: list[str]) -> Lines:
    """A line for each load, a column for each peer; and what was wanted of us."""
    lines = [["", *names, "wanted"]]
    for row in rows:
        for line in row.lines:
            values = [table[row.key].get(name, {}).get(line.figure) for name in names]
            if any(value is not None for value in values):
                lines.append([line.title, *map(number, values), line.wanted or ""])
    return lines


def ratios_table(table: Table, rows: Iterable[Row], names: list[str]) -> Lines:
    """How many times better we are than each: below 1 we are worse, whatever the unit is."""
    others = [name for name in names if name not in (US, CURVE)]
    lines = [["noex is better by", *(f"than {name}" for name in others)]]
    for row in rows:
        for line in row.lines:
            cells = table[row.key]
            ours = cells.get(US, {}).get(line.figure)
            ratios = []
            for name in others:
                theirs = cells.get(name, {}).get(line.figure)
                pair = (theirs, ours) if line.less_is_better else (ours, theirs)
                ratios.append(ratio(*pair))
            if any(text != "-" for text in ratios):
                lines.append([line.title, *ratios])
    return lines


def curve_table(table: Table, rows: Iterable[Row], names: list[str]) -> Lines:
    """What is left of each figure with encryption: 100 % is all of it, and less is worse."""
    lines = [["with CURVE", "% of plain"]]
    for row in rows:
        for line in row.lines:
            plain, curve = (table[row.key].get(name, {}).get(line.figure) for name in (US, CURVE))
            if plain and curve:
                part = plain / curve if line.less_is_better else curve / plain
                lines.append([line.title, f"{part * 100:.0f}"])
    return lines


def cpu_table(table: Table, rows: Iterable[Row], names: list[str]) -> Lines:
    """What one operation costs, at the client and at the server, whoever else is busy."""
    lines = [["us of CPU for each, client + server", *names]]
    for row in rows:
        cells = table[row.key]
        if any("cpu_client" in figures for figures in cells.values()):
            lines.append([row.lines[0].title, *(_cpu(cells.get(name, {})) for name in names)])
    return lines


def against_raw(table: Table) -> str:
    """What was wanted as a multiple, as one."""
    cells = table.get("sequential", {})
    ours, raw = (cells.get(name, {}).get("p50") for name in (US, "raw"))
    if not ours or not raw:
        return ""
    return f"A sequential call takes {ours / raw:.2f} times the round trip of blocking pyzmq."


def all_tables(table: Table, rows: Iterable[Row], names: list[str]) -> list[Lines]:
    """Every table of which there is something."""
    rows = list(rows)
    parts = [figures_table, ratios_table, curve_table, cpu_table]
    return [lines for lines in (part(table, rows, names) for part in parts) if len(lines) > 1]


def number(value: float | None) -> str:
    """Three or four digits that say something."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio(more: float | None, less: float | None) -> str:
    """One as a multiple of the other."""
    return "-" if not more or not less else number(more / less)


def _cpu(figures: dict[str, float]) -> str:
    if "cpu_client" not in figures:
        return "-"
    return f"{number(figures['cpu_client'])} + {number(figures['cpu_server'])}"
