"""The control lane leaves nothing behind: no thread, no file, no port."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import zmq
from control_rig import FAST, Rig, lane_threads, open_files

from noex.runtime.errors import NodeStoppedError, PortInUseError
from noex.transport.control import ControlLane, LinkDown, LinkUp, Received

HOST = "127.0.0.1"
WORDS = FAST.max_received_per_origin  # more than these may wait for a busy loop in vain


@contextmanager
def nothing_left() -> Iterator[None]:
    """No more threads and open files afterwards than before."""
    files, threads = open_files(), threading.active_count()
    yield
    assert lane_threads() == []
    assert threading.active_count() <= threads
    assert open_files() == files


async def after_a_first_loop_turn() -> None:
    """The loop opens its own wake-up on first use; count from here."""
    async with Rig("warm"):
        pass


def test_stop_leaves_no_thread_and_no_file() -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        with nothing_left():
            async with Rig("a") as a, Rig("b") as b:
                assert len(lane_threads()) == 2
                a.lane.subscribe(b.pub_endpoint)
                await a.link(b.endpoint)
                await b.link(a.endpoint)

    asyncio.run(main())


def test_stop_during_any_stage_of_a_dial_leaves_nothing() -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        with ExitStack() as stack:
            silent = stack.enter_context(socket.create_server((HOST, 0), backlog=100))
            full = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
            for _ in range(3):  # from here on a connect to it gets no answer
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            with nothing_left():
                async with Rig("a") as a:
                    for server in (silent, full):
                        a.lane.connect(f"tcp://{HOST}:{server.getsockname()[1]}")
                    a.lane.connect(f"tcp://{HOST}:1")
                    await a.until(lambda: a.lane.stats().links == 3)
                    sent = a.lane.stats().pulses_sent
                    await a.until(lambda: a.lane.stats().pulses_sent > sent + 1)
                    assert a.of(LinkUp) == []

    asyncio.run(main())


def test_stop_right_after_connect_leaves_nothing() -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        async with Rig("b") as b:
            with nothing_left_beside(b):
                for _ in range(20):
                    async with Rig("a") as a:
                        a.lane.connect(b.endpoint)
                        a.lane.subscribe(b.pub_endpoint)

    asyncio.run(main())


@contextmanager
def nothing_left_beside(rig: Rig) -> Iterator[None]:
    """The same while one lane goes on, which may still be closing what strangers had opened."""
    threads = lane_threads()
    yield
    assert lane_threads() == threads


@pytest.mark.parametrize("taken", ["port", "pub_port"])
def test_a_port_in_use_is_named_and_nothing_is_left(taken: str) -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        with socket.create_server((HOST, 0)) as server:
            number = server.getsockname()[1]
            with nothing_left():
                rig = Rig("a", **{taken: number})
                with pytest.raises(PortInUseError, match=f"{HOST}:{number}"):
                    await rig.lane.start()
                await rig.lane.stop()

    asyncio.run(main())


def test_two_lanes_cannot_have_one_port_and_the_first_goes_on() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            with pytest.raises(PortInUseError):
                await Rig("b", port=a.lane.port).lane.start()
            async with Rig("c") as c:
                await c.link(a.endpoint)

    asyncio.run(main())


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 300])
def test_a_host_that_is_not_here_is_an_os_error(host: str) -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        lane = ControlLane(node_id="n@h:1", incarnation=1, host=host, on_event=print)
        before = lane_threads()
        with pytest.raises(OSError, match="cannot bind"):
            await lane.start()
        assert lane_threads() == before

    asyncio.run(main())


def test_a_cancelled_start_leaves_nothing() -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        cancelled = 0
        with nothing_left():
            for turns in range(12):
                rig = Rig("a")
                starting = asyncio.create_task(rig.lane.start())
                for _ in range(turns):
                    await asyncio.sleep(0)
                starting.cancel()
                try:
                    await starting
                except asyncio.CancelledError:
                    cancelled += 1
                else:
                    await rig.lane.stop()  # it was faster
        assert cancelled > 1

    asyncio.run(main())


def test_the_port_is_free_when_stop_returns() -> None:
    async def main() -> None:
        async with Rig("a") as a:
            ports = {"port": a.lane.port, "pub_port": a.lane.pub_port}
        for _ in range(10):
            async with Rig("a", **ports):
                pass

    asyncio.run(main())


def test_two_hundred_links_made_and_dropped_leak_nothing() -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await a.link(b.endpoint)
            files = open_files()
            for _ in range(200):
                a.events.clear()
                a.lane.disconnect(b.endpoint)
                a.lane.unsubscribe(b.pub_endpoint)
                a.lane.connect(b.endpoint)
                a.lane.subscribe(b.pub_endpoint)
                await a.heard(LinkUp)
            await a.until(lambda: open_files() <= files + 2, "sockets are closed behind us")
            assert len(a.lane._thread._hub._drains) == 6  # type: ignore[union-attr]

    asyncio.run(main())


def test_peers_that_come_and_go_leak_nothing() -> None:
    async def main() -> None:
        await after_a_first_loop_turn()
        quick = replace(FAST, dial_backoff_max=0.1)
        async with Rig("a", settings=quick) as a:
            async with Rig("b") as b:
                await a.link(b.endpoint)
                ports = {"port": b.lane.port, "pub_port": b.lane.pub_port}
            await a.heard(LinkDown)
            files = open_files()
            for _ in range(10):
                since = len(a.events)
                async with Rig("b", **ports):
                    await a.heard(LinkUp, since)
                await a.heard(LinkDown, since)
            await a.until(lambda: open_files() <= files + 1, "sockets are closed behind us")

    asyncio.run(main())


def test_stop_may_be_called_at_any_time_and_again() -> None:
    async def main() -> None:
        await Rig("a").lane.stop()
        rig = Rig("b")
        await rig.lane.start()
        await asyncio.gather(rig.lane.stop(), rig.lane.stop())
        await rig.lane.stop()
        with pytest.raises(NodeStoppedError):
            await rig.lane.start()

    asyncio.run(main())


def test_what_was_said_before_stop_still_arrives() -> None:
    async def main() -> None:
        async with Rig("b") as b:
            async with Rig("a") as a:
                await a.link(b.endpoint)
                for number in range(WORDS):
                    a.lane.send(b.endpoint, b"%d" % number)
            await b.until(lambda: len(b.of(Received)) == WORDS, "every last word")

    asyncio.run(main())


def test_after_stop_nothing_is_delivered_and_nothing_raises() -> None:
    async def main() -> None:
        async with Rig("a") as a, Rig("b") as b:
            a.lane.subscribe(b.pub_endpoint)
            await b.link(a.endpoint)
            stopping = asyncio.create_task(a.lane.stop())
            await asyncio.sleep(0)
            b.lane.send(a.endpoint, b"too late")
            told = len(a.events)
            await stopping
            a.lane.send(b.endpoint, b"x")
            a.lane.answer(b"o", b"x")
            a.lane.connect(b.endpoint)
            a.lane.subscribe(b.pub_endpoint)
            a.lane.set_pulse(epoch=1)
            a.lane.new_life(9)
            await b.heard(LinkDown)
            assert len(a.events) == told

    asyncio.run(main())


def test_what_is_asked_for_before_start_is_done_at_start() -> None:
    async def main() -> None:
        async with Rig("b") as b:
            a = Rig("a")
            a.lane.connect(b.endpoint)
            a.lane.set_pulse(epoch=5)
            b.lane.connect(f"tcp://{HOST}:1")
            async with a:
                await a.heard(LinkUp, endpoint=b.endpoint)

    asyncio.run(main())


def test_a_context_that_was_handed_in_stays_open() -> None:
    async def main() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            async with Rig("a", context=context) as a, Rig("b", context=context) as b:
                await a.link(b.endpoint)
            assert not context.closed
            context.socket(zmq.PAIR).close(0)
        finally:
            context.term()  # would hang if a socket were left

    asyncio.run(main())


def test_a_context_that_is_ended_elsewhere_ends_the_thread() -> None:
    async def main() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        async with Rig("a", context=context) as a, Rig("b", context=context) as b:
            await a.link(b.endpoint)
            await asyncio.wait_for(asyncio.to_thread(context.term), 10)
            await a.until(lambda: lane_threads() == [], "both threads have ended")

    asyncio.run(main())


def test_a_loop_that_was_closed_without_stop_ends_the_thread() -> None:
    async def forget() -> None:
        await Rig("a").lane.start()

    asyncio.run(forget())
    for thread in threading.enumerate():
        if thread.name.startswith("noex-control"):
            thread.join(20 * FAST.pulse_interval + 5)
    assert lane_threads() == []


FORGETFUL = """
import asyncio
from noex.transport.control import ControlLane
async def main():
    lane = ControlLane(node_id="n@h:1", incarnation=1, host="127.0.0.1", on_event=print)
    await lane.start()
    lane.connect("tcp://127.0.0.1:1")
    await asyncio.sleep(0.1)
asyncio.run(main())
"""


def test_a_program_that_forgets_stop_can_end() -> None:
    done = subprocess.run([sys.executable, "-c", FORGETFUL], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
