"""The first OS process: starts the second, and measures what it is told to on its standard input.

A line of JSON for each order, and one for each answer: ``{"row": key, "size": {...}}`` measures,
with ``"profile": "sampled" | "traced"`` it also says where both ends have spent their time.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from typing import Any

from distant import load, version
from distant.costs import Costs, as_text
from distant.peer import Distant
from distant.rows import ROWS, Size
from distant.serving import Server, say

ALL = {row.key: row for row in ROWS}
START_LIMIT = 60.0
REPORT_LIMIT = 30.0


def be_client(name: str) -> None:
    """Be the client of that peer."""
    asyncio.run(_client(name))


async def _client(name: str) -> None:
    server = None
    try:
        peer = load(name)
        server = await Server.start(name) if peer.has_server else None
        if server is not None:
            peer.server_pid = server.pid
        async with asyncio.timeout(START_LIMIT):
            await peer.connect(server.address if server else "")
        known = peer.version() or version(name) or ""
        say({"version": known, "python": platform.python_version()})
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(await _obey(peer, server, json.loads(line)))
        await peer.close()
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"[:500]})
        raise
    finally:
        if server is not None:
            await server.stop()


async def _obey(peer: Distant, server: Server | None, order: dict[str, Any]) -> dict[str, Any]:
    row, size = ALL[order["row"]], Size(**order["size"])
    how = order.get("profile")
    if how is None or server is None:
        return {"figures": await row.measure(peer, size)}
    costs = Costs()
    server.order(how)
    costs.begin(traced=how == "traced")
    figures = await row.measure(peer, size) or {}
    ours = costs.end()
    server.order("report")
    reports = {"client": ours, "server": await server.read(REPORT_LIMIT)}
    texts = [
        as_text(end, each, figures.get(f"cpu_{end}", 0.0), figures.get("done", 0))
        for end, each in reports.items()
    ]
    return {"figures": figures, "report": "\n\n".join(texts)}
