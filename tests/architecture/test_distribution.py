"""What gets installed. Only a wheel can show it, so an editable install leaves these out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import PurePosixPath

import pytest
from house import the_house

import noex


@pytest.fixture(scope="module")
def wheel() -> Distribution:
    # The root of the repository may hold an egg-info of the same name; a wheel has a RECORD.
    for found in distributions(name="noex"):
        if found.read_text("RECORD") and not any(map(is_link, installed(found))):
            return found
    pytest.skip("noex is not installed from a wheel here; `make test` does that")


def installed(wheel: Distribution) -> Iterator[PurePosixPath]:
    for file in wheel.files or ():
        if "__pycache__" not in file.parts:
            yield PurePosixPath(file)


def is_link(file: PurePosixPath) -> bool:
    return file.name.startswith("__editable__") or file.suffix == ".pth"


def test_only_noex_is_installed_at_top_level(wheel: Distribution) -> None:
    tops = {file.parts[0] for file in installed(wheel) if file.parts[0] != ".."}
    assert tops == {"noex", f"noex-{wheel.version}.dist-info"}


def test_the_only_other_file_is_the_command(wheel: Distribution) -> None:
    outside = {file.stem for file in installed(wheel) if file.parts[0] == ".."}
    assert outside == {"noex-node"}


def test_the_wheel_says_that_it_is_typed(wheel: Distribution) -> None:
    assert PurePosixPath("noex/py.typed") in set(installed(wheel))


def test_the_wheel_holds_these_sources_and_no_others(wheel: Distribution) -> None:
    # Also the guard against a run on a wheel of yesterday.
    theirs = {
        str(file): wheel.locate_file(file).read_bytes()
        for file in installed(wheel)
        if file.parts[0] == "noex" and file.suffix == ".py"
    }
    ours = {}
    for name, path in the_house().sources():
        parts = name.split(".")
        if path.stem == "__init__":
            parts.append("__init__")
        ours["/".join(parts) + ".py"] = path.read_bytes()
    assert sorted(theirs) == sorted(ours)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_this_run_uses_the_wheel(wheel: Distribution) -> None:
    assert noex.__file__ == str(wheel.locate_file("noex/__init__.py"))


def test_only_four_packages_come_along(wheel: Distribution) -> None:
    needed = [line for line in wheel.requires or () if "extra ==" not in line]
    names = {line.split(">")[0].split(";")[0].strip() for line in needed}
    assert names == {"pyzmq", "msgpack", "structlog", "click"}
