"""The benchmarks run and fill in every row. What they measure is nobody's test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)  # one run measures all rows, in OS processes of their own
LOCAL = Path(__file__).resolve().parents[2] / "benchmarks" / "local.py"
REMOTE = LOCAL.with_name("remote.py")
KEYS = {
    *("sequential", "async", "waiting", "callers", "casts", "spawns", "memory"),
    *("fair-1", "fair-1000", "scale", "alive", "queued"),
}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PEERS = ("noex", "naive")
FALSE = shutil.which("false")  # a Python that says nothing
REMOTE_BEGIN, REMOTE_END = "<!-- remote: begin -->", "<!-- remote: end -->"
FOR_BOTH = {
    "memory": {"now"},
    "sequential": {"p50", "p99", "rate"},
    "callers-100": {"rate"},
    "callers-1000": {"rate"},
    "casts": {"rate"},
    "ten-kilobytes": {"rate"},
    "megabytes": {"amount"},
    "peak": {"peak"},
}
FOR_US = {"beside": {"p99", "amount", "gap"}, "spawns": {"rate"}}


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


def run_remote(*options: str) -> str:
    command = [sys.executable, str(REMOTE), "--quick", "--seconds", "0.01", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict[str, Any]]:
    """What a short run between two OS processes printed, its page, and what it wrote."""
    folder = tmp_path_factory.mktemp("remote")
    page, path = folder / "page.md", folder / "figures.json"
    page.write_text(f"before\n{REMOTE_BEGIN}\nold\n{REMOTE_END}\nafter\n")
    files = ("--page", str(page), "--json", str(path))
    text = run_remote("--peers", "noex", "raw", "--markdown", *files)
    return text, page.read_text(), json.loads(path.read_text())["rows"]


def test_every_remote_row_has_positive_figures(remote: tuple[str, str, dict[str, Any]]) -> None:
    rows = remote[2]
    assert rows.keys() == FOR_BOTH.keys() | FOR_US.keys()
    for key, wanted in (FOR_BOTH | FOR_US).items():
        names = {"noex"} if key in FOR_US else {"noex", "raw"}
        assert rows[key].keys() == names, key
        for figures in rows[key].values():
            assert all(figures[name] > 0 for name in wanted), (key, figures)


def test_the_cpu_time_of_both_ends_is_counted(remote: tuple[str, str, dict[str, Any]]) -> None:
    for name, figures in remote[2]["casts"].items():
        assert figures["cpu_client"] > 0 and figures["cpu_server"] > 0, name


def test_the_remote_tables_go_into_the_page(remote: tuple[str, str, dict[str, Any]]) -> None:
    text, page, _ = remote
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    table = (
        "|  | noex | raw | wanted |\n| --- | ---: | ---: | ---: |\n| MB resident, fresh server |"
    )
    assert table in page and table in text
    assert "| noex is better by | than raw |" in page
    assert "| us of CPU for each, client + server | noex | raw |" in page


def test_the_page_has_the_marks_of_the_remote_tables() -> None:
    page = (LOCAL.parents[1] / "docs" / "performance.md").read_text()
    assert page.count(REMOTE_BEGIN) == page.count(REMOTE_END) == 1
    assert page.index(REMOTE_BEGIN) < page.index(REMOTE_END)


def test_a_peer_that_is_not_there_is_told_of_and_costs_the_others_nothing() -> None:
    peers = ("--peers", "raw", "casty", "--python", f"casty={FALSE}")
    text = run_remote("--rows", "casts", *peers)
    assert "casts/s" in text and "casty: not started" in text


@pytest.mark.parametrize("how", [(), ("--traced",)])
def test_a_remote_profile_has_both_ends_and_the_cost_of_a_message(how: tuple[str, ...]) -> None:
    text = run_remote("--seconds", "0.2", "--profile", "casts", *how)
    assert "client: " in text and "server: " in text and "ns/op" in text
    assert "transport/" in text
