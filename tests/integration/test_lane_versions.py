"""Two lanes that speak different versions, or part; and what is new in version 2, over sockets."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from typing import Any

import pytest
from lanes import FAST, Peer, Proxy, Stranger, introduce, peers, run, until

from noex.transport import wire
from noex.transport.codec import Codec
from noex.transport.codec_apart import APART_FROM
from noex.transport.lane_settings import LaneSettings
from noex.transport.link import Phase
from noex.transport.parcel import Parcel
from noex.transport.wire import Hello
from noex.transport.wire_bulk import MOST_FRAMES, pack_bulk

pytestmark = pytest.mark.timeout(60)
CODEC = Codec()
MIB = 1 << 20
BIG = os.urandom(3 * APART_FROM)
V1 = replace(FAST, max_version=1)
PLAIN_V2 = replace(FAST, features=0)


class Typed(Peer):
    """A peer that decodes what it receives."""

    def __init__(self, name: str, settings: LaneSettings = FAST) -> None:
        super().__init__(name, settings=settings)
        self.values: list[Any] = []
        self.parcels = 0

    def take(self, uid: tuple[str, int], messages: list[Any]) -> None:
        for message in messages:
            self.parcels += isinstance(message, Parcel)
            self.values.append(CODEC.decode(message))

    def say(self, other: Peer, value: Any, sender: int = 0) -> bool:
        return self.lane.send(other.uid, CODEC.encode(value, apart=True), sender=sender)


class Two:
    """Two of them, started and introduced."""

    def __init__(self, a: LaneSettings = FAST, b: LaneSettings = FAST) -> None:
        self.a, self.b = Typed("a", a), Typed("b", b)

    async def __aenter__(self) -> tuple[Typed, Typed]:
        await self.a.lane.start()
        await self.b.lane.start()
        introduce(self.a, self.b)
        return self.a, self.b

    async def __aexit__(self, *_: object) -> None:
        await self.a.lane.stop(linger=0)
        await self.b.lane.stop(linger=0)


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    records = [getattr(record, "noex", {}) for record in caplog.records]
    return [record for record in records if record.get("event") == event]


# -- version 2


def test_large_binaries_arrive_beside_their_messages() -> None:
    async def main() -> None:
        async with Two() as (a, b):
            sent = [1, BIG, ("put", BIG, bytearray(BIG)), b"small", {"v": memoryview(BIG)}, [BIG]]
            for value in sent:
                assert a.say(b, value)
            await until(lambda: len(b.values) == len(sent), "all of it")
            assert b.values == sent
            assert b.parcels == 4
            await until(lambda: a.lane.queued(b.uid) == 0, "acknowledged")

    run(main)


def test_what_is_changed_after_it_was_sent_does_not_travel() -> None:
    async def main() -> None:
        async with Two() as (a, b):
            changing = bytearray(BIG)
            a.say(b, [changing, memoryview(changing)])
            changing[:] = bytes(len(BIG))
            await until(lambda: b.values, "it has arrived")
            assert b.values == [[bytearray(BIG), BIG]]

    run(main)


def test_a_small_message_passes_a_large_one_of_another_sender_but_not_of_its_own() -> None:
    async def main() -> None:
        async with Two() as (a, b):
            large = os.urandom(50 * MIB)
            a.say(b, large, sender=1)
            a.say(b, "own", sender=1)
            a.say(b, "other", sender=2)
            await until(lambda: len(b.values) == 3, "all three", timeout=30)
            assert b.values[0] == "other"
            assert b.values[1] == large
            assert b.values[2] == "own"

    run(main)


def test_messages_in_pieces_survive_every_cut() -> None:
    async def main() -> None:
        settings = replace(FAST, piece_size=64 * 1024)
        a, b = Typed("a", settings), Typed("b", settings)
        await a.lane.start()
        await b.lane.start()
        try:
            async with Proxy(b.lane.port) as proxy:
                introduce(a, b, proxy.port)
                sent = [(n, os.urandom(MIB + n), "x" * n * 9000) for n in range(6)]
                for n, value in enumerate(sent):
                    assert a.say(b, value, sender=n % 3)
                for round_ in range(1, 6):
                    goal = round_ * MIB
                    await until(lambda goal=goal: proxy.forwarded > goal, "some of it")
                    proxy.cut()
                await until(lambda: len(b.values) == len(sent), "all of it", timeout=40)
                assert sorted(b.values) == sent
                for key in range(3):
                    assert [v for v in b.values if v[0] % 3 == key] == sent[key::3]
                assert proxy.accepted >= 3  # the last cuts may come when all has passed
        finally:
            await a.lane.stop(linger=0)
            await b.lane.stop(linger=0)

    run(main)


# -- other versions


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [(FAST, V1, 1), (V1, FAST, 1), (V1, V1, 1), (FAST, PLAIN_V2, 2), (FAST, FAST, 2)],
    ids=["2 with 1", "1 with 2", "1 with 1", "2 with 2 without features", "2 with 2"],
)
def test_both_speak_what_both_know(ours: LaneSettings, theirs: LaneSettings, version: int) -> None:
    async def main() -> None:
        async with Two(ours, theirs) as (a, b):
            sent = ["first", ("put", BIG), os.urandom(3 * MIB), bytearray(BIG), "last"]
            for value in sent:
                assert a.say(b, value) and b.say(a, value)
            await until(lambda: len(a.values) == len(b.values) == len(sent), "both ways")
            assert a.values == b.values == sent
            both_know_more = ours is theirs is FAST
            assert bool(a.parcels) == bool(b.parcels) == both_know_more
            for one, other in ((a, b), (b, a)):
                assert one.lane._outlets[other.uid].session.version == version
                inbound = one.lane._reception._sessions[other.uid]
                assert inbound.version == version
                assert inbound.features == (wire.FEATURES if both_know_more else 0)
            await until(lambda: not a.lane.queued(b.uid) and not b.lane.queued(a.uid), "done")
            assert a.troubles == b.troubles == []

    run(main)


def test_versions_that_do_not_meet_are_refused_and_both_sides_log_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Two(V1, replace(FAST, min_version=2)) as (a, b):
            a.say(b, "x")
            await until(lambda: told(caplog, "lane_refused"), "a has logged it")
            assert b.values == []

    with caplog.at_level(logging.WARNING, "noex"):
        run(main)
    (by_a,), (by_b,) = told(caplog, "lane_refused"), told(caplog, "lane_connection_refused")
    assert by_b["code"] == "wrong_version"
    assert by_b["reason"] in by_a["text"]
    assert "speaks protocol versions 1 to 1, this node 2 to 2" in by_b["reason"]


def test_a_frame_of_an_unknown_kind_is_answered_and_the_link_lives() -> None:
    async def main() -> None:
        async with peers("b") as (b,):
            me = ("a@127.0.0.1:1", 7)
            b.lane.admit(me, "tcp://127.0.0.1:1")
            with Stranger(b.lane.port, wire.make_routing_id(*me, 1)) as newer:
                hello = Hello("noex", *me, 5, 1, 9, 0xFFFF)
                opened = wire.unpack_open(await newer.ask(wire.pack_hello(1, 1, hello)))
                assert (opened.version, opened.features) == (2, wire.FEATURES)
                answer = await newer.ask(wire.frame_of(2, wire.Header(77, 1, 1, 0), b"news"))
                assert wire.unpack_header(answer).kind == wire.UNSUPPORTED
                assert wire.unpack_unsupported(answer) == 77
                newer.socket.send(wire.pack_batch(1, 1, 1, [b"still here"], 2))
                await until(lambda: b.got.get(me) == [b"still here"], "the link lives")
                assert any("kind 77" in text for _, text in b.troubles)

    run(main)


def test_a_message_of_too_many_frames_is_not_kept_and_costs_the_connection() -> None:
    async def main() -> None:
        async with peers("b") as (b,):
            me = ("a@127.0.0.1:1", 7)
            b.lane.admit(me, "tcp://127.0.0.1:1")
            with Stranger(b.lane.port, wire.make_routing_id(*me, 1)) as peer:
                await peer.ask(wire.pack_hello(1, 1, Hello("noex", *me, 5, 1, 2, wire.FEATURES)))
                count = 2 * MOST_FRAMES
                frame, rest = pack_bulk(1, 1, 1, [Parcel(b"x", [b"y"] * count)], 2)
                refused = await peer.ask(frame, *rest)
                code, reason = wire.unpack_refused(refused)
                assert code is wire.Refusal.BAD_FRAME
                assert f"{count} buffers, {MOST_FRAMES} came" in reason
            with Stranger(b.lane.port, wire.make_routing_id(*me, 2)) as peer:
                again = wire.pack_hello(1, 2, Hello("noex", *me, 5, 1, 2, wire.FEATURES))
                assert wire.unpack_header(await peer.ask(again)).kind == wire.OPEN
            assert b.got == {}

    run(main)


# -- goodbye


def test_who_stops_says_goodbye_and_is_not_dialled_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b), Proxy(b.lane.port) as proxy:
            introduce(a, b, proxy.port)
            a.lane.send(b.uid, b"x")
            await until(lambda: b.received(a) == [b"x"], "connected")
            await b.lane.stop(linger=0)
            await until(lambda: a.troubles, "a is told")
            assert a.troubles == [(b.uid, "said goodbye: it stops")]
            session = a.lane._outlets[b.uid].session
            assert a.lane.send(b.uid, b"for nobody")
            await a.lane.flush(5.0)  # nothing is owed to it
            assert (session.phase, session.deadline) == (Phase.PARTED, None)
            assert proxy.accepted == 1

    with caplog.at_level(logging.INFO, "noex"):
        run(main)
    (event,) = told(caplog, "lane_goodbye")
    assert event["text"] == "said goodbye: it stops"


def test_who_is_expelled_is_told_why_and_comes_back_when_both_admit_anew() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            a.lane.send(b.uid, b"one")
            b.lane.send(a.uid, b"two")
            await until(lambda: b.received(a) and a.received(b), "connected both ways")
            b.lane.expel(a.uid, "not in the view")
            await until(lambda: a.troubles, "a is told")
            assert a.troubles[0] == (b.uid, "said goodbye: not in the view")
            a.lane.expel(b.uid)
            introduce(a, b)
            a.lane.send(b.uid, b"three")
            await until(lambda: b.received(a) == [b"one", b"three"], "a new session")

    run(main)


def test_a_goodbye_that_only_the_listener_can_hear_ends_the_dialling_too() -> None:
    """b has never been dialled by a: what a hears of b comes in on b's own connection."""

    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            b.lane.send(a.uid, b"one")
            await until(lambda: a.received(b) == [b"one"], "b is connected")
            await b.lane.stop(linger=0)
            await until(lambda: a.troubles, "a is told")
            assert a.lane._outlets[b.uid].session.phase is Phase.PARTED

    run(main)


