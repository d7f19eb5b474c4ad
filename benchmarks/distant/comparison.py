"""All rows for all peers. In each repetition the peers take turns at each row."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from statistics import median

from distant import ALONE
from distant.pairs import NotMeasured, Pair
from distant.rows import Figures, Row, Size

Table = dict[str, dict[str, Figures]]  # row, peer


class Comparison:
    """Measures, and keeps the figures of every run.

    `pythons` says which interpreter runs a peer. A peer that fails in a row is not asked again in
    that repetition; why is in `failures`.
    """

    def __init__(self, rows: Iterable[Row], pythons: Mapping[str, str], size: Size) -> None:
        self.rows = list(rows)
        self.pythons = dict(pythons)
        self.size = size
        self.about: dict[str, dict[str, str]] = {}
        self.failures: dict[str, str] = {}
        self.load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._runs: dict[tuple[str, str], list[Figures]] = {}

    async def repeat(self, times: int) -> None:
        """Every row of every peer, so often."""
        alone = [name for name in self.pythons if name in ALONE]
        together = [name for name in self.pythons if name not in ALONE]
        for _ in range(times):
            await self._turn(together)
            for name in alone:
                await self._turn([name])

    async def _turn(self, names: list[str]) -> None:
        pairs: list[Pair] = []
        try:
            for name in names:
                await self._start(name, pairs)
            for row in self.rows:
                for pair in list(pairs):
                    await self._measure(pair, row, pairs)
        finally:
            for pair in pairs:
                await pair.end()

    async def _start(self, name: str, pairs: list[Pair]) -> None:
        try:
            pair = await Pair.start(name, self.pythons[name])
        except NotMeasured as error:
            self._note(name, f"not started: {error}")
            return
        pairs.append(pair)
        self.about[name] = pair.about

    async def _measure(self, pair: Pair, row: Row, pairs: list[Pair]) -> None:
        if sys.stderr.isatty():
            print(f"{row.key}: {pair.name} ...", file=sys.stderr)
        try:
            figures = (await pair.measure(row, self.size))["figures"]
        except NotMeasured as error:
            self._note(pair.name, f"{row.key}: {error}")
            pairs.remove(pair)
            await pair.end()
            return
        if figures:
            self._runs.setdefault((row.key, pair.name), []).append(figures)

    def _note(self, name: str, text: str) -> None:
        self.failures[name] = text
        print(f"{name}: {text}", file=sys.stderr)

    def table(self) -> Table:
        """The median of each figure by itself."""
        table: Table = {row.key: {} for row in self.rows}
        for (key, name), runs in self._runs.items():
            names = {figure for run in runs for figure in run}
            table[key][name] = {
                figure: median(run[figure] for run in runs if figure in run) for figure in names
            }
        return table
