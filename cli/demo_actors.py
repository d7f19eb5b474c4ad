"""The demo's processes: workers that do the work, and the chief that has them supervised."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from noex.cli.demo_text import Result, passes
from noex.registry.behaviors import behavior
from noex.runtime.errors import UnhandledMessageError
from noex.runtime.genserver import GenServer
from noex.runtime.returns import Reply
from noex.supervisor.distributed import DistributedSupervisor
from noex.supervisor.spec import ChildSpec

WORKER: Final = "noex.demo.worker"
CHIEF: Final = "noex.demo.chief"
SUPERVISOR: Final = "noex-demo"
SPREAD_TIMEOUT: Final = 20.0  # within the 30 s of an init


@behavior(WORKER)
class Worker(GenServer[dict[int, Result]]):
    """Takes a chunk and says so, works on it, and keeps the result until it is fetched.

    So a chunk that was taken and not fetched is lost for certain with its worker. The state is
    the results by the number of their chunk.
    """

    def init(self, title: str) -> dict[int, Result]:
        self.title = title
        return {}

    def handle_call(self, message: Any, state: dict[int, Result]) -> Any:
        match message:
            case "who":
                return {"pid": os.getpid(), "title": self.title}, state
            case ("take", number, chunk):
                return Reply("taken", state, continue_with=(number, chunk))
            case ("fetch", number):  # waits in the mailbox until the work is done
                return {"pid": os.getpid(), "result": state.pop(number)}, state
        raise UnhandledMessageError(message)

    async def handle_continue(self, token: Any, state: dict[int, Result]) -> dict[int, Result]:
        number, chunk = token
        state[number] = await self.analyse(chunk)
        return state

    async def analyse(self, chunk: str) -> Result:
        """As `demo_text.analyse`, giving way to other processes of the node between two steps."""
        result: Result = {}
        for part in passes(chunk):
            for name, counts in part.items():
                result.setdefault(name, {}).update(counts)
            await asyncio.sleep(0)
        return result


@behavior(CHIEF)
class Chief(GenServer[Any]):
    """Starts the distributed supervisor on the node where it runs."""

    async def init(self, workers: int, nodes: int) -> Any:
        """`workers`: how many, spread in turn over the `nodes` that can have some."""
        await asyncio.wait_for(self._can_spread(nodes), SPREAD_TIMEOUT)
        children = [
            ChildSpec(f"worker-{number}", WORKER, args=(f"worker {number} of {workers}",))
            for number in range(1, workers + 1)
        ]
        return await DistributedSupervisor.start(
            self.node, name=SUPERVISOR, node_selector="round_robin", children=children
        )

    async def _can_spread(self, nodes: int) -> None:
        """A node that is just busy gets no children: wait until all of them are ready."""
        events = self.node.events()
        try:
            while self._ready() < nodes:
                await anext(events)
        finally:
            events.close()

    def _ready(self) -> int:
        members = self.node.members()
        return sum(info.status == "up" and WORKER in info.behaviors for info in members)
