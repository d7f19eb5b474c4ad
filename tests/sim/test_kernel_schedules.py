"""Processes of two and three kernels over a network that fails: one outcome for everything."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from typing import Any

import pytest
from effort import BLOCKS
from sim_kernels import Citizen, Place, Town, town_of

from noex.runtime.errors import (
    CallTimeoutError,
    NodeNotReachableError,
    NoProcessError,
    ServerCrashedError,
)
from noex.testing import run_virtual

SEEDS = range(24)
BLOCK = 8  # schedules of one test


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What noex itself takes for a fault of its own."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("noticed", (0.0, 0.005, 3.0))
def test_each_call_in_flight_to_a_node_that_is_killed_has_one_outcome(noticed: float) -> None:
    async def main(seed: int) -> Counter[Any]:
        async with town_of(2, seed=seed) as town:
            here, there = town.places
            citizens = [await there.settle_one() for _ in range(5)]
            for number in range(60):
                town.call(here, citizens[number % 5], seconds=0.001 * (number % 7), timeout=None)
            await asyncio.sleep(town.chance.random() * 0.02)  # sleep: in virtual time
            town.kill(there)
            await asyncio.sleep(noticed)  # sleep: in virtual time
            await town.remove(there)
            await town.answered(0.1)
            town.check_executions()
            assert here.open_rows == 0
            return town.outcomes()

    total: Counter[Any] = Counter()
    for seed in SEEDS:
        total += run_virtual(main(seed))
    assert set(total) == {"reply", NodeNotReachableError}
    assert min(total.values()) > 60


def test_calls_under_cuts_have_one_outcome_and_are_executed_once_at_most() -> None:
    async def main(seed: int) -> Counter[Any]:
        async with town_of(2, seed=seed, patience=1.0) as town:
            here, there = town.places
            citizen, other = await there.settle_one(), await here.settle_one()
            chance = random.Random(seed)
            for _ in range(15):
                for _ in range(6):
                    town.call(here, citizen, timeout=chance.choice((0.05, 0.5, 30.0)))
                    town.call(there, other, timeout=chance.choice((0.05, 0.5, 30.0)))
                match chance.randrange(4):
                    case 0:
                        town.network.cut(here.host, there.host, both=chance.random() < 0.5)
                    case 1:
                        town.network.heal(here.host, there.host)
                    case 2:
                        town.network.sever(here.host, there.host)
                await asyncio.sleep(chance.choice((0.001, 0.03, 1.0)))  # sleep: virtual
            town.network.calm()
            await town.answered(60)
            await asyncio.sleep(10)  # sleep: virtual; late replies and cancellations arrive
            town.check_executions()
            assert (here.open_rows, there.open_rows) == (0, 0)
            return town.outcomes()

    total: Counter[Any] = Counter()
    for seed in SEEDS:
        total += run_virtual(main(seed))
    assert set(total) == {"reply", CallTimeoutError}
    assert min(total.values()) > 200


def test_every_monitor_fires_once_whatever_happens_to_the_process_and_its_node() -> None:
    async def main(seed: int) -> Counter[Any]:
        async with town_of(3, seed=seed) as town:
            here, there, third = town.places
            chance = random.Random(seed)
            watchers = [await here.settle_one(), await third.settle_one()]
            watched = [await there.settle_one() for _ in range(20)]
            for watcher in watchers:
                for citizen in watched:
                    home = here if watcher.ref.node_id == here.uid[0] else third
                    watcher.ref.cast(("watch", home.ref_of(citizen)))
            outside = [here.kernel.monitor(here.ref_of(citizen)) for citizen in watched]
            for citizen in chance.sample(watched, 10):
                citizen.ref.exit("kill")
                await asyncio.sleep(chance.choice((0, 0.001)))  # sleep: in virtual time
            if chance.random() < 0.5:
                town.network.sever(here.host, there.host)
            await asyncio.sleep(chance.choice((0, 0.002, 5.0)))  # sleep: in virtual time
            town.kill(there)
            await town.remove(there)
            await asyncio.sleep(1)  # sleep: in virtual time
            reasons: Counter[Any] = Counter()
            for watcher in watchers:
                assert len(watcher.monitors) == 20
                fired = Counter(id(down.monitor) for down in watcher.downs)
                assert fired == Counter(map(id, watcher.monitors))
                reasons.update(down.reason for down in watcher.downs)
            reasons.update([await monitor.wait(0.1) for monitor in outside])
            assert here.open_rows == third.open_rows == 0
            return reasons

    total: Counter[Any] = Counter()
    for seed in SEEDS:
        total += run_virtual(main(seed))
    assert set(total) == {"killed", "noproc", "noconnection"}
    assert sum(total.values()) == len(SEEDS) * 60


class Schedule:
    """Three kernels whose processes do everything to each other, by a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.sent: dict[tuple[str, Citizen], list[int]] = {}
        self.removed = self.survivors = 0

    async def run(self, steps: int) -> Town:
        async with town_of(3, seed=self.seed, patience=1.0) as town:
            self.town = town
            for a, b in town.pairs():
                town.network.way(a.host, b.host).jitter = self.chance.choice((0.0, 0.02))
            for place in town.places:
                for _ in range(4):
                    await place.settle_one()
            for _ in range(steps):
                await self.step()
            await self.end()
            return town

    def someone(self) -> tuple[Any, Citizen]:
        place = self.chance.choice(self.town.places)
        alive = [c for c in place.citizens if place.kernel.find(c.ref) is not None]
        return place, self.chance.choice(alive if self.chance.random() < 0.8 else place.citizens)

    async def step(self) -> None:
        chance, network = self.chance, self.town.network
        place, one = self.someone()
        home, other = self.someone()
        ref = place.ref_of(other)
        match chance.choices(range(13), (8, 3, 8, 6, 5, 6, 4, 2, 2, 2, 2, 1, 0.4))[0]:
            case 0:
                self.town.call(place, other, timeout=chance.choice((0.02, 5.0, 60.0)))
            case 1:
                seconds = chance.choice((0.001, 0.1))
                self.town.call(place, other, seconds=seconds, timeout=chance.choice((0.02, 5.0)))
            case 2:
                self.tell(place, other)
            case 3:
                one.ref.cast(("watch", ref))
            case 4:
                one.ref.cast(("unwatch", chance.randrange(100)))
            case 5 if other is not one:
                one.ref.cast(("link", ref))
            case 6 if other is not one:
                one.ref.cast(("unlink", ref))
            case 7:
                network.cut(place.host, home.host, both=chance.random() < 0.5)
            case 8:
                network.heal(place.host, home.host)
            case 9:
                network.sever(place.host, home.host)
            case 10:
                ref.exit("kill")
                other_home = next(p for p in self.town.places if other in p.citizens)
                await other_home.settle_one()
            case 11:
                network.stall(place.host)
                network.later(chance.random(), lambda: network.resume(place.host))
            case 12:
                self.removed += 1
                await self.town.remove(place)
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.001, 0.05, 0.5)))  # sleep: virtual

    def tell(self, place: Any, other: Citizen) -> None:
        """Casts of one kernel to one process, numbered: by life, as a life ends the stream."""
        who = f"{place.uid}"
        numbers = self.sent.setdefault((who, other), [])
        if place.ref_of(other).cast(("heard", who, len(numbers))):
            numbers.append(len(numbers))

    async def end(self) -> None:
        town = self.town
        town.network.calm()
        await asyncio.sleep(5)  # sleep: in virtual time
        self.check_links()
        self.check_tables()
        self.kill(town.places[:2])
        await asyncio.sleep(5)  # sleep: in virtual time
        self.check_survivors(town.places[2])
        self.kill(town.places)
        await town.answered(90)
        await asyncio.sleep(5)  # sleep: in virtual time
        self.check()

    def kill(self, places: list[Place]) -> None:
        for place in places:
            for citizen in place.citizens:
                citizen.ref.exit("kill")

    def check_links(self) -> None:
        """A link has two ends, or none."""
        links = set()
        for place in self.town.places:
            for process in place.kernel.processes.values():
                mine = place.uid[0], process.ref.serial
                for other in process.links or ():
                    links.add((mine, (other.node_id, other.serial)))
        assert {(b, a) for a, b in links} == links

    def check_tables(self) -> None:
        """What one side has open is open at the other, too."""
        for a, b in self.town.pairs():
            mine = a.operations.peers[b.uid[0]]
            theirs = b.operations.peers[a.uid[0]]
            assert mine.monitors.keys() == theirs.watched.keys()
            assert mine.calls.keys() == theirs.incoming.keys()
            assert not mine.unlinking

    def check_survivors(self, place: Place) -> None:
        """Who lives has heard of all who died."""
        for process in place.kernel.processes.values():
            for other in process.links or ():
                assert other.node_id == place.uid[0], f"{process.ref} is linked to {other}"
        for citizen in place.citizens:
            if citizen.ref.process is not None and citizen.ref.process.is_alive():
                for monitor in citizen.monitors:
                    is_here = monitor.ref.node_id == place.uid[0]
                    assert is_here or not monitor.active, f"{monitor} has not fired"
                self.survivors += 1

    def check(self) -> None:
        town = self.town
        town.check_executions()
        assert [place.open_rows for place in town.places] == [0, 0, 0]
        assert [place.kernel.process_count for place in town.places] == [0, 0, 0]
        for place in town.places:
            for citizen in place.citizens:
                fired = Counter(id(down.monitor) for down in citizen.downs)
                assert set(fired.values()) <= {1}, "a monitor has fired twice"
        for (who, citizen), numbers in self.sent.items():
            heard = [number for name, number in citizen.heard if name == who]
            assert heard == numbers[: len(heard)] or self.removed, (who, heard, numbers)
            assert heard == sorted(set(heard)), (who, heard)