def test_a_new_life_says_goodbye_for_the_old_one() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            a.lane.send(b.uid, b"one")
            await until(lambda: b.received(a), "connected")
            old = b.uid
            b.lane.new_life(2)
            await until(lambda: a.troubles, "a is told")
            assert a.troubles == [(old, "said goodbye: its life has ended")]

    run(main)


# -- two that dial each other at once


def test_two_nodes_that_dial_each_other_at_once_have_one_healthy_link_each_way() -> None:
    async def main() -> None:
        async with (
            peers("a", "b") as (a, b),
            Proxy(a.lane.port) as to_a,
            Proxy(b.lane.port) as to_b,
        ):
            a.lane.admit(b.uid, f"tcp://127.0.0.1:{to_b.port}")
            b.lane.admit(a.uid, f"tcp://127.0.0.1:{to_a.port}")
            for n in range(100):
                assert a.lane.send(b.uid, b"%d" % n) and b.lane.send(a.uid, b"%d" % n)
                await asyncio.sleep(0)
            sent = [b"%d" % n for n in range(100)]
            await until(lambda: len(b.received(a)) == len(a.received(b)) == 100, "both ways")
            assert a.received(b) == b.received(a) == sent
            assert (to_a.accepted, to_b.accepted) == (1, 1)
            assert a.troubles == b.troubles == []
            for one, other in ((a, b), (b, a)):
                assert one.lane._outlets[other.uid].session.phase is Phase.OPEN
                assert len(one.lane._reception._current) == 1

    run(main)
