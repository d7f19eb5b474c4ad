"""What makes a kernel a member of a cluster: lanes, membership, remote operations, in order.

When a view is applied, for each life that went: its session closes (nothing of it is delivered
any more), then everything open with it fails, then processes hear `NodeDown`. For each life that
came: the tables open, processes hear `NodeUp`, and only then can a message of it arrive, because
messages come with later turns of the loop.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import zmq

from noex import system
from noex.admin import Admin
from noex.cluster.info import NodeInfo, SelfDescription
from noex.cluster.membership import ClusterCallbacks, Membership
from noex.cluster.view import Member, View
from noex.runtime.errors import CallTimeoutError, JoinTimeoutError
from noex.runtime.log import get_logger
from noex.runtime.messages import LifeEnded, NodeBusy, NodeDown, NodeIdle, NodeUp, ViewChanged
from noex.runtime.reasons import SUPERSEDED
from noex.runtime.ref import Ref
from noex.supervisor.host import HOST
from noex.transport import ops
from noex.transport.codec import Codec
from noex.transport.codec_limits import CodecLimits
from noex.transport.control import ControlLane
from noex.transport.curve import DIAL_ADVICE, Curve, credentials_of, make_gate
from noex.transport.descriptors import prepare
from noex.transport.gate import Gate
from noex.transport.inbound import Inbound
from noex.transport.ipc import IpcFolder
from noex.transport.keys import ClusterSecret
from noex.transport.lane import UserLane
from noex.transport.remote import RefBinding, RemoteOperations

if TYPE_CHECKING:
    from noex.node import Node
    from noex.registry.names import GlobalRegistry

DRAIN_CHECK: Final = 0.02  # seconds between two looks at a draining host
FLUSH_TIMEOUT: Final = 1.0
MAX_REFUSALS: Final = 8  # that an error shows
GATE_TIMEOUT: Final = 5.0
GATE_CHECK: Final = 0.001  # seconds between two looks at the gate's thread
LEAVE_TIMEOUT: Final = 3.0
NAMES_TIMEOUT: Final = 2.0


class Network:
    """The clustered half of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kernel = node.kernel
        self._registry: GlobalRegistry | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.linger = 0
        self._context.set(zmq.MAX_SOCKETS, 16384)
        config = node.config
        self._address = config.address
        self._host = config.bind or config.address.host
        self._gate: Gate | None = None
        self._control: ControlLane | None = None
        self._lane: UserLane | None = None
        self._membership: Membership | None = None
        self._admin = Admin(node)
        # What can be encoded can be sent: so a reply or a reason that is too large is found out
        # where something can be told instead of it.
        limits = CodecLimits(max_bytes=max(1, config.lane.max_message - ops.OVERHEAD))
        self.codec = Codec(refs=RefBinding(self._kernel, Ref), limits=limits)
        self.remote = RemoteOperations(self._kernel, self.codec)
        self._inbound = Inbound(self.remote)
        # why members did not let this node in, the last reason of each, for the error of `join`
        self._refusals: dict[str, str] = {}

    # ------------------------------------------------------------------ life

    async def bind(self) -> None:
        """Bind all sockets; from then on the node id is final."""
        config = self._node.config
        prepare(config.expected_peers, self._kernel.log)
        curve = await self._secure()
        self._control = control = ControlLane(
            node_id=str(self._address),
            incarnation=self._kernel.incarnation,
            host=self._host,
            port=self._address.port,
            pub_port=config.pub_port,
            settings=config.control,
            on_event=self._on_control,
            context=self._context,
            curve=curve,
            publisher_at=self._publisher_at if curve.is_named else _anybody,
        )
        await control.start()
        node_id = str(config.address._replace(port=control.port))
        self._kernel.node_id = node_id
        self._kernel.log = get_logger(node=node_id)  # a port 0 has been chosen
        control.new_life(self._kernel.incarnation, node_id)
        curve.gate.named(node_id)
        self._lane = UserLane(
            node_id=node_id,
            incarnation=self._kernel.incarnation,
            host=self._host,
            port=config.user_port,
            on_messages=self._inbound.receive,
            cluster=config.cluster,
            settings=config.lane,
            context=self._context,
            secure=curve.secure_lane,
            receive=curve.receive_checked if curve.is_named else None,
            holds=self._is_in_doubt,
            ipc=IpcFolder(os.fspath(config.ipc_dir)) if config.ipc_dir is not None else None,
            consumers=self._kernel.scheduler,
        )
        await self._lane.start()
        self.remote.post, self.remote.push = self._lane.send, self._lane.push
        self._kernel.remote = self.remote

    async def _secure(self) -> Curve:
        """The keys, and the gate, which has to be there before anybody can knock."""
        config, node_id = self._node.config, str(self._address)
        secret = None if config.cluster_secret is None else ClusterSecret.of(config.cluster_secret)
        if secret is not None:  # it takes a while to make a key of it, beside the loop
            await asyncio.to_thread(secret.key_pair)
        credentials = credentials_of(node_id, secret, config.keys)
        self._gate = make_gate(node_id, self._context, credentials)
        self._gate.start()
        return Curve(credentials, self._gate)

    def _publisher_at(self, endpoint: str) -> str | None:
        """Whose pulses come from there: the keys say then with which key."""
        members = self._membership.members if self._membership is not None else ()
        return next((m.node_id for m in members if m.pub_endpoint == endpoint), None)

    async def join(self, registry: GlobalRegistry) -> None:
        """Become a member. Raises `JoinTimeoutError` after `join_timeout` seconds."""
        assert self._control is not None
        self._registry = registry
        config = self._node.config
        self._membership = Membership(
            node_id=self._kernel.node_id,
            incarnation=self._kernel.incarnation,
            control=self._control,
            seeds=config.seeds,
            settings=replace(config.membership, cluster=config.cluster),
            describe=self._describe,
            callbacks=self._callbacks(),
            clock=self._kernel.clock,
        )
        await self._membership.start()
        try:
            await self._membership.joined(config.join_timeout)
        except TimeoutError:
            seeds = f"seeds: {', '.join(config.seeds) or 'none'}"
            refusals = (f"{by} refuses it: {why}" for by, why in self._refusals.items())
            reason = (
                f"not a member after {config.join_timeout:g} s; {'; '.join((seeds, *refusals))}"
            )
            raise JoinTimeoutError(self._kernel.node_id, reason) from None
        await self._learn_names(registry)

    async def _learn_names(self, registry: GlobalRegistry) -> None:
        """Before the program starts anything here, this node knows all global names."""
        try:
            await registry.complete(NAMES_TIMEOUT)
        except CallTimeoutError:  # a member is stuck; lookups ask the oldest, so they stay right
            self._kernel.log.warning("names_incomplete", timeout=NAMES_TIMEOUT)

    async def drain(self, timeout: float) -> bool:
        """Say that this node drains, and wait until it hosts nothing for other nodes."""
        if self._membership is None or len(self._membership.members) < 2:
            return True
        self._membership.drain()
        end = self._kernel.clock.now() + timeout
        while await system.hosted(self._kernel):
            if self._kernel.clock.now() >= end:
                return False
            await asyncio.sleep(DRAIN_CHECK)
        return True

    async def leave(self) -> None:
        """Tell the others that this node goes."""
        if self._membership is None or self._lane is None:
            return
        await self._lane.flush(FLUSH_TIMEOUT)
        await self._membership.leave(LEAVE_TIMEOUT)
        await self._membership.stop()

    async def close(self) -> None:
        """Close all sockets and end the thread."""
        for uid in [peer.uid for peer in self.remote.peers.values()]:
            self.remote.peer_down(uid)
        if self._lane is not None:
            await self._lane.stop(linger=0)
        if self._control is not None:
            await self._control.stop()
        self._kernel.remote = None
        await self._close_gate()
        self._context.destroy(linger=0)

    async def _close_gate(self) -> None:
        """The last of all sockets: while anybody listens, somebody has to know who may come in."""
        if self._gate is None:
            return
        self._gate.end()
        deadline = self._kernel.clock.now() + GATE_TIMEOUT
        while not self._gate.has_ended:
            if self._kernel.clock.now() >= deadline:
                self._kernel.log.error("gate_stuck", seconds=GATE_TIMEOUT)
                return
            await asyncio.sleep(GATE_CHECK)

    # ------------------------------------------------------------------ what is known

    @property
    def is_frozen(self) -> bool:
        """Whether this side of the cluster may decide nothing."""
        return self._membership is not None and self._membership.is_frozen

    @property
    def peers_refused(self) -> dict[str, int]:
        """How many peers were refused for want of the right key, by reason."""
        return self._gate.refused if self._gate is not None else {}

    @property
    def membership(self) -> Membership | None:
        """Who is in; None before `join`."""
        return self._membership

    def members(self) -> list[NodeInfo]:
        """The members, the oldest first."""
        if self._membership is None or not self._membership.members:
            return [system.own_info(self._kernel, self._node.behaviors)]
        return self._membership.infos()

    def _is_in_doubt(self) -> bool:
        """A node that stood still obeys nobody before it knows that its life goes on."""
        return self._membership is not None and self._membership.in_doubt

    def _describe(self) -> SelfDescription:
        assert self._lane is not None and self._control is not None
        host = self._address.host
        return SelfDescription(
            user_endpoint=f"tcp://{host}:{self._lane.port}",
            pub_endpoint=f"tcp://{host}:{self._control.pub_port}",
            behaviors=self._node.behaviors.names(),
            labels=self._node.config.labels,
            process_count=self._kernel.process_count,
            load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
        )

    # ------------------------------------------------------------------ what happens

    def _callbacks(self) -> ClusterCallbacks:
        return ClusterCallbacks(
            node_down=self._node_down,
            node_up=self._node_up,
            view_changed=self._view_changed,
            node_busy=self._node_busy,
            node_idle=self._node_idle,
            life_ended=self._life_ended,
            new_life=self._new_life,
            refused=self._refused,
            spoofed=self._spoofed,
            other_message=self._other_message,
        )

    def _refused(self, reason: str, by: str) -> None:
        advice = DIAL_ADVICE.get(reason, "")
        if by in self._refusals or len(self._refusals) < MAX_REFUSALS:
            self._refusals[by] = f"{reason} ({advice})" if advice else reason

    def _spoofed(self, peer: str, claim: str) -> None:
        if self._gate is not None:
            self._gate.spoofed("control", peer, claim)

    def _on_control(self, event: Any) -> None:
        if self._membership is not None:
            self._membership.on_event(event)

    def _node_down(self, member: Member, reason: str) -> None:
        assert self._lane is not None
        self._lane.expel(member.uid, f"out of the view: {reason}")
        self.remote.peer_down(member.uid)
        self._tell(NodeDown(member.node_id, member.incarnation, reason))

    def _node_up(self, member: Member) -> None:
        assert self._lane is not None
        self.remote.peer_up(member.uid)
        self._lane.admit(member.uid, member.user_endpoint)
        self._tell(NodeUp(member.node_id, member.incarnation))

    def _view_changed(self, view: View) -> None:
        assert self._registry is not None and self._control is not None
        self._control.members_changed()
        self._registry.view_changed(view.epoch, tuple(member.uid for member in view.members))
        event = ViewChanged(view.epoch, tuple(member.node_id for member in view.members))
        self._kernel.node_watchers.tell(event)
        self._node.publish(event)

    def _node_busy(self, node_id: str, lag: float) -> None:
        self._tell(NodeBusy(node_id, self._incarnation_of(node_id), lag))

    def _node_idle(self, node_id: str) -> None:
        self._tell(NodeIdle(node_id, self._incarnation_of(node_id)))

    def _incarnation_of(self, node_id: str) -> int:
        member = self._membership.member(node_id) if self._membership is not None else None
        return member.incarnation if member is not None else 0

    def _tell(self, event: NodeUp | NodeDown | NodeBusy | NodeIdle) -> None:
        self._kernel.node_watchers.tell(event)
        self._node.publish(event)

    def _life_ended(self, reason: str) -> None:
        """The cluster went on without this life: what it ran for others, and owned, ends."""
        self._node.publish(LifeEnded(self._kernel.incarnation, reason))
        for ref in system.distributed_supervisors(self._kernel):
            self._kernel.ask_to_stop(ref, SUPERSEDED)
        self._kernel.named_ref(HOST).cast(("life_ended",))

    def _new_life(self, incarnation: int) -> None:
        assert self._lane is not None and self._registry is not None
        self._kernel.new_life(incarnation)
        self._lane.new_life(incarnation)
        self._registry.life_changed(incarnation)

    def _other_message(self, origin: Any, kind: str, body: Any) -> None:
        if kind == "admin" and self._membership is not None:
            self._admin.asked(body, partial(self._reply, origin))

    def _reply(self, origin: Any, answer: Any) -> None:
        if self._membership is not None:
            self._membership.reply(origin, answer)


def _anybody(_endpoint: str) -> None:
    """Where all have one key, it does not matter whose pulses come from where."""
