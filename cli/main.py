"""``noex-node``: the command line.

Exit codes: 0 done; 1 failed (the last line says why); 2 wrong usage; 3 no answer from the node;
130 interrupted by Ctrl-C, 143 by SIGTERM. `start` takes either as the order to stop and exits
with 0; the second one ends it at once, with 130.
"""

from __future__ import annotations

import signal

from noex.cli.signals import end_at_once


def main() -> None:
    """The program. Until a command has something to put in order, Ctrl-C just ends it."""
    signal.signal(signal.SIGINT, end_at_once)
    from noex.cli.commands import group  # from here on, also while this is loaded

    group(prog_name="noex-node")
