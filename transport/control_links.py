"""The dialled links of the control thread: carries out what each `Dial` decides."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable
from functools import partial

import zmq

from noex.transport import control_sockets as sockets
from noex.transport.control_dial import (
    CloseSocket,
    Dial,
    DialEffect,
    DialEvent,
    DialState,
    EndProbe,
    Lost,
    OpenSocket,
    ProbeAccepted,
    ProbeFailed,
    ProbeRefused,
    ReportDown,
    ReportRefused,
    ReportUp,
    Shaken,
    StartProbe,
    TimePassed,
)
from noex.transport.control_events import (
    ControlEvent,
    ControlSettings,
    DialRefused,
    HandshakeFailed,
    LinkDown,
    LinkUp,
)
from noex.transport.control_greeting import Greetings
from noex.transport.control_hub import Drain, Hub
from noex.transport.control_names import Names
from noex.transport.curve import Curve, UnknownPeerError, why_failed, why_hung_up

_DRAIN = 256
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class LinkSeams:
    """What a link needs from its thread."""

    def __init__(
        self,
        *,
        context: zmq.Context[sockets.Socket],
        settings: ControlSettings,
        hub: Hub,
        post: Callable[[ControlEvent], None],
        receive: Callable[[str, bytes], None],
        names: Names,
        routing_id: Callable[[], bytes],
        clock: Callable[[], float],
        complain: Callable[[str, Exception], None],
        curve: Curve | None = None,
    ) -> None:
        self.context = context
        self.settings = settings
        self.hub = hub
        self.post = post
        self.receive = receive
        self.names = names
        self.routing_id = routing_id
        self.clock = clock
        self.complain = complain
        self.curve = curve
        self.greetings = Greetings()


class Link:
    """The link to one endpoint: its dial, and the sockets that the dial has asked for."""

    def __init__(self, endpoint: str, number: int, seams: LinkSeams) -> None:
        settings = seams.settings
        self.endpoint = endpoint
        self.number = number
        self._host, self._port = sockets.parse_endpoint(endpoint)
        self._address: sockets.Address | None = None
        self._seams = seams
        self._dealer: sockets.Socket | None = None
        self._monitor: sockets.Socket | None = None
        self._watched: list[int] = []
        self._connecting: socket.socket | None = None
        self._dial = Dial(
            backoff_min=settings.dial_backoff_min,
            backoff_max=settings.dial_backoff_max,
            timeout=settings.dial_timeout,
            jitter=random.random,
            now=seams.clock(),
        )

    @property
    def peer(self) -> str | None:
        """The node whose key is expected there; None where keys are not bound to names."""
        return self._seams.curve.node_at(self.endpoint) if self._seams.curve else None

    @property
    def due(self) -> float | None:
        """When `time_passed` has something to do."""
        return self._dial.due

    @property
    def is_up(self) -> bool:
        """Whether `send` reaches the peer."""
        return self._dial.state is DialState.UP

    def time_passed(self) -> None:
        """Let the dial look at the clock."""
        self._tell(TimePassed())

    def send(self, frame: bytes) -> bool:
        """Send at once, or drop: False if there is no link or its queue is full."""
        if self._dealer is None or not self.is_up:
            return False
        self._seams.hub.mark(self._drain_dealer)
        try:
            self._dealer.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, linger: float) -> None:
        """End the link for good; what was sent last has `linger` seconds to leave."""
        self._end_probe()
        self._close_dealer(linger)

    def _tell(self, event: DialEvent) -> None:
        for effect in self._dial.handle(event, self._seams.clock()):
            self._carry_out(effect)

    def _carry_out(self, effect: DialEffect) -> None:
        match effect:
            case StartProbe(attempt):
                self._start_probe(attempt)
            case EndProbe():
                self._seams.names.forget(self._host)
                self._end_probe()
            case OpenSocket(attempt):
                self._open_dealer(attempt)
            case CloseSocket():
                self._close_dealer(0.0)
            case ReportUp():
                self._seams.post(LinkUp(self.endpoint, self._seams.clock()))
            case ReportDown():
                self._seams.post(LinkDown(self.endpoint, self._seams.clock()))
            case ReportRefused():
                self._seams.post(DialRefused(self.endpoint, self._seams.clock()))

    def _start_probe(self, attempt: int) -> None:
        found = self._seams.names.find(self._host)
        if found is None:  # asked for: the next attempt may know
            self._tell(ProbeFailed(attempt))
            return
        self._address = (found, self._port)
        try:
            self._connecting = sockets.start_connect(self._address)
        except OSError as error:
            self._probed(attempt, error.errno or errno.EIO)
            return
        fd = self._connecting.fileno()
        self._seams.hub.watch(fd, self._read_probe, writable=True)

    def _read_probe(self) -> bool:
        if self._connecting is None:
            return False
        attempt = self._dial.attempt
        error = sockets.connect_result(self._connecting)
        self._end_probe()
        self._probed(attempt, error)
        return False

    def _probed(self, attempt: int, error: int) -> None:
        if error == 0:
            self._tell(ProbeAccepted(attempt))
            return
        self._seams.names.forget(self._host)
        if error == errno.ECONNREFUSED:
            self._tell(ProbeRefused(attempt))
            return
        if error in _EXHAUSTED:
            self._seams.complain(self.endpoint, OSError(error, os.strerror(error)))
        self._tell(ProbeFailed(attempt))

    def _end_probe(self) -> None:
        if self._connecting is not None:
            self._seams.hub.unwatch(self._connecting.fileno())
            self._connecting.close()
            self._connecting = None

    def _open_dealer(self, attempt: int) -> None:
        seams = self._seams
        assert self._address is not None  # an OpenSocket follows a probe that was accepted
        endpoint = sockets.endpoint_of(self._address)
        try:
            self._dealer, self._monitor = sockets.open_dealer(
                seams.context, seams.settings, endpoint, seams.routing_id(), self._secure
            )
        except UnknownPeerError:
            self._failed("no key")
            self._tell(Lost(attempt))
            return
        except zmq.ZMQError as error:  # out of sockets or file descriptors: try again later
            seams.complain(self.endpoint, error)
            self._tell(Lost(attempt))
            return
        self._watch(sockets.fd_of(self._dealer), self._drain_dealer)
        self._watch(sockets.fd_of(self._monitor), self._drain_monitor)

    def _secure(self, dealer: sockets.Socket) -> None:
        if self._seams.curve is not None:
            self._seams.curve.dial(dealer, self.peer)

    def _failed(self, reason: str) -> None:
        self._seams.post(HandshakeFailed(self.endpoint, reason, self._seams.clock()))

    def _watch(self, fd: int, drain: Drain) -> None:
        self._seams.hub.watch(fd, drain)
        self._watched.append(fd)

    def _close_dealer(self, linger: float) -> None:
        if self._dealer is None or self._monitor is None:
            return
        while self._watched:
            self._seams.hub.unwatch(self._watched.pop())
        sockets.close_dealer(self._dealer, linger)
        self._dealer = None
        self._monitor = None

    def _drain_dealer(self) -> bool:
        for _ in range(_DRAIN):
            if self._dealer is None:
                return False
            try:
                parts = self._dealer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            self._seams.receive(self.endpoint, parts[0] if len(parts) == 1 else b"")
        return True

    def _drain_monitor(self) -> bool:
        while self._monitor is not None:
            news = sockets.read_monitor(self._monitor)
            if news is None:
                return False
            if news[0] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._tell(Shaken(self._dial.attempt))
            else:
                self._explain(*news)
                while self._drain_dealer():  # what the peer said before the end comes before it
                    pass
                self._tell(Lost(self._dial.attempt))
        return False

    def _explain(self, event: int, value: int) -> None:
        """Say why the handshake failed, if keys that do not fit are the reason."""
        curve = self._seams.curve
        if curve is None or self._dial.state is not DialState.OPENING:
            return
        reason = why_failed(event, value, is_secure=curve.is_secure)
        if reason:
            self._failed(reason)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and self._address is not None:
            self._seams.greetings.ask(self._address, partial(self._greeted, curve))

    def _greeted(self, curve: Curve, mechanism: str) -> None:
        """Called on a thread of its own."""
        reason = why_hung_up(mechanism, is_secure=curve.is_secure)
        if reason:
            self._failed(reason)
