"""One cluster for the tests of a module that harm no node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from arena import Stage, arena
from cluster_actors import Journal


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
