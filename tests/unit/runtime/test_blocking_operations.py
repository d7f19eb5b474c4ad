"""What a handler in a thread may do: everything on `self` and of refs; to wait, `self.run`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from actors import Actor, AsyncActor, TidyActor, raises, started, turns, until
from threads import BlockingActor, Door, run_threads

from noex.runtime.crossing import BOUND
from noex.runtime.errors import (
    CallCycleError,
    CallTimeoutError,
    InvalidOptionError,
    MessageSerializationError,
    NoProcessError,
    ServerCrashedError,
    WrongThreadError,
)
from noex.runtime.kernel import Kernel
from noex.runtime.messages import Down, Exit, TaskResult

REQUEST = contextvars.ContextVar("request", default="none")


class Untidy(Actor):
    """Without `terminate`: a signal ends it at once, as far as that can be."""

    blocking = True


async def ask(ref: Any, function: Any) -> Any:
    """What `function(server)` returns in a handler of the process."""
    return await ref.call(lambda server, state: (function(server), state))


# ---------------------------------------------------------------------- sending


def test_casts_sends_and_the_reply_arrive_in_the_order_in_which_they_were_made() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        sink, ref = await started(kernel, Actor, seen=seen), await started(kernel, BlockingActor)

        def flood(server: Any) -> list[bool]:
            return [(sink.cast if n % 3 else sink.send)(n) for n in range(300)]

        assert await ask(ref, flood) == [True] * 300
        seen.append("replied")
        assert await ask(ref, lambda server: sink.cast("after")) is True
        await sink.call("last")
        assert [n for n in seen if isinstance(n, int)] == list(range(300))
        assert seen[-2:] == ["after", "last"]

    run_threads(main)


def test_a_thread_that_sends_more_than_the_loop_takes_waits_for_it() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        sink, ref = await started(kernel, Actor, seen=seen), await started(kernel, BlockingActor)
        count = BOUND + 100
        await ask(ref, lambda server: [sink.cast(n) for n in range(count)] and None)
        await sink.call("last")
        assert seen == [*range(count), "last"]

    run_threads(main)


def test_casts_to_the_dead_are_dead_letters() -> None:
    async def main(kernel: Kernel) -> None:
        dead, ref = await started(kernel, Actor), await started(kernel, BlockingActor)
        await dead.stop()
        before = kernel.dead_letters
        assert await ask(ref, lambda server: dead.cast("no")) is False
        assert kernel.dead_letters == before + 1
        assert await ask(ref, lambda server: kernel.named_ref("nobody").send("no")) is False

    run_threads(main)


def test_a_message_that_cannot_travel_raises_at_the_senders_line() -> None:
    def copier(message: Any) -> Any:
        if message == "cannot travel":
            raise MessageSerializationError("send", "message", "it cannot")
        return message

    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        sink, ref = await started(kernel, Actor, seen=seen), await started(kernel, BlockingActor)

        def send(server: Any) -> str:
            with pytest.raises(MessageSerializationError):
                sink.cast("cannot travel")
            sink.cast("can")
            return "sent"

        assert await ask(ref, send) == "sent"
        await sink.call("last")
        assert seen == ["can", "last"]

    run_threads(main, copier=copier)


def test_a_thread_that_a_handler_has_started_may_send_too() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)

        def start(server: Any) -> None:
            threading.Thread(target=lambda: [server.ref.send(n) for n in range(50)]).start()

        await ask(ref, start)
        await until(lambda: len(ref.process.server.seen) == 50)
        assert ref.process.server.seen == list(range(50))

    run_threads(main)


# ---------------------------------------------------------------------- what `self` gives


def test_timers() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)

        def set_timers(server: Any) -> bool:
            server.send_after(0.001, "tick")
            late = server.send_after(3600, "never")
            return late.cancel()

        assert await ask(ref, set_timers) is True
        await until(lambda: ref.process.server.seen == ["tick"])
        with pytest.raises(ServerCrashedError, match="delay"):
            await ask(ref, lambda server: server.send_after(-1, "no"))

    run_threads(main)


def test_monitors_and_links() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor, trap=True)
        seen = ref.process.server.seen
        monitored, linked, left = [await started(kernel, Actor) for _ in range(3)]

        def tie(server: Any) -> Any:
            watching = server.monitor(monitored)
            server.monitor(left).cancel()
            server.link(linked)
            server.link(left)
            server.unlink(left)
            return watching

        monitor = await ask(ref, tie)
        for each in (left, monitored, linked):
            each.exit("gone")
            await each.wait(1.0)
        await until(lambda: len(seen) == 2)
        assert seen == [Down(monitor, monitored, "gone"), Exit(linked, "gone")]

    run_threads(main)


def test_exit_signals_name_the_process_as_their_sender() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        trapping = await started(kernel, Actor, seen=seen, trap=True)
        ref = await started(kernel, BlockingActor)
        await ask(ref, lambda server: trapping.exit("boom"))
        await until(lambda: seen)
        assert seen == [Exit(ref, "boom")]

    run_threads(main)


def test_spawned_tasks_run_on_the_loop_and_report() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)

        async def work(server: Any) -> Any:
            await asyncio.sleep(0)
            return threading.get_ident(), REQUEST.get(), server.caller

        def spawn(server: Any) -> Any:
            REQUEST.set("of this handler")
            return server.spawn_task(work(server)), server.caller

        task, caller = await ask(ref, spawn)
        await until(lambda: ref.process.server.seen)
        (result,) = ref.process.server.seen
        assert isinstance(result, TaskResult) and result.task is task
        assert result.value == (threading.get_ident(), "of this handler", caller)

    run_threads(main)


def test_the_state_the_log_and_the_name() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor, options={"name": "it", "fence": (1, 2)})

        def look(server: Any) -> Any:
            server.state = {"mark": 1}
            server.log.info("seen")
            return server.name, server.fence, server.ref, server.trap_exits, server.kernel is kernel

        assert await ref.call(lambda server, state: (look(server), server.state)) == (
            *("it", (1, 2), ref, False, True),
        )
        assert await ask(ref, lambda server: server.state) == {"mark": 1}

    run_threads(main)


# ---------------------------------------------------------------------- waiting


def test_a_handler_calls_others_and_gets_what_they_say() -> None:
    async def main(kernel: Kernel) -> None:
        ref, other = await started(kernel, BlockingActor), await started(kernel, AsyncActor)
        error = ValueError("boom")

        def work(server: Any) -> Any:
            outcomes = [server.run(other.call(n)) for n in range(3)]
            child = server.run(server.kernel.start(Actor))
            outcomes.append(server.run(child.call("born")))
            with pytest.raises(CallTimeoutError):
                server.run(other.call(lambda *_: asyncio.sleep(3600), timeout=0.01))
            server.run(child.stop())
            with pytest.raises(NoProcessError):
                server.run(child.call("gone"))
            return outcomes

        assert await ask(ref, work) == [0, 1, 2, "born"]
        crashing = await started(kernel, Actor)
        with pytest.raises(ServerCrashedError) as crashed:
            await ask(ref, lambda server: server.run(crashing.call(raises(error))))
        assert crashed.value.reason.reason is error

    run_threads(main)


def test_a_function_is_called_on_the_loop_and_awaited_if_need_be() -> None:
    async def add(a: int, *, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)
        assert await ask(ref, lambda server: server.run(threading.get_ident)) == (
            threading.get_ident()
        )
        assert await ask(ref, lambda server: server.run(add, 1, b=2)) == 3

    run_threads(main)


def test_what_a_coroutine_raises_is_raised_in_the_handler() -> None:
    async def fail(error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)

        def work(server: Any) -> list[str]:
            caught = []
            for error in (KeyError("k"), SystemExit(3), asyncio.CancelledError(), TimeoutError()):
                try:
                    server.run(fail(error))
                except BaseException as raised:
                    assert raised is error
                    caught.append(type(raised).__name__)
            return caught

        names = ["KeyError", "SystemExit", "CancelledError", "TimeoutError"]
        assert await ask(ref, work) == names

    run_threads(main)


def test_the_coroutine_sees_the_context_of_the_handler() -> None:
    async def get() -> str:
        return REQUEST.get()

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, BlockingActor)

        def work(server: Any) -> str:
            REQUEST.set("of this handler")
            return str(server.run(get()))

        assert await ask(ref, work) == "of this handler"

    run_threads(main)


@pytest.mark.parametrize("between", [Actor, AsyncActor, BlockingActor])
def test_a_cycle_of_calls_is_noticed(between: Any) -> None:
    async def main(kernel: Kernel) -> None:
        first, second = await started(kernel, BlockingActor), await started(kernel, between)

        def back(server: Any, state: Any) -> Any:
            if between is BlockingActor:
                return server.run(first.call("back")), state
            return _forward(first, state)

        for target, message in ((first, "self"), (second, back)):
            with pytest.raises(ServerCrashedError) as crashed:
                await ask(first, lambda server, t=target, m=message: server.run(t.call(m)))
            reason: Any = crashed.value
            while isinstance(reason, ServerCrashedError):
                reason = reason.reason
            assert isinstance(reason, CallCycleError)
            first = await started(kernel, BlockingActor)

    async def _forward(ref: Any, state: Any) -> Any:
        return await ref.call("back"), state

    run_threads(main)


def test_processes_that_block_may_call_each_other_when_all_threads_are_taken() -> None:
    # The one thread waits for the second process, which needs a thread.
    async def main(kernel: Kernel) -> None:
        refs = [await started(kernel, BlockingActor) for _ in range(4)]

        def forward(index: int) -> Any:
            def work(server: Any) -> Any:
                if index == len(refs):
                    return "the end"
                return server.run(ask(refs[index], forward(index + 1)))

            return work

        assert await ask(refs[0], forward(1)) == "the end"

    run_threads(main, blocking_threads=1)


@pytest.mark.parametrize(("reason", "expected"), [("boom", "boom"), ("kill", "killed")])
def test_an_exit_signal_cancels_what_a_handler_waits_for(reason: str, expected: str) -> None:
    async def main(kernel: Kernel) -> None:
        raised: list[Any] = []
        other = await started(kernel, TidyActor)

        def wait(server: Any, state: Any) -> Any:
            try:
                server.run(other.call(lambda *_: asyncio.sleep(3600), timeout=None))
            except BaseException as error:
                raised.append(type(error))
                raise

        ref = await started(kernel, Untidy)
        ref.cast(wait)
        await until(lambda: ref.process.runner is not None)
        ref.exit(reason)
        assert await ref.wait(2.0) == expected
        assert raised == [asyncio.CancelledError] and kernel.zombies == {}
        other.exit("kill")

    run_threads(main)


def test_a_cancellation_while_it_computes_reaches_a_handler_where_it_waits_next() -> None:
    async def main(kernel: Kernel) -> None:
        door = Door()
        raised: list[Any] = []

        def work(server: Any, state: Any) -> Any:
            door.pass_through()
            try:
                server.run(asyncio.sleep(3600))
            except asyncio.CancelledError:
                raised.append("cancelled")
                server.run(asyncio.sleep(0))  # to clean up is allowed, once it was told

        ref = await started(kernel, Untidy)
        ref.cast(work)
        await until(door.reached.is_set)
        ref.exit("boom")
        await turns()
        door.opened.set()
        assert await ref.wait(2.0) == "boom"
        assert raised == ["cancelled"]

    run_threads(main)


def test_init_and_terminate_may_wait_too() -> None:
    class Waits(BlockingActor):
        def init(self, **options: Any) -> Any:
            options["before"] = self.run(asyncio.sleep(0, "slept"))
            return super().init(**options)

        def terminate(self, reason: Any, state: Any) -> None:
            self.seen.append((self.run(asyncio.sleep(0, "slept")), state["before"]))

    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        ref = await started(kernel, Waits, seen=seen)
        await ref.stop()
        assert seen == [("slept", "slept")]

    run_threads(main)


# ---------------------------------------------------------------------- in the wrong thread


def test_run_is_for_the_thread_of_a_handler() -> None:
    async def main(kernel: Kernel) -> None:
        tried: list[Any] = []
        plain, ref = await started(kernel, Actor), await started(kernel, BlockingActor)
        server = ref.process.server

        def attempt(server: Any) -> None:
            with pytest.raises(WrongThreadError, match=r"self\.run"):
                server.run(asyncio.sleep(0))
            tried.append(server)

        await ask(plain, attempt)  # in a handler on the loop
        attempt(server)  # in no handler

        def elsewhere(server: Any) -> None:
            thread = threading.Thread(target=attempt, args=(server,))
            thread.start()
            thread.join(5.0)

        await ask(ref, elsewhere)
        assert tried == [plain.process.server, server, server]
        with pytest.raises(ServerCrashedError) as crashed:
            await ask(ref, lambda server: server.run(42))
        assert isinstance(crashed.value.reason, InvalidOptionError)

    run_threads(main)


def test_a_coroutine_of_noex_is_refused_by_a_loop_of_the_threads_own() -> None:
    async def main(kernel: Kernel) -> None:
        ref, other = await started(kernel, BlockingActor), await started(kernel, Actor)

        def work(server: Any) -> str:
            for coroutine in (other.call("no"), other.stop(), kernel.start(Actor)):
                with pytest.raises(WrongThreadError, match=r"self\.run"):
                    asyncio.run(coroutine)
            return "refused"

        assert await ask(ref, work) == "refused"
        assert other.process.server.seen == [] and kernel.process_count == 2

    run_threads(main)
