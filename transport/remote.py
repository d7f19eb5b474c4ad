"""Operations on processes of other nodes: what `Kernel.remote` does.

Each is encoded here, at the sender's own line, and posted to the peer's session, which delivers in
order and exactly once as long as both lives last. Requests of a program (call, cast, send) fail
when the peer's queue is full; signals (replies, Down, exits) always go, because each of them
answers for a row that the peer, or this node, has opened before.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from noex.runtime.calls import Caller, LocalCaller
from noex.runtime.current import current_process
from noex.runtime.errors import (
    MessageSerializationError,
    NodeNotReachableError,
    NoProcessError,
    OverloadedError,
    RemoteError,
    ServerCrashedError,
)
from noex.runtime.info import ProcessInfo, ProcessStatistics
from noex.runtime.log import Throttle
from noex.runtime.mailboxes import Mailbox
from noex.runtime.reasons import NOCONNECTION, NOPROC, SHUTDOWN, is_shutdown
from noex.transport import ops
from noex.transport.codec import Codec, Parcel, register
from noex.transport.peers import Peer, Uid

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.monitors import Monitor
    from noex.runtime.ref import Ref


for _value in (ProcessInfo, ProcessStatistics, Mailbox):
    register(_value)


LARGE: Final = 1024 * 1024
"""Bytes of structure, beside its large binaries, from which a message is complained of."""
_COMPLAINTS: Final = 256

Encoded = bytes | Parcel


class Post(Protocol):
    """Queue bytes for a peer. False when its queue is full (never for a signal).

    `sender` is the stream that they belong to. Order holds within it, for all kinds of operation.
    """

    def __call__(
        self, uid: Uid, data: Encoded, *, signal: bool = False, sender: int = 0
    ) -> bool: ...


def _nowhere(uid: Uid, data: Encoded, *, signal: bool = False, sender: int = 0) -> bool:
    return False


def _nothing() -> None:
    pass


def stream() -> int:
    """The stream of what is sent now: the process that runs, or 0 outside of all."""
    process = current_process.get()
    return 0 if process is None else process.ref.serial


class RefBinding:
    """How refs travel: the codec's view of the kernel."""

    def __init__(self, kernel: Kernel, ref_type: type[Any]) -> None:
        self._kernel = kernel
        self.ref_type = ref_type

    def dump(self, ref: Any) -> tuple[Any, ...]:
        """A ref of any earlier life of this node travels as one of the present life."""
        incarnation = ref.incarnation
        if incarnation and self._kernel.is_own(ref):
            incarnation = self._kernel.incarnation
        return ref.node_id, incarnation, ref.serial, ref.label, *ref.casts

    def load(
        self, node_id: str, incarnation: int, serial: int, label: str | None, *casts: str
    ) -> Any:
        """A ref that came home is the process's own ref object.

        `casts` are the methods of its class that are marked `@cast`: `ref.proxy` must know them
        where the class may not be known at all.
        """
        if serial == 0:
            return self._kernel.named_ref(label or "", node_id, incarnation)
        ref = self._kernel.ref_for(node_id, incarnation, serial, label)
        if casts and ref.process is None:
            ref.casts = casts
        return ref


