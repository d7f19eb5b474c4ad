"""Starting behaviors on other nodes: two kernels, joined in memory."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from mesh import mesh_of, until

from noex.registry import spawner as spawner_module
from noex.registry.behaviors import BehaviorRegistry
from noex.registry.names import GlobalRegistry
from noex.registry.spawner import SPAWNER, Spawner, spawn
from noex.runtime.errors import (
    BehaviorNotFoundError,
    CallTimeoutError,
    GlobalNameConflictError,
    InitFailedError,
    InitTimeoutError,
    InvalidOptionError,
    MessageSerializationError,
    NameTakenError,
    NodeNotReachableError,
    OverloadedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.returns import Ignore

inits = []  # what was started, in this test
gates = {}  # futures for which inits wait
ends = []


class Plain(GenServer):
    def init(self, *args, **kwargs):
        inits.append((args, kwargs))
        return args, kwargs

    def handle_call(self, message, state):
        return state, state

    def terminate(self, reason, state):
        ends.append(reason)


class Slow(GenServer):
    async def init(self, gate):
        inits.append(gate)
        await gates[gate].wait()
        return gate

    def handle_call(self, message, state):
        return state, state

    def terminate(self, reason, state):
        ends.append(reason)


class Failing(GenServer):
    def init(self, *args):
        inits.append(args)
        raise ValueError("bad dsn", *args)


class Ignoring(GenServer):
    def init(self):
        return Ignore


BEHAVIORS = {"plain": Plain, "slow": Slow, "failing": Failing, "ignoring": Ignoring}


@pytest.fixture(autouse=True)
def clean():
    inits.clear()
    gates.clear()
    ends.clear()


@asynccontextmanager
async def two_nodes():
    async with mesh_of("near", "far") as mesh:
        near, far = mesh.members.values()
        for member in (near, far):
            registry = await GlobalRegistry.start(member.kernel, alone=False)
            registry.view_changed(1, [near.uid, far.uid])
            behaviors = BehaviorRegistry(BEHAVIORS if member is far else {})
            await member.kernel.start(Spawner, (behaviors,), name=SPAWNER)
            member.kernel.node = SimpleNamespace(registry=registry)
        yield mesh, near, far


def workers(member):
    """The processes that are none of the system's."""
    processes = member.kernel.processes.values()
    return [p.ref for p in processes if not (p.name or "").startswith("noex.")]


async def under_way(member):
    return await member.kernel.whereis(SPAWNER).call(("under_way",))


def test_a_behavior_is_started_by_name_with_its_arguments():
    async def main():
        async with two_nodes() as (_, near, far):
            ref = await spawn(near.kernel, far.uid[0], "plain", (1, [2]), {"k": {3}})
            assert ref.node_id == far.uid[0]
            assert await ref.call("get") == ((1, [2]), {"k": {3}})
            assert workers(far) == [ref]

    asyncio.run(main())


def test_a_node_may_spawn_on_itself():
    async def main():
        async with two_nodes() as (_, _near, far):
            ref = await spawn(far.kernel, far.uid[0], "plain")
            assert ref is workers(far)[0]

    asyncio.run(main())


def test_an_unknown_behavior_names_the_node():
    async def main():
        async with two_nodes() as (_, near, far):
            with pytest.raises(BehaviorNotFoundError) as caught:
                await spawn(near.kernel, far.uid[0], "nobody")
            assert caught.value.behavior_name == "nobody"
            assert caught.value.node_id == far.uid[0]

    asyncio.run(main())


def test_a_failing_init_brings_its_cause():
    async def main():
        async with two_nodes() as (_, near, far):
            with pytest.raises(InitFailedError) as caught:
                await spawn(near.kernel, far.uid[0], "failing", (5,))
            assert caught.value.behavior == "Failing"
            cause = caught.value.__cause__
            assert type(cause) is ValueError and cause.args == ("bad dsn", 5)
            assert workers(far) == []

    asyncio.run(main())


def test_an_init_that_ignores_gives_none():
    async def main():
        async with two_nodes() as (_, near, far):
            assert await spawn(near.kernel, far.uid[0], "ignoring") is None

    asyncio.run(main())


