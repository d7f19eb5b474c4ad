"""Who comes in, and who does not: nodes with a secret, with keys, with neither, and impostors."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import zmq
from secured import (
    OTHER_SECRET,
    QUICK,
    SECRET,
    Ring,
    an_impostor,
    as_node,
    gates,
    hello,
    is_hung_up_on,
    ports_of,
    question,
    refused,
    shaken,
    stopping,
)
from three_nodes import FAST, run_async, start_node, until

from noex import ClusterSecret, JoinTimeoutError, Node, PortInUseError
from noex.transport.control_greeting import mechanism_at
from noex.transport.curve import Curve, credentials_of, make_gate, secure_dialler
from noex.transport.gate import Gate
from noex.transport.keys import KeyPair
from noex.transport.wire import make_routing_id
from noex.transport.zap import Verdict, Zap

SPOOF = "key of another node"
LARGE = ["text" * 400_000, bytes(3 << 20), "text"]


async def they_talk(*nodes: Node) -> None:
    """All know each other, and each reaches a process on each."""
    await asyncio.gather(*(node.wait_for_members(len(nodes)) for node in nodes))
    for node in nodes:
        for other in nodes:
            worker = await node.spawn("worker", on=other.id)
            assert await worker.call(("add", 1)) == ("add", 1)
            assert await worker.call(LARGE) == LARGE
            await worker.stop()


async def hears_pulses(node: Node, other: Node) -> None:
    """The heartbeats of the other arrive: they alone tell when it was heard last."""

    def heard_at() -> float:
        return next(i.last_heartbeat_at or 0.0 for i in node.members() if i.id == other.id)

    before = heard_at()
    await until(lambda: heard_at() > before, "a pulse")


def lines(caplog: pytest.LogCaptureFixture, event: str, node: Node | None = None) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    wanted = f"node='{node.id}'" if node is not None else ""
    return [text for text in texts if text.startswith(event) and wanted in text]


async def is_not_let_in(start: Callable[[], Any], *said: str) -> JoinTimeoutError:
    """The start of a node ends with an error that says what to check."""
    with pytest.raises(JoinTimeoutError) as caught:
        node = await start()
        await node.stop()
    for text in said:
        assert text in str(caught.value)
    assert isinstance(caught.value, TimeoutError)
    for secret in (SECRET, OTHER_SECRET):
        assert secret not in str(caught.value)
    return caught.value


async def is_spoof(node: Node, dealer: zmq.Socket[bytes], frame: bytes) -> None:
    """The node counts what the dealer says as said in another's name."""
    before = refused(node).get(SPOOF, 0)
    dealer.send(frame)
    await until(lambda: refused(node).get(SPOOF, 0) > before, f"refused: {frame!r}")


# ---------------------------------------------------------------------- one secret for all


@run_async
async def test_nodes_of_one_secret_form_a_cluster() -> None:
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a) as stack:
        b = await start_node("b", [a], cluster_secret=SECRET.encode())
        stack.push_async_callback(b.stop)
        await they_talk(a, b)
        await hears_pulses(a, b)
        assert {mechanism_at(("127.0.0.1", port)) for port in ports_of(a)} == {"CURVE"}
        assert refused(a) == refused(b) == {}
        assert len(gates()) == 2
    assert gates() == []


@run_async
async def test_a_secret_restarts_and_the_new_life_is_let_in() -> None:
    """Case 167: a fast restart, under CURVE."""
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a) as stack:
        b = await start_node("b", [a], cluster_secret=SECRET)
        port, first = ports_of(b)[0], b.incarnation
        await b.stop()
        b = await start_node("b", [a], port=port, cluster_secret=SECRET)
        stack.push_async_callback(b.stop)
        assert b.incarnation > first
        await they_talk(a, b)


