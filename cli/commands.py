"""The commands by name. Each lives in a module of its own, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

_COMMANDS: Final = {
    "start": "noex.cli.start",
    "status": "noex.cli.status",
    "keygen": "noex.cli.keygen",
    "demo": "noex.cli.demo",
}


class _LazyGroup(click.Group):
    """Imports a command when it is asked for, and none of them the runtime: help is quick."""

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
