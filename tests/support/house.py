"""The source tree as data: which module imports what, where, and when.

Read from the files, without importing them, so that a module that cannot be imported is judged
too. `House.read` works on any root with a `setup.cfg`, which is how the rules are tried on houses
that break them.
"""

from __future__ import annotations

import ast
import configparser
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("runtime", "transport", "cluster", "registry", "supervisor", "noex", "cli")
# Not source: what a tool leaves behind, and what is about the source.
BESIDE_THE_HOUSE = {"tests", "docs", "examples", "benchmarks"}
LEFT_BEHIND = {"build", "dist"}


@dataclass(frozen=True)
class Import:
    """One imported module: `target` is a module of the house where that is known."""

    target: str
    line: int
    at_module_level: bool
    for_types_only: bool
    relative: bool = False

    @property
    def at_import_time(self) -> bool:
        """Whether importing the module executes it (no function body, no TYPE_CHECKING block)."""
        return self.at_module_level and not self.for_types_only


@dataclass(frozen=True)
class Module:
    """A source file, under the name it is installed as."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...] = ()

    @property
    def floor(self) -> str:
        """The room it belongs to; the face and its testing helpers are `noex`."""
        return floor_of(self.name)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (ast.get_docstring(self.tree) or "").split("\n", 1)[0]


def floor_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "noex"


@dataclass
class House:
    """All modules of the packages that `setup.cfg` names."""

    root: Path
    package_dirs: dict[str, Path]
    modules: dict[str, Module] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path = ROOT) -> House:
        house = cls(root, package_dirs(root))
        sources = dict(house.sources())
        for name, path in sources.items():
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text, filename=str(path))
            imports = tuple(imports_of(tree, set(sources)))
            house.modules[name] = Module(name, path, tree, text.count("\n") + 1, imports)
        return house

    def sources(self) -> Iterator[tuple[str, Path]]:
        """Each module's installed name and file."""
        for package, folder in self.package_dirs.items():
            for path in sorted(folder.glob("*.py")):
                yield package if path.stem == "__init__" else f"{package}.{path.stem}", path

    def where(self, module: Module, line: int | None = None) -> str:
        place = module.path.relative_to(self.root).as_posix()
        return place if line is None else f"{place}:{line}"


@functools.cache
def the_house() -> House:
    """The house of this repository, read once."""
    return House.read()


def setup_cfg(root: Path = ROOT) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    return config


def listed_packages(root: Path = ROOT) -> list[str]:
    return setup_cfg(root)["options"]["packages"].split()


def package_dirs(root: Path = ROOT) -> dict[str, Path]:
    """Each listed package's folder, by the same rule as setuptools: the longest prefix counts."""
    lines = setup_cfg(root)["options"]["package_dir"].strip().splitlines()
    given = {name.strip(): value.strip() for name, value in (line.split("=") for line in lines)}
    found = {}
    for package in listed_packages(root):
        prefix = package
        while prefix and prefix not in given:
            prefix = prefix.rpartition(".")[0]
        rest = package.removeprefix(prefix).strip(".").split(".")
        found[package] = root.joinpath(given[prefix], *filter(None, rest))
    return found


def package_folders(root: Path = ROOT) -> set[Path]:
    """The folders of the tree that hold an `__init__.py`."""
    tops = [
        folder
        for folder in root.iterdir()
        if folder.is_dir()
        and folder.name not in BESIDE_THE_HOUSE | LEFT_BEHIND
        and folder.name[0] not in "._"
    ]
    return {init.parent for top in tops for init in top.rglob("__init__.py")}


