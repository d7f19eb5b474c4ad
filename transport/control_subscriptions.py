"""The subscriptions to the pulses of peers.

Where keys are not bound to names, one SUB hears all publishers. With `NodeKeys` each publisher has
a SUB of its own: libzmq does not say from which connection of a SUB a frame has come, and a pulse
may speak for nobody but the node with whose key that connection was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import zmq

from noex.runtime.errors import NoexError
from noex.transport import control_sockets as sockets
from noex.transport.control_events import ControlSettings
from noex.transport.control_hub import Hub
from noex.transport.control_names import Names
from noex.transport.curve import Curve

_DRAIN = 256

Receive = Callable[[list[bytes], str | None], None]
"""Gets the parts of a message, and the node that alone can have sent it (None: anybody)."""


class _Subscriber:
    """A SUB. `publisher`: the one node that it hears, None for all."""

    def __init__(self, sock: sockets.Socket, publisher: str | None, receive: Receive) -> None:
        self.socket, self.publisher = sock, publisher
        self._receive = receive

    def drain(self) -> bool:
        for _ in range(_DRAIN):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            self._receive(parts, self.publisher)
        return True


class Subscriptions:
    """What is subscribed. Belongs to the control thread.

    `receive` gets what comes in; `complain(endpoint, error)` hears of a publisher that cannot be
    subscribed; it is tried again at each `adjust`.
    """

    def __init__(
        self,
        *,
        context: zmq.Context[sockets.Socket],
        settings: ControlSettings,
        hub: Hub,
        names: Names,
        curve: Curve | None,
        receive: Receive,
        complain: Callable[[str, Exception], None],
    ) -> None:
        self._context, self._settings = context, settings
        self._hub, self._names, self._curve = hub, names, curve
        self._receive, self._complain = receive, complain
        self._apart = curve is not None and curve.is_named
        self._common = None if self._apart else self._open(None)
        self._held: dict[str, tuple[str, _Subscriber]] = {}
        self.publishers: dict[str, str | None] = {}
        """Those that are subscribed, by endpoint."""

    def adjust(self, wanted: Mapping[str, str | None]) -> None:
        """Make them those that are wanted, each with the node that publishes there."""
        for endpoint in list(self._held):
            if endpoint not in wanted or wanted[endpoint] != self.publishers[endpoint]:
                del self.publishers[endpoint]
                self._end(*self._held.pop(endpoint))
        for endpoint in wanted.keys() - self._held.keys():
            host, port = sockets.parse_endpoint(endpoint)
            found = self._names.find(host)
            if found is None:  # asked for; each pulse looks again
                continue
            address = sockets.endpoint_of((found, port))
            try:
                self._held[endpoint] = (address, self._begin(address, wanted[endpoint]))
                self.publishers[endpoint] = wanted[endpoint]
            except (zmq.ZMQError, NoexError) as error:
                self._complain(endpoint, error)

    def close(self) -> None:
        """Close all sockets; the hub is closed with them."""
        subscribers = {subscriber for _, subscriber in self._held.values()}
        for subscriber in {*subscribers, *([self._common] if self._common else ())}:
            sockets.close_socket(subscriber.socket, 0.0)
        self._held.clear()
        self._common = None

    def _begin(self, address: str, publisher: str | None) -> _Subscriber:
        subscriber = self._common or self._open(publisher)
        if address not in (held for held, other in self._held.values() if other is subscriber):
            sockets.use_family(subscriber.socket, address)
            subscriber.socket.connect(address)
        self._hub.mark(subscriber.drain)
        return subscriber

    def _end(self, address: str, subscriber: _Subscriber) -> None:
        if subscriber is not self._common:
            self._hub.unwatch(sockets.fd_of(subscriber.socket))
            sockets.close_socket(subscriber.socket, 0.0)
        elif address not in (held for held, _ in self._held.values()):
            subscriber.socket.disconnect(address)
            self._hub.mark(subscriber.drain)

    def _open(self, publisher: str | None) -> _Subscriber:
        sock = sockets.open_subscriber(self._context, self._settings)
        try:
            if self._curve is not None:
                self._curve.dial(sock, publisher)
            subscriber = _Subscriber(sock, publisher, self._receive)
            self._hub.watch(sockets.fd_of(sock), subscriber.drain)
        except BaseException:
            sockets.close_socket(sock, 0.0)
            raise
        return subscriber
