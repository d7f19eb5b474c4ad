"""The public names of `noex`: what they are is written down where a user looks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest

import noex
import noex.testing

FACES = (noex, noex.testing)


def public_names(face: ModuleType) -> list[str]:
    return list(getattr(face, "__all__", ()))


def undocumented(face: ModuleType) -> Iterator[str]:
    for name in public_names(face):
        value = getattr(face, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        if not own_docstring(value):
            yield name
        if inspect.isclass(value):
            yield from (f"{name}.{method}" for method in undocumented_methods(value))


def own_docstring(value: object) -> bool:
    text = inspect.getdoc(value)
    # dataclasses and NamedTuples write their signature where a docstring should be.
    return bool(text) and not text.startswith(f"{getattr(value, '__name__', '')}(")


def undocumented_methods(cls: type) -> Iterator[str]:
    for name, value in inspect.getmembers(cls):
        if name.startswith("_") or not getattr(value, "__module__", "noex").startswith("noex"):
            continue
        callable_or_property = inspect.isroutine(value) or isinstance(value, property)
        if callable_or_property and not inspect.getdoc(value):
            yield name


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_every_public_name_has_a_docstring(face: ModuleType) -> None:
    assert list(undocumented(face)) == []


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_every_public_name_exists_once(face: ModuleType) -> None:
    names = public_names(face)
    assert [name for name in names if not hasattr(face, name)] == []
    assert len(names) == len(set(names))


def test_a_missing_docstring_is_seen() -> None:
    class Documented:
        """It says what it is."""

        def spoken(self) -> None:
            """And what it does."""

        def silent(self) -> None: ...

    Documented.silent.__module__ = Documented.spoken.__module__ = "noex.sample"
    face = ModuleType("noex.sample")
    face.__all__ = ["Documented", "bare"]
    face.Documented = Documented
    face.bare = lambda: None
    assert list(undocumented(face)) == ["Documented.silent", "bare"]
