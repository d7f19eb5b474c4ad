"""User lanes on a simulated network, and what must hold of them whatever happens.

Each `Party` is a lane on a host of its own. The `House` plays the cluster: it says who is admitted
where, and notes what was accepted and what has arrived, by pair of lives.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from noex.transport.lane import UserLane
from noex.transport.lane_settings import LaneSettings
from noex.transport.simulated import SimulatedNetwork

Uid = tuple[str, int]
TIGHT = LaneSettings(
    max_message=100_000,
    window_bytes=4000,
    max_batch=600,
    max_batch_messages=5,
    max_in_flight=6,
    ack_batches=3,
    ack_bytes=900,
    idle_timeout=3.0,
    hello_limit=3,
    hello_timeout=8.0,
    open_timeout=10.0,
)
LARGEST = 300
SETTLING = 120.0  # virtual seconds after which everything must be well again


class Party:
    """One lane, and who is admitted at it."""

    def __init__(self, house: House, number: int) -> None:
        self.house, self.number = house, number
        self.host = f"10.0.0.{number + 1}"
        self.admitted: set[Uid] = set()
        self.expelled: set[Uid] = set()
        self.troubles: list[tuple[Uid, str]] = []
        self.lane = UserLane(
            node_id=f"n{number}@{self.host}:1",
            incarnation=1,
            host=self.host,
            port=1,
            settings=house.settings,
            context=house.network.context(self.host),
            on_messages=self._take,
            on_trouble=lambda uid, text: self.troubles.append((uid, text)),
        )

    @property
    def uid(self) -> Uid:
        return self.lane.uid

    def admit(self, other: Party) -> None:
        if other.uid not in self.expelled:
            self.admitted.add(other.uid)
            self.lane.admit(other.uid, f"tcp://{other.host}:1")

    def expel(self, uid: Uid) -> None:
        self.admitted.discard(uid)
        self.expelled.add(uid)
        self.lane.expel(uid)

    def new_life(self) -> None:
        self.lane.new_life(self.lane.incarnation + 1)
        self.admitted.clear()
        self.expelled.clear()

    def _take(self, uid: Uid, messages: list[Any]) -> None:
        try:
            self._check(uid, messages)
        except AssertionError as error:  # the lane would log it and go on
            self.house.errors.append(error)

    def _check(self, uid: Uid, messages: list[Any]) -> None:
        assert uid in self.admitted, f"{self.uid} got something of {uid}, which is not admitted"
        got = self.house.arrived.setdefault((uid, self.uid), [])
        sent = self.house.accepted.get((uid, self.uid), [])
        for message in messages:
            assert len(got) < len(sent), f"more has arrived than was sent: {bytes(message)!r}"
            assert bytes(message) == sent[len(got)], f"{bytes(message)!r} is not {sent[len(got)]!r}"
            got.append(bytes(message))
            if message[:1] == b"?":
                self.house.reply(self, uid)


class House:
    """`parties` lanes on one network."""

    def __init__(
        self, parties: int, *, seed: int = 0, settings: LaneSettings = TIGHT, **network: Any
    ) -> None:
        random.seed(seed)  # the lanes take their jitter from there
        self.settings = settings
        self.network = SimulatedNetwork(seed, **network)
        self.accepted: dict[tuple[Uid, Uid], list[bytes]] = {}
        self.arrived: dict[tuple[Uid, Uid], list[bytes]] = {}
        self.errors: list[AssertionError] = []
        self._serial = 0
        self.parties = [Party(self, number) for number in range(parties)]

    async def start(self, *, acquainted: bool = True) -> None:
        for party in self.parties:
            await party.lane.start()
        if acquainted:
            self.introduce_all()

    async def stop(self) -> None:
        for party in self.parties:
            await party.lane.stop(linger=0)

    def pairs(self) -> list[tuple[Party, Party]]:
        return [(a, b) for a in self.parties for b in self.parties if a is not b]

    def introduce_all(self) -> None:
        """Whoever was not expelled is admitted everywhere."""
        for a, b in self.pairs():
            a.admit(b)

    def send(self, a: Party, b: Party, size: int = 0, *, asks: bool = False) -> bool:
        """False: not accepted. With `asks` there will be an answer to it, in the same turn."""
        return self._send(a, b.uid, b"?" if asks else b".", size)

    def reply(self, a: Party, uid: Uid) -> None:
        self._send(a, uid, b".", 0)

    def _send(self, a: Party, uid: Uid, kind: bytes, size: int) -> bool:
        self._serial += 1
        data = kind + b"%d:" % self._serial + b"x" * (size % LARGEST)
        if not a.lane.send(uid, data):
            return False
        self.accepted.setdefault((a.uid, uid), []).append(data)
        return True

    def end_life(self, party: Party) -> None:
        """The others have removed it, and it goes on as another life."""
        old = party.uid
        for other in self.parties:
            if other is not party:
                other.expel(old)
        party.new_life()

    def part(self, a: Party, b: Party) -> None:
        """Each is out for the other; until one of both is another life."""
        a.expel(b.uid)
        b.expel(a.uid)

    async def settle(self) -> None:
        """Everything is well again, and stays so: all that was accepted must arrive."""
        self.network.calm()
        self.introduce_all()
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLING
        while not self.is_done():
            assert loop.time() < end, f"stuck: {self.stuck()}"
            await asyncio.sleep(0.05)  # sleep: in virtual time, which only this lets pass

    def stuck(self) -> list[str]:
        return [
            f"{p.uid} to {uid}: {p.lane.queued(uid)} bytes"
            for p in self.parties
            for uid in p.admitted
            if p.lane.queued(uid)
        ]

    # ------------------------------------------------------------------ what must hold

    def check_bounds(self) -> None:
        """Nothing grows beyond its bound."""
        for error in self.errors:
            raise error
        window = self.settings.window_bytes
        for party in self.parties:
            for uid in party.admitted:
                assert party.lane.queued(uid) <= window + LARGEST
        under_way = self.network.statistics.bytes_under_way
        assert under_way <= len(self.network.connections) * 3 * window + 20_000, under_way

    def is_done(self) -> bool:
        return not any(p.lane.queued(uid) for p in self.parties for uid in p.admitted)

    def verify(self) -> None:
        """All that was accepted between two that know each other has arrived."""
        self.check_bounds()
        for a, b in self.pairs():
            if b.uid in a.admitted and a.uid in b.admitted:
                sent = self.accepted.get((a.uid, b.uid), [])
                got = self.arrived.get((a.uid, b.uid), [])
                assert got == sent, f"{len(got)} of {len(sent)} from {a.uid} to {b.uid}"
        troubles = [text for party in self.parties for _, text in party.troubles]
        broken = [t for t in troubles if "cannot go on" in t or "unusable" in t]
        assert not broken, broken

    def connections(self, a: Party, b: Party) -> int:
        """How many connections stand that `a` has dialled to `b`."""
        standing = self.network.connections
        return sum(connection.hosts == (a.host, b.host) for connection in standing)
