"""Everything at once, by a seed: killed, stopped and busy nodes, crashes, and requests meanwhile.

For other seeds and longer storms: ``NOEX_CHAOS_SEEDS=100:120 NOEX_CHAOS_SECONDS=30``.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from chaos import storm

pytestmark = pytest.mark.long

FIRST, _, LAST = os.environ.get("NOEX_CHAOS_SEEDS", "1:2").partition(":")
SECONDS = float(os.environ.get("NOEX_CHAOS_SECONDS", "5"))


@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST)))
def test_a_storm_leaves_each_child_once_with_its_arguments(seed: int, tmp_path: Path) -> None:
    asyncio.run(storm(seed, tmp_path, seconds=SECONDS))