class RemoteOperations:
    """The outgoing half, and the tables that both halves share."""

    def __init__(self, kernel: Kernel, codec: Codec, post: Post | None = None) -> None:
        self.kernel = kernel
        self.codec = codec
        self.peers: dict[str, Peer] = {}
        self.post: Post = post or _nowhere  # until there is a lane
        self.push: Callable[[], object] = _nothing  # have what is posted leave at once
        self._call_serial = 0
        self._throttle = Throttle()
        self._complained: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------ peers

    def peer_up(self, uid: Uid) -> None:
        """A life has become a member. An earlier one of the same node has ended by that."""
        known = self.peers.get(uid[0])
        if known is not None and known.uid == uid:
            return
        if known is not None:
            self.peer_down(known.uid)
        self.peers[uid[0]] = Peer(uid)

    def peer_down(self, uid: Uid) -> None:
        """A life has ended: everything that is open with it ends now."""
        peer = self.peers.get(uid[0])
        if peer is not None and peer.uid == uid:
            del self.peers[uid[0]]
            peer.lose(self.kernel)

    def reaches(self, ref: Ref[Any]) -> bool:
        """Whether the life to which `ref` belongs is a member now."""
        return self._peer_of(ref) is not None

    def signal(self, peer: Peer, data: Encoded, sender: int | None = None) -> bool:
        """Post what must arrive. Only a peer that reads nothing for long can have it dropped.

        `sender`: the process that it comes from, where that is not the one which runs. Returns
        False when it was dropped.
        """
        sender = stream() if sender is None else sender
        if (
            self.post(peer.uid, data, signal=True, sender=sender)
            or self.peers.get(peer.node_id) is not peer
        ):
            return True  # to a life that has ended nothing is owed
        if self._throttle.allows(peer.uid):
            self.kernel.log.error("signal_dropped", peer=peer.node_id, bytes=len(data))
        return False

    def _peer_of(self, ref: Ref[Any]) -> Peer | None:
        peer = self.peers.get(ref.node_id)
        if peer is None or (ref.incarnation != peer.uid[1] and ref.incarnation != 0):
            return None
        return peer

    def _is_of_earlier_life(self, ref: Ref[Any]) -> bool:
        peer = self.peers.get(ref.node_id)
        return peer is not None and 0 < ref.incarnation < peer.uid[1]

    def _gone_reason(self, ref: Ref[Any]) -> str:
        return NOPROC if self._is_of_earlier_life(ref) else NOCONNECTION

    # ------------------------------------------------------------------ requests

    def call(self, ref: Ref[Any], message: Any, caller: LocalCaller) -> None:
        """Send a call; the caller is settled by the reply, the peer's end, or its deadline."""
        self._request(ops.CALL, ref, message, caller, "call")

    def ask(self, ref: Ref[Any], message: Any, caller: LocalCaller) -> None:
        """Send a system message, ``(operation, *arguments)``; all else is as with a call."""
        self._request(ops.SYSTEM, ref, message, caller, message[0])

    def _request(
        self, kind: int, ref: Ref[Any], message: Any, caller: LocalCaller, operation: str
    ) -> None:
        peer = self._peer_of(ref)
        if peer is None:
            if self._is_of_earlier_life(ref):
                raise NoProcessError(ref)
            raise NodeNotReachableError(ref.node_id)
        body = self.codec.encode(message, operation=operation, apart=True)
        if len(body) > LARGE:
            self.complain(body, operation)
        ident = self._number(caller)
        extra = 0 if caller.timeout is None else _milliseconds(caller.timeout)
        data = ops.pack_op(kind, ref.serial, ident, extra, body, _name(ref))
        if not self.post(peer.uid, data, sender=stream()):
            raise OverloadedError(ref.node_id)
        peer.calls[ident] = caller
        if peer.is_alone and len(peer.calls) == 1:  # nobody would share the batch
            self.push()

    def cancel_call(self, ref: Ref[Any], caller: LocalCaller) -> None:
        """The caller waits no more: tell the peer, unless it has answered."""
        ident = caller.ident
        peer = self.peers.get(ref.node_id)
        if peer is not None and peer.calls.get(ident) is caller:
            del peer.calls[ident]
            self.signal(peer, ops.pack_op(ops.CANCEL, ident=ident))

    def is_alive(self, ref: Ref[Any]) -> asyncio.Future[bool]:
        """Ask the peer whether the process lives."""
        future: asyncio.Future[bool] = self.kernel.loop.create_future()
        peer = self._peer_of(ref)
        if peer is None:
            future.set_result(False)
            return future
        asked = LocalCaller(future, ref)
        ident = self._number(asked)
        peer.calls[ident] = asked
        self.signal(peer, ops.pack_op(ops.ALIVE, ref.serial, ident, name=_name(ref)))
        future.add_done_callback(lambda _done: self.cancel_call(ref, asked))
        return future

    def cast(self, ref: Ref[Any], message: Any) -> bool:
        """Send to `handle_cast`."""
        return self._tell(ops.CAST, ref, message, "cast")

    def send(self, ref: Ref[Any], message: Any) -> bool:
        """Send to `handle_info`."""
        return self._tell(ops.INFO, ref, message, "send")

    def _tell(self, kind: int, ref: Ref[Any], message: Any, operation: str) -> bool:
        body = self.codec.encode(message, operation=operation, apart=True)
        if len(body) > LARGE:
            self.complain(body, operation)
        peer = self._peer_of(ref)
        if peer is None:
            return False
        data = ops.pack_op(kind, ref.serial, body=body, name=_name(ref))
        return self.post(peer.uid, data, sender=stream())

    def complain(self, body: Encoded, operation: str) -> None:
        """A large structure holds the interpreter, here and there, for as long as it is packed and
        unpacked: say so once for each behavior and operation."""
        size = len(body.data) if isinstance(body, Parcel) else len(body)
        process = current_process.get()
        behavior = "" if process is None else type(process.server).__qualname__
        if size <= LARGE or (behavior, operation) in self._complained:
            return
        if len(self._complained) < _COMPLAINTS:
            self._complained.add((behavior, operation))
            self.kernel.log.warning(
                "large_message", behavior=behavior, operation=operation, bytes=size
            )

    def _number(self, caller: LocalCaller) -> int:
        self._call_serial += 1
        caller.ident = self._call_serial
        return self._call_serial

    # ------------------------------------------------------------------ signals

    def exit(self, ref: Ref[Any], sender: Ref[Any] | None, reason: Any) -> None:
        """Send an exit signal."""
        peer = self._peer_of(ref)
        if peer is not None:
            body = self.codec.encode((sender, reason), operation="exit")
            self.signal(peer, ops.pack_op(ops.EXIT, ref.serial, body=body, name=_name(ref)))

    def stop(self, ref: Ref[Any], reason: Any) -> None:
        """Send an ordered stop."""
        peer = self._peer_of(ref)
        if peer is not None:
            body = self.codec.encode(reason, operation="stop")
            self.signal(peer, ops.pack_op(ops.STOP, ref.serial, body=body, name=_name(ref)))

    def monitor(self, monitor: Monitor) -> None:
        """Watch a process of a peer."""
        ref = monitor.ref
        peer = self._peer_of(ref)
        if peer is None:
            monitor.fire(self._gone_reason(ref))
            return
        peer.monitors[monitor.id] = monitor
        monitor.stream = stream()
        data = ops.pack_op(ops.MONITOR, ref.serial, monitor.id, name=_name(ref))
        self.signal(peer, data, monitor.stream)

    def demonitor(self, monitor: Monitor) -> None:
        """Stop watching. Whoever ends it, it must not overtake what has begun it."""
        peer = self.peers.get(monitor.ref.node_id)
        if peer is not None and peer.monitors.pop(monitor.id, None) is not None:
            self.signal(peer, ops.pack_op(ops.DEMONITOR, ident=monitor.id), monitor.stream)

    def link(self, own: Ref[Any], other: Ref[Any]) -> None:
        """Tie a process of ours to one of a peer."""
        peer = self._peer_of(other)
        if peer is None:
            self.kernel.link_broken(other, own, self._gone_reason(other))
            return
        peer.links.add((own, other))
        self.signal(peer, ops.pack_op(ops.LINK, other.serial, own.serial), own.serial)

    def unlink(self, own: Ref[Any], other: Ref[Any]) -> None:
        """Undo `link`."""
        peer = self._peer_of(other)
        if peer is not None and (own, other) in peer.links:
            peer.links.discard((own, other))
            peer.unlinking[own.serial, other.serial] += 1
            self.signal(peer, ops.pack_op(ops.UNLINK, other.serial, own.serial), own.serial)

    def link_exit(self, own: Ref[Any], other: Ref[Any], reason: Any) -> None:
        """Our end of a link has died."""
        peer = self._peer_of(other)
        if peer is not None:
            peer.links.discard((own, other))
            self.send_link_exit(peer, own.serial, other.serial, reason)

    def send_link_exit(self, peer: Peer, dead: int, survivor: int, reason: Any) -> None:
        """Tell a peer that our process `dead` is gone."""
        body = self.encode_reason(reason)
        self.signal(peer, ops.pack_op(ops.LINK_EXIT, survivor, dead, body=body), dead)

    def encode_error(self, error: BaseException) -> bytes:
        """An error that a caller gets always travels: of one that is too large, its text."""
        try:
            return self.codec.encode(error, operation="error")
        except MessageSerializationError:
            return self.codec.encode(_shortened(error), operation="error")

    def encode_reason(self, reason: Any) -> bytes:
        """An exit reason always travels: what cannot is sent as its repr.

        An orderly end stays one: of ``("shutdown", detail)`` only the detail becomes text.
        """
        try:
            return self.codec.encode(reason, operation="exit reason")
        except MessageSerializationError:
            text = (SHUTDOWN, _text(reason[1])) if is_shutdown(reason) else _text(reason)
            return self.codec.encode(text, operation="exit reason")


