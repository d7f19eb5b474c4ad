"""Global names: the system process ``noex.names`` and `GlobalRegistry`, the user's face of it.

What is decided is in `noex.registry.names_machine`; this carries it out.

**How the node tells it of the cluster** (plain methods of `GlobalRegistry`; they put a message
into the mailbox of ``noex.names``, so that they keep their place among the messages of peers):

- `view_changed(epoch, members)` for each view that was applied, the members' uids in age order, in
  the same turn of the loop as ``peer_up`` and ``peer_down`` of `RemoteOperations` and after them.
  A view says who came and who went; there is nothing else to tell.
- `life_changed(incarnation)` when this node goes on under a new incarnation, after
  ``kernel.new_life``. Until the first view of the new life, requests wait for their deadline.

A node without a cluster needs neither: ``GlobalRegistry.start(kernel)`` makes it the one member of
a view of its own. A node that is to join passes ``alone=False``.

**Between nodes**, the name processes cast ``("names", uid, message)`` to each other. When a cast
does not go (the queue to the peer is full), it and what follows wait here and are tried again every
50 ms; of more than 4096 waiting messages all are dropped and `NamesMachine.resync` makes good.

Calls: ``("register", name, ref, timeout)``, ``("unregister", name, timeout)``,
``("whereis", name, timeout)``, ``("names",)``, ``("complete",)``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final, get_args

from noex.registry import names_messages as m
from noex.registry.names_machine import NamesMachine
from noex.runtime.calls import Caller
from noex.runtime.checks import check_limit, check_name
from noex.runtime.errors import InvalidOptionError, NoProcessError
from noex.runtime.genserver import GenServer, Timer
from noex.runtime.log import Throttle
from noex.runtime.messages import Down, NameConflict
from noex.runtime.reasons import SHUTDOWN
from noex.runtime.ref import Ref, check_ref
from noex.runtime.returns import NoReply
from noex.transport.message import register as register_message

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.monitors import Monitor

NAMES: Final = "noex.names"
NAME_CONFLICT: Final = (SHUTDOWN, "name_conflict")
"""The exit reason of a process that lost its name to another one."""

_RETRY: Final = 0.05  # seconds
_OUTBOX: Final = 4096  # messages
_SEND_AGAIN: Final = "send_again"

for _cls in get_args(m.Message):
    register_message(_cls)


class _Request:
    """Who waits for the answer to one request."""

    __slots__ = ("caller", "registers", "timer")

    def __init__(self, caller: Caller, timer: Timer, registers: tuple[str, Any] | None) -> None:
        self.caller, self.timer, self.registers = caller, timer, registers


class _Outbox:
    """Messages to one peer whose queue is full."""

    __slots__ = ("messages", "overflowed")

    def __init__(self) -> None:
        self.messages: deque[m.Message] = deque()
        self.overflowed = False

    def add(self, message: m.Message) -> None:
        if len(self.messages) >= _OUTBOX:
            self.messages.clear()
            self.overflowed = True
        if not self.overflowed:
            self.messages.append(message)


class NamesServer(GenServer[NamesMachine]):
    """Carries out what `NamesMachine` decides."""

    def init(self, alone: bool = True) -> NamesMachine:
        """`alone`: this node is the one member of its cluster until it is told otherwise."""
        self._idents = 0
        self._requests: dict[int, _Request] = {}
        self._monitors: dict[Any, Monitor] = {}
        self._outboxes: dict[m.Uid, _Outbox] = {}
        self._waiting_for_all: list[Any] = []
        self._retrying = False
        self._throttle = Throttle(now=self.kernel.clock.now)
        self._machine = NamesMachine((self.kernel.node_id, self.kernel.incarnation))
        if alone:
            self._carry_out(self._machine, self._machine.view_changed(0, (self._machine.me,)))
        return self._machine

    # ------------------------------------------------------------------ requests

    def handle_call(self, message: Any, state: NamesMachine) -> Any:
        match message:
            case (*_, float() as timeout) if not 0 < timeout < inf:
                self._refuse(message)
            case ("whereis", str() as name, float() as timeout):
                ref = state.known(name)
                if ref is not None:
                    return ref, state
                ident = self._open(timeout)
                self._carry_out(state, state.whereis_asked(ident, name))
            case ("register", str() as name, Ref() as ref, float() as timeout):
                self._register(state, name, ref, timeout)
            case ("unregister", str() as name, float() as timeout):
                ident = self._open(timeout)
                self._carry_out(state, state.unregister_asked(ident, name))
            case ("names",):
                return state.names(), state
            case ("complete",):
                self._waiting_for_all.append(self.caller)
                self._tell_if_complete(state)
            case _:
                self._refuse(message)
        return NoReply()

    def _refuse(self, message: Any) -> None:
        """Nonsense of a peer, or of a program that knows our name, ends nobody here."""
        assert self.caller is not None
        self.caller.fail(InvalidOptionError("message", message, "no request of names"))

    def _tell_if_complete(self, state: NamesMachine) -> None:
        if self._waiting_for_all and state.is_complete:
            for caller in self._waiting_for_all:
                caller.reply(True)
            self._waiting_for_all.clear()

    def _register(self, state: NamesMachine, name: str, ref: Ref[Any], timeout: float) -> None:
        process = self.kernel.find(ref) if self.kernel.is_own(ref) else None
        if process is None or not process.is_alive():
            assert self.caller is not None
            self.caller.fail(NoProcessError(ref))
            return
        ident = self._open(timeout, (name, process.ref))
        self._carry_out(state, state.register_asked(ident, name, process.ref))

    def _open(self, timeout: float, registers: tuple[str, Any] | None = None) -> int:
        """Note who waits. The caller's own deadline answers; this one ends our part."""
        assert self.caller is not None
        self._idents += 1
        timer = self.send_after(timeout, ("expired", self._idents))
        self._requests[self._idents] = _Request(self.caller, timer, registers)
        return self._idents

    # ------------------------------------------------------------------ events

    def handle_cast(self, message: Any, state: NamesMachine) -> None:
        match message:
            case ("names", (str() as node_id, int() as incarnation), content):
                self._receive(state, (node_id, incarnation), content)
            case ("view", int() as epoch, members) if _are_uids(members):
                self._carry_out(state, state.view_changed(epoch, members))
                self._forget_outboxes(members)
            case ("life", int() as incarnation):
                self._outboxes.clear()
                self._carry_out(state, state.life_changed((self.kernel.node_id, incarnation)))
            case _:
                self._complain("?", message)

    def _receive(self, state: NamesMachine, uid: m.Uid, content: Any) -> None:
        try:
            effects = state.received(uid, content)
        except Exception as error:  # fields of a wrong type: they cost the sender that message
            self._complain(uid[0], error)
        else:
            self._carry_out(state, effects)

    def _complain(self, peer: str, what: Any) -> None:
        if self._throttle.allows(peer):
            self.log.warning("names_message_dropped", peer=peer, what=repr(what)[:200])

    def handle_info(self, message: Any, state: NamesMachine) -> None:
        match message:
            case Down(ref=ref):
                self._monitors.pop(ref, None)
                self._carry_out(state, state.process_down(ref))
            case ("expired", int() as ident):
                if self._requests.pop(ident, None) is not None:
                    self._carry_out(state, state.expired(ident))
            case _ if message == _SEND_AGAIN:
                self._retrying = False
                self._send_again(state)

    # ------------------------------------------------------------------ effects

    def _carry_out(self, state: NamesMachine, effects: Iterable[m.Effect]) -> None:
        for effect in effects:
            match effect:
                case m.Send(uid, message):
                    self._send(uid, message)
                case m.Answer(ident, value):
                    self._answer(state, ident, value)
                case m.Refuse(ident, error):
                    self._close(ident).fail(error)
                case m.Watch(ref):
                    self._monitors[ref] = self.monitor(ref)
                case m.Unwatch(ref):
                    self._monitors.pop(ref).cancel()
                case m.Dispossess(ref, name, winner):
                    self._dispossess(ref, name, winner)
        self._tell_if_complete(state)

    def _dispossess(self, ref: Ref[Any], name: str, winner: Any) -> None:
        """It reads the message, and then ends. One that traps exits decides for itself."""
        self.log.warning("global_name_lost", name=name, loser=ref, winner=winner)
        ref.send(NameConflict(name, winner))
        process = self.kernel.find(ref)
        if process is not None and process.trap_exits:
            self.kernel.exit(ref, NAME_CONFLICT, self.ref)
        else:
            self.kernel.ask_to_stop(ref, NAME_CONFLICT)

    def _close(self, ident: int) -> Caller:
        request = self._requests.pop(ident)
        request.timer.cancel()
        return request.caller

    def _answer(self, state: NamesMachine, ident: int, value: Any) -> None:
        registers = self._requests[ident].registers
        if not self._close(ident).reply(value) and registers is not None:
            self._carry_out(state, state.given_up(*registers))

    # ------------------------------------------------------------------ peers

    def _send(self, uid: m.Uid, message: m.Message) -> None:
        outbox = self._outboxes.get(uid)
        if outbox is not None:
            outbox.add(message)
        elif not self._cast(uid, message):
            self._outboxes[uid] = outbox = _Outbox()
            outbox.add(message)
            self._retry_later()

    def _cast(self, uid: m.Uid, message: m.Message) -> bool:
        # As the life for which it was decided: the kernel may be in the next one already.
        return self.kernel.named_ref(NAMES, *uid).cast(("names", self._machine.me, message))

    def _retry_later(self) -> None:
        if not self._retrying:
            self._retrying = True
            self.send_after(_RETRY, _SEND_AGAIN)

    def _send_again(self, state: NamesMachine) -> None:
        for uid, outbox in list(self._outboxes.items()):
            while outbox.messages and self._cast(uid, outbox.messages[0]):
                outbox.messages.popleft()
            if not outbox.messages:
                del self._outboxes[uid]
                if outbox.overflowed:
                    self._carry_out(state, state.resync(uid))
        if self._outboxes:
            self._retry_later()

    def _forget_outboxes(self, members: Iterable[m.Uid]) -> None:
        for uid in set(self._outboxes).difference(members):
            del self._outboxes[uid]


