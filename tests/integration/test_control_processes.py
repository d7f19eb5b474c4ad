"""The control lane against processes that are killed, stopped, stuck or busy."""

from __future__ import annotations

import asyncio
import signal

from control_rig import FAST, Peer, Rig, a_peer, hold_gil, longest_gap

from noex.transport.control import DialRefused, LinkDown, LinkUp, Pong, Pulse


async def watch(rig: Rig, peer: Peer) -> None:
    """Link to the peer, and read its pulses."""
    rig.lane.subscribe(peer.pub_endpoint)
    await rig.link(peer.endpoint)
    await rig.heard(Pulse)


async def let_pulses_pass(rig: Rig, count: int) -> None:
    """A while, as the peer's thread counts it."""
    since = len(rig.events)
    await rig.until(lambda: len(rig.of(Pulse, since)) >= count, f"{count} pulses")


def test_a_killed_peer_is_down_and_refused_at_once() -> None:
    async def main() -> None:
        with a_peer() as peer:
            async with Rig() as rig:
                await watch(rig, peer)
                peer.signal(signal.SIGKILL)
                peer.process.wait(10)
                down = await rig.heard(LinkDown, endpoint=peer.endpoint)
                refused = await rig.heard(DialRefused, endpoint=peer.endpoint)
                # No heartbeat was waited for: the kernel told.
                assert refused.at - down.at < FAST.heartbeat_timeout

    asyncio.run(main())


def test_a_stopped_peer_is_down_after_the_heartbeat_timeout_and_never_refused() -> None:
    async def main() -> None:
        with a_peer() as peer:
            async with Rig() as rig:
                await watch(rig, peer)
                last = rig.of(Pulse)[-1].at
                peer.signal(signal.SIGSTOP)
                down = await rig.heard(LinkDown, endpoint=peer.endpoint)
                assert down.at - last > FAST.heartbeat_timeout / 2
                since = len(rig.events)
                await rig.until(lambda: rig.lane.stats().pulses_sent > 20)
                assert rig.of(DialRefused) == []
                peer.signal(signal.SIGCONT)
                await rig.heard(LinkUp, since, endpoint=peer.endpoint)
                await rig.heard(Pulse, since)

    asyncio.run(main())


def test_a_peer_that_holds_the_gil_stays_linked() -> None:
    async def main() -> None:
        with a_peer() as peer:
            async with Rig() as rig:
                await watch(rig, peer)
                await let_pulses_pass(rig, 2)
                peer.tell("hold")
                await rig.until(lambda: longest_gap(rig.of(Pulse)) > 2 * FAST.heartbeat_timeout)
                await let_pulses_pass(rig, 3)
                # The gap shows that its Python was stuck for longer than a stopped peer is given.
                assert rig.of(LinkDown) == []
                assert max(pulse.loop_lag for pulse in rig.of(Pulse)) > FAST.heartbeat_timeout

    asyncio.run(main())


def test_a_node_that_held_the_gil_has_lost_no_link() -> None:
    async def main() -> None:
        with a_peer() as peer:
            async with Rig() as rig:
                await watch(rig, peer)
                hold_gil(2.5 * FAST.heartbeat_timeout)
                await let_pulses_pass(rig, 5)
                assert longest_gap(rig.of(Pulse)) > FAST.heartbeat_timeout
                assert rig.of(LinkDown) == []

    asyncio.run(main())


def test_a_peer_with_a_busy_loop_keeps_its_pulse_and_answers_pings() -> None:
    async def main() -> None:
        with a_peer() as peer:
            async with Rig() as rig:
                await watch(rig, peer)
                since = len(rig.events)
                peer.tell("busy")
                late = await rig.until(
                    lambda: [p for p in rig.of(Pulse, since) if p.loop_lag > 0.5]
                )
                rig.lane.ping(peer.endpoint, token=42)
                pong = await rig.heard(Pong, endpoint=peer.endpoint, token=42)
                assert pong.loop_lag > late[0].loop_lag
                await rig.until(lambda: rig.of(Pulse)[-1].loop_lag < 0.2, "the loop came back")
                assert max(pulse.loop_lag for pulse in rig.of(Pulse)) > 1.0
                assert longest_gap(rig.of(Pulse, since)) < 1.5  # it was busy for 2.5 s
                assert rig.of(LinkDown) == []

    asyncio.run(main())


def test_a_peer_that_is_back_on_its_port_is_linked_again() -> None:
    async def main() -> None:
        async with Rig() as rig:
            with a_peer() as peer:
                await watch(rig, peer)
            await rig.heard(LinkDown, endpoint=peer.endpoint)
            since = len(rig.events)
            with a_peer(peer.port, peer.pub_port) as again:
                assert again.endpoint == peer.endpoint
                await rig.heard(LinkUp, since, endpoint=peer.endpoint)
                await rig.heard(Pulse, since)  # the SUB has reconnected by itself

    asyncio.run(main())
