"""Behaviors for tests between two operating system processes: they do what they are told.

Both processes import this module. What only one of them knows is in `remote_strangers`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from noex.registry.behaviors import behavior
from noex.runtime.errors import NoexError
from noex.runtime.genserver import GenServer
from noex.runtime.messages import Down, Exit, TaskResult
from noex.runtime.returns import Ignore, NoReply, Stop
from noex.runtime.typed import Request, call, cast
from noex.transport.message import message


class Told(Exception):
    """How a server crashes when it is told to. It says other than what it was made with."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"told to: {what}")
        self.what = what
        self.number = number


def crash(error: Exception) -> None:
    """A line of its own in a traceback."""
    raise error


@behavior("server")
class Server(GenServer[Any]):
    """Does what it is told; `heard` is what came, in order."""

    def init(self, *args: Any, trap: bool = False, **kwargs: Any) -> Any:
        self.trap_exits = trap
        self.heard: list[Any] = []
        self.kept: list[Any] = []
        self.monitors: dict[Any, Any] = {}
        return args, kwargs

    async def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case "pid":
                return os.getpid(), state
            case "state":
                return state, state
            case "heard":
                return list(self.heard), state
            case "owed":  # how many callers still wait
                return sum(not caller.expired for caller in self.kept), state
            case "unsendable":
                return asyncio.get_running_loop(), state
            case "keep" | ("keep", _):
                self.heard.append(message)
                self.kept.append(self.caller)
                return NoReply()
            case ("answer", value):
                return [caller.reply(value) for caller in self.kept], state
            case ("fail", error):
                assert self.caller is not None
                self.caller.fail(error)
                return NoReply()
            case ("crash", error):
                crash(error)
            case ("end", reason):
                return Stop(reason, reply="bye")
            case ("sleep", seconds):
                await asyncio.sleep(seconds)
                return seconds, state
            case ("try", ref, question, timeout):  # how a call from here ends
                try:
                    return ("answer", await ref.call(question, timeout=timeout)), state
                except Exception as error:
                    return ("error", error), state
            case (str() as verb, *rest) if verb in ORDERS:
                return ORDERS[verb](self, *rest), state
        return message, state

    def handle_cast(self, message: Any, state: Any) -> Any:
        match message:
            case ("crash", error):
                crash(error)
            case ("end", reason):
                return Stop(reason)
            case ("ask", ref, question, timeout):  # the outcome is heard
                self.spawn_task(ref.call(question, timeout=timeout))
                return None
            case ("spawn", on, *what):
                self.spawn_task(self.node.spawn("trouble", *what, on=on))
                return None
        self.heard.append(("cast", message))
        return None

    def handle_info(self, message: Any, state: Any) -> Any:
        match message:
            case Down(_, ref, reason):
                self.heard.append(("down", ref, reason))
            case Exit(ref, reason):
                self.heard.append(("exit", ref, reason))
            case TaskResult(_, value, error):
                self.heard.append(("asked", value if error is None else type(error).__name__))
            case _:
                self.heard.append(("info", message))

    # ------------------------------------------------------------------ orders

    def watch(self, ref: Any) -> None:
        self.monitors[ref] = self.monitor(ref)

    def unwatch(self, ref: Any) -> None:
        self.monitors.pop(ref).cancel()

    def burst(self, ref: Any, size: int) -> None:
        """A large message, and a monitor behind it."""
        ref.cast([0.5] * size)
        self.watch(ref)

    def tell(self, ref: Any, reason: Any) -> None:
        ref.exit(reason)

    def rows(self) -> dict[str, int]:
        """What its node has open with each of its peers."""
        return {i: peer.open_rows for i, peer in self.node.network.remote.peers.items()}

    def processes(self) -> int:
        return self.kernel.process_count


ORDERS = {
    "link": Server.link,
    "unlink": Server.unlink,
    "monitor": Server.watch,
    "demonitor": Server.unwatch,
    "burst": Server.burst,
    "exit": Server.tell,
    "rows": Server.rows,
    "processes": Server.processes,
}


