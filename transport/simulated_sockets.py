"""Sockets that lead into a `SimulatedNetwork`: what a user lane uses of pyzmq, with its traps.

- The descriptor is an edge: it speaks when something comes in at a socket that was found empty, and
  when a connection comes or goes. Any call on the socket clears it. So a lane that stops reading
  before the socket is empty, or sends and does not look afterwards, waits for ever.
- A ROUTER that has a routing id ignores a second connection of that id, and sends to the first.
- A DEALER that loses its connection loses what it had not read, and never connects again.
- A ROUTER says EHOSTUNREACH for who is gone and EAGAIN for who does not read. It keeps what it has
  received of who is gone.
- A closed socket raises ENOTSOCK.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

import zmq

from noex.transport.simulated_stream import Medium, Stream
from noex.transport.sockets import SelfWatching

MOST_TURNS = 4  # of the loop, until a descriptor is heard
AGAIN = 0.05  # seconds after which a host that reads nothing is looked at again


class Net(Medium, Protocol):
    """What sockets need of their network."""

    notice: float

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Do something after `delay` seconds."""

    def waiting_time(self) -> float:
        """How long an end of a connection holds out when nothing gets through."""

    def listen(self, router: Router, host: str, port: int) -> int:
        """Accept dials; returns the port."""

    def unlisten(self, router: Router) -> None:
        """Accept no more, and end what stands."""

    def dial(self, dealer: Dealer, host: str, port: int) -> None:
        """Try to connect."""

    def is_stalled(self, host: str) -> bool:
        """Whether a host reads nothing."""

    def connection_broken(self, connection: Connection) -> None:
        """It stands no more."""


class SimulatedContext:
    """What makes the sockets of one host."""

    def __init__(self, network: Net, host: str) -> None:
        self._network, self._host = network, host
        self._sockets: list[SimulatedSocket] = []

    def socket(self, kind: int) -> SimulatedSocket:
        """A ROUTER or a DEALER."""
        made = {zmq.ROUTER: Router, zmq.DEALER: Dealer}[zmq.SocketType(kind)]
        sock = made(self._network, self._host)
        self._sockets = [one for one in self._sockets if not one.closed]
        self._sockets.append(sock)
        return sock

    def destroy(self, linger: int | None = None) -> None:
        """Close all sockets."""
        for sock in self._sockets:
            sock.close(linger)

    def term(self) -> None:
        """As `destroy`."""
        self.destroy()


