"""Classes with `blocking = True`: their handlers run in a thread, and all else is as ever."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
from typing import Any

import pytest
from actors import Actor, AsyncActor, Mute, raises, started, turns, until
from threads import BlockingActor, Door, node_threads, run_threads

from noex.runtime.errors import (
    BadArgumentsError,
    CallTimeoutError,
    InitFailedError,
    InitTimeoutError,
    InvalidOptionError,
    ServerCrashedError,
    UnknownMethodError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.messages import TIMEOUT
from noex.runtime.returns import Ignore, NoReply, Ok, Reply, Stop
from noex.runtime.typed import call, cast

REQUEST = contextvars.ContextVar("request", default="none")


def here(*_: Any) -> str:
    """A message whose handler notes its thread."""
    return threading.current_thread().name


# ---------------------------------------------------------------------- where they run


def test_every_callback_of_the_class_runs_in_a_thread_of_the_node() -> None:
    async def main(kernel: Kernel) -> None:
        names: list[tuple[str, str]] = []

        class Watched(GenServer[int]):
            blocking = True

            def init(self) -> Ok:
                names.append(("init", here()))
                return Ok(0, continue_with="go on")

            def handle_continue(self, token: Any, state: int) -> None:
                names.append(("continue", here()))

            def handle_call(self, message: Any, state: int) -> Any:
                names.append(("call", here()))
                return "reply", state

            def handle_cast(self, message: Any, state: int) -> None:
                names.append(("cast", here()))

            def handle_info(self, message: Any, state: int) -> None:
                names.append(("info", here()))

            def terminate(self, reason: Any, state: int) -> None:
                names.append(("terminate", here()))

        ref = await started(kernel, Watched)
        ref.cast(1)
        ref.send(2)
        assert await ref.call(3) == "reply"
        await ref.stop()
        callbacks = ["init", "continue", "cast", "info", "call", "terminate"]
        assert [name for name, _ in names] == callbacks
        assert all(thread.startswith("noex nonode@localhost:0 blocking") for _, thread in names)

    run_threads(main)


def test_an_idle_process_is_not_called_in_the_callers_turn() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)
        for _ in range(3):
            thread = await ref.call(lambda server, state: (threading.get_ident(), state))
            assert thread != threading.get_ident()

    run_threads(main)


def test_the_other_processes_of_the_node_are_called_in_turn_as_before() -> None:
    async def main(kernel: Kernel) -> None:
        await started(kernel, BlockingActor)
        plain = await started(kernel, Actor)
        assert kernel.guarded
        seen: list[str] = []
        loop_went_round = kernel.loop.call_soon(seen.append, "the loop went round")
        assert await plain.call("at once") == "at once"
        assert seen == []
        loop_went_round.cancel()

    run_threads(main)


def test_a_node_without_such_a_class_has_no_threads() -> None:
    async def main(kernel: Kernel) -> None:
        await started(kernel, Actor)
        assert kernel.threads is None and not kernel.guarded

    run_threads(main)


def test_the_loop_goes_on_while_a_handler_blocks() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        ref, other = await started(kernel, BlockingActor), await started(kernel, Actor)
        ref.cast(door.pass_through)
        await until(door.reached.is_set)
        assert await other.call("alive") == "alive"
        door.opened.set()
        assert await ref.call("done") == "done"

    run_threads(main)


def test_messages_are_handled_one_at_a_time_and_in_order() -> None:
    async def main(kernel: Kernel) -> None:
        inside: list[int] = []
        most: list[int] = []
        seen: list[int] = []

        def step(number: int) -> Any:
            def handler(_server: Any, _state: Any) -> None:
                inside.append(number)
                most.append(len(inside))
                seen.append(number)
                inside.remove(number)

            return handler

        ref = await started(kernel, BlockingActor)
        for number in range(200):
            (ref.cast if number % 2 else ref.send)(step(number))
        assert await ref.call("last") == "last"
        assert seen == list(range(200)) and set(most) == {1}

    run_threads(main)


def test_processes_block_side_by_side() -> None:
    async def main(kernel: Kernel) -> None:
        together = threading.Barrier(3, timeout=5.0)
        refs = [await started(kernel, BlockingActor) for _ in range(3)]
        meet = lambda _server, state: (together.wait() >= 0, state)  # noqa: E731
        assert await asyncio.gather(*(ref.call(meet) for ref in refs)) == [True] * 3

    run_threads(main)


def test_two_nodes_of_one_loop_have_threads_of_their_own() -> None:
    async def main(kernel: Kernel) -> None:
        other = Kernel("other@localhost:0")
        here_it_is = await (await started(kernel, BlockingActor)).call(lambda *_: (here(), {}))
        there = await (await started(other, BlockingActor)).call(lambda *_: (here(), {}))
        assert "nonode@" in here_it_is and "other@" in there
        await other.shutdown()
        assert [thread for thread in node_threads() if "other@" in thread.name] == []

    run_threads(main)


# ---------------------------------------------------------------------- what they return


def test_returns_mean_the_same() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor, mark=0)

        def put(number: int) -> Any:
            return lambda server, state: {**state, "mark": number}

        ref.cast(put(1))
        assert await ref.call(lambda server, state: (server.state["mark"], state)) == 1
        assert await ref.call(lambda server, state: Reply("r", {**state, "mark": 2})) == "r"
        ref.cast(lambda server, state: NoReply({**state, "mark": 3}, continue_with="token"))
        assert await ref.call(lambda server, state: (state["mark"], state)) == 3
        assert ("continue", "token") in ref.process.server.seen
        ref.cast(lambda server, state: NoReply(timeout=0.001))
        await until(lambda: TIMEOUT in ref.process.server.seen)
        answer = await ref.call(lambda server, state: Stop("normal", reply="bye"))
        assert answer == "bye" and await ref.wait(1.0) == "normal"

    run_threads(main)


def test_a_reply_may_come_later_from_a_handler_or_from_any_thread() -> None:
    async def main(kernel: Kernel) -> None:
        kept: list[Any] = []
        ref = await started(kernel, BlockingActor)

        def keep(server: Any, state: Any) -> NoReply:
            kept.append(server.caller)
            return NoReply()

        def answer_in_a_thread(server: Any, state: Any) -> NoReply:
            threading.Thread(target=server.caller.reply, args=("from a thread",)).start()
            return NoReply()

        waiting = asyncio.create_task(ref.call(keep))
        await until(lambda: kept)
        answered = await ref.call(lambda server, state: (kept[0].reply("later"), state))
        assert (answered, await waiting) == (True, "later")
        again = await ref.call(lambda server, state: (kept[0].reply("again"), state))
        assert again is False
        assert await ref.call(answer_in_a_thread) == "from a thread"
        failing = lambda server, state: (server.caller.fail(KeyError("k")), NoReply())[1]  # noqa: E731
        with pytest.raises(KeyError):
            await ref.call(failing)

    run_threads(main)


def test_a_call_that_was_given_up_in_the_mailbox_is_not_carried_out() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        ref = await started(kernel, BlockingActor)
        ref.cast(door.pass_through)
        with pytest.raises(CallTimeoutError):
            await ref.call("too late", timeout=0.01)
        door.opened.set()
        assert await ref.call("in time") == "in time"
        assert ref.process.server.seen == ["in time"]

    run_threads(main)


def test_a_coroutine_as_a_reply_is_a_bad_return_value() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)
        coroutine = asyncio.sleep(0)
        with pytest.raises(ServerCrashedError, match="await"):
            await ref.call(lambda server, state: (coroutine, state))
        coroutine.close()

    run_threads(main)


def test_typed_methods_run_in_a_thread_too() -> None:
    class Account(GenServer[int]):
        blocking = True

        def init(self, balance: int) -> int:
            return balance

        @call
        def deposit(self, amount: int) -> tuple[int, str]:
            self.state += amount
            return self.state, here()

        @cast
        def reset(self) -> None:
            self.state = 0

    class Mixed(Account):
        @call
        async def deposit(self, amount: int) -> tuple[int, str]:  # type: ignore[override]
            return amount, ""

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Account, 10)
        balance, thread = await ref.proxy.deposit(5)
        assert balance == 15 and " blocking " in thread
        with pytest.raises(BadArgumentsError):
            await ref.proxy.deposit("too", "many")
        with pytest.raises(UnknownMethodError):
            await ref.proxy.withdraw(5)
        ref.proxy.reset()
        ref.proxy.deposit.cast(3)
        assert (await ref.proxy.deposit(1))[0] == 4
        with pytest.raises(InvalidOptionError, match="deposit is `async def`"):
            await kernel.start(Mixed, (1,))

    run_threads(main)


# ---------------------------------------------------------------------- init


def test_init_may_refuse_fail_and_take_too_long() -> None:
    class Choosy(BlockingActor):
        def init(self, *, then: Any = None, **options: Any) -> Any:
            return then() if then is not None else super().init(**options)

    async def main(kernel: Kernel) -> None:
        assert await kernel.start(Choosy, (), {"then": lambda: Ignore}, name="free") is None
        with pytest.raises(InitFailedError) as failed:
            await kernel.start(Choosy, (), {"then": lambda: {}["none"]}, name="free")
        assert isinstance(failed.value.__cause__, KeyError)
        door = Door()
        with pytest.raises(InitTimeoutError):
            await kernel.start(Choosy, (), {"then": door.pass_through}, init_timeout=0.05)
        assert kernel.zombies, "the thread still runs"
        door.opened.set()
        await until(lambda: not kernel.zombies)
        assert await (await started(kernel, Choosy, options={"name": "free"})).call(1) == 1

    run_threads(main)


def test_a_start_that_is_cancelled_leaves_its_thread_as_a_zombie_until_it_ends() -> None:
    class Slow(BlockingActor):
        def init(self, *, door: Door) -> Any:
            door.pass_through()
            return super().init()

    async def main(kernel: Kernel) -> None:
        door = Door()
        starting = asyncio.create_task(kernel.start(Slow, (), {"door": door}, name="slow"))
        await until(door.reached.is_set)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert kernel.whereis("slow") is None
        await until(lambda: kernel.zombies)
        door.opened.set()
        await until(lambda: not kernel.zombies)

    run_threads(main)


# ---------------------------------------------------------------------- crashes


@pytest.mark.parametrize("operation", ["call", "cast", "send", "continue"])
@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3)], ids=["error", "exit"])
def test_every_callback_may_crash(operation: str, error: BaseException, caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, BlockingActor, seen=seen)
        waiting = asyncio.gather(ref.call(lambda *_: NoReply()), return_exceptions=True)
        await turns(2)
        monitor = kernel.monitor(ref)
        if operation == "call":
            await asyncio.gather(ref.call(raises(error)), return_exceptions=True)
        elif operation == "continue":
            ref.cast(lambda _server, _state: NoReply(continue_with=raises(error)))
        else:
            getattr(ref, operation)(raises(error))
        assert await monitor.wait(2.0) is error
        assert seen == [("terminate", error)]
        assert (await waiting)[0].reason is error

    run_threads(main)
    crashes = [record.noex for record in caplog.records if record.name == "noex"]
    assert [crash["event"] for crash in crashes] == ["process_crashed"]


def test_a_stop_iteration_crashes_like_out_of_a_coroutine() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)
        ref.cast(raises(StopIteration()))
        assert isinstance((await ref.wait(2.0)).__cause__, StopIteration)

    run_threads(main)


@pytest.mark.parametrize("where", ["handler", "init", "terminate"])
def test_keyboard_interrupt_tells_the_node_and_propagates(where: str, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL, "noex")  # a record would keep the frames alive
    told: list[type] = []

    class Interrupted(Actor):
        blocking = True

        def init(self, **options: Any) -> Any:
            if where == "init":
                raise KeyboardInterrupt
            return super().init(**options)

        def terminate(self, reason: Any, state: Any) -> None:
            if where == "terminate":
                raise KeyboardInterrupt

    async def main() -> None:
        kernel = Kernel()
        kernel.on_interrupt = lambda error: told.append(type(error))
        try:
            ref = await started(kernel, Interrupted)
            ref.cast(raises(KeyboardInterrupt() if where == "handler" else ValueError()))
            await asyncio.sleep(3600)
        finally:
            await kernel.shutdown()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    gc.collect()
    assert told == [KeyboardInterrupt] and node_threads() == []


def test_what_terminate_raises_is_logged_and_the_reason_stays(caplog: Any) -> None:
    class Untidy(Actor):
        blocking = True

        def terminate(self, reason: Any, state: Any) -> None:
            raise KeyError("terminate")

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Untidy)
        await ref.stop("shutdown")

    run_threads(main)
    assert "terminate_failed" in caplog.text


# ---------------------------------------------------------------------- context variables


def test_context_variables_belong_to_the_process() -> None:
    class Named(BlockingActor):
        def init(self, **options: Any) -> Any:
            REQUEST.set("of init")
            return super().init(**options)

    async def main(kernel: Kernel) -> None:
        REQUEST.set("of the starter")
        ref, other = await started(kernel, Named), await started(kernel, BlockingActor)
        get = lambda server, state: (REQUEST.get(), state)  # noqa: E731
        assert await ref.call(get) == "of init"
        await ref.call(lambda server, state: (REQUEST.set("of a handler") and None, state))
        assert await ref.call(get) == "of a handler"
        assert REQUEST.get() == "of the starter"
        assert await other.call(get) == "of the starter"

    run_threads(main)


# ---------------------------------------------------------------------- the class


def test_async_callbacks_are_refused_in_a_blocking_class() -> None:
    class Mixed(AsyncActor):
        blocking = True

    class Unclear(Actor):
        blocking = "yes"  # type: ignore[assignment]

    async def main(kernel: Kernel) -> None:
        with pytest.raises(InvalidOptionError, match="handle_call is `async def`") as refused:
            await kernel.start(Mixed)
        assert refused.value.field == "blocking"
        with pytest.raises(InvalidOptionError, match="True or False"):
            await kernel.start(Unclear)
        assert kernel.process_count == 0 and kernel.threads is None

    run_threads(main)


def test_a_class_without_callbacks_of_its_own_works_too() -> None:
    class Silent(Mute):
        blocking = True

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Silent)
        ref.send("unexpected, logged")
        with pytest.raises(ServerCrashedError, match="Unhandled"):
            await ref.call("unhandled")

    run_threads(main)
