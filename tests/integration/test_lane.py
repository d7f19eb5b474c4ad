"""The user lane over real loopback sockets: two lanes, a proxy that cuts between them."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest
import zmq
from lanes import Peer, Proxy, introduce, peers, run, until

from noex.runtime.errors import InvalidOptionError, MessageSerializationError, PortInUseError
from noex.transport.lane_settings import LaneSettings
from noex.transport.sockets import UnsupportedLoopError

pytestmark = pytest.mark.timeout(60)


def test_messages_arrive_in_order_both_ways() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            sent = [b"%d" % n for n in range(5000)]
            for data in sent:
                assert a.lane.send(b.uid, data)
                assert b.lane.send(a.uid, data[::-1])
            await until(lambda: len(b.received(a)) >= 5000, "a to b")
            await until(lambda: len(a.received(b)) >= 5000, "b to a")
            assert b.received(a) == sent
            assert a.received(b) == [data[::-1] for data in sent]
            await until(lambda: a.lane.queued(b.uid) == 0, "acknowledged")
            assert a.troubles == b.troubles == []

    run(main)


def test_a_large_message_arrives_whole_and_too_large_a_one_raises() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            big = os.urandom(9_000_000)
            for data in (b"before", big, b"", b"after"):
                assert a.lane.send(b.uid, data)
            await until(lambda: len(b.received(a)) == 4, "four messages")
            assert b.received(a) == [b"before", big, b"", b"after"]
            with pytest.raises(MessageSerializationError, match="max_message"):
                a.lane.send(b.uid, bytes(a.lane.settings.max_message + 1))

    run(main)


def test_nothing_goes_to_or_comes_from_a_life_that_is_not_admitted() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            assert not a.lane.send(b.uid, b"x")
            a.lane.admit(b.uid, b.endpoint)
            assert a.lane.send(b.uid, b"early")
            await until(lambda: b.lane._reception.deadline is not None, "the greeting waits")
            assert b.got == {}
            b.lane.admit(a.uid, a.endpoint)
            await until(lambda: b.received(a) == [b"early"], "after it is admitted")

    run(main)


def test_a_greeting_waits_for_a_bounded_time_and_comes_again() -> None:
    async def main() -> None:
        settings = LaneSettings(hello_timeout=0.1, redial_max=0.1)
        async with peers("a", "b", settings=settings) as (a, b):
            a.lane.admit(b.uid, b.endpoint)
            a.lane.send(b.uid, b"early")
            await until(lambda: len(a.troubles) >= 2, "refused twice")
            assert all("not_admitted" in text for _, text in a.troubles)
            b.lane.admit(a.uid, a.endpoint)
            await until(lambda: b.received(a) == [b"early"], "after it is admitted")

    run(main)


def test_the_session_goes_on_after_every_cut() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b), Proxy(b.lane.port) as proxy:
            introduce(a, b, proxy.port)
            sent: list[bytes] = []
            for round_ in range(12):
                for n in range(200):
                    data = b"%d/%d " % (round_, n) + b"x" * (n * 13 % 3000)
                    assert a.lane.send(b.uid, data)
                    sent.append(data)
                goal = proxy.forwarded + 50_000
                await until(lambda goal=goal: proxy.forwarded > goal, "some of it is under way")
                proxy.cut()
            await until(lambda: len(b.received(a)) >= len(sent), "all of it")
            assert b.received(a) == sent
            assert proxy.accepted >= 12
            assert (
                a.lane.queued(b.uid) == 0
                or await until(lambda: a.lane.queued(b.uid) == 0, "acknowledged") is None
            )

    run(main)


def test_a_half_open_connection_at_the_listener_loses_nothing() -> None:
    """libzmq's own reconnect comes with the same routing id: the control shows what that costs."""

    async def main() -> None:
        patient = LaneSettings(heartbeat_timeout=60.0, heartbeat_interval=30.0)
        async with (
            peers("a", "b", settings=patient) as (a, b),
            Proxy(b.lane.port) as proxy,
        ):
            introduce(a, b, proxy.port)
            a.lane.send(b.uid, b"first")
            await until(lambda: b.received(a) == [b"first"], "the first")
            proxy.half_open()
            sent = [b"%d" % n for n in range(20)]
            for data in sent:
                assert a.lane.send(b.uid, data)
            await until(lambda: len(b.received(a)) == 21, "the others, on a fresh id")
            assert b.received(a) == [b"first", *sent]

    run(main)


