"""``noex-node start``: run a node until it is told to stop.

The first SIGTERM or Ctrl-C stops in order: children of other nodes' supervisors move away, own
processes end, the node leaves. The second one ends the program at once.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import traceback
from typing import Any, Final, NoReturn

import click

from noex.cli import logs
from noex.cli.signals import on_stop_signals
from noex.config import NodeConfig
from noex.node import Node
from noex.runtime.errors import InsecureBindError, NoexError

FAILED: Final = 1
WRONG_USAGE: Final = 2
FORCED: Final = 130


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
    "--label",
    "labels",
    multiple=True,
    callback=_labels,
    envvar="NOEX_LABELS",
    help="KEY=VALUE, shown to node selectors; may be repeated.",
)
@click.option(
    "--insecure",
    is_flag=True,
    envvar="NOEX_INSECURE",
    help="Allow an address beyond loopback, unencrypted.",
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
    logs.configure(log_level, log_json)
    try:
        config = NodeConfig(node_id=node_id, **options)
    except NoexError as error:
        _fail(WRONG_USAGE, error)
    _import_behaviors(behaviors)
    try:
        asyncio.run(_serve(config, until_stdin_closes=until_stdin_closes))
    except (NoexError, OSError, TimeoutError) as error:
        _fail(FAILED, error)


def _fail(status: int, error: BaseException | str) -> NoReturn:
    """Say it in one line, and end."""
    text = str(error)
    if isinstance(error, InsecureBindError):
        text += " (--insecure)"
    click.echo(f"noex-node: {text}", err=True)
    sys.exit(status)


def _import_behaviors(modules: tuple[str, ...]) -> None:
    """Import what registers behaviors; the current folder counts, as for ``python -m``."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a user's module may raise anything
            _fail(FAILED, f"--behaviors {module}: {_reason(module, error)}")


def _reason(module: str, error: Exception) -> str:
    is_missing = isinstance(error, ModuleNotFoundError | TypeError) and error.__traceback__
    if is_missing and not _frames_in_user_code(error):
        return f"{error}; name a module that Python can import from here, as package.module"
    where = _frames_in_user_code(error)
    place = f' (File "{where[-1].filename}", line {where[-1].lineno})' if where else ""
    return f"importing it raised {type(error).__name__}: {error}{place}; mend it, or leave it out"


def _frames_in_user_code(error: Exception) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, importlib.__file__)
    return [f for f in frames if f.filename not in ours and not f.filename.startswith("<frozen")]


async def _serve(config: NodeConfig, *, until_stdin_closes: bool) -> None:
    stopped = _stop_signal()
    if until_stdin_closes:
        _watch_stdin(stopped)
    node = Node(config=config)
    starting = asyncio.ensure_future(node.start_up())
    waiting = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            print(f"ready {node.id}", flush=True)
            await waiting
        else:
            starting.cancel()
            await asyncio.wait({starting})
    finally:
        waiting.cancel()
        await node.stop()


def _stop_signal() -> asyncio.Event:
    """An event that the first signal sets; the second ends the program."""
    stopped = asyncio.Event()

    def heard(_number: int) -> None:
        if stopped.is_set():
            os._exit(FORCED)
        stopped.set()

    on_stop_signals(asyncio.get_running_loop(), heard)
    return stopped


def _watch_stdin(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stopped.set()

    loop.add_reader(descriptor, readable)
