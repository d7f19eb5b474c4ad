"""The control thread: the pulse of a node, and the owner of its control sockets.

It runs beside the loop so that a busy loop still has a pulse. It decides nothing: `Dial` says when
to dial, the machines on the loop say what to send. One turn:

1. wait for a socket, a raw connect, the wake-up of the loop, or the next due time; drain what is
   readable, each socket at most `_DRAIN` messages a turn: a flood at one port holds up nobody;
2. send what the loop has left, then make the links and subscriptions what the loop wants;
3. let the dials know the time, and send the pulse when it is due.

Each pulse drains everything once more, which bounds the price of a missed edge to one pulse.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import zmq

from noex.runtime.errors import NoexError
from noex.transport import control_frames as frames
from noex.transport import control_sockets as sockets
from noex.transport.control_events import ControlSettings, ControlStats, Pong, Pulse, Received
from noex.transport.control_hub import Hub
from noex.transport.control_links import Link, LinkSeams
from noex.transport.control_mail import ControlMail, Outgoing
from noex.transport.control_names import Names
from noex.transport.control_subscriptions import Subscriptions
from noex.transport.curve import CONTROL_NAME, Arrival, Curve
from noex.transport.hangup import hang_up
from noex.transport.pulse import MAGIC, BadPulseError, decode_pulse, encode_pulse

_log = logging.getLogger("noex.transport.control")
_DRAIN = 256
_LOG_EVERY = 60.0
_PAUSE_AFTER_ERROR = 0.05
_BREATH = 0.001


class Bind(NamedTuple):
    """Where to listen: a numeric host, and ports (0: chosen)."""

    host: str
    port: int
    pub_port: int


class Life(NamedTuple):
    """Who the pulses speak for, and what the loop adds to them. Replaced as a whole."""

    node_id: str
    incarnation: int
    packed_fields: bytes


class ControlThread:
    """One thread, from `start` to `stop`. `on_started(port, pub_port)` or `on_failed(error)` is
    called on the thread once the sockets are bound or could not be; `on_ended` when all is closed.
    """

    def __init__(
        self,
        *,
        life: Life,
        bind: Bind,
        settings: ControlSettings,
        mail: ControlMail,
        context: zmq.Context[sockets.Socket] | None,
        curve: Curve | None,
        on_started: Callable[[int, int], None],
        on_failed: Callable[[BaseException], None],
        on_ended: Callable[[], None],
    ) -> None:
        self.life = life
        self.stopping = False
        self._bind = bind
        self._settings = settings
        self._mail = mail
        self._owns_context = context is None
        self._on_started = on_started
        self._on_failed = on_failed
        self._on_ended = on_ended
        self._router: sockets.Socket | None = None
        self._publisher: sockets.Socket | None = None
        self._subscriptions: Subscriptions | None = None
        self._context = context
        self._curve = curve
        self._hub = Hub(self._note_error)
        self._salt = os.urandom(4).hex()
        self._terminated = False
        self._connection = 0
        self._names = Names()
        self._links: dict[str, Link] = {}
        self._wanted_links: Mapping[str, int] = {}
        self._pulse_due = 0.0
        self._pulse_life = (life.node_id, life.incarnation)
        self._seq = 0
        self._log_after: dict[str, float] = {}
        self._pulses_sent = 0
        self._sends_dropped = 0
        self._frames_refused = 0
        self._drops_seen = 0
        self._thread = threading.Thread(
            target=self._run, name=f"noex-control-{life.node_id}", daemon=True
        )

    # From the loop.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; False if it did not end in time."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stats(self) -> ControlStats:
        """The counters as they stand."""
        links = list(self._links.values())
        return ControlStats(
            links=len(links),
            links_up=sum(link.is_up for link in links),
            pulses_sent=self._pulses_sent,
            commands_dropped=self._mail.commands_dropped,
            sends_dropped=self._sends_dropped,
            frames_refused=self._frames_refused,
            events_dropped=self._mail.events_dropped,
            events_waiting=self._mail.events_waiting,
        )

    # On the thread.

    def _run(self) -> None:
        try:
            self._open()
        except BaseException as error:
            self._close()
            self._on_failed(error)
        else:
            try:
                self._turns()
            finally:
                self._close()
        finally:
            self._mail.close()
            self._on_ended()

    def _open(self) -> None:
        context = self._context = self._context or sockets.new_context()
        self._router = sockets.open_router(context, self._settings)
        self._secure(self._router, "control")
        port = sockets.bind(self._router, self._bind.host, self._bind.port)
        self._publisher = sockets.open_publisher(context, self._settings)
        self._secure(self._publisher, "pulse")
        pub_port = sockets.bind(self._publisher, self._bind.host, self._bind.pub_port)
        self._subscriptions = Subscriptions(
            context=context,
            settings=self._settings,
            hub=self._hub,
            names=self._names,
            curve=self._curve,
            receive=self._receive_pulse,
            complain=self._note_dial,
        )
        self._hub.watch(self._mail.wake_reader.fileno(), self._read_mail)
        self._hub.watch(sockets.fd_of(self._router), self._drain_router)
        self._hub.watch(sockets.fd_of(self._publisher), self._drain_publisher)
        self._seams = LinkSeams(
            context=context,
            settings=self._settings,
            hub=self._hub,
            post=self._mail.post,
            receive=self._receive_answer,
            names=self._names,
            routing_id=self._next_routing_id,
            clock=time.monotonic,
            complain=self._note_dial,
            curve=self._curve,
        )
        self._pulse_due = time.monotonic()
        self._on_started(port, pub_port)

    def _turns(self) -> None:
        while not (self.stopping or self._mail.orphaned):
            try:
                self._turn()
            except Exception as error:
                self._note_error(error)
                time.sleep(_PAUSE_AFTER_ERROR)  # an error that stays must not burn a core
        if not self._terminated:
            self._read_mail()  # what was said before `stop` still leaves

    def _turn(self) -> None:
        now = time.monotonic()
        due = min(
            (link.due for link in self._links.values() if link.due is not None), default=now + 60
        )
        self._hub.turn(min(due, self._pulse_due) - now)
        now = time.monotonic()
        for link in list(self._links.values()):
            if link.due is not None and link.due <= now:
                link.time_passed()
        if now >= self._pulse_due:
            self._send_pulse(now)

    def _close(self) -> None:
        for link in self._links.values():
            link.close(self._settings.linger)
        self._links.clear()
        if self._router is not None:
            sockets.close_socket(self._router, self._settings.linger)
        if self._publisher is not None:
            sockets.close_socket(self._publisher, 0.0)
        if self._subscriptions is not None:
            self._subscriptions.close()
        self._hub.close()
        if self._owns_context and self._context is not None:
            self._context.term()

    def _secure(self, listener: sockets.Socket, lane: str) -> None:
        if self._curve is not None:
            self._curve.listen(listener, lane)

    def _next_routing_id(self) -> bytes:
        self._connection += 1
        life = self.life
        name = f"{life.node_id[-CONTROL_NAME:]}#{life.incarnation}#{self._salt}.{self._connection}"
        return name.encode()

    # Pulses.

    def _send_pulse(self, now: float) -> None:
        interval = self._settings.pulse_interval
        # A call that holds the GIL stops this thread too, and then no mark tells of it.
        lateness = now - self._pulse_due
        self._pulse_due = max(self._pulse_due + interval, now + interval / 2)
        life = self.life
        if self._pulse_life != (life.node_id, life.incarnation):
            self._pulse_life = (life.node_id, life.incarnation)
            self._seq = 0
        self._seq += 1
        lag = max(self._mail.loop_lag(now), lateness)
        self._hub.mark_all()
        self._names.prune()
        self._note_dropped()
        pulse = encode_pulse(life.node_id, life.incarnation, self._seq, lag, life.packed_fields)
        assert self._publisher is not None
        self._publisher.send(pulse, zmq.NOBLOCK)
        self._pulses_sent += 1

    def _drain_publisher(self) -> bool:
        """Who subscribes? To pulses, if it is a node."""
        assert self._publisher is not None
        for _ in range(_DRAIN):
            try:
                frame: Any = self._publisher.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            said = frame.bytes
            if said[:1] == b"\x01" and said[1:] != MAGIC:
                hang_up(frame, self._publisher)
                self._refuse("subscription", BadPulseError(f"a subscription to {said[1:20]!r}"))
        return True

    def _receive_pulse(self, parts: list[bytes], publisher: str | None) -> None:
        try:
            pulse = decode_pulse(parts[0] if len(parts) == 1 else b"", self._settings.max_pulse)
        except NoexError as error:
            self._refuse("pulse", error)
            return
        if self._speaks_for(publisher, pulse.node_id, "pulse"):
            self._mail.post(Pulse(*pulse, at=time.monotonic()))

    def _speaks_for(self, peer: str | None, node_id: str, lane: str) -> bool:
        """Whether whoever has this key may say that it is this node."""
        if peer is None or peer == node_id or self._curve is None:
            return True
        self._curve.spoofed(lane, peer, node_id[:200])
        return False

    # Messages.

    def _drain_router(self) -> bool:
        assert self._router is not None
        for _ in range(_DRAIN):
            try:
                arrival = self._receive(self._router)
            except zmq.Again:
                return False
            if arrival is not None:
                parts, peer = arrival
                self._receive_message(parts[0], parts[1] if len(parts) == 2 else b"", peer)
        # So many at once are a flood: it must not keep the GIL from the loop, nor this thread from
        # the rest of its turn. What comes meanwhile waits at its senders.
        time.sleep(_BREATH)
        return True

    def _receive(self, router: sockets.Socket) -> Arrival | None:
        if self._curve is not None:
            return self._curve.receive(router, "control")
        return Arrival(router.recv_multipart(zmq.NOBLOCK), None)

    def _receive_message(self, origin: bytes, frame: bytes, peer: str | None) -> None:
        now = time.monotonic()
        try:
            kind, body = frames.read_frame(frame)
            if kind == frames.PING:
                self._answer_ping(origin, frames.read_ping(body), now)
            elif kind == frames.DATA:
                self._mail.post(Received(origin, None, body, now, peer))
            else:
                raise frames.BadControlFrameError("a pong that answers nothing")
        except frames.BadControlFrameError as error:
            self._refuse("frame", error)

    def _answer_ping(self, origin: bytes, token: int, now: float) -> None:
        life = self.life
        lag = self._mail.loop_lag(now)
        pong = frames.PongContent(token, life.node_id, life.incarnation, lag)
        self._answer(origin, frames.pong_frame(pong))

    def _receive_answer(self, endpoint: str, frame: bytes) -> None:
        now = time.monotonic()
        peer = self._curve.node_at(endpoint) if self._curve is not None else None
        try:
            kind, body = frames.read_frame(frame)
            if kind == frames.PONG:
                pong = frames.read_pong(body)
                if self._speaks_for(peer, pong.node_id, "control"):
                    self._mail.post(Pong(endpoint, *pong, at=now))
            elif kind == frames.DATA:
                self._mail.post(Received(None, endpoint, body, now, peer))
            else:
                raise frames.BadControlFrameError("a ping on a link that we dialled")
        except frames.BadControlFrameError as error:
            self._refuse("frame", error)

    def _answer(self, origin: bytes, frame: bytes) -> bool:
        assert self._router is not None
        self._hub.mark(self._drain_router)
        try:
            self._router.send_multipart((origin, frame), zmq.NOBLOCK)
        except zmq.ZMQError:  # gone (EHOSTUNREACH) or slow (EAGAIN)
            return False
        return True

    # What the loop wants.

    def _read_mail(self) -> bool:
        for outgoing in self._mail.take_outgoing():
            if not self._send(outgoing):
                self._sends_dropped += 1
        wanted = self._mail.wanted
        if wanted.links is not self._wanted_links:
            self._adjust_links(wanted.links)
        assert self._subscriptions is not None
        if wanted.subscriptions != self._subscriptions.publishers:
            self._subscriptions.adjust(wanted.subscriptions)
        return False

    def _send(self, outgoing: Outgoing) -> bool:
        if outgoing.origin is not None:
            return self._answer(outgoing.origin, outgoing.frame)
        link = self._links.get(outgoing.endpoint or "")
        return link is not None and link.send(outgoing.frame)

    def _adjust_links(self, wanted: Mapping[str, int]) -> None:
        for endpoint, link in list(self._links.items()):
            if wanted.get(endpoint) != link.number:
                del self._links[endpoint]
                link.close(self._settings.linger)
        for endpoint, number in wanted.items():
            if endpoint not in self._links:
                link = self._links[endpoint] = Link(endpoint, number, self._seams)
                link.time_passed()
        self._wanted_links = wanted

    # Troubles.

    def _refuse(self, what: str, error: Exception) -> None:
        self._frames_refused += 1
        self._note(f"control_{what}_refused", "%s (%d refused so far)", error, self._frames_refused)

    def _note_dropped(self) -> None:
        dropped = self._mail.events_dropped
        if dropped > self._drops_seen:
            text = "%d events so far: peers or strangers say more than the loop reads"
            self._note("control_events_dropped", text, dropped)
            self._drops_seen = dropped

    def _note_error(self, error: Exception) -> None:
        if isinstance(error, zmq.ContextTerminated):
            self.stopping = self._terminated = True
            return
        self._note("control_thread_error", "%s: %s", type(error).__name__, error, trace=error)

    def _note_dial(self, endpoint: str, error: Exception) -> None:
        text = "cannot dial %s: %s"
        if not isinstance(error, NoexError):
            text += "; a peer takes about 8 open files, see ulimit -n"
        self._note("control_dial_failed", text, endpoint, error)

    def _note(self, event: str, text: str, *args: object, trace: Exception | None = None) -> None:
        """One line a minute and kind: what strangers send must not fill the log."""
        now = time.monotonic()
        if now < self._log_after.get(event, 0.0):
            return
        self._log_after[event] = now + _LOG_EVERY
        _log.warning("%s node=%s " + text, event, self.life.node_id, *args, exc_info=trace)
