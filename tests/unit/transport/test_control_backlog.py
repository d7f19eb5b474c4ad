"""What waits for a loop that does not read: bounded, and never without the last LinkDown."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from noex.transport.control_backlog import Backlog
from noex.transport.control_events import (
    ControlEvent,
    ControlSettings,
    DialRefused,
    LinkDown,
    LinkUp,
    Pong,
    Pulse,
    Received,
)

SETTINGS = ControlSettings(
    max_pulses_per_peer=3, max_pulses=10, max_received=5, max_received_bytes=100
)


def pulse(peer: int, seq: int) -> Pulse:
    return Pulse(f"n{peer}@h:1", 1, seq, 0.0, {}, float(seq))


def received(size: int = 1) -> Received:
    return Received(b"o", None, b"x" * size, 0.0)


def filled(*events: ControlEvent) -> Backlog:
    backlog = Backlog(SETTINGS)
    for event in events:
        backlog.add(event)
    return backlog


def test_events_come_out_once_in_order() -> None:
    events = [pulse(1, 1), LinkUp("e", 1.0), received(), LinkDown("e", 2.0), pulse(2, 1)]
    backlog = filled(*events)
    assert backlog.take() == events
    assert backlog.take() == []
    assert backlog.dropped == 0


def test_the_oldest_pulses_of_a_peer_give_way() -> None:
    backlog = filled(pulse(2, 1), *(pulse(1, seq) for seq in range(6)))
    assert backlog.take() == [pulse(2, 1), pulse(1, 3), pulse(1, 4), pulse(1, 5)]
    assert backlog.dropped == 3


def test_invented_names_push_out_the_oldest_pulses_of_all() -> None:
    backlog = filled(*(pulse(peer, 1) for peer in range(25)))
    assert backlog.take() == [pulse(peer, 1) for peer in range(15, 25)]


def test_a_stranger_who_never_stops_talking_keeps_nobody_else_out() -> None:
    settings = ControlSettings(max_received=10, max_received_per_origin=3)
    backlog = Backlog(settings)
    for _ in range(50):
        backlog.add(Received(b"stranger", None, b"x", 0.0))
    honest = [Received(b"peer", None, b"y", 1.0), Received(None, "tcp://h:1", b"z", 1.0)]
    for event in honest:
        backlog.add(event)
    assert backlog.take() == [Received(b"stranger", None, b"x", 0.0)] * 3 + honest
    assert backlog.dropped == 47
    backlog.add(Received(b"stranger", None, b"x", 2.0))  # what was read has made room
    assert len(backlog.take()) == 1


def test_another_life_of_a_node_is_another_peer() -> None:
    lives = [Pulse("n@h:1", life, 1, 0.0, {}, 0.0) for life in range(5)]
    assert filled(*lives).take() == lives


def test_messages_beyond_the_count_are_refused() -> None:
    backlog = filled(*(received() for _ in range(9)))
    assert len(backlog.take()) == 5
    assert backlog.dropped == 4


def test_messages_beyond_the_size_are_refused_and_smaller_ones_are_not() -> None:
    backlog = filled(received(90), received(20), received(10))
    assert [len(event.data) for event in backlog.take()] == [90, 10]


def test_pongs_are_counted_among_the_messages() -> None:
    backlog = filled(*(Pong("e", n, "n@h:1", 1, 0.0, 0.0) for n in range(9)))
    assert len(backlog) == 5


def test_reading_makes_room() -> None:
    backlog = filled(*(received(20) for _ in range(5)), *(pulse(1, seq) for seq in range(3)))
    backlog.take()
    for event in (received(100), pulse(1, 9), LinkUp("e", 0.0)):
        backlog.add(event)
    assert len(backlog.take()) == 3
    assert backlog.dropped == 0


def test_a_flapping_link_leaves_its_last_down() -> None:
    backlog = Backlog(SETTINGS)
    for at in range(1000):
        backlog.add(LinkDown("e", float(at)))
        backlog.add(DialRefused("e", at + 0.1))
        backlog.add(LinkUp("e", at + 0.2))
    assert backlog.take() == [
        LinkDown("e", 999.0),
        DialRefused("e", 999.1),
        LinkUp("e", 999.2),
    ]


def test_a_down_is_never_merged_with_the_up_that_the_loop_has_not_seen() -> None:
    events = [LinkUp("e", 1.0), LinkDown("e", 2.0), LinkUp("e", 3.0)]
    assert filled(*events).take() == events
    assert filled(*events, LinkDown("e", 4.0)).take() == [LinkUp("e", 1.0), LinkDown("e", 4.0)]


def test_only_the_last_refusal_waits() -> None:
    backlog = filled(*(DialRefused("e", float(at)) for at in range(9)), DialRefused("f", 0.0))
    assert backlog.take() == [DialRefused("e", 8.0), DialRefused("f", 0.0)]


kinds = st.sampled_from(["flip", "refused", "pulse", "received", "take"])


@settings(deadline=None)
@given(st.lists(st.tuples(kinds, st.integers(0, 1)), max_size=200), st.booleans())
def test_any_history_reads_as_ups_and_downs_in_turn(history, starts_up: bool) -> None:
    backlog, read = Backlog(SETTINGS), []
    up = dict.fromkeys("01", starts_up)
    for at, (kind, number) in enumerate(history):
        endpoint = str(number)
        if kind == "flip":
            event = LinkDown(endpoint, at) if up[endpoint] else LinkUp(endpoint, at)
            up[endpoint] = not up[endpoint]
            backlog.add(event)
        elif kind == "take":
            read += backlog.take()
        else:
            makers = {"refused": DialRefused(endpoint, at), "pulse": pulse(number, at)}
            backlog.add(makers.get(kind, received()))
        assert len(backlog) <= 2 * 4 + SETTINGS.max_pulses + SETTINGS.max_received
    read += backlog.take()
    for endpoint in "01":
        states = [starts_up]
        for event in read:
            if isinstance(event, LinkUp | LinkDown) and event.endpoint == endpoint:
                assert isinstance(event, LinkUp) != states[-1]
                states.append(isinstance(event, LinkUp))
        assert states[-1] == up[endpoint]
    assert [event.at for event in read if not isinstance(event, Received)] == sorted(
        event.at for event in read if not isinstance(event, Received)
    )
