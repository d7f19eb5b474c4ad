"""kill -9 and SIGSTOP of the other operating system process, with everything open that can be."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arena import eventually, until
from pair import Pair, pair
from remote_actors import Told

from noex import (
    CallTimeoutError,
    Down,
    Exit,
    GenServer,
    NodeDown,
    NodeNotReachableError,
    NodeUp,
    NoProcessError,
    ServerCrashedError,
)
from noex.transport.peers import Peer

LONG = 120.0  # a timeout that nothing here may wait for
AT_ONCE = 5.0  # far below any detection by silence, with a loaded machine's delays on top
PROCESSES = 200
EACH = 50  # monitors, and links, of each of them


class Watcher(GenServer[Counter[Any]]):
    """Counts each `Down` by its monitor, and each `Exit` by its sender."""

    def init(self) -> Counter[Any]:
        self.trap_exits = True
        return Counter()

    def handle_call(self, message: Any, state: Counter[Any]) -> Any:
        match message:
            case ("monitor", refs, times):
                return len([self.monitor(ref) for ref in refs for _ in range(times)]), state
            case ("link", refs):
                for ref in refs:
                    self.link(ref)
                return len(refs), state
        return dict(state), state

    def handle_info(self, message: Any, state: Counter[Any]) -> None:
        match message:
            case Down(monitor, _, reason):
                state[monitor.id, reason] += 1
            case Exit(ref, reason):
                state[ref, reason] += 1


async def ends(waiting: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """What an operation ends with, an error or a value, and when."""
    try:
        outcome = await waiting
    except Exception as error:
        outcome = error
    return outcome, time.monotonic()


def nothing_open(two: Pair, peer: Peer) -> None:
    """The rows with a peer that is gone, and what processes here keep of it."""
    assert peer.open_rows == 0
    kernel = two.near.kernel
    for process in kernel.processes.values():
        for ref in process.links or ():
            assert ref.node_id != peer.node_id
        for monitor in process.monitoring or ():
            assert monitor.ref.node_id != peer.node_id
        for key in process.watchers or ():
            assert not (isinstance(key, tuple) and key[0] == peer.uid)


def test_everything_that_waits_for_a_killed_node_ends_once_and_at_once() -> None:
    """A thousand calls, and one of everything else: starts, stops, questions, a multi_call."""

    async def main() -> None:
        async with pair(("far", "other")) as two:
            near, far = two.near, two.far
            refs = [await two.there() for _ in range(10)]
            other = await near.options(name="many").spawn("server", on=two.cluster.ids[1])
            await near.options(name="many").spawn("server", on=far)
            deadlines = near.kernel.patience.waiting
            calls = [ends(refs[n % 10].call(("keep", n), timeout=LONG)) for n in range(1000)]
            across = [
                ends(other.call(("try", refs[0], "keep", LONG), timeout=LONG)) for _ in range(100)
            ]
            asleep = ("sleep", LONG)
            here = await two.here()  # called by the node that will be lost
            back = [ends(refs[2].call(("try", here, "keep", LONG), timeout=LONG))]
            busy = ends(refs[1].call(asleep, timeout=LONG))
            rest = [
                ends(near.options(timeout=LONG).spawn("trouble", *asleep, on=far)),
                ends(refs[0].wait(LONG)),
                ends(near.multi_call("many", "keep", two.cluster.ids, timeout=0.5)),
            ]
            tasks = [asyncio.ensure_future(each) for each in (*calls, *across, busy, *rest, *back)]
            for n in range(10):  # the calls have arrived; behind them is what waits for its turn
                await eventually(refs[n].statistics, lambda s: s.replies_owed >= 100)
            await eventually(lambda: here.call("owed"), lambda owed: owed == 1)
            spawner = near.kernel.named_ref("noex.spawner", far)
            await eventually(lambda: spawner.call(("under_way",)), lambda count: count == 1)
            queued = [ends(refs[1].stop(timeout=LONG)), ends(refs[1].get_state(timeout=LONG))]
            tasks += [asyncio.ensure_future(each) for each in queued]
            await refs[1].info()  # it came after those
            peer = two.peer
            assert peer.open_rows >= 1000
            killed_at = two.cluster.kill("far")
            outcomes = await asyncio.wait_for(asyncio.gather(*tasks), AT_ONCE)
            assert max(at for _, at in outcomes) - killed_at < AT_ONCE
            found = [outcome for outcome, _ in outcomes]
            for outcome in (*found[:1000], found[1100], found[1101], *found[-3:]):
                assert type(outcome) is NodeNotReachableError and outcome.node_id == far
            for verdict, error in found[1000:1100]:
                assert verdict == "error" and type(error) is NodeNotReachableError
            assert found[1102] == "noconnection"
            replies, failed = found[1103]
            assert replies == {} and type(failed[far]) is NodeNotReachableError
            assert type(failed[two.cluster.ids[1]]) is CallTimeoutError
            nothing_open(two, peer)
            assert await here.call("owed") == 0
            # No timeout of a call is left; the system processes may have some of their own.
            assert len(near.kernel.alarm) < deadlines + 10
            assert await other.call(("rows",)) == {near.id: 1}  # this very question
            await later_uses_fail_at_once(two, refs[0])

    asyncio.run(main())


async def later_uses_fail_at_once(two: Pair, ref: Any) -> None:
    """Case 134: nothing waits for a node that is known to be gone."""
    began = time.monotonic()
    for use in (ref.call, ref.info, ref.get_state, ref.suspend, ref.stop):
        outcome, _ = await ends(use("x") if use == ref.call else use())
        assert type(outcome) is NodeNotReachableError
    assert ref.cast("x") is False and ref.send("x") is False
    assert ref.exit("odd") is None
    assert await ref.is_alive() is False
    assert await ref.wait(AT_ONCE) == "noconnection"
    outcome, _ = await ends(two.near.spawn("server", on=two.far))
    assert type(outcome) is NodeNotReachableError
    _, failed = await two.near.multi_call("many", "x", [two.far])
    assert type(failed[two.far]) is NodeNotReachableError
    assert time.monotonic() - began < AT_ONCE


def test_ten_thousand_monitors_and_links_on_a_killed_node_fire_once_each() -> None:
    """Cases 158, 161, 179: `Down` and `Exit` with noconnection; the tables are empty afterwards."""

    async def main() -> None:
        async with pair() as two:
            refs = await asyncio.gather(*(two.there(trap=True) for _ in range(PROCESSES)))
            watchers = [await two.near.start(Watcher) for _ in range(EACH)]
            for watcher in watchers:
                assert await watcher.call(("link", refs)) == PROCESSES
            assert await watchers[0].call(("monitor", refs, EACH)) == PROCESSES * EACH
            outside = [two.near.monitor(ref) for ref in refs]
            here = [await two.here() for _ in range(10)]
            for ref in here:  # and the other way round
                await refs[0].call(("monitor", ref))
                await refs[0].call(("link", ref))
            peer = two.peer
            assert peer.open_rows == 2 * PROCESSES * EACH + PROCESSES + 20
            ended = [asyncio.ensure_future(ref.wait(LONG)) for ref in here]
            two.cluster.kill("far")
            await two.until_happened(NodeDown)
            assert await asyncio.wait_for(asyncio.gather(*ended), AT_ONCE) == ["noconnection"] * 10
            nothing_open(two, peer)
            for monitor in outside:
                assert await monitor.wait(0) == "noconnection" and not monitor.active
            first, *others = [await watcher.call("seen") for watcher in watchers]
            exits = {(ref, "noconnection"): 1 for ref in refs}
            assert others == [exits] * (EACH - 1)
            downs = {key: count for key, count in first.items() if key not in exits}
            assert len(first) == PROCESSES + PROCESSES * EACH and set(downs.values()) == {1}
            assert {reason for _, reason in downs} == {"noconnection"}
            assert await watchers[0].call(("link", refs[:1])) == 1  # to what is gone already
            await eventually(
                lambda: watchers[0].call("seen"), lambda seen: seen[refs[0], "noconnection"] == 2
            )
            nothing_open(two, peer)

    asyncio.run(main())


# Cases 167, 173.
def test_case_173_a_ref_of_an_earlier_life_reaches_nobody_in_the_next() -> None:
    async def main() -> None:
        async with pair() as two:
            stale = [await two.there("old") for _ in range(5)]
            named = two.near.ref("named", on=two.far)
            await two.near.options(name="named").spawn("server", "old", on=two.far)
            watcher = await two.near.start(Watcher)
            await watcher.call(("link", stale))
            early = two.near.monitor(named)
            await two.cluster.prepare("far")
            two.cluster.kill("far")
            await two.cluster.restart("far")
            await two.until_happened(NodeUp, 2)
            lives = [e for e in two.news if type(e) in (NodeUp, NodeDown) and e.node_id == two.far]
            assert [type(e) for e in lives] == [NodeUp, NodeDown, NodeUp]
            assert lives[0].incarnation == lives[1].incarnation < lives[2].incarnation
            fresh = [await two.there("new") for _ in range(20)]
            assert {ref.serial for ref in fresh} & {ref.serial for ref in stale}
            for ref in stale:
                await a_stale_ref_is_nobodys(two, ref, watcher)
            assert await early.wait(AT_ONCE) == "noconnection"
            for ref in fresh:
                assert await ref.call("heard") == []
                assert await ref.call("state") == (("new",), {})
            with pytest.raises(NoProcessError):
                await named.call("state")  # a name means whoever has it now
            await two.near.options(name="named").spawn("server", "again", on=two.far)
            assert await named.call("state") == (("again",), {})
            await two.until_settled()

    asyncio.run(main())


async def a_stale_ref_is_nobodys(two: Pair, ref: Any, watcher: Any) -> None:
    for use in (
        ref.call("x", timeout=LONG),
        ref.info(timeout=LONG),
        ref.replace_state("x", timeout=LONG),
        ref.suspend(timeout=LONG),
        ref.stop(timeout=LONG),
    ):
        outcome, _ = await asyncio.wait_for(ends(use), AT_ONCE)
        assert type(outcome) is NoProcessError and outcome.ref == ref
    assert ref.cast(("crash", Told("stale", 1))) is False and ref.send("x") is False
    ref.exit("kill")
    assert await ref.is_alive() is False
    assert await two.near.monitor(ref).wait(AT_ONCE) == "noproc"
    assert await ref.wait(AT_ONCE) == "noproc"
    seen = await watcher.call("seen")
    assert seen[ref, "noconnection"] == 1
    await watcher.call(("link", [ref]))
    await eventually(lambda: watcher.call("seen"), lambda seen: seen.get((ref, "noproc")) == 1)


# Cases 166, 167.
def test_case_166_node_down_comes_after_the_last_message_of_a_killed_node() -> None:
    """It is killed in the middle of a flood; what arrived of that is a beginning."""

    async def main() -> None:
        async with pair() as two:
            witness = await two.near.start(Witness)
            two.near.monitor_nodes(witness)
            sender = await two.near.spawn("sender", on=two.far)
            await two.cluster.prepare("far")
            sender.cast((witness, 10**9, 0))
            await eventually(lambda: witness.call("count"), lambda count: count > 5000)
            two.cluster.kill("far")
            await two.until_happened(NodeDown)
            await two.cluster.restart("far")
            await two.until_happened(NodeUp, 2)
            count, events = await witness.call("all")
            assert count > 5000
            assert [(type(e), at) for e, at in events] == [(NodeDown, count), (NodeUp, count)]

    asyncio.run(main())


class Witness(GenServer[tuple[int, list[Any]]]):
    """Takes numbers in order, and notes after which of them it heard of a node."""

    def init(self) -> tuple[int, list[Any]]:
        self.trap_exits = True
        return 0, []

    def handle_call(self, message: Any, state: tuple[int, list[Any]]) -> Any:
        match message:
            case "count":
                return state[0], state
            case "all":
                return state, state
        return message[0], self.take(message[0], state)

    def take(self, number: int, state: tuple[int, list[Any]]) -> tuple[int, list[Any]]:
        assert number == state[0] + 1, "a hole"
        return number, state[1]

    def handle_cast(self, message: Any, state: tuple[int, list[Any]]) -> Any:
        return self.take(message[0], state)

    def handle_info(self, message: Any, state: tuple[int, list[Any]]) -> Any:
        match message:
            case NodeUp() | NodeDown():
                state[1].append((message, state[0]))
                return None
            case Exit(_, ("shutdown", number)):
                return self.take(number, state)
            case (int() as number,):
                return self.take(number, state)


def test_a_node_that_is_told_to_stop_answers_for_its_processes_first() -> None:
    """SIGTERM: whoever waits hears how each process has ended, and not that its node is lost."""

    async def main() -> None:
        async with pair() as two:
            refs = [await two.there() for _ in range(10)]
            watcher = await two.near.start(Watcher)
            await watcher.call(("link", refs))
            await watcher.call(("monitor", refs, 10))
            calls = [ends(refs[n % 10].call("keep", timeout=LONG)) for n in range(200)]
            tasks = [asyncio.ensure_future(each) for each in calls]
            for ref in refs:
                await eventually(ref.statistics, lambda s: s.replies_owed == 20)
            peer = two.peer
            assert await two.cluster.stop("far") == 0
            await two.until_happened(NodeDown)
            for outcome, _ in await asyncio.wait_for(asyncio.gather(*tasks), AT_ONCE):
                assert type(outcome) is ServerCrashedError and outcome.reason == "shutdown"
            seen = await watcher.call("seen")
            assert len(seen) == 110 and set(seen.values()) == {1}
            assert {reason for _, reason in seen} == {"shutdown"}
            nothing_open(two, peer)
            assert two.happened(NodeDown)[0].reason == "graceful_shutdown"

    asyncio.run(main())


def test_what_was_started_for_a_killed_node_is_stopped() -> None:
    """The requester is gone before `init` has ended: its process must not stay."""

    async def main() -> None:
        async with pair() as two:
            near = two.near
            asker = await two.there()
            for call in (("spawn", near.id, "sleep", 1.0), ("spawn", near.id, "sleep", LONG)):
                asker.cast(call)
            spawner = near.kernel.named_ref("noex.spawner")
            await eventually(lambda: spawner.call(("under_way",)), lambda count: count == 2)
            before = near.kernel.process_count
            two.cluster.kill("far")
            await two.until_happened(NodeDown)
            await eventually(lambda: spawner.call(("under_way",)), lambda count: count <= 1)
            await until(lambda: near.kernel.process_count < before, "what came too late is stopped")

    asyncio.run(main())


@asynccontextmanager
async def paused(two: Pair) -> AsyncIterator[None]:
    """The far process stands still meanwhile, whatever happens."""
    two.cluster.pause("far")
    try:
        yield
    finally:
        two.cluster.resume("far")


def test_a_node_that_stands_still_for_a_moment_loses_nothing() -> None:
    """SIGSTOP and SIGCONT: what was under way arrives once, in order; who gave up hears nothing."""

    async def main() -> None:
        async with pair() as two:
            ref, other = await two.there(), await two.there()
            monitor = two.near.monitor(ref)
            kept = [asyncio.ensure_future(ref.call(("keep", n), timeout=LONG)) for n in range(50)]
            await eventually(ref.statistics, lambda s: s.replies_owed == 50)
            async with paused(two):
                calls = [asyncio.ensure_future(ref.call(n, timeout=LONG)) for n in range(1000)]
                hasty = [asyncio.ensure_future(ref.call("keep", timeout=0.8)) for _ in range(50)]
                for n in range(1000):
                    assert ref.cast(n) is True
                asked = (ref.is_alive, ref.info, other.stop, ref.resolve)
                hasty += [asyncio.ensure_future(ask(timeout=0.8)) for ask in asked]
                outcomes = await asyncio.gather(*hasty, return_exceptions=True)
                assert {type(outcome) for outcome in outcomes} == {CallTimeoutError}
                assert not any(task.done() for task in (*calls, *kept))
            assert await asyncio.wait_for(asyncio.gather(*calls), 30.0) == list(range(1000))
            await eventually(lambda: ref.call("owed"), lambda owed: owed == 50)
            assert sum(await ref.call(("answer", "at last"))) == 50
            assert await asyncio.wait_for(asyncio.gather(*kept), AT_ONCE) == ["at last"] * 50
            heard = await ref.call("heard")
            assert [item[1] for item in heard if item[0] == "cast"] == list(range(1000))
            assert two.happened(NodeDown) == [] and monitor.active
            monitor.cancel()
            await two.until_settled()

    asyncio.run(main())


@pytest.mark.long
def test_a_node_that_stands_still_too_long_is_lost_once_and_comes_back_as_another_life() -> None:
    """Calls fail, monitors fire; when it goes on, what it still had to say reaches nobody."""

    async def main() -> None:
        async with pair() as two:
            ref, here = await two.there(trap=True), await two.here()
            watcher = await two.near.start(Watcher)
            await watcher.call(("link", [ref]))
            await watcher.call(("monitor", [ref], 1000))
            await ref.call(("monitor", here))
            ref.cast(("ask", here, "keep", LONG))  # it will lose us, as we lose it
            await eventually(lambda: here.call("owed"), lambda owed: owed == 1)
            kept = [ends(ref.call(("keep", n), timeout=LONG)) for n in range(1000)]
            tasks = [asyncio.ensure_future(each) for each in kept]
            await eventually(ref.statistics, lambda s: s.replies_owed == 1000)
            peer = two.peer
            async with paused(two):
                ref.cast("never")
                await two.until_happened(NodeDown, limit=60.0)
                outcomes = await asyncio.wait_for(asyncio.gather(*tasks), AT_ONCE)
                assert {type(outcome) for outcome, _ in outcomes} == {NodeNotReachableError}
                nothing_open(two, peer)
                assert await here.call("owed") == 0
            await two.until_happened(NodeUp, 2)
            seen = await watcher.call("seen")
            assert len(seen) == 1001 and set(seen.values()) == {1}
            assert {reason for _, reason in seen} == {"noconnection"}
            assert type((await ends(ref.call("x", timeout=LONG)))[0]) is NoProcessError
            # The process itself lives on, under the new life of its node; it lost its peer, too.
            alive = two.near.kernel.ref_for(two.far, two.peer.uid[1], ref.serial)
            heard = await alive.call("heard")
            assert heard.count(("down", here, "noconnection")) == 1
            assert heard.count(("asked", "NodeNotReachableError")) == 1
            assert [item for item in heard if item[0] == "exit"] == [
                ("exit", watcher, "noconnection")
            ]
            assert ("cast", "never") not in heard
            assert await alive.call("owed") == 0
            await two.until_settled()

    asyncio.run(main())