class SimulatedSocket(SelfWatching):
    """What both kinds share: options, the inbox, and the edge."""

    def __init__(self, network: Net, host: str) -> None:
        self.network, self.host = network, host
        self.closed = False
        self._options: dict[int, Any] = {}
        self._inbox: deque[list[bytes]] = deque()
        self._parts: deque[bytes] = deque()  # of the message that `recv` is in
        self._is_asleep = True  # the inbox was found empty
        self._is_signalled = False
        self._ready: Callable[[], None] | None = None

    def setsockopt(self, option: int, value: Any) -> None:
        """Keeps the value."""
        self._options[int(option)] = value

    def getsockopt(self, option: int) -> Any:
        """EVENTS as they are, and other options as they were set."""
        self._touched()
        if option == zmq.EVENTS:
            if not self._inbox:
                self._is_asleep = True
            return (zmq.POLLIN if self._inbox else 0) | (zmq.POLLOUT if self._takes() else 0)
        if option == zmq.RCVMORE:
            return int(bool(self._parts))
        return self._options.get(int(option), 0)

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        """The next frame."""
        if not self._parts:
            self._parts.extend(self.recv_multipart(flags))
        part = self._parts.popleft()
        if copy:
            return part
        frame = zmq.Frame(part)
        frame.more = bool(self._parts)
        return frame

    def recv_multipart(self, flags: int = 0, copy: bool = True, track: bool = False) -> list[Any]:
        """The next message."""
        self._touched()
        if not self._inbox:
            self._is_asleep = True
            raise zmq.Again(errno.EAGAIN)
        parts = self._inbox.popleft()
        self._taken()
        return list(parts) if copy else [zmq.Frame(part) for part in parts]

    def send(self, data: Any, flags: int = 0, copy: bool = True, track: bool = False) -> None:
        """Send one frame."""
        self.send_multipart([data], flags)

    def send_multipart(
        self, parts: Sequence[Any], flags: int = 0, copy: bool = True, track: bool = False
    ) -> None:
        """Send one message."""
        self._touched()
        self._send([bytes(part) for part in parts])

    def close(self, linger: int | None = None) -> None:
        """Idempotent."""
        if not self.closed:
            self.closed = True
            self._inbox.clear()
            self._ready = None
            self._closed()

    def watch(self, ready: Callable[[], None]) -> None:
        """See `SelfWatching`."""
        self._ready = ready
        if self._is_signalled:
            self.network.loop.call_soon(self._fire)

    def _put(self, parts: list[bytes]) -> None:
        self._inbox.append(parts)
        if self._is_asleep:
            self._is_asleep = False
            self._signal()

    def _signal(self) -> None:
        if not self._is_signalled and not self.closed:
            self._is_signalled = True
            # other things may come first in the loop, also such as use this socket
            self.network.loop.call_soon(self._fire, self.network.chance.randrange(MOST_TURNS))

    def _fire(self, turns: int = 0) -> None:
        if turns:
            self.network.loop.call_soon(self._fire, turns - 1)
        elif self._is_signalled and self._ready is not None:
            self._ready()
            if self._is_signalled:  # nobody has touched the socket: it is still readable
                self.network.loop.call_soon(self._fire)

    def _touched(self) -> None:
        if self.closed:
            raise zmq.ZMQError(zmq.ENOTSOCK)
        self._is_signalled = False

    def _takes(self) -> bool:
        return True

    def _taken(self) -> None:
        pass

    def _send(self, parts: list[bytes]) -> None:
        raise NotImplementedError

    def _closed(self) -> None:
        raise NotImplementedError


