"""The map and the list of log events name all that there is, and nothing that is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import ROOT, package_dirs, the_house

MAP = ROOT / "docs" / "architecture.md"
EVENTS = ROOT / "docs" / "events.md"
# `_log.error("zombie", ...)`, and the shells' own ways of logging once a minute.
LEVELS = {"debug", "info", "warning", "error", "exception"}
OTHER_WAYS = {"_complain": 0, "_note": 0, "Note": 1}
# The two whose name is put together where they are logged.
COMPOSED = {"control_frame_refused", "control_pulse_refused", "control_subscription_refused"}
# The demo is one program in many modules: the map shows them as `demo_*.py`.
SHOWN_TOGETHER = re.compile(r"demo_\w+\.py")


def modules() -> set[str]:
    names = {path.name for _, path in the_house().sources()}
    return {n for n in names if not n.startswith("__") and not SHOWN_TOGETHER.fullmatch(n)}


def names_on(page: Path) -> set[str]:
    return set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", page.read_text(encoding="utf-8")))


def logged(tree: ast.AST) -> Iterator[str]:
    """The events that a module logs, by the first word of the call's literal."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        place = 0 if called in LEVELS else OTHER_WAYS.get(called)
        if place is None or len(node.args) <= place:
            continue
        value = node.args[place]
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            event = re.match(r"[a-z]+(?:_[a-z]+)*(?=$| node=)", value.value)
            if event is not None:
                yield event.group()


def events_in_the_code() -> set[str]:
    house = ROOT / "cli", ROOT / "src" / "noex" / "testing"  # they tell people, not the log
    folders = [folder for folder in package_dirs().values() if folder not in house]
    found = set(COMPOSED)
    for path in sorted({path for folder in folders for path in folder.glob("*.py")}):
        found |= set(logged(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def events_on_the_page() -> set[str]:
    first_cells = re.findall(r"^\| (`.*?`) \|", EVENTS.read_text(encoding="utf-8"), re.M)
    return {event for cell in first_cells for event in re.findall(r"`(\w+)`", cell)}


def test_the_map_shows_every_module() -> None:
    assert sorted(modules() - names_on(MAP)) == [], "add a line to docs/architecture.md"


def test_the_map_shows_no_module_that_is_gone() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert sorted(names_on(MAP) - modules() - tests - {"__init__.py"}) == []


def test_every_event_of_the_log_is_explained() -> None:
    assert sorted(events_in_the_code() - events_on_the_page()) == [], "add it to docs/events.md"


def test_no_event_is_explained_that_is_never_logged() -> None:
    assert sorted(events_on_the_page() - events_in_the_code()) == []


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('log.warning("node_busy", peer=1)', "node_busy"),
        ('_log.error("control_thread_stuck node=%s it did not end", 1)', "control_thread_stuck"),
        ('self._complain("bad_endpoint", peer)', "bad_endpoint"),
        ('Note("info", "views_settled", {})', "views_settled"),
        ('log.warning("A sentence for people")', None),
    ],
)
def test_an_event_is_seen_in_each_way_of_logging(line: str, event: str | None) -> None:
    assert list(logged(ast.parse(line))) == ([event] if event else [])
