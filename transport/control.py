"""The control lane: join, probes, view changes and heartbeats, beside the loop.

`ControlLane` is the face on the loop. The work is done by `ControlThread`, so that a busy loop has
a pulse and answers pings all the same. The order of events:

1. `start` binds the ROUTER and the PUB and returns when they listen.
2. `connect` dials the control ROUTER of a peer, again and again until `disconnect`: `LinkUp`,
   `LinkDown` and `DialRefused` tell how it stands.
3. `send` goes over that link, `answer` back to whoever sent; both drop what cannot leave at once.
4. `subscribe` reads the pulses of a peer; our own leave at every `pulse_interval`.
5. `stop` closes everything; no event is delivered after it was called.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable
from typing import Any

import zmq

from noex.runtime.errors import MessageSerializationError, NodeStoppedError
from noex.runtime.log import Throttle
from noex.transport.control_events import (
    ControlEvent,
    ControlSettings,
    ControlStats,
    DialRefused,
    HandshakeFailed,
    LinkDown,
    LinkUp,
    Pong,
    Pulse,
    Received,
)
from noex.transport.control_frames import data_frame, ping_frame
from noex.transport.control_mail import ControlMail, Outgoing, Wanted
from noex.transport.control_names import is_numeric, resolve
from noex.transport.control_sockets import Socket, parse_endpoint
from noex.transport.control_thread import Bind, ControlThread, Life
from noex.transport.curve import Curve
from noex.transport.pulse import pack_fields

__all__ = [
    "ControlEvent",
    "ControlLane",
    "ControlSettings",
    "ControlStats",
    "DialRefused",
    "HandshakeFailed",
    "LinkDown",
    "LinkUp",
    "Pong",
    "Pulse",
    "Received",
]

_log = logging.getLogger("noex.transport.control")


class ControlLane:
    """The control sockets of one node.

    `host` and `port` are where the ROUTER listens, `pub_port` where the pulses leave (0: chosen;
    `port` and `pub_port` are final after `start`). `on_event` is called on the loop for every
    `ControlEvent`; what it raises is logged. A `context` that is handed in stays open. `curve`
    secures the sockets; with keys that are bound to names, `publisher_at(endpoint)` says whose
    pulses come from there.
    """

    def __init__(
        self,
        *,
        node_id: str,
        incarnation: int,
        host: str,
        port: int = 0,
        pub_port: int = 0,
        settings: ControlSettings | None = None,
        on_event: Callable[[ControlEvent], None],
        context: zmq.Context[Socket] | None = None,
        curve: Curve | None = None,
        publisher_at: Callable[[str], str | None] = lambda _endpoint: None,
    ) -> None:
        self.host = host
        self.port = port
        self.pub_port = pub_port
        self._settings = settings or ControlSettings()
        self._on_event = on_event
        self._context = context
        self._curve = curve
        self._publisher_at = publisher_at
        self._fields: dict[str, Any] = {}
        self._life = Life(node_id, incarnation, pack_fields({}, self._settings.max_pulse))
        self._links: dict[str, int] = {}
        self._link_number = 0
        self._subscriptions: dict[str, str | None] = {}
        self._mail: ControlMail | None = None
        self._thread: ControlThread | None = None
        self._ended: asyncio.Event = asyncio.Event()
        self._throttle = Throttle()

    @property
    def node_id(self) -> str:
        """The node that the pulses speak for."""
        return self._life.node_id

    @property
    def incarnation(self) -> int:
        """The life that the pulses speak for."""
        return self._life.incarnation

    async def start(self) -> None:
        """Bind and start the thread.

        Raises `PortInUseError`, or `OSError` for an address that this machine does not have.
        Nothing is left behind when it raises or is cancelled.
        """
        if self._thread is not None:
            raise NodeStoppedError(self.node_id, "its control lane was started before")
        loop = asyncio.get_running_loop()
        host = await _numeric_host(loop, self.host)
        started: asyncio.Future[tuple[int, int]] = loop.create_future()
        self._launch(loop, started, Bind(host, self.port, self.pub_port))
        try:
            async with asyncio.timeout(self._settings.start_timeout):
                self.port, self.pub_port = await started
        except BaseException:
            await self.stop()
            raise

    def connect(self, endpoint: str) -> None:
        """Keep a link to the control ROUTER at `endpoint` (``tcp://host:port``).

        Nothing happens if there is one already. Raises ValueError for another form.
        """
        parse_endpoint(endpoint)
        if endpoint not in self._links:
            self._link_number += 1
            self._want({**self._links, endpoint: self._link_number}, self._subscriptions)

    def disconnect(self, endpoint: str) -> None:
        """Drop the link, without a `LinkDown`. Events that are under way still arrive."""
        links = {kept: number for kept, number in self._links.items() if kept != endpoint}
        self._want(links, self._subscriptions)

    def subscribe(self, endpoint: str) -> None:
        """Receive the pulses of the PUB at `endpoint`. Raises ValueError for another form."""
        parse_endpoint(endpoint)
        publisher = self._publisher_at(endpoint)
        self._want(self._links, {**self._subscriptions, endpoint: publisher})

    def unsubscribe(self, endpoint: str) -> None:
        """Receive them no more."""
        kept = {each: node for each, node in self._subscriptions.items() if each != endpoint}
        self._want(self._links, kept)

    def members_changed(self) -> None:
        """Another node may publish at an endpoint that is subscribed: ask `publisher_at` again."""
        before = self._subscriptions
        now = {endpoint: self._publisher_at(endpoint) or before[endpoint] for endpoint in before}
        if now != self._subscriptions:
            self._want(self._links, now)

    def send(self, endpoint: str, data: bytes) -> None:
        """Send over the link to `endpoint`; dropped when there is none, or it is full."""
        self._put(Outgoing(endpoint, None, data_frame(self._checked("send", data))))

    def answer(self, origin: bytes, data: bytes) -> None:
        """Send back to the `origin` of a `Received`; dropped when it is gone."""
        self._put(Outgoing(None, origin, data_frame(self._checked("answer", data))))

    def ping(self, endpoint: str, token: int = 0) -> None:
        """Ask the peer's control thread for a `Pong` with this `token` (0 to 2**64 - 1)."""
        self._put(Outgoing(endpoint, None, ping_frame(token)))

    def set_pulse(self, **fields: Any) -> None:
        """Set fields of the pulses to come; fields that are not named keep their values.

        Values are what msgpack takes; raises `MessageSerializationError` naming the field.
        """
        merged = self._fields | fields
        packed = pack_fields(merged, self._settings.max_pulse)
        self._fields = merged
        self._set_life(self._life._replace(packed_fields=packed))

    def new_life(self, incarnation: int, node_id: str | None = None) -> None:
        """Pulse under another incarnation (and id), from seq 1. Links and subscriptions stay."""
        self._set_life(
            self._life._replace(incarnation=incarnation, node_id=node_id or self.node_id)
        )

    def stats(self) -> ControlStats:
        """Counters since the start."""
        if self._thread is None:
            return ControlStats(0, 0, 0, 0, 0, 0, 0, 0)
        return self._thread.stats()

    async def stop(self) -> None:
        """Close all sockets and end the thread. Safe to call at any time, more than once."""
        thread, mail = self._thread, self._mail
        if thread is None or mail is None:
            return
        mail.silence()
        thread.stopping = True
        mail.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.stop_timeout):
                await self._ended.wait()
        if not thread.join(1.0 if self._ended.is_set() else 0.0):
            _log.error(
                "control_thread_stuck node=%s it did not end within %g s",
                self.node_id,
                self._settings.stop_timeout,
            )

    def _launch(
        self,
        loop: asyncio.AbstractEventLoop,
        started: asyncio.Future[tuple[int, int]],
        bind: Bind,
    ) -> None:
        mail = self._mail = ControlMail(loop, self._settings, self._deliver)
        mail.want(Wanted(self._links, self._subscriptions))

        def settle(ports: tuple[int, int] | None, error: BaseException | None) -> None:
            if started.done():  # start was cancelled
                return
            if error is not None:
                started.set_exception(error)
            elif ports is not None:
                started.set_result(ports)

        self._thread = ControlThread(
            life=self._life,
            bind=bind,
            settings=self._settings,
            mail=mail,
            context=self._context,
            curve=self._curve,
            on_started=lambda *ports: mail.call_loop(lambda: settle(ports, None)),
            on_failed=lambda error: mail.call_loop(lambda: settle(None, error)),
            on_ended=lambda: mail.call_loop(self._ended.set),
        )
        self._thread.start()

    def _deliver(self, event: ControlEvent) -> None:
        try:
            self._on_event(event)
        except Exception as error:
            # What a peer says may be the cause: that must not fill the log.
            kind = type(event).__name__
            if self._throttle.allows((kind, type(error))):
                _log.exception("control_event_failed node=%s event=%s", self.node_id, kind)

    def _checked(self, operation: str, data: bytes) -> bytes:
        if len(data) > self._settings.max_message:
            reason = f"{len(data)} bytes, the control lane carries {self._settings.max_message}"
            raise MessageSerializationError(operation, "", reason)
        return data

    def _put(self, outgoing: Outgoing) -> None:
        if self._mail is not None:
            self._mail.put(outgoing)

    def _want(self, links: dict[str, int], subscriptions: dict[str, str | None]) -> None:
        self._links = links
        self._subscriptions = subscriptions
        if self._mail is not None:
            self._mail.want(Wanted(links, subscriptions))

    def _set_life(self, life: Life) -> None:
        self._life = life
        if self._thread is not None:
            self._thread.life = life


async def _numeric_host(loop: asyncio.AbstractEventLoop, host: str) -> str:
    """The address to bind: ZeroMQ takes no host name there."""
    bare = host.removeprefix("[").removesuffix("]")
    if bare == "*" or is_numeric(bare):
        return bare
    address = await loop.run_in_executor(None, resolve, bare)
    if address is None:
        raise OSError(errno.EADDRNOTAVAIL, f"cannot bind {host}: there is no such host name")
    return address
