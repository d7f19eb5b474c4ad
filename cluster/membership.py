"""Membership on the loop: the shell around `Views`, over the control lane.

It feeds the machine with what the lane and the clock say, and carries out its effects; it decides
nothing. The order of events:

1. `start` begins the first life: greets the seeds, joins or founds. `joined()` waits for that.
2. When a view is applied: `node_down` for all that went, then `node_up` for all that came (this
   node itself is not among them), then `view_changed`.
3. When this life ends, because the others removed it or a stronger cluster was met: `life_ended`,
   then `node_down(…, "fenced")` for all peers, then `new_life` with the next incarnation; that
   life joins again by itself.
4. `leave` tells the others and waits until they know; `stop` ends it all: after it returned no
   callback is called.

One timer, `_ticker`, and no task.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from noex.cluster import events as ev
from noex.cluster import messages as wire
from noex.cluster.callbacks import ClusterCallbacks, Control
from noex.cluster.claims import speaks_for
from noex.cluster.info import (
    NodeInfo,
    PulseNews,
    SelfDescription,
    node_info,
    pulse_fields,
    read_pulse,
)
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import FENCED, Member, Status, Uid, View
from noex.cluster.views import Views
from noex.runtime.clock import Clock
from noex.runtime.errors import InvalidOptionError, NodeStoppedError
from noex.runtime.incarnation import make_incarnation
from noex.runtime.log import Throttle, get_logger
from noex.runtime.node_id import parse_node_id
from noex.transport.control_events import (
    ControlEvent,
    DialRefused,
    HandshakeFailed,
    LinkDown,
    LinkUp,
    Pong,
    Pulse,
    Received,
)

__all__ = ["ClusterCallbacks", "Control", "Membership", "seed_endpoint"]

DESCRIBE_EVERY = 0.5


def seed_endpoint(seed: str) -> str:
    """The control endpoint of a seed: a node id, ``host:port`` or ``tcp://host:port``."""
    address = seed.removeprefix("tcp://")
    if "@" not in address:
        address = f"seed@{address}"
    try:
        return parse_node_id(address).endpoint
    except ValueError as error:
        raise InvalidOptionError("seeds", seed, f"it names no node ({error})") from None