def _shortened(error: BaseException) -> Exception:
    if type(error) is ServerCrashedError:
        return ServerCrashedError(error.args[0], _text(error.args[1]))
    return RemoteError(type(error).__qualname__, _text(error))


def _text(value: Any) -> str:
    """The repr, also of what raises in it: somebody waits for this."""
    try:
        return repr(value)[:1000]
    except Exception as error:
        return f"<{type(value).__qualname__}, whose repr raises {type(error).__name__}>"


class RemoteCaller(Caller):
    """Somebody on another node who waits for one of our processes."""

    __slots__ = ("_ends_at", "_operations", "ident", "peer", "server")

    def __init__(
        self, operations: RemoteOperations, peer: Peer, ident: int, timeout_ms: int
    ) -> None:
        super().__init__()
        self._operations = operations
        self.peer = peer
        self.ident = ident
        self.server = 0  # the serial of who is called, once that is known
        self._ends_at = math.inf
        if timeout_ms:
            self._ends_at = operations.kernel.clock.now() + timeout_ms / 1000
        peer.incoming[ident] = self

    @property
    def expired(self) -> bool:
        """Whether the caller has its answer, was cancelled, or has surely given up by now."""
        return self._answered or self._operations.kernel.clock.now() >= self._ends_at

    def answer(self, value: Any) -> None:
        """As `Caller.answer`, in fewer steps: a reply that comes too late is for its node to drop,
        which knows better."""
        if self._answered:
            return
        if self.process is not None:
            self._tell_of(value)
            self.process.forget_caller(self)
        self._answered = True
        self.peer.incoming.pop(self.ident, None)
        self._deliver(value)

    def _settle(self) -> None:
        super()._settle()
        self.peer.incoming.pop(self.ident, None)

    def _deliver(self, value: Any) -> None:
        try:
            body = self._operations.codec.encode(value, operation="reply", apart=True)
            if len(body) > LARGE:
                self._operations.complain(body, "reply")
            posted = self._post(ops.REPLY, body, stream() or self.server)
        except MessageSerializationError as error:  # the caller hears of it; the server lives
            self._deliver_error(error)
        else:
            if not posted:  # where there is no room for the reply, there may be for so much
                reason = f"the send queue to node {self.peer.node_id} is full"
                self._deliver_error(MessageSerializationError("reply", "message", reason))

    def _deliver_error(self, error: BaseException) -> None:
        self._post(ops.ERROR, self._operations.encode_error(error), self.server)

    def _post(self, kind: int, body: Encoded, sender: int) -> bool:
        data = ops.pack_op(kind, ident=self.ident, body=body)
        return self._operations.signal(self.peer, data, sender)


def _name(ref: Ref[Any]) -> str | None:
    return ref.label if ref.serial == 0 else None


@lru_cache(maxsize=64)  # most calls have the same few timeouts
def _milliseconds(seconds: float) -> int:
    return max(math.ceil(min(seconds * 1000, ops.MAX_TIMEOUT_MS)), 1)
