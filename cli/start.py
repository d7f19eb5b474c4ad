"""``noex-node start``: run a node until it is told to stop.

The first SIGTERM or Ctrl-C stops in order: children of other nodes' supervisors move away, own
processes end, the node leaves. The second one ends the program at once.
"""

from __future__ import annotations

from typing import Any

import click

from noex.cli import logs
from noex.cli.security import security_options


def _list(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Options that may be given often, or once with commas (as in an environment variable)."""
    return tuple(part for value in values for part in value.split(",") if part)


def _labels(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs = [part.partition("=") for value in values for part in value.split(",") if part]
    wrong = [key for key, equals, _ in pairs if not equals]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _or_never(_ctx: click.Context, _param: click.Parameter, seconds: float) -> float | None:
    """No time stands for no watchdog."""
    return seconds if seconds != 0 else None


@click.command("start")
@click.argument("node_id", envvar="NOEX_NODE_ID")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    callback=_list,
    envvar="NOEX_SEEDS",
    help="Node id to join through; may be repeated. Without one, a cluster is founded.",
)
@click.option(
    "--behaviors",
    multiple=True,
    callback=_list,
    envvar="NOEX_BEHAVIORS",
    help="Module that registers behaviors (package.module); may be repeated.",
)
@click.option(
    "--cluster",
    default="noex",
    envvar="NOEX_CLUSTER",
    show_default=True,
    help="Name of the cluster; nodes of another name are strangers.",
)
@click.option("--bind", envvar="NOEX_BIND", help="Address to listen on, if not the node id's host.")
@click.option(
    "--user-port",
    type=int,
    default=0,
    envvar="NOEX_USER_PORT",
    help="Port for messages (default: chosen).",
)
@click.option(
    "--pub-port",
    type=int,
    default=0,
    envvar="NOEX_PUB_PORT",
    help="Port for heartbeats (default: chosen).",
)
@click.option(
    "--ipc-dir",
    envvar="NOEX_IPC_DIR",
    help="Directory for ipc:// sockets; nodes of this host that name the same one use them.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    callback=_labels,
    envvar="NOEX_LABELS",
    help="KEY=VALUE, shown to node selectors; may be repeated.",
)
@security_options
@click.option(
    "--insecure",
    is_flag=True,
    envvar="NOEX_INSECURE",
    help="Allow an address beyond loopback without any of these, unencrypted.",
)
@click.option(
    "--expected-peers",
    type=int,
    default=100,
    envvar="NOEX_EXPECTED_PEERS",
    show_default=True,
    help="Other members for which there must be file descriptors.",
)
@click.option(
    "--join-timeout",
    type=float,
    default=15.0,
    envvar="NOEX_JOIN_TIMEOUT",
    show_default=True,
    help="Seconds to become a member.",
)
@click.option(
    "--drain-timeout",
    type=float,
    default=10.0,
    envvar="NOEX_DRAIN_TIMEOUT",
    show_default=True,
    help="Seconds for children to move away at the stop.",
)
@click.option(
    "--slow-handler",
    type=float,
    default=0.5,
    callback=_or_never,
    envvar="NOEX_SLOW_HANDLER",
    show_default=True,
    help="Seconds that a handler may hold the loop before it is logged; 0: no watchdog.",
)
@click.option(
    "--blocking-threads",
    type=int,
    default=64,
    envvar="NOEX_BLOCKING_THREADS",
    show_default=True,
    help="Threads at most for the handlers of `blocking = True` classes.",
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    default="info",
    envvar="NOEX_LOG_LEVEL",
    show_default=True,
)
@click.option(
    "--log-json/--log-text",
    default=None,
    envvar="NOEX_LOG_JSON",
    help="Default: JSON unless standard error is a terminal.",
)
@click.option(
    "--until-stdin-closes",
    is_flag=True,
    help="Stop when standard input ends: a node that must not outlive the program that started it.",
)
def command(
    node_id: str,
    behaviors: tuple[str, ...],
    log_level: str,
    log_json: bool | None,
    until_stdin_closes: bool,
    **options: Any,
) -> None:
    """Run the node NODE_ID (name@host:port) until SIGTERM or Ctrl-C.

    When it is a member it prints one line: "ready NODE_ID".
    """
    from noex.cli import serving  # it loads ZeroMQ, which `--help` does without

    logs.configure(log_level, log_json)
    serving.run(node_id, behaviors, options, until_stdin_closes=until_stdin_closes)
