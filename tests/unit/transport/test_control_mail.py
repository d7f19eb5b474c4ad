"""What the loop and the control thread leave for each other is bounded on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from noex.transport.control_events import ControlEvent, ControlSettings, LinkUp, Received
from noex.transport.control_mail import ControlMail, Outgoing

SETTINGS = ControlSettings(max_commands=5, max_command_bytes=100)


class FakeLoop:
    """Runs what it was given when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], Any]] = []
        self.closed = False

    def call_soon(self, callback: Callable[[], Any]) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.waiting.append(callback)

    call_soon_threadsafe = call_soon

    def is_closed(self) -> bool:
        return self.closed

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def read() -> list[ControlEvent]:
    return []


@pytest.fixture
def mail(loop: FakeLoop, read: list[ControlEvent]) -> Iterator[ControlMail]:
    mail = ControlMail(loop, SETTINGS, read.append)  # type: ignore[arg-type]
    yield mail
    mail.close()


def frame(size: int) -> Outgoing:
    return Outgoing("tcp://h:1", None, bytes(size))


def test_frames_beyond_the_count_are_dropped_and_counted(mail: ControlMail) -> None:
    assert [mail.put(frame(1)) for _ in range(7)] == [True] * 5 + [False] * 2
    assert mail.commands_dropped == 2
    assert len(mail.take_outgoing()) == 5
    assert mail.put(frame(1))


def test_frames_beyond_the_size_are_dropped(mail: ControlMail) -> None:
    assert [mail.put(frame(size)) for size in (60, 60, 40, 1)] == [True, False, True, False]
    assert [len(out.frame) for out in mail.take_outgoing()] == [60, 40]
    assert mail.put(frame(100))


def test_many_wake_ups_are_one_until_they_are_noticed(mail: ControlMail) -> None:
    for _ in range(100_000):
        mail.wake()
    assert mail.wake_reader.recv(64) == b"\0"
    with pytest.raises(BlockingIOError):
        mail.wake_reader.recv(64)


def test_a_wake_up_after_a_look_wakes_again(mail: ControlMail) -> None:
    for _ in range(3):
        mail.put(frame(1))
        assert len(mail.take_outgoing()) == 1
    mail.wake()
    assert mail.wake_reader.recv(64) == b"\0"


def test_many_events_are_one_call_of_the_loop(mail, loop, read) -> None:
    events = [LinkUp(f"tcp://h:{n}", float(n)) for n in range(100)]
    for event in events:
        mail.post(event)
    assert len(loop.waiting) == 1
    loop.turn()
    assert read == events
    assert loop.waiting == []


def test_a_long_backlog_is_read_in_slices_and_later_events_come_after(mail, loop, read) -> None:
    events = [Received(b"%d" % n, None, b"", float(n)) for n in range(1000)]
    for event in events:
        mail.post(event)
    late = LinkUp("tcp://h:1", 1.0)
    loop.turn()
    assert 0 < len(read) < 1000
    mail.post(late)
    for _ in range(20):
        loop.turn()
    assert read == [*events, late]
    assert loop.waiting == []


def test_a_silenced_mail_delivers_and_takes_nothing_more(mail, loop, read) -> None:
    for _ in range(1000):
        mail.post(Received(b"o", None, b"", 0.0))
    loop.turn()
    told = len(read)
    mail.silence()
    mail.post(LinkUp("tcp://h:1", 0.0))
    assert not mail.put(frame(1))
    loop.turn()
    loop.turn()
    assert len(read) == told
    assert mail.events_waiting == 0


def test_the_lag_is_what_the_mark_has_waited(mail, loop) -> None:
    assert mail.loop_lag(100.0) == 0.0
    assert mail.loop_lag(103.5) == 3.5
    assert len(loop.waiting) == 1  # one mark, however often the lag is asked for


def test_a_closed_loop_is_noticed_by_a_new_mark_and_by_an_old_one(mail, loop) -> None:
    mail.loop_lag(1.0)
    loop.closed = True
    assert not mail.orphaned
    mail.loop_lag(2.0)
    assert mail.orphaned


def test_a_closed_loop_is_noticed_by_an_event(mail, loop) -> None:
    loop.closed = True
    mail.post(LinkUp("tcp://h:1", 0.0))
    assert mail.orphaned
