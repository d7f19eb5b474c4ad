"""The ZeroMQ sockets of the control lane, each with every option that it needs, and raw connects.

Options that are not obvious:

- ``RECONNECT_IVL`` of a day on a DEALER: libzmq's own reconnect uses the routing id again, and a
  ROUTER that still holds the half-open pipe of that id swallows what comes. So a new dial is a new
  socket, and a socket has one connection in its life. The value is not -1 and ``IMMEDIATE`` is not
  set, because with either of them libzmq ends the pipe in the instant in which the connection
  breaks, together with all that the peer had said and nobody has read yet. Nothing is sent before
  the handshake, and nothing outlives the socket, so no other process can get what was queued.
- ``HEARTBEAT_*``: answered by libzmq's own thread. A peer whose Python is stuck stays connected, a
  stopped one is dropped: that is what tells busy from gone. Those who dial send them, and say after
  how long without one the other end hangs up. Those who listen send none: libzmq (4.3.5) ends the
  process when a heartbeat is due on a connection that has filled its high-water mark and is gone,
  which any stranger can bring about.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from noex.runtime.errors import PortInUseError
from noex.transport.control_events import ControlSettings
from noex.transport.pulse import MAGIC

Socket = zmq.Socket[bytes]
Address = tuple[str, int]

_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)
_DIALLING = (zmq.DEALER, zmq.SUB)
_MAX_SOCKETS = 16_384
# With a domain, libzmq takes no peer of its oldest protocol, for which it holds a stranger's HTTP
# request: that connection closes at once instead of staying half open.
_ZAP_DOMAIN = b"noex"
_PULSE_HEARTBEAT = 5  # these links say nothing of up and down: it only clears what is half open
_NO_RECONNECT_MS = 24 * 3600 * 1000
_SUB_RECONNECT_MS = (100, 1000)


def new_context() -> zmq.Context[Socket]:
    """A context of one I/O thread, with room for a large mesh and no lingering."""
    context: zmq.Context[Socket] = zmq.Context()
    limit = int(context.get(zmq.SOCKET_LIMIT))
    context.set(zmq.MAX_SOCKETS, min(_MAX_SOCKETS, limit))
    return context


def open_router(context: zmq.Context[Socket], settings: ControlSettings) -> Socket:
    """The ROUTER on which messages of peers come in."""
    router = _open(context, zmq.ROUTER, settings)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
    return router


def open_publisher(context: zmq.Context[Socket], settings: ControlSettings) -> Socket:
    """The PUB that carries our pulses. Few wait for a slow subscriber: old pulses are worthless.

    An XPUB, which tells of each new subscription: libzmq keeps any number of them, at 100 bytes
    and more, so whoever asks for anything but pulses is hung up on. It takes few at a time (it does
    not return to us as long as more of them come).
    """
    publisher = _open(context, zmq.XPUB, settings)
    publisher.setsockopt(zmq.SNDHWM, 100)
    publisher.setsockopt(zmq.RCVHWM, 4)
    publisher.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
    return publisher


def open_subscriber(context: zmq.Context[Socket], settings: ControlSettings) -> Socket:
    """The SUB for all peers' pulses; libzmq reconnects it by itself."""
    subscriber = _open(context, zmq.SUB, settings, slower=_PULSE_HEARTBEAT)
    subscriber.setsockopt(zmq.MAXMSGSIZE, settings.max_pulse + 4096)
    subscriber.setsockopt(zmq.RECONNECT_IVL, _SUB_RECONNECT_MS[0])
    subscriber.setsockopt(zmq.RECONNECT_IVL_MAX, _SUB_RECONNECT_MS[1])
    subscriber.setsockopt(zmq.SUBSCRIBE, MAGIC)
    return subscriber


def open_dealer(
    context: zmq.Context[Socket],
    settings: ControlSettings,
    endpoint: str,
    routing_id: bytes,
    secure: Callable[[Socket], None],
) -> tuple[Socket, Socket]:
    """A DEALER that dials `endpoint` once, and the socket that reports what becomes of it."""
    dealer = _open(context, zmq.DEALER, settings)
    try:
        secure(dealer)
        dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        dealer.setsockopt(zmq.RECONNECT_IVL, _NO_RECONNECT_MS)
        use_family(dealer, endpoint)
        monitor = dealer.get_monitor_socket(_WATCHED)
        dealer.connect(endpoint)
    except BaseException:
        close_dealer(dealer, 0.0)
        raise
    return dealer, monitor


