"""`docs/guarantees.md`: each sentence names the tests that prove it, and they exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from house import ROOT

PAGE = ROOT / "docs" / "guarantees.md"
NO_PROMISES = "## Not promised"
TEST = re.compile(r"`(tests/[\w/]+\.py)::((?:\w+::)?test_\w+)`")


def promises(page: str) -> list[str]:
    """The items of the lists of the page, but for those that say what is not promised."""
    promised = page.partition(NO_PROMISES)[0]
    return [" ".join(item.split()) for item in re.findall(r"^- (.+(?:\n  .+)*)", promised, re.M)]


def faults(page: str, root: Path = ROOT) -> list[str]:
    found = []
    for promise in promises(page):
        named = TEST.findall(promise)
        if not named:
            found.append(f"no test is named: {promise}")
        found += [f"{file}::{name}" for file, name in named if name not in defined_in(root / file)]
    return found


@functools.cache
def defined_in(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            names |= {f"{node.name}::{part.name}" for part in inner}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):  # TestMachine = SomeRules.TestCase, test_x = ...
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_every_promise_names_tests_that_exist() -> None:
    assert faults(PAGE.read_text(encoding="utf-8")) == []


def test_there_are_promises_and_what_is_not_promised() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert promises(page)
    assert NO_PROMISES in page


@pytest.mark.parametrize(
    ("item", "is_fault"),
    [
        ("- It holds. `tests/a/test_b.py::test_it`", False),
        ("- It holds,\n  always. `tests/a/test_b.py::test_it`", False),
        ("- It holds. `tests/a/test_b.py::TestIt::test_it`", False),
        ("- It holds.", True),
        ("- It holds. `tests/a/test_b.py::test_another`", True),
        ("- It holds. `tests/a/test_none.py::test_it`", True),
    ],
)
def test_a_promise_without_its_test_is_seen(tmp_path: Path, item: str, is_fault: bool) -> None:
    (tmp_path / "tests" / "a").mkdir(parents=True)
    text = "def test_it(): ...\nclass TestIt:\n    def test_it(self): ...\n"
    (tmp_path / "tests" / "a" / "test_b.py").write_text(text)
    page = f"# Page\n\n{item}\n\n{NO_PROMISES}\n\n- More.\n"
    assert bool(faults(page, tmp_path)) is is_fault
