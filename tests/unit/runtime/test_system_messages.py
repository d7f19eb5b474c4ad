"""System messages: questions and orders to any process (cases 137, 142, 148, 149, 151, 154).

What they are, how a suspended process behaves, and that they do not count as messages.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from actors import (
    Actor,
    AsyncActor,
    Gate,
    TidyActor,
    TidyAsyncActor,
    raises,
    run,
    started,
    turns,
    until,
)

from noex.runtime.errors import (
    CallCycleError,
    CallTimeoutError,
    InvalidOptionError,
    NodeNotReachableError,
    NoProcessError,
    ServerCrashedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.info import ProcessInfo
from noex.runtime.kernel import Kernel
from noex.runtime.messages import TIMEOUT, Exit
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply, Reply, Stop
from noex.runtime.tracing import TraceEvent
from noex.runtime.typed import MethodCall, call, cast

BOTH = pytest.mark.parametrize("cls", [Actor, AsyncActor])


class Sum(GenServer[int]):
    """Adds up."""

    def init(self, start: int = 0) -> int:
        return start

    def handle_call(self, message: Any, state: int) -> Any:
        return state, state

    def handle_cast(self, message: int, state: int) -> int:
        return state + message


def stand_at(gate: Gate) -> Callable[[Any, Any], Any]:
    """A message whose handler stands at a gate."""

    async def handler(_server: Any, _state: Any) -> None:
        await gate.passage()

    return handler


def then_wait(seconds: float) -> Callable[[Any, Any], Any]:
    """A message whose handler asks for a `TIMEOUT`."""
    return lambda _server, _state: NoReply(timeout=seconds)


# ---------------------------------------------------------------------- info


def test_info_tells_what_a_process_is() -> None:
    async def main(kernel: Kernel) -> None:
        parent = await started(kernel, Actor)
        other = await started(kernel, Actor)
        options = {"name": "db", "parent": parent, "fence": (1, 2)}
        ref = await started(kernel, Actor, trap=True, options=options)
        assert ref.process is not None and parent.process is not None
        kernel.link(ref.process, other)
        kernel.monitor(other, ref.process)
        kernel.monitor(ref, parent.process)
        before = kernel.clock.wall()
        ref.cast("a")
        await ref.call("b")
        info = await ref.info()
        assert info == ProcessInfo(
            ref=ref,
            behavior="Actor",
            name="db",
            node_id=kernel.node_id,
            status="idle",
            mailbox_length=0,
            messages_handled=2,
            started_at=info.started_at,
            links=(other,),
            monitors=(other,),
            monitored_by=1,
            parent=parent,
            trap_exits=True,
            fence=(1, 2),
        )
        assert before - 5 < info.started_at <= before + 1

    run(main)


def test_info_is_answered_while_a_handler_awaits_and_says_which() -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate = await started(kernel, AsyncActor), Gate()
        ref.cast(stand_at(gate))
        await gate.reached.wait()
        ref.cast("later")
        ref.send("later still")
        info = await ref.info(timeout=0.5)
        assert (info.status, info.mailbox_length) == ("running", 2)
        assert info.current_handler == "handle_cast"
        assert info.current_message is not None and "stand_at" in info.current_message
        gate.opened.set()
        await ref.call("done")
        info = await ref.info()
        assert (info.status, info.current_handler, info.current_message) == ("idle", None, None)

    run(main)


def test_info_says_for_whom_a_handler_waits() -> None:
    async def main(kernel: Kernel) -> None:
        busy, gate = await started(kernel, AsyncActor), Gate()
        ref = await started(kernel, AsyncActor)
        busy.cast(stand_at(gate))

        async def ask(_server: Any, _state: Any) -> None:
            await busy.call("a")

        ref.cast(ask)
        await until(lambda: ref.process is not None and ref.process.waiting_on is not None)
        assert (await ref.info()).calling == busy
        gate.opened.set()
        await ref.call("done")
        assert (await ref.info()).calling is None

    run(main)


def test_info_of_a_process_that_is_starting_or_stopping() -> None:
    init, terminate = Gate(), Gate()

    class Slow(Actor):
        async def init(self, **options: Any) -> Any:  # type: ignore[override]
            await init.passage()
            return {}

        async def terminate(self, reason: Any, state: Any) -> None:
            await terminate.passage()

    async def main(kernel: Kernel) -> None:
        start = asyncio.ensure_future(started(kernel, Slow, options={"name": "slow"}))
        await init.reached.wait()
        ref = kernel.named_ref("slow")
        info = await ref.info()
        assert (info.status, info.current_handler) == ("starting", "init")
        init.opened.set()
        await start
        stop = asyncio.ensure_future(ref.stop())
        await terminate.reached.wait()
        info = await ref.info()
        assert (info.status, info.current_handler) == ("stopping", "terminate")
        terminate.opened.set()
        await stop

    run(main)


def test_a_process_may_ask_for_its_own_info() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, AsyncActor)

        async def look(server: Any, state: Any) -> Any:
            info = await server.ref.info()
            return (info.status, info.current_handler), state

        assert await ref.call(look) == ("running", "handle_call")

    run(main)


def test_statistics_are_what_is_counted_anyway() -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate = await started(kernel, Actor), Gate()

        def open_all(server: Any, state: Any) -> NoReply:
            server.send_after(60.0, "late")
            server.spawn_task(gate.passage())
            return NoReply()

        waiting = asyncio.ensure_future(ref.call(open_all))
        for _ in range(9):
            ref.cast("a")
        await turns()
        found = await ref.statistics()
        assert (found.messages_handled, found.mailbox_length, found.messages_dropped) == (10, 0, 0)
        assert (found.replies_owed, found.timers, found.tasks) == (1, 1, 1)
        assert found.uptime >= 0
        if found.uptime:
            assert found.messages_per_second == pytest.approx(10 / found.uptime)
        await ref.stop()
        with pytest.raises(ServerCrashedError):
            await waiting

    run(main)


def test_a_server_that_answers_before_it_returns_owes_nothing() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)

        def reply_first(server: Any, _state: Any) -> NoReply:
            server.caller.reply("early")
            return NoReply()

        ref.cast("busy")  # so that the call goes through the mailbox
        assert await ref.call(reply_first) == "early"
        assert await ref.call(reply_first) == "early"
        assert (await ref.statistics()).replies_owed == 0

    run(main)


# ---------------------------------------------------------------------- state


@BOTH
def test_state_is_read_and_replaced_in_the_order_of_the_mailbox(cls: type[Any]) -> None:
    def becomes(value: Any) -> Callable[[Any, Any], Any]:
        return lambda _server, _state: [value]

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        ref.cast(becomes("a"))
        first = asyncio.ensure_future(ref.get_state())
        await asyncio.sleep(0)
        ref.cast(becomes("b"))
        assert await ref.get_state() == ["b"]
        assert await first == ["a"]
        ref.cast(becomes("c"))
        assert await ref.replace_state(["d"]) is None  # type: ignore[func-returns-value]
        ref.cast(lambda _server, state: [*state, "e"])
        assert await ref.get_state() == ["d", "e"]

    run(main)


def test_the_state_of_a_busy_process_comes_when_its_turn_has_come() -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate = await started(kernel, AsyncActor), Gate()
        ref.cast(stand_at(gate))
        await gate.reached.wait()
        with pytest.raises(CallTimeoutError):
            await ref.get_state(timeout=0.01)
        waiting = asyncio.ensure_future(ref.get_state())
        await turns()
        assert not waiting.done()
        gate.opened.set()
        assert await waiting == await ref.get_state()

    run(main)


def test_what_was_given_up_is_not_carried_out() -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate = await started(kernel, AsyncActor), Gate()
        ref.cast(stand_at(gate))
        await gate.reached.wait()
        for order in (ref.replace_state("lost", timeout=0.01), ref.suspend(timeout=0.01)):
            with pytest.raises(CallTimeoutError):
                await order
        gate.opened.set()
        assert await ref.call("served") == "served"
        assert await ref.get_state() != "lost"

    run(main)


def test_a_handler_that_asks_for_its_own_state_is_told_of_the_cycle() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, AsyncActor)

        async def ask_itself(server: Any, state: Any) -> Any:
            refused = []
            for ask in (
                server.ref.get_state(),
                server.ref.replace_state(1),
                server.ref.suspend(),
                server.ref.resume(),
            ):
                with pytest.raises(CallCycleError):
                    await ask
                refused.append(ask)
            return len(refused), state

        assert await ref.call(ask_itself) == 4

    run(main)


def test_a_cycle_of_two_is_noticed_as_with_calls() -> None:
    async def main(kernel: Kernel) -> None:
        one, two = await started(kernel, AsyncActor), await started(kernel, AsyncActor)

        async def back(_server: Any, state: Any) -> Any:
            with pytest.raises(CallCycleError):
                await one.get_state()
            return "told", state

        async def there(_server: Any, state: Any) -> Any:
            return await two.call(back), state

        assert await one.call(there) == "told"

    run(main)


def test_a_task_of_the_process_may_ask() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        found: list[Any] = []

        async def look() -> None:
            found.append(await ref.get_state())

        ref.cast(lambda server, _state: server.spawn_task(look()) and None)
        await until(lambda: found)

    run(main)


# ---------------------------------------------------------------------- who is not there


OPERATIONS: list[Callable[[Any], Any]] = [
    lambda ref: ref.info(),
    lambda ref: ref.statistics(),
    lambda ref: ref.get_state(),
    lambda ref: ref.replace_state(1),
    lambda ref: ref.suspend(),
    lambda ref: ref.resume(),
    lambda ref: ref.trace(),
    lambda ref: ref.trace(False),
    lambda ref: ref.untrace(True),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_dead_and_the_unknown_are_refused_as_by_call(operation: Callable[[Any], Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await ref.stop()
        with pytest.raises(NoProcessError):
            await operation(ref)
        with pytest.raises(NoProcessError):
            await operation(kernel.named_ref("nobody"))
        with pytest.raises(NodeNotReachableError):
            await operation(kernel.named_ref("nobody", "b@127.0.0.1:1"))

    run(main)


@pytest.mark.parametrize("name", ["info", "statistics", "get_state", "suspend", "resume", "trace"])
def test_a_time_that_is_none_is_refused(name: str) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(InvalidOptionError) as caught:
            await getattr(ref, name)(timeout=0)
        assert caught.value.args[0] == "timeout"

    run(main)


@pytest.mark.parametrize("cls", [AsyncActor, TidyAsyncActor])
def test_an_end_answers_those_who_still_wait(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref, gate = await started(kernel, cls), Gate()
        ref.cast(stand_at(gate))
        await gate.reached.wait()
        asks = (ref.get_state, ref.suspend, ref.resume)
        waiting = [asyncio.ensure_future(ask()) for ask in asks]
        await turns()
        ref.exit("kill")
        for asked in waiting:
            with pytest.raises(ServerCrashedError) as caught:
                await asked
            assert caught.value.args[1] == "killed"

    run(main)


def test_who_does_nothing_but_ask_gives_way_to_the_loop() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        over = False

        async def ask_on() -> None:
            while not over:
                await ref.info()
                await ref.get_state()

        asking = asyncio.ensure_future(ask_on())
        await turns()
        over = True
        await asking

    run(main)


# ---------------------------------------------------------------------- suspended


@BOTH
def test_a_suspended_process_handles_nothing_until_it_is_resumed(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await started(kernel, cls, seen=(seen := [])), seen
        ref.cast("before")
        await ref.suspend()
        await ref.suspend()
        assert seen == ["before"]
        ref.cast("a")
        ref.send("b")
        with pytest.raises(CallTimeoutError):
            await ref.call("given up", timeout=0.01)
        called = asyncio.ensure_future(ref.call("c"))
        await turns()
        info = await ref.info()
        assert (info.status, info.mailbox_length, info.messages_handled) == ("suspended", 4, 1)
        assert seen == ["before"]
        await ref.resume()
        await ref.resume()
        assert await called == "c"
        assert seen == ["before", "a", "b", "c"]
        assert (await ref.info()).status == "idle"

    run(main)


@BOTH
def test_what_is_queued_is_handled_before_the_suspension(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast("a")
        suspended = asyncio.ensure_future(ref.suspend())
        await asyncio.sleep(0)
        ref.cast("b")
        await suspended
        await turns(30)
        assert seen == ["a"]
        assert (await ref.info()).mailbox_length == 1
        await ref.resume()
        await ref.call("c")
        assert seen == ["a", "b", "c"]

    run(main)


def test_the_worker_of_a_process_ends_when_it_is_suspended() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref, gate = await started(kernel, AsyncActor, seen=seen), Gate()
        ref.cast(stand_at(gate))
        await gate.reached.wait()
        assert ref.process is not None and ref.process.worker is not None
        suspended_work = ref.process.worker.get_coro()
        suspended = asyncio.ensure_future(ref.suspend())
        await turns()
        ref.cast("after")
        gate.opened.set()
        await suspended
        await turns()
        assert ref.process is not None and ref.process.worker is None
        assert not [task for task in asyncio.all_tasks() if task.get_coro() is suspended_work]
        await ref.resume()
        assert await ref.call("c") == "c"
        assert seen == ["after", "c"]

    run(main)


@BOTH
def test_questions_behind_a_suspension_are_not_held_up_by_it(cls: type[Any]) -> None:
    def note(_server: Any, state: Any) -> Any:
        return {**state, "notes": state.get("notes", 0) + 1}

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        ref.cast(note)
        asked = []
        for step in ("suspend", "cast", "get_state", "cast", "resume", "cast", "get_state"):
            if step == "cast":
                ref.cast(note)
            else:
                asked.append(asyncio.ensure_future(getattr(ref, step)()))
                await asyncio.sleep(0)
        _, suspended, _, resumed = await asyncio.gather(*asked)
        assert (suspended["notes"], resumed["notes"]) == (1, 4)
        assert (await ref.info()).messages_handled == 4

    run(main)


@BOTH
def test_state_is_read_and_replaced_while_it_is_suspended(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls)
        await ref.suspend()
        ref.cast(lambda _server, state: [state])
        await ref.replace_state("new")
        assert await ref.get_state() == "new"
        await ref.resume()
        assert await ref.get_state() == ["new"]

    run(main)


ENDS = pytest.mark.parametrize("cls", [Actor, AsyncActor, TidyActor, TidyAsyncActor])


@ENDS
def test_an_ordered_stop_ends_a_suspended_process_before_what_waits(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        await ref.suspend()
        ref.cast("never")
        called = asyncio.ensure_future(ref.call("never"))
        await turns()
        await ref.stop("shutdown")
        with pytest.raises(ServerCrashedError):
            await called
        tidy = cls in (TidyActor, TidyAsyncActor)
        assert seen == ([("terminate", "shutdown")] if tidy else [])

    run(main)


@ENDS
def test_a_stop_that_is_queued_behind_the_suspension_ends_it(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast("a")
        suspended = asyncio.ensure_future(ref.suspend())
        await asyncio.sleep(0)
        ref.cast("never")
        await ref.stop()
        await suspended
        assert "never" not in seen and seen[0] == "a"

    run(main)


@ENDS
@pytest.mark.parametrize("reason", ["odd", "kill"])
def test_an_exit_signal_ends_a_suspended_process(cls: type[Any], reason: str) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        await ref.suspend()
        ref.cast("never")
        gone = kernel.monitor(ref)
        ref.exit(reason)
        ended = "killed" if reason == "kill" else reason
        assert await gone.wait(1.0) == ended
        tidy = cls in (TidyActor, TidyAsyncActor) and reason != "kill"
        assert seen == ([("terminate", reason)] if tidy else [])

    run(main)


def test_an_exit_signal_of_a_link_ends_it_and_a_trapped_one_waits() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        other = await started(kernel, Actor)
        linked = await started(kernel, Actor)
        trapping = await started(kernel, Actor, seen=seen, trap=True)
        for ref in (linked, trapping):
            assert ref.process is not None
            kernel.link(ref.process, other)
            await ref.suspend()
        gone = kernel.monitor(linked)
        other.exit("odd")
        assert await gone.wait(1.0) == "odd"
        await turns()
        assert (await trapping.info()).status == "suspended" and seen == []
        await trapping.resume()
        await trapping.call("c")
        assert seen == [Exit(other, "odd"), "c"]

    run(main)


def test_a_node_that_ends_takes_the_suspended_with_it() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        for cls in (Actor, TidyAsyncActor):
            await (await started(kernel, cls, seen=seen)).suspend()
        await kernel.shutdown(timeout=2.0)
        assert seen == [("terminate", "shutdown")]

    run(main)


# ---------------------------------------------------------------------- idle timeouts


@BOTH
def test_a_system_message_does_not_end_an_idle_timeout(cls: type[Any]) -> None:
    """Case 142: an ordinary message does."""

    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast(then_wait(0.03))
        behind = asyncio.ensure_future(ref.get_state())  # in the mailbox, behind that cast
        await behind
        await ref.get_state()
        await ref.info()
        await until(lambda: seen)
        assert seen == [TIMEOUT]
        ref.cast(then_wait(0.03))
        assert await ref.call("ordinary") == "ordinary"
        assert ref.process is not None and ref.process.idle_deadline is None

    run(main)


@BOTH
def test_a_timeout_that_is_due_while_it_is_suspended_comes_afterwards(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        ref.cast(then_wait(0.01))
        await ref.suspend()
        assert ref.process is not None
        await until(lambda: ref.process.mailbox)  # type: ignore[union-attr]
        ref.cast("later")
        await turns()
        assert seen == []
        await ref.resume()
        await ref.call("c")
        assert seen == [TIMEOUT, "later", "c"]

    run(main)


def test_a_message_while_it_is_suspended_ends_the_timeout() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        ref.cast(then_wait(0.02))
        await ref.suspend()
        ref.cast("in time")
        deadline = ref.process.idle_deadline  # type: ignore[union-attr]
        await until(lambda: deadline.callback is None)  # type: ignore[union-attr]
        await turns()
        await ref.resume()
        await ref.call("c")
        assert seen == ["in time", "c"]

    run(main)


# ---------------------------------------------------------------------- tracing


def events(told: list[TraceEvent]) -> list[tuple[str, str, Any]]:
    return [(event.direction, event.kind, event.message) for event in told]


@BOTH
def test_a_hook_sees_each_message_and_each_reply_with_the_state(cls: type[Any]) -> None:
    """Case 151."""

    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref = await started(kernel, cls)
        await ref.trace(told.append)
        assert (await ref.info()).is_traced
        ref.cast("a")
        ref.send("b")
        assert await ref.call("c") == "c"
        await ref.get_state()
        assert events(told) == [
            ("in", "cast", "a"),
            ("in", "info", "b"),
            ("in", "call", "c"),
            ("out", "call", "c"),
        ]
        assert {event.ref for event in told} == {ref}
        assert all(event.state is told[0].state for event in told) and "seen" in told[0].state
        assert await ref.call("inline") == "inline"
        assert events(told)[4:] == [("in", "call", "inline"), ("out", "call", "inline")]
        await ref.trace(False)
        await ref.call("d")
        assert len(told) == 6 and not (await ref.info()).is_traced
        assert ref.process is not None and ref.process.callbacks.handlers is None

    run(main)


@BOTH
def test_each_way_to_answer_is_told(cls: type[Any]) -> None:
    def later(server: Any, _state: Any) -> NoReply:
        kept.append(server.caller)
        return NoReply()

    kept: list[Any] = []
    ways: list[tuple[Any, Any]] = [
        (lambda _server, _state: Reply("reply"), "reply"),
        (lambda server, _state: server.caller.reply("early") and NoReply(), "early"),
        (lambda _server, _state: Stop("shutdown", reply="last"), "last"),
    ]

    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref = await started(kernel, cls)
        await ref.trace(told.append)
        deferred = asyncio.ensure_future(ref.call(later))
        await until(lambda: kept)
        assert [event.direction for event in told] == ["in"]
        kept[0].reply("deferred")
        assert await deferred == "deferred"
        for way, reply in ways:
            assert await ref.call(way) == reply
        answers = [event.message for event in told if event.direction == "out"]
        assert answers == ["deferred", "reply", "early", "last"]

    run(main)


def test_a_call_that_fails_is_told_with_its_error() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref = await started(kernel, Actor)
        await ref.trace(told.append)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call(raises(ValueError("no")))
        assert told[-1].direction == "out" and told[-1].message is caught.value

    run(main)


def test_an_expired_call_is_not_told_as_answered() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref, gate = await started(kernel, AsyncActor), Gate()
        await ref.trace(told.append)

        async def slowly(_server: Any, state: Any) -> Any:
            await gate.passage()
            return "late", state

        with pytest.raises(CallTimeoutError):
            await ref.call(slowly, timeout=0.01)
        gate.opened.set()
        await ref.call("a")
        assert [event.message for event in told if event.direction == "out"] == ["a"]

    run(main)


def test_continuations_and_orders_are_told_too() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref = await started(kernel, TidyActor)
        await ref.trace(told.append)
        ref.cast(lambda _server, _state: NoReply(continue_with="token"))
        await ref.stop("shutdown")
        assert [event.kind for event in told] == ["cast", "continue", "stop"]

    run(main)


def test_a_hook_is_called_once_for_each_id() -> None:
    """Case 151: the same installed twice fires once; two ids fire twice; each can be removed."""

    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        hook = told.append
        ref = await started(kernel, Actor)

        async def fires() -> int:
            told.clear()
            ref.cast("a")
            await turns()
            return len(told)

        await ref.trace(hook)
        await ref.trace(hook)
        assert await fires() == 1
        await ref.trace(hook, id="one")
        await ref.trace(hook, id="two")
        assert await fires() == 3
        await ref.untrace("one")
        assert await fires() == 2
        await ref.untrace(hook)
        assert await fires() == 1
        await ref.untrace("unknown")
        assert await fires() == 1
        await ref.untrace("two")
        assert await fires() == 0
        assert not (await ref.info()).is_traced

    run(main)


def test_a_hook_that_raises_is_removed_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def bad(_event: TraceEvent) -> None:
        raise SystemExit("bad hook")

    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref = await started(kernel, Actor)
        await ref.trace(bad)
        await ref.trace(told.append)
        assert await ref.call("a") == "a"
        assert await ref.call("b") == "b"
        assert len(told) == 4
        await ref.untrace(told.append)
        assert not (await ref.info()).is_traced

    run(main)
    assert caplog.text.count("trace_hook_failed") == 1


def test_the_log_gets_a_line_for_the_call_and_one_for_the_reply(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Case 149."""

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Sum, 7, options={"name": "sum"})
        await ref.trace()
        await ref.trace(True)
        await ref.call("total")
        await ref.trace(False)
        await ref.call("total")

    with caplog.at_level(logging.INFO, "noex"):
        run(main)
    traced = [r.noex for r in caplog.records if r.noex["event"] == "process_trace"]  # type: ignore[attr-defined]
    assert [(t["direction"], t["kind"], t["message"]) for t in traced] == [
        ("in", "call", "'total'"),
        ("out", "call", "7"),
    ]
    assert {(t["behavior"], t["name"]) for t in traced} == {("Sum", "sum")}


