"""User lanes over a network that cuts, breaks, stalls and delays: exactly once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from effort import BLOCKS
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sim_lanes import BULK, LARGE, SMALL, TIGHT, House, Party

from noex.testing import VirtualTime, run_virtual
from noex.transport import wire
from noex.transport.lane_settings import LaneSettings

PLACES = st.integers(0, 2)
BLOCK = 18  # schedules of one test


def simulate(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(main())


class LaneSchedules(RuleBasedStateMachine):
    """Three lanes; whatever the schedule, what is accepted arrives once and in order."""

    @initialize(
        seed=st.integers(0, 10_000),
        jitter=st.sampled_from((0.0, 0.005, 0.3)),
        grain=st.sampled_from((0.0005, 0.02)),
        large=st.booleans(),
    )
    def begin(self, seed: int, jitter: float, grain: float, large: bool) -> None:
        self.sizes = LARGE if large else SMALL
        self.virtual = VirtualTime()
        self.virtual.run(self._begin(seed, jitter, grain, BULK if large else TIGHT))

    async def _begin(self, seed: int, jitter: float, grain: float, lane: LaneSettings) -> None:
        self.house = House(3, seed=seed, grain=grain, settings=lane)
        for a, b in self.house.pairs():
            self.house.network.way(a.host, b.host).jitter = jitter
        await self.house.start(acquainted=False)

    def pair(self, one: int, step: int) -> tuple[Party, Party]:
        parties = self.house.parties
        return parties[one], parties[(one + 1 + step % 2) % 3]

    @rule(
        one=PLACES,
        step=PLACES,
        number=st.integers(1, 12),
        size=st.integers(0, 6),
        stream=st.integers(0, 2),
        asks=st.booleans(),
    )
    def send(self, one: int, step: int, number: int, size: int, stream: int, asks: bool) -> None:
        a, b = self.pair(one, step)
        size = self.sizes[size % len(self.sizes)]
        for _ in range(number):
            self.house.send(a, b, size, stream=stream, asks=asks)

    @rule(seconds=st.sampled_from((0.0005, 0.002, 0.02, 0.3, 4.0, 12.0)))
    def wait(self, seconds: float) -> None:
        self.virtual.run(asyncio.sleep(seconds))  # sleep: virtual seconds

    @rule(one=PLACES, step=PLACES)
    def admit(self, one: int, step: int) -> None:
        a, b = self.pair(one, step)
        a.admit(b)

    @rule(one=PLACES, step=PLACES, both=st.booleans())
    def cut(self, one: int, step: int, both: bool) -> None:
        a, b = self.pair(one, step)
        self.house.network.cut(a.host, b.host, both=both)

    @rule(one=PLACES, step=PLACES)
    def heal(self, one: int, step: int) -> None:
        a, b = self.pair(one, step)
        self.house.network.heal(a.host, b.host)

    @rule(one=PLACES, step=PLACES)
    def sever(self, one: int, step: int) -> None:
        a, b = self.pair(one, step)
        self.house.network.sever(a.host, b.host)

    @rule(one=PLACES)
    def stall(self, one: int) -> None:
        self.house.network.stall(self.house.parties[one].host)

    @rule(one=PLACES)
    def resume(self, one: int) -> None:
        self.house.network.resume(self.house.parties[one].host)

    @rule(one=PLACES, step=PLACES)
    def expel(self, one: int, step: int) -> None:
        a, b = self.pair(one, step)
        a.expel(b.uid)

    @rule(one=PLACES)
    def new_life(self, one: int) -> None:
        self.house.end_life(self.house.parties[one])

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "house"):
            self.house.check_bounds()

    def teardown(self) -> None:
        if hasattr(self, "house"):
            with self.virtual:
                self.virtual.run(self._end())

    async def _end(self) -> None:
        for a, b in self.house.pairs():  # an expulsion becomes known at the other end, too
            if b.uid in a.expelled:
                b.expel(a.uid)
        await self.house.settle()
        self.house.verify()
        await self.house.stop()


TestLaneSchedules = LaneSchedules.TestCase
TestLaneSchedules.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


class Chance:
    """One schedule by a seed, much faster than one that hypothesis picks."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)

    def settings(self) -> list[LaneSettings]:
        """Of three lanes; by chance one of them is of an earlier version, or can do less."""
        plain = TIGHT if self.sizes is SMALL else BULK
        less = [
            plain,
            replace(plain, max_version=1),
            replace(plain, features=wire.PIECES),
            replace(plain, features=wire.BUFFERS),
        ]
        return [self.random.choice(less), plain, plain]

    async def run(self, steps: int) -> House:
        chance = self.random
        grain = chance.choice((0.0005, 0.02))  # with the coarse one much happens at once
        self.sizes = chance.choice((SMALL, LARGE))
        settings = self.settings()
        self.house = house = House(3, seed=self.seed, grain=grain, settings=settings)
        jitter = chance.choice((0.0, 0.005, 0.3))
        for a, b in house.pairs():
            house.network.way(a.host, b.host).jitter = jitter
            house.network.way(a.host, b.host).bandwidth = chance.choice((0.0, 0.0, 300_000.0))
        await house.start()
        for _ in range(steps):
            self.step()
            house.check_bounds()
            if chance.random() < 0.4:
                pause = chance.choice((0.0005, 0.002, 0.02, 0.02, 0.3, 4.0))
                await asyncio.sleep(pause)  # sleep: in virtual time
        for a, b in house.pairs():
            if b.uid in a.expelled:
                b.expel(a.uid)
        await house.settle()
        house.verify()
        await house.stop()
        return house

    def step(self) -> None:
        chance, house, network = self.random, self.house, self.house.network
        a, b = chance.choice(house.pairs())
        match chance.choices(range(8), (60, 4, 6, 4, 4, 6, 2, 1))[0]:
            case 0:
                for _ in range(chance.randint(1, 12)):
                    size, stream = chance.choice(self.sizes), chance.randrange(3)
                    house.send(a, b, size, stream=stream, asks=chance.random() < 0.3)
            case 1:
                network.cut(a.host, b.host, both=chance.random() < 0.5)
            case 2:
                network.heal(a.host, b.host)
            case 3:
                network.sever(a.host, b.host)
            case 4:
                network.stall(a.host)
            case 5:
                network.resume(a.host)
            case 6:
                house.end_life(a)
                if chance.random() < 0.5:
                    house.introduce_all()
            case _:
                a.expel(b.uid)


