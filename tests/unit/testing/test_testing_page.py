"""The example in docs/testing.md is run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from house import ROOT

import noex.testing
from noex.testing import fixtures

PLUGINS = ("-p", "no:cacheprovider", "-p", "no:randomly")
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def test_the_example_passes(tmp_path: Path) -> None:
    conftest, test = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_example.py").write_text(test, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *PLUGINS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def shown() -> set[str]:
    return set(re.findall(r"`(\w+)", PAGE))


@pytest.mark.parametrize("name", ["Child", "Family", "capture_events", "run_virtual", "settle"])
def test_the_page_names_the_helpers(name: str) -> None:
    assert name in shown() and name in noex.testing.__all__


def test_the_page_names_every_fixture() -> None:
    given = {
        name
        for name, value in vars(fixtures).items()
        if type(value).__name__ == "FixtureFunctionDefinition"
        or hasattr(value, "_pytestfixturefunction")
    }
    public = {name for name in given if not name.startswith("_")}
    assert len(public) == 5 and public <= shown()
