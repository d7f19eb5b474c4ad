"""Global names as a program sees them: on one kernel, and on several joined in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from mesh import Mesh, until

from noex.registry import names as names_module
from noex.registry import names_messages as m
from noex.registry.names import NAME_CONFLICT, NAMES, GlobalRegistry
from noex.runtime.errors import (
    CallTimeoutError,
    GlobalNameConflictError,
    InvalidOptionError,
    NodeNotReachableError,
    NoProcessError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.messages import NameConflict


class Worker(GenServer):
    def init(self, trap=False):
        self.trap_exits = trap
        self.heard = []

    async def handle_call(self, message, state):
        match message:
            case ("register", name):
                await self.node.registry.register(name, self.ref)
                return self.ref, state
        return message, state

    def handle_info(self, message, state):
        self.heard.append(message)


@asynccontextmanager
async def one_kernel():
    kernel = Kernel("solo@localhost:0")
    registry = await GlobalRegistry.start(kernel)
    kernel.node = SimpleNamespace(registry=registry)
    try:
        yield kernel, registry
    finally:
        await kernel.shutdown(timeout=1.0)


class Cluster:
    """A mesh with names on each member, told of every change as a node would."""

    def __init__(self):
        self.mesh = Mesh()
        self.registries = {}
        self.order = []
        self.epoch = 0

    async def add(self, name, incarnation=1):
        member = self.mesh.add(name, incarnation)
        self.registries[name] = await GlobalRegistry.start(member.kernel, alone=False)
        member.kernel.node = SimpleNamespace(registry=self.registries[name])
        self.order.append(member)
        self.view()
        return member

    def view(self):
        self.epoch += 1
        uids = [member.uid for member in self.order]
        for member in self.order:
            self.registry(member).view_changed(self.epoch, uids)

    def registry(self, member):
        return self.registries[member.kernel.node_id.partition("@")[0]]

    def crash(self, member):
        self.mesh.end_life(member.kernel.node_id.partition("@")[0])
        self.order.remove(member)
        self.view()

    def machine(self, member):
        return member.kernel.names[NAMES].server._machine

    @property
    def at_rest(self):
        return all(self.machine(member).open_rows == 0 for member in self.order)

    async def settled(self, names):
        def agreed():
            tables = [
                {name: self.machine(member).known(name) for name in self.machine(member).names()}
                for member in self.order
            ]
            return all(table == names for table in tables) and self.at_rest

        await until(agreed)


@asynccontextmanager
async def cluster_of(*names):
    cluster = Cluster()
    members = [await cluster.add(name) for name in names]
    try:
        yield (cluster, *members)
    finally:
        for member in {*members, *cluster.order}:
            await member.kernel.shutdown(timeout=1.0)


# ---------------------------------------------------------------------- one kernel


def test_a_node_without_a_cluster_decides_at_once():
    async def main():
        async with one_kernel() as (kernel, registry):
            ref = await kernel.start(Worker)
            assert await registry.whereis("leader") is None
            await registry.register("leader", ref)
            await registry.register("leader", ref)  # again: nothing happens
            await registry.register("second name", ref)
            assert await registry.whereis("leader") is ref
            assert await registry.names() == ["leader", "second name"]
            other = await kernel.start(Worker)
            assert await registry.unregister("leader", owner=other) is False
            assert await registry.unregister("leader", owner=ref) is True
            assert await registry.unregister("leader") is False
            assert await registry.names() == ["second name"]

    asyncio.run(main())


def test_a_taken_name_is_a_conflict_with_its_owner():
    async def main():
        async with one_kernel() as (kernel, registry):
            owner, other = await kernel.start(Worker), await kernel.start(Worker)
            await registry.register("leader", owner)
            with pytest.raises(GlobalNameConflictError) as caught:
                await registry.register("leader", other)
            assert (caught.value.name, caught.value.owner) == ("leader", owner)

    asyncio.run(main())


def test_a_name_ends_with_its_process_and_can_be_taken_at_once():
    async def main():
        async with one_kernel() as (kernel, registry):
            owner, other = await kernel.start(Worker), await kernel.start(Worker)
            await registry.register("leader", owner)
            owner.exit("kill")
            await registry.register("leader", other)
            assert await registry.whereis("leader") is other
            with pytest.raises(NoProcessError):
                await registry.register("again", owner)

    asyncio.run(main())


def test_a_process_may_register_itself_from_its_own_handler():
    async def main():
        async with one_kernel() as (kernel, registry):
            ref = await kernel.start(Worker)
            assert await ref.call(("register", "me")) is ref
            assert await registry.whereis("me") is ref

    asyncio.run(main())


def test_a_local_name_is_resolved_when_it_is_registered():
    async def main():
        async with one_kernel() as (kernel, registry):
            ref = await kernel.start(Worker, name="local")
            await registry.register("global", kernel.named_ref("local"))
            assert await registry.whereis("global") is ref

    asyncio.run(main())


@pytest.mark.parametrize("name", ["", 7, None, "x" * 257])
def test_wrong_names_are_refused(name):
    async def main():
        async with one_kernel() as (kernel, registry):
            ref = await kernel.start(Worker)
            with pytest.raises(InvalidOptionError):
                await registry.register(name, ref)
            with pytest.raises(InvalidOptionError):
                await registry.whereis(name)

    asyncio.run(main())


@pytest.mark.parametrize(("ref", "timeout"), [("ref", 1.0), (None, 1.0), (..., 0), (..., None)])
def test_wrong_arguments_are_refused(ref, timeout):
    async def main():
        async with one_kernel() as (kernel, registry):
            target = await kernel.start(Worker) if ref is ... else ref
            with pytest.raises(InvalidOptionError):
                await registry.register("name", target, timeout)

    asyncio.run(main())


def test_nonsense_does_not_hurt_the_name_process():
    async def main():
        async with one_kernel() as (kernel, registry):
            me = (kernel.node_id, kernel.incarnation)
            server = kernel.whereis(NAMES)
            for nonsense in (
                "x",
                ("names", "x", 1),
                ("names", me, "x"),
                ("names", me, m.Snapshot(5, 5)),
                ("names", me, m.Added([], None, None)),
                ("view", "x", ()),
            ):
                server.cast(nonsense)
                server.send(nonsense)
            for request in (
                "nonsense",
                ("whereis", ["x"], 1.0),
                ("register", ["x"], server, 1.0),
                ("register", "x", "no ref", 1.0),
                ("unregister", {}, 1.0),
                ("whereis", "x", "soon"),
            ):
                with pytest.raises(InvalidOptionError):
                    await server.call(request)
            assert await registry.whereis("nobody") is None

    asyncio.run(main())


# ---------------------------------------------------------------------- several kernels


def test_a_registered_name_is_read_everywhere():
    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, b, c):
            ref = await c.kernel.start(Worker)
            await cluster.registry(c).register("leader", ref)
            for member in (a, b, c):
                found = await cluster.registry(member).whereis("leader")
                assert found == ref and await found.call("hello") == "hello"
            assert await cluster.registry(c).whereis("leader") is ref
            await cluster.settled({"leader": ref})

    asyncio.run(main())


def test_a_ref_of_another_node_is_registered_by_its_own_node():
    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, b, c):
            ref = await c.kernel.start(Worker)
            await cluster.registry(b).register("leader", b.elsewhere(ref))
            assert cluster.machine(b).known("leader") == ref  # read your writes, without asking
            assert cluster.machine(c).known("leader") is ref
            other = await b.kernel.start(Worker)
            with pytest.raises(GlobalNameConflictError) as caught:
                await cluster.registry(a).register("leader", a.elsewhere(other))
            assert (caught.value.name, caught.value.owner) == ("leader", ref)

    asyncio.run(main())


def test_of_concurrent_registrations_one_succeeds_and_the_others_learn_the_owner():
    async def main():
        async with cluster_of("a", "b", "c", "d") as (cluster, *members):
            refs = [await member.kernel.start(Worker) for member in members]
            results = await asyncio.gather(
                *(
                    cluster.registry(member).register("leader", ref)
                    for member, ref in zip(members, refs, strict=True)
                ),
                return_exceptions=True,
            )
            assert results.count(None) == 1
            winner = refs[results.index(None)]
            errors = [result for result in results if result is not None]
            assert [type(error) for error in errors] == [GlobalNameConflictError] * 3
            assert {error.owner for error in errors} == {winner}
            await cluster.settled({"leader": winner})

    asyncio.run(main())


def test_who_sees_the_end_of_a_process_can_take_its_name_at_once():
    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, b, c):
            ref = await b.kernel.start(Worker)
            await cluster.registry(b).register("leader", ref)
            cluster.mesh.hold(b, a)  # the decider hears of the end last
            seen = c.elsewhere(ref)
            watch = c.kernel.monitor(seen)
            ref.exit("kill")
            await watch.wait(1.0)
            mine = await c.kernel.start(Worker)
            taking = asyncio.ensure_future(cluster.registry(c).register("leader", mine))
            await until(lambda: cluster.machine(a).open_rows > 0)
            cluster.mesh.release(b, a)
            await taking
            assert await cluster.registry(a).whereis("leader") == mine
            await cluster.settled({"leader": mine})

    asyncio.run(main())


def test_unregister_works_from_every_node():
    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, b, c):
            ref = await c.kernel.start(Worker)
            await cluster.registry(c).register("leader", ref)
            assert await cluster.registry(b).unregister("leader") is True
            for member in (a, b, c):
                assert await cluster.registry(member).whereis("leader") is None
            await cluster.registry(b).register("leader", await b.kernel.start(Worker))

    asyncio.run(main())


def test_the_names_of_a_lost_node_are_free_and_the_next_oldest_decides():
    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, b, c):
            lost, kept = await a.kernel.start(Worker), await c.kernel.start(Worker)
            await cluster.registry(a).register("lost", lost)
            await cluster.registry(c).register("kept", kept)
            await cluster.settled({"lost": lost, "kept": kept})
            cluster.crash(a)
            await cluster.registry(c).register("lost", kept)
            with pytest.raises(GlobalNameConflictError):
                await cluster.registry(b).register("kept", await b.kernel.start(Worker))
            await cluster.settled({"lost": kept, "kept": kept})

    asyncio.run(main())


def test_a_claim_survives_the_decider():
    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, _b, c):
            cluster.mesh.hold(c, a)
            ref = await c.kernel.start(Worker)
            claim = asyncio.ensure_future(cluster.registry(c).register("leader", ref))
            lookup = asyncio.ensure_future(cluster.registry(c).whereis("nobody"))
            await until(lambda: cluster.machine(c).open_rows == 2)
            cluster.crash(a)
            await claim
            assert await lookup is None
            await cluster.settled({"leader": ref})

    asyncio.run(main())


def test_a_claim_that_nobody_decides_ends_with_its_deadline_and_leaves_nothing():
    async def main():
        async with cluster_of("a", "b") as (cluster, a, b):
            cluster.mesh.hold(b, a)
            ref = await b.kernel.start(Worker)
            with pytest.raises(CallTimeoutError):
                await cluster.registry(b).register("leader", ref, timeout=0.05)
            with pytest.raises(CallTimeoutError):
                await cluster.registry(b).whereis("leader", timeout=0.05)
            await until(lambda: cluster.machine(b).open_rows == 0)
            cluster.mesh.release(b, a)
            await cluster.settled({})
            assert not ref.process.watchers

    asyncio.run(main())


def test_a_name_granted_to_a_caller_who_has_gone_is_given_back():
    async def main():
        async with cluster_of("a", "b") as (cluster, a, b):
            cluster.mesh.hold(a, b)
            ref = await b.kernel.start(Worker)
            task = asyncio.ensure_future(cluster.registry(b).register("leader", ref))
            await until(lambda: cluster.machine(a).open_rows == 1)
            task.cancel()
            await asyncio.wait([task])
            cluster.mesh.release(a, b)
            await cluster.settled({})

    asyncio.run(main())


def test_a_node_that_joins_learns_all_names():
    async def main():
        async with cluster_of("a", "b") as (cluster, a, b):
            refs = {}
            for number in range(20):
                member = (a, b)[number % 2]
                refs[f"n{number}"] = ref = await member.kernel.start(Worker)
                await cluster.registry(member).register(f"n{number}", ref)
            late = await cluster.add("c")
            await cluster.settled(refs)
            assert await cluster.registry(late).names() == sorted(refs)
            await late.kernel.shutdown(timeout=1.0)

    asyncio.run(main())


def test_a_ref_of_a_node_that_is_no_member_cannot_be_registered():
    async def main():
        async with cluster_of("a", "b") as (cluster, a, b):
            ref = a.elsewhere(await b.kernel.start(Worker))
            cluster.crash(b)
            with pytest.raises(NodeNotReachableError):
                await cluster.registry(a).register("leader", ref)
            await b.kernel.shutdown(timeout=1.0)

    asyncio.run(main())


@pytest.mark.parametrize("stays", [False, True])
def test_a_new_life_claims_its_names_again_and_the_loser_is_told(stays):
    async def main():
        async with cluster_of("a", "b") as (cluster, a, b):
            kept, loser = await b.kernel.start(Worker), await b.kernel.start(Worker, (stays,))
            loser_server = loser.process.server
            await cluster.registry(b).register("kept", kept)
            await cluster.registry(b).register("taken", loser)
            await cluster.settled({"kept": kept, "taken": loser})
            cluster.mesh.part(a, b)  # a holds b for dead
            cluster.order.remove(b)
            cluster.view()
            winner = await a.kernel.start(Worker)
            await cluster.registry(a).register("taken", winner)
            b.kernel.new_life(2)
            cluster.registry(b).life_changed(2)
            assert await cluster.registry(b).names() == []
            a.operations.peer_up(b.uid)
            b.operations.peer_up(a.uid)
            cluster.order.append(b)
            cluster.view()
            await until(lambda: loser_server.heard)
            assert loser_server.heard[0] == NameConflict("taken", winner)
            if stays:
                await until(lambda: len(loser_server.heard) == 2)
                assert await loser.is_alive()
            else:
                assert await loser.wait(1.0) in (NAME_CONFLICT, "noproc")
            assert (await cluster.registry(a).whereis("kept")).serial == kept.serial
            assert await cluster.registry(b).whereis("kept") is kept
            assert await (await cluster.registry(a).whereis("kept")).call("hi") == "hi"

    asyncio.run(main())


@pytest.mark.parametrize("limit", [4096, 3])
def test_a_peer_that_reads_too_slowly_gets_everything_in_the_end(limit, monkeypatch):
    monkeypatch.setattr(names_module, "_OUTBOX", limit)
    monkeypatch.setattr(names_module, "_RETRY", 0.005)

    async def main():
        async with cluster_of("a", "b", "c") as (cluster, a, b, c):
            await cluster.settled({})
            for origin, target in ((a, c), (c, a)):
                cluster.mesh.full.add((origin.uid, target.uid))
            refs = {}
            for number in range(10):
                refs[f"b{number}"] = await b.kernel.start(Worker)
                await cluster.registry(b).register(f"b{number}", refs[f"b{number}"])
                refs[f"a{number}"] = await a.kernel.start(Worker)
                await cluster.registry(a).register(f"a{number}", refs[f"a{number}"])
            mine = await c.kernel.start(Worker)
            claim = asyncio.ensure_future(cluster.registry(c).register("mine", mine))
            refused = asyncio.ensure_future(cluster.registry(c).register("b0", mine))
            await until(lambda: cluster.machine(c).open_rows == 2)
            cluster.mesh.full.clear()
            await claim
            with pytest.raises(GlobalNameConflictError):
                await refused
            await cluster.settled({**refs, "mine": mine})

    asyncio.run(main())
