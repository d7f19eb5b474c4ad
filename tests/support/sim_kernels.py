"""Whole kernels on a simulated network, in one loop of virtual time; the test plays the cluster.

What lies between two processes is all real: remote operations, codec, user lane, sessions, frames.
Only the membership is played: `Town.meet` and `Town.remove` do what a node does when it applies a
view, in the same order.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from noex.runtime.errors import (
    CallTimeoutError,
    NodeNotReachableError,
    NoProcessError,
    OverloadedError,
    ServerCrashedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.messages import Down, Exit
from noex.runtime.ref import Ref
from noex.transport.codec import Codec
from noex.transport.inbound import Inbound
from noex.transport.lane import UserLane
from noex.transport.lane_settings import LaneSettings
from noex.transport.remote import RefBinding, RemoteOperations
from noex.transport.simulated import SimulatedNetwork

Uid = tuple[str, int]
OUTCOMES = (
    CallTimeoutError,
    NodeNotReachableError,
    NoProcessError,
    OverloadedError,
    ServerCrashedError,
)


class Citizen(GenServer[None]):
    """Answers calls, keeps what it hears, and does as it is told."""

    def init(self, trap: bool = True) -> None:
        self.trap_exits = trap
        self.heard: list[tuple[str, int]] = []  # casts: who, which
        self.answered: Counter[Any] = Counter()
        self.downs: list[Down] = []
        self.exits: list[Exit] = []
        self.monitors: list[Any] = []

    async def handle_call(self, message: Any, state: None) -> Any:
        kind, number, seconds = message
        self.answered[number] += 1
        if seconds:
            await asyncio.sleep(seconds)  # sleep: in virtual time
        if kind == "crash":
            raise ValueError(number)
        return number, None

    def handle_cast(self, message: Any, state: None) -> None:
        match message:
            case ("heard", str() as who, int() as number):
                self.heard.append((who, number))
            case ("watch", ref):
                self.monitors.append(self.monitor(ref))
            case ("unwatch", int() as which) if self.monitors:
                self.monitors[which % len(self.monitors)].cancel()
            case ("link", ref):
                self.link(ref)
            case ("unlink", ref):
                self.unlink(ref)

    def handle_info(self, message: Any, state: None) -> None:
        if isinstance(message, Down):
            self.downs.append(message)
        elif isinstance(message, Exit):
            self.exits.append(message)


class Place:
    """One kernel on a host of its own."""

    def __init__(self, town: Town, number: int) -> None:
        self.town = town
        self.host = f"10.0.0.{number + 1}"
        self.is_dead = False
        node_id = f"n{number}@{self.host}:1"
        self.kernel = Kernel(node_id, 1, kill_grace=0.2)
        self.operations = RemoteOperations(
            self.kernel, Codec(refs=RefBinding(self.kernel, Ref)), self._post
        )
        self.kernel.remote = self.operations
        self.lane = UserLane(
            node_id=node_id,
            incarnation=1,
            host=self.host,
            port=1,
            settings=town.settings,
            context=town.network.context(self.host),
            on_messages=Inbound(self.operations).receive,
        )
        self.citizens: list[Citizen] = []

    @property
    def uid(self) -> Uid:
        return self.kernel.node_id, self.kernel.incarnation

    @property
    def open_rows(self) -> int:
        return sum(peer.open_rows for peer in self.operations.peers.values())

    def _post(self, uid: Uid, data: Any, **options: Any) -> bool:
        return self.lane.send(uid, data, **options)

    async def settle_one(self, *, trap: bool = True) -> Citizen:
        """A new process here."""
        ref = await self.kernel.start(Citizen, (trap,), {})
        assert ref is not None
        process = self.kernel.find(ref)
        assert process is not None
        citizen: Any = process.server
        self.citizens.append(citizen)
        return citizen

    def ref_of(self, citizen: Citizen) -> Ref[Any]:
        """A process of any place, as it is known here."""
        ref = citizen.ref
        return self.kernel.ref_for(ref.node_id, ref.incarnation, ref.serial)

    def welcome(self, other: Place) -> None:
        """What a node does when it learns of a member."""
        self.operations.peer_up(other.uid)
        self.lane.admit(other.uid, f"tcp://{other.host}:1")

    def lose(self, uid: Uid) -> None:
        """What a node does when it learns that a life is no member any more."""
        self.lane.expel(uid)
        self.operations.peer_down(uid)

    def begin_anew(self) -> None:
        """What a node does when its own life has ended."""
        for peer in list(self.operations.peers.values()):
            self.lose(peer.uid)
        incarnation = self.kernel.incarnation + 1
        self.kernel.new_life(incarnation)
        self.lane.new_life(incarnation)


class Call:
    """One call and what became of it."""

    def __init__(self, number: int, target: Citizen) -> None:
        self.number, self.target = number, target
        self.outcomes: list[Any] = []


class Town:
    """Places on one network."""

    def __init__(
        self, places: int, *, seed: int = 0, settings: LaneSettings | None = None, **network: Any
    ) -> None:
        random.seed(seed)  # the lanes take their jitter from there
        self.chance = random.Random(seed)
        self.settings = settings or LaneSettings()
        self.network = SimulatedNetwork(seed, **network)
        self.places = [Place(self, number) for number in range(places)]
        self.calls: list[Call] = []
        self.tasks: list[asyncio.Task[None]] = []

    def pairs(self) -> list[tuple[Place, Place]]:
        return [(a, b) for a in self.places for b in self.places if a is not b]

    async def open(self) -> None:
        for place in self.places:
            await place.lane.start()
        for a, b in self.pairs():
            a.welcome(b)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for place in self.places:
            await place.kernel.shutdown(timeout=1.0)
            await place.lane.stop(linger=0)

    def kill(self, place: Place) -> Uid:
        """Its process is gone. Nobody has noticed yet; see `remove`."""
        place.is_dead = True
        self.network.crash(place.host)
        return place.uid

    async def remove(self, place: Place) -> None:
        """The cluster goes on without this life; each learns of it at a time of its own."""
        uid = place.uid
        others = [other for other in self.places if other is not place and not other.is_dead]
        for other in self.chance.sample(others, len(others)):
            other.lose(uid)
            await asyncio.sleep(self.chance.random() * 0.01)  # sleep: in virtual time
        if not place.is_dead:
            place.begin_anew()
            for other in others:
                place.welcome(other)
                other.welcome(place)

    def call(
        self,
        origin: Place,
        target: Citizen,
        *,
        kind: str = "echo",
        seconds: float = 0.0,
        timeout: float | None = 5.0,
    ) -> Call:
        """Call in a task of its own."""
        call = Call(len(self.calls), target)
        self.calls.append(call)
        message = (kind, call.number, seconds)
        self.tasks.append(asyncio.create_task(self._call(call, origin, message, timeout)))
        return call

    async def _call(self, call: Call, origin: Place, message: Any, timeout: float | None) -> None:
        try:
            reply = await origin.ref_of(call.target).call(message, timeout=timeout)
        except OUTCOMES as error:
            call.outcomes.append(type(error))
        else:
            assert reply == call.number
            call.outcomes.append("reply")

    async def answered(self, seconds: float) -> None:
        """Every call has come to its end, or fails the test."""
        done, pending = await asyncio.wait(self.tasks, timeout=seconds)
        assert not pending, f"{len(pending)} calls have no outcome after {seconds} s"
        for task in done:
            task.result()

    def outcomes(self) -> Counter[Any]:
        """Each call has exactly one."""
        assert all(len(call.outcomes) == 1 for call in self.calls)
        return Counter(call.outcomes[0] for call in self.calls)

    def check_executions(self) -> None:
        """A call is executed at most once, and if it was replied to, it was executed."""
        for call in self.calls:
            times = call.target.answered[call.number]
            assert times <= 1
            assert times == 1 or call.outcomes != ["reply"]


@asynccontextmanager
async def town_of(places: int, **options: Any) -> AsyncIterator[Town]:
    """A town where all know each other."""
    town = Town(places, **options)
    try:
        await town.open()
        yield town
    finally:
        town.network.calm()
        await town.close()