@run_async
async def test_a_wrong_secret_is_refused_both_ways(caplog: pytest.LogCaptureFixture) -> None:
    """Case 172 (`differing_cookies`, `connection_cookie`): and both sides say so."""
    caplog.set_level(logging.INFO, "noex")
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a):
        await is_not_let_in(
            lambda: start_node("b", [a], cluster_secret=OTHER_SECRET, **QUICK),
            "refuses it: wrong secret (check that cluster_secret is the same on both",
            f"seeds: {a.id}",
        )
        assert [info.id for info in a.members()] == [a.id]
        assert refused(a).keys() == {"wrong secret"}
        assert 1 <= len(lines(caplog, "peer_refused", a)) <= 2  # by address, which may be unknown
        assert len(lines(caplog, "handshake_failed")) == 1
        b = await start_node("b", [a], cluster_secret=SECRET)
        await they_talk(a, b)
        await b.stop()
    assert SECRET not in caplog.text and OTHER_SECRET not in caplog.text


@pytest.mark.parametrize(
    ("inside", "outside", "at_the_door", "at_the_dialler"),
    [
        ({"cluster_secret": SECRET}, {}, "no security", "unexpected security"),
        ({}, {"cluster_secret": SECRET}, "unexpected security", "no security"),
    ],
    ids=["plain against secured", "secured against plain"],
)
@run_async
async def test_a_plain_node_and_a_secured_one_refuse_each_other(
    inside: Any,
    outside: Any,
    at_the_door: str,
    at_the_dialler: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Case 172: both sides say what differs."""
    caplog.set_level(logging.INFO, "noex")
    a = await start_node("a", **inside)
    async with stopping(a):
        await is_not_let_in(
            lambda: start_node("b", [a], **outside, **QUICK), f"refuses it: {at_the_dialler} ("
        )
        assert [info.id for info in a.members()] == [a.id]
        assert refused(a).keys() == {at_the_door}
        assert f"reason='{at_the_door}'" in lines(caplog, "peer_refused", a)[0]
        (line,) = lines(caplog, "handshake_failed")
        assert f"reason='{at_the_dialler}'" in line


@run_async
async def test_a_node_that_is_turned_away_founds_no_cluster_of_its_own() -> None:
    """It would look as if all was well, with two clusters where there should be one."""
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a):
        impatient = {"membership": replace(FAST, alone_after=0.3)}
        await is_not_let_in(
            lambda: start_node("b", [a], cluster_secret=OTHER_SECRET, **QUICK, **impatient),
            "wrong secret",
        )
        nobody = f"x@127.0.0.1:{ports_of(a)[0] + 1}"
        alone = Node("c@127.0.0.1:0", seeds=[nobody], cluster_secret=SECRET, **impatient)
        async with alone:
            assert [info.id for info in alone.members()] == [alone.id]


@run_async
async def test_a_loop_that_stands_still_stops_no_handshake() -> None:
    """Who may come in is answered beside the loop, and beside the control lane."""
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a):
        credentials = credentials_of("", ClusterSecret(SECRET), None)
        with an_impostor() as friend:
            for port in ports_of(a)[:2]:
                dealer = friend.dial(port, lambda sock: secure_dialler(sock, credentials, None))
                assert shaken(dealer) == zmq.EVENT_HANDSHAKE_SUCCEEDED  # the loop does not turn


@run_async
async def test_a_storm_of_strangers_costs_a_line_or_two(caplog: pytest.LogCaptureFixture) -> None:
    """Refused peers are counted, and logged once a minute for each address and reason."""
    caplog.set_level(logging.INFO, "noex")
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a) as stack:
        b = await start_node("b", [a], cluster_secret=SECRET)
        stack.push_async_callback(b.stop)
        wrong = credentials_of("", ClusterSecret(OTHER_SECRET), None)
        with an_impostor() as strangers:
            for port in ports_of(a)[:2] * 50:
                strangers.dial(port, lambda sock: secure_dialler(sock, wrong, None))
            await until(lambda: refused(a).get("wrong secret", 0) >= 100, "all are refused")
            await they_talk(a, b)
        assert len(lines(caplog, "peer_refused", a)) <= 2
        assert refused(a) == {"wrong secret": 100}


@run_async
async def test_the_error_of_a_start_names_each_who_refused() -> None:
    """One seed of another secret must not hide behind one that is not secured at all."""
    a = await start_node("a", cluster_secret=SECRET)
    b = await start_node("b")
    async with stopping(a, b):
        await is_not_let_in(
            lambda: start_node("c", [a, b], cluster_secret=OTHER_SECRET, **QUICK),
            f"tcp://{a.id.partition('@')[2]} refuses it: wrong secret (",
            f"tcp://{b.id.partition('@')[2]} refuses it: no security (",
        )


# ---------------------------------------------------------------------- a key for each


@run_async
async def test_three_nodes_with_keys_form_a_cluster() -> None:
    ring = Ring("a", "b", "c")
    a = await ring.start("a")
    async with stopping(a) as stack:
        b = await ring.start("b", a)
        stack.push_async_callback(b.stop)
        c = await ring.start("c", a)
        stack.push_async_callback(c.stop)
        await they_talk(a, b, c)
        for one, other in ((a, b), (b, c), (c, a)):
            await hears_pulses(one, other)
        assert refused(a) == refused(b) == refused(c) == {}
    assert gates() == []


@run_async
async def test_a_node_with_keys_restarts_and_its_new_life_is_let_in() -> None:
    """Case 167: a fast restart, with keys."""
    ring = Ring("a", "b")
    a = await ring.start("a")
    async with stopping(a) as stack:
        b = await ring.start("b", a)
        first = b.incarnation
        await b.stop()
        b = await ring.start("b", a)
        stack.push_async_callback(b.stop)
        assert b.incarnation > first
        await they_talk(a, b)
        await hears_pulses(a, b)


@run_async
async def test_a_key_that_is_not_in_the_list_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Case 172 (`allowed`): c trusts everybody, and a and b have no key of it."""
    caplog.set_level(logging.INFO, "noex")
    ring = Ring("a", "b", "c", trusting=("a", "b"))
    a = await ring.start("a")
    async with stopping(a):
        await is_not_let_in(
            lambda: ring.start("c", a, **QUICK), "refuses it: unknown key (its list of keys has"
        )
        assert refused(a).keys() == {"unknown key"}
        (line,) = lines(caplog, "peer_refused", a)
        assert "address='127.0.0.1'" in line and ring.fresh["c"].public in line
        assert [info.id for info in a.members()] == [a.id]


@run_async
async def test_who_listens_at_a_known_address_needs_its_key() -> None:
    """Case 172: the dialler, too, knows whom it talks to."""
    ring, other = Ring("a", "b"), Ring("a", "b")
    other.ids = ring.ids
    other.peers = {ring.ids["b"]: ring.fresh["b"].public}
    false_a = await other.start("a", keys=other.keys("a"))  # at the address of a
    async with stopping(false_a):
        await is_not_let_in(
            lambda: ring.start("b", false_a, **QUICK), "refuses it: wrong secret", "keys.peers"
        )
        assert [info.id for info in false_a.members()] == [false_a.id]


@run_async
async def test_a_key_opens_no_door_under_the_name_of_another_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Case 172: a spoofed node id is refused on both lanes, counted and logged."""
    caplog.set_level(logging.INFO, "noex")
    ring = Ring("a", "b", "c")
    a = await ring.start("a")
    async with stopping(a) as stack:
        b = await ring.start("b", a)
        stack.push_async_callback(b.stop)
        control, user, _ = ports_of(a)
        as_c = as_node(ring.keys("c"), ring.ids["c"], a.id)
        with an_impostor() as c:
            for port in (control, user):  # with the routing id of b
                dealer = c.dial(port, as_c, make_routing_id(b.id, 1 << 62, 1))
                await is_spoof(a, dealer, hello(b.id, b.id))
                assert is_hung_up_on(dealer)
            for sender, me in ((b.id, b.id), (ring.ids["c"], b.id), (b.id, ring.ids["c"])):
                await is_spoof(a, c.dial(control, as_c), hello(sender, me))  # without one
        assert refused(a) == {SPOOF: 5}
        told = lines(caplog, "peer_refused", a)
        assert told and all(f"peer='{ring.ids['c']}'" in line for line in told)
        await they_talk(a, b)  # b was not superseded by the life that was made up for it
        assert {info.id: info.incarnation for info in a.members()} == {
            a.id: a.incarnation,
            b.id: b.incarnation,
        }


@run_async
async def test_a_pulse_speaks_for_the_node_with_whose_key_it_came() -> None:
    ring = Ring("a", "b", "c")
    a = await ring.start("a")
    async with stopping(a) as stack:
        b = await ring.start("b", a)
        stack.push_async_callback(b.stop)
        await hears_pulses(a, b)
        assert b.network is not None and b.network._control is not None
        b.network._control.new_life(1 << 62, ring.ids["c"])  # its pulses now say that it is c
        await until(lambda: refused(a).get(SPOOF, 0) > 1, "pulses are refused")
        b.network._control.new_life(b.incarnation, b.id)
        await hears_pulses(a, b)


@run_async
async def test_a_client_may_ask_and_nothing_else() -> None:
    """Its key is bound to no node id, so it is none."""
    ring = Ring("a", "b")
    a = await ring.start("a")
    async with stopping(a):
        control, user, _ = ports_of(a)
        secure = as_node(ring.client.trusting(ring.peers), "", a.id)
        with an_impostor() as client:
            dealer = client.dial(control, secure)
            dealer.send(question(7))
            await until(lambda: dealer.poll(0), "an answer")
            for name in ("client:ops", ring.ids["b"]):
                await is_spoof(a, dealer, hello(name, name))
            await is_spoof(a, client.dial(user, secure, b"client:ops#1#1"), b"anything")
        assert [info.id for info in a.members()] == [a.id]


@pytest.mark.parametrize("answers", [True, False])
def test_no_connection_comes_in_when_nobody_answers_for_it(answers: bool) -> None:
    """Without its gate a listener lets nobody in: libzmq alone would encrypt, and ask no more."""
    ring = Ring("a", "b")
    credentials = credentials_of(ring.ids["a"], None, ring.keys("a"))
    with zmq.Context() as context, an_impostor() as b:
        gate = make_gate(ring.ids["a"], context, credentials)
        if answers:
            gate.start()
        router = context.socket(zmq.ROUTER)
        Curve(credentials, gate).listen(router, "control")
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer = b.dial(port, as_node(ring.keys("b"), ring.ids["b"], ring.ids["a"]))
        assert (shaken(dealer) == zmq.EVENT_HANDSHAKE_SUCCEEDED) is answers
        router.close(0)
        gate.end()
        deadline = time.monotonic() + 5.0
        while not gate.has_ended and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gate.has_ended


class Stumbling(Zap):
    """Fails at the first questions."""

    def __init__(self, admitted: Any, failures: int) -> None:
        super().__init__(admitted)
        self.left = failures

    def handle(self, frames: Sequence[bytes]) -> Verdict:
        if self.left:
            self.left -= 1
            raise RuntimeError("stumbled")
        return super().handle(frames)


def test_a_gate_that_stumbles_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """One question that cannot be answered costs that one its connection, and nobody else."""
    caplog.set_level(logging.INFO, "noex")
    ring = Ring("a", "b")
    credentials = credentials_of(ring.ids["a"], None, ring.keys("a"))
    with zmq.Context() as context, an_impostor() as b:
        gate = Gate(ring.ids["a"], context, Stumbling(credentials.admitted, 3))
        gate.start()
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.HANDSHAKE_IVL, 500)
        Curve(credentials, gate).listen(router, "control")
        port = router.bind_to_random_port("tcp://127.0.0.1")
        as_b = as_node(ring.keys("b"), ring.ids["b"], ring.ids["a"])
        ends = [shaken(dealer) for dealer in [b.dial(port, as_b) for _ in range(6)]]
        assert ends.count(zmq.EVENT_HANDSHAKE_SUCCEEDED) == 3
        router.close(0)
        gate.end()
        deadline = time.monotonic() + 5.0
        while not gate.has_ended and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gate.has_ended
    assert len(lines(caplog, "gate_error")) == 1


@run_async
async def test_a_start_that_fails_leaves_no_thread() -> None:
    a = await start_node("a", cluster_secret=SECRET)
    async with stopping(a):
        with pytest.raises(PortInUseError):
            await start_node("b", [a], port=ports_of(a)[0], cluster_secret=SECRET)
        assert len(gates()) == 1
    assert gates() == []


@run_async
async def test_the_key_is_derived_beside_the_loop() -> None:
    """It takes tens of milliseconds of work."""
    threads = []

    class Noting(ClusterSecret):
        def key_pair(self) -> KeyPair:
            threads.append(threading.current_thread())
            return super().key_pair()

    node = Node("a@127.0.0.1:0", cluster_secret=Noting(SECRET))
    async with node:
        assert threads[0] is not threading.current_thread()
