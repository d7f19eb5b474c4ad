"""One GenServer against a simple model: messages, system messages, timeouts and ends, in any order,
with a bounded mailbox or without (cases 131, 133, 139, 140, 142, 148).

Links and monitors between many are in test_signals_model.py. Here the rules put things into the
mailbox without giving the loop a turn, so that they meet there; `settle` lets the process work, and
then it must have done exactly what the model did. Time is virtual.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from noex.runtime import states, system
from noex.runtime.calls import LocalCaller
from noex.runtime.errors import NoProcessError, OverloadedError, ServerCrashedError
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.mailboxes import Mailbox
from noex.runtime.messages import TIMEOUT, Exit
from noex.runtime.returns import NoReply, Reply, Stop
from noex.testing.virtual import VirtualLoop

TURNS: Final = 40  # of the loop: more than anything here takes
TIMES: Final = (1.01, 2.03)  # idle timeouts; the time passes in steps that never meet them
STEPS: Final = (0.1, 1.2, 5.0)
State = tuple[Any, ...]


class Boom(Exception):
    """A crash."""


def handle(server: Any, kind: str, message: Any, state: State) -> Any:
    """What a message asks for, in the words of the model: ``(what, value)``."""
    what, value = message if isinstance(message, tuple) else ("note", message)
    state = (*state, (kind, what, value))
    match what:
        case "crash":
            raise Boom(value)
        case "stop":
            return (
                Stop(value, state=state)
                if kind != "call"
                else Stop(value, reply="bye", state=state)
            )
        case "keep":
            server.kept.append(server.caller)
            return NoReply(state)
        case "answer":
            if server.kept:
                server.kept.pop(0).reply(("answer", value))
    follow: dict[str, Any] = {}
    if what == "continue":
        follow["continue_with"] = value
    elif what == "timeout":
        follow["timeout"] = value
    if kind == "call":
        return Reply(("reply", value), state, **follow) if follow else (("reply", value), state)
    return NoReply(state, **follow)


class Plain(GenServer[State]):
    def init(self, traps: bool, ends: list[Any]) -> State:
        self.trap_exits = traps
        self.kept: list[Any] = []
        self.ends = ends
        return ()

    def handle_call(self, message: Any, state: State) -> Any:
        return handle(self, "call", message, state)

    def handle_cast(self, message: Any, state: State) -> Any:
        return handle(self, "cast", message, state)

    def handle_info(self, message: Any, state: State) -> Any:
        return handle(self, "info", message, state)

    def handle_continue(self, token: Any, state: State) -> Any:
        return handle(self, "continue", token, state)


class Async(Plain):
    async def handle_call(self, message: Any, state: State) -> Any:
        await asyncio.sleep(0)
        return handle(self, "call", message, state)

    async def handle_cast(self, message: Any, state: State) -> Any:
        await asyncio.sleep(0)
        return handle(self, "cast", message, state)

    async def handle_info(self, message: Any, state: State) -> Any:
        return handle(self, "info", message, state)


class Tidy(Plain):
    def terminate(self, reason: Any, state: State) -> None:
        self.ends.append((reason, state))


class TidyAsync(Async):
    async def terminate(self, reason: Any, state: State) -> None:
        await asyncio.sleep(0)
        self.ends.append((reason, state))


class Model:
    """A process, as it is meant: one message at a time, and what follows from each."""

    def __init__(self, tidy: bool, traps: bool, bound: Mailbox | None) -> None:
        self.tidy, self.traps, self.bound = tidy, traps, bound
        self.dropped = 0
        self.alive = True
        self.suspended = False
        self.state: State = ()
        self.mailbox: deque[tuple[str, Any, int | None]] = deque()
        self.kept: list[int] = []
        self.given_up: set[int] = set()
        self.answers: dict[int, Any] = {}
        self.ends: list[Any] = []
        self.now = 0.0
        self.due: float | None = None

    # what arrives

    def post(self, kind: str, message: Any, ident: int | None = None) -> bool:
        item = (kind, message, ident)
        if not self.alive:
            if ident is not None:
                self.answers[ident] = "noproc"
            return False
        others = [item for item in self.mailbox if is_of_others(item)]
        if self.bound is not None and is_of_others(item) and len(others) >= self.bound.limit:
            self.dropped += 1
            if self.bound.policy != "drop_old":
                self.overload(ident)
                return False
            self.mailbox.remove(others[0])
            self.overload(others[0][2])
        self.mailbox.append(item)
        return True

    def overload(self, ident: int | None) -> None:
        if ident is not None:
            self.answers[ident] = "overloaded"

    def ask(self, operation: Any, ident: int) -> None:
        if self.alive and (self.suspended or not self.mailbox):
            self.serve(operation, ident)
        else:
            self.post("system", operation, ident)

    def order(self, reason: str) -> None:
        if self.suspended:
            self.suspended = False
            self.mailbox.appendleft(("stop", reason, None))
        else:
            self.post("stop", reason)

    def exit(self, reason: str) -> None:
        if not self.alive:
            return
        if reason == "kill":
            self.die("killed")
        elif self.traps:
            self.post("info", Exit(None, reason))
        elif reason != "normal":
            if not self.tidy:
                self.die(reason)
            elif not self.mailbox or self.mailbox[0][0] != "exit":
                self.suspended = False
                self.mailbox.appendleft(("exit", reason, None))

    # what is done about it

    def run(self) -> None:
        while self.alive and not self.suspended and self.mailbox:
            kind, message, ident = self.mailbox.popleft()
            if ident in self.given_up:
                continue
            if kind == "system":
                self.serve(message, ident)
                continue
            self.due = None
            if kind in ("stop", "exit"):
                self.end(message)
            else:
                self.handle(kind, message, ident)

    def serve(self, operation: Any, ident: int | None) -> None:
        what, value = operation
        answer: Any = None
        if what == "get_state":
            answer = self.state
        elif what == "replace_state":
            self.state = value
        elif what == "resume":
            self.suspended = False
        elif not self.suspended:
            self.suspended = True
            self.serve_what_is_not_held_up()
        if ident is not None:
            self.answers[ident] = answer

    def serve_what_is_not_held_up(self) -> None:
        for item in list(self.mailbox):
            kind, message, ident = item
            if not self.suspended or kind not in ("system", "stop"):
                continue
            self.mailbox.remove(item)
            if kind == "stop":
                self.order(message)
            elif ident not in self.given_up:
                self.serve(message, ident)
            elif message[0] == "resume":  # it was looked for, and taken, though nobody waits
                break

    def handle(self, kind: str, message: Any, ident: int | None) -> None:
        what, value = message if isinstance(message, tuple) else ("note", message)
        self.state = (*self.state, (kind, what, value))
        reply: Any = ("reply", value)
        if what == "crash":
            self.state = self.state[:-1]
            if ident is not None:
                self.kept.append(ident)
            self.end(Boom)
            return
        if what == "stop":
            reply = "bye"
        elif what == "keep" and ident is not None:
            self.kept.append(ident)
            return
        elif what == "answer" and self.kept:
            self.answers[self.kept.pop(0)] = ("answer", value)
        if ident is not None:
            self.answers[ident] = reply
        if what == "stop":
            self.end(value)
        elif what == "continue":
            self.mailbox.appendleft(("continue", value, None))
        elif what == "timeout" and value == 0:
            self.mailbox.appendleft(("info", TIMEOUT, None))
        elif what == "timeout":
            self.due = self.now + value

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.due is not None and self.due <= self.now:
            self.due = None
            if not self.mailbox:
                self.post("info", TIMEOUT)
                self.run()

    def end(self, reason: Any) -> None:
        if self.tidy:
            self.ends.append((reason, self.state))
        self.die(reason)

    def die(self, reason: Any) -> None:
        self.alive, self.suspended, self.due = False, False, None
        for _kind, _message, ident in self.mailbox:
            if ident is not None:
                self.answers[ident] = ("crashed", reason)
        for ident in self.kept:
            self.answers[ident] = ("crashed", reason)
        self.mailbox.clear()
        self.kept.clear()


def is_of_others(item: tuple[str, Any, int | None]) -> bool:
    """Whether it counts against a bound: it is nothing that the system has sent."""
    kind, message, _ = item
    return kind in ("call", "cast", "info") and type(message) is tuple


def by_class(reason: Any) -> Any:
    return type(reason) if isinstance(reason, Boom) else reason


CLASSES = st.sampled_from([Plain, Async, Tidy, TidyAsync])
BOUNDS = st.sampled_from(
    [None, None, Mailbox(1), Mailbox(2, "drop_new"), Mailbox(2, "drop_old"), Mailbox(1, "drop_old")]
)
MESSAGES = st.one_of(
    st.tuples(st.sampled_from(["note", "answer", "continue"]), st.integers(0, 9)),
    st.tuples(st.just("continue"), st.tuples(st.just("timeout"), st.sampled_from([0, *TIMES]))),
    st.tuples(st.just("timeout"), st.sampled_from([0, *TIMES])),
)
ENDINGS = st.tuples(st.sampled_from(["crash", "stop"]), st.sampled_from(["normal", "odd"]))
CALLS = st.one_of(MESSAGES, st.tuples(st.just("keep"), st.integers(0, 9)))
NEW_STATES = st.tuples(st.tuples(st.just("new"), st.integers(0, 9)))


alive = precondition(lambda self: self.model.alive)


class GenServerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.complaints: list[Any] = []
        self.loop.set_exception_handler(lambda _loop, context: self.complaints.append(context))
        self.kernel = Kernel(loop=self.loop, kill_grace=0.2)
        self.ends: list[Any] = []
        self.callers: dict[int, LocalCaller] = {}
        self.settled = True
        self.model: Any = None

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(cls=CLASSES, traps=st.booleans(), bound=BOUNDS)
    def start(self, cls: type[Plain], traps: bool, bound: Mailbox | None) -> None:
        self.callers.clear()
        self.ends.clear()
        self.ref: Any = self.run(self.kernel.start(cls, (traps, self.ends), mailbox=bound))
        self.process = self.ref.process
        self.model = Model(cls in (Tidy, TidyAsync), traps, bound)

    @precondition(lambda self: not self.model.alive)
    @rule(cls=CLASSES, traps=st.booleans(), bound=BOUNDS)
    def start_again(self, cls: type[Plain], traps: bool, bound: Mailbox | None) -> None:
        self.settle()
        self.the_two_agree()
        self.start(cls, traps, bound)

    # into the mailbox

    @alive
    @rule(message=MESSAGES)
    def cast(self, message: Any) -> None:
        assert self.ref.cast(message) is self.model.post("cast", message)
        self.settled = False

    @alive
    @rule(message=MESSAGES)
    def send(self, message: Any) -> None:
        assert self.ref.send(message) is self.model.post("info", message)
        self.settled = False

    @alive
    @rule(message=CALLS)
    def call(self, message: Any) -> None:
        ident, caller = self.new_caller()
        if not self.process.deliver((states.CALL, message, caller)):
            caller.fail(NoProcessError(self.ref))
        self.model.post("call", message, ident)
        self.settled = False

    @precondition(lambda self: self.settled and not self.model.suspended and self.model.alive)
    @rule(message=st.tuples(st.sampled_from(["note", "continue"]), st.integers(0, 9)))
    def call_when_idle(self, message: Any) -> None:
        """The short way, in the turn of the caller."""
        assert self.run(self.ref.call(message)) == ("reply", message[1])
        self.model.post("call", message, -1)
        self.model.run()

    @alive
    @rule(state=NEW_STATES)
    def read_and_replace_state(self, state: State) -> None:
        self.ask("get_state")
        self.ask("replace_state", state)

    @alive
    @rule()
    def suspend(self) -> None:
        self.ask("suspend")

    @alive
    @rule(then=st.sampled_from(["resume", "get_state", "stop"]), message=MESSAGES)
    def suspend_with_more_behind_it(self, then: str, message: Any) -> None:
        self.cast(message)
        self.ask("suspend")
        self.send(message)
        if then == "stop":
            self.order("odd")
        else:
            self.ask(then)
        self.cast(message)
        self.ask("get_state")

    @alive
    @rule()
    def resume(self) -> None:
        self.ask("resume")

    @alive
    @rule(message=ENDINGS, how=st.sampled_from(["cast", "send", "call"]))
    def end_by_itself(self, message: Any, how: str) -> None:
        getattr(self, how)(message)

    @alive
    @rule(reason=st.sampled_from(["normal", "odd", "kill"]), ordered=st.booleans())
    def end_from_outside(self, reason: str, ordered: bool) -> None:
        if ordered:
            self.order(reason)
        else:
            self.ref.exit(reason)
            self.model.exit(reason)
            self.settled = False

    @precondition(lambda self: not self.model.alive)
    @rule(message=MESSAGES)
    def speak_to_the_dead(self, message: Any) -> None:
        for way in (self.cast, self.send, self.call):
            way(message)
        self.ask("get_state")
        self.order("odd")
        self.ref.exit("odd")

    def order(self, reason: str) -> None:
        self.kernel.ask_to_stop(self.ref, reason)
        self.model.order(reason)
        self.settled = False

    def ask(self, what: str, *args: Any) -> None:
        ident, caller = self.new_caller()
        if self.model.alive:
            system.accept(self.process, what, args, caller)
        else:
            caller.fail(NoProcessError(self.ref))
        self.model.ask((what, *args) if args else (what, None), ident)
        self.settled = False

    @rule(pick=st.integers(0, 1000))
    def give_up(self, pick: int) -> None:
        waiting = [ident for ident, caller in self.callers.items() if not caller.future.done()]
        if waiting:
            ident = waiting[pick % len(waiting)]
            self.callers[ident].future.cancel()
            self.model.given_up.add(ident)

    def new_caller(self) -> tuple[int, LocalCaller]:
        ident = len(self.callers)
        caller = self.callers[ident] = LocalCaller(self.loop.create_future(), self.ref)
        return ident, caller

    # the process works, and time passes

    @rule()
    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.run(turns())
        self.model.run()
        self.settled = True

    @rule(seconds=st.sampled_from(STEPS))
    def wait(self, seconds: float) -> None:
        self.settle()
        self.run(asyncio.sleep(seconds))
        self.model.pass_time(seconds)
        self.settle()

    # the two agree

    @invariant()
    def the_two_agree(self) -> None:
        if not self.settled:
            return
        model = self.model
        assert (self.ref.process is not None) == model.alive
        assert self.kernel.process_count == model.alive
        assert [(by_class(reason), state) for reason, state in self.ends] == model.ends
        if model.alive:
            self.they_rest_alike()
        else:
            assert not self.process.mailbox and not self.process.open_calls
        for ident, caller in self.callers.items():
            if ident not in model.given_up:
                expected = model.answers.get(ident, "waiting")
                assert self.outcome(caller.future) == expected, ident

    def they_rest_alike(self) -> None:
        process, model = self.process, self.model
        assert process.state == model.state
        assert process.dropped == model.dropped
        resting = states.SUSPENDED if model.suspended else states.IDLE
        assert (process.status, process.worker) == (resting, None)
        assert len(process.mailbox or ()) == len(model.mailbox)
        assert model.suspended or not model.mailbox
        assert (process.idle_deadline is not None) == (model.due is not None)

    def outcome(self, future: asyncio.Future[Any]) -> Any:
        if not future.done():
            return "waiting"
        match future.exception():
            case None:
                return future.result()
            case NoProcessError():
                return "noproc"
            case OverloadedError():
                return "overloaded"
            case ServerCrashedError(reason=reason):  # type: ignore[misc]
                return ("crashed", by_class(reason))
        raise AssertionError(future)

    def teardown(self) -> None:
        self.run(self.kernel.shutdown())
        left = asyncio.all_tasks(self.loop)
        self.loop.close()
        assert left == set() and self.complaints == []


TestGenServer = GenServerMachine.TestCase
TestGenServer.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
