"""``noex-node``: the command line. Each command lives in a module of its own, imported when used.

Exit codes: 0 done; 1 failed (the last line says why); 2 wrong usage; 3 no answer from the node;
130 interrupted by Ctrl-C, 143 by SIGTERM. `start` takes either as the order to stop and exits
with 0; the second one ends it at once, with 130.
"""

from __future__ import annotations

import importlib
import signal
from typing import Any, Final

import click

from noex.cli.signals import end_at_once

_COMMANDS: Final = {
    "start": "noex.cli.start",
    "status": "noex.cli.status",
    "demo": "noex.cli.demo",
}


class _LazyGroup(click.Group):
    """Imports a command when it is asked for: ``--help`` must not load ZeroMQ."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: Any = importlib.import_module(module).command
        return command if isinstance(command, click.Command) else None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="noex")
def group() -> None:
    """Run and inspect nodes of a noex cluster."""


def main() -> None:
    """The program. Until a command has something to put in order, Ctrl-C just ends it."""
    signal.signal(signal.SIGINT, end_at_once)
    group(prog_name="noex-node")