@pytest.mark.parametrize(
    ("hook", "key", "field"),
    [("text", None, "hook"), (None, None, "hook"), (print, [], "id")],
)
def test_a_hook_that_is_none_is_refused(hook: Any, key: Any, field: str) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(InvalidOptionError) as caught:
            await ref.trace(hook, id=key)
        assert caught.value.args[0] == field
        assert not (await ref.info()).is_traced

    run(main)


def test_tracing_may_begin_while_a_handler_awaits() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        ref, gate = await started(kernel, AsyncActor), Gate()
        ref.cast(stand_at(gate))
        await gate.reached.wait()
        ref.cast("next")
        await ref.trace(told.append)
        gate.opened.set()
        await ref.call("c")
        assert events(told) == [
            ("in", "cast", "next"),
            ("in", "call", "c"),
            ("out", "call", "c"),
        ]

    run(main)


def test_others_of_the_same_class_are_not_traced() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        traced, other = await started(kernel, Actor), await started(kernel, Actor)
        await traced.trace(told.append)
        await other.call("a")
        assert told == []
        assert other.process is not None and other.process.callbacks.handlers is None

    run(main)


# ---------------------------------------------------------------------- other kinds of handlers


class InThreads(Actor):
    """Its handlers run in a thread."""

    blocking = True