@behavior("trouble")
class Trouble(GenServer[Any]):
    """Its init does as it is told, and leaves a trace: how often it was run."""

    runs: ClassVar[Counter[Any]] = Counter()

    async def init(self, what: str, detail: Any = None) -> Any:
        Trouble.runs[what, detail] += 1
        if what == "raise":
            raise Told("start", 1)
        if what == "ignore":
            return Ignore
        if what == "sleep":
            await asyncio.sleep(detail)
        return what

    def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case ("runs", what, detail):
                return Trouble.runs[what, detail], state
        return message, state


@message
@dataclass(frozen=True)
class Times(Request[int]):
    """A request whose reply is an int."""

    factor: int


@behavior("tally")
class Tally(GenServer[int]):
    """Methods instead of messages."""

    def init(self, start: int = 0) -> int:
        return start

    def handle_call(self, message: Any, state: int) -> Any:
        assert isinstance(message, Times)
        return state * message.factor, state

    @call
    def add(self, number: int, *, times: int = 1) -> int:
        self.state += number * times
        return self.state

    @cast
    def bump(self, number: int) -> None:
        self.state += number


@behavior("sequence")
class Sequence(GenServer[int]):
    """Takes the numbers 1, 2, 3, ... by any way, and ends at the first that is out of turn."""

    def init(self) -> int:
        self.ways: Counter[str] = Counter()
        self.trap_exits = True
        return 0

    def take(self, number: int, state: int, way: str) -> int:
        if number != state + 1:
            raise AssertionError(f"{way} {number} came after {state}")
        self.ways[way] += 1
        return number

    def handle_call(self, message: Any, state: int) -> Any:
        match message:
            case "ways":
                return dict(self.ways), state
            case ("watch", ref):
                self.monitor(ref)
                return state, state
        state = self.take(message[0], state, "call")
        return state, state

    def handle_cast(self, message: Any, state: int) -> int:
        return self.take(message[0], state, "cast")

    def handle_info(self, message: Any, state: int) -> int:
        match message:
            case Exit(_, ("shutdown", number)):
                return self.take(number, state, "exit")
            case Down(_, _, ("shutdown", number)):
                return self.take(number, state, "down")
        return self.take(message[0], state, "send")


