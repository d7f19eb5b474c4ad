"""The simulated network and its sockets: order, cuts, and the traps of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import zmq

from noex.testing import run_virtual, settle
from noex.transport.simulated import SimulatedNetwork

HERE, THERE = "10.0.0.1", "10.0.0.2"


class Bench:
    """A ROUTER at `THERE`, and what it has got."""

    def __init__(self, **options: Any) -> None:
        self.network = SimulatedNetwork(**options)
        self.router: Any = self.network.context(THERE).socket(zmq.ROUTER)
        self.router.bind(f"tcp://{THERE}:1")
        self.got: list[list[bytes]] = []

    async def dial(self, routing_id: bytes, host: str = HERE) -> Any:
        dealer: Any = self.network.context(host).socket(zmq.DEALER)
        dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        dealer.connect(f"tcp://{THERE}:1")
        await asyncio.sleep(1)  # sleep: virtual seconds
        return dealer

    def read(self, sock: Any = None) -> list[list[bytes]]:
        found = []
        while True:
            try:
                found.append((sock or self.router).recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return found


def virtual(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtual(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


@virtual
async def test_frames_of_one_connection_keep_their_order_and_others_overtake() -> None:
    bench = Bench(seed=5)
    bench.network.way(HERE, THERE).jitter = 1.0
    one, other = await bench.dial(b"one"), await bench.dial(b"other")
    for number in range(20):
        one.send(b"%d" % number)
        other.send(b"%d" % number)
    await asyncio.sleep(30)  # sleep: virtual seconds
    got = bench.read()
    for routing_id in (b"one", b"other"):
        assert [n for who, n in got if who == routing_id] == [b"%d" % n for n in range(20)]
    assert [who for who, _ in got] != [b"one", b"other"] * 20


@virtual
async def test_a_bandwidth_makes_large_frames_late() -> None:
    bench = Bench()
    bench.network.way(HERE, THERE).bandwidth = 1000.0
    dealer = await bench.dial(b"d")
    dealer.send(b"x" * 5000)
    await asyncio.sleep(4.5)  # sleep: virtual seconds
    assert bench.read() == []
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert len(bench.read()) == 1


@virtual
async def test_a_cut_of_one_direction_leaves_the_other() -> None:
    bench = Bench()
    dealer = await bench.dial(b"d")
    bench.network.cut(HERE, THERE, both=False)
    dealer.send(b"never")
    bench.router.send_multipart([b"d", b"answer"])
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert (bench.read(), bench.read(dealer)) == ([], [[b"answer"]])
    bench.network.heal(HERE, THERE)
    await settle()
    await asyncio.sleep(0.1)  # sleep: virtual seconds
    assert bench.read() == [[b"d", b"never"]]


@virtual
async def test_after_a_long_cut_both_ends_know_and_what_was_under_way_is_lost() -> None:
    bench = Bench()
    dealer = await bench.dial(b"d")
    bench.network.cut(HERE, THERE)
    dealer.send(b"lost")
    await asyncio.sleep(10)  # sleep: virtual seconds
    bench.network.heal(HERE, THERE)
    await asyncio.sleep(10)  # sleep: virtual seconds
    assert bench.read() == []
    with pytest.raises(zmq.Again):
        dealer.send(b"more")
    with pytest.raises(zmq.ZMQError) as unreachable:
        bench.router.send_multipart([b"d", b"answer"])
    assert unreachable.value.errno == zmq.EHOSTUNREACH
    assert bench.network.statistics.bytes_under_way == 0


@virtual
async def test_of_a_broken_connection_a_beginning_arrives_and_never_a_hole() -> None:
    counts = set()
    for seed in range(30):
        bench = Bench(seed=seed)
        dealer = await bench.dial(b"d")
        for number in range(5):
            dealer.send(b"%d" % number)
        bench.network.sever(HERE, THERE)
        dealer.send(b"after the end")
        await asyncio.sleep(1)  # sleep: virtual seconds
        got = [frame for _, frame in bench.read()]
        assert got == [b"%d" % number for number in range(len(got))]
        counts.add(len(got))
    assert {0, 5} < counts


@virtual
async def test_a_routing_id_that_is_in_use_stays_with_who_has_it() -> None:
    bench = Bench()
    first = await bench.dial(b"same")
    second = await bench.dial(b"same", "10.0.0.3")
    second.send(b"into the void")
    first.send(b"heard")
    bench.router.send_multipart([b"same", b"answer"])
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert bench.read() == [[b"same", b"heard"]]
    assert (bench.read(first), bench.read(second)) == ([[b"answer"]], [])


@virtual
async def test_the_descriptor_is_an_edge() -> None:
    bench = Bench()
    calls: list[int] = []
    dealer = await bench.dial(b"d")
    bench.read()
    bench.router.watch(lambda: calls.append(bench.router.getsockopt(zmq.EVENTS)))
    dealer.send(b"1")
    await asyncio.sleep(1)  # sleep: virtual seconds
    dealer.send(b"2")  # the socket was not found empty since: no edge
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert calls == [zmq.POLLIN | zmq.POLLOUT]
    assert len(bench.read()) == 2
    dealer.send(b"3")
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert len(calls) == 2


@virtual
async def test_a_dial_to_nobody_or_through_a_cut_says_nothing_until_it_is_answered() -> None:
    bench = Bench()
    dealer: Any = bench.network.context(HERE).socket(zmq.DEALER)
    dealer.connect(f"tcp://{THERE}:2")
    bench.network.cut(HERE, THERE)
    waiting = await bench.dial(b"w")
    assert not dealer.getsockopt(zmq.EVENTS) & zmq.POLLOUT
    assert not waiting.getsockopt(zmq.EVENTS) & zmq.POLLOUT
    bench.network.heal(HERE, THERE)
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert not dealer.getsockopt(zmq.EVENTS) & zmq.POLLOUT
    assert waiting.getsockopt(zmq.EVENTS) & zmq.POLLOUT


@virtual
async def test_a_port_is_taken_once_and_a_closed_socket_is_unusable() -> None:
    bench = Bench()
    other: Any = bench.network.context(THERE).socket(zmq.ROUTER)
    with pytest.raises(zmq.ZMQError) as taken:
        other.bind(f"tcp://{THERE}:1")
    assert taken.value.errno == zmq.EADDRINUSE
    other.bind(f"tcp://{THERE}:*")
    assert other.getsockopt_string(zmq.LAST_ENDPOINT) != bench.router.getsockopt_string(
        zmq.LAST_ENDPOINT
    )
    other.close()
    with pytest.raises(zmq.ZMQError) as closed:
        other.getsockopt(zmq.EVENTS)
    assert closed.value.errno == zmq.ENOTSOCK


@virtual
async def test_a_crashed_host_is_silent_and_its_peers_find_out() -> None:
    bench = Bench()
    dealer = await bench.dial(b"d")
    bench.network.crash(THERE)
    await asyncio.sleep(1)  # sleep: virtual seconds
    assert not dealer.getsockopt(zmq.EVENTS) & zmq.POLLOUT
    again = await bench.dial(b"e")
    assert not again.getsockopt(zmq.EVENTS) & zmq.POLLOUT
