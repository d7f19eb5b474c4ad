"""Machines decide, and are handed everything they decide from: time, chance, ids."""

from __future__ import annotations

from house import MACHINES, impurities, machines, the_house


def test_machines_reach_no_clock_no_chance_and_no_socket() -> None:
    assert impurities(the_house()) == []


def test_every_floor_that_decides_has_machines() -> None:
    # A pattern of MACHINES that matches nothing any more would let a machine go unjudged.
    floors = {module.floor for module in machines(the_house())}
    assert floors >= {pattern.split("/")[0] for pattern in MACHINES}
