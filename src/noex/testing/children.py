"""Children that a test controls from outside: what their `init` does, when they crash and end.

::

    family = Family()
    db, cache = family.child("db"), family.child("cache")
    sup = await Supervisor.start(node, strategy="one_for_all", children=family.specs())
    db.fail_inits(2)
    db.crash()
    await cache.started(2)
    assert db.attempts == 4

A `Child` stands for all processes that are started under its name, one after the other: it lives
in the test, the processes find it by a number, which travels to other nodes of the same operating
system process. Everything that it waits for has a deadline, in the time of the loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakValueDictionary

from noex.runtime.genserver import GenServer
from noex.runtime.ref import Ref
from noex.runtime.returns import Ignore, Stop
from noex.supervisor.spec import ChildSpec
from noex.testing.waiting import Waiters

_CRASH: Final = "noex.testing.crash"
_END: Final = "noex.testing.end"
_numbers = itertools.count(1)
_children: WeakValueDictionary[int, Child] = WeakValueDictionary()


class ChildFault(Exception):
    """How a controlled child fails, unless the test says how."""


class Family:
    """Controlled children, and what happened to them in order.

    `history` has (what, child) pairs: ``"start"`` (`init` has returned), ``"fail"`` (it raised),
    ``"ignore"``, ``"end"`` (a process that had started is gone).
    """

    def __init__(self) -> None:
        self.history: list[tuple[str, str]] = []
        self._children: list[Child] = []

    def child(self, name: str, *args: Any, **kwargs: Any) -> Child:
        """One more child; the other arguments are for its `init`."""
        child = Child(name, *args, family=self, **kwargs)
        self._children.append(child)
        return child

    def specs(self, **fields: Any) -> list[ChildSpec]:
        """The specs of all children, in order, with these fields."""
        return [child.spec(**fields) for child in self._children]


class Child:
    """One controlled child."""

    def __init__(self, name: str, *args: Any, family: Family | None = None, **kwargs: Any) -> None:
        self.name = name
        self.family = family if family is not None else Family()
        self.attempts = 0  # inits that have begun
        self.refs: list[Ref[Any]] = []  # of the processes that have started, in order
        self.reasons: list[Any] = []  # why they ended, in order
        self.messages: list[Any] = []  # what they received
        self._arguments = args, kwargs
        self._number = next(_numbers)
        self._script: deque[Callable[[], Awaitable[Any]]] = deque()
        self._faults: dict[int, BaseException] = {}  # by the number of the `crash`
        self._crashes = 0
        self._gate: asyncio.Event | None = None
        self._refuses: str | None = None
        self._waiters = Waiters()
        self._stopping = 0
        _children[self._number] = self

    def __repr__(self) -> str:
        return f"<Child {self.name}: {self._state()}>"

    def _state(self) -> str:
        return f"{self.attempts} inits, {self.starts} starts, {len(self.reasons)} ends"

    # ------------------------------------------------------------------ starting it

    def spec(self, **fields: Any) -> ChildSpec:
        """Its spec under a supervisor; `fields` are those of `ChildSpec`.

        A distributed supervisor needs ``behavior=``, the name under which `ChildServer` is
        registered.
        """
        args, kwargs = self._arguments
        given = {"args": (self._number, *args), "kwargs": kwargs, **fields}
        return ChildSpec(self.name, given.pop("behavior", ChildServer), **given)

    async def start(self, node: Any, **options: Any) -> Any:
        """Start it without a supervisor; `options` are those of `Node.options`."""
        args, kwargs = self._arguments
        return await node.options(**options).start(ChildServer, self._number, *args, **kwargs)

    # ------------------------------------------------------------------ the next inits

    def fail_inits(self, count: int = 1, error: BaseException | None = None) -> None:
        """Have `init` raise, `count` times, after what was ordered before."""

        async def fail() -> Any:
            raise error or ChildFault(f"init of {self.name}")

        self._script.extend([fail] * count)

    def ignore_inits(self, count: int = 1) -> None:
        """Have `init` say `Ignore`, `count` times, after what was ordered before."""

        async def ignore() -> Any:
            return Ignore

        self._script.extend([ignore] * count)

    def block_inits(self, count: int = 1) -> None:
        """Have `init` wait for `release`, `count` times, after what was ordered before."""
        self._script.extend([self._wait_at_gate] * count)

    def succeed_inits(self, count: int = 1) -> None:
        """Have `init` do nothing special, `count` times, before what is ordered from now on."""

        async def succeed() -> None:
            return None

        self._script.extend([succeed] * count)

    # ------------------------------------------------------------------ the process that runs

    @property
    def starts(self) -> int:
        """How many processes have started."""
        return len(self.refs)

    @property
    def ref(self) -> Ref[Any]:
        """The latest process that has started."""
        if not self.refs:
            raise LookupError(f"{self.name} has not started: {self._state()}")
        return self.refs[-1]

    def crash(self, error: BaseException | None = None) -> None:
        """Have its process raise, in the order of its mailbox."""
        self._crashes += 1
        self._faults[self._crashes] = error or ChildFault(self.name)
        self._tell((_CRASH, self._crashes))

    def end(self, reason: Any = "normal") -> None:
        """Have its process stop itself, in the order of its mailbox."""
        self._tell((_END, reason))

    def _tell(self, order: tuple[str, Any]) -> None:
        if not self.ref.cast(order):
            raise LookupError(f"no process of {self.name} runs: {self._state()}")

    def refuse_to_stop(self, *, even_killed: bool = False) -> None:
        """Have `terminate` wait for `release`.

        With `even_killed` it does so in spite of the kill that follows: a zombie.
        """
        self._refuses = "kill" if even_killed else "stop"

    def release(self) -> None:
        """Let go on what waits: blocked inits, and processes that refuse to stop."""
        self._refuses = None
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    async def _wait_at_gate(self) -> None:
        if self._gate is None:
            self._gate = asyncio.Event()
        await self._gate.wait()

    # ------------------------------------------------------------------ waiting

    async def attempted(self, count: int = 1, timeout: float = 5.0) -> None:
        """Wait until `count` inits have begun."""
        await self._until(lambda: self.attempts >= count, f"{count} inits", timeout)

    async def started(self, count: int = 1, timeout: float = 5.0) -> Ref[Any]:
        """Wait until `count` processes have started; returns the ref of that one."""
        await self._until(lambda: self.starts >= count, f"{count} starts", timeout)
        return self.refs[count - 1]

    async def stopping(self, count: int = 1, timeout: float = 5.0) -> None:
        """Wait until the `terminate` of `count` processes has begun."""
        await self._until(lambda: self._stopping >= count, f"{count} terminates", timeout)

    async def ended(self, count: int = 1, timeout: float = 5.0) -> Any:
        """Wait until `count` processes that had started are gone; returns that one's reason."""
        await self._until(lambda: len(self.reasons) >= count, f"{count} ends", timeout)
        return self.reasons[count - 1]

    async def _until(self, true: Callable[[], bool], what: str, timeout: float) -> None:
        await self._waiters.until(
            lambda: true() or None, timeout, lambda: f"{what} of {self.name}: {self._state()}"
        )

    # ------------------------------------------------------------------ what its processes tell

    async def _init(self, server: ChildServer) -> Any:
        self.attempts += 1
        self._waiters.changed()
        step = self._script.popleft() if self._script else None
        try:
            outcome = None if step is None else await step()
        except BaseException:
            self._note("fail")
            raise
        if outcome is Ignore:
            self._note("ignore")
            return Ignore
        self._watch(server)
        self.refs.append(server.ref)
        self._note("start")
        return None

    def _watch(self, server: ChildServer) -> None:
        process = server.kernel.find(server.ref)
        if process is not None:
            server.kernel.watch(process, (_CRASH, self._number), _End(self))

    async def _terminate(self) -> None:
        self._stopping += 1
        self._waiters.changed()
        while self._refuses is not None:
            try:
                await self._wait_at_gate()
            except asyncio.CancelledError:
                if self._refuses != "kill":
                    raise

    def _note(self, what: str) -> None:
        self.family.history.append((what, self.name))
        self._waiters.changed()