class Dealer(SimulatedSocket):
    """Dials once."""

    _connection: Connection | None = None

    @property
    def routing_id(self) -> bytes:
        """What it calls itself."""
        return bytes(self._options[int(zmq.ROUTING_ID)])

    def connect(self, endpoint: str) -> None:
        """Dial ``tcp://host:port``."""
        self._touched()
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self.network.dial(self, host, int(port))

    def connected(self, connection: Connection) -> None:
        """The other end has answered."""
        if self.closed or connection.is_broken:
            connection.dealer = None
            connection.break_off()
            return
        self._connection = connection
        self._signal()

    def arrived(self, parts: list[bytes]) -> None:
        """A message from the other end."""
        if self._connection is not None:
            self._put(parts)

    def disconnected(self, connection: Connection) -> None:
        """The connection is over, and with it what was not read."""
        if self._connection is not connection:
            return
        self._connection = None
        self._inbox.clear()
        self._signal()

    def _takes(self) -> bool:
        return self._connection is not None

    def _send(self, parts: list[bytes]) -> None:
        if self._connection is None:
            raise zmq.Again(errno.EAGAIN)
        self._connection.forth.put(parts)

    def _closed(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.dealer = None
            connection.break_off()


class Router(SimulatedSocket):
    """Listens."""

    def __init__(self, network: Net, host: str) -> None:
        super().__init__(network, host)
        self._peers: dict[bytes, Connection] = {}
        self._port = 0

    def bind(self, endpoint: str) -> None:
        """Listen at ``tcp://host:port``; ``*`` for a port that is chosen."""
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._port = self.network.listen(self, host, 0 if port == "*" else int(port))
        self._options[int(zmq.LAST_ENDPOINT)] = f"tcp://{host}:{self._port}"

    def getsockopt_string(self, option: int) -> str:
        """LAST_ENDPOINT, mainly."""
        return str(self._options[int(option)])

    def connected(self, connection: Connection) -> None:
        """Somebody has dialled. A routing id that is in use stays with who has it."""
        if self._peers.setdefault(connection.routing_id, connection) is not connection:
            connection.is_ignored = True
        self._signal()

    def arrived(self, connection: Connection, parts: list[bytes]) -> None:
        """A message from that connection."""
        if not self.closed:
            self._put([connection.routing_id, *parts])

    def disconnected(self, connection: Connection) -> None:
        """That connection is over."""
        if self._peers.get(connection.routing_id) is connection:
            del self._peers[connection.routing_id]
        self._signal()

    def _send(self, parts: list[bytes]) -> None:
        connection = self._peers.get(parts[0])
        if connection is None:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if len(connection.back) >= self._options.get(int(zmq.SNDHWM), 1000):
            raise zmq.Again(errno.EAGAIN)
        connection.back.put(parts[1:])

    def _closed(self) -> None:
        self._peers.clear()
        self.network.unlisten(self)


class End(Enum):
    """The two ends of a connection."""

    DEALER = "dealer"
    ROUTER = "router"


class Connection:
    """One dial that was answered: a DEALER, a ROUTER, and a stream each way.

    Each end learns at a time of its own that it is over; `dealer` and `router` are None from then
    on, or from when they have closed it themselves.
    """

    def __init__(self, network: Net, dealer: Dealer, router: Router) -> None:
        self.network = network
        self.dealer: Dealer | None = dealer
        self.router: Router | None = router
        self.routing_id = dealer.routing_id
        self.hosts = dealer.host, router.host
        self.is_ignored = False  # its routing id was in use at the listener
        self.is_broken = False
        self.forth = Stream(network, dealer.host, router.host, self._arrive)
        self.back = Stream(network, router.host, dealer.host, self._answer)

    def _arrive(self, parts: list[bytes]) -> None:
        if self.router is not None and not self.is_ignored:
            self.router.arrived(self, parts)

    def _answer(self, parts: list[bytes]) -> None:
        if self.dealer is not None:
            self.dealer.arrived(parts)

    def crosses(self, origin: str, target: str) -> bool:
        """Whether it lies between these two hosts, in whatever direction."""
        return self.hosts in ((origin, target), (target, origin))

    def break_off(self) -> None:
        """It is broken: both ends learn of it, and a part of what is under way still arrives."""
        if self.is_broken:
            return
        self._ended()
        self.forth.lose_a_part()
        self.back.lose_a_part()
        there, here = self.hosts
        self.network.later(self._time_to_learn(here, there), self.dealer_learns)
        self.network.later(self._time_to_learn(there, here), self.router_learns)

    def give_up(self, end: End) -> None:
        """One end has heard nothing for too long. The other one learns of it in its own time."""
        self._ended()
        mine, other = self.dealer_learns, self.router_learns
        if end is End.ROUTER:
            mine, other = other, mine
        self.network.later(self.network.waiting_time(), other)
        mine()

    def _time_to_learn(self, origin: str, target: str) -> float:
        """What one end did is noticed soon at the other, unless the way is cut."""
        network = self.network
        if network.way(origin, target).is_cut:
            return network.waiting_time()
        return network.chance.random() * network.notice

    def dealer_learns(self) -> None:
        """The dialling end finds out that it is over; what it has not read is lost."""
        if self.network.is_stalled(self.hosts[0]):
            self.network.later(AGAIN, self.dealer_learns)
            return
        self.back.lose()
        dealer, self.dealer = self.dealer, None
        if dealer is not None:
            dealer.disconnected(self)
        self._ended()

    def router_learns(self) -> None:
        """The listening end finds out; what has come so far is read."""
        if self.network.is_stalled(self.hosts[1]):
            self.network.later(AGAIN, self.router_learns)
            return
        self.forth.hurry()
        self.forth.lose()
        router, self.router = self.router, None
        if router is not None:
            router.disconnected(self)
        self._ended()

    def _ended(self) -> None:
        if not self.is_broken:
            self.is_broken = True
            self.network.connection_broken(self)