@behavior("sender")
class Sender(GenServer[None]):
    """Sends the numbers 1, 2, 3, ... to a `Sequence` by all ways in turn; its end is the last."""

    full: ClassVar[int] = 0  # how often the lane had no room, for all senders of this OS process

    def init(self) -> None:
        return None

    async def handle_cast(self, message: Any, state: None) -> Any:
        ref, total, large = message
        payload = bytes(large)
        for number in range(1, total):
            await self.send_one(ref, number, total, payload)
        return Stop(("shutdown", total))

    async def send_one(self, ref: Any, number: int, total: int, payload: bytes) -> None:
        if number % 1009 == 0:
            assert await ref.call((number,), timeout=60.0) == number
        elif number % 499 == 0:
            ref.exit(("shutdown", number))
        elif number % (total // 20) < 3:  # more than the lane has room for
            await self.until_taken(ref.cast, (number, payload))
        elif number % 5 == 0:
            await self.until_taken(ref.send, (number,))
        elif not ref.cast((number,)):
            await self.until_taken(ref.cast, (number,))

    async def until_taken(self, send: Any, message: Any) -> None:
        """What returned False was not sent; what returned True arrives."""
        while not send(message):
            Sender.full += 1
            await asyncio.sleep(0)


@behavior("wanderer")
class Wanderer(GenServer[None]):
    """Does what its random numbers say to the processes it knows, and watches over the answers.

    `wrong` is what must not be: a second `Down`, one after a cancel, a call that ends too late.
    """

    PATIENCE: ClassVar[float] = 0.2  # of a call, in seconds
    SLACK: ClassVar[float] = 20.0  # for a machine that is busy with something else

    def init(self, seed: int) -> None:
        self.trap_exits = True
        self.random = Random(seed)
        self.known: list[Any] = []
        self.watching: dict[int, Any] = {}  # monitors, by id
        self.children: dict[int, Any] = {}  # those of children, which nobody cancels
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()
        self.roaming: list[Any] = []

    async def handle_call(self, message: Any, state: None) -> Any:
        match message:
            case ("know", refs):
                self.known += [ref for ref in refs if ref != self.ref]
                self.roaming = self.roaming or [self.spawn_task(self.roam()) for _ in range(5)]
                return len(self.known), state
            case "halt":
                for task in self.roaming:
                    task.cancel()
                return self.wrong, state
            case "unfired":
                return self.unfired(), state
            case "release":
                return self.release(), state
            case ("wait", seconds):
                await asyncio.sleep(seconds)
                return seconds, state
            case "keep":
                return NoReply()
        return message, state

    def handle_cast(self, message: Any, state: None) -> None:
        self.done["casts"] += 1

    def handle_info(self, message: Any, state: None) -> None:
        match message:
            case Down(monitor, _, _):
                self.done["downs"] += 1
                if self.watching.pop(monitor.id, None) is None:
                    self.wrong.append(f"{monitor} fired twice, or was cancelled")
            case Exit():
                self.done["exits"] += 1

    async def roam(self) -> None:
        while True:
            other = self.random.choice(self.known)
            await self.random.choice(self.DEEDS)(self, other)
            await asyncio.sleep(0)

    async def ask(self, other: Any) -> None:
        number = self.random.random()
        message = self.random.choice((number, number, number, ("wait", number / 50), "keep"))
        began = self.kernel.clock.now()
        try:
            answer = await other.call(message, timeout=self.PATIENCE)
        except NoexError as error:
            self.done[type(error).__name__] += 1
        else:
            self.done["answers"] += 1
            if message == "keep" or answer not in (message, number / 50):
                self.wrong.append(f"{message} was answered with {answer}")
        took = self.kernel.clock.now() - began
        if took > self.PATIENCE + self.SLACK:
            self.wrong.append(f"a call took {took:g} s")

    async def give_up(self, other: Any) -> None:
        asking = asyncio.ensure_future(other.call("keep", timeout=self.PATIENCE))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.sleep(self.random.random() / 100)
        finally:
            asking.cancel()

    async def tell(self, other: Any) -> None:
        for _ in range(self.random.randrange(20)):
            other.cast("x")
            other.send("y")

    async def watch(self, other: Any) -> None:
        monitor = self.monitor(other)
        self.watching[monitor.id] = monitor

    async def unwatch(self, _other: Any) -> None:
        cancellable = self.watching.keys() - self.children
        if cancellable:
            self.watching.pop(self.random.choice(sorted(cancellable))).cancel()

    async def tie(self, other: Any) -> None:
        self.link(other)

    async def untie(self, other: Any) -> None:
        self.unlink(other)

    async def look(self, other: Any) -> None:
        try:
            assert (await other.info(timeout=self.PATIENCE)).ref == other
            assert await other.is_alive(timeout=self.PATIENCE) in (True, False)
        except NoexError as error:
            self.done[type(error).__name__] += 1

    async def bear(self, other: Any) -> None:
        """A child that is linked and watched, and ended in one way or another."""
        try:
            child = await self.node.options(timeout=self.PATIENCE * 5).spawn(
                "server", on=other.node_id
            )
            self.link(child)
            monitor = self.monitor(child)
            self.watching[monitor.id] = self.children[monitor.id] = monitor
            match self.random.randrange(5):
                case 0:
                    await child.stop("shutdown", timeout=self.PATIENCE)
                case 1:
                    child.cast(("crash", Told("storm", 1)))
                case 2:
                    child.cast(("end", ("shutdown", "storm")))
                case 3:
                    child.exit("odd")
            child.exit("kill")
        except NoexError as error:
            self.done[type(error).__name__] += 1

    def unfired(self) -> int:
        """How many children have not been heard to end."""
        return sum(monitor.active for monitor in self.children.values())

    def release(self) -> dict[str, int]:
        """Let go of everything."""
        for monitor in self.watching.values():
            monitor.cancel()
        self.watching.clear()
        for ref in self.known:
            self.unlink(ref)
        return dict(self.done)

    DEEDS = (ask, ask, give_up, tell, watch, watch, unwatch, tie, tie, untie, untie, look, bear)