def _are_uids(members: Any) -> bool:
    """Whether these are lives of nodes, as a view has them."""
    if not isinstance(members, tuple | list):
        return False
    for member in members:
        match member:
            case (str(), int()):
                continue
        return False
    return True


class GlobalRegistry:
    """Names that lead to a process from every node of the cluster (``node.registry``).

    A name is a string of 1 to 256 characters. It ends with its process or its node, and can then
    be taken again at once. All methods that ask raise `CallTimeoutError` after `timeout` seconds,
    and `InvalidOptionError` for a name that is none.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @classmethod
    async def start(cls, kernel: Kernel, *, alone: bool = True) -> GlobalRegistry:
        """Start ``noex.names`` on a node, and return the face of it.

        `alone`: whether this node is a cluster of its own until `view_changed` says otherwise.
        """
        await kernel.start(NamesServer, (alone,), name=NAMES)
        return cls(kernel)

    async def register(self, name: str, ref: Ref[Any], timeout: float = 5.0) -> None:
        """Give `ref`, a living process of any member, the name `name`.

        When this returns, the name is found on every node, and nobody else can have it until it
        is unregistered or its process or node has ended. A process may have several names;
        registering the same pair again does nothing.

        Raises `GlobalNameConflictError(name, owner)` when another process has it,
        `NoProcessError` when `ref` is not alive, `NodeNotReachableError` when its node is no
        member, and `CallTimeoutError` after `timeout` seconds: then it is not registered, unless
        only the answer of another node was late.
        """
        check_name(name)
        check_ref(ref)
        timeout = _checked_timeout(timeout)
        await self._home(ref).call(("register", name, ref, timeout), timeout=timeout)

    async def unregister(
        self, name: str, timeout: float = 5.0, *, owner: Ref[Any] | None = None
    ) -> bool:
        """Give up a name, wherever its process lives. Returns whether there was one.

        With `owner`, only if it is the name of that process: who ends should not take the name of
        a successor along. When this returns the name can be taken again. The process goes on.
        """
        if owner is not None:
            check_ref(owner, "owner")
        ref = await self.whereis(name, timeout)
        timeout = float(timeout)
        if ref is None or owner not in (None, ref):
            return False
        request = ("unregister", name, timeout)
        return bool(await self._home(ref).call(request, timeout=timeout))

    async def whereis(self, name: str, timeout: float = 5.0) -> Ref[Any] | None:
        """The process with this name, or None.

        Answered from this node's own table; when the name is not there the oldest member is
        asked, and `CallTimeoutError` raised if nobody decides within `timeout` seconds.
        """
        check_name(name)
        timeout = _checked_timeout(timeout)
        found: Ref[Any] | None = await self._local().call(
            ("whereis", name, timeout), timeout=timeout
        )
        return found

    async def names(self, timeout: float = 5.0) -> list[str]:
        """All global names that this node knows, sorted; another may know of a newer one."""
        found: list[str] = await self._local().call(("names",), timeout=_checked_timeout(timeout))
        return found

    async def complete(self, timeout: float = 5.0) -> None:
        """Wait until this node knows the names of all members of its view.

        Raises `CallTimeoutError` after `timeout` seconds.
        """
        await self._local().call(("complete",), timeout=_checked_timeout(timeout))

    def view_changed(self, epoch: int, members: Iterable[m.Uid]) -> None:
        """The node has applied a view: its members' uids in age order."""
        self._local().cast(("view", epoch, tuple(members)))

    def life_changed(self, incarnation: int) -> None:
        """The node goes on as another life, which is in no view yet."""
        self._local().cast(("life", incarnation))

    def _local(self) -> Ref[Any]:
        return self._kernel.whereis(NAMES) or self._kernel.named_ref(NAMES)

    def _home(self, ref: Ref[Any]) -> Ref[Any]:
        if self._kernel.is_own(ref):
            return self._local()
        return self._kernel.named_ref(NAMES, ref.node_id, ref.incarnation)


def _checked_timeout(timeout: Any) -> float:
    check_limit(timeout, "timeout")
    return float(timeout)
