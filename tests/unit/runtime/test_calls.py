"""Rules 2 to 4 of "Processes": order, one outcome for each call, casts that never raise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Actor, AsyncActor, Gate, Mute, raises, run, started, turns, until

from noex.runtime.errors import (
    CallCycleError,
    CallTimeoutError,
    InvalidOptionError,
    MessageSerializationError,
    NodeNotReachableError,
    NoProcessError,
    ServerCrashedError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.returns import NoReply

BOTH = pytest.mark.parametrize("cls", [Actor, AsyncActor])


@BOTH
def test_order_from_one_sender_holds_over_all_kinds(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, cls, seen=seen)
        sent: list[Any] = []
        for n in range(300):
            sent.append(n)
            if n % 3 == 0:
                ref.cast(n)
            elif n % 3 == 1:
                ref.send(n)
            else:
                assert await ref.call(n) == n
        ref.cast("last")
        await ref.stop()
        assert seen == [*sent, "last"]

    run(main)


def test_a_call_does_not_overtake_a_cast_to_an_idle_process() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        ref.cast(1)  # queued: the call must not run in the caller's turn
        assert await ref.call(2) == 2
        assert seen == [1, 2]

    run(main)


@BOTH
def test_case_124_the_caller_learns_the_server_s_crash_reason(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        error = ValueError("boom")
        ref = await started(kernel, cls)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call(raises(error))
        assert caught.value.reason is error and caught.value.ref == ref
        assert caught.value.__cause__ is error  # so a traceback shows where it was raised

    run(main)


def test_waiting_callers_learn_it_too() -> None:
    async def main(kernel: Kernel) -> None:
        gate, error = Gate(), ValueError("boom")

        async def crash(_server: Any, _state: Any) -> None:
            await gate.passage()
            raise error

        ref = await started(kernel, AsyncActor)
        ref.cast(crash)
        await gate.reached.wait()
        calls = [asyncio.create_task(ref.call(n)) for n in range(3)]
        await turns()
        gate.opened.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(outcome, "reason", None) for outcome in outcomes] == [error] * 3

    run(main)


def test_a_call_to_the_dead_raises_at_once() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await ref.stop()
        with pytest.raises(NoProcessError) as caught:
            await ref.call("?", timeout=None)
        assert caught.value.ref == ref
        with pytest.raises(NoProcessError):
            await kernel.named_ref("nobody").call("?", timeout=None)

    run(main)


def test_case_134_casts_to_nowhere_are_false_and_never_raise() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        assert ref.cast(1) is True and ref.send(1) is True
        await ref.stop()
        before = kernel.dead_letters
        for target in (ref, kernel.named_ref("nobody"), kernel.ref_for("b@h:1", 1, 1)):
            assert target.cast(1) is False and target.send(1) is False
            target.exit("shutdown")
        assert kernel.dead_letters == before + 4

    run(main)


def test_without_a_network_other_nodes_are_not_reachable() -> None:
    async def main(kernel: Kernel) -> None:
        far = kernel.ref_for("b@127.0.0.1:1", 1, 1)
        with pytest.raises(NodeNotReachableError) as caught:
            await far.call("?")
        assert caught.value.node_id == "b@127.0.0.1:1" and isinstance(caught.value, ConnectionError)
        assert await far.is_alive() is False
        assert await far.wait() == "noconnection"

    run(main)


def test_a_ref_of_an_earlier_life_of_the_node_never_reaches_a_later_process() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        stale = kernel.ref_for(kernel.node_id, kernel.incarnation - 1, ref.serial)
        assert stale != ref and stale.cast("?") is False
        with pytest.raises(NodeNotReachableError):
            await stale.call("?")

    run(main)


def test_a_ref_stays_valid_when_the_node_begins_a_new_life() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        kernel.new_life(kernel.incarnation + 1)
        assert await ref.call(1) == 1
        assert await kernel.ref_for(ref.node_id, ref.incarnation, ref.serial).call(2) == 2
        assert await (await started(kernel, Actor)).call(3) == 3

    run(main)


# ---------------------------------------------------------------------- timeouts


def test_a_call_that_timed_out_in_the_mailbox_is_not_executed() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []

        async def stand(_server: Any, _state: Any) -> None:
            await gate.passage()

        ref = await started(kernel, AsyncActor, seen=seen)
        ref.cast(stand)
        with pytest.raises(CallTimeoutError) as caught:
            await ref.call("late", timeout=0.01)
        assert caught.value.timeout == 0.01 and isinstance(caught.value, TimeoutError)
        gate.opened.set()
        assert await ref.call("next") == "next"
        assert seen == ["next"]

    run(main)


def test_a_call_whose_caller_was_cancelled_in_the_mailbox_is_not_executed() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []

        async def stand(_server: Any, _state: Any) -> None:
            await gate.passage()

        ref = await started(kernel, AsyncActor, seen=seen)
        ref.cast(stand)
        call = asyncio.create_task(ref.call("given up"))
        await gate.reached.wait()
        await turns()
        call.cancel()
        await asyncio.wait({call})
        gate.opened.set()
        assert await ref.call("next") == "next"
        assert seen == ["next"]

    run(main)


def test_a_call_that_ran_out_while_the_loop_was_held_is_not_executed() -> None:
    # The deadline had passed, but the loop had no turn in which to say so.
    async def main(kernel: Kernel) -> None:
        gate, seen, now = Gate(), [], kernel.loop.time

        async def hold(_server: Any, _state: Any) -> None:
            await gate.passage()
            kernel.loop.time = lambda: now() + 60.0  # as if this line had taken a minute

        def release(_server: Any, _state: Any) -> None:
            kernel.loop.time = now

        ref = await started(kernel, AsyncActor, seen=seen)
        ref.cast(hold)
        call = asyncio.create_task(ref.call("late", timeout=5.0))
        await gate.reached.wait()
        await turns()
        ref.cast(release)
        gate.opened.set()
        with pytest.raises(CallTimeoutError):
            await call
        assert await ref.call("next") == "next" and seen == ["next"]

    run(main)


def test_case_131_a_call_as_a_task_is_a_request_to_be_waited_for_later() -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        async def slow(_server: Any, state: Any) -> Any:
            await gate.passage()
            return "done", state

        ref = await started(kernel, AsyncActor)
        request = asyncio.create_task(ref.call(slow, timeout=None))
        await gate.reached.wait()
        done, waiting = await asyncio.wait([request], timeout=0)
        assert not done and waiting == {request}
        gate.opened.set()
        assert await request == "done"
        dead, elsewhere = kernel.named_ref("nobody"), kernel.named_ref("x", "b@127.0.0.1:1")
        calls = dead.call("x"), elsewhere.call("x"), ref.call(raises(ValueError("boom")))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in errors] == [
            NoProcessError,
            NodeNotReachableError,
            ServerCrashedError,
        ]
        assert isinstance(errors[2].reason, ValueError)

    run(main)


def test_case_130_a_late_reply_reaches_nobody() -> None:
    async def main(kernel: Kernel) -> None:
        gate, accepted, seen = Gate(), [], []

        async def slow(server: Any, state: Any) -> Any:
            caller = server.caller
            await gate.passage()
            accepted.append(caller.reply("late"))
            return "late", state

        ref = await started(kernel, AsyncActor)
        asker = await started(kernel, AsyncActor, seen=seen)

        async def ask(_server: Any, _state: Any) -> None:
            try:
                await ref.call(slow, timeout=0.01)
            except CallTimeoutError:
                seen.append("timeout")

        asker.cast(ask)
        await until(lambda: seen)
        gate.opened.set()
        await until(lambda: accepted)
        assert await ref.call("next") == "next"
        assert await asker.call("next") == "next"
        assert accepted == [False] and seen == ["timeout", "next"]

    run(main)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5", True])
def test_case_121_a_bad_timeout_is_refused_and_the_server_lives(timeout: Any) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        with pytest.raises(InvalidOptionError, match="timeout"):
            await ref.call(1, timeout=timeout)
        with pytest.raises(InvalidOptionError, match="timeout"):
            await ref.stop(timeout=timeout)
        assert await ref.call(2, timeout=1) == 2 and seen == [2]

    run(main)


def test_answered_calls_leave_no_deadline() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, AsyncActor)
        await asyncio.gather(*(ref.call(n) for n in range(100)))
        assert len(kernel.alarm) == kernel.patience.waiting == 0
        assert not ref.process.open_calls

    run(main)


def test_a_caller_cancelled_in_the_moment_of_a_crash_leaves_no_unseen_exception() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, AsyncActor)
        ref.cast(lambda _server, _state: Gate().passage())
        call = asyncio.create_task(ref.call("?"))
        await turns()
        ref.exit("kill")  # fails the call, whose task has not run since
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(main)


# ---------------------------------------------------------------------- cycles


def test_a_process_that_calls_itself_is_told() -> None:
    async def main(kernel: Kernel) -> None:
        async def ask_myself(server: Any, state: Any) -> Any:
            with pytest.raises(CallCycleError):
                await server.ref.call("?")
            return "told", state

        ref = await started(kernel, AsyncActor)
        assert await ref.call(ask_myself) == "told"

    run(main)


def test_a_plain_handler_that_returns_its_call_of_itself_is_told() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call(lambda server, state: server.ref.call("?"))
        assert isinstance(caught.value.reason, CallCycleError)

    run(main)


@pytest.mark.parametrize("middle", [Actor, AsyncActor])
def test_a_local_cycle_is_told(middle: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        a = await started(kernel, AsyncActor)
        b = await started(kernel, middle)
        c = await started(kernel, AsyncActor)

        async def back_to_a(_server: Any, state: Any) -> Any:
            return await a.call("?"), state

        async def to_c(_server: Any, state: Any) -> Any:
            return await c.call(back_to_a), state

        async def to_b(_server: Any, state: Any) -> Any:
            return await b.call(to_c), state

        with pytest.raises(ServerCrashedError) as caught:
            await a.call(to_b, timeout=None)
        deepest = caught.value
        while isinstance(deepest, ServerCrashedError):
            deepest = deepest.reason
        assert isinstance(deepest, CallCycleError) and deepest.ref == a

    run(main)


def test_a_task_may_call_the_process_that_spawned_it() -> None:
    async def main(kernel: Kernel) -> None:
        for cls in (Actor, AsyncActor):
            seen: list[Any] = []
            ref = await started(kernel, cls, seen=seen)

            async def ask(server: Any) -> Any:
                return await server.ref.call("from the task")

            def spawn(server: Any, _state: Any, ask: Any = ask) -> None:
                server.spawn_task(ask(server))

            ref.cast(spawn)
            await until(lambda seen=seen: len(seen) == 2)
            assert seen[0] == "from the task" and seen[1].value == "from the task"

    run(main)


def test_two_processes_may_call_each_other_one_after_the_other() -> None:
    async def main(kernel: Kernel) -> None:
        a, b = [await started(kernel, AsyncActor) for _ in range(2)]

        async def ask(_server: Any, state: Any, other: Any) -> Any:
            return await other.call("hello"), state

        for one, other in ((a, b), (b, a), (a, b)):
            assert await one.call(lambda s, st, other=other: ask(s, st, other)) == "hello"

    run(main)


# ---------------------------------------------------------------------- copies


def test_with_a_copier_every_message_and_reply_goes_through_it() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Actor, seen=seen)
        box = ["mine"]
        answer = await ref.call(box)
        ref.cast(box)
        ref.send(box)
        await ref.stop()
        assert seen == [["mine"]] * 3 and all(item is not box for item in seen)
        assert answer == ["mine"] and answer is not seen[0]

    run(main, copier=lambda value: list(value) if isinstance(value, list) else value)


def test_what_cannot_travel_is_the_error_of_who_sent_it() -> None:
    def refuse_sets(value: Any) -> Any:
        if isinstance(value, set):
            raise MessageSerializationError("send", "message", "no sets today")
        return value

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        for operation in (ref.cast, ref.send):
            with pytest.raises(MessageSerializationError):
                operation({1})
        with pytest.raises(MessageSerializationError):
            await ref.call({1})
        with pytest.raises(MessageSerializationError):  # the reply, at the caller
            await ref.call(lambda _server, state: ({1}, state))
        assert await ref.call("alive") == "alive"

    run(main, copier=refuse_sets)


def test_case_125_a_server_without_callbacks() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Mute)
        assert ref.send("anything") is True  # a warning; it lives
        with pytest.raises(ServerCrashedError, match=r"Mute\.handle_call is not defined"):
            await ref.call("?")
        ref = await started(kernel, Mute)
        ref.cast("?")
        assert "Mute.handle_cast" in str(await ref.wait(1.0))

    run(main)


# ---------------------------------------------------------------------- deferred replies


def test_a_reply_may_come_later_from_another_handler() -> None:
    async def main(kernel: Kernel) -> None:
        for cls in (Actor, AsyncActor):
            kept: list[Any] = []

            def keep(server: Any, _state: Any, kept: Any = kept) -> Any:
                kept.append(server.caller)
                return NoReply()

            ref = await started(kernel, cls)
            call = asyncio.create_task(ref.call(keep))
            await until(lambda kept=kept: kept)
            assert len(ref.process.open_calls) == 1
            answers: list[Any] = []
            ref.cast(lambda s, st, k=kept, a=answers: a.extend([k[0].reply(1), k[0].reply(2)]))
            assert await call == 1
            assert answers == [True, False]  # the second reply reaches nobody
            assert not ref.process.open_calls
            assert kept[0].fail(ValueError()) is False

    run(main)


@pytest.mark.parametrize("cls", [Actor, AsyncActor])
def test_a_task_knows_the_caller_of_the_message_that_started_it(cls: type[Any]) -> None:
    # It saw the caller of whatever message was being handled when it asked.
    async def main(kernel: Kernel) -> None:
        gates = {name: Gate() for name in "ab"}

        async def answer(server: Any, name: str) -> None:
            await gates[name].passage()
            assert server.caller.reply(name) is True

        def later(name: str) -> Any:
            def handler(server: Any, _state: Any) -> Any:
                server.spawn_task(answer(server, name))
                return NoReply()

            return handler

        ref = await started(kernel, cls)
        calls = {name: asyncio.create_task(ref.call(later(name))) for name in "ab"}
        for name in "ba":
            await gates[name].reached.wait()
            gates[name].opened.set()
        assert await calls["a"] == "a" and await calls["b"] == "b"
        assert await ref.call(lambda server, state: (server.caller is not None, state)) is True

    run(main)


def test_a_task_of_an_async_handler_knows_its_caller_too() -> None:
    async def main(kernel: Kernel) -> None:
        gate, tasks = Gate(), []

        async def answer(server: Any) -> None:
            await gate.passage()
            server.caller.reply("from the task")

        async def handler(server: Any, _state: Any) -> Any:
            tasks.append(asyncio.create_task(answer(server)))
            return NoReply()

        async def note_caller(server: Any) -> None:
            server.seen.append(server.caller)

        async def no_caller(server: Any, _state: Any) -> None:
            server.seen.append(server.caller)
            tasks.append(asyncio.create_task(note_caller(server)))

        async def no_caller_there(server: Any, state: Any) -> Any:
            other = await started(server.kernel, Actor, seen=seen)
            other.cast(lambda s, _state: tasks.append(asyncio.create_task(note_caller(s))))
            return "started", state

        seen: list[Any] = []
        ref = await started(kernel, AsyncActor, seen=seen)
        call = asyncio.create_task(ref.call(handler))
        await gate.reached.wait()
        ref.cast(no_caller)
        assert await ref.call(no_caller_there) == "started"
        await until(lambda: len(seen) == 3)
        gate.opened.set()
        assert await call == "from the task" and seen == [None, None, None]
        await asyncio.wait(tasks)

    run(main)


def test_a_deferred_reply_fails_when_the_process_dies_first() -> None:
    async def main(kernel: Kernel) -> None:
        for reason in ("kill", "shutdown", "normal"):
            ref = await started(kernel, Actor)
            call = asyncio.create_task(ref.call(lambda server, state: NoReply()))
            await turns()
            if reason == "normal":
                await ref.stop()
            else:
                ref.exit(reason)
            with pytest.raises(ServerCrashedError) as caught:
                await call
            assert caught.value.reason == ("killed" if reason == "kill" else reason)

    run(main)


def test_a_deferred_reply_to_a_caller_that_has_gone_reaches_nobody() -> None:
    async def main(kernel: Kernel) -> None:
        kept: list[Any] = []

        def keep(server: Any, _state: Any) -> Any:
            kept.append(server.caller)
            return NoReply()

        ref = await started(kernel, Actor)
        with pytest.raises(CallTimeoutError):
            await ref.call(keep, timeout=0.01)
        assert kept[0].expired and kept[0].reply("late") is False
        call = asyncio.create_task(ref.call(keep))
        await turns()
        call.cancel()
        await asyncio.wait({call})
        assert kept[1].reply("late") is False
        assert not ref.process.open_calls

    run(main)


def test_a_caller_may_be_answered_with_an_error() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)

        def refuse(server: Any, _state: Any) -> Any:
            server.caller.fail(KeyError("no such thing"))
            return NoReply()

        with pytest.raises(KeyError):
            await ref.call(refuse)
        assert await ref.call("alive") == "alive"

    run(main)
