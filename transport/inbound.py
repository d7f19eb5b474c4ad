"""Operations that arrive: each is handed to the process it is meant for, or answered.

A message whose body cannot be decoded costs its sender that message, not the link; a stranger's
operation is logged once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from noex.runtime import exits, states, system
from noex.runtime.calls import LocalCaller
from noex.runtime.errors import (
    InvalidOptionError,
    MessageSerializationError,
    NoexError,
    NoProcessError,
)
from noex.runtime.log import Throttle
from noex.runtime.methods import refusal
from noex.runtime.process import Process
from noex.runtime.reasons import NOCONNECTION, NOPROC
from noex.runtime.reports import report_dead_letter
from noex.runtime.typed import MethodCall
from noex.transport import ops
from noex.transport.codec_errors import UnknownTypeError
from noex.transport.ops import (
    HEAD_SIZE,
    Op,
    UnsupportedOperationError,
    target_of,
    unpack_head,
)
from noex.transport.parcel import Parcel
from noex.transport.peers import Peer, Uid
from noex.transport.remote import RemoteCaller, RemoteOperations

# What has another number where a call has its own.
_ONE_WAY: Final = frozenset(
    {ops.CANCEL, ops.DEMONITOR, ops.DOWN, ops.LINK, ops.UNLINK, ops.UNLINKED, ops.LINK_EXIT}
)


class Watcher:
    """A monitor of another node, on one of our processes."""

    __slots__ = ("_ident", "_operations", "_peer", "_watched")

    def __init__(self, operations: RemoteOperations, peer: Peer, ident: int, watched: int) -> None:
        self._operations, self._peer, self._ident = operations, peer, ident
        self._watched = watched  # its serial: a Down comes after all that the process has sent

    def fire(self, reason: Any) -> None:
        """The process is gone: tell the watching node."""
        self._peer.watched.pop(self._ident, None)
        body = self._operations.encode_reason(reason)
        data = ops.pack_op(ops.DOWN, ident=self._ident, body=body)
        self._operations.signal(self._peer, data, self._watched)


class Inbound:
    """The receiving half of `RemoteOperations`."""

    def __init__(self, operations: RemoteOperations) -> None:
        self._operations = operations
        self._kernel = operations.kernel
        self._decode = operations.codec.decode
        self._throttle = Throttle()
        self._quick: dict[int, Callable[[Peer, bytes], bool]] = {
            ops.CALL: self._quick_call,
            ops.CALL | ops.NAMED: self._quick_call,
            ops.REPLY: self._quick_reply,
            ops.CAST: self._quick_cast,
            ops.CAST | ops.NAMED: self._quick_cast,
        }
        self._handlers: dict[int, Callable[[Peer, Op], None]] = {
            ops.CALL: self._call,
            ops.REPLY: self._reply,
            ops.ERROR: self._error,
            ops.CANCEL: self._cancel,
            ops.CAST: self._cast,
            ops.INFO: self._info,
            ops.EXIT: self._exit,
            ops.STOP: self._stop,
            ops.MONITOR: self._monitor,
            ops.DEMONITOR: self._demonitor,
            ops.DOWN: self._down,
            ops.LINK: self._link,
            ops.UNLINK: self._unlink,
            ops.UNLINKED: self._unlinked,
            ops.LINK_EXIT: self._link_exit,
            ops.ALIVE: self._alive,
            ops.SYSTEM: self._system,
            ops.UNSUPPORTED: self._unsupported,
        }

    def receive(self, uid: Uid, messages: Sequence[bytes | memoryview | Parcel]) -> None:
        """Carry out the operations of one batch, in order."""
        peer = self._operations.peers.get(uid[0])
        if peer is None or peer.uid != uid:
            return
        peer.is_alone = len(messages) == 1
        for data in messages:
            if peer.is_lost:
                return  # its life has ended meanwhile: nothing more of it is delivered
            try:
                if type(data) is bytes and len(data) > HEAD_SIZE:
                    handle = self._quick.get(data[0])
                    if handle is not None and handle(peer, data):
                        continue
                op = ops.unpack_op(data)
                self._handlers.get(op.kind, self._unknown)(peer, op)
            except Exception as error:  # of one message; the others go on
                self._complain(uid, error)

    def _complain(self, uid: Uid, error: Exception) -> None:
        if self._throttle.allows((uid, type(error))):
            self._kernel.log.warning(
                "message_dropped", peer=uid[0], error=f"{type(error).__name__}: {error}"[:300]
            )

    def _find(self, op: Op) -> Process | None:
        if op.name is not None:
            return self._kernel.names.get(op.name)
        return self._kernel.processes.get(op.target)

    def _other(self, peer: Peer, serial: int) -> Any:
        return self._kernel.ref_for(peer.uid[0], peer.uid[1], serial)

    def _own(self, op: Op) -> Any:
        if op.name is not None:
            return self._kernel.named_ref(op.name)
        return self._kernel.ref_for(self._kernel.node_id, self._kernel.incarnation, op.target)

    # ------------------------------------------------------------------ in few steps

    def _addressee(self, data: bytes) -> tuple[Process | None, bytes | memoryview]:
        """The process to which an operation goes, and its body."""
        if data[0] & ops.NAMED:
            name, body = ops.split_name(data)
            return self._kernel.names.get(name), body
        return self._kernel.processes.get(target_of(data)[0]), data[HEAD_SIZE:]

    def _quick_call(self, peer: Peer, data: bytes) -> bool:
        """Each of these returns False for what the long way has to tell apart."""
        process, body = self._addressee(data)
        if process is None or process.status >= states.CLOSED:
            return False
        try:
            message = self._decode(body)
        except NoexError:
            return False
        if type(message) is MethodCall and process.callbacks.methods is None:
            return False
        _, _, ident, extra = unpack_head(data)
        caller = RemoteCaller(self._operations, peer, ident, extra)
        caller.server = process.ref.serial
        if not process.deliver((states.CALL, message, caller)):
            caller.fail(NoProcessError(process.ref))
        return True

    def _quick_reply(self, peer: Peer, data: bytes) -> bool:
        caller = peer.calls.get(unpack_head(data)[2])
        if caller is not None:
            try:
                value = self._decode(data[HEAD_SIZE:])
            except NoexError:
                return False
            del peer.calls[caller.ident]
            caller.resolve(value)
        return True

    def _quick_cast(self, peer: Peer, data: bytes) -> bool:
        process, body = self._addressee(data)
        if process is None:
            return False
        message = self._decode(body)
        if type(message) is MethodCall and process.callbacks.methods is None:
            return False
        process.deliver((states.CAST, message, None))
        return True

    # ------------------------------------------------------------------ other versions

    def _unknown(self, peer: Peer, op: Op) -> None:
        """An operation of a newer version: tell its sender, who may wait for an answer."""
        if self._throttle.allows((peer.uid, op.kind)):
            self._kernel.log.warning("operation_unknown", peer=peer.node_id, kind=op.kind)
        self._operations.signal(peer, ops.pack_op(ops.UNSUPPORTED, ident=op.ident, extra=op.kind))

    def _unsupported(self, peer: Peer, op: Op) -> None:
        """The peer does not know what we have asked for: who waits for it hears of it."""
        kind = op.extra
        if self._throttle.allows((peer.uid, ops.UNSUPPORTED, kind)):
            self._kernel.log.warning("operation_unsupported", peer=peer.node_id, kind=kind)
        if kind == ops.MONITOR:
            monitor = peer.monitors.pop(op.ident, None)
            if monitor is not None:
                monitor.fire(NOCONNECTION)
        elif kind not in _ONE_WAY:
            caller = peer.calls.pop(op.ident, None)
            if caller is not None:
                caller.fail(UnsupportedOperationError(peer.node_id, kind))

    # ------------------------------------------------------------------ calls

    def _call(self, peer: Peer, op: Op) -> None:
        caller = RemoteCaller(self._operations, peer, op.ident, op.extra)
        asked = self._asked(op, caller, "receive call")
        if asked is None:
            return
        process, message = asked
        if type(message) is MethodCall and process.callbacks.methods is None:
            caller.fail(refusal(process, message.name))
            return
        if not process.deliver((states.CALL, message, caller)):
            caller.fail(NoProcessError(process.ref))

    def _system(self, peer: Peer, op: Op) -> None:
        caller = RemoteCaller(self._operations, peer, op.ident, op.extra)
        asked = self._asked(op, caller, "receive system message")
        if asked is None:
            return
        process, message = asked
        if type(message) is not tuple or not message or type(message[0]) is not str:
            caller.fail(InvalidOptionError("message", message, "(operation, *arguments)"))
            return
        system.accept(process, message[0], message[1:], caller)

    def _asked(self, op: Op, caller: RemoteCaller, operation: str) -> tuple[Process, Any] | None:
        """Who is asked, and what. None when the caller had to be told that this is not to be."""
        process = self._find(op)
        if process is None or not process.is_alive():
            caller.fail(NoProcessError(self._own(op)))
            return None
        caller.server = process.ref.serial
        try:
            return process, self._decode(op.body)
        except NoexError as error:
            caller.fail(MessageSerializationError(operation, "message", str(error)))
            return None

    def _reply(self, peer: Peer, op: Op) -> None:
        caller = peer.calls.pop(op.ident, None)
        if caller is None:
            return
        try:
            value = self._decode(op.body)
        except NoexError as error:
            caller.fail(MessageSerializationError("receive reply", "reply", str(error)))
            return
        caller.resolve(value)

    def _error(self, peer: Peer, op: Op) -> None:
        caller: LocalCaller | None = peer.calls.pop(op.ident, None)
        if caller is None:
            return
        try:
            error = self._decode(op.body)
        except NoexError as undecodable:
            error = undecodable
        if not isinstance(error, Exception):
            error = MessageSerializationError("receive error", "error", repr(error))
        caller.fail(error)

    def _cancel(self, peer: Peer, op: Op) -> None:
        caller = peer.incoming.get(op.ident)
        if caller is not None:
            caller.abandon()

    def _alive(self, peer: Peer, op: Op) -> None:
        process = self._find(op)
        body = self._operations.codec.encode(process is not None and process.is_alive())
        self._operations.signal(peer, ops.pack_op(ops.REPLY, ident=op.ident, body=body), op.target)

    # ------------------------------------------------------------------ one way

    def _cast(self, peer: Peer, op: Op) -> None:
        self._deliver(states.CAST, op)

    def _info(self, peer: Peer, op: Op) -> None:
        self._deliver(states.INFO, op)

    def _deliver(self, kind: int, op: Op) -> None:
        process = self._find(op)
        if process is None:
            self._kernel.dead_letters += 1
            report_dead_letter(self._kernel, self._own(op), kind, f"<{len(op.body)} bytes>")
            return
        message = self._decode(op.body)
        if type(message) is MethodCall and process.callbacks.methods is None:
            raise refusal(process, message.name)
        process.deliver((kind, message, None))

    def _exit(self, peer: Peer, op: Op) -> None:
        process = self._find(op)
        if process is not None:
            try:
                sender, reason = self._decode(op.body)
            except UnknownTypeError as error:
                sender, reason = None, _unreadable(error)
            exits.signal(process, sender, reason, linked=False)

    def _stop(self, peer: Peer, op: Op) -> None:
        process = self._find(op)
        if process is not None:
            try:
                reason = self._decode(op.body)
            except UnknownTypeError as error:
                reason = _unreadable(error)
            exits.order(process, reason)

    def _reason(self, op: Op) -> Any:
        """Why a process has ended. Somebody waits to hear of it, whatever it is."""
        try:
            return self._decode(op.body)
        except NoexError as error:
            return _unreadable(error)

    # ------------------------------------------------------------------ monitors and links

    def _monitor(self, peer: Peer, op: Op) -> None:
        process = self._find(op)
        watched = op.target if process is None else process.ref.serial
        watcher = Watcher(self._operations, peer, op.ident, watched)
        if process is None:
            watcher.fire(NOPROC)
            return
        peer.watched[op.ident] = process
        self._kernel.watch(process, (peer.uid, op.ident), watcher)

    def _demonitor(self, peer: Peer, op: Op) -> None:
        process = peer.watched.pop(op.ident, None)
        if process is not None and process.watchers is not None:
            process.watchers.pop((peer.uid, op.ident), None)

    def _down(self, peer: Peer, op: Op) -> None:
        monitor = peer.monitors.pop(op.ident, None)
        if monitor is not None:
            monitor.fire(self._reason(op))

    def _link(self, peer: Peer, op: Op) -> None:
        process = self._find(op)
        if process is None:
            self._operations.send_link_exit(peer, op.target, op.ident, NOPROC)
            return
        if (op.target, op.ident) in peer.unlinking:
            return  # it crosses our unlink, which undoes it at the other end
        other = self._other(peer, op.ident)
        peer.links.add((process.ref, other))
        self._kernel.add_link(process, other)

    def _unlink(self, peer: Peer, op: Op) -> None:
        process = self._find(op)
        other = self._other(peer, op.ident)
        if process is not None:
            peer.links.discard((process.ref, other))
            if process.links is not None:
                process.links.discard(other)
        answer = ops.pack_op(ops.UNLINKED, op.ident, op.target)
        self._operations.signal(peer, answer, op.target)

    def _unlinked(self, peer: Peer, op: Op) -> None:
        key = (op.target, op.ident)
        if peer.unlinking[key] > 1:
            peer.unlinking[key] -= 1
        else:
            del peer.unlinking[key]

    def _link_exit(self, peer: Peer, op: Op) -> None:
        survivor, dead = self._own(op), self._other(peer, op.ident)
        peer.links.discard((survivor, dead))
        self._kernel.link_broken(dead, survivor, self._reason(op))


def _unreadable(error: NoexError) -> str:
    return f"a reason that cannot be read here: {error}"[:1000]
