"""The user lane: messages between the lives that are in the view, exactly once and in order.

Order of events. Messages given to `send` in one tick of the loop leave together, as one ZeroMQ
message per peer, from a `call_soon`. The first one to a peer dials. What comes in is drained in
bounded slices from the descriptor of the one ROUTER and handed to `on_messages` batch by batch,
at once and in place. Lost connections are dialled again and the session goes on; only `expel`,
`new_life` and `stop` end it.

No task awaits a socket: a cancellation cannot lose a message. All of it belongs to the thread of
the loop that called `start`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, Final, Protocol

import zmq

from noex.runtime.errors import MessageSerializationError, NodeStoppedError
from noex.runtime.log import Throttle, get_logger
from noex.transport.control_names import Names
from noex.transport.ipc import IpcFolder
from noex.transport.lane_settings import LaneSettings
from noex.transport.link import Outbound, Uid, Weight
from noex.transport.outlet import GOODBYE_LINGER, Outlet
from noex.transport.receiving import keep_large_blocks, patient
from noex.transport.reception import (
    Answer,
    Deliver,
    Outcome,
    Parted,
    Reception,
    Rejected,
    Strange,
)
from noex.transport.route import Route
from noex.transport.sockets import bind, make_context, make_dealer, make_router, resolve_host, watch
from noex.transport.streams import Sendable
from noex.transport.wire import Message

OnMessages = Callable[[Uid, list[Message]], None]
OnTrouble = Callable[[Uid, str], None]

_SLICE_BATCHES: Final = 64
_SLICE_BYTES: Final = 1024 * 1024
_SLICE_TIME: Final = 0.002  # seconds
_FAREWELL: Final = 0.02
_HOLD_PAUSE: Final = 0.01  # seconds between two looks at `holds`
_NOBLOCK: Final = int(zmq.NOBLOCK)


class Consumers(Protocol):
    """What handles the messages that come in, the run queue of a kernel."""

    def hold(self) -> bool:
        """Begin nothing until `release`. False: it has begun, and goes on by itself."""
        ...

    def release(self) -> None:
        """Handle what has come since `hold`."""
        ...


class _Nobody:
    def hold(self) -> bool:
        return False

    def release(self) -> None:
        pass


class UserLane:
    """Sends to and receives from the admitted lives of other nodes.

    `host` and `port`: where to listen (port 0 chooses one; `port` is final after `start`). `ipc`:
    the directory in which lanes of this host find each other, too.
    `on_messages(uid, messages)`: a batch of one life, in order; it must not block. `on_trouble(uid,
    text)`: something went wrong with that peer; for people and for suspicion, nothing has to be
    done. `context`: one to share; otherwise the lane has its own. `secure(socket, peer)`: sets
    security options on each socket before it binds (`peer` is None) or dials that node.
    `receive(socket)`: reads one ZeroMQ message of the listening socket without waiting (see
    `noex.transport.receiving`); None for one that is dropped, because its sender is not who it
    says. `holds()`: while it is true, nothing is read; it is asked before each read. `consumers`:
    who handles what `on_messages` delivers, if that can be done at once (`Consumers`).
    """

    def __init__(
        self,
        *,
        node_id: str,
        incarnation: int,
        host: str,
        port: int = 0,
        on_messages: OnMessages,
        on_trouble: OnTrouble | None = None,
        cluster: str = "noex",
        settings: LaneSettings | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        secure: Callable[[zmq.Socket[bytes], str | None], None] | None = None,
        receive: Callable[[zmq.Socket[bytes]], list[Any] | None] | None = None,
        holds: Callable[[], bool] | None = None,
        ipc: IpcFolder | None = None,
        consumers: Consumers | None = None,
    ) -> None:
        self.node_id, self.incarnation = node_id, incarnation
        self.host, self.port, self.cluster = host, port, cluster
        self.settings = settings if settings is not None else LaneSettings()
        self._max_message = self.settings.max_message
        self._on_messages, self._on_trouble = on_messages, on_trouble
        self._secure = secure
        self._holds = holds
        self._ipc, self._names = ipc, Names()
        self._consumers = consumers or _Nobody()
        self._is_draining = False
        self._given_context = context
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._descriptor = -1
        # shared by all lives of this lane: a routing id may never come twice to a listener
        self._numbers = count(1).__next__
        self._reception = Reception(
            (node_id, incarnation),
            cluster=cluster,
            settings=self.settings,
            numbers=self._numbers,
        )
        self._receive = receive or patient(self._reception.refused)
        self._outlets: dict[Uid, Outlet] = {}
        self._dirty: list[Outlet] = []
        self._flush_handle: asyncio.Handle | None = None
        self._drain_handle: asyncio.Handle | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._flushers = 0  # how many wait for it
        self._is_stopped = False
        self._log = get_logger(node=node_id, lane="user")
        self._throttle = Throttle()

    @property
    def uid(self) -> Uid:
        """The present life of this node."""
        return self.node_id, self.incarnation

    async def start(self) -> None:
        """Bind and listen.

        Raises `PortInUseError`, `InvalidOptionError` (a host that cannot be bound),
        `UnsupportedLoopError` (the loop has no ``add_reader``).
        """
        if self._router is not None or self._is_stopped:
            raise NodeStoppedError(self.node_id, "its user lane was started before")
        keep_large_blocks()
        self._loop = asyncio.get_running_loop()
        host = await resolve_host(self.host)
        self._context = self._given_context or make_context()
        try:
            self._router = make_router(self._context, self.settings)
            if self._secure is not None:
                self._secure(self._router, None)
            self.port = bind(self._router, host, self.port)
            if self._ipc is not None:
                self._ipc.listen(self._router, self.node_id)
            self._descriptor = watch(self._loop, self._router, "listening", self._drain)
        except BaseException:
            self._close()
            raise
        self._drain_soon()

    def admit(self, uid: Uid, endpoint: str) -> None:
        """This life is in the view: its messages are taken, and `send` to it works.

        `endpoint` is where its user lane listens (``tcp://host:port``). It is dialled when the
        first message is sent.
        """
        if uid in self._outlets or self._loop is None or self._is_stopped:
            return
        session = Outbound(
            self.uid,
            uid,
            cluster=self.cluster,
            settings=self.settings,
            numbers=self._numbers,
            jitter=random.random,
        )
        clock = self._loop.time
        route = Route(uid[0], endpoint, names=self._names, folder=self._ipc, clock=clock)
        self._outlets[uid] = Outlet(
            session,
            route,
            loop=self._loop,
            make_dealer=partial(self._make_dealer, uid[0]),
            tell=self._trouble,
            progressed=self._progressed,
        )
        self._perform(self._reception.admit(uid))
        self._drain_soon()

    def expel(self, uid: Uid, reason: str = "expelled") -> None:
        """This life is out of the view, and told so, with the reason.

        Nothing of it is delivered after this returns; what was queued for it is dropped.
        """
        outlet = self._outlets.pop(uid, None)
        if outlet is not None:
            outlet.close(reason)
            self._progressed()
        self._perform(self._reception.expel(uid, reason))
        self._drain_soon()

    def send(self, uid: Uid, data: Sendable, *, signal: bool = False, sender: int = 0) -> bool:
        """Queue one encoded message. Never blocks. A `signal` is queued beyond the window too.

        `sender` is the stream that it belongs to: order holds within each. A message larger than
        `piece_size` is passed by those of other streams.

        False: that life is not admitted, or the window to it is full. Raises
        `MessageSerializationError` for a message larger than `max_message`.
        """
        outlet = self._outlets.get(uid)
        if outlet is None:
            return False
        if len(data) > self._max_message:
            reason = f"it has {len(data)} bytes, max_message is {self._max_message}"
            raise MessageSerializationError("send", "message", reason)
        if not outlet.offer(data, signal, sender):
            return False
        if not outlet.is_dirty:
            outlet.is_dirty = True
            self._dirty.append(outlet)
            if self._flush_handle is None and not self._is_draining and self._loop is not None:
                self._flush_handle = self._loop.call_soon(self._flush)
        return True

    def push(self) -> None:
        """Let what is queued leave now, not with the rest of this turn of the loop."""
        if self._dirty and not self._is_draining:
            self._flush()

    def queued(self, uid: Uid) -> int:
        """Bytes that wait for this life or are not acknowledged by it, with their overhead."""
        outlet = self._outlets.get(uid)
        return outlet.session.queued if outlet is not None else 0

    def new_life(self, incarnation: int) -> None:
        """Go on under another incarnation, on the same port, with no peers."""
        self._say_goodbye("its life has ended")
        self.incarnation = incarnation
        self._reception.new_life(incarnation)

    async def stop(self, *, linger: float = 1.0) -> None:
        """Wait up to `linger` seconds for what is queued, then close everything."""
        if self._is_stopped:
            return
        self._is_stopped = True
        try:
            if linger > 0:
                await self._part(linger)
        finally:
            self._say_goodbye("it stops")
            self._close()

    async def flush(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until the peers have acknowledged all that is queued."""
        if self._router is None or self._is_empty():
            return
        self._emptied.clear()
        self._flushers += 1
        try:
            async with asyncio.timeout(timeout):
                await self._emptied.wait()
        except TimeoutError:
            left = sum(outlet.session.queued for outlet in self._outlets.values())
            self._log.warning("lane_not_flushed", bytes=left, waited=timeout)
        finally:
            self._flushers -= 1

    async def _part(self, linger: float) -> None:
        self._acknowledge()
        await self.flush(linger)
        self._acknowledge()
        # A DEALER whose connection is gone has also lost what it had not read yet. So that our
        # peers need not wait for acknowledgements in vain, they get a moment to read the last.
        await asyncio.sleep(min(linger, _FAREWELL))

    def _is_empty(self) -> bool:
        return not any(outlet.session.queued for outlet in self._outlets.values())

    def _progressed(self) -> None:
        if self._flushers and self._is_empty():
            self._emptied.set()

    def _close(self) -> None:
        self._close_outlets("closed")
        for handle in (self._drain_handle, self._ack_timer, self._hello_timer):
            if handle is not None:
                handle.cancel()
        self._drain_handle = self._ack_timer = self._hello_timer = None
        self._close_router()
        if self._context is not None and self._given_context is None:
            self._context.destroy(linger=0)
        self._context = None

    def _say_goodbye(self, reason: str) -> None:
        self._close_outlets(reason)
        self._perform(self._reception.farewell(reason))

    def _close_outlets(self, reason: str) -> None:
        outlets, self._outlets, self._dirty = self._outlets, {}, []
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        for outlet in outlets.values():
            outlet.close(reason)

    def _close_router(self) -> None:
        if self._descriptor >= 0 and self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = -1
        if self._ipc is not None:
            self._ipc.leave()
        if self._router is not None:
            self._router.close(GOODBYE_LINGER)
            self._router = None

    def _make_dealer(self, peer: str, routing_id: bytes) -> zmq.Socket[bytes]:
        if self._context is None:
            raise NodeStoppedError(self.node_id, "its user lane is closed")
        dealer = make_dealer(self._context, routing_id, self.settings)
        if self._secure is not None:
            try:
                self._secure(dealer, peer)
            except BaseException:
                dealer.close(0)
                raise
        return dealer

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        dirty, self._dirty = self._dirty, []
        for outlet in dirty:
            outlet.flush()

    def _drain(self) -> None:
        """Take what has come in, have it handled, and send what is answered: all at once.

        Each trip through the loop that is saved here counts in every call between nodes.
        """
        is_held, self._is_draining = self._consumers.hold(), True
        try:
            self._take_in()
        finally:
            try:
                if is_held:
                    self._consumers.release()
            finally:
                self._is_draining = False
                if self._dirty:
                    self._flush()

    def _take_in(self) -> None:
        """Take what has come in, up to a bound; go on in the next tick if there may be more."""
        router, loop = self._router, self._loop
        if router is None or loop is None:
            return
        if self._holds is not None and self._holds():
            self._look_again()
            return
        size, end = 0, loop.time() + _SLICE_TIME
        for _ in range(_SLICE_BATCHES):
            try:
                parts = self._receive(router)
            except zmq.Again:
                break
            except zmq.ZMQError as error:
                self._fail(error)
                return
            if parts is None:
                continue
            now = loop.time()
            self._perform(self._reception.handle(parts[0], parts[1:], now))
            size += sum(map(len, parts))
            if size > _SLICE_BYTES or now > end or self._router is None:
                self._drain_soon()
                break
        else:
            self._drain_soon()
        self._arm_timers()

    def _look_again(self) -> None:
        """What has come in waits in the socket."""
        if self._drain_handle is None and self._loop is not None:
            self._drain_handle = self._loop.call_later(_HOLD_PAUSE, self._drain_again)

    def _drain_soon(self) -> None:
        if self._drain_handle is None and self._loop is not None and self._router is not None:
            self._drain_handle = self._loop.call_soon(self._drain_again)

    def _drain_again(self) -> None:
        self._drain_handle = None
        self._drain()

    def _arm_timers(self) -> None:
        if self._loop is None or self._router is None:
            return
        if self._reception.owes_acks and self._ack_timer is None:
            self._ack_timer = self._loop.call_later(self.settings.ack_delay, self._acknowledge)
        deadline = self._reception.deadline
        if deadline is not None and self._hello_timer is None:
            self._hello_timer = self._loop.call_at(deadline, self._turn_away)

    def _acknowledge(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._perform(self._reception.acknowledge())
        self._drain_soon()

    def _turn_away(self) -> None:
        self._hello_timer = None
        if self._loop is not None:
            self._perform(self._reception.tick(self._loop.time() + 0.001))
        self._drain()

    def _perform(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if type(outcome) is Deliver:
                self._deliver(outcome)
            elif type(outcome) is Answer:
                self._answer(outcome)
            elif type(outcome) is Rejected:
                self._report(outcome)
            elif type(outcome) is Parted:
                self._part_from(outcome)
            elif type(outcome) is Strange:
                text = f"it sends frames of kind {outcome.kind}, which is not known here"
                self._trouble(outcome.uid, text, Weight.PASSING)

    def _deliver(self, delivery: Deliver) -> None:
        try:
            self._on_messages(delivery.uid, delivery.messages)
        except Exception:
            # it is not the peer's fault, and the batch has been taken: go on with the next one
            self._log.exception("lane_consumer_failed", peer=delivery.uid[0])

    def _answer(self, answer: Answer) -> None:
        if self._router is None:
            return
        try:
            self._router.send_multipart([answer.routing_id, answer.frame], _NOBLOCK)
        except zmq.Again:
            self._reception.undelivered(answer.routing_id)
        except zmq.ZMQError:  # EHOSTUNREACH: it is gone
            self._reception.unreachable(answer.routing_id)

    def _report(self, rejected: Rejected) -> None:
        _, uid, code, reason = rejected
        # Strangers make up names: they share a line.
        known = uid is not None and uid in self._outlets
        if self._throttle.allows((uid if known else None, code)):
            self._log.warning(
                "lane_connection_refused", peer=uid, code=code.name.lower(), reason=reason[:300]
            )

    def _part_from(self, parted: Parted) -> None:
        outlet = self._outlets.get(parted.uid)
        if outlet is not None:
            outlet.part(parted.reason)
            self._progressed()

    def _trouble(self, uid: Uid, text: str, weight: Weight) -> None:
        if weight is Weight.GOODBYE:  # once in a life
            self._log.info("lane_goodbye", peer=uid, text=text)
        elif self._throttle.allows((uid, text[:16])):
            if weight is Weight.REFUSED:
                self._log.warning("lane_refused", peer=uid, text=text)
            else:
                self._log.info("lane_trouble", peer=uid, text=text)
        if self._on_trouble is not None:
            self._on_trouble(uid, text)

    def _fail(self, error: zmq.ZMQError) -> None:
        """The listening socket is dead: closed behind our back, or its context terminated."""
        self._close_router()
        self._log.error("lane_listener_failed", error=str(error))
        if self._on_trouble is not None:
            self._on_trouble(self.uid, f"the listening socket is unusable: {error}")