def check_block(block: int, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: Counter[Any] = Counter()
    downs = exits = broken = removed = survivors = 0
    for seed in range(block * BLOCK, block * BLOCK + BLOCK):
        schedule = Schedule(seed)
        town = run_virtual(schedule.run(150))
        outcomes += town.outcomes()
        downs += sum(len(citizen.downs) for place in town.places for citizen in place.citizens)
        exits += sum(len(citizen.exits) for place in town.places for citizen in place.citizens)
        broken += town.network.statistics.broken
        removed += schedule.removed
        survivors += schedule.survivors
    assert faults(caplog) == []
    # the schedules are worth something only if all of this happened
    assert set(outcomes) >= {"reply", CallTimeoutError, NodeNotReachableError, NoProcessError}
    assert min(downs, exits, broken) > 25
    assert survivors > 10
    assert removed > 0


@pytest.mark.parametrize("block", range(4))
def test_processes_that_do_everything_over_a_network_that_fails_leave_nothing_open(
    block: int, caplog: pytest.LogCaptureFixture
) -> None:
    check_block(block, caplog)


@pytest.mark.long
@pytest.mark.parametrize("block", range(100, 100 + BLOCKS))
def test_processes_that_do_everything_leave_nothing_open_under_many_schedules(
    block: int, caplog: pytest.LogCaptureFixture
) -> None:
    check_block(block, caplog)


def test_a_server_that_crashes_while_the_way_is_cut_is_told_after_the_heal() -> None:
    async def main() -> None:
        async with town_of(2) as town:
            here, there = town.places
            citizen = await there.settle_one()
            monitor = here.kernel.monitor(here.ref_of(citizen))
            call = town.call(here, citizen, kind="crash", seconds=1.0, timeout=60.0)
            await asyncio.sleep(0.5)  # sleep: in virtual time
            town.network.cut(here.host, there.host)
            await asyncio.sleep(20)  # sleep: in virtual time
            assert call.outcomes == [] and monitor.active
            town.network.calm()
            await town.answered(10)
            assert call.outcomes == [ServerCrashedError]
            assert isinstance(await monitor.wait(1), ValueError)

    run_virtual(main())
