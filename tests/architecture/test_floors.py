"""Which room may lean on which, read from the imports."""

from __future__ import annotations

import ast
import functools

import pytest
from house import (
    BESIDE_THE_HOUSE,
    FLOORS,
    ROOT,
    circles,
    imports_of,
    listed_packages,
    package_dirs,
    package_folders,
    the_house,
    upward_imports,
)

MAX_LINES = 500


def test_a_room_imports_only_from_the_floors_below_it() -> None:
    assert upward_imports(the_house()) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circles(the_house()) == []


def test_no_module_is_longer_than_it_can_be_read() -> None:
    house = the_house()
    long = {house.where(m): m.lines for m in house.modules.values() if m.lines > MAX_LINES}
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    house = the_house()
    assert [house.where(m) for m in house.modules.values() if not m.summary] == []


def test_imports_are_absolute() -> None:
    house = the_house()
    relative = [
        house.where(module, imported.line)
        for module in house.modules.values()
        for imported in module.imports
        if imported.relative
    ]
    assert relative == []


def test_the_testing_helpers_are_used_by_tests_alone() -> None:
    house = the_house()
    users = [
        house.where(module, imported.line)
        for module in house.modules.values()
        for imported in module.imports
        if imported.target.startswith("noex.testing") and not module.name.startswith("noex.testing")
    ]
    assert users == []


def test_setup_cfg_lists_exactly_the_folders_that_are_packages() -> None:
    # A package that is missing there works when installed editable, and is absent from the wheel.
    assert set(package_dirs().values()) == package_folders()
    assert len(listed_packages()) == len(set(listed_packages()))


def test_every_room_has_a_floor() -> None:
    rooms = {name.split(".")[1] for name in listed_packages() if name.count(".")}
    assert rooms - {"testing"} == set(FLOORS) - {"noex"}


@functools.cache
def imports_everywhere() -> list[tuple[str, str]]:
    """Where each module is imported, in the rooms and beside them."""
    folders = [*package_dirs().values(), *(ROOT / name for name in sorted(BESIDE_THE_HOUSE))]
    found = []
    for path in sorted({path for folder in folders for path in folder.rglob("*.py")}):
        for imported in imports_of(ast.parse(path.read_text(encoding="utf-8")), set()):
            if not imported.relative:
                found.append((imported.target, f"{path.relative_to(ROOT)}:{imported.line}"))
    return found


@pytest.mark.parametrize("room", [floor for floor in FLOORS if floor != "noex"])
def test_nothing_imports_a_room_by_the_name_of_its_folder(room: str) -> None:
    # `import runtime.x` works in the root, and makes a second copy of the module.
    assert [where for target, where in imports_everywhere() if target.split(".")[0] == room] == []
