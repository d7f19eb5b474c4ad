"""How long the tests that try at random go on: a moment by default, for as long as one likes by
the environment.

    NOEX_FUZZ_SECONDS=60 NOEX_BLOCKS=200 make test-long
"""

from __future__ import annotations

import os

FUZZ_SECONDS = float(os.environ.get("NOEX_FUZZ_SECONDS", "0.5"))
"""For each decoder, and each machine behind them."""
BLOCKS = int(os.environ.get("NOEX_BLOCKS", "1"))
"""Of random schedules, for each kind of them."""
