"""`noex.blocking`: a node without await, safe from many threads, with nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import noex
from noex import (
    BlockingCallError,
    BlockingMonitor,
    BlockingNode,
    BlockingRef,
    BlockingSupervisor,
    CallTimeoutError,
    ChildSpec,
    Down,
    GenServer,
    GlobalRegistry,
    Ignore,
    InitFailedError,
    InvalidOptionError,
    LoopHeldError,
    Monitor,
    NameTakenError,
    Node,
    NodeStoppedError,
    NoProcessError,
    NoReply,
    Ref,
    Request,
    ServerCrashedError,
    Supervisor,
    SupervisorHandle,
    Timer,
)
from noex.start_options import StartOptions
from noex.sync_ref import BlockingTimer
from noex.sync_start import BlockingStartOptions
from noex.sync_supervisor import BlockingRegistry

LIMIT = 20.0


class Counter(GenServer[int]):
    """Counts, and answers as it is told."""

    def init(self, start: int = 0, **options: Any) -> int:
        if start < 0:
            raise ValueError(start)
        return start

    def handle_call(self, message: Any, state: int) -> Any:
        match message:
            case "get":
                return state, state
            case ("add", n):
                return state + n, state + n
            case ("echo", value):
                return value, state
            case ("class of", value):
                return type(value).__name__, state
            case ("run", function):
                return function(), state
            case ("do", action):
                return action(self), state
            case "never":
                return NoReply()
            case "crash":
                raise ValueError("as told")
        return None, state

    def handle_cast(self, message: Any, state: int) -> Any:
        return state + message

    def handle_info(self, message: Any, state: int) -> Any:
        return state + message


class Shy(GenServer[None]):
    def init(self) -> Any:
        return Ignore


class Slow(Counter):
    async def handle_call(self, message: Any, state: int) -> Any:
        return super().handle_call(message, state)


@contextmanager
def running(**options: Any) -> Iterator[BlockingNode]:
    """A node; when it has stopped, no thread is left, and nothing complained."""
    before = set(threading.enumerate())
    with noex.blocking(Node(kill_grace=0.2, **options)) as node:
        complaints: list[Any] = []
        loop = node.plain.kernel.loop
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        yield node
    gc.collect(1)
    assert complaints == []
    assert set(threading.enumerate()) - before == set()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"


# ---------------------------------------------------------------------- what it does


def test_calls_casts_and_sends_are_done_in_order() -> None:
    with running() as node:
        counter = node.start(Counter, 10)
        assert counter.call("get") == 10
        assert counter.cast(5) is True
        assert counter.send(1) is True
        assert counter.call(("add", 4)) == 20


def test_a_ref_tells_what_its_plain_ref_tells() -> None:
    with running() as node:
        counter = node.options(name="counter").start(Counter)
        plain = counter.plain
        assert isinstance(counter, BlockingRef) and isinstance(plain, Ref)
        assert (counter.node_id, counter.incarnation, counter.serial) == (
            node.id,
            node.incarnation,
            plain.serial,
        )
        assert counter.is_local and not counter.is_name and node.ref("counter").is_name
        assert counter == plain and hash(counter) == hash(plain)
        assert node.whereis("counter") == counter and node.whereis("nobody") is None
        assert node.ref("counter").resolve() == counter and node.ref("nobody").resolve() is None
        assert repr(plain) in repr(counter)


def test_a_process_is_waited_for_stopped_and_gone() -> None:
    with running() as node:
        counter = node.start(Counter)
        assert counter.is_alive()
        monitor = node.monitor(counter)
        assert monitor.active and monitor.ref == counter
        counter.stop("shutdown")
        assert (monitor.wait(LIMIT), monitor.reason, monitor.active) == (
            "shutdown",
            "shutdown",
            False,
        )
        assert not counter.is_alive() and counter.wait() == "noproc"
        with pytest.raises(NoProcessError):
            counter.call("get")
        with pytest.raises(NoProcessError):
            counter.stop()
        assert counter.cast(1) is False


def test_an_exit_signal_and_the_one_down_of_a_monitor() -> None:
    with running() as node:
        counter = node.start(Counter)
        monitor = node.monitor(counter)
        counter.exit("kill")
        assert list(monitor) == [Down(monitor, counter, "killed")]
        cancelled = node.monitor(node.start(Counter))
        cancelled.cancel()
        assert list(cancelled) == []


def test_start_raises_and_returns_as_without_blocking() -> None:
    with running() as node:
        with pytest.raises(InitFailedError) as failed:
            node.start(Counter, -1)
        assert isinstance(failed.value.__cause__, ValueError)
        assert node.start(Shy) is None
        owner = node.options(name="it").start(Counter)
        with pytest.raises(NameTakenError) as taken:
            node.options(name="it").start(Counter)
        assert taken.value.args == ("it", owner)
        with pytest.raises(InvalidOptionError):
            node.options(name="it", register="planet")


def test_arguments_of_init_may_have_any_name() -> None:
    with running() as node:
        options = {"name": 1, "timeout": "x", "function": 2, "what": 3, "self_": 4}
        assert node.start(Counter, **options).call("get") == 0


def test_an_error_arrives_as_the_same_exception_with_both_sides_in_its_traceback() -> None:
    class OwnError(Exception):
        pass

    error = OwnError("why")

    def fails() -> None:
        raise error

    async def fails_later() -> None:
        await asyncio.sleep(0)
        raise error

    with running() as node:
        for function in (fails, fails_later):
            error.__traceback__ = None
            with pytest.raises(OwnError) as raised:
                node.run(function)
            assert raised.value is error
            names = [entry.name for entry in raised.traceback]
            assert names[0] == "test_an_error_arrives_as_the_same_exception_with_both_" + (
                "sides_in_its_traceback"
            )
            assert names[-1] == function.__name__


def test_a_crash_is_told_to_its_caller() -> None:
    with running() as node, pytest.raises(ServerCrashedError) as crashed:
        node.start(Counter).call("crash")
    assert isinstance(crashed.value.reason, ValueError)


def test_a_call_ends_at_its_timeout() -> None:
    with running() as node:
        counter = node.start(Counter)
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            counter.call("never", timeout=0.05)
        assert time.monotonic() - started < LIMIT
        assert counter.call("get") == 0
        with pytest.raises(InvalidOptionError):
            counter.call("get", timeout="soon")
        with pytest.raises(InvalidOptionError):
            counter.call("get", timeout=-1)


def test_anything_can_be_run_on_the_loop() -> None:
    async def add(a: int, b: int = 0) -> int:
        await asyncio.sleep(0)
        return a + b

    with running() as node:
        assert node.run(add, 1, b=2) == 3
        assert node.run(add(2, 3)) == 5
        assert node.run(threading.get_ident) != threading.get_ident()
        assert node.run(lambda: asyncio.ensure_future(add(1, 1))) == 2
        with pytest.raises(InvalidOptionError, match="what=5: a coroutine, or a function"):
            node.run(5)  # type: ignore[call-overload]
        with pytest.raises(ZeroDivisionError):
            node.run(lambda: 1 // 0)


def test_what_a_node_has_and_a_face_does_not_name_is_there_all_the_same() -> None:
    with running() as node:
        assert node.config.kill_grace == 0.2
        with pytest.raises(AttributeError):
            node.no_such_thing  # noqa: B018
        with pytest.raises(AttributeError):
            node._no_such_thing  # noqa: B018
        assert node.kernel.named_ref("x") == node.ref("x")
        assert node.kernel.is_alive(node.ref("x"), 1.0) is False


INTERNAL = {
    *("kernel", "network", "publish", "casts", "label", "process", "fire", "id", "owner"),
    *("waiter", "complete", "life_changed", "start", "view_changed", "stream"),
}


@pytest.mark.parametrize(
    ("plain", "face"),
    [
        (Node, BlockingNode),
        (Ref, BlockingRef),
        (StartOptions, BlockingStartOptions),
        (Monitor, BlockingMonitor),
        (Timer, BlockingTimer),
        (SupervisorHandle, BlockingSupervisor),
        (GlobalRegistry, BlockingRegistry),
    ],
)
def test_a_face_names_all_that_the_plain_class_has(plain: type, face: type) -> None:
    public = {name for name in dir(plain) if not name.startswith("_")}
    assert public - set(dir(face)) - INTERNAL == set()
    for name in public & set(dir(face)):
        assert not inspect.iscoroutinefunction(getattr(face, name)), name


def test_a_process_can_be_looked_into_and_held() -> None:
    with running() as node:
        counter = node.start(Counter, 3)
        assert counter.get_state() == 3
        counter.suspend()
        assert counter.info().behavior.endswith("Counter")
        with pytest.raises(CallTimeoutError):
            counter.call("get", timeout=0.02)
        counter.replace_state(5)
        counter.resume()
        assert counter.call("get") == 5
        heard: list[Any] = []
        counter.trace(heard.append)
        counter.cast(1)
        assert counter.call("get") == 6 and len(heard) >= 2
        counter.untrace(heard.append)
        assert counter.statistics() is not None


def test_names_members_and_multi_call() -> None:
    with running() as node:
        counter = node.options(name="it").start(Counter, 1)
        node.registry.register("global", counter)
        assert node.registry.whereis("global") == counter == node.whereis_global("global")
        assert node.registry.names() == ["global"]
        assert node.registry.unregister("global") is True
        assert [info.id for info in node.members()] == [node.id]
        assert [info.id for info in node.wait_for_members(1)] == [node.id]
        assert node.is_frozen is False
        assert node.multi_call("it", "get") == ({node.id: 1}, {})
        replies, _ = node.multi_call("it", ("echo", counter))
        assert isinstance(replies[node.id], BlockingRef)
        with pytest.raises(TimeoutError):
            node.wait_for_members(2, timeout=0.05)


class Get(Request[int]):
    """What is asked."""


def test_a_request_is_a_message_like_any_other() -> None:
    with running() as node:
        assert node.start(Counter).call(("class of", Get())) == "Get"


# ---------------------------------------------------------------------- refs on their way


@pytest.mark.parametrize("holder", [lambda ref: ref, lambda ref: [ref], lambda ref: {"it": ref}])
def test_refs_change_on_their_way_there_and_back(holder: Any) -> None:
    def refs(value: Any) -> Any:
        values = value.values() if isinstance(value, dict) else value
        return next(iter(values)) if isinstance(value, list | dict) else value

    with running() as node:
        counter = node.start(Counter)
        seen: list[Any] = []
        node.run(seen.append, holder(counter))
        assert type(refs(seen[0])) is Ref
        back = node.run(lambda: holder(counter.plain))
        assert type(refs(back)) is BlockingRef
        assert refs(back).call("get") == 0


def test_a_ref_in_a_message_is_a_plain_ref_for_the_handler() -> None:
    with running() as node:
        counter = node.start(Counter)
        assert counter.call(("class of", counter)) == "Ref"
        assert counter.call(("echo", counter)) == counter


def test_a_value_without_refs_is_not_copied() -> None:
    with running() as node:
        counter = node.start(Counter)
        for value in ([1, [2]], {"a": 1}, (1, 2), [], {}):
            assert counter.call(("echo", value)) is value


# ---------------------------------------------------------------------- supervisors


def test_a_supervisor_has_the_same_methods_without_await() -> None:
    with running() as node:
        events: list[Any] = []
        unsubscribe = node.on_lifecycle_event(events.append)
        sup = node.run(
            Supervisor.start,
            node,
            children=[ChildSpec("a", Counter, args=(1,)), ChildSpec("b", Counter)],
        )
        assert sup.node_id == node.id and sup.is_running() and sup.count_children() == 2
        assert [info.ref.call("get") for info in sup.get_children()] == [1, 0]
        first = sup.get_child("a").ref
        assert isinstance(first, BlockingRef) and sup.which_child(first) == "a"
        assert sup.restart_child("a") != first
        keeper = sup.start_child(ChildSpec("c", Counter, kwargs={"friend": first}))
        assert keeper.call("get") == 0
        assert sup.get_stats().total_restarts == 1
        assert "a" in sup.explain("a")
        with sup.events() as stream:
            sup.terminate_child("c")
            assert stream.get(LIMIT).type == "child_stopped"
        sup.ref.send("ignored")
        unsubscribe()
        sup.stop()
        assert sup.wait(timeout=LIMIT) == "noproc" or sup.wait(timeout=LIMIT) == "normal"
        types = [event.type for event in events]
        assert types[:3] == ["child_started", "child_started", "supervisor_started"]
        assert events[2].ref == sup
        assert "supervisor_stopped" not in types


def test_lifecycle_events_can_be_heard_from_before_the_start() -> None:
    events: list[Any] = []
    node = noex.blocking(Node())
    unsubscribe = node.on_lifecycle_event(events.append)
    with node:
        sup = node.run(Supervisor.start, node)
        until(lambda: events)
        assert events[0].ref == sup and events[0].ref.count_children() == 0
        unsubscribe()
    unsubscribe()
    assert [event.type for event in events] == ["supervisor_started"]


def test_events_of_a_supervisor_end_with_it() -> None:
    with running() as node:
        sup = node.run(Supervisor.start, node, children=[ChildSpec("a", Counter)])
        with ThreadPoolExecutor(1) as pool:
            stream = sup.events()
            reader = pool.submit(list, stream)
            sup.stop()
            assert [event.type for event in reader.result(LIMIT)][-1] == "supervisor_stopped"


# ---------------------------------------------------------------------- threads


def test_fifty_threads_call_at_once() -> None:
    threads, calls = 50, 200
    with running() as node, ThreadPoolExecutor(threads) as pool:
        counter = node.start(Counter)
        slow = node.start(Slow)
        together = threading.Barrier(threads)

        def work(number: int) -> list[int]:
            together.wait(LIMIT)
            ref = slow if number % 10 == 0 else counter
            return [ref.call(("add", 1), timeout=LIMIT) for _ in range(calls)]

        replies = list(pool.map(work, range(threads)))
        assert all(row == sorted(row) for row in replies)
        assert slow.call("get") == calls * 5
        assert counter.call("get") == calls * 45
        seen = [reply for number, row in enumerate(replies) if number % 10 for reply in row]
        assert sorted(seen) == list(range(1, calls * 45 + 1))


def test_casts_of_one_thread_keep_their_order_and_all_arrive() -> None:
    class Log(GenServer[list[Any]]):
        def init(self) -> list[Any]:
            return []

        def handle_call(self, message: Any, state: list[Any]) -> Any:
            return list(state), state

        def handle_cast(self, message: Any, state: list[Any]) -> None:
            state.append(message)

    many = 25_000  # more than may wait
    with running() as node, ThreadPoolExecutor(3) as pool:
        log = node.start(Log)

        def tell(who: int) -> bool:
            return all(log.cast((who, number)) for number in range(many))

        assert list(pool.map(tell, range(3))) == [True] * 3
        heard = log.call("all", timeout=LIMIT)
        for who in range(3):
            assert [number for w, number in heard if w == who] == list(range(many))


def test_a_blocking_call_in_a_handler_is_refused_and_a_cast_is_not() -> None:
    with running() as node:
        counter = node.start(Counter)
        other = node.start(Counter)
        with pytest.raises(ServerCrashedError) as crashed:
            counter.call(("run", lambda: other.call("get")))
        assert isinstance(crashed.value.reason, BlockingCallError)
        assert "handler" in str(crashed.value.reason)
        third = node.start(Counter)
        assert third.call(("run", lambda: other.cast(7))) is True
        assert other.call("get") == 7
        fourth = node.start(Counter)
        with pytest.raises(ServerCrashedError) as crashed:
            fourth.call(("run", node.stop))
        assert isinstance(crashed.value.reason, BlockingCallError)


def test_a_thread_with_a_running_loop_is_refused() -> None:
    async def main(node: BlockingNode) -> None:
        with pytest.raises(BlockingCallError):
            node.members()
        with pytest.raises(BlockingCallError):
            noex.blocking(Node()).start_up()
        coroutine = asyncio.sleep(0)
        with pytest.raises(BlockingCallError):
            node.run(coroutine)
        assert await asyncio.to_thread(lambda: len(node.members())) == 1

    with running() as node:
        asyncio.run(main(node))


def test_a_loop_that_a_handler_holds_does_not_hold_the_callers() -> None:
    with running() as node:
        counter, other = node.start(Counter), node.start(Counter)
        release = threading.Event()
        try:
            holder = threading.Thread(
                target=lambda: counter.call(("run", lambda: release.wait(LIMIT)), timeout=None)
            )
            holder.start()
            started = time.monotonic()
            with pytest.raises(CallTimeoutError):
                other.call("get", timeout=0.05)
            with pytest.raises(LoopHeldError):
                node.whereis_global("x", timeout=0.05)
            assert time.monotonic() - started < LIMIT / 2
            assert other.cast(1) is True  # it does not wait
        finally:
            release.set()
            holder.join(LIMIT)
        assert other.call("get") == 1


def test_what_takes_longer_than_its_timeout_on_a_loop_that_answers_is_waited_for() -> None:
    class Patient(Node):
        async def drain(self, timeout: float = 30.0) -> None:
            await asyncio.sleep(0.8)  # sleep: longer than its timeout and the grace together

    with noex.blocking(Patient()) as node:
        assert node.drain(timeout=0.05) is None


def test_two_nodes_in_one_process_do_not_know_of_each_other() -> None:
    with running() as one, running() as two:
        a = one.options(name="it").start(Counter, 1)
        b = two.options(name="it").start(Counter, 2)
        assert (a.call("get"), b.call("get")) == (1, 2)
        assert one.incarnation != two.incarnation
        assert two.run(lambda ref: ref.kernel is two.plain.kernel, a)
        assert two.monitor(a).wait(LIMIT) == "noconnection"
        with pytest.raises(InvalidOptionError):
            one.run(Supervisor.start, two)
        one.stop()
        assert b.call("get") == 2


# ---------------------------------------------------------------------- life


def test_before_it_starts_and_after_it_stopped_it_says_so() -> None:
    node = noex.blocking(Node())
    for use in (node.members, lambda: node.start(Counter), lambda: node.run(int)):
        with pytest.raises(NodeStoppedError, match="has not been started"):
            use()
    node.stop()  # nothing to stop
    with node:
        counter = node.start(Counter)
        sup = node.run(Supervisor.start, node)
    node.stop()
    uses = [node.members, lambda: counter.call("get"), counter.stop, sup.get_children, node.events]
    for use in uses:
        with pytest.raises(NodeStoppedError, match="was stopped"):
            use()
    assert counter.cast(1) is False and counter.exit("kill") is None
    with pytest.raises(NodeStoppedError):
        node.start_up()


def test_events_end_with_the_node() -> None:
    with running() as node, ThreadPoolExecutor(1) as pool:
        events = node.events()
        reader = pool.submit(list, events)
        with pytest.raises(TimeoutError):
            node.events().get(timeout=0.02)
        node.stop()
        assert reader.result(LIMIT) == []
        assert list(events) == []


def test_who_waits_while_the_node_stops_is_answered() -> None:
    with running() as node, ThreadPoolExecutor(8) as pool:
        counter = node.start(Counter)
        waiting = [pool.submit(counter.call, "never", timeout=None) for _ in range(8)]
        until(lambda: node.run(lambda: len(node._thread.jobs)) == 8)
        node.stop()
        for each in waiting:
            assert isinstance(each.exception(LIMIT), ServerCrashedError | NodeStoppedError)


def test_many_threads_may_stop_it_at_once() -> None:
    with running() as node, ThreadPoolExecutor(8) as pool:
        for stop in [pool.submit(node.stop) for _ in range(8)]:
            stop.result(LIMIT)


def test_a_start_that_fails_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with noex.blocking(Node("a@127.0.0.1:0")) as node:
        second = noex.blocking(Node(node.id))
        with pytest.raises(noex.PortInUseError):
            second.start_up()
        with pytest.raises(NodeStoppedError):
            second.members()
    assert set(threading.enumerate()) - before == set()


def test_what_is_no_node_is_refused() -> None:
    with pytest.raises(InvalidOptionError):
        noex.blocking("a@127.0.0.1:0")  # type: ignore[arg-type]


def test_a_task_or_thread_left_on_the_loop_ends_with_it() -> None:
    ended: list[str] = []

    async def stays() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("task")

    async def begin() -> None:
        node.plain.kernel.loop.stays = asyncio.create_task(stays())
        await asyncio.to_thread(int)

    with running() as node:
        node.run(begin)
    assert ended == ["task"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_a_fork_it_says_so_and_does_not_hang() -> None:
    with running() as node:
        counter = node.start(Counter)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if use_in_a_fork(node, counter) else 2
            finally:
                os._exit(code)
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            time.sleep(0.01)
        assert (pid, os.waitstatus_to_exitcode(status)) == (child, 0)
        assert counter.call("get") == 0


def use_in_a_fork(node: BlockingNode, counter: Any) -> bool:
    uses = [
        node.members,
        lambda: counter.call("get"),
        lambda: counter.cast(1),
        lambda: node.start(Counter),
    ]
    for use in uses:
        try:
            use()
        except NodeStoppedError as error:
            if "fork" not in str(error):
                return False
        else:
            return False
    node.stop()  # not ours to stop
    return True


def test_a_key_board_interrupt_of_a_handler_comes_out_of_the_pending_call() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    node = noex.blocking(Node())
    node.start_up()
    try:
        for behavior in (Counter, Slow):
            if behavior is Counter:
                with pytest.raises(KeyboardInterrupt):
                    node.start(behavior).call(("run", interrupt))
        with pytest.raises(NodeStoppedError):  # it stops the node
            while True:
                node.start(Counter)
    finally:
        node.stop()


def test_a_keyboard_interrupt_for_which_nobody_waits_comes_out_of_the_next_call() -> None:
    def interrupt(server: GenServer[int]) -> None:
        server.kernel.loop.call_soon(fire)

    def fire() -> None:
        fired.set()
        raise KeyboardInterrupt

    fired = threading.Event()
    with running() as node:
        counter = node.start(Counter)
        worker = threading.Thread(target=lambda: counter.call(("do", interrupt)))
        worker.start()
        worker.join(LIMIT)
        assert fired.wait(LIMIT)
        with pytest.raises(KeyboardInterrupt):
            while True:
                counter.call("get")
        assert counter.call("get") == 0


def test_a_keyboard_interrupt_that_nobody_got_comes_out_of_the_stop() -> None:
    def fire() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), noex.blocking(Node()) as node:
        node.plain.kernel.loop.call_soon_threadsafe(fire)
