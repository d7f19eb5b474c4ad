"""Waiting for many sources: each is drained in turn, and none can hurt the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from noex.transport.control_hub import Hub


class Source:
    """One end of a pair, and how often it was drained."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.drained = 0
        self.more = False
        self.error: Exception | None = None
        hub.watch(self.reader.fileno(), self.drain)

    def drain(self) -> bool:
        self.drained += 1
        if self.error is not None:
            raise self.error
        try:
            self.reader.recv(1000)
        except BlockingIOError:
            pass
        return self.more

    def close(self) -> None:
        if self.reader.fileno() >= 0:
            self.hub.unwatch(self.reader.fileno())
        self.reader.close()
        self.writer.close()


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def hub(errors: list[Exception]) -> Iterator[Hub]:
    hub = Hub(errors.append)
    yield hub
    hub.close()


@pytest.fixture
def sources(hub: Hub) -> Iterator[list[Source]]:
    sources = [Source(hub) for _ in range(3)]
    yield sources
    for source in sources:
        source.close()


def counts(sources: list[Source]) -> list[int]:
    return [source.drained for source in sources]


def test_a_new_source_is_drained_once_then_when_it_is_readable(hub, sources) -> None:
    hub.turn(0)
    assert counts(sources) == [1, 1, 1]
    sources[1].writer.send(b"x")
    hub.turn(10)
    assert counts(sources) == [1, 2, 1]
    hub.turn(0)
    assert counts(sources) == [1, 2, 1]


def test_a_source_with_more_is_drained_again_without_waiting(hub, sources) -> None:
    hub.turn(0)
    sources[0].more = True
    sources[0].writer.send(b"x")
    for _ in range(3):
        hub.turn(60)  # would wait for a minute
    sources[0].more = False
    hub.turn(60)
    assert counts(sources) == [5, 1, 1]


def test_a_busy_source_starves_nobody(hub, sources) -> None:
    hub.turn(0)
    sources[0].more = True
    hub.mark(sources[0].drain)
    sources[2].writer.send(b"x")
    hub.turn(10)
    assert counts(sources) == [2, 1, 2]


def test_a_marked_source_is_drained_though_nothing_came(hub, sources) -> None:
    hub.turn(0)
    hub.mark(sources[1].drain)
    hub.turn(60)
    hub.mark_all()
    hub.turn(60)
    assert counts(sources) == [2, 3, 2]


def test_a_drain_that_raises_is_told_and_hurts_no_other(hub, sources, errors) -> None:
    sources[0].error = RuntimeError("a drain of the test")
    hub.turn(0)
    assert counts(sources) == [1, 1, 1]
    assert errors == [sources[0].error]


def test_a_source_that_another_drain_closed_is_not_drained(hub, sources) -> None:
    hub.turn(0)
    first, second, _ = sources

    def drain_and_close() -> bool:
        first.close()
        second.close()
        return True

    extra_reader, extra_writer = socket.socketpair()
    hub.watch(extra_reader.fileno(), drain_and_close)
    hub.mark(second.drain)
    hub.turn(0)
    hub.turn(0)
    assert second.drained == 1
    hub.unwatch(extra_reader.fileno())
    extra_reader.close()
    extra_writer.close()


def test_a_writable_source_waits_for_its_turn(hub) -> None:
    reader, writer = socket.socketpair()
    drained = []
    hub.watch(writer.fileno(), lambda: bool(drained.append(1)), writable=True)
    hub.mark_all()
    assert drained == []
    hub.turn(10)
    assert drained == [1]
    hub.unwatch(writer.fileno())
    reader.close()
    writer.close()
