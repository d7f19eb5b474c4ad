"""Membership among operating system processes: killed, stopped, stuck, restarted."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from member_process import MemberProcess

from noex.transport.ports import choose_ports

pytestmark = pytest.mark.long


class Trio:
    """Three members."""

    def __init__(self) -> None:
        names = zip("abc", choose_ports(3), strict=True)
        self.ids = [f"{name}@127.0.0.1:{port}" for name, port in names]
        self.processes = {node_id: self.launch(node_id) for node_id in self.ids}

    def launch(self, node_id: str) -> MemberProcess:
        return MemberProcess(node_id, self.ids)

    def restart(self, node_id: str) -> MemberProcess:
        self.processes[node_id].close()
        self.processes[node_id] = self.launch(node_id)
        return self.processes[node_id]

    def others(self, node_id: str) -> list[MemberProcess]:
        return [p for each, p in self.processes.items() if each != node_id]


@pytest.fixture
def trio() -> Iterator[Trio]:
    trio = Trio()
    try:
        for process in trio.processes.values():
            process.wait_for_members(3)
        yield trio
    finally:
        for process in trio.processes.values():
            process.close()


def downs(process: MemberProcess) -> list[tuple[str, str]]:
    return [(e["node"], e["reason"]) for e in process.events if e["what"] == "down"]


@pytest.mark.parametrize("index", [0, 2], ids=["the first", "the last"])
def test_a_killed_process_is_down_at_all_others_at_once(trio: Trio, index: int) -> None:
    victim = trio.ids[index]
    trio.processes[victim].kill()
    for process in trio.others(victim):
        process.wait("down", node=victim, timeout=1.5)  # no heartbeat is waited for
        assert downs(process) == [(victim, "connection_closed")]


def test_a_process_that_is_killed_and_started_again_is_down_then_up(trio: Trio) -> None:
    victim = trio.ids[1]
    seen = {p.node_id: len(p.events) for p in trio.others(victim)}
    trio.restart(victim).wait_for_members(3)
    for process in trio.others(victim):
        down = process.wait("down", node=victim, after=seen[process.node_id])
        process.wait("up", node=victim, after=down)
        assert len(downs(process)) == 1


def test_a_stopped_process_is_down_and_comes_back_as_a_new_life(trio: Trio) -> None:
    victim = trio.ids[0]
    trio.processes[victim].signal(signal.SIGSTOP)
    down = {}
    for process in trio.others(victim):
        down[process.node_id] = process.wait("down", node=victim, reason="heartbeat_timeout")
    stopped = trio.processes[victim]
    stopped.signal(signal.SIGCONT)
    ended = stopped.wait("life_ended", reason="removed")
    stopped.wait_for_members(3, after=stopped.wait("new_life", after=ended))
    for process in trio.others(victim):
        process.wait("up", node=victim, after=down[process.node_id])
        assert downs(process) == [(victim, "heartbeat_timeout")]
    assert {reason for _, reason in downs(stopped)} == {"fenced"}


def test_a_process_that_is_stuck_is_busy_and_not_down(trio: Trio) -> None:
    """Two at a time: one in a handler that does not return, one in a C call that holds the GIL."""
    blocked, held, witness = trio.ids
    trio.processes[blocked].tell("block 4")
    trio.processes[held].tell("hold 4")
    for victim in (blocked, held):
        busy = trio.processes[witness].wait("busy", node=victim)
        trio.processes[witness].wait("idle", node=victim, after=busy)
        trio.processes[victim].wait("obeyed")
    assert [downs(process) for process in trio.processes.values()] == [[], [], []]
    stuck = trio.processes[held]
    stuck.tell("leave")
    stuck.wait("left", told=True)
    assert downs(stuck) == []
    for process in trio.others(held):
        process.wait("down", node=held, reason="graceful_shutdown")
