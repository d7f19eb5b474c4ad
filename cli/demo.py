"""``noex-node demo``: a cluster of three real processes that loses one and loses no work.

1. Three `noex-node start` processes find each other; a fourth member, this program, joins them.
2. In the first one a distributed supervisor starts the workers, spread over all three.
3. This program hands out chunks of text, kills one node with SIGKILL while every worker there
   holds a chunk, and shows how the lost workers come up elsewhere.
4. The result is compared with that of a single process. Equal: exit status 0.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from noex.cli import logs
from noex.cli.demo_nodes import NodeFailedError, NodeProcess, make_nodes
from noex.cli.demo_run import Coordinator, Figures, MoveFailedError
from noex.cli.demo_text import CHUNK_SIZE, InputError, cut, merge, read_input
from noex.node import Node
from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.errors import NoexError

NODES: Final = 3
LEAST_CHUNKS: Final = 48
KILL_AFTER: Final = 0.25  # of the chunks
TIME_LIMIT: Final = 120.0
INTERRUPTED: Final = 130

Say = Callable[[str], None]


@click.command("demo")
@click.option(
    "--input",
    "path",
    type=click.Path(path_type=Path),
    default=None,
    help="A text file or folder to work on (default: Python's language reference).",
)
@click.option("--workers", type=click.IntRange(NODES, 60), default=6, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def command(path: Path | None, workers: int, as_json: bool) -> None:
    """Start three nodes, kill one, and lose nothing."""
    logs.configure("error", as_json=False)
    say: Say = (lambda _line: None) if as_json else click.echo
    try:
        figures = asyncio.run(_interruptible(path, workers, say))
    except asyncio.CancelledError:
        click.echo("noex-node: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except (InputError, NodeFailedError, MoveFailedError, NoexError, TimeoutError) as error:
        click.echo(f"noex-node: demo failed: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    sys.exit(0 if figures["equal"] else 1)


async def _interruptible(path: Path | None, workers: int, say: Say) -> dict[str, Any]:
    """Run the demo; SIGINT and SIGTERM cancel it, so that everything is ended in order."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(_demo(path, workers, say))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await asyncio.wait_for(task, TIME_LIMIT)


async def _demo(path: Path | None, workers: int, say: Say) -> dict[str, Any]:
    began = time.monotonic()
    text = read_input(path)
    size = max(1, min(CHUNK_SIZE, len(text) // LEAST_CHUNKS))
    chunks = cut(text, size)
    nodes = make_nodes(NODES)
    single: asyncio.subprocess.Process | None = None
    try:
        say(f"starting {NODES} nodes")
        for node in nodes:
            await node.start()
        single = await _start_single(path, size)
        await asyncio.gather(*(node.ready() for node in nodes))
        for node in nodes:
            say(f"  {node.node_id}  pid {node.pid}")
        figures, victim = await _with_cluster(nodes, workers, chunks, say)
        expected = json.loads(await _read_single(single))
    finally:
        await _end_all(nodes, single)
    return _report(figures, expected, victim, chunks, time.monotonic() - began, say)


async def _with_cluster(
    nodes: list[NodeProcess], workers: int, chunks: list[str], say: Say
) -> tuple[Figures, str]:
    """Join the three nodes, run all chunks, kill one node on the way."""
    from noex.cli.demo_actors import CHIEF, SUPERVISOR
    from noex.supervisor.distributed import DistributedSupervisor

    own = Node("demo@127.0.0.1:0", seeds=[n.node_id for n in nodes], behaviors=BehaviorRegistry())
    async with own:
        await own.wait_for_members(NODES + 1, timeout=15)
        await own.options(timeout=20.0).spawn(CHIEF, workers, on=nodes[0].node_id)
        supervisor = await DistributedSupervisor.find(own, SUPERVISOR)
        coordinator = Coordinator(supervisor, chunks, say)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(coordinator.run())
            victim = await _kill_one(coordinator, nodes, len(chunks), say)
            await running
        return coordinator.figures, victim


async def _kill_one(
    coordinator: Coordinator, nodes: list[NodeProcess], count: int, say: Say
) -> str:
    victim = nodes[-1]
    lost = await coordinator.until(max(1, int(count * KILL_AFTER)), victim.node_id)
    say(f"{count} chunks of text, and who runs where:")
    for node_id, children in coordinator.placement().items():
        say(f"  {node_id}: {', '.join(children)}")
    say(f"SIGKILL to {victim.node_id} (pid {victim.pid}), which works on {len(lost)} chunks")
    at = time.monotonic()
    victim.kill()
    coordinator.killed(victim.node_id, at)
    return victim.node_id


async def _start_single(path: Path | None, size: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "noex.cli.demo_single", str(path or ""), str(size)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _read_single(single: asyncio.subprocess.Process) -> bytes:
    out, _ = await single.communicate()
    if single.returncode != 0:
        raise NodeFailedError(f"the single process ended with status {single.returncode}")
    return out


async def _end_all(nodes: list[NodeProcess], single: asyncio.subprocess.Process | None) -> None:
    """Leave nothing running; a second interrupt does not get in between."""
    if single is not None and single.returncode is None:
        os.kill(single.pid, signal.SIGKILL)
        await asyncio.shield(single.wait())
    await asyncio.shield(asyncio.gather(*(node.end() for node in nodes)))


def _report(
    figures: Figures,
    expected: dict[str, Any],
    victim: str,
    chunks: list[str],
    seconds: float,
    say: Say,
) -> dict[str, Any]:
    total = merge(figures.results[number] for number in sorted(figures.results))
    idle = [move.child for move in figures.moves.values() if not move.chunks_after]
    complete = len(figures.results) == len(chunks) and not idle
    equal = complete and total == expected
    words = total["words"]
    say(f"words {words.total()}, different words {len(words)}")
    for node_id, number in sorted(figures.chunks_by_node.items()):
        say(f"  {node_id} did {number} chunks")
    say(f"chunks handed out again: {len(figures.handed_out_again)}, counted twice: 0, lost: 0")
    say("equal to the single process" if equal else "NOT equal to the single process")
    say(f"{seconds:.1f} s")
    return {
        "equal": equal,
        "words": words.total(),
        "different_words": len(words),
        "chunks": len(chunks),
        "chunks_by_node": dict(figures.chunks_by_node),
        "chunks_by_process": dict(figures.chunks_by_process),
        "handed_out_again": len(figures.handed_out_again),
        "killed": victim,
        "detected_after": figures.detected_after,
        "moves": [_move(move) for move in figures.moves.values()],
        "seconds": round(seconds, 3),
    }


def _move(move: Any) -> dict[str, Any]:
    return {
        "child": move.child,
        "from": move.from_node,
        "to": move.to_node,
        "answers_after": move.placed_after,
        "chunk_after": move.answered_after,
        "chunks_afterwards": move.chunks_after,
    }
