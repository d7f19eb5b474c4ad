"""The demo's processes: workers that do the work, and the chief that has them supervised."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from noex.cli.demo_text import Result, passes
from noex.registry.behaviors import behavior
from noex.runtime.errors import UnhandledMessageError
from noex.runtime.genserver import GenServer
from noex.supervisor.distributed import DistributedSupervisor
from noex.supervisor.spec import ChildSpec

WORKER: Final = "noex.demo.worker"
CHIEF: Final = "noex.demo.chief"
SUPERVISOR: Final = "noex-demo"


@behavior(WORKER)
class Worker(GenServer[str]):
    """Does all passes over a chunk that it is given."""

    def init(self, title: str) -> str:
        return title

    async def handle_call(self, message: Any, state: str) -> Any:
        match message:
            case ("analyse", chunk):
                return {"pid": os.getpid(), "result": await self._analyse(chunk)}, state
            case "who":
                return {"pid": os.getpid(), "title": state}, state
        raise UnhandledMessageError(message)

    async def _analyse(self, chunk: str) -> Result:
        """As `analyse`, giving way to the other processes of the node between two steps."""
        result: Result = {}
        for part in passes(chunk):
            for name, counts in part.items():
                result.setdefault(name, {}).update(counts)
            await asyncio.sleep(0)
        return result


@behavior(CHIEF)
class Chief(GenServer[Any]):
    """Starts the distributed supervisor on the node where it runs."""

    async def init(self, workers: int) -> Any:
        """`workers`: how many, spread over the nodes in turn."""
        children = [
            ChildSpec(f"worker-{number}", WORKER, args=(f"worker {number} of {workers}",))
            for number in range(1, workers + 1)
        ]
        return await DistributedSupervisor.start(
            self.node, name=SUPERVISOR, node_selector="round_robin", children=children
        )
