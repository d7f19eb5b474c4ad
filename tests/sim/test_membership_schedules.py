"""Random schedules: whatever happens, the living end in one view with exactly the living lives.

A seed fixes a whole schedule. `NOEX_SIM_SEEDS=5000 pytest tests/sim` runs more of them; a failing
one is printed with its seed, and `NOEX_SIM_FIRST=<seed> NOEX_SIM_SEEDS=1` runs it alone.
"""

from __future__ import annotations

import os
import random

import pytest
from cluster_sim import Network, Process

SEEDS = int(os.environ.get("NOEX_SIM_SEEDS", "25"))
FIRST = int(os.environ.get("NOEX_SIM_FIRST", "0"))
SETTLE = 60.0


class Schedule:
    """Things that happen to a cluster of two to five nodes in some ten seconds."""

    def __init__(self, seed: int, kinds: tuple[str, ...], disturbances: int = 6) -> None:
        self.rng = random.Random(seed)
        self.net = Network(
            seed, loss=self.rng.choice([0, 0, 0.05, 0.2]), delay=self.rng.choice([0.002, 0.03])
        )
        count = self.rng.randint(2, 5)
        self.ids = [f"n{i}@127.0.0.1:{5000 + i}" for i in range(count)]
        self.hub_only = self.rng.random() < 0.3
        self.kinds = kinds
        self.disturbances = disturbances
        self.story: list[tuple[float, str, str]] = []

    def seeds(self) -> tuple[str, ...]:
        return (self.ids[0],) if self.hub_only else tuple(self.ids)

    def start(self, node_id: str) -> None:
        if self.net.at(self.net.endpoint(node_id)) is None:
            self.note("start", node_id)
            self.net.start(node_id, self.seeds())

    def note(self, what: str, who: str) -> None:
        self.story.append((round(self.net.now - 1000, 4), what, who))

    def run(self) -> None:
        spread = self.rng.choice([0.0, 0.01, 0.5, 6.0])
        for node_id in self.ids:
            self.net.later(self.rng.random() * spread, lambda n=node_id: self.start(n))
        for _ in range(self.rng.randint(1, self.disturbances)):
            self.net.later(self.rng.uniform(0, 10), self.disturb)
        self.net.run(14.5)
        self.mend()
        self.net.run(3.0)  # a judgement made before the heal may still be carried out
        settled = self.net.run_until(self.net.settled, SETTLE)
        assert settled, f"{self.story}\n{self.net.describe()}"
        self.net.run(1.0)
        assert self.net.settled(), f"it did not last: {self.story}\n{self.net.describe()}"

    def mend(self) -> None:
        self.net.heal()
        for process in self.net.living():
            if process.stopped:
                self.note("resume", process.node_id)
                self.net.resume(process)
        self.start(self.ids[0])

    def disturb(self) -> None:
        idle = [p for p in self.net.living() if p.loop_runs]
        if idle:
            getattr(self, self.rng.choice(self.kinds))(self.rng.choice(idle))

    def crash(self, process: Process) -> None:
        self.note("crash", process.node_id)
        self.net.crash(process)
        if self.rng.random() < 0.7:
            pause = self.rng.choice([0.0, 0.001, 0.01, 0.1, 1.0, 4.0])
            self.net.later(pause, lambda: self.start(process.node_id))

    def crash_two(self, process: Process) -> None:
        self.crash(process)
        idle = [p for p in self.net.living() if p.loop_runs]
        if len(idle) > 1:
            self.net.later(self.rng.random() * 0.01, lambda: self.crash_if(self.rng.choice(idle)))

    def crash_if(self, process: Process) -> None:
        if process.alive:
            self.crash(process)

    def leave(self, process: Process) -> None:
        self.note("leave", process.node_id)
        process.want_to_leave()
        if self.rng.random() < 0.5:
            self.net.later(self.rng.uniform(0.2, 4), lambda: self.start(process.node_id))

    def stop(self, process: Process) -> None:
        seconds = self.rng.choice([0.5, 1.2, 2.5, 5.0, 8.0])
        self.note(f"stop for {seconds}", process.node_id)
        self.net.stop(process)
        self.net.later(seconds, lambda: self.resume(process))

    def resume(self, process: Process) -> None:
        if process.alive and process.stopped:
            self.note("resume", process.node_id)
            self.net.resume(process)

    def block(self, process: Process) -> None:
        seconds, gil = self.rng.uniform(0.1, 4), self.rng.random() < 0.5
        self.note(f"block for {seconds:.2f} (gil: {gil})", process.node_id)
        self.net.block(process, seconds, gil=gil)

    def cut(self, process: Process) -> None:
        others = [p for p in self.net.living() if p is not process]
        self.rng.shuffle(others)
        for other in others[: self.rng.randint(1, 4)]:
            self.note(f"cut from {other.node_id}", process.node_id)
            self.net.partition(process, other)


def seeds(count: int) -> range:
    return range(FIRST, FIRST + count)


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_after_crashes_restarts_and_leaves_all_living_nodes_share_one_view(seed: int) -> None:
    Schedule(seed, ("crash", "crash", "crash_two", "leave")).run()


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_after_stops_and_blocked_loops_all_living_nodes_share_one_view(seed: int) -> None:
    Schedule(seed, ("stop", "stop", "block", "crash")).run()


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_after_partitions_heal_all_living_nodes_share_one_view(seed: int) -> None:
    Schedule(seed, ("cut", "cut", "stop", "crash", "leave")).run()


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_after_all_of_it_together_all_living_nodes_share_one_view(seed: int) -> None:
    kinds = ("cut", "stop", "block", "crash", "crash_two", "leave")
    Schedule(seed, kinds, disturbances=20).run()
