"""``noex-node status``: what a running node says of itself and its cluster."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from noex.cli.security import security_options, take_security

NO_ANSWER = 3


@click.command("status")
@click.argument("node_id", envvar="NOEX_NODE_ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 3600, min_open=True),
    default=3.0,
    show_default=True,
    help="Seconds to wait.",
)
@security_options
def command(node_id: str, as_json: bool, timeout: float, **security: Any) -> None:
    """Ask the node NODE_ID (name@host:port) for its status."""
    # Loads ZeroMQ, which `--help` does without.
    from noex.cli.client import NoAnswerError, RefusedError, ask
    from noex.runtime.errors import InvalidNodeIdError, InvalidOptionError, NoexError

    try:
        status = ask(node_id, "status", timeout=timeout, **take_security(security))
    except InvalidNodeIdError as error:
        raise click.BadParameter(str(error), param_hint="NODE_ID") from error
    except InvalidOptionError as error:
        raise click.UsageError(str(error)) from error
    except NoAnswerError as error:
        click.echo(f"noex-node: {error}", err=True)
        sys.exit(NO_ANSWER)
    except (RefusedError, NoexError) as error:
        click.echo(f"noex-node: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(status, indent=2) if as_json else "\n".join(_lines(status)))


def _lines(status: dict[str, Any]) -> list[str]:
    head = [
        f"{status['id']}  {status['phase']}{', frozen' if status['frozen'] else ''}",
        f"  processes {status['process_count']}, behaviors: "
        + (", ".join(status["behaviors"]) or "none"),
        "",
        f"{'MEMBER':32} {'STATUS':9} {'PROCESSES':>9} {'LAG':>7}  BEHAVIORS",
    ]
    return head + [_member_line(member) for member in status["members"]]


def _member_line(member: dict[str, Any]) -> str:
    lag = f"{member['loop_lag'] * 1000:.0f} ms"
    names = ", ".join(member["behaviors"])
    return f"{member['id']:32} {member['status']:9} {member['process_count']:9} {lag:>7}  {names}"