def test_a_slow_init_times_out_and_leaves_nothing():
    async def main():
        async with two_nodes() as (_, near, far):
            gates["x"] = asyncio.Event()
            with pytest.raises(InitTimeoutError):
                await spawn(near.kernel, far.uid[0], "slow", ("x",), init_timeout=0.05)
            assert workers(far) == []

    asyncio.run(main())


def test_starts_run_beside_each_other():
    async def main():
        async with two_nodes() as (_, near, far):
            gates["slow"], gates["quick"] = asyncio.Event(), asyncio.Event()
            slow = asyncio.ensure_future(spawn(near.kernel, far.uid[0], "slow", ("slow",)))
            await until(lambda: inits == ["slow"])
            gates["quick"].set()
            quick = await spawn(near.kernel, far.uid[0], "slow", ("quick",))
            assert await quick.call("get") == "quick"
            gates["slow"].set()
            assert await (await slow).call("get") == "slow"

    asyncio.run(main())


def test_names_are_registered_where_it_runs_or_everywhere():
    async def main():
        async with two_nodes() as (_, near, far):
            local = await spawn(near.kernel, far.uid[0], "plain", name="w")
            assert far.kernel.whereis("w") == local
            with pytest.raises(NameTakenError) as taken:
                await spawn(near.kernel, far.uid[0], "plain", name="w", register="local")
            assert (taken.value.name, taken.value.owner) == ("w", local)
            everywhere = await spawn(
                near.kernel, far.uid[0], "plain", name="leader", register="global"
            )
            assert await near.kernel.node.registry.whereis("leader") == everywhere
            with pytest.raises(GlobalNameConflictError) as conflict:
                await spawn(near.kernel, far.uid[0], "plain", name="leader", register="global")
            assert conflict.value.owner == everywhere
            assert set(workers(far)) == {local, everywhere}  # the loser is gone
            assert ends == ["shutdown"]

    asyncio.run(main())


def test_a_repeated_request_is_answered_with_the_first_outcome():
    async def main():
        async with two_nodes() as (_, near, far):
            gates["x"] = asyncio.Event()
            requests = [
                asyncio.ensure_future(spawn(near.kernel, far.uid[0], "slow", ("x",), key="k"))
                for _ in range(3)
            ]
            await until(lambda: inits)
            gates["x"].set()
            first, *others = await asyncio.gather(*requests)
            late = await spawn(near.kernel, far.uid[0], "slow", ("x",), key="k")
            assert others == [first, first] and late == first and inits == ["x"]
            for _ in range(2):
                with pytest.raises(InitFailedError):
                    await spawn(near.kernel, far.uid[0], "failing", key="bad")
            assert len(inits) == 2

    asyncio.run(main())


def test_outcomes_are_kept_bounded_in_number_and_time(monkeypatch):
    monkeypatch.setattr(spawner_module, "KEPT_OUTCOMES", 3)
    monkeypatch.setattr(spawner_module, "KEPT_FOR", 0.05)

    async def main():
        async with two_nodes() as (_, near, far):
            for number in range(6):
                await spawn(near.kernel, far.uid[0], "plain", key=number)
            ended = far.kernel.names[SPAWNER].server._ended
            assert list(ended) == [3, 4, 5]
            await until(lambda: not ended)

    asyncio.run(main())


def test_a_process_for_a_requester_that_timed_out_is_stopped():
    async def main():
        async with two_nodes() as (_, near, far):
            gates["x"] = asyncio.Event()
            with pytest.raises(CallTimeoutError):
                await spawn(near.kernel, far.uid[0], "slow", ("x",), timeout=0.05)
            await until(lambda: not workers(far) and not far.kernel.names[SPAWNER].server._keys)
            assert await under_way(far) == 0

    asyncio.run(main())


def test_a_process_whose_requester_gave_up_while_the_answer_was_under_way_is_stopped():
    async def main():
        async with two_nodes() as (mesh, near, far):
            mesh.hold(far, near)
            task = asyncio.ensure_future(spawn(near.kernel, far.uid[0], "plain"))
            await until(lambda: inits)
            await until(lambda: len(far.kernel.names[SPAWNER].server._ended) == 1)
            assert len(workers(far)) == 1
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: not workers(far))
            assert ends == ["shutdown"]
            mesh.release(far, near)

    asyncio.run(main())