class _End:
    """Hears of the end of one process, however it ended."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def fire(self, reason: Any) -> None:
        self._child.reasons.append(reason)
        self._child._note("end")


class ChildServer(GenServer[Any]):
    """The process of a `Child`: it answers a call with the message, and does what it is told."""

    async def init(self, number: int, *args: Any, **kwargs: Any) -> Any:
        """Do what the test has ordered for this `init`; the state is its (args, kwargs)."""
        child = _children.get(number)
        if child is None:
            raise LookupError("the Child that controlled this process is gone; keep it in the test")
        self._child = child
        outcome = await child._init(self)
        return outcome if outcome is Ignore else (args, kwargs)

    def handle_call(self, message: Any, state: Any) -> Any:
        """Answer with the message."""
        self._child.messages.append(message)
        return message, state

    def handle_cast(self, message: Any, state: Any) -> Any:
        """Crash or end if the test has said so."""
        match message:
            case (str(what), number) if what == _CRASH:
                raise self._child._faults.pop(number)
            case (str(what), reason) if what == _END:
                return Stop(reason)
        self._child.messages.append(message)
        return None

    def handle_info(self, message: Any, state: Any) -> None:
        """Keep the message."""
        self._child.messages.append(message)

    async def terminate(self, reason: Any, state: Any) -> None:
        """Refuse, if the test has said so."""
        await self._child._terminate()