def test_libzmq_alone_loses_what_is_sent_beside_a_half_open_connection() -> None:
    """The reason for fresh routing ids. If this fails, libzmq has changed, and we may simplify."""

    async def main() -> None:
        with zmq.Context() as context:
            router = context.socket(zmq.ROUTER)
            router.linger = 0
            port = router.bind_to_random_port("tcp://127.0.0.1")
            dealer = context.socket(zmq.DEALER)
            dealer.linger, dealer.routing_id, dealer.reconnect_ivl = 0, b"same", 20
            async with Proxy(port) as proxy:
                dealer.connect(f"tcp://127.0.0.1:{proxy.port}")
                dealer.send(b"first")
                await until(lambda: router.poll(0), "the first")
                assert router.recv_multipart() == [b"same", b"first"]
                proxy.half_open()
                await until(lambda: proxy.accepted == 2, "libzmq has reconnected")
                before = proxy.forwarded
                for n in range(20):
                    dealer.send(b"%d" % n, zmq.NOBLOCK)
                await until(lambda: proxy.forwarded >= before + 70, "they have left")
                await asyncio.sleep(0.2)  # sleep: for an absence there is nothing to wait for
                assert router.poll(0) == 0
            dealer.close()
            router.close()

    run(main)


def test_expelled_means_nothing_more_is_delivered() -> None:
    async def main() -> None:
        async with peers("a", "b", "c") as (a, b, c):
            introduce(a, b)
            introduce(c, b)
            a.lane.send(b.uid, b"open")
            await until(lambda: b.got.pop(a.uid, None), "a is connected")

            def expel_at_once(uid: tuple[str, int], messages: list[bytes]) -> None:
                if uid == a.uid:
                    b.lane.expel(uid)
                b.take(uid, messages)

            b.lane._on_messages = expel_at_once
            for n in range(50):
                a.lane.send(b.uid, b"%d" % n)
                await asyncio.sleep(0)
                c.lane.send(b.uid, b"%d" % n)
            await until(lambda: len(b.received(c)) == 50, "c is not affected")
            await until(lambda: a.troubles, "a is told")
            batch = b.received(a)
            assert batch == [b"%d" % n for n in range(len(batch))]
            assert len(batch) < 50
            assert not b.lane.send(a.uid, b"x")
            assert b.lane.queued(a.uid) == 0

    run(main)


def test_a_new_life_of_the_receiver_gets_nothing_of_the_old_one() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            old = b.uid
            a.lane.send(old, b"one")
            await until(lambda: b.received(a) == [b"one"], "one")
            b.lane.new_life(2)
            a.lane.send(old, b"for the old life")
            await until(lambda: any("its life has end" in text for _, text in a.troubles), "told")
            a.lane.expel(old)
            introduce(a, b)
            a.lane.send(b.uid, b"for the new life")
            await until(lambda: len(b.received(a)) == 2, "the new one")
            assert b.received(a) == [b"one", b"for the new life"]

    run(main)


def test_a_new_life_of_the_sender_starts_afresh() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            old = a.uid
            a.lane.send(b.uid, b"one")
            await until(lambda: b.got.get(old) == [b"one"], "one")
            a.lane.new_life(7)
            assert not a.lane.send(b.uid, b"x")
            b.lane.expel(old)
            introduce(a, b)
            a.lane.send(b.uid, b"two")
            await until(lambda: b.got.get(a.uid) == [b"two"], "two")

    run(main)


def test_a_listener_that_comes_late_is_found() -> None:
    async def main() -> None:
        async with peers("a", settings=LaneSettings(dial_timeout=0.1)) as (a,):
            late = Peer("b")
            await late.lane.start()
            port = late.lane.port
            await late.lane.stop()
            a.lane.admit(late.uid, late.endpoint)
            a.lane.send(late.uid, b"hello")
            await until(lambda: len(a.troubles) >= 2, "two dials went nowhere")
            again = Peer("b", port=port)
            await again.lane.start()
            again.lane.admit(a.uid, a.endpoint)
            await until(lambda: again.received(a) == [b"hello"], "it has arrived")
            await again.lane.stop()

    run(main)


