"""Whatever frames arrive, in whatever order: the machines raise nothing, and stay bounded."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from decoders import (
    BODIES,
    CONTROL,
    FRAMES,
    LANE,
    LANE_MESSAGES,
    MESSAGES,
    OPS,
    VALUES,
    VIEW,
    A,
    B,
    sent,
)
from effort import FUZZ_SECONDS
from fuzzing import anything, broken, run_for
from mesh import Member as MeshMember
from mesh import mesh_of

from noex.cluster import events as ev
from noex.cluster import messages as cluster
from noex.cluster.contacts import MAX_CONTACTS
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member
from noex.cluster.views import Views
from noex.runtime.genserver import GenServer
from noex.transport import ops, wire
from noex.transport.link import Outbound, Phase
from noex.transport.reception import REFUSED_KEPT, Reception
from noex.transport.wire import Hello

TURNS = 30


def repeat(once: Callable[[Random], object], turns: int = TURNS) -> None:
    """The same few schedules in each run of the suite."""
    for seed in range(turns):
        try:
            once(Random(seed))
        except BaseException as error:
            error.add_note(f"again: once(Random({seed}))")
            raise


# ---------------------------------------------------------------------- the user lane


def strangers_at_the_listener(chance: Random) -> None:
    """Good and broken frames from good and bad routing ids; the honest session goes on."""
    numbers = itertools.count(1).__next__
    desk = Reception(B, cluster="noex", settings=LANE, numbers=numbers)
    desk.admit(A)
    honest = wire.make_routing_id(*A, 1_000_000)
    answers = desk.handle(
        honest, [wire.pack_hello(B[1], 1_000_000, Hello("noex", *A, 5))], now := 0.0
    )
    assert len(answers) == 1
    ids = [b"", b"\x00", b"a#1#1", *(wire.make_routing_id("c@h:3", 7, n) for n in range(20))]
    for seq in range(1, 30):
        for _ in range(chance.randint(0, 5)):
            now += chance.random()
            frames = [anything(FRAMES, chance) for _ in range(chance.choice((0, 1, 1, 1, 1, 2)))]
            desk.handle(chance.choice(ids), frames, now)
            desk.tick(now)
        frame = wire.pack_batch(B[1], 1_000_000, seq, [b"%d" % seq])
        delivered = desk.handle(honest, [frame], now)[0]
        assert delivered == (A, [b"%d" % seq])
    assert len(desk._waiting) <= LANE.hello_limit
    assert len(desk._refused) <= REFUSED_KEPT


def an_admitted_peer_that_says_anything(chance: Random) -> None:
    """It may ruin its own connections; it opens no more than it may, and others go on."""
    desk = Reception(B, cluster="noex", settings=LANE, numbers=itertools.count(1).__next__)
    other, friend = ("c@127.0.0.1:3", 33), wire.make_routing_id("c@127.0.0.1:3", 33, 1)
    desk.admit(A)
    desk.admit(other)
    greeting = Hello("noex", *other, 5)
    assert len(desk.handle(friend, [wire.pack_hello(B[1], 1, greeting)], 0.0)) == 1
    for connection in range(1, 20):
        routing_id = wire.make_routing_id(*A, connection)
        desk.handle(routing_id, [wire.pack_hello(B[1], connection, Hello("noex", *A, 5))], 0.0)
        for _ in range(chance.randint(1, 10)):
            parts = list(chance.choice(LANE_MESSAGES))
            parts[0] = wire.readdress(parts[0], connection)
            if chance.random() < 0.5:
                place = chance.randrange(len(parts))
                parts[place] = broken((parts[place],), chance)
            seq = desk._sessions[A].expected
            if len(parts[0]) >= wire.HEADER_SIZE:  # in its turn, so that it is looked at
                head = wire.HEADER.unpack_from(parts[0])
                size = len(parts[0]) - wire.HEADER_SIZE
                header = wire.HEADER.pack(*head[:4], seq, size)
                parts[0] = header + parts[0][wire.HEADER_SIZE :]
            desk.handle(routing_id, parts, 0.0)
        frame = wire.pack_batch(B[1], 1, connection, [b"mine"])
        assert desk.handle(friend, [frame], 0.0)[0] == (other, [b"mine"])


def a_listener_that_answers_anything(chance: Random) -> None:
    """What is queued stays within the window, and there is always something to wait for."""
    numbers = itertools.count(1).__next__
    sender = Outbound(
        A, B, cluster="noex", settings=LANE, numbers=numbers, jitter=lambda: chance.random()
    )
    now = 0.0
    for _ in range(60):
        now += chance.random()
        sender.offer(chance.randbytes(chance.choice((0, 10, 1000))))
        sent(sender.flush(now))
        match chance.randrange(5):
            case 0:
                sender.connected(now)
            case 1:
                sender.lost(now)
            case 2:
                now = max(now, sender.deadline or 0.0)
                sender.tick(now)
            case _:
                sender.received(anything(FRAMES, chance), now)
        assert 0 <= sender.queued <= LANE.window_bytes
        if sender.queued and sender.phase is not Phase.BROKEN:
            assert sender.deadline is not None


def test_strangers_do_not_touch_a_session() -> None:
    repeat(strangers_at_the_listener)


def test_what_an_admitted_peer_says_touches_its_own_connection_alone() -> None:
    repeat(an_admitted_peer_that_says_anything)


def test_an_answer_of_any_kind_leaves_the_sender_in_order() -> None:
    repeat(a_listener_that_answers_anything)


# ---------------------------------------------------------------------- operations


class Server(GenServer[int]):
    """Lives through anything."""

    def init(self) -> int:
        self.trap_exits = True
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        return message, state

    def handle_cast(self, message: Any, state: int) -> int:
        return state + 1

    def handle_info(self, message: Any, state: int) -> int:
        return state + 1


def an_operation(chance: Random, serial: int, near: MeshMember) -> bytes:
    """One of a peer that says what it likes: right ones on wrong things, and noise."""
    if chance.random() < 0.3:
        return anything(OPS, chance)
    reason = near.operations.codec.encode((None, chance.choice(VALUES[:5])))
    body = chance.choice((*MESSAGES, reason))
    if chance.random() < 0.3:
        body = broken(MESSAGES, chance)
    target, ident = chance.choice((0, serial, serial, 99)), chance.choice((0, 1, 2, 1 << 63))
    name = chance.choice((None, None, "server", "nobody", "\0", "x" * 300))
    kind = chance.choice((*range(20), 0x7F))
    if kind in (ops.STOP, ops.EXIT):  # they do what they say
        kind = ops.CAST
    return ops.pack_op(kind, target, ident, chance.choice((0, 1, 2**32 - 1)), body, name)


def operations_of_any_kind(chance: Random) -> None:
    async def main() -> None:
        async with mesh_of("near", "far", "honest") as mesh:
            near, far, honest = (mesh.members[name] for name in ("near", "far", "honest"))
            ref = await far.kernel.start(Server, name="server")
            bystander = await far.kernel.start(Server)
            assert ref is not None and bystander is not None
            for _ in range(40):
                data = [an_operation(chance, ref.serial, near) for _ in range(chance.randint(1, 4))]
                far.inbound.receive(near.uid, data)
                await asyncio.sleep(0)
            there = honest.elsewhere(bystander)
            monitor = honest.kernel.monitor(there)
            assert await there.call("up", timeout=5.0) == "up"
            bystander.exit("kill")
            assert await monitor.wait(5.0) == "killed"
            mesh.part(near, far)
            mesh.part(honest, far)
            assert far.open_rows == 0

    asyncio.run(main())


def test_operations_of_any_kind_harm_no_bystander(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "noex"):
        repeat(operations_of_any_kind, 25)
    assert not [r for r in caplog.records if "Traceback" in (r.exc_text or "")]


# ---------------------------------------------------------------------- membership


def a_body(chance: Random) -> cluster.Body | None:
    """A message that passes the decoder, mostly with something wrong in it."""
    for _ in range(20):
        try:
            return cluster.decode(broken(CONTROL, chance)).body
        except cluster.BadControlMessageError:
            continue
    return chance.choice(BODIES)


def strangers_at_the_door(chance: Random) -> None:
    """Strangers say anything to a member; it raises nothing, and what it keeps is bounded."""
    settings = ClusterSettings(alone_after=0.1)
    me = Member("m@127.0.0.1:9", 5, "up", "tcp://127.0.0.1:9")
    views = Views(me, seeds=("tcp://127.0.0.1:1",), settings=settings, now=0.0)
    now = 0.0
    for turn in range(150):
        now += chance.choice((0.0, 0.05, 0.05, 0.5))
        address: ev.Address = chance.choice((b"origin", "tcp://127.0.0.1:1", "tcp://nowhere"))
        node_id = chance.choice((A[0], B[0], me.node_id, "", "x" * 1000))
        uid = (node_id, chance.choice((5, 11, 1 << 63)))
        body = a_body(chance)
        assert body is not None
        lineage = chance.choice((None, VIEW.lineage, VIEW.lineage._replace(epoch=turn)))
        envelope = cluster.Envelope(
            chance.choice(("noex", "noex", "other")), uid, lineage, turn, 0, body
        )
        event = chance.choice(
            (
                ev.Heard(address, envelope, now),
                ev.Heard(address, replace(envelope, sender=B), now),
                ev.Tick(int(now * 1000) + 1, chance.random()),
                ev.PulseSeen(uid, now, chance.choice((0.0, 1e308)), lineage, turn, 7),
                ev.Answered("tcp://127.0.0.1:1", uid, now),
                ev.LinkUp("tcp://127.0.0.1:1", now),
                ev.LinkDown("tcp://127.0.0.1:1", now),
                ev.DialRefused("tcp://127.0.0.1:1", now),
            )
        )
        for effect in views.handle(event, now):
            if isinstance(effect, ev.Send):
                cluster.decode(cluster.encode(effect.message))  # what it says can be said
            elif isinstance(effect, ev.SetLinks):
                assert len(effect.control) <= MAX_CONTACTS + 300
        assert len(views._contacts) <= MAX_CONTACTS
    assert len(views._leader._reports) < 200


def test_strangers_say_anything_to_a_member() -> None:
    repeat(strangers_at_the_door, 12)


ALL = (
    strangers_at_the_listener,
    an_admitted_peer_that_says_anything,
    a_listener_that_answers_anything,
    operations_of_any_kind,
    strangers_at_the_door,
)


@pytest.mark.long
@pytest.mark.parametrize("once", ALL, ids=lambda once: once.__name__)
def test_a_while_of_it(once: Callable[[Random], None]) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    assert run_for(FUZZ_SECONDS, seed, once) > 2 * FUZZ_SECONDS
