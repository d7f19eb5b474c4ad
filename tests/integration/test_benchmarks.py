"""The benchmark runs and fills in every row. What it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOCAL = Path(__file__).resolve().parents[2] / "benchmarks" / "local.py"
KEYS = {
    *("sequential", "async", "waiting", "callers", "casts", "spawns", "memory"),
    *("fair-1", "fair-1000", "scale", "alive", "queued"),
}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PEERS = ("noex", "naive")


def run(*options: str) -> str:
    command = [sys.executable, str(LOCAL), "--quick", "--together", "--seconds", "0.01", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a short run printed, and what it wrote."""
    path = tmp_path_factory.mktemp("benchmark") / "figures.json"
    text = run("--scale", "1000", "--peers", *PEERS, "--json", str(path))
    return text, json.loads(path.read_text())["rows"]


def test_every_row_has_a_positive_figure_for_each_peer(quick: tuple[str, dict[str, Any]]) -> None:
    _, rows = quick
    assert rows.keys() == KEYS
    for key, cells in rows.items():
        assert cells.keys() == set(PEERS), key
        for figures in cells.values():
            # The collector need not run, and in one OS process memory is taken from earlier rows.
            free = {"gc_longest", "gc_share", "gc_runs", "resident"}
            signs = {name: value > 0 for name, value in figures.items() if name not in free}
            assert signs and all(signs.values()), (key, figures)


def test_every_row_is_printed(quick: tuple[str, dict[str, Any]]) -> None:
    text, _ = quick
    titles = ("sequential calls/s, def", "casts/s", "bytes per idle", "1000 callers that loop")
    flat = ("call, all in turn, noex", "held up by a handler, naive")
    assert [title for title in (*titles, *flat) if title not in text] == []


def test_the_tables_for_the_page_are_markdown(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    run("--only", "sequential", "--peers", *PEERS, "--markdown", "--page", str(page))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "|  | noex | naive | / naive |\n| --- | ---: | ---: | ---: |" in text


def test_the_page_has_the_marks_between_which_the_tables_go() -> None:
    page = (LOCAL.parents[1] / "docs" / "performance.md").read_text()
    assert page.count(BEGIN) == page.count(END) == 1 and page.index(BEGIN) < page.index(END)


def test_a_profile_names_the_hottest_functions() -> None:
    text = run("--seconds", "0.2", "--profile", "sequential")
    assert "sequential" in text and "line" in text
