"""The gate of a node: answers ZAP, and tells who was refused at its listening sockets.

A thread of its own, so that a stalled loop stops no handshake and a flood at one port holds up no
pulse. The order of events:

1. `start` binds ``inproc://zeromq.zap.01`` in the node's context, before any socket listens.
2. `watch` is called for each listening socket before it binds; what libzmq says of its handshakes
   is read here. Both sides of a handshake that fails hear of it, each at its own end.
3. `end`, after all listening sockets are closed; with the last of them it also ends by itself.

While it does not answer, nobody comes in: the listeners enforce their ZAP domain (`Curve`). The
thread meets any error with a line in the log and goes on; only the end of the context ends it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from noex.runtime.log import Throttle, get_logger
from noex.transport.control_hub import Hub
from noex.transport.control_sockets import Socket, fd_of
from noex.transport.zap import Zap

ENDPOINT: Final = "inproc://zeromq.zap.01"
MECHANISM_MISMATCH: Final = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
CRYPTOGRAPHIC: Final = int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
UNKNOWN: Final = "unknown"
_WATCHED: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_MONITOR_STOPPED
)
_DRAIN: Final = 256
_LONGEST_WAIT: Final = 60.0
_NEWS: Final = 100_000
"""Monitor events that may wait. More, and libzmq waits: its thread has nowhere to put them."""
_ADDRESSES: Final = 4096
_PAUSE_AFTER_ERROR: Final = 0.05
_NUMBERS: Final = count(1)

ADVICE: Final = {
    "unknown key": "add its public key to keys.peers, if it is one of the cluster",
    "wrong secret": "it has another cluster_secret, or expects another key of this node",
    "no security": "it has no cluster_secret and no keys; give it those of this cluster",
    "unexpected security": "it has a cluster_secret or keys, and this node has none",
    "key of another node": "a key speaks for one node id alone; look at who sends this",
}


class Gate:
    """One per context. `zap`: who may come in; None for a node without security."""

    def __init__(
        self,
        node_id: str,
        context: zmq.Context[Socket],
        zap: Zap | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._zap = context, zap
        self._log = get_logger(node=node_id)
        self._throttle = Throttle(now=now)
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._arriving: deque[_Listener] = deque()
        self._listeners: list[_Listener] = []
        self._door: Socket | None = None
        self._stopping = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._hub = Hub(self._failed)
        self._hub.watch(self._wake_reader.fileno(), self._read_wake)
        self._thread = threading.Thread(target=self._run, name=f"noex-gate-{node_id}", daemon=True)

    # From any thread.

    @property
    def refused(self) -> dict[str, int]:
        """How many peers were refused, by reason."""
        with self._lock:
            return dict(self._refused)

    def named(self, node_id: str) -> None:
        """The node has got its final id: a port 0 has been chosen."""
        self._log = get_logger(node=node_id)

    def start(self) -> None:
        """Answer from now on."""
        if self._zap is not None:
            self._open_door()
        self._thread.start()

    def watch(self, sock: Socket, lane: str) -> None:
        """Hear of the handshakes at this socket, which is about to bind.

        The other end is connected here and now: libzmq's own thread waits when it has something to
        say and nobody listens.
        """
        address = f"inproc://noex-gate-{next(_NUMBERS)}"
        sock.monitor(address, _WATCHED)
        monitor = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.LINGER, 0)
        monitor.setsockopt(zmq.RCVHWM, _NEWS)
        monitor.connect(address)
        self._arriving.append(_Listener(monitor, lane))
        self._wake()

    def refuse(self, lane: str, address: str, reason: str, **details: object) -> None:
        """Count somebody who is refused, and log it once a minute per address and reason."""
        with self._lock:
            self._refused[reason] += 1
            refused = self._refused[reason]
            logs = self._throttle.allows((address, reason))
            # who comes from nowhere in particular may well be the one that was just named
            self._throttle.allows((UNKNOWN, reason))
        if logs:
            self._log.warning(
                "peer_refused",
                address=address,
                lane=lane,
                reason=reason,
                refused=refused,
                advice=ADVICE.get(reason, ""),
                **details,
            )

    def spoofed(self, lane: str, peer: str, claim: str, address: str = UNKNOWN) -> None:
        """Somebody with the key of `peer` has spoken as another node."""
        self.refuse(lane, address, "key of another node", peer=peer, claims=claim)

    def end(self) -> None:
        """Let the thread end, after the listeners are closed; `has_ended` says when it has."""
        self._stopping = True
        if self._thread.ident is None:  # it was never started
            self._close()
        self._wake()

    @property
    def has_ended(self) -> bool:
        """Whether its thread is gone, and its sockets are closed."""
        return not self._thread.is_alive()

    def _wake(self) -> None:
        with suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._wake_writer.send(b"\0")

    # On the thread.

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._hub.turn(_LONGEST_WAIT)
        except Exception as error:  # the selector itself: nothing can be waited for any more
            self._failed(error)
        finally:
            self._close()

    def _read_wake(self) -> bool:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)
        while self._arriving:
            listener = self._arriving.popleft()
            self._listeners.append(listener)
            self._hub.watch(listener.descriptor, partial(self._hear, listener))
        return False

    def _answer(self) -> bool:
        door, zap = self._door, self._zap
        if door is None or zap is None:
            return False
        for _ in range(_DRAIN):
            try:
                parts = door.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            verdict = zap.handle(parts[2:])
            if verdict.reply:
                with suppress(zmq.Again):  # it has hung up meanwhile
                    door.send_multipart([*parts[:2], *verdict.reply], zmq.NOBLOCK)
            if verdict.reason:
                key = z85.encode(verdict.key).decode() if verdict.key else ""
                self.refuse("any", verdict.address or UNKNOWN, verdict.reason, key=key)
        return True

    def _hear(self, listener: _Listener) -> bool:
        for _ in range(_DRAIN):
            try:
                frames = listener.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            news = parse_monitor_message(frames)
            if news["event"] == zmq.EVENT_MONITOR_STOPPED:
                self._forget(listener)
                return False
            for address, reason in listener.heard(int(news["event"]), int(news["value"])):
                self.refuse(listener.lane, address, self._seen_from_here(reason))
        return True

    def _forget(self, listener: _Listener) -> None:
        self._listeners.remove(listener)
        self._hub.unwatch(listener.descriptor)
        listener.monitor.close(0)
        if not self._listeners and not self._arriving:
            self._stopping = True

    def _seen_from_here(self, reason: str) -> str:
        is_plain = self._zap is None and reason == "no security"
        return "unexpected security" if is_plain else reason

    def _failed(self, error: Exception) -> None:
        """A drain has raised. Where the sockets are gone, somebody has ended the context."""
        sockets = [each.monitor for each in self._listeners]
        sockets += [self._door] if self._door is not None else []
        if isinstance(error, zmq.ContextTerminated) or any(each.closed for each in sockets):
            self._stopping = True
            return
        if self._throttle.allows(("failed", type(error).__name__)):
            self._log.warning("gate_error", error=repr(error), exc_info=error)
        time.sleep(_PAUSE_AFTER_ERROR)  # an error that stays must not burn a core
        self._hub.mark_all()  # what waits behind it would not make itself heard again

    def _open_door(self) -> None:
        door = self._context.socket(zmq.ROUTER)
        try:
            door.setsockopt(zmq.LINGER, 0)
            door.bind(ENDPOINT)
            self._hub.watch(fd_of(door), self._answer)
        except BaseException:
            door.close(0)
            raise
        self._door = door

    def _close(self) -> None:
        for listener in [*self._listeners, *self._arriving]:
            with suppress(zmq.ZMQError):
                listener.monitor.close(0)
        self._listeners.clear()
        self._arriving.clear()
        if self._door is not None:
            with suppress(zmq.ZMQError):
                self._door.close(0)
            self._door = None
        self._hub.close()
        self._wake_reader.close()
        self._wake_writer.close()


class _Listener:
    """One listening socket: its monitor, and where its connections come from.

    libzmq does not say whose handshake failed, but it says next that this connection is closed.
    """

    def __init__(self, monitor: Socket, lane: str) -> None:
        self.monitor, self.lane = monitor, lane
        self.descriptor = fd_of(monitor)
        self._addresses: dict[int, str] = {}
        self._failure = ""

    def heard(self, event: int, value: int) -> list[tuple[str, str]]:
        """Who was refused for sure, and why."""
        refused: list[tuple[str, str]] = []
        if self._failure:
            closes = event == zmq.EVENT_DISCONNECTED
            address = self._addresses.get(value, UNKNOWN) if closes else UNKNOWN
            refused.append((address, self._failure))
            self._failure = ""
        if event == zmq.EVENT_ACCEPTED:
            self._accepted(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._addresses.pop(value, None)
        elif value == CRYPTOGRAPHIC:
            self._failure = "wrong secret"
        elif value == MECHANISM_MISMATCH:
            self._failure = "no security"
        return refused

    def _accepted(self, descriptor: int) -> None:
        if len(self._addresses) >= _ADDRESSES:
            self._addresses.clear()
        self._addresses[descriptor] = address_of(descriptor)


def address_of(descriptor: int) -> str:
    """The host that a connection of libzmq comes from, as long as it is open."""
    try:
        copy = os.dup(descriptor)
    except OSError:  # closed meanwhile
        return UNKNOWN
    try:
        connection = socket.socket(fileno=copy)
    except OSError:  # the number is something else's by now
        os.close(copy)
        return UNKNOWN
    with connection, suppress(OSError):
        name = connection.getpeername()
        host = str(name[0]) if isinstance(name, tuple) else ""
        return host.removeprefix("::ffff:") or UNKNOWN
    return UNKNOWN
