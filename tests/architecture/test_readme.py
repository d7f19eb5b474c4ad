"""The examples that a stranger sees first."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from house import ROOT

import noex

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def examples(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_examples_are_python(page: str) -> None:
    for example in examples(page):
        compile(example, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_examples_import_names_that_exist() -> None:
    names = set()
    for example in examples("README.md"):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and node.module == "noex":
                names |= {alias.name for alias in node.names}
    assert names
    assert [name for name in sorted(names) if not hasattr(noex, name)] == []


RUNNING = {
    "README.md": "15\n",
    "docs/registry.md": "['ada', 'bob']\nada hears: welcome\nbob hears: welcome\nNone 1\n",
}


@pytest.mark.parametrize("page", RUNNING)
def test_the_first_example_of_a_page_runs(page: str) -> None:
    command = [sys.executable, "-W", "error", "-c", examples(page)[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT / "docs")
    assert (done.returncode, done.stdout, done.stderr) == (0, RUNNING[page], "")


def test_the_example_of_typed_calls_runs() -> None:
    (example,) = [text for text in examples("README.md") if "import GenServer, Node, call" in text]
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("15\n8\n", "")


def test_the_example_of_a_library_that_blocks_runs() -> None:
    (example,) = [text for text in examples("README.md") if "blocking = True" in text]
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[(42,)]\n", "")


def test_the_example_without_asyncio_runs() -> None:
    (example,) = [text for text in examples("README.md") if "noex.blocking(" in text]
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT / "docs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "15\n2\n", "")


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
