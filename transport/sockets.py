"""ZeroMQ sockets as noex uses them: one context per node, safe options, bound and watched.

What is set and why:

- linger 0 everywhere: a message for a peer that is gone must not hold up the end of the node.
- IMMEDIATE and RECONNECT_IVL -1 on a DEALER: it connects once. libzmq's own reconnect would use
  the same routing id again, and while the ROUTER still has the old connection under that id, all
  that is sent on the new one vanishes.
- No high-water mark on the DEALER: the session bounds what is under way, and "not writable" then
  means exactly "not connected", which saves a socket monitor per peer.
- Heartbeats come from the DEALER, and say after how long without one the ROUTER hangs up. The
  ROUTER sends none: libzmq (4.3.5) ends the process when a heartbeat is due on a connection that
  has filled its high-water mark and is gone, which any stranger can bring about.
- A high-water mark on the ROUTER above what a session may have under way: a peer that follows the
  protocol never reaches it (it would stop ZeroMQ's heartbeats too), one that does not is stopped.
- A ZAP domain on the ROUTER, also without a ZAP handler: libzmq then refuses peers that speak
  ZMTP 1 or 2. Otherwise anything whose first byte is not 0xff, such as an HTTP request, counts as
  a ZMTP 1 peer that has shaken hands, and keeps its connection for ever.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Final

import zmq

from noex.runtime.errors import InvalidOptionError, NoexError, PortInUseError
from noex.transport.lane_settings import LaneSettings
from noex.transport.wire import HEADER_SIZE, MAX_ANSWER

MAX_SOCKETS: Final = 16384
ANSWERS_QUEUED: Final = 1024
ZAP_DOMAIN: Final = b"noex"


class UnsupportedLoopError(NoexError, RuntimeError):
    """The running event loop cannot watch a socket."""

    fields = ("loop",)

    def __init__(self, loop: str) -> None:
        super().__init__(loop)

    def describe(self) -> str:
        return (
            f"{self.args[0]} has no add_reader, which ZeroMQ sockets need; on Windows run noex "
            "under asyncio.SelectorEventLoop"
        )


class SocketUnusableError(NoexError, OSError):
    """A ZeroMQ socket was closed, or its descriptor is gone, behind the lane's back."""

    fields = ("what", "reason")

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)

    def describe(self) -> str:
        return (
            f"the {self.args[0]} socket is unusable: {self.args[1]}; was its context terminated, "
            "or the process forked?"
        )


class SelfWatching:
    """A socket without a descriptor, which itself calls `ready` (see `simulated_sockets`)."""

    def watch(self, ready: Callable[[], None]) -> None:
        """Call `ready` where a descriptor would speak."""
        raise NotImplementedError


def make_context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context of its own for one node."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.setsockopt(zmq.LINGER, 0)  # the default of every socket made from it
    most = context.get(zmq.SOCKET_LIMIT)
    context.set(zmq.MAX_SOCKETS, min(MAX_SOCKETS, most if isinstance(most, int) else MAX_SOCKETS))
    return context


def _set(sock: zmq.Socket[bytes], settings: LaneSettings, options: dict[int, int]) -> None:
    common = {
        zmq.LINGER: 0,
        zmq.IPV6: 1,
        zmq.TCP_KEEPALIVE: 1,
        zmq.HANDSHAKE_IVL: _ms(settings.handshake_timeout),
        zmq.HEARTBEAT_IVL: _ms(settings.heartbeat_interval),
        zmq.HEARTBEAT_TIMEOUT: _ms(settings.heartbeat_timeout),
        zmq.HEARTBEAT_TTL: _ms(settings.heartbeat_timeout),
    }
    for option, value in (common | options).items():
        sock.setsockopt(option, value)


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def make_router(
    context: zmq.Context[zmq.Socket[bytes]], settings: LaneSettings
) -> zmq.Socket[bytes]:
    """The listening socket of a user lane, not bound yet."""
    router = context.socket(zmq.ROUTER)
    batch = settings.max_batch + 4 * settings.max_batch_messages
    largest = max(settings.max_message, batch) + HEADER_SIZE + 64
    _set(
        router,
        settings,
        {
            zmq.ROUTER_MANDATORY: 1,
            zmq.HEARTBEAT_IVL: 0,
            zmq.MAXMSGSIZE: largest,
            zmq.RCVHWM: 2 * settings.max_in_flight + 16,
            zmq.SNDHWM: ANSWERS_QUEUED,
            zmq.BACKLOG: 512,
        },
    )
    router.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    return router


def make_dealer(
    context: zmq.Context[zmq.Socket[bytes]], routing_id: bytes, settings: LaneSettings
) -> zmq.Socket[bytes]:
    """A socket for one dial under this routing id, not connected yet."""
    dealer = context.socket(zmq.DEALER)
    _set(
        dealer,
        settings,
        {
            zmq.IMMEDIATE: 1,
            zmq.RECONNECT_IVL: -1,
            zmq.SNDHWM: 0,
            zmq.RCVHWM: ANSWERS_QUEUED,
            zmq.MAXMSGSIZE: MAX_ANSWER,
        },
    )
    dealer.setsockopt(zmq.ROUTING_ID, routing_id)
    return dealer


async def resolve_host(host: str) -> str:
    """The address that a host name stands for, as libzmq's bind wants it (it knows no names).

    Addresses, with or without brackets, and ``*`` pass through; IPv6 gets its brackets. Raises
    `InvalidOptionError` for a name that nobody knows.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == "*" or _is_address(bare):
        return f"[{bare}]" if ":" in bare else bare
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(bare, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidOptionError("host", host, f"it cannot be resolved: {error}") from error
    # IPv4 first: it is what a dialler that resolves the same name tries first
    address = min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0]
    return f"[{address}]" if ":" in str(address) else str(address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def bind(sock: zmq.Socket[bytes], host: str, port: int) -> int:
    """Bind to a resolved host; port 0 chooses one. Returns the port."""
    address = f"{host}:{port or '*'}"
    try:
        sock.bind(f"tcp://{address}")
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise PortInUseError(f"{host}:{port}") from error
        raise InvalidOptionError("host", host, f"cannot bind {address}: {error}") from error
    return int(sock.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def watch(
    loop: asyncio.AbstractEventLoop, sock: zmq.Socket[bytes], what: str, ready: Callable[[], None]
) -> int:
    """Call `ready` when the socket's descriptor says so. Returns the descriptor, -1 for none.

    The descriptor is edge-triggered: it may be silent while messages wait, after any call on the
    socket. So `ready` must go on until the socket has nothing more, and be called after sends.
    """
    if isinstance(sock, SelfWatching):
        sock.watch(ready)
        return -1
    try:
        descriptor = int(sock.getsockopt(zmq.FD))
        loop.add_reader(descriptor, ready)
    except NotImplementedError:
        raise UnsupportedLoopError(type(loop).__name__) from None
    except (zmq.ZMQError, OSError, ValueError) as error:
        raise SocketUnusableError(what, str(error)) from error
    return descriptor
