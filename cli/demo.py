"""``noex-node demo``: a cluster of three real processes that loses one and loses no work.

1. Three `noex-node start` processes find each other; a fourth member, this program, joins them.
2. In the first one a distributed supervisor starts the workers, spread over all three.
3. This program hands out chunks of text, kills one node with SIGKILL while it holds some of them,
   and shows how the lost workers come up elsewhere.
4. The result is compared with that of a single process. Equal: exit status 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from noex.cli import logs
from noex.cli.signals import leave


@click.command("demo")
@click.option(
    "--input",
    "path",
    type=click.Path(path_type=Path),
    default=None,
    help="A text file or folder to work on (default: Python's language reference).",
)
@click.option(
    "--workers", type=click.IntRange(3, 60), default=6, show_default=True, help="How many."
)
@click.option("--json", "in_json", is_flag=True, help="Print the figures as one JSON object.")
def command(path: Path | None, workers: int, in_json: bool) -> None:
    """Start three nodes, kill one, and lose nothing."""
    # Loads ZeroMQ, which `--help` does without.
    from noex.cli import demo_cluster
    from noex.cli.demo_report import as_json, report
    from noex.cli.demo_text import InputError, read_input

    logs.configure("error", as_json=False)
    try:
        text = read_input(path)
    except InputError as error:
        raise click.BadParameter(str(error), param_hint="--input") from error
    say: Callable[[str], None] = (lambda _line: None) if in_json else click.echo
    outcome = demo_cluster.run(text, workers, say)
    if in_json:
        click.echo(json.dumps(as_json(outcome), indent=2))
    else:
        report(outcome, say)
    leave(0 if outcome.is_good else 1)