def test_an_idle_connection_is_closed_and_comes_back() -> None:
    async def main() -> None:
        settings = LaneSettings(idle_timeout=0.1)
        async with peers("a", "b", settings=settings) as (a, b), Proxy(b.lane.port) as proxy:
            introduce(a, b, proxy.port)
            for n in range(3):
                a.lane.send(b.uid, b"%d" % n)
                await until(lambda n=n: len(b.received(a)) == n + 1, "it has arrived")
                socket_of = a.lane._outlets[b.uid]
                await until(lambda o=socket_of: o._socket is None, "it is closed")
            assert proxy.accepted == 3
            assert b.received(a) == [b"0", b"1", b"2"]

    run(main)


def test_a_consumer_that_raises_does_not_stop_the_lane() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            calls: list[int] = []

            def fail_once(uid: tuple[str, int], messages: list[bytes]) -> None:
                calls.append(1)
                if len(calls) == 1:
                    raise RuntimeError("first batch")
                b.take(uid, messages)

            b.lane._on_messages = fail_once
            a.lane.send(b.uid, b"lost to the error")
            await until(lambda: calls, "the first batch")
            a.lane.send(b.uid, b"next")
            await until(lambda: b.received(a) == [b"next"], "the next")

    run(main)


def test_a_peer_may_be_expelled_from_within_the_report_of_its_trouble() -> None:
    async def main() -> None:
        async with peers("a", "b", settings=LaneSettings(dial_timeout=0.05)) as (a, b):
            a.lane.admit(b.uid, "tcp://127.0.0.1:1")  # nobody listens there
            outlet = a.lane._outlets[b.uid]
            a.lane._on_trouble = lambda uid, _: a.lane.expel(uid)
            a.lane.send(b.uid, b"x")
            await until(lambda: not a.lane._outlets, "expelled")
            assert outlet._socket is None
            assert outlet._timer is None

    run(main)


def test_a_receiver_that_is_stuck_for_long_stays_connected() -> None:
    """ZeroMQ's own heartbeats go on while the loop stands still, and no mark stops them."""

    async def main() -> None:
        settings = LaneSettings(heartbeat_interval=0.1, heartbeat_timeout=0.4)
        async with peers("a", "b", settings=settings) as (a, b), Proxy(b.lane.port) as proxy:
            introduce(a, b, proxy.port)
            a.lane.send(b.uid, b"first")
            await until(lambda: b.received(a) == [b"first"], "the first")
            assert b.lane._loop is not None
            b.lane._loop.remove_reader(b.lane._descriptor)  # b's lane is not served any more
            sent = 1
            deadline = b.lane._loop.time() + 4 * settings.heartbeat_timeout
            while b.lane._loop.time() < deadline:
                sent += a.lane.send(b.uid, b"x" * 5000)
                await asyncio.sleep(0.001)
            assert proxy.accepted == 1
            b.lane._loop.add_reader(b.lane._descriptor, b.lane._drain)
            b.lane._drain()
            await until(lambda: len(b.received(a)) == sent, "all of it")
            assert (proxy.accepted, a.troubles) == (1, [])

    run(main)


def test_stop_lingers_until_all_is_acknowledged() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            for n in range(1000):
                a.lane.send(b.uid, b"%d" % n * 500)
            await a.lane.stop(linger=10)
            await until(lambda: len(b.received(a)) == 1000, "all of it")
            assert not a.lane.send(b.uid, b"x")

    run(main)


def test_stop_gives_up_lingering_in_time() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            a.lane.admit(b.uid, b.endpoint)  # and never admitted there
            a.lane.send(b.uid, b"x")
            async with asyncio.timeout(5):
                await a.lane.stop(linger=0.1)

    run(main)


