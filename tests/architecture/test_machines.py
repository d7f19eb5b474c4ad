"""Machines decide, and are handed everything they decide from: time, chance, ids."""

from __future__ import annotations

from house import impurities, the_house


def test_machines_reach_no_clock_no_chance_and_no_socket() -> None:
    assert impurities(the_house()) == []
