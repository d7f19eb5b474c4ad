"""The local Supervisor under random load: requests, kills and faults at once, by seed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from actors import run, turns
from family import Boom, Diary, child, family, settled

from noex.runtime.errors import NoexError
from noex.runtime.kernel import Kernel
from noex.runtime.returns import Ignore
from noex.supervisor.handle import SupervisorHandle

NAMES = "abcd"


@pytest.mark.parametrize("seed", range(30))
def test_everybody_is_answered_and_what_is_listed_lives(seed: int) -> None:
    chance = random.Random(seed)
    strategy = chance.choice(["one_for_one", "one_for_all", "rest_for_one"])

    async def main(kernel: Kernel) -> None:
        diary = Diary()
        children = [child(name, diary) for name in NAMES[: chance.randrange(5)]]
        most = chance.choice([2, 10_000])
        sup = await family(kernel, strategy, *children, most=most)
        asked = [asyncio.create_task(ask(sup, diary, chance)) for _ in range(60)]
        for task in asked:
            await asyncio.wait_for(task, 8.0)
        diary.faults.clear()
        if await sup.is_running():
            await check(sup, kernel)
        await sup.stop(timeout=3.0)
        assert kernel.process_count == 0

    run(main)


async def ask(sup: SupervisorHandle, diary: Diary, chance: random.Random) -> None:
    """One user, with one wish at some time."""
    await turns(chance.randrange(60))
    name = chance.choice(NAMES)
    restart: Any = chance.choice(["permanent", "permanent", "transient", "temporary"])
    wish = chance.choice(["start", "terminate", "restart", "kill", "kill", "fault"])
    try:
        match wish:
            case "start":
                spec = child(name, diary, chance.choice([None, 0.001]), restart=restart)
                await sup.start_child(spec)
            case "terminate":
                await sup.terminate_child(name)
            case "restart":
                await sup.restart_child(name)
            case "kill":
                info = await sup.get_child(name)
                if info is not None and info.ref is not None:
                    info.ref.exit(chance.choice(["kill", "odd", "shutdown"]))
            case "fault":
                diary.fail(name, chance.choice([Boom(name), Ignore]))
    except NoexError:
        return  # refused, failed or gone: an answer all the same


async def check(sup: SupervisorHandle, kernel: Kernel) -> None:
    try:
        await settled(sup)
    except NoexError:
        return  # it gave up meanwhile
    infos = await sup.get_children()
    living = {process.ref for process in kernel.processes.values()} - {sup.ref}
    assert {info.ref for info in infos if info.ref is not None} == living
    for info in infos:
        assert info.status in ("running", "ignored", "pending")
