"""kill -9: calls in flight, monitors, names, and a node that is back at once under its name."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from arena import Arena, arena, eventually, until

from noex import GenServer, NodeDown, NodeNotReachableError, NodeUp, NoProcessError

pytestmark = pytest.mark.slow

LONG = 60.0  # a call's timeout that nothing here may wait for
AT_ONCE = 5.0  # far below any detection by silence with a loaded machine's delays on top


class Watcher(GenServer[Any]):
    """Monitors refs, and counts every `Down` by monitor."""

    def init(self) -> Any:
        return Counter()

    def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case ("watch", refs, times):
                monitors = [self.monitor(ref) for ref in refs for _ in range(times)]
                return len(monitors), state
            case "seen":
                return dict(state), state

    def handle_info(self, message: Any, state: Any) -> Any:
        state[message.monitor.id, message.reason] += 1


async def failed(call: Any) -> tuple[Exception, float]:
    """The error with which a call ends, and when."""
    with pytest.raises(Exception) as caught:  # the caller checks the class
        await call
    return caught.value, time.monotonic()


async def calls_in_flight_fail(here: Arena) -> None:
    """Case: nothing waits for a dead node, neither here nor between two workers."""
    target, relay = await here.echo("n1"), await here.echo("n2")
    direct = [asyncio.ensure_future(failed(target.call("never", timeout=LONG))) for _ in range(100)]
    across = asyncio.ensure_future(relay.call(("try", target, "never", LONG), timeout=LONG))
    assert await target.call("served") == "served"  # so the calls before it have arrived
    info = await relay.is_alive()
    assert info
    killed_at = here.cluster.kill("n1")
    outcomes = await asyncio.wait_for(asyncio.gather(*direct), AT_ONCE)
    verdict, error = await asyncio.wait_for(across, AT_ONCE)
    assert verdict == "error"
    for problem in (*(problem for problem, _ in outcomes), error):
        assert type(problem) is NodeNotReachableError
        assert problem.node_id == target.node_id
    assert max(at for _, at in outcomes) - killed_at < AT_ONCE
    later, _ = await asyncio.wait_for(failed(target.call("late", timeout=LONG)), AT_ONCE)
    assert type(later) is NodeNotReachableError
    assert target.cast("nobody") is False


def test_calls_in_flight_fail_at_once_with_the_error_that_names_the_node() -> None:
    async def main() -> None:
        async with arena(2) as here:
            await calls_in_flight_fail(here)

    asyncio.run(main())


def test_a_thousand_monitors_on_a_killed_node_fire_once_each() -> None:
    async def main() -> None:
        async with arena(1) as here:
            watcher = await here.node.start(Watcher)
            refs = [await here.echo("n1") for _ in range(10)]
            assert await watcher.call(("watch", refs, 100)) == 1000
            assert await asyncio.gather(*(ref.call("up") for ref in refs)) == ["up"] * 10
            here.cluster.kill("n1")
            seen = await eventually(lambda: watcher.call("seen"), lambda seen: len(seen) >= 1000)
            await here.until_down("n1")
            for ref in refs:  # a monitor of what is gone already
                assert await here.node.monitor(ref).wait(AT_ONCE) == "noconnection"
            seen = await watcher.call("seen")
            assert len(seen) == 1000
            assert set(seen.values()) == {1}
            assert {reason for _, reason in seen} == {"noconnection"}

    asyncio.run(main())


def test_global_names_go_with_their_node_and_can_be_taken_at_once() -> None:
    async def main() -> None:
        async with arena(2) as here:
            node = here.node
            owner, other = await here.echo("n1", 1), await here.echo("n2", 2)
            await node.registry.register("leader", owner)
            assert await node.whereis_global("leader") == owner
            here.cluster.kill("n1")
            await here.until_down("n1")
            assert await node.whereis_global("leader") is None
            await node.registry.register("leader", other)
            assert await node.whereis_global("leader") == other

    asyncio.run(main())


def test_a_node_that_is_back_at_once_is_down_then_up_and_its_old_refs_raise() -> None:
    """Cases 167 and 173."""

    async def main() -> None:
        async with arena(2) as here:
            old = await here.echo("n1", "old")
            first = here.happened("NodeUp", "n1")[-1].incarnation
            assert old.incarnation == first
            in_flight = asyncio.ensure_future(failed(old.call("never", timeout=LONG)))
            assert await old.call("served") == "served"
            mark = len(here.news)
            await here.cluster.prepare("n1")  # its next process is there, and waits to be told
            here.cluster.kill("n1")
            await here.cluster.restart("n1")
            await here.until_up("n1", 2)
            seen = [e for e in here.news[mark:] if isinstance(e, NodeUp | NodeDown)]
            node_id = here.cluster.id("n1")
            assert [(type(e), e.node_id) for e in seen] == [(NodeDown, node_id), (NodeUp, node_id)]
            assert seen[0].incarnation == first < seen[1].incarnation
            error, _ = await asyncio.wait_for(in_flight, AT_ONCE)
            assert type(error) is NodeNotReachableError
            new = await here.echo("n1", "new")
            assert await new.call("args") == ("new",)
            assert new.incarnation == seen[1].incarnation
            for question in (old.call("args", timeout=LONG), old.call("never", timeout=LONG)):
                error, _ = await asyncio.wait_for(failed(question), AT_ONCE)
                assert type(error) is NoProcessError
                assert error.ref == old
            assert await old.is_alive() is False
            assert await here.node.monitor(old).wait(AT_ONCE) == "noproc"

    asyncio.run(main())


def test_every_end_of_a_process_by_itself_is_told_to_the_cluster() -> None:
    """A process that ends itself at once is found out as soon as a killed one."""

    async def main() -> None:
        async with arena(2) as here:
            victim, witness = await here.echo("n1"), await here.echo("n2")
            victim.cast("die")
            await here.until_down("n1")
            (down,) = here.happened("NodeDown", "n1")
            assert down.reason in ("connection_closed", "connection_refused")
            verdict, error = await witness.call(("try", victim, "pid", LONG), timeout=LONG)
            assert (verdict, type(error)) == ("error", NodeNotReachableError)
            await until(lambda: len(here.node.members()) == 2, "two members are left")

    asyncio.run(main())
