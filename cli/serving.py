"""What ``noex-node start`` does: a node from its first check to its last goodbye.

Everything that can be wrong in what the user said is checked before anything is started.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import traceback
from typing import Any, Final, NoReturn

import click

from noex.cli.security import take_security
from noex.cli.signals import leave, on_stop_signals
from noex.config import NodeConfig
from noex.node import Node
from noex.runtime.errors import InsecureBindError, NoexError

FAILED: Final = 1
WRONG_USAGE: Final = 2
FORCED: Final = 130


def run(
    node_id: str,
    behaviors: tuple[str, ...],
    options: dict[str, Any],
    *,
    until_stdin_closes: bool,
) -> None:
    """Run the node until it is told to stop. `options` are those of `NodeConfig`.

    In place of `cluster_secret` and `keys` they name files (see `noex.cli.security`).
    """
    try:
        config = NodeConfig(node_id=node_id, **take_security(options))
    except NoexError as error:
        _fail(WRONG_USAGE, error)
    _import_behaviors(behaviors)
    try:
        asyncio.run(_serve(config, until_stdin_closes=until_stdin_closes))
    except (NoexError, OSError, TimeoutError) as error:
        _fail(FAILED, error)
    leave(0)


def _fail(status: int, error: BaseException | str) -> NoReturn:
    """Say it in one line, and end."""
    text = str(error)
    if isinstance(error, InsecureBindError):
        text += " (--cluster-secret-file, --key-file and --peers-file, or --insecure)"
    click.echo(f"noex-node: {text}", err=True)
    leave(status)


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
