"""One direction of a simulated connection: frames in order, each with the time it takes."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(slots=True)
class Way:
    """From one host to another. Times in seconds, `bandwidth` in bytes a second (0: no limit)."""

    delay: float = 0.001
    jitter: float = 0.0
    bandwidth: float = 0.0
    is_cut: bool = False
    cuts: int = 0  # how often it was cut


@dataclass(slots=True)
class Statistics:
    """What has happened in a network, and what is under way."""

    dials: int = 0
    made: int = 0  # connections
    broken: int = 0
    frames: int = 0  # that were sent
    lost: int = 0
    bytes_under_way: int = 0
    most_bytes_under_way: int = 0

    def moved(self, size: int) -> None:
        """So many bytes more (or less) are under way."""
        self.bytes_under_way += size
        if self.bytes_under_way > self.most_bytes_under_way:
            self.most_bytes_under_way = self.bytes_under_way


class Medium(Protocol):
    """What a stream needs to know of its network."""

    loop: asyncio.AbstractEventLoop
    chance: random.Random
    statistics: Statistics
    grain: float

    def way(self, origin: str, target: str) -> Way:
        """The way between two hosts."""

    def delay_of(self, way: Way) -> float:
        """How long the next frame takes."""

    def is_open(self, origin: str, target: str) -> bool:
        """Whether a frame gets through now, and is read."""

    def is_dead(self, host: str) -> bool:
        """Whether a host has crashed."""


class _Frame(NamedTuple):
    due: float
    size: int
    parts: list[bytes]


class Stream:
    """From `origin` to `target`; `arrive` gets each message when its time has come."""

    __slots__ = (
        "_arrive",
        "_frames",
        "_free_at",
        "_is_over",
        "_network",
        "_origin",
        "_target",
        "_timer",
    )

    def __init__(
        self,
        network: Medium,
        origin: str,
        target: str,
        arrive: Callable[[list[bytes]], None],
    ) -> None:
        self._network, self._origin, self._target = network, origin, target
        self._arrive = arrive
        self._frames: deque[_Frame] = deque()
        self._free_at = 0.0  # when the last frame so far will have arrived
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, parts: list[bytes]) -> None:
        """Send one message."""
        network = self._network
        network.statistics.frames += 1
        if self._is_over or network.is_dead(self._origin) or network.is_dead(self._target):
            network.statistics.lost += 1
            return
        way = network.way(self._origin, self._target)
        size = sum(map(len, parts))
        due = max(self._free_at, network.loop.time() + network.delay_of(way))
        if way.bandwidth:
            due += size / way.bandwidth
        due = math.ceil(due / network.grain) * network.grain
        self._free_at = due
        self._frames.append(_Frame(due, size, parts))
        network.statistics.moved(size)
        self._arm()

    def go_on(self) -> None:
        """The way may be open again."""
        self._arm()

    def lose(self) -> None:
        """Drop all that is under way, and all to come."""
        self._is_over = True
        self._drop(len(self._frames))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def lose_a_part(self) -> None:
        """Of what is under way only the first frames arrive, by chance none or all."""
        self._is_over = True  # never a hole, and something behind it
        self._drop(self._network.chance.randint(0, len(self._frames)))

    def hurry(self) -> None:
        """What is left arrives now, if the way is open."""
        while self._frames and self._is_open():
            self._pass_on()

    def _drop(self, number: int) -> None:
        for _ in range(number):
            self._network.statistics.moved(-self._frames.pop().size)
        self._network.statistics.lost += number

    def _arm(self) -> None:
        if self._timer is None and self._frames and self._is_open():
            self._timer = self._network.loop.call_at(self._frames[0].due, self._deliver)

    def _is_open(self) -> bool:
        return self._network.is_open(self._origin, self._target)

    def _deliver(self) -> None:
        self._timer = None
        now = self._network.loop.time()
        while self._frames and self._frames[0].due <= now and self._is_open():
            self._pass_on()
        self._arm()

    def _pass_on(self) -> None:
        frame = self._frames.popleft()
        self._network.statistics.moved(-frame.size)
        self._arrive(frame.parts)
