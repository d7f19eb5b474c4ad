"""Membership over the real control lane: several nodes in one process, on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from noex.cluster.info import SelfDescription
from noex.cluster.membership import ClusterCallbacks, Membership
from noex.cluster.messages import Admin, AdminReply, Envelope, encode
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import View
from noex.runtime.clock import SystemClock
from noex.runtime.incarnation import make_incarnation
from noex.transport.control import ControlLane, ControlSettings, LinkDown
from noex.transport.ports import choose_ports

FAST = ControlSettings(pulse_interval=0.1, heartbeat_interval=0.2, heartbeat_timeout=0.6)


class Peer:
    """A node that is nothing but a member."""

    def __init__(
        self, name: str, port: int, seeds: list[str], settings: ClusterSettings | None = None
    ) -> None:
        self.node_id = f"{name}@127.0.0.1:{port}"
        self.story: list[tuple[str, ...]] = []
        self.processes = 1
        self.behaviors: tuple[str, ...] = ("worker",)
        self._seeds = seeds
        self._settings = settings or ClusterSettings()
        incarnation = make_incarnation(int(time.time() * 1000), time.monotonic_ns())
        self.lane = ControlLane(
            node_id=self.node_id,
            incarnation=incarnation,
            host="127.0.0.1",
            port=port,
            settings=FAST,
            on_event=lambda event: self.membership.on_event(event),
        )
        self.incarnation = incarnation

    async def start(self) -> Peer:
        await self.lane.start()
        self.membership = Membership(
            node_id=self.node_id,
            incarnation=self.incarnation,
            control=self.lane,
            seeds=self._seeds,
            settings=self._settings,
            describe=self.describe,
            callbacks=ClusterCallbacks(
                node_up=lambda m: self.story.append(("up", m.node_id)),
                node_down=lambda m, why: self.story.append(("down", m.node_id, why)),
                life_ended=lambda why: self.story.append(("life_ended", why)),
                new_life=lambda _: self.story.append(("new_life",)),
                refused=lambda why, by: self.story.append(("refused", why)),
                node_busy=lambda n, lag: self.story.append(("busy", n)),
                node_idle=lambda n: self.story.append(("idle", n)),
                other_message=self.other_message,
            ),
            clock=SystemClock(),
        )
        await self.membership.start()
        return self

    def describe(self) -> SelfDescription:
        return SelfDescription(
            user_endpoint="tcp://127.0.0.1:1",
            pub_endpoint=f"tcp://127.0.0.1:{self.lane.pub_port}",
            behaviors=self.behaviors,
            labels={"zone": "a"},
            process_count=self.processes,
        )

    def other_message(self, origin: str | bytes, kind: str, body: Admin | AdminReply) -> None:
        if isinstance(body, Admin):
            self.membership.reply(origin, AdminReply(body.request_id, True, body.args))
        self.story.append((kind,))

    async def crash(self) -> None:
        """The sockets are gone at once; nobody is told."""
        await self.membership.stop()
        await self.lane.stop()

    @property
    def names(self) -> list[str]:
        return [m.node_id.partition("@")[0] for m in self.membership.members]


async def until(done: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not done():
        assert asyncio.get_running_loop().time() < deadline, f"not in {timeout} s: {what}"
        await asyncio.sleep(0.005)


def one_view(peers: list[Peer]) -> bool:
    views = [p.membership.view for p in peers]
    first = views[0]
    return all(
        isinstance(v, View)
        and isinstance(first, View)
        and (v.lineage, v.epoch, v.digest()) == (first.lineage, first.epoch, first.digest())
        and {m.uid for m in v.members} == {(p.node_id, p.membership.incarnation) for p in peers}
        for v in views
    )


def age(peer: Peer) -> int:
    return peer.names.index(peer.node_id.partition("@")[0])


def cluster(test: Callable[[list[Peer]], Awaitable[None]]) -> None:
    """Run `test` on three nodes that have formed a cluster, and stop whatever runs then."""

    async def main() -> None:
        ports = choose_ports(3)
        seeds = [f"{name}@127.0.0.1:{port}" for name, port in zip("abc", ports, strict=True)]
        peers = [Peer(name, port, seeds) for name, port in zip("abc", ports, strict=True)]
        await asyncio.gather(*(peer.start() for peer in peers))
        try:
            await until(lambda: one_view(peers), "three form one cluster")
            await test(peers)
        finally:
            for peer in peers:
                await peer.crash()

    asyncio.run(main())


def test_three_that_start_together_form_one_cluster_in_about_a_second() -> None:
    async def check(peers: list[Peer]) -> None:
        assert sorted(peers[0].names) == ["a", "b", "c"]
        assert {p.membership.oldest for p in peers} == {peers[0].membership.oldest}
        assert sorted(s for s in peers[1].story) == [
            ("up", peers[0].node_id),
            ("up", peers[2].node_id),
        ]

    cluster(check)


def test_a_node_without_seeds_founds_at_once() -> None:
    async def main() -> None:
        peer = await Peer("a", choose_ports(1)[0], []).start()
        try:
            view = await peer.membership.joined(2.0)
            assert [m.uid for m in view.members] == [(peer.node_id, peer.incarnation)]
            assert peer.story == []
        finally:
            await peer.crash()

    asyncio.run(main())


def test_a_crash_is_known_to_all_survivors_whoever_it_hits() -> None:
    async def check(peers: list[Peer]) -> None:
        by_age = sorted(peers, key=age)
        oldest, rest = by_age[0], by_age[1:]
        await oldest.crash()
        await until(lambda: one_view(rest), "the survivors go on without the oldest")
        for peer in rest:
            assert peer.story[-1] == ("down", oldest.node_id, "connection_closed")

    cluster(check)


def test_one_survivor_of_three_goes_on() -> None:
    async def check(peers: list[Peer]) -> None:
        await asyncio.gather(peers[0].crash(), peers[1].crash())
        await until(lambda: one_view(peers[2:]), "the last one goes on alone")

    cluster(check)


def test_a_restart_under_the_same_name_is_down_then_up() -> None:
    async def check(peers: list[Peer]) -> None:
        old = peers[1]
        port = int(old.node_id.rpartition(":")[2])
        await old.crash()
        peers[1] = await Peer("b", port, [p.node_id for p in peers]).start()
        await until(lambda: one_view(peers), "the new life is in")
        for peer in (peers[0], peers[2]):
            (_, _, reason), up = peer.story[-2:]
            assert reason in {"connection_closed", "superseded"}
            assert up == ("up", old.node_id)

    cluster(check)


def test_a_graceful_leave_is_told_as_such_and_takes_no_time() -> None:
    async def check(peers: list[Peer]) -> None:
        by_age = sorted(peers, key=age)
        oldest, second, youngest = by_age
        assert await oldest.membership.leave(5.0)
        await until(lambda: one_view([second, youngest]), "two are left")
        assert youngest.story[-1] == ("down", oldest.node_id, "graceful_shutdown")
        assert await youngest.membership.leave(5.0)
        await until(lambda: one_view([second]), "one is left")
        assert second.story[-1] == ("down", youngest.node_id, "graceful_shutdown")
        assert await second.membership.leave(5.0)
        assert second.membership.phase == "left"

    cluster(check)


def test_draining_is_seen_by_all() -> None:
    async def check(peers: list[Peer]) -> None:
        peers[1].membership.drain()

        def seen(peer: Peer) -> bool:
            info = peer.membership.info(peers[1].node_id)
            return info is not None and info.status == "draining"

        await until(lambda: all(map(seen, peers)), "the status arrives")

    cluster(check)


def test_two_that_were_founded_apart_become_one_when_they_meet() -> None:
    async def main() -> None:
        ports = choose_ports(2)
        a = await Peer("a", ports[0], []).start()
        b = Peer("b", ports[1], [a.node_id], ClusterSettings(alone_after=1.0))
        dial = b.lane.connect
        b.lane.connect = lambda endpoint: None  # type: ignore[method-assign]  # it cannot dial yet
        await b.start()
        try:
            await until(lambda: b.names == ["b"], "b founds alone")
            b.lane.connect = dial  # type: ignore[method-assign]
            dial(f"tcp://127.0.0.1:{ports[0]}")
            await until(lambda: one_view([a, b]), "the younger cluster ends")
            assert a.membership.oldest == a.membership.member(a.node_id)
            assert ("life_ended", "outranked") in b.story
            assert ("new_life",) in b.story
            assert b.membership.incarnation > b.incarnation
            assert b.lane.incarnation == b.membership.incarnation
        finally:
            await a.crash()
            await b.crash()

    asyncio.run(main())


def test_a_heartbeat_carries_what_a_node_says_of_itself() -> None:
    async def check(peers: list[Peer]) -> None:
        peers[0].processes, peers[0].behaviors = 7, ("late", "worker")

        def seen() -> bool:
            info = peers[1].membership.info(peers[0].node_id)
            return (
                info is not None
                and info.process_count == 7
                and info.behaviors == ("late", "worker")
                and info.last_heartbeat_at is not None
                and abs(info.last_heartbeat_at - time.time()) < 5
                and info.labels == {"zone": "a"}
                and info.status == "up"
            )

        await until(seen, "the heartbeat arrives")

    cluster(check)


def test_a_seed_that_is_no_node_costs_a_log_line_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        web = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        nobody, port = choose_ports(2)
        peer = Peer("a", port, [web, f"b@127.0.0.1:{nobody}"], ClusterSettings(alone_after=0.4))
        await peer.start()
        try:
            await peer.membership.joined(5.0)
            await until(lambda: len(caplog.records) >= 2, "both seeds are named")
            lines = [r.getMessage() for r in caplog.records if "seed" in r.getMessage()]
            assert len(lines) == 2
            assert peer.names == ["a"]
        finally:
            await peer.crash()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_nodes_of_two_cluster_names_stay_apart(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ports = choose_ports(2)
        seeds = [f"a@127.0.0.1:{ports[0]}", f"b@127.0.0.1:{ports[1]}"]
        a = Peer("a", ports[0], seeds, ClusterSettings(cluster="red", alone_after=0.4))
        b = Peer("b", ports[1], seeds, ClusterSettings(cluster="blue", alone_after=0.4))
        await asyncio.gather(a.start(), b.start())
        try:
            await asyncio.gather(a.membership.joined(5.0), b.membership.joined(5.0))
            assert (a.names, b.names) == (["a"], ["b"])
            assert any("peer_of_another_cluster" in r.getMessage() for r in caplog.records)
        finally:
            await a.crash()
            await b.crash()

    asyncio.run(main())


def test_an_admin_request_from_outside_is_answered() -> None:
    async def main() -> None:
        peer = await Peer("a", choose_ports(1)[0], []).start()
        answers: list[bytes] = []
        lane = ControlLane(
            node_id="cli@127.0.0.1:0",
            incarnation=1,
            host="127.0.0.1",
            on_event=lambda e: answers.append(e.data) if hasattr(e, "data") else None,
        )
        await lane.start()
        endpoint = f"tcp://127.0.0.1:{peer.lane.port}"
        request = encode(Envelope("", ("cli", 0), None, 0, 0, Admin(7, "status", b"x")))
        lane.connect(endpoint)
        try:
            deadline = asyncio.get_running_loop().time() + 5
            while not answers:
                assert asyncio.get_running_loop().time() < deadline
                lane.send(endpoint, request)
                await asyncio.sleep(0.02)
            assert ("admin",) in peer.story
        finally:
            await lane.stop()
            await peer.crash()

    asyncio.run(main())


def test_nothing_is_called_after_stop() -> None:
    async def check(peers: list[Peer]) -> None:
        await peers[0].membership.stop()
        story = list(peers[0].story)
        await peers[1].crash()
        peers[0].membership.on_event(LinkDown(f"tcp://{peers[1].node_id[2:]}", time.monotonic()))
        await peers[0].lane.stop()
        await until(lambda: peers[2].names == ["c"], "the third one goes on")
        assert peers[0].story == story
        assert peers[0].membership.members == ()
        with pytest.raises(Exception, match="not running"):
            await peers[0].membership.joined(1.0)

    cluster(check)
