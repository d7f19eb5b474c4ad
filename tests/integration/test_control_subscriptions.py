"""Whose pulses are heard where each publisher has a key of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq
from secured import Ring

from noex.transport.control import ControlLane
from noex.transport.control_events import ControlSettings
from noex.transport.control_hub import Hub
from noex.transport.control_names import Names
from noex.transport.control_subscriptions import Subscriptions
from noex.transport.curve import Curve, credentials_of, make_gate
from noex.transport.pulse import MAGIC

Heard = list[tuple[list[bytes], str | None]]


class Listening:
    """The subscriptions of node a, and publishers with the keys of others."""

    def __init__(self, stack: ExitStack) -> None:
        self.ring = Ring("a", "b", "c")
        self.context: zmq.Context[zmq.Socket[bytes]] = stack.enter_context(zmq.Context())
        self.heard: Heard = []
        self.complaints: list[str] = []
        self.errors: list[Exception] = []
        self.stack = stack
        self.hub = Hub(self.errors.append)
        self.subscriptions = Subscriptions(
            context=self.context,
            settings=ControlSettings(),
            hub=self.hub,
            names=Names(),
            curve=self.curve("a"),
            receive=lambda parts, publisher: self.heard.append((parts, publisher)),
            complain=lambda endpoint, error: self.complaints.append(str(error)),
        )
        stack.callback(self.hub.close)
        stack.callback(self.subscriptions.close)

    def curve(self, name: str) -> Curve:
        credentials = credentials_of(self.ring.ids[name], None, self.ring.keys(name))
        gate = make_gate(self.ring.ids[name], self.context, credentials)
        self.stack.callback(gate.end)
        return Curve(credentials, gate)

    def publisher(self, name: str, port: int = 0) -> tuple[zmq.Socket[bytes], int]:
        """A PUB with the key of that node; nobody is asked who may subscribe."""
        publisher = self.context.socket(zmq.XPUB)
        self.stack.callback(publisher.close, 0)
        publisher.setsockopt(zmq.CURVE_SERVER, 1)
        publisher.setsockopt(zmq.CURVE_SECRETKEY, self.ring.keys(name).pair.secret)
        deadline = time.monotonic() + 10.0
        while True:
            try:
                publisher.bind(f"tcp://127.0.0.1:{port or '*'}")
                break
            except zmq.ZMQError:  # libzmq closes the one before in its own time
                assert time.monotonic() < deadline, f"port {port} does not become free"
                time.sleep(0.01)
        return publisher, int(publisher.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def hear(self, publisher: zmq.Socket[bytes]) -> list[tuple[bytes, str | None]]:
        """Wait for the subscription, say something, and return what was heard."""
        assert publisher.poll(10_000), "nobody has subscribed"
        publisher.recv()
        publisher.send(MAGIC + b"something")
        for _ in range(500):
            if self.heard:
                break
            self.hub.turn(0.02)
        assert self.errors == []
        heard, self.heard = self.heard, []
        return [(parts[0], publisher) for parts, publisher in heard]


@pytest.fixture
def listening() -> Iterator[Listening]:
    with ExitStack() as stack:
        yield Listening(stack)


def test_each_publisher_is_heard_under_its_own_name(listening: Listening) -> None:
    b, port_b = listening.publisher("b")
    c, port_c = listening.publisher("c")
    ids = listening.ring.ids
    wanted: dict[str, str | None] = {
        f"tcp://127.0.0.1:{port_b}": ids["b"],
        f"tcp://127.0.0.1:{port_c}": ids["c"],
    }
    listening.subscriptions.adjust(wanted)
    assert listening.subscriptions.publishers == wanted
    assert listening.hear(b) == [(MAGIC + b"something", ids["b"])]
    assert listening.hear(c) == [(MAGIC + b"something", ids["c"])]


def test_another_node_at_the_same_endpoint_is_heard_with_its_own_key(listening: Listening) -> None:
    b, port = listening.publisher("b")
    endpoint, ids = f"tcp://127.0.0.1:{port}", listening.ring.ids
    listening.subscriptions.adjust({endpoint: ids["b"]})
    assert listening.hear(b) == [(MAGIC + b"something", ids["b"])]
    b.close(0)
    c, _ = listening.publisher("c", port)
    listening.subscriptions.adjust({endpoint: ids["c"]})
    assert listening.hear(c) == [(MAGIC + b"something", ids["c"])]
    listening.subscriptions.adjust({})
    assert listening.subscriptions.publishers == {}


def test_a_publisher_without_a_key_is_complained_about(listening: Listening) -> None:
    for publisher in (None, "d@127.0.0.1:9"):
        listening.subscriptions.adjust({"tcp://127.0.0.1:9": publisher})
    assert listening.subscriptions.publishers == {}
    assert len(listening.complaints) == 2
    assert all("keys.peers has no key for" in text for text in listening.complaints)


def test_the_lane_asks_again_who_publishes_when_the_members_change() -> None:
    owners: dict[str, str] = {}
    lane = ControlLane(
        node_id="a@127.0.0.1:1",
        incarnation=1,
        host="127.0.0.1",
        on_event=lambda _event: None,
        publisher_at=owners.get,
    )
    endpoint = "tcp://127.0.0.1:9"
    for owner, known in (("b@h:1", "b@h:1"), ("c@h:2", "c@h:2"), (None, "c@h:2")):
        owners.clear()
        if owner is not None:
            owners[endpoint] = owner
        lane.subscribe(endpoint) if not lane._subscriptions else lane.members_changed()
        assert lane._subscriptions == {endpoint: known}  # a member that goes is unsubscribed
    lane.unsubscribe(endpoint)
    lane.members_changed()
    assert lane._subscriptions == {}