class Membership:
    """Who is in the cluster, as this node sees it.

    `control` is a started `ControlLane` whose `on_event` calls `on_event` here; `seeds` are node
    ids or addresses, this node's own may be among them; `describe` is asked what to say of this
    node. `node_id` is final (no port 0), and its address is where others dial.
    """

    def __init__(
        self,
        *,
        node_id: str,
        incarnation: int,
        control: Control,
        seeds: Iterable[str] = (),
        settings: ClusterSettings | None = None,
        describe: Callable[[], SelfDescription],
        callbacks: ClusterCallbacks | None = None,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.node_id = node_id
        self.incarnation = incarnation
        self.settings = settings or ClusterSettings()
        self._endpoint = parse_node_id(node_id).endpoint
        self._control = control
        self._seeds = tuple(dict.fromkeys(map(seed_endpoint, seeds)))
        self._describe = describe
        self._callbacks = callbacks or ClusterCallbacks()
        self._clock = clock
        self._chance = chance
        self._log = get_logger(node=node_id)
        self._views: Views | None = None
        self._events: deque[ev.Event] = deque()
        self._feeding = False
        self._ticker: asyncio.TimerHandle | None = None
        self._links: frozenset[str] = frozenset()
        self._pubs: frozenset[str] = frozenset()
        self._news: dict[Uid, PulseNews] = {}
        self._busy: set[Uid] = set()
        self._described_at = 0.0
        self._started_at = 0.0
        self._throttle = Throttle(now=clock.now)
        self._changed = asyncio.Event()
        self._left = False

    # -- what is known --------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """``new``, ``joining``, ``member``, ``left`` or ``stopped``."""
        if self._left:
            return "left"
        if self._views is None:
            return "stopped" if self._started_at else "new"
        return self._views.phase

    @property
    def view(self) -> View | None:
        """The newest view applied, None while joining."""
        return self._views.view if self._views else None

    @property
    def members(self) -> tuple[Member, ...]:
        """The members in age order, this node among them; empty while joining."""
        return self.view.members if self.view else ()

    @property
    def oldest(self) -> Member | None:
        """The oldest member."""
        return self.view.oldest if self.view else None

    @property
    def leader(self) -> Member | None:
        """The oldest member that this node neither suspects nor knows to be busy."""
        return self._views.leader if self._views else None

    @property
    def is_frozen(self) -> bool:
        """Whether this side may decide nothing. The present decider never says so."""
        return False

    @property
    def in_doubt(self) -> bool:
        """Whether this life may have ended unnoticed: nothing of other nodes is to be handled."""
        views = self._views
        if views is not None and views.detector.is_late(self._clock.now()):
            self._feed(ev.Tick(int(self._clock.wall() * 1000), self._chance()))
        return views is self._views and views is not None and bool(views.doubt)

    def member(self, node_id: str) -> Member | None:
        """The life of a node that is a member."""
        return self.view.find_node(node_id) if self.view else None

    def info(self, node_id: str) -> NodeInfo | None:
        """What is known of a member, None if it is none."""
        member = self.member(node_id)
        if member is None:
            return None
        if node_id == self.node_id:
            return self._own_info(member)
        return node_info(member, self._news.get(member.uid), busy=member.uid in self._busy)

    def infos(self) -> list[NodeInfo]:
        """What is known of all members, in age order."""
        return [i for i in (self.info(m.node_id) for m in self.members) if i is not None]

    def _own_info(self, member: Member) -> NodeInfo:
        description = self._describe()
        fields = pulse_fields(description, (None, 0, 0), self._uptime())
        return node_info(member, read_pulse(fields, 0.0, self._clock.wall()), busy=False)

    def _uptime(self) -> float:
        return self._clock.now() - self._started_at

    # -- life of the shell ----------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to join. Returns at once; see `joined`."""
        if self._started_at:
            raise RuntimeError(f"the membership of {self.node_id} was started before")
        self._started_at = self._clock.now()
        self._begin_life(())
        self._tick()

    async def joined(self, timeout: float | None = None) -> View:
        """Wait until this node is a member. Raises `TimeoutError`, `NodeStoppedError`."""
        await self._wait(lambda: self.view is not None, timeout)
        assert self.view is not None
        return self.view

    async def wait_for_members(self, count: int, timeout: float | None = None) -> View:
        """Wait until there are at least `count` members. Raises `TimeoutError`."""
        await self._wait(lambda: len(self.members) >= count, timeout)
        assert self.view is not None
        return self.view

    async def _wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        async with asyncio.timeout(timeout):
            while not done():
                if self._views is None:
                    raise NodeStoppedError(self.node_id, "its membership is not running")
                self._changed.clear()
                await self._changed.wait()

    def drain(self) -> None:
        """Ask for status ``draining``: no new work is placed here. It is never taken back."""
        self._feed(ev.LeaveWanted("draining"))

    async def leave(self, timeout: float = 5.0) -> bool:
        """Leave the cluster; True if the others are known to know it within `timeout` seconds.

        They get `NodeDown(graceful_shutdown)` at once. `stop` must follow.
        """
        if self._views is None:
            return self._left
        status: Status = "leaving"
        self._feed(ev.LeaveWanted(status))
        try:
            await self._wait(lambda: self._left or self._views is None, timeout)
        except TimeoutError:
            self._log.warning("node_leave_timeout", timeout=timeout)
        return self._left

    async def stop(self) -> None:
        """End: no timer, no link, no callback afterwards. Safe to call more than once."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._views = None
        self._events.clear()
        self._set_links(frozenset(), frozenset())
        self._changed.set()

    def _begin_life(self, contacts: Iterable[str]) -> None:
        description = self._describe()
        me = Member(
            self.node_id,
            self.incarnation,
            "up",
            self._endpoint,
            description.user_endpoint,
            description.pub_endpoint,
            tuple(sorted(description.behaviors)),
            tuple(sorted(description.labels.items())),
        )
        self._views = Views(
            me,
            seeds=self._seeds,
            contacts=tuple(contacts),
            settings=self.settings,
            now=self._clock.now(),
        )
        self._set_pulse()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._ticker = loop.call_later(self.settings.tick, self._tick)
        if self._clock.now() - self._described_at >= DESCRIBE_EVERY:
            self._set_pulse()
        self._feed(ev.Tick(int(self._clock.wall() * 1000), self._chance()))

    def _set_pulse(self) -> None:
        if self._views is None:
            return
        self._described_at = self._clock.now()
        try:
            fields = pulse_fields(self._describe(), self._views.standing, self._uptime())
            self._control.set_pulse(**fields)
        except Exception as error:  # a bad description must not silence the node
            self._complain("bad_description", self.node_id, reason=repr(error))

    # -- events in ------------------------------------------------------------------------------

    def on_event(self, event: ControlEvent) -> None:
        """Take an event of the control lane."""
        if self._views is None:
            return
        match event:
            case Received(origin, endpoint, data, at, peer):
                self._received(origin if origin is not None else endpoint, data, at, peer)
            case Pulse():
                self._pulse(event)
            case LinkUp(endpoint, at):
                self._feed(ev.LinkUp(endpoint, at))
            case LinkDown(endpoint, at):
                self._feed(ev.LinkDown(endpoint, at))
            case DialRefused(endpoint, at):
                self._feed(ev.DialRefused(endpoint, at))
            case HandshakeFailed(endpoint, reason, _):
                self._feed(ev.Unwelcome(endpoint))
                self._complain("handshake_failed", endpoint, reason=reason)
                self._call(self._callbacks.refused, reason, endpoint)
            case Pong(endpoint, token, node_id, incarnation, lag, at):
                self._feed(ev.Answered(endpoint, (node_id, incarnation), at, lag, token))

    def _received(
        self, address: ev.Address | None, data: bytes, at: float, peer: str | None
    ) -> None:
        if address is None:
            return
        try:
            message = wire.decode(data)
        except wire.BadControlMessageError as error:
            where = address if isinstance(address, str) else "incoming"
            self._complain("bad_control_message", where, reason=str(error))
            return
        if peer is not None and not speaks_for(message, peer):
            self._call(self._callbacks.spoofed, peer, message.sender[0])
            return
        self._feed(ev.Heard(address, message, at))

    def _pulse(self, pulse: Pulse) -> None:
        uid = (pulse.node_id, pulse.incarnation)
        wall = self._clock.wall() - max(0.0, self._clock.now() - pulse.at)
        news = read_pulse(pulse.fields, pulse.loop_lag, wall)
        if self.view is not None and self.view.find(uid) is not None:
            self._news[uid] = news
        self._feed(
            ev.PulseSeen(uid, pulse.at, pulse.loop_lag, news.lineage, news.epoch, news.digest)
        )

    def _feed(self, event: ev.Event) -> None:
        """Hand an event to the machine. A callback that causes another one waits its turn."""
        self._events.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._events and self._views is not None:
                views = self._views
                for effect in views.handle(self._events.popleft(), self._clock.now()):
                    self._carry_out(effect)
        finally:
            self._feeding = False

    # -- effects out ----------------------------------------------------------------------------

    def _carry_out(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Send(to, message):
                self._send(to, message)
            case ev.Ask(endpoint, token):
                self._control.ping(endpoint, token)
            case ev.Redial(endpoint):
                self._control.disconnect(endpoint)
                self._try(self._control.connect, endpoint)
            case ev.SetLinks(control, pub):
                self._set_links(control, pub)
            case ev.Applied(view, downs, ups):
                self._applied(view, downs, ups)
            case ev.BusyChanged(uid, busy, lag):
                self._busy_changed(uid, busy, lag)
            case ev.LifeOver(reason, above, contacts):
                self._life_over(reason, above, contacts)
            case ev.Left():
                self._left = True
                self._log.info("node_left")
                self._changed.set()
            case ev.Rejected(reason, by):
                self._complain("join_refused", by, reason=reason)
                self._call(self._callbacks.refused, reason, by)
            case ev.Note(level, event, details):
                peer = details.get("peer")
                if peer is None or self._throttle.allows((event, peer), event):
                    getattr(self._log, level)(event, **details)
            case ev.AdminAsked(address, message):
                self._admin(address, message.body)

    def _send(self, to: ev.Address, message: wire.Envelope) -> None:
        data = wire.encode(message)
        if isinstance(to, str):
            self._control.send(to, data)
        else:
            self._control.answer(to, data)

    def reply(self, origin: ev.Address, body: wire.Admin | wire.AdminReply) -> None:
        """Answer an `other_message`."""
        if self._views is not None:
            self._send(origin, self._views.envelope(body))

    def _admin(self, address: ev.Address, body: wire.Body) -> None:
        if isinstance(body, wire.Admin | wire.AdminReply):
            kind = "admin" if isinstance(body, wire.Admin) else "admin_reply"
            self._call(self._callbacks.other_message, address, kind, body)

    def _set_links(self, control: frozenset[str], pubs: frozenset[str]) -> None:
        for endpoint in sorted(self._links - control):
            self._control.disconnect(endpoint)
        for endpoint in sorted(self._pubs - pubs):
            self._control.unsubscribe(endpoint)
        for endpoint in sorted(control - self._links):
            self._try(self._control.connect, endpoint)
        for endpoint in sorted(pubs - self._pubs):
            self._try(self._control.subscribe, endpoint)
        self._links, self._pubs = control, pubs

    def _try(self, act: Callable[[str], None], endpoint: str) -> None:
        try:
            act(endpoint)
        except ValueError as error:  # an address that a peer has told us, and that is none
            self._complain("bad_endpoint", endpoint, reason=str(error))

    def _applied(
        self, view: View, downs: tuple[tuple[Member, str], ...], ups: tuple[Member, ...]
    ) -> None:
        self._set_pulse()
        uids = {m.uid for m in view.members}
        self._news = {uid: news for uid, news in self._news.items() if uid in uids}
        self._busy &= uids
        for member, reason in downs:
            self._log.info("node_down", peer=member.node_id, reason=reason, epoch=view.epoch)
            self._call(self._callbacks.node_down, member, reason)
        for member in ups:
            self._log.info("node_up", peer=member.node_id, epoch=view.epoch)
            self._call(self._callbacks.node_up, member)
        self._call(self._callbacks.view_changed, view)
        self._changed.set()

    def _busy_changed(self, uid: Uid, busy: bool, lag: float) -> None:
        if busy:
            self._busy.add(uid)
            self._log.warning("node_busy", peer=uid[0], lag=round(lag, 3))
            self._call(self._callbacks.node_busy, uid[0], lag)
        else:
            self._busy.discard(uid)
            self._log.info("node_idle", peer=uid[0])
            self._call(self._callbacks.node_idle, uid[0])

    def _life_over(self, reason: str, above: int, contacts: frozenset[str]) -> None:
        peers = [m for m in self.members if m.node_id != self.node_id]
        self._log.warning("life_ended", reason=reason, incarnation=self.incarnation)
        self._call(self._callbacks.life_ended, reason)
        for member in peers:
            self._call(self._callbacks.node_down, member, FENCED)
        if self._views is None:  # a callback has stopped us
            return
        self._set_links(frozenset(), frozenset())
        self._news.clear()
        self._busy.clear()
        wall_ms, bits = int(self._clock.wall() * 1000), int(self._chance() * (1 << 20))
        self.incarnation = make_incarnation(wall_ms, bits, above)
        self._control.new_life(self.incarnation)
        self._begin_life(contacts)
        self._call(self._callbacks.new_life, self.incarnation)
        self._changed.set()

    def _call(self, callback: Callable[..., None], *args: Any) -> None:
        if self._views is None:
            return
        try:
            callback(*args)
        except Exception:
            self._log.exception("cluster_callback_failed", args=[str(a)[:200] for a in args])

    def _complain(self, event: str, peer: str, **details: Any) -> None:
        """One line a minute per event and peer, and a few per event: strangers make up names."""
        if self._throttle.allows((event, peer), event):
            self._log.warning(event, peer=peer, **details)
