"""A network in memory: user lanes talk over it without sockets, in virtual time, by a seed.

::

    network = SimulatedNetwork(seed=1)
    lane = UserLane(..., host="10.0.0.1", context=network.context("10.0.0.1"))

What lies above it is the real thing: the lane, its machines, its frames. Only the ZeroMQ sockets
are replaced (`noex.transport.simulated_sockets`), with the traps of the real ones.

What it can do to its hosts:

- a *way* leads from one host to another, with a delay, a jitter and a bandwidth. Frames of one
  connection keep their order; frames of different connections overtake each other.
- `cut`: nothing gets through, in both directions or in one. After `patience` seconds each end of a
  connection finds out, at a time of its own, and what was under way is lost. After `heal` before
  that, what was held goes on its way.
- `sever`: connections break now; of what was under way a part arrives, perhaps late.
- `stall`: a host reads nothing. Its connections stay.
- `crash`: a host is gone; its peers find out as with a closed socket.

It belongs to the running loop, which is best one in virtual time. Given the same seed and program
a run is the same each time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final, cast

import zmq

from noex.transport.simulated_sockets import Connection, Dealer, End, Router, SimulatedContext
from noex.transport.simulated_stream import Statistics, Way

FIRST_PORT: Final = 40_000
SYN_AGAIN: Final = 0.25
"""Seconds until a dial that got no answer tries again."""

Endpoint = tuple[str, int]


class SimulatedNetwork:
    """Hosts, the ways between them, and all connections. `notice`: seconds within which an end of
    a broken connection finds out; `patience`: how long an end holds out when nothing gets through;
    `grain`: frames arrive at multiples of this, so that things happen at the same moment.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.001,
        notice: float = 0.02,
        patience: float = 5.0,
        grain: float = 0.0005,
    ) -> None:
        self.chance = random.Random(seed)
        self.notice, self.patience, self.grain = notice, patience, grain
        self.statistics = Statistics()
        self.loop = asyncio.get_running_loop()
        self.connections: dict[Connection, None] = {}
        self._delay = delay
        self._ways: dict[tuple[str, str], Way] = {}
        self._listeners: dict[Endpoint, Router] = {}
        self._ports = count(FIRST_PORT).__next__
        self._stalled: set[str] = set()
        self._dead: set[str] = set()

    def context(self, host: str) -> zmq.Context[zmq.Socket[bytes]]:
        """What a lane on this host takes for its ZeroMQ context. `host` is a numeric address."""
        return cast("zmq.Context[zmq.Socket[bytes]]", SimulatedContext(self, host))

    # ------------------------------------------------------------------ what a test does to it

    def way(self, origin: str, target: str) -> Way:
        """The way from `origin` to `target`: its fields may be changed at any time."""
        found = self._ways.get((origin, target))
        if found is None:
            found = self._ways[origin, target] = Way(self._delay)
        return found

    def cut(self, origin: str, target: str, *, both: bool = True) -> None:
        """Let nothing through from `origin` to `target`, and back with `both`."""
        for way in self._ways_between(origin, target, both):
            way.is_cut = True
            way.cuts += 1
        for connection in self._between(origin, target):
            self._lose_patience(connection)

    def heal(self, origin: str, target: str) -> None:
        """Both directions work again."""
        for way in self._ways_between(origin, target, both=True):
            way.is_cut = False
        self._go_on()

    def sever(self, origin: str, target: str) -> int:
        """Break all connections between two hosts now. Returns how many there were."""
        found = self._between(origin, target)
        for connection in found:
            connection.break_off()
        return len(found)

    def stall(self, host: str) -> None:
        """The host reads nothing from now on."""
        self._stalled.add(host)

    def resume(self, host: str) -> None:
        """It reads again."""
        self._stalled.discard(host)
        self._go_on()

    def crash(self, host: str) -> None:
        """The host is gone: what it still sends reaches nobody, and nothing reaches it."""
        self._dead.add(host)
        for endpoint in [found for found in self._listeners if found[0] == host]:
            del self._listeners[endpoint]
        for connection in list(self.connections):
            if host in connection.hosts:
                connection.break_off()

    def calm(self) -> None:
        """Heal everything and let everybody read."""
        for way in self._ways.values():
            way.is_cut = False
        self._stalled.clear()
        self._go_on()

    # ------------------------------------------------------------------ for sockets and streams

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Do something after `delay` seconds of the loop."""
        self.loop.call_later(delay, action)

    def is_dead(self, host: str) -> bool:
        """Whether it has crashed."""
        return host in self._dead

    def is_stalled(self, host: str) -> bool:
        """Whether it reads nothing."""
        return host in self._stalled

    def is_open(self, origin: str, target: str) -> bool:
        """Whether a frame gets from `origin` to `target`, and is read there."""
        return target not in self._stalled and not self.way(origin, target).is_cut

    def listen(self, router: Router, host: str, port: int) -> int:
        """Returns the port. Raises zmq's EADDRINUSE."""
        port = port or self._ports()
        if (host, port) in self._listeners:
            raise zmq.ZMQError(zmq.EADDRINUSE)
        self._listeners[host, port] = router
        return port

    def unlisten(self, router: Router) -> None:
        """It accepts no more dials, and its connections end."""
        for endpoint in [found for found, one in self._listeners.items() if one is router]:
            del self._listeners[endpoint]
        for connection in [one for one in self.connections if one.router is router]:
            connection.router = None
            connection.break_off()

    def dial(self, dealer: Dealer, host: str, port: int) -> None:
        """Answered after a round trip, if somebody listens; else never."""
        self.statistics.dials += 1
        self._try(dealer, host, port)

    def _try(self, dealer: Dealer, host: str, port: int) -> None:
        forth, back = self.way(dealer.host, host), self.way(host, dealer.host)
        if dealer.closed or self.is_dead(dealer.host):
            return
        if forth.is_cut or back.is_cut:
            self.later(SYN_AGAIN, lambda: self._try(dealer, host, port))
            return
        trip = self.delay_of(forth) + self.delay_of(back)
        self.later(trip, lambda: self._answer(dealer, host, port))

    def _answer(self, dealer: Dealer, host: str, port: int) -> None:
        router = self._listeners.get((host, port))
        if router is None or dealer.closed:
            return  # refused: a DEALER that does not dial again says nothing of it
        connection = Connection(self, dealer, router)
        self.connections[connection] = None
        self.statistics.made += 1
        router.connected(connection)
        back = self.way(host, dealer.host)
        self.later(self.delay_of(back), lambda: dealer.connected(connection))

    def delay_of(self, way: Way) -> float:
        """How long the next frame takes."""
        return way.delay + way.jitter * self.chance.random()

    def waiting_time(self) -> float:
        """How long the next end of a connection holds out."""
        return self.patience * (0.8 + 0.4 * self.chance.random())

    def connection_broken(self, connection: Connection) -> None:
        """It stands no more."""
        self.connections.pop(connection, None)
        self.statistics.broken += 1

    # ------------------------------------------------------------------ cuts

    def _ways_between(self, origin: str, target: str, both: bool) -> list[Way]:
        forth = self.way(origin, target)
        return [forth, self.way(target, origin)] if both else [forth]

    def _between(self, origin: str, target: str) -> list[Connection]:
        return [one for one in self.connections if one.crosses(origin, target)]

    def _lose_patience(self, connection: Connection) -> None:
        """Each end gives up by itself, unless the way is healed before."""
        ways = [self.way(*connection.hosts), self.way(*reversed(connection.hosts))]
        cuts = [way.cuts for way in ways]

        def unless_healed(end: End) -> None:
            if [way.cuts for way in ways] == cuts and any(way.is_cut for way in ways):
                connection.give_up(end)

        for end in End:
            self.later(self.waiting_time(), partial(unless_healed, end))

    def _go_on(self) -> None:
        for connection in list(self.connections):
            connection.forth.go_on()
            connection.back.go_on()