def check_block(block: int) -> None:
    arrived = redials = lost = lives = large = 0
    for seed in range(block * BLOCK, block * BLOCK + BLOCK):
        with VirtualTime() as virtual:
            house = virtual.run(Chance(seed).run(60))
        arrived += sum(map(len, house.arrived.values()))
        redials += house.network.statistics.broken
        lost += house.network.statistics.lost
        lives += len(house.arrived)
        large += sum(len(m[3]) > 20_000 for got in house.arrived.values() for m in got)
    # the schedules are worth something only if all of this happened
    assert arrived > 1500
    assert redials > 50
    assert lost > 50
    assert lives > 100
    assert large > 50


@pytest.mark.parametrize("block", range(4))
def test_every_message_arrives_once_and_in_order_under_random_schedules(block: int) -> None:
    check_block(block)


@pytest.mark.long
@pytest.mark.parametrize("block", range(100, 100 + BLOCKS))
def test_every_message_arrives_once_and_in_order_under_many_schedules(block: int) -> None:
    check_block(block)


def test_two_that_dial_each_other_at_once_have_one_healthy_connection_each_way() -> None:
    async def main() -> None:
        for seed in range(20):
            house = House(2, seed=seed)
            await house.start()
            a, b = house.parties
            for _ in range(5):
                assert house.send(a, b) and house.send(b, a)
            await house.settle()
            house.verify()
            assert house.connections(a, b) == house.connections(b, a) == 1
            assert house.network.statistics.dials == 2
            await house.stop()

    simulate(main)


