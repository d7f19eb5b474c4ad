"""The demo's yardstick: the same work in one process, without noex. Prints JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from noex.cli.demo_text import analyse, cut, merge, read_input


def main(path: str, size: int) -> None:
    """Analyse all chunks one after the other."""
    text = read_input(Path(path) if path else None)
    total = merge(analyse(chunk) for chunk in cut(text, size))
    json.dump(total, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