def test_flush_waits_for_every_waiter_and_ends_when_the_peer_is_expelled() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            a.lane.admit(b.uid, b.endpoint)
            a.lane.send(b.uid, b"x")
            waiting = [asyncio.ensure_future(a.lane.flush(30.0)) for _ in range(2)]
            b.lane.admit(a.uid, a.endpoint)
            await asyncio.wait_for(asyncio.gather(*waiting), 10)
            assert a.lane.queued(b.uid) == 0
            b.lane.expel(a.uid)
            a.lane.send(b.uid, b"never taken")
            last = asyncio.ensure_future(a.lane.flush(30.0))
            await until(lambda: a.troubles, "a is told")
            a.lane.expel(b.uid)
            await asyncio.wait_for(last, 10)

    run(main)


def test_two_lanes_that_stop_together_do_not_wait_in_vain() -> None:
    async def main() -> None:
        async with peers("a", "b") as (a, b):
            introduce(a, b)
            for n in range(20):
                a.lane.send(b.uid, b"%d" % n)
                b.lane.send(a.uid, b"%d" % n)
            await until(lambda: len(b.received(a)) == len(a.received(b)) == 20, "both")
            async with asyncio.timeout(10):
                await asyncio.gather(a.lane.stop(linger=30), b.lane.stop(linger=30))

    run(main)


def test_ipv6() -> None:
    async def main() -> None:
        try:
            async with peers("a", "b", host="::1") as (a, b):
                for one, other in ((a, b), (b, a)):
                    one.lane.admit(other.uid, f"tcp://[::1]:{other.lane.port}")
                a.lane.send(b.uid, b"six")
                await until(lambda: b.received(a) == [b"six"], "over IPv6")
        except InvalidOptionError as error:
            pytest.skip(f"no IPv6 here: {error}")

    run(main)


def test_a_shared_context_survives_and_every_socket_is_secured() -> None:
    async def main() -> None:
        secured: list[tuple[int, str | None]] = []

        def secure(sock: zmq.Socket[bytes], peer: str | None) -> None:
            secured.append((sock.type, peer))

        with zmq.Context() as context:
            async with peers("a", "b", context=context, secure=secure) as (a, b):
                introduce(a, b)
                a.lane.send(b.uid, b"x")
                await until(lambda: b.received(a) == [b"x"], "x")
            assert not context.closed
        assert secured == [(zmq.ROUTER, None), (zmq.ROUTER, None), (zmq.DEALER, b.uid[0])]

    run(main)


def test_a_host_name_can_be_bound() -> None:
    async def main() -> None:
        async with peers("a", host="localhost") as (a,):
            assert a.lane.port > 0
        with pytest.raises(InvalidOptionError, match="nowhere"):
            await Peer("x", host="nowhere.invalid").lane.start()

    run(main)


def test_a_port_in_use_is_said_so() -> None:
    async def main() -> None:
        async with peers("a") as (a,):
            second = Peer("b", port=a.lane.port)
            with pytest.raises(PortInUseError, match=str(a.lane.port)):
                await second.lane.start()

    run(main)


def test_a_loop_without_add_reader_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_reader(*_: object) -> None:
        raise NotImplementedError

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", no_reader)
        with pytest.raises(UnsupportedLoopError, match="SelectorEventLoop"):
            await Peer("a").lane.start()

    run(main)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts /proc/self/fd")
def test_stop_leaves_nothing() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def cycle() -> None:
        async with peers("a", "b") as (a, b), Proxy(b.lane.port) as proxy:
            introduce(a, b, proxy.port)
            for n in range(3):
                a.lane.send(b.uid, b"x")
                b.lane.send(a.uid, b"y")
                await until(lambda n=n: len(b.received(a)) == n + 1, "a to b")
                proxy.cut()
            a.lane.send(b.uid, b"on the way")

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await cycle()  # whatever is made once per process is made now
        before, readers = descriptors(), len(loop._selector.get_map())
        for _ in range(5):
            await cycle()
        await until(lambda: descriptors() <= before, "descriptors are back")
        await until(lambda: len(loop._selector.get_map()) == readers, "readers are gone")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]
        assert [timer for timer in timers if "noex" in repr(timer)] == []

    run(main)


def test_a_lane_whose_socket_is_gone_says_so() -> None:
    async def main() -> None:
        async with peers("a") as (a,):
            assert a.lane._router is not None
            a.lane._router.close(0)
            a.lane._drain()
            assert [uid for uid, text in a.troubles if "unusable" in text] == [a.uid]

    run(main)