def test_two_that_dial_each_other_anew_after_a_cut_have_one_connection_each_way() -> None:
    async def main() -> None:
        house = House(2, seed=3)
        await house.start()
        a, b = house.parties
        assert house.send(a, b) and house.send(b, a)
        await house.settle()
        house.network.cut(a.host, b.host)
        assert house.send(a, b) and house.send(b, a)
        await asyncio.sleep(20)  # sleep: virtual seconds, longer than any patience
        assert not house.network.connections
        assert not house.is_done()
        await house.settle()
        house.verify()
        assert house.connections(a, b) == house.connections(b, a) == 1
        await house.stop()

    simulate(main)


def test_a_cut_that_heals_in_time_breaks_no_connection() -> None:
    async def main() -> None:
        house = House(2)
        await house.start()
        a, b = house.parties
        assert house.send(a, b)
        await house.settle()
        house.network.cut(a.host, b.host)
        assert house.send(a, b)
        await asyncio.sleep(1)  # sleep: virtual seconds, less than any patience
        assert house.delivered(a, b) == 1
        await house.settle()
        house.verify()
        assert house.network.statistics.broken == 0
        await house.stop()

    simulate(main)


def test_a_peer_that_reads_nothing_bounds_what_is_accepted_for_it() -> None:
    async def main() -> None:
        house = House(2)
        await house.start()
        a, b = house.parties
        house.network.stall(b.host)
        accepted = 0
        for _ in range(2000):
            accepted += house.send(a, b, 50)
            await asyncio.sleep(0.01)  # sleep: virtual seconds
            house.check_bounds()
        assert 10 < accepted < 100
        assert house.network.statistics.most_bytes_under_way < 20_000
        await house.settle()
        house.verify()
        assert house.send(a, b)
        await house.stop()

    simulate(main)


def test_an_idle_connection_is_closed_and_traffic_opens_another() -> None:
    async def main() -> None:
        house = House(2)
        await house.start()
        a, b = house.parties
        assert house.send(a, b)
        await asyncio.sleep(1)  # sleep: virtual seconds, less than idle_timeout
        assert house.connections(a, b) == 1
        await asyncio.sleep(10)  # sleep: virtual seconds, more than idle_timeout
        assert not house.network.connections
        assert house.send(a, b)
        await house.settle()
        house.verify()
        assert house.network.statistics.dials == 2
        await house.stop()

    simulate(main)


@pytest.mark.parametrize("passes", (True, False))
def test_a_small_message_passes_a_large_one_of_another_sender_alone(passes: bool) -> None:
    size, bandwidth = 50_000_000, 100e6

    async def main() -> None:
        house = House(2, settings=LaneSettings())
        a, b = house.parties
        house.network.way(a.host, b.host).bandwidth = bandwidth
        await house.start()
        assert house.send(a, b, size, stream=1)
        sent = {}
        for _ in range(20):
            await asyncio.sleep(0.01)  # sleep: virtual seconds
            assert house.send(a, b, stream=2 if passes else 1)
            sent[house.last] = house.network.loop.time()
        await house.settle()
        house.verify()
        assert house.times[1] > size / bandwidth
        slowest = max(house.times[serial] - at for serial, at in sent.items())
        # a quarter of the window may be under way before it
        quarter = LaneSettings().window_bytes / 4 / bandwidth
        assert slowest < quarter * 1.25 if passes else slowest > size / bandwidth / 2
        await house.stop()

    simulate(main)


def test_the_same_seed_gives_the_same_run() -> None:
    def once() -> tuple[Any, ...]:
        with VirtualTime() as virtual:
            house = virtual.run(Chance(11).run(40))
            return house.network.statistics, house.arrived, virtual.now

    assert once() == once()
