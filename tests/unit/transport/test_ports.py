"""Ports that are chosen before they are used."""

from __future__ import annotations

import socket

import pytest

from noex.transport import ports


def test_the_ports_are_different_free_and_outside_of_the_range_of_the_system() -> None:
    chosen = ports.choose_ports(20)
    assert len(set(chosen)) == 20
    assert all(ports.LOWEST <= port <= ports.HIGHEST for port in chosen)
    for port in chosen:
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


def test_a_port_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.choose_ports(2)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        tries = iter([taken, taken, free])
        monkeypatch.setattr(ports.random, "randint", lambda *_: next(tries))
        assert ports.choose_ports(1) == [free]


def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = ports.choose_ports(1)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        monkeypatch.setattr(ports.random, "randint", lambda *_: taken)
        with pytest.raises(OSError, match="no free port"):
            ports.choose_ports(1)
