"""``python -m noex.cli`` is ``noex-node``."""

from __future__ import annotations

from noex.cli.main import main

if __name__ == "__main__":
    main()
