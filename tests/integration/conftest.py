"""Two nodes, one of them in a process of its own, for the tests of a module that harm neither."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pair import Stage, pair


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        two = pair()
        here = runner.run(two.__aenter__())
        try:
            yield Stage(runner, here)
        finally:
            runner.run(two.__aexit__(None, None, None))