class Account(GenServer[int]):
    """Its methods are reached through `ref.proxy`."""

    def init(self) -> int:
        return 0

    @call
    def add(self, amount: int) -> int:
        self.state += amount
        return self.state

    @call
    async def later(self, gate: Gate) -> int:
        await gate.passage()
        return self.state

    @cast
    def reset(self) -> None:
        self.state = 0


def test_a_process_whose_handlers_run_in_threads_is_asked_like_any_other() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        entered, leave = threading.Event(), threading.Event()

        def stay(_server: Any, _state: Any) -> None:
            entered.set()
            leave.wait(5.0)

        ref = await started(kernel, InThreads, seen=seen)
        told: list[TraceEvent] = []
        ref.cast(stay)
        await until(entered.is_set)
        info = await ref.info()
        assert (info.status, info.current_handler) == ("running", "handle_cast")
        suspended = asyncio.ensure_future(ref.suspend())
        await ref.trace(told.append)
        await turns()
        assert not suspended.done()
        leave.set()
        await suspended
        ref.cast("later")
        await turns()
        assert seen == [] and (await ref.get_state())["seen"] is seen
        assert (await ref.info()).status == "suspended"
        await ref.resume()
        assert await ref.call("c") == "c"
        assert seen == ["later", "c"]
        assert events(told) == [
            ("in", "cast", "later"),
            ("in", "call", "c"),
            ("out", "call", "c"),
        ]
        await ref.suspend()
        await ref.stop()

    run(main)


def test_methods_are_traced_and_shown_by_their_names() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[TraceEvent] = []
        gate = Gate()
        ref: Ref[Account] = await started(kernel, Account)
        await ref.trace(told.append)
        assert await ref.proxy.add(5) == 5
        ref.proxy.reset()
        later = asyncio.ensure_future(ref.proxy.later(gate))
        await gate.reached.wait()
        info = await ref.info()
        assert info.current_handler == "later" and info.is_traced
        assert info.current_message is not None and "Gate" in info.current_message
        gate.opened.set()
        assert await later == 0
        assert events(told) == [
            ("in", "call", MethodCall("add", (5,), {})),
            ("out", "call", 5),
            ("in", "cast", MethodCall("reset", (), {})),
            ("in", "call", MethodCall("later", (gate,), {})),
            ("out", "call", 0),
        ]
        await ref.trace(False)
        assert await ref.proxy.add(1) == 1

    run(main)
