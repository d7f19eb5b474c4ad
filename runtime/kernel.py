"""The kernel: one node's processes, names, monitors and links. No network.

What leaves the node goes through `remote`, a seam that the transport fills in. A kernel without
it is a whole runtime of its own: every other node is simply not reachable.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from noex.runtime import ending, exits, starting, states
from noex.runtime.alarm import Alarm
from noex.runtime.calls import LocalCaller
from noex.runtime.clock import Clock, clock_of
from noex.runtime.crossing import deliver_from, is_foreign, on_loop
from noex.runtime.current import current_process, handler_process
from noex.runtime.errors import (
    CallCycleError,
    CallTimeoutError,
    NodeNotReachableError,
    NodeStoppedError,
    NoProcessError,
    ProcessKilledError,
    ServerCrashedError,
    WrongThreadError,
)
from noex.runtime.holdings import Holdings
from noex.runtime.log import get_logger
from noex.runtime.monitors import Monitor
from noex.runtime.node_watchers import NodeWatchers
from noex.runtime.patience import Patience
from noex.runtime.reasons import NOCONNECTION, NOPROC, is_same, says
from noex.runtime.ref import Ref
from noex.runtime.reports import report_dead_letter
from noex.runtime.scheduler import Scheduler
from noex.runtime.turns import turns_of
from noex.runtime.waiting import outcome_for, outcome_from_elsewhere
from noex.runtime.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from noex.runtime.process import Process
    from noex.runtime.seam import Remote
    from noex.runtime.threads import Threads

_kernels: WeakSet[Kernel] = WeakSet()


def _refuse_use_after_fork() -> None:
    """The loop, the sockets and the threads of a node belong to the parent."""
    for kernel in _kernels:
        kernel.guarded = kernel.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refuse_use_after_fork)


class Kernel:
    """The runtime of one node, on the running loop."""

    def __init__(
        self,
        node_id: str = "nonode@localhost:0",
        incarnation: int = 1,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Clock | None = None,
        kill_grace: float = 1.0,
        terminate_timeout: float | None = 5.0,
        copier: Callable[[Any], Any] | None = None,
        blocking_threads: int = 64,
    ) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.node_id = node_id
        self.incarnation = incarnation
        self.lives = {incarnation}  # all lives of this node in this OS process
        self.clock: Clock = clock or clock_of(self.loop)
        self.kill_grace = kill_grace
        self.terminate_timeout = terminate_timeout
        self.copier = copier
        self.guarded = copier is not None  # calls take the long way, which checks more
        self.blocking_threads = blocking_threads
        self.threads: Threads | None = None  # of processes that block, once there is one
        self.node: Any = None
        self.remote: Remote | None = None
        self.on_interrupt: Callable[[BaseException], None] | None = None
        self.log = get_logger(node=node_id)
        self.scheduler = Scheduler(self.loop, self.clock.spent)
        self.workers = Workers(self.loop)
        self.turns = turns_of(self.loop, self.clock.spent)
        self.alarm = Alarm(self.loop)
        self.patience = Patience(self.loop)
        self.processes: dict[int, Process] = {}
        self.names: dict[str, Process] = {}
        self.spare_mailboxes: list[deque[states.Item]] = []
        self.node_watchers = NodeWatchers()
        self.holdings = Holdings()
        self.zombies: dict[asyncio.Future[Any], Ref[Any]] = {}  # killed, and still running
        self.leaving: set[asyncio.Task[Any]] = set()  # cancelled tasks of ended processes
        self.dead_letters = 0
        self.closing = False  # `shutdown` has begun: nothing may be started any more
        self.closed: str | None = None  # why it cannot be used any more
        self.last_serial = 0  # of the youngest process
        self._monitor_serial = 0
        self._obituaries: deque[tuple[Process, Any]] = deque()
        self._burying = False
        self.forked = False
        _kernels.add(self)

    # ------------------------------------------------------------------ addresses

    @property
    def process_count(self) -> int:
        """How many processes live here."""
        return len(self.processes)

    def next_serial(self) -> int:
        """A number that no process of this OS process had before."""
        self.last_serial += 1
        return self.last_serial

    def is_own(self, ref: Ref[Any]) -> bool:
        """Whether `ref` belongs to this node: a ref of any earlier life of it stays valid here."""
        return ref.node_id == self.node_id and (
            ref.incarnation in self.lives or (ref.serial == 0 and ref.incarnation == 0)
        )

    def reaches(self, ref: Ref[Any]) -> bool:
        """Whether the life to which `ref` belongs is this one, or that of a present member."""
        return self.is_own(ref) or (self.remote is not None and self.remote.reaches(ref))

    def ref_for(
        self, node_id: str, incarnation: int, serial: int, label: str | None = None
    ) -> Ref[Any]:
        """The ref of that process: its own ref object, if it lives here."""
        if node_id == self.node_id and incarnation in self.lives:
            process = self.processes.get(serial)
            if process is not None:
                return process.ref
        return Ref(self, node_id, incarnation, serial, label)

    def named_ref(self, name: str, node_id: str | None = None, incarnation: int = 0) -> Ref[Any]:
        """A ref to whoever has the local name `name` on that node (0: in any life of it)."""
        return Ref(self, node_id or self.node_id, incarnation, 0, name)

    def whereis(self, name: str) -> Ref[Any] | None:
        """The process with the local name `name`."""
        process = self.names.get(name)
        return process.ref if process is not None else None

    def find(self, ref: Ref[Any]) -> Process | None:
        """The living process behind a ref of this node."""
        if ref.serial == 0:
            return self.names.get(ref.label or "")
        return ref.process or self.processes.get(ref.serial)

    # ------------------------------------------------------------------ messages

    def call(self, ref: Ref[Any], message: Any, timeout: float | None) -> Coroutine[Any, Any, Any]:
        """The long way of a call: through the mailbox, or to another node."""
        if self.guarded or self.closed is not None:
            self.check_usable()
        if ref.node_id == self.node_id and self.is_own(ref):
            return self._call_here(ref, message, timeout)
        if self.remote is None:
            raise NodeNotReachableError(ref.node_id)
        return outcome_from_elsewhere(self, self.remote.call, ref, message, timeout)

    async def _call_here(self, ref: Ref[Any], message: Any, timeout: float | None) -> Any:
        process = self.find(ref)
        if process is None or not process.is_alive():
            await self.turns.give_way()
            raise NoProcessError(ref)
        handler = handler_process()
        self.refuse_cycle(handler, process)
        if self.copier is not None:
            message = self.copier(message)
        caller = LocalCaller(self.loop.create_future(), ref, timeout)
        if not process.deliver((states.CALL, message, caller)):
            raise NoProcessError(ref)
        return await outcome_for(self, handler, caller)

    def cast(self, ref: Ref[Any], message: Any) -> bool:
        """Deliver to `handle_cast`."""
        return self._post(ref, states.CAST, message)

    def send(self, ref: Ref[Any], message: Any) -> bool:
        """Deliver to `handle_info`."""
        return self._post(ref, states.INFO, message)

    def _post(self, ref: Ref[Any], kind: int, message: Any) -> bool:
        process = ref.process
        if self.guarded:
            self._refuse_remains()
            if is_foreign(self):
                return deliver_from(self, self._post, ref, kind, message)
            if self.copier is not None:
                message = self.copier(message)
        if process is None:
            if not self.is_own(ref):
                if self.remote is None:
                    return False
                post = self.remote.cast if kind == states.CAST else self.remote.send
                return post(ref, message)
            process = self.find(ref)
            if process is None:
                self.dead_letters += 1
                report_dead_letter(self, ref, kind, message)
                return False
        return process.deliver((kind, message, None))

    def refuse_cycle(self, handler: Process | None, target: Process) -> None:
        """A handler that calls itself, or somebody who waits for it, would wait for ever."""
        own_def_handler = target.worker is None and target.status == states.RUNNING
        if own_def_handler and current_process.get() is target:
            raise CallCycleError(target.ref)
        if handler is None:
            return
        link: Process | None = target
        while link is not None:
            if link is handler:
                raise CallCycleError(target.ref)
            link = link.waiting_on

    # ------------------------------------------------------------------ life and death

    def start(
        self, cls: type[Any], args: Any = (), kwargs: Any = None, **options: Any
    ) -> Coroutine[Any, Any, Ref[Any] | None]:
        """Start a process; see `noex.runtime.starting`, which has the options (`Settings`)."""
        return starting.start(self, cls, args, kwargs or {}, starting.Settings(**options))

    def exit(self, ref: Ref[Any], reason: Any, sender: Ref[Any] | None = None) -> None:
        """Send an exit signal to `ref`."""
        if self.guarded:
            self._refuse_remains()
        if sender is None:
            process = current_process.get()
            sender = process.ref if process is not None and process.kernel is self else None
        if self.guarded and is_foreign(self):
            on_loop(self, self.exit, ref, reason, sender)
            return
        if not self.is_own(ref):
            if self.remote is not None:
                self.remote.exit(ref, sender, reason)
            return
        target = self.find(ref)
        if target is not None:
            exits.signal(target, sender, reason, linked=False)

    async def stop_process(self, ref: Ref[Any], reason: Any, timeout: float | None) -> None:
        """Stop in mailbox order and wait for the end."""
        self.check_usable()
        handler, target = handler_process(), self.find(ref) if self.is_own(ref) else None
        if target is not None:
            self.refuse_cycle(handler, target)
        monitor = self.monitor(ref)
        if handler is not None:
            handler.waiting_on = target
        try:
            self.ask_to_stop(ref, reason)
            outcome = await monitor.wait(timeout)
        except TimeoutError:
            raise CallTimeoutError(ref, timeout or 0.0) from None
        finally:
            monitor.cancel()
            if handler is not None:
                handler.waiting_on = None
        if says(outcome, NOPROC):
            raise NoProcessError(ref)
        if says(outcome, NOCONNECTION) and not self.is_own(ref):
            raise NodeNotReachableError(ref.node_id)
        if not is_same(reason, outcome):
            raise ServerCrashedError(ref, outcome)

    def ask_to_stop(self, ref: Ref[Any], reason: Any) -> None:
        """Put an ordered stop into the mailbox of `ref`."""
        if self.is_own(ref):
            process = self.find(ref)
            if process is not None:
                exits.order(process, reason)
        elif self.remote is not None:
            self.remote.stop(ref, reason)

    async def is_alive(self, ref: Ref[Any], timeout: float | None) -> bool:
        """Whether the process lives, asked of its node."""
        if self.is_own(ref):
            process = self.find(ref)
            return process is not None and process.is_alive()
        if self.remote is None:
            return False
        try:
            async with asyncio.timeout(timeout):
                return await self.remote.is_alive(ref)
        except NodeNotReachableError:
            return False
        except TimeoutError:
            raise CallTimeoutError(ref, timeout or 0.0) from None

    def bury(self, process: Process, reason: Any) -> None:
        """The end of a process: out of the tables first, then everybody hears of it."""
        if process.status == states.DEAD:
            return
        process.status = states.DEAD
        process.reason = reason
        self.processes.pop(process.ref.serial, None)
        if process.name is not None and self.names.get(process.name) is process:
            del self.names[process.name]
        process.ref.process = None
        process.state = None
        if self.holdings.by_serial:
            self.holdings.settle(process)
        self._obituaries.append((process, reason))
        if self._burying:
            return  # the loop below is at work: no recursion through a chain of links
        self._burying = True
        try:
            while self._obituaries:
                exits.announce(*self._obituaries.popleft())
        finally:
            self._burying = False

    def set_copier(self, copier: Callable[[Any], Any]) -> None:
        """Send every local message through `copier` from now on."""
        self.copier = copier
        self.guarded = True

    def see_off(self, task: asyncio.Task[Any]) -> None:
        """Keep a cancelled task of an ended process until it is done."""
        self.leaving.add(task)
        task.add_done_callback(self.leaving.discard)

    def interrupted(self, error: BaseException) -> None:
        """Ctrl-C came out of a handler."""
        if self.on_interrupt is not None:
            self.on_interrupt(error)

    # ------------------------------------------------------------------ monitors and links

    def monitor(self, ref: Ref[Any], owner: Process | None = None) -> Monitor:
        """Watch `ref`, for the process `owner` or for the caller."""
        if self.guarded and is_foreign(self):
            return on_loop(self, self.monitor, ref, owner)  # type: ignore[no-any-return]
        self._monitor_serial += 1
        monitor = Monitor(self, self._monitor_serial, ref, owner)
        if owner is not None:
            if owner.monitoring is None:
                owner.monitoring = set()
            owner.monitoring.add(monitor)
        if not self.is_own(ref):
            if self.remote is None:
                monitor.fire(NOCONNECTION)
            else:
                self.remote.monitor(monitor)
            return monitor
        process = self.find(ref)
        if process is None:
            monitor.fire(NOPROC)
        else:
            self.watch(process, monitor.id, monitor)
            monitor.ref = process.ref if ref.serial == 0 else ref
        return monitor

    def watch(self, process: Process, key: Any, watcher: Any) -> None:
        """Have `watcher.fire(reason)` called once, when `process` ends."""
        if process.watchers is None:
            process.watchers = {}
        process.watchers[key] = watcher

    def forget_monitor(self, monitor: Monitor) -> None:
        """A monitor was cancelled."""
        if not self.is_own(monitor.ref):
            if self.remote is not None:
                self.remote.demonitor(monitor)
            return
        process = self.find(monitor.ref)
        if process is not None and process.watchers is not None:
            process.watchers.pop(monitor.id, None)

    def link(self, process: Process, ref: Ref[Any]) -> None:
        """Tie `process` to `ref`, both ways. A target that is gone answers with an exit signal."""
        if ref == process.ref or not process.is_alive():
            return
        if not self.is_own(ref):
            self.add_link(process, ref)
            if self.remote is None:
                self.link_broken(ref, process.ref, NOCONNECTION)
            else:
                self.remote.link(process.ref, ref)
            return
        other = self.find(ref)
        if other is None:
            exits.signal(process, ref, NOPROC, linked=True)
            return
        self.add_link(process, other.ref)
        self.add_link(other, process.ref)

    def unlink(self, process: Process, ref: Ref[Any]) -> None:
        """Undo `link`; no exit signal of that link arrives afterwards."""
        if process.links is not None:
            process.links.discard(ref)
        if not self.is_own(ref):
            if self.remote is not None:
                self.remote.unlink(process.ref, ref)
            return
        other = self.find(ref)
        if other is not None and other.links is not None:
            other.links.discard(process.ref)
            if process.links is not None:  # `ref` may have been a name
                process.links.discard(other.ref)

    def add_link(self, process: Process, ref: Ref[Any]) -> None:
        """One half of a link."""
        if process.links is None:
            process.links = set()
        process.links.add(ref)

    def link_broken(self, dead: Ref[Any], survivor: Ref[Any], reason: Any) -> None:
        """`dead` has ended: its partner gets the exit signal, if the link still stands there."""
        if not self.is_own(survivor):
            if self.remote is not None:
                self.remote.link_exit(dead, survivor, reason)
            return
        process = self.find(survivor)
        if process is not None and process.links is not None and dead in process.links:
            process.links.discard(dead)
            exits.signal(process, dead, reason, linked=True)

    # ------------------------------------------------------------------ the node

    def check_usable(self) -> None:
        """Raise if the calling code may not use this kernel: a zombie, a fork, a stopped node."""
        if self.guarded:
            self._refuse_remains()
            if is_foreign(self):
                raise WrongThreadError("a coroutine of noex", "use self.run(...) of the handler")
        if self.closed is not None:
            raise NodeStoppedError(self.node_id, self.closed)

    def refuse_start(self) -> None:
        """Raise if no process may be started here (any more)."""
        self.check_usable()
        if self.closing:
            raise NodeStoppedError(self.node_id, "it is stopping")

    def _refuse_remains(self) -> None:
        """Raise for what lives on by mistake: a zombie, or the copy of a node in a fork."""
        if self.forked:
            raise NodeStoppedError(self.node_id, "it was carried through a fork; start a new one")
        process = current_process.get()
        if process is not None and process.zombie:
            raise ProcessKilledError(process.ref)

    def new_life(self, incarnation: int) -> None:
        """The node goes on under a new incarnation; local refs stay valid."""
        self.incarnation = incarnation
        self.lives.add(incarnation)

    async def shutdown(self, reason: Any = "shutdown", timeout: float = 10.0) -> None:
        """End all processes; see `noex.runtime.ending.shutdown`."""
        await ending.shutdown(self, reason, timeout)
