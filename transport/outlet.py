"""The shell around one sender session: its DEALER, its descriptor, its timer.

The session decides; this carries out. A DEALER lives for one dial. Nothing here waits: a socket
that is not writable is not connected (see `noex.transport.sockets`), and the session learns that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from noex.runtime.errors import NoexError
from noex.transport.codec_apart import Buffer
from noex.transport.link import (
    Dial,
    Effect,
    Hangup,
    Outbound,
    Phase,
    Transmit,
    Trouble,
    Uid,
    Weight,
)
from noex.transport.sockets import watch
from noex.transport.wire import make_routing_id

_SLICE: Final = 64
# plain ints: every use of pyzmq's enum flags builds another enum
_NOBLOCK: Final = int(zmq.NOBLOCK)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)
_UNCOPIED_FROM: Final = 64 * 1024  # bytes: below it pyzmq's bookkeeping costs more than a copy
GOODBYE_LINGER: Final = 50
"""Milliseconds that a goodbye may take to leave, in the background."""


class Outlet:
    """Sends to one life of a peer. Owned by a lane, which calls `flush` and `close`.

    `route()` says what to dial, or None while that is not known. `make_dealer(routing_id)` gives an
    unconnected socket. `tell` gets the session's troubles;
    `progressed` is called when the peer has answered something.
    """

    __slots__ = (
        "_again",
        "_armed_for",
        "_descriptor",
        "_loop",
        "_make_dealer",
        "_progressed",
        "_route",
        "_socket",
        "_tell",
        "_timer",
        "is_dirty",
        "offer",
        "session",
    )

    def __init__(
        self,
        session: Outbound,
        route: Callable[[], str | None],
        *,
        loop: asyncio.AbstractEventLoop,
        make_dealer: Callable[[bytes], zmq.Socket[bytes]],
        tell: Callable[[Uid, str, Weight], None],
        progressed: Callable[[], None],
    ) -> None:
        self.session, self._route = session, route
        self.is_dirty = False
        self.offer = session.offer
        self._loop, self._make_dealer = loop, make_dealer
        self._tell, self._progressed = tell, progressed
        self._socket: zmq.Socket[bytes] | None = None
        self._descriptor = -1
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._again: asyncio.Handle | None = None

    def flush(self) -> None:
        """Send what has been offered since the last time."""
        self.is_dirty = False
        self._perform(self.session.flush(self._loop.time()))
        self._ready()

    def close(self, reason: str = "closed") -> None:
        """Say goodbye and drop everything. The session ends."""
        self._perform(self.session.close(reason))
        self._hang_up()  # if the goodbye could not even be sent
        self._arm()

    def part(self, reason: str) -> None:
        """The peer has said goodbye where it is connected to us."""
        self._perform(self.session.parted(reason))
        self._arm()

    def _ready(self) -> None:
        """Take what the socket has, until it has nothing more (its descriptor is an edge)."""
        for _ in range(_SLICE):
            if self._socket is None or not self._step(self._socket):
                break
        else:
            self._again = self._loop.call_soon(self._ready)
        if self.session.deadline != self._armed_for:
            self._arm()

    def _step(self, sock: zmq.Socket[bytes]) -> bool:
        """One thing that the socket has to say. False if there is none."""
        session = self.session
        try:
            events = int(sock.getsockopt(_EVENTS))
            parts = sock.recv_multipart(_NOBLOCK) if events & _POLLIN else None
        except zmq.ZMQError as error:
            self._tell(session.peer, f"the socket failed: {error}", Weight.REFUSED)
            self._perform(session.lost(self._loop.time()))
            return True
        if parts is not None:
            self._perform(session.received(parts[0], self._loop.time()))
            self._progressed()
            return True
        is_connected = bool(events & _POLLOUT)
        if session.phase is Phase.DIALLING:
            if is_connected:
                self._perform(session.connected(self._loop.time()))
            return is_connected
        if not is_connected:
            self._perform(session.lost(self._loop.time()))
        return not is_connected

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Transmit:
                if not self._transmit(effect.frame, effect.rest):
                    # what follows is for the same lost socket; the session has it all
                    self._perform(self.session.lost(self._loop.time()))
                    return
            elif type(effect) is Dial:
                # unless the owner, told of the trouble before it, has closed us meanwhile
                if self.session.phase is Phase.DIALLING:
                    self._dial(effect.connection)
            elif type(effect) is Hangup:
                self._hang_up(GOODBYE_LINGER if effect.lingers else 0)
            elif type(effect) is Trouble:
                self._tell(self.session.peer, effect.text, effect.weight)

    def _transmit(self, frame: bytes, rest: Sequence[Buffer]) -> bool:
        if self._socket is None:
            return False
        try:
            if rest:
                self._socket.send_multipart([frame, *rest], _NOBLOCK, copy=False)
            else:
                self._socket.send(frame, _NOBLOCK, len(frame) < _UNCOPIED_FROM)
        except zmq.ZMQError:
            return False
        return True

    def _dial(self, connection: int) -> None:
        self._hang_up()
        endpoint = self._route()
        if endpoint is None:
            self._perform(self.session.lost(self._loop.time()))
            return
        try:
            self._socket = self._make_dealer(make_routing_id(*self.session.me, connection))
            self._socket.connect(endpoint)
            self._descriptor = watch(self._loop, self._socket, "dialling", self._ready)
        except (zmq.ZMQError, NoexError) as error:
            text = f"cannot dial {endpoint}: {error}"
            self._tell(self.session.peer, text, Weight.PASSING)
            self._perform(self.session.lost(self._loop.time()))

    def _hang_up(self, linger: int = 0) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = -1
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._socket is not None:
            self._socket.close(linger)
            self._socket = None

    def _arm(self) -> None:
        """Let the timer follow the session's deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = deadline = self.session.deadline
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        # a timer may fire a little early by the loop's clock resolution: ask as of its own time
        now = max(self._loop.time(), self._armed_for or 0.0)
        self._armed_for = self._timer = None
        self._perform(self.session.tick(now))
        self._ready()