def test_a_process_whose_requesters_node_is_lost_before_init_ends_is_stopped():
    async def main():
        async with two_nodes() as (mesh, near, far):
            gates["x"] = asyncio.Event()
            task = asyncio.ensure_future(spawn(near.kernel, far.uid[0], "slow", ("x",)))
            await until(lambda: inits)
            mesh.part(near, far)
            with pytest.raises(NodeNotReachableError):
                await task
            gates["x"].set()
            await until(lambda: ends == ["shutdown"] and not workers(far))
            assert await under_way(far) == 0

    asyncio.run(main())


def test_a_key_that_was_stopped_for_want_of_a_requester_may_be_used_again():
    async def main():
        async with two_nodes() as (_, near, far):
            gates["x"] = asyncio.Event()
            with pytest.raises(CallTimeoutError):
                await spawn(near.kernel, far.uid[0], "slow", ("x",), timeout=0.02, key="k")
            gates["x"].set()
            await until(lambda: ends == ["shutdown"])
            ref = await spawn(near.kernel, far.uid[0], "slow", ("x",), key="k")
            assert workers(far) == [ref]

    asyncio.run(main())


def test_too_many_starts_at_once_are_refused(monkeypatch):
    monkeypatch.setattr(spawner_module, "MAX_STARTS", 1)

    async def main():
        async with two_nodes() as (_, near, far):
            gates["x"] = asyncio.Event()
            task = asyncio.ensure_future(spawn(near.kernel, far.uid[0], "slow", ("x",)))
            await until(lambda: inits)
            with pytest.raises(OverloadedError) as caught:
                await spawn(near.kernel, far.uid[0], "plain")
            assert caught.value.node_id == far.uid[0]
            gates["x"].set()
            await task

    asyncio.run(main())


def test_an_unknown_node_is_not_reachable():
    async def main():
        async with two_nodes() as (_, near, _far):
            with pytest.raises(NodeNotReachableError):
                await spawn(near.kernel, "no@127.0.0.1:9", "plain")

    asyncio.run(main())


def test_arguments_that_cannot_travel_are_an_error_at_the_callers_line():
    async def main():
        async with two_nodes() as (_, near, far):
            with pytest.raises(MessageSerializationError):
                await spawn(near.kernel, far.uid[0], "plain", (socket.socket,))
            assert await under_way(far) == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"behavior": Plain},
        {"register": "global"},
        {"register": "planet", "name": "x"},
        {"name": ""},
        {"init_timeout": 0},
        {"init_timeout": None},
        {"init_timeout": True},
    ],
)
def test_wrong_options_are_named(options):
    async def main():
        async with two_nodes() as (_, near, far):
            behavior = options.pop("behavior", "plain")
            with pytest.raises(InvalidOptionError):
                await spawn(near.kernel, far.uid[0], behavior, **options)

    asyncio.run(main())


def test_nonsense_does_not_hurt_the_spawner():
    async def main():
        async with two_nodes() as (_, near, far):
            spawner = near.kernel.named_ref(SPAWNER, far.uid[0])
            spawner.cast("x")
            spawner.cast(("give_up", ["unhashable"]))
            spawner.cast(("give_up", ("key", ["unhashable"])))
            spawner.send("x")
            for request in (
                "x",
                ("spawn", ["unhashable"], "plain", (), {}, None, None, 1.0),
                ("spawn", ("k", ["unhashable"]), "plain", (), {}, None, None, 1.0),
                ("spawn", "k", 7, (), {}, None, None, 1.0),
                ("spawn", "k", "plain"),
            ):
                with pytest.raises(InvalidOptionError):
                    await spawner.call(request)
            with pytest.raises(Exception):  # noqa: B017 (whichever: it is answered)
                await spawner.call(("spawn", "k", "plain", 5, 6, None, None, "soon"))
            assert await spawn(near.kernel, far.uid[0], "plain") is not None

    asyncio.run(main())
