"""User lanes on a simulated network, and what must hold of them whatever happens.

Each `Party` is a lane on a host of its own. The `House` plays the cluster: it says who is admitted
where, and notes what was accepted and what has arrived, by pair of lives.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from noex.transport.codec import Codec
from noex.transport.lane import UserLane
from noex.transport.lane_settings import LaneSettings
from noex.transport.simulated import SimulatedNetwork

Uid = tuple[str, int]
Key = tuple[Uid, Uid, int]  # from, to, stream
Message = tuple[int, int, bool, bytes]  # serial, stream, whether it asks for an answer, payload
CODEC = Codec()
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
BULK = replace(
    TIGHT,
    max_message=1_000_000,
    window_bytes=300_000,
    max_batch=20_000,
    piece_size=16_384,
    max_partials=3,
    max_in_flight=12,
    ack_bytes=40_000,
)
"""Room for pieces, and for binaries that lie beside their message (from 64 KiB on)."""

SMALL = (0, 20, 299)
LARGE = (0, 20, 299, 5_000, 30_000, 70_000, 150_000)
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
            settings=house.settings_of(number),
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
        for message in messages:
            found = CODEC.decode(message)
            serial, stream, asks, _ = found
            key = (uid, self.uid, stream)
            got = self.house.arrived.setdefault(key, [])
            sent = self.house.accepted.get(key, [])
            assert len(got) < len(sent), f"more has arrived than was sent: {serial} {key}"
            assert found == sent[len(got)], f"{serial} is not {sent[len(got)][0]}, {key}"
            got.append(found)
            self.house.times[serial] = self.house.network.loop.time()
            if asks:
                self.house.reply(self, uid)


class House:
    """`parties` lanes on one network."""

    def __init__(
        self,
        parties: int,
        *,
        seed: int = 0,
        settings: LaneSettings | Sequence[LaneSettings] = TIGHT,
        **network: Any,
    ) -> None:
        random.seed(seed)  # the lanes take their jitter from there
        self._settings = settings
        self.network = SimulatedNetwork(seed, **network)
        self.accepted: dict[Key, list[Message]] = {}
        self.arrived: dict[Key, list[Message]] = {}
        self.times: dict[int, float] = {}  # when each has arrived, by serial
        self.errors: list[AssertionError] = []
        self.last = 0  # serial that was given out
        self.parties = [Party(self, number) for number in range(parties)]

    def settings_of(self, number: int) -> LaneSettings:
        """Those of one party."""
        settings = self._settings
        return settings if isinstance(settings, LaneSettings) else settings[number]

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

    def send(
        self, a: Party, b: Party, size: int = 0, *, stream: int = 0, asks: bool = False
    ) -> bool:
        """False: not accepted. With `asks` there will be an answer to it, in the same turn."""
        return self._send(a, b.uid, size, stream, asks)

    def reply(self, a: Party, uid: Uid) -> None:
        self._send(a, uid, 0, 9, False)

    def _send(self, a: Party, uid: Uid, size: int, stream: int, asks: bool) -> bool:
        self.last += 1
        payload = bytes((self.last % 251,)) * size
        message = (self.last, stream, asks, payload)
        data = CODEC.encode(message, apart=True)
        if not a.lane.send(uid, data, sender=stream):
            return False
        self.accepted.setdefault((a.uid, uid, stream), []).append(message)
        return True

    def delivered(self, a: Party, b: Party) -> int:
        """How many messages of one have arrived at the other, in their present lives."""
        keys = [key for key in self.arrived if key[:2] == (a.uid, b.uid)]
        return sum(len(self.arrived[key]) for key in keys)

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
        most = 0
        for party in self.parties:
            settings = party.lane.settings
            largest = min(settings.max_message, settings.window_bytes)
            most = max(most, settings.window_bytes)
            for uid in party.admitted:
                assert party.lane.queued(uid) <= settings.window_bytes + largest
        # of a connection that is over a part may be under way for a while
        under_way = self.network.statistics.bytes_under_way
        assert under_way <= len(self.pairs()) * 3 * most + 20_000, under_way

    def is_done(self) -> bool:
        return not any(p.lane.queued(uid) for p in self.parties for uid in p.admitted)

    def verify(self) -> None:
        """All that was accepted between two that know each other has arrived."""
        self.check_bounds()
        for a, b in self.pairs():
            if b.uid in a.admitted and a.uid in b.admitted:
                for key, sent in self.accepted.items():
                    if key[:2] == (a.uid, b.uid):
                        got = self.arrived.get(key, [])
                        assert got == sent, f"{len(got)} of {len(sent)}, {key}"
        troubles = [text for party in self.parties for _, text in party.troubles]
        faults = ("cannot go on", "unusable", "bad_frame", "wrong_session", "does not support")
        broken = [text for text in troubles if any(fault in text for fault in faults)]
        assert not broken, broken

    def connections(self, a: Party, b: Party) -> int:
        """How many connections stand that `a` has dialled to `b`."""
        standing = self.network.connections
        return sum(connection.hosts == (a.host, b.host) for connection in standing)
