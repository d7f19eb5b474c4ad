"""The control lane over real sockets, two lanes in one process."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import pytest
from control_rig import DEADLINE, FAST, Rig, longest_gap, stay_busy

from noex.runtime.errors import MessageSerializationError
from noex.transport.control import (
    ControlLane,
    ControlSettings,
    DialRefused,
    LinkDown,
    LinkUp,
    Pong,
    Pulse,
    Received,
)


def test_messages_go_there_and_answers_come_back_in_order() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            await a.link(b.endpoint)
            for number in range(100):
                a.lane.send(b.endpoint, b"%d" % number)
            await b.until(lambda: len(b.of(Received)) == 100)
            for event in b.of(Received):
                assert event.endpoint is None
                b.lane.answer(event.origin, b"re " + event.data)
            await a.until(lambda: len(a.of(Received)) == 100)
            assert [event.data for event in a.of(Received)] == [b"re %d" % n for n in range(100)]
            assert {(e.origin, e.endpoint) for e in a.of(Received)} == {(None, b.endpoint)}

    asyncio.run(main())


def test_a_message_sent_on_the_link_up_itself_arrives() -> None:
    async def main() -> None:
        async with Rig("b") as b, Rig("a") as a:
            a.lane.connect(b.endpoint)
            for cycle in range(20):
                await a.until(lambda: a.is_linked(b.endpoint))
                a.lane.send(b.endpoint, b"%d" % cycle)
                await b.heard(Received, data=b"%d" % cycle)
                a.events.clear()
                a.lane.disconnect(b.endpoint)
                a.lane.connect(b.endpoint)

    asyncio.run(main())


def test_a_message_without_a_link_is_dropped_and_counted() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.send("tcp://127.0.0.1:1", b"to nobody")
            a.lane.answer(b"stranger", b"to nobody")
            await a.until(lambda: a.lane.stats().sends_dropped == 2)
            await a.link(b.endpoint)
            a.lane.send(b.endpoint, b"to b")
            assert (await b.heard(Received)).data == b"to b"
            assert len(b.of(Received)) == 1

    asyncio.run(main())


def test_what_cannot_leave_at_once_is_dropped_and_the_rest_keeps_its_order() -> None:
    # A busy machine must not cost the link: what is under way then is lost uncounted.
    patient = replace(FAST, heartbeat_interval=1.0, heartbeat_timeout=DEADLINE)

    async def main() -> None:
        async with Rig("a", settings=patient) as a, Rig("b", settings=patient) as b:
            await a.link(b.endpoint)
            count = 30_000
            for number in range(count):
                a.lane.send(b.endpoint, b"%d" % number)
            a.lane.send(b.endpoint, b"%d" % count)

            def all_told() -> bool:
                stats = a.lane.stats()
                dropped = stats.sends_dropped + stats.commands_dropped
                dropped += b.lane.stats().events_dropped
                return len(b.of(Received)) + dropped == count + 1

            await b.until(all_told, "every message arrived or was counted")
            numbers = [int(event.data) for event in b.of(Received)]
            assert numbers == sorted(set(numbers))
            assert numbers[0] == 0

    asyncio.run(main())


def test_a_message_beyond_the_limit_is_refused_at_the_sender() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            too_long = b"x" * (FAST.max_message + 1)
            with pytest.raises(MessageSerializationError, match="bytes"):
                a.lane.send("tcp://127.0.0.1:1", too_long)
            with pytest.raises(MessageSerializationError, match="bytes"):
                a.lane.answer(b"o", too_long)

    asyncio.run(main())


def test_the_largest_message_arrives() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            await a.link(b.endpoint)
            a.lane.send(b.endpoint, b"x" * FAST.max_message)
            event = await b.heard(Received)
            assert len(event.data) == FAST.max_message

    asyncio.run(main())


def test_pulses_carry_what_the_loop_has_set() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b", incarnation=77) as b:
            b.lane.set_pulse(epoch=1, behaviors=["x"])
            a.lane.subscribe(b.pub_endpoint)
            first = await a.heard(Pulse, fields={"epoch": 1, "behaviors": ("x",)})
            assert (first.node_id, first.incarnation) == ("b@127.0.0.1:1", 77)
            b.lane.set_pulse(epoch=2)
            await a.heard(Pulse, fields={"epoch": 2, "behaviors": ("x",)})
            with pytest.raises(MessageSerializationError):
                b.lane.set_pulse(epoch=object())
            since = len(a.events)
            await a.heard(Pulse, since, fields={"epoch": 2, "behaviors": ("x",)})
            sequence = [pulse.seq for pulse in a.of(Pulse)]
            assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))

    asyncio.run(main())


def test_a_new_life_pulses_from_one_and_keeps_its_links() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await b.link(a.endpoint)
            await a.heard(Pulse, incarnation=1)
            b.lane.new_life(2)
            assert (await a.heard(Pulse, incarnation=2)).seq == 1
            b.lane.send(a.endpoint, b"still here")
            await a.heard(Received, data=b"still here")
            assert b.of(LinkDown) == []

    asyncio.run(main())


def test_nothing_is_heard_after_unsubscribe() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.heard(Pulse)
            a.lane.unsubscribe(b.pub_endpoint)
            await b.link(a.endpoint)
            b.lane.send(a.endpoint, b"the thread has read its mail since")
            await a.heard(Received)
            await b.until(lambda: b.lane.stats().pulses_sent > 3)
            since, sent = len(a.events), b.lane.stats().pulses_sent
            await b.until(lambda: b.lane.stats().pulses_sent > sent + 3)
            assert a.of(Pulse, since) == []

    asyncio.run(main())


def test_a_ping_is_answered_while_the_loop_is_stuck() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            await a.link(b.endpoint)
            a.lane.ping(b.endpoint, token=7)
            stay_busy(1.0)
            asked_until = time.monotonic()
            pong = await a.heard(Pong, token=7)
            assert (pong.node_id, pong.incarnation) == ("b@127.0.0.1:1", 1)
            assert pong.at < asked_until - 0.3

    asyncio.run(main())


def test_pulses_go_on_while_the_loop_is_stuck_and_say_so() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.heard(Pulse)
            since = len(a.events)
            stay_busy(1.5)
            await a.until(lambda: a.of(Pulse, since) and a.of(Pulse)[-1].loop_lag < 0.3)
            # The oldest gave way; those that were kept came in while the loop was stuck.
            lags = [pulse.loop_lag for pulse in a.of(Pulse, since)]
            assert max(lags) > 0.7
            assert longest_gap(a.of(Pulse, since)) < 1.0

    asyncio.run(main())


def test_a_stuck_loop_finds_the_newest_pulses_and_every_link_that_broke() -> None:
    settings = ControlSettings(pulse_interval=0.02, max_pulses_per_peer=4)

    async def main() -> None:
        async with Rig("a", settings=settings) as a, Rig("b", settings=settings) as b:
            c = Rig("c", settings=settings)
            await c.lane.start()
            a.lane.subscribe(b.pub_endpoint)
            await a.link(c.endpoint)
            await a.heard(Pulse)
            stopping = asyncio.create_task(c.lane.stop())
            await asyncio.sleep(0)  # it has told its thread, and waits
            since = len(a.events)
            stay_busy(1.0)
            await a.heard(LinkDown, endpoint=c.endpoint)
            await stopping
            assert a.of(LinkDown, since)
            assert a.lane.stats().events_dropped > 10
            missed = [pulse.seq for pulse in a.of(Pulse, since)][:4]
            assert missed == list(range(missed[0], missed[0] + 4))

    asyncio.run(main())


def test_a_port_where_nobody_listens_is_refused_again_and_again() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            async with Rig("b") as b:
                nobody = b.endpoint
            a.lane.connect(nobody)
            await a.until(lambda: len(a.of(DialRefused, endpoint=nobody)) >= 3)
            assert a.of(LinkUp) == a.of(LinkDown) == []
            a.lane.disconnect(nobody)
            await a.until(lambda: a.lane.stats().links == 0)

    asyncio.run(main())


def test_an_address_without_a_route_is_no_evidence_and_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            no_name = "x" * 70
            for host in ("255.255.255.255", "[::2]", no_name):
                a.lane.connect(f"tcp://{host}:1")
            await a.link(b.endpoint)
            await a.until(lambda: a.lane.stats().pulses_sent >= 5)
            assert a.lane.stats().links == 4
            assert a.of(DialRefused) == []

    with caplog.at_level(logging.DEBUG, "noex"):
        asyncio.run(main())
    assert caplog.records == []


def test_a_peer_that_restarts_on_its_port_within_100_ms_is_linked_again() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            async with Rig("b") as b:
                await a.link(b.endpoint)
                ports = {"port": b.lane.port, "pub_port": b.lane.pub_port}
            async with Rig("b", incarnation=2, **ports) as again:
                assert again.endpoint == b.endpoint
                await a.until(lambda: a.of(LinkDown) and a.is_linked(b.endpoint))
                a.lane.send(b.endpoint, b"hello again")
                await again.heard(Received, data=b"hello again")
            assert len(a.of(LinkUp)) == 2

    asyncio.run(main())


def test_what_a_peer_said_last_comes_before_its_link_down() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            async with Rig("b") as b:
                await a.link(b.endpoint)
                a.lane.send(b.endpoint, b"hello")
                origin = (await b.heard(Received)).origin
                for number in range(300):
                    b.lane.answer(origin, b"%d" % number)
            await a.heard(LinkDown)
            told = a.events[: a.events.index(a.of(LinkDown)[0])]
            assert [e.data for e in told if isinstance(e, Received)] == [
                b"%d" % number for number in range(300)
            ]

    asyncio.run(main())


def test_a_disconnect_with_a_connect_behind_it_makes_a_new_link() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            await a.link(b.endpoint)
            a.lane.send(b.endpoint, b"1")
            since = len(a.events)
            a.lane.disconnect(b.endpoint)
            a.lane.connect(b.endpoint)
            await a.heard(LinkUp, since, endpoint=b.endpoint)
            a.lane.send(b.endpoint, b"2")
            await b.heard(Received, data=b"2")
            first, second = b.of(Received)
            assert first.origin != second.origin  # a routing id is never used twice

    asyncio.run(main())


def test_names_of_hosts_will_do_as_endpoints() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            named = b.endpoint.replace("127.0.0.1", "localhost")
            a.lane.subscribe(b.pub_endpoint.replace("127.0.0.1", "localhost"))
            await a.link(named)
            await a.heard(Pulse)
            a.lane.send(named, b"by name")
            await b.heard(Received, data=b"by name")

    asyncio.run(main())


def test_a_lane_can_be_bound_to_a_name() -> None:
    async def main() -> None:
        lane = ControlLane(
            node_id="n@localhost:0", incarnation=1, host="localhost", on_event=lambda event: None
        )
        await lane.start()
        try:
            async with Rig("a") as a:
                await a.link(f"tcp://localhost:{lane.port}")
        finally:
            await lane.stop()

    asyncio.run(main())


def test_an_event_handler_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            hear, failed = b.lane._on_event, []

            def fail_once(event: object) -> None:
                if isinstance(event, Received) and not failed:
                    failed.append(event)
                    raise RuntimeError("a handler of the test")
                hear(event)  # type: ignore[arg-type]

            b.lane._on_event = fail_once
            await a.link(b.endpoint)
            a.lane.send(b.endpoint, b"1")
            a.lane.send(b.endpoint, b"2")
            await b.heard(Received, data=b"2")

    with caplog.at_level(logging.ERROR, "noex"):
        asyncio.run(main())
    assert len(caplog.records) == 1
    assert "control_event_failed" in caplog.text


def test_an_endpoint_of_another_form_is_refused_at_once() -> None:
    lane = ControlLane(node_id="n@h:1", incarnation=1, host="127.0.0.1", on_event=print)
    for method in (lane.connect, lane.subscribe):
        with pytest.raises(ValueError, match="tcp://host:port"):
            method("ipc:///tmp/socket")
