"""One cluster for the tests of a module that harm no node."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from arena import LIMIT, Arena, arena
from cluster_actors import Journal


class Stage:
    """An arena with three workers whose loop runs while a scene does."""

    def __init__(self, runner: asyncio.Runner, here: Arena) -> None:
        self._runner = runner
        self.here = here
        self.node = here.node

    def run(self, scene: Coroutine[Any, Any, None]) -> None:
        """Play a scene. It has a deadline."""
        self._runner.run(asyncio.wait_for(scene, LIMIT))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        cluster = arena(3)
        here = runner.run(cluster.__aenter__())
        try:
            yield Stage(runner, here)
        finally:
            runner.run(cluster.__aexit__(None, None, None))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """What the children of a test write down."""
    return Journal(tmp_path / "journal")
