"""The rules are tried on houses that break them: a rule that cannot fail protects nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import FLOORS, House, circles, impurities, machines, package_folders, upward_imports

SETUP = "[options]\npackages =\n    noex\n{packages}\npackage_dir =\n    noex = src/noex\n{dirs}\n"


@pytest.fixture
def build(tmp_path: Path):
    """Builds a house from file names and texts."""

    def build(**files: str) -> House:
        rooms = [floor for floor in FLOORS if floor != "noex"]
        packages = "\n".join(f"    noex.{room}" for room in rooms)
        dirs = "\n".join(f"    noex.{room} = {room}" for room in rooms)
        (tmp_path / "setup.cfg").write_text(SETUP.format(packages=packages, dirs=dirs))
        for folder in [*rooms, "src/noex"]:
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "__init__.py").write_text('"""A room."""\n')
        for name, text in files.items():
            (tmp_path / f"{name.replace('__', '/')}.py").write_text(text)
        return House.read(tmp_path)

    return build


def test_a_tidy_house_breaks_nothing(build) -> None:
    house = build(
        runtime__a='"""A machine."""\nimport ast\n',
        cluster__b="import asyncio\nfrom noex.runtime import a\nfrom noex.runtime.a import x\n",
    )
    assert upward_imports(house) == circles(house) == impurities(house) == []


@pytest.mark.parametrize(
    "text",
    [
        "from noex.cluster.b import x\n",
        "import noex.cluster.b\n",
        "from noex.cluster import b\n",
        "import noex\n",
        "from noex import Node\n",
        "def f():\n    from noex.cluster import b\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from noex.cluster import b\n",
        "try:\n    import noex.cluster.b\nexcept ImportError:\n    pass\n",
    ],
)
def test_an_import_of_a_higher_floor_is_seen(build, text: str) -> None:
    house = build(transport__a=text, cluster__b="")
    assert len(upward_imports(house)) == 1


def test_a_circle_is_seen_once(build) -> None:
    house = build(
        runtime__a="from noex.runtime import b\n",
        runtime__b="from noex.runtime.c import x\n",
        runtime__c="import noex.runtime.a\n",
        runtime__d="from noex.runtime import a\n",
    )
    assert circles(house) == [
        "noex.runtime.a -> noex.runtime.b -> noex.runtime.c -> noex.runtime.a"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from noex.runtime import a\n",
        "def f():\n    from noex.runtime import a\n",
    ],
)
def test_an_import_that_does_not_run_at_import_makes_no_circle(build, text: str) -> None:
    assert circles(build(runtime__a="from noex.runtime import b\n", runtime__b=text)) == []


@pytest.mark.parametrize(
    "text",
    [
        '"""The machine of x."""\nimport asyncio\n',
        '"""The machine of x."""\nfrom time import monotonic\n',
        '"""Machine: x."""\ndef f():\n    import random\n',
        '"""A machine."""\nfrom datetime import datetime\nx = datetime.now()\n',
        '"""A machine."""\nimport uuid\nx = uuid.uuid4()\n',
        '"""A machine."""\nfrom noex.runtime import shell\n',
    ],
)
def test_an_impure_machine_is_seen(build, text: str) -> None:
    house = build(runtime__a=text, runtime__shell='"""The shell of a machine."""\nimport zmq\n')
    assert [module.name for module in machines(house)] == ["noex.runtime.a"]
    assert len(impurities(house)) == 1


def test_a_listed_machine_is_seen_whatever_it_says(build) -> None:
    house = build(cluster__views_of_x="import threading\n", transport__wire="import os\n")
    assert len(impurities(house)) == 2


def test_a_package_that_setup_cfg_forgot_is_seen(build) -> None:
    house = build()
    (house.root / "runtime" / "deep").mkdir()
    (house.root / "runtime" / "deep" / "__init__.py").write_text("")
    assert package_folders(house.root) - set(house.package_dirs.values()) == {
        house.root / "runtime" / "deep"
    }