def imports_of(tree: ast.Module, known: set[str]) -> Iterator[Import]:
    """All imports of a module, however deep, `known` being the modules of the house."""
    for node, in_function, for_types in walk(tree, in_function=False, for_types=False):
        here = functools.partial(
            Import, line=node.lineno, at_module_level=not in_function, for_types_only=for_types
        )
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield here(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield here(full if full in known else module, relative=node.level > 0)


def walk(
    node: ast.AST, *, in_function: bool, for_types: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function, for_types
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for part in child.body:
                holder = ast.Module(body=[part], type_ignores=[])
                yield from walk(holder, in_function=in_function, for_types=True)
            for part in child.orelse:
                holder = ast.Module(body=[part], type_ignores=[])
                yield from walk(holder, in_function=in_function, for_types=for_types)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, in_function=in_function or function, for_types=for_types)


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


# The rules. Each returns what breaks it, one sentence a case.


def upward_imports(house: House) -> list[str]:
    """A room leans only on floors below it, for its annotations too."""
    broken = []
    for module in house.modules.values():
        for imported in module.imports:
            if imported.target.split(".")[0] != "noex":
                continue
            if FLOORS.index(floor_of(imported.target)) > FLOORS.index(module.floor):
                where = house.where(module, imported.line)
                broken.append(f"{where} ({module.floor}) imports {imported.target}")
    return broken


def circles(house: House) -> list[str]:
    """Groups of modules that need one another to be imported."""
    edges = {
        name: sorted(
            {i.target for i in module.imports if i.at_import_time and i.target in house.modules}
        )
        for name, module in house.modules.items()
    }
    found: set[tuple[str, ...]] = set()
    for start in edges:
        path = shortest_way_back(start, edges)
        if path:
            turn = path.index(min(path))
            found.add(tuple(path[turn:] + path[:turn]))
    return sorted(" -> ".join((*circle, circle[0])) for circle in found)


def shortest_way_back(start: str, edges: dict[str, list[str]]) -> list[str]:
    paths = [[start]]
    seen: set[str] = set()
    while paths:
        path = paths.pop(0)
        for target in edges[path[-1]]:
            if target == start:
                return path
            if target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return []


# Modules that are machines whatever their docstring says, as patterns on the path.
MACHINES = (
    "runtime/deadlines.py",
    "runtime/stalls.py",
    "transport/link.py",
    "transport/wire.py",
    "transport/codec*.py",
    "transport/pulse.py",
    "cluster/view*.py",
    "cluster/detector.py",
    "supervisor/window.py",
    "supervisor/strategy*.py",
    "supervisor/placement.py",
    "supervisor/host_machine.py",
)
IMPURE = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "selectors", "signal"),
    *("logging", "os", "random", "secrets", "socket", "ssl", "subprocess", "threading", "time"),
    *("structlog", "zmq"),
}
# What a pure module could still reach through a module that it needs for its types.
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "getenv"}


def machines(house: House) -> list[Module]:
    """The listed machines, and every module whose docstring opens by saying that it is one."""
    return [module for module in house.modules.values() if is_machine(house, module)]


def is_machine(house: House, module: Module) -> bool:
    path = module.path.relative_to(house.root)
    if path.name == "__init__.py":
        return False
    summary = module.summary.lower().replace(",", " ").replace(".", " ").split()
    says_so = ("machine" in summary or "machine:" in summary) and "shell" not in summary
    return says_so or any(path.match(pattern) for pattern in MACHINES)


def impurities(house: House) -> list[str]:
    """What a machine reaches that it must be handed instead, itself or through its imports."""
    broken = []
    for module in machines(house):
        for imported in module.imports:
            if imported.target.split(".")[0] in IMPURE:
                broken.append(f"{house.where(module, imported.line)} imports {imported.target}")
        broken += [
            f"{house.where(module, line)} calls {name}()" for name, line in impure_calls(module)
        ]
        broken += [
            f"{house.where(module)} reaches {' -> '.join(way)}"
            for way in impure_ways(house, module)
        ]
    return broken


def impure_calls(module: Module) -> Iterator[tuple[str, int]]:
    """`datetime.now()` and friends: a clock or chance behind an import that is pure as such."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
            owner = getattr(getattr(node.func, "value", None), "id", name)
            if name in IMPURE_CALLS and owner in {name, "datetime", "date", "dt", "uuid"}:
                yield name, node.lineno


def impure_ways(house: House, module: Module) -> list[list[str]]:
    """The ways by which a module's imports of the house execute an impure import."""
    found = []
    seen = {module.name}
    paths = [[module.name]]
    while paths:
        path = paths.pop(0)
        for imported in house.modules[path[-1]].imports:
            target = imported.target
            if not imported.at_import_time:
                continue
            if target.split(".")[0] in IMPURE and len(path) > 1:
                found.append([*path[1:], target])
            if target in house.modules and target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return found
