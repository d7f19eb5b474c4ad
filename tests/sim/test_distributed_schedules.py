"""A supervisor over nodes that crash and come back, with late and repeated messages.

At every moment no child has two live copies on living nodes; when peace has come, each child that
the supervisor has runs exactly once, and nothing else does.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from supervision_sim import HOME, World

from noex.supervisor.options import Strategy, SupervisorOptions
from noex.supervisor.spec import ChildSpec, RestartIntensity
from noex.supervisor.strategy_events import (
    NodeDraining,
    RestartChildRequested,
    StartChildRequested,
    StopRequested,
    TerminateChildRequested,
)
from noex.testing import run_virtual

PEACE = 120.0  # virtual seconds


def options(strategy: Strategy) -> SupervisorOptions:
    return SupervisorOptions(
        strategy=strategy,
        children=[ChildSpec(f"c{i}", "worker") for i in range(4)],
        restart_intensity=RestartIntensity(10_000, 1.0),
        node_selector="round_robin",
        distributed=True,
    )


async def trouble(world: World, steps: int) -> None:
    """Random events, then peace."""
    world.failing = 0.0
    await asyncio.sleep(PEACE)  # for the initial start
    world.failing = 0.1
    for requests in range(steps):
        await asyncio.sleep(world.random.choice([0.0, 0.01, 0.1, 1.0]))
        child_id = f"c{world.random.randrange(6)}"
        match world.random.choice(["crash", "crash", "exit", "exit", "ask", "drain", "idle"]):
            case "crash":
                world.crash(world.random.choice(list(world.lives)))
            case "exit":
                running = [ref for life in world.lives.values() for ref in life.processes]
                if running:
                    world.end(world.random.choice(running), "odd")
            case "ask":
                request: Any = world.random.choice(
                    [
                        StartChildRequested(requests, ChildSpec(child_id, "worker")),
                        RestartChildRequested(requests, child_id),
                        TerminateChildRequested(requests, child_id),
                    ]
                )
                world.note(request)
                world.tell(request)
            case "drain":
                name = world.random.choice(list(world.lives))
                life = world.lives[name]
                if name != HOME and life.known:
                    life.status = "draining"
                    world.tell(NodeDraining(*life.uid))
        world.check_copies()
    world.failing = 0.0
    await asyncio.sleep(PEACE)
    world.check_rest()


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("seed", range(20))
def test_one_copy_at_every_moment_and_all_of_them_in_the_end(strategy: Strategy, seed: int) -> None:
    async def main() -> None:
        world = World(seed, options(strategy))
        await trouble(world, 60)
        asked = set(world.answers)
        world.tell(StopRequested())
        await asyncio.sleep(PEACE)
        assert world.finished is not None
        assert world.copies() == {}
        assert len(asked) == len(world.answers)
        assert not world.tasks

    run_virtual(main())
