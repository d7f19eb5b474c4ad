"""The tests keep rules too: nothing in them is settled by sleeping."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import ROOT

TESTS = ROOT / "tests"
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
# A sleep that no test could sit out stands for "for ever", in a handler that is to be ended.
FOR_EVER = 3600
# A loop that looks at a condition until a deadline may rest that long between two looks.
REST = 0.05
# Where a sleep is what the test is about (a busy loop, an absence), its line says so.
REASON = re.compile(r"# sleep: \S.{9,}")


def sleeps(text: str) -> Iterator[int]:
    """The lines with a sleep of a literal time and without a reason."""
    lines = text.splitlines()
    tree = ast.parse(text)
    polled = {call for loop in ast.walk(tree) if is_poll(loop) for call in ast.walk(loop)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        shortest = REST if node in polled else 0
        if name != "sleep" or not is_wait(node.args[0], shortest):
            continue
        if not any(REASON.search(line) for line in lines[node.lineno - 1 : node.end_lineno]):
            yield node.lineno


def is_poll(node: ast.AST) -> bool:
    """Whether this is a loop that ends at a deadline."""
    if not isinstance(node, ast.While):
        return False
    return any("deadline" in part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def is_wait(seconds: ast.expr, shortest: float) -> bool:
    """Whether this is a number above `shortest` (zero only gives way), and not for ever."""
    if any(isinstance(part, ast.Name | ast.Attribute | ast.Call) for part in ast.walk(seconds)):
        return False
    value = eval(compile(ast.Expression(seconds), "<seconds>", "eval"), {"__builtins__": {}})
    return shortest < value < FOR_EVER


def test_no_test_waits_by_sleeping() -> None:
    guilty = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in sleeps(path.read_text(encoding="utf-8"))
    ]
    assert guilty == [], (
        "wait for a condition with a deadline or use a virtual clock; "
        "where sleeping is the point, say why on that line: `# sleep: <reason>`"
    )


@pytest.mark.parametrize(
    ("line", "guilty"),
    [
        ("time.sleep(0.1)", True),
        ("await asyncio.sleep(1)", True),
        ("sleep(2 * 0.5)", True),
        ("while not done: time.sleep(0.01)", True),
        ("while clock() < deadline: time.sleep(0.01)", False),
        ("while clock() < deadline: time.sleep(1)", True),
        ("await asyncio.sleep(0)", False),
        ("await asyncio.sleep(0.0)", False),
        ("await asyncio.sleep(delay)", False),
        ("await asyncio.sleep(3600)", False),
        ("time.sleep(0.3)  # sleep: holds the loop, which is the fault under test", False),
        ("time.sleep(0.3)  # sleep: why", True),
    ],
)
def test_a_sleep_is_seen_unless_its_line_gives_the_reason(line: str, guilty: bool) -> None:
    assert bool(list(sleeps(f"async def f():\n    {line}\n"))) is guilty


def test_tests_are_no_packages() -> None:
    # Each file is imported on its own (importlib mode): two may have the same name.
    assert list(TESTS.rglob("__init__.py")) == []


def test_what_looks_like_a_test_is_collected() -> None:
    stray = [
        path.relative_to(ROOT).as_posix()
        for path in sorted(TESTS.rglob("*.py"))
        if not path.name.startswith("test_") and has_tests(path)
    ]
    assert stray == []


def has_tests(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, FUNCTION) and node.name.startswith("test_") for node in tree.body)


def test_no_test_is_an_unawaited_coroutine() -> None:
    # There is no asyncio plugin: an `async def test_x` needs a decorator that runs it.
    coroutines = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
        if not any(runs_it(decorator) for decorator in node.decorator_list)
    ]
    assert coroutines == []


def runs_it(decorator: ast.expr) -> bool:
    """Whether a decorator may turn a coroutine into a test: marks of pytest do not."""
    while isinstance(decorator, ast.Call | ast.Attribute):
        decorator = decorator.func if isinstance(decorator, ast.Call) else decorator.value
    return getattr(decorator, "id", "") not in {"pytest", "given", "settings", "example"}


@pytest.mark.parametrize(
    ("decorator", "runs"),
    [
        ("pytest.mark.parametrize('x', [y])", False),
        ("given(st.integers())", False),
        ("in_a_world", True),
        ("in_a_world(nodes=2)", True),
    ],
)
def test_a_mark_does_not_run_a_coroutine(decorator: str, runs: bool) -> None:
    assert runs_it(ast.parse(decorator, mode="eval").body) is runs


def test_no_test_hides_another_of_the_same_name() -> None:
    hidden = []
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
        for scope in scopes:
            names = [n.name for n in scope.body if isinstance(n, FUNCTION)]
            hidden += [
                f"{path.relative_to(ROOT)}::{name}"
                for name in sorted(set(names))
                if name.startswith("test_") and names.count(name) > 1
            ]
    assert hidden == []
