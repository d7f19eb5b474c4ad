"""The shell of membership: what is called when, and what harms nobody. No sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from noex.cluster.info import SelfDescription, pulse_fields, read_pulse
from noex.cluster.membership import ClusterCallbacks, Membership, seed_endpoint
from noex.cluster.messages import Body, Envelope, News, decode, encode
from noex.cluster.view import Lineage, Member, View, successor
from noex.runtime.errors import InvalidOptionError, NodeStoppedError
from noex.transport.control_events import LinkUp, Pulse, Received

ME = "a@127.0.0.1:4001"
PEER = Member("b@127.0.0.1:4002", 7, "up", "tcp://127.0.0.1:4002", "", "tcp://127.0.0.1:5002")


class FakeControl:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.links: set[str] = set()
        self.pubs: set[str] = set()
        self.sent: list[tuple[str | bytes, Body]] = []
        self.pulse: dict[str, Any] = {}
        self.lives: list[int] = []

    def connect(self, endpoint: str) -> None:
        if not endpoint.startswith("tcp://"):
            raise ValueError(endpoint)
        self.links.add(endpoint)

    def disconnect(self, endpoint: str) -> None:
        self.links.discard(endpoint)

    def subscribe(self, endpoint: str) -> None:
        self.pubs.add(endpoint)

    def unsubscribe(self, endpoint: str) -> None:
        self.pubs.discard(endpoint)

    def send(self, endpoint: str, data: bytes) -> None:
        self.sent.append((endpoint, decode(data).body))

    def answer(self, origin: bytes, data: bytes) -> None:
        self.sent.append((origin, decode(data).body))

    def ping(self, endpoint: str, token: int = 0) -> None: ...

    def set_pulse(self, **fields: Any) -> None:
        self.pulse |= fields

    def new_life(self, incarnation: int) -> None:
        self.lives.append(incarnation)


class ManualClock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.time = 50.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_700_000_000.0 + self.time


class Rig:
    """A membership that has founded, with everything it does written down."""

    def __init__(self) -> None:
        self.control = FakeControl()
        self.clock = ManualClock()
        self.story: list[tuple[Any, ...]] = []
        self.callbacks = ClusterCallbacks(
            node_down=lambda m, why: self.tell("down", m.node_id, why),
            node_up=lambda m: self.tell("up", m.node_id),
            view_changed=lambda v: self.tell("view", len(v.members)),
            life_ended=lambda why: self.tell("life_ended", why),
            new_life=lambda i: self.tell("new_life", i > 5),
        )
        self.membership = Membership(
            node_id=ME,
            incarnation=5,
            control=self.control,
            describe=lambda: SelfDescription(behaviors=("w",), process_count=3),
            callbacks=self.callbacks,
            clock=self.clock,
        )

    def tell(self, *what: Any) -> None:
        self.story.append(what)

    @property
    def view(self) -> View:
        assert self.membership.view is not None
        return self.membership.view

    def hear(self, view: View, body: Body | None = None) -> None:
        message = Envelope(
            "noex", PEER.uid, view.lineage, view.epoch, view.digest(), body or News(view)
        )
        self.membership.on_event(Received(b"o", None, encode(message), self.clock.now()))

    def meet(self) -> None:
        """The peer has let itself in."""
        self.hear(successor(self.view, joins=[PEER]))


def rigged(test: Callable[[Rig], None]) -> None:
    async def main() -> None:
        rig = Rig()
        await rig.membership.start()
        try:
            test(rig)
        finally:
            await rig.membership.stop()

    asyncio.run(main())


def test_a_node_without_seeds_is_a_member_when_start_returns() -> None:
    def check(rig: Rig) -> None:
        assert rig.story == [("view", 1)]
        assert rig.membership.phase == "member"
        assert [m.node_id for m in rig.membership.members] == [ME]
        assert rig.control.pulse["view"][1] == rig.view.epoch

    rigged(check)


def test_n2_downs_come_before_ups_and_the_view_comes_last() -> None:
    def check(rig: Rig) -> None:
        rig.meet()
        assert rig.story[1:] == [("up", PEER.node_id), ("view", 2)]
        assert rig.control.links == {PEER.control_endpoint}
        assert rig.control.pubs == {PEER.pub_endpoint}
        rig.hear(successor(rig.view, joins=[PEER._replace(incarnation=8)]))
        assert rig.story[3:] == [
            ("down", PEER.node_id, "superseded"),
            ("up", PEER.node_id),
            ("view", 2),
        ]

    rigged(check)


def test_c4_when_a_life_ends_that_is_said_first_then_all_peers_are_down_then_the_next_begins() -> (
    None
):
    def check(rig: Rig) -> None:
        rig.meet()
        rig.story.clear()
        rig.control.links.clear()
        rig.hear(successor(rig.view, removals={(ME, 5): "heartbeat_timeout"}))
        assert rig.story == [
            ("life_ended", "removed"),
            ("down", PEER.node_id, "fenced"),
            ("new_life", True),
        ]
        assert rig.membership.phase == "joining" and rig.membership.members == ()
        assert rig.control.lives == [rig.membership.incarnation]
        assert rig.control.pulse["view"] == (None, 0, 0)
        rig.membership._tick()
        assert rig.control.links == {PEER.control_endpoint}  # the old members are asked again

    rigged(check)


def test_a_callback_that_raises_is_logged_and_the_next_is_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def check(rig: Rig) -> None:
        rig.callbacks.node_up = lambda m: 1 / 0  # type: ignore[assignment, return-value]
        rig.meet()
        assert rig.story[-1] == ("view", 2)
        assert "cluster_callback_failed" in caplog.text

    rigged(check)


def test_a_callback_that_makes_an_event_does_not_enter_the_machine_twice() -> None:
    def check(rig: Rig) -> None:
        epochs: list[int] = []
        rig.callbacks.node_up = lambda m: rig.membership.drain()
        rig.callbacks.view_changed = lambda v: epochs.append(v.epoch)
        rig.meet()
        assert rig.membership.members[0].status == "draining"
        assert len(epochs) == 2 and epochs == sorted(epochs)

    rigged(check)


def test_after_stop_nothing_is_called_and_waiters_end() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.membership.start()
        waiter = asyncio.create_task(rig.membership.wait_for_members(2))
        await asyncio.sleep(0)
        await rig.membership.stop()
        with pytest.raises(NodeStoppedError):
            await waiter
        story = list(rig.story)
        rig.membership.on_event(LinkUp("tcp://127.0.0.1:4002", 1.0))
        rig.membership.drain()
        await rig.membership.stop()
        assert rig.story == story and rig.control.links == set()
        assert rig.membership.phase == "stopped"

    asyncio.run(main())


def test_bytes_of_strangers_are_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    def check(rig: Rig) -> None:
        for _ in range(100):
            rig.membership.on_event(Received(b"o", None, b"GET / HTTP/1.1", 1.0))
        assert caplog.text.count("bad_control_message") == 1

    rigged(check)


def test_a_member_with_an_address_that_is_none_costs_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def check(rig: Rig) -> None:
        broken = PEER._replace(control_endpoint="ipc://x", pub_endpoint="")
        rig.hear(successor(rig.view, joins=[broken]))
        assert "bad_endpoint" in caplog.text and rig.story[-1] == ("view", 2)

    rigged(check)


def test_what_is_known_of_a_member_comes_from_its_join_and_its_heartbeats() -> None:
    def check(rig: Rig) -> None:
        rig.meet()
        info = rig.membership.info(PEER.node_id)
        assert info is not None and info.last_heartbeat_at is None and info.status == "up"
        fields = pulse_fields(
            SelfDescription(behaviors=("x",), process_count=9, load=0.5), (None, 0, 0), 12.0
        )
        rig.membership.on_event(
            Pulse(PEER.node_id, PEER.incarnation, 1, 0.25, fields, rig.clock.now() - 2)
        )
        info = rig.membership.info(PEER.node_id)
        assert info is not None
        assert (info.process_count, info.load, info.uptime) == (9, 0.5, 12.0)
        assert (info.loop_lag, info.behaviors) == (0.25, ("x",))
        assert info.last_heartbeat_at == rig.clock.wall() - 2
        own = rig.membership.info(ME)
        assert own is not None and own.process_count == 3 and own.behaviors == ("w",)
        assert rig.membership.info("c@h:1") is None

    rigged(check)


def test_a_heartbeat_with_strange_fields_is_read_as_far_as_it_goes() -> None:
    news = read_pulse({"view": "x", "processes": "many", "behaviors": (1, "w")}, 0.0, 1.0)
    assert (news.lineage, news.process_count, news.behaviors) == (None, 0, ("w",))
    news = read_pulse({"view": (("a", 1, 2), 3, 4)}, 0.0, 1.0)
    assert (news.lineage, news.epoch, news.digest) == (Lineage("a", 1, 2), 3, 4)


@pytest.mark.parametrize(
    ("seed", "endpoint"),
    [
        ("b@h.example:4370", "tcp://h.example:4370"),
        ("h:1", "tcp://h:1"),
        ("tcp://[::1]:9", "tcp://[::1]:9"),
    ],
)
def test_a_seed_may_be_a_node_id_or_an_address(seed: str, endpoint: str) -> None:
    assert seed_endpoint(seed) == endpoint


@pytest.mark.parametrize("seed", ["", "h", "b@h", "http://h:1", "b@h:99999"])
def test_a_seed_that_names_no_node_is_an_error_that_says_so(seed: str) -> None:
    with pytest.raises(InvalidOptionError, match="seeds"):
        seed_endpoint(seed)