def close_dealer(dealer: Socket, linger: float) -> None:
    """Close a DEALER and its monitor, in the only order that cannot hang."""
    monitor = dealer._monitor_socket
    with suppress(zmq.ZMQError):  # the context was ended elsewhere
        dealer.disable_monitor()
    if monitor is not None:
        monitor.close(0)
    close_socket(dealer, linger)


def close_socket(sock: Socket, linger: float) -> None:
    """Close; what was sent last has `linger` seconds to leave."""
    try:
        sock.close(round(linger * 1000))
    except zmq.ZMQError:  # the context was ended elsewhere, and takes no option any more
        sock.close()


def read_monitor(monitor: Socket) -> tuple[int, int] | None:
    """The next event of a DEALER's connection, and its value, or None."""
    try:
        frames = monitor.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
    news = parse_monitor_message(frames)
    return int(news["event"]), int(news["value"])


def bind(sock: Socket, host: str, port: int) -> int:
    """Bind to a numeric `host`; returns the port (chosen if 0). Raises `PortInUseError`."""
    endpoint = endpoint_of((host, port))
    address = endpoint.removeprefix("tcp://")
    use_family(sock, endpoint)
    try:
        sock.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(address) from error
        raise OSError(error.errno, f"cannot bind {address}: {error.strerror}") from error
    last = cast(bytes, sock.getsockopt(zmq.LAST_ENDPOINT))
    return int(last.rstrip(b"\0").rpartition(b":")[2])


def use_family(sock: Socket, address: str) -> None:
    """IPv6 only where it is asked for: with it on, an IPv4 address is bound as a mapped one.

    To listen on all addresses means on those of both families.
    """
    sock.setsockopt(zmq.IPV6, 1 if "[" in address or address.startswith("tcp://*:") else 0)


def fd_of(sock: Socket) -> int:
    """The FD that tells (edge-triggered) that something happened to a ZeroMQ socket."""
    return cast(int, sock.getsockopt(zmq.FD))


def parse_endpoint(endpoint: str) -> Address:
    """Host (without brackets) and port of ``tcp://host:port``; raises ValueError."""
    scheme, _, rest = endpoint.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme != "tcp" or not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{endpoint!r} is not of the form tcp://host:port")
    if not 0 < int(port) <= 65535:
        raise ValueError(f"{endpoint!r}: the port is not in 1 to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def endpoint_of(address: Address) -> str:
    """The other way round."""
    host, port = address
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def start_connect(address: Address) -> socket.socket:
    """Begin a non-blocking TCP connect to a numeric address.

    Raises OSError if it failed at once (no route, no file descriptor left, refused by this host).
    """
    # A pair of host and port would lose the scope of a link-local address.
    family, kind, protocol, _, full = socket.getaddrinfo(
        *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        error = sock.connect_ex(full)
        if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return sock


def connect_result(sock: socket.socket) -> int:
    """The errno of a finished connect, 0 for success."""
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error != 0:
        return error
    try:
        if sock.getsockname() == sock.getpeername():
            return errno.ECONNREFUSED  # TCP met itself: a free port was chosen as our own source
    except OSError as gone:
        return gone.errno or errno.ENOTCONN
    return 0


def _open(
    context: zmq.Context[Socket], kind: int, settings: ControlSettings, *, slower: int = 1
) -> Socket:
    sock: Socket = context.socket(kind)
    try:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.MAXMSGSIZE, settings.max_message + 64)
        sock.setsockopt(zmq.HANDSHAKE_IVL, _ms(settings.handshake_timeout))
        if kind in _DIALLING:
            silence = _ms(slower * settings.heartbeat_timeout)
            sock.setsockopt(zmq.HEARTBEAT_IVL, _ms(slower * settings.heartbeat_interval))
            sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, silence)
            sock.setsockopt(zmq.HEARTBEAT_TTL, silence)
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
    except BaseException:
        sock.close(0)
        raise
    return sock


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
