"""Where a dial goes: to the socket file, to an address, or to a name that has to be looked up."""

from __future__ import annotations

import threading
import time

from noex.transport.control_names import Names
from noex.transport.ipc import IpcFolder
from noex.transport.route import RETRY_AFTER, Route

A = "a@127.0.0.1:4369"
TCP = "tcp://127.0.0.1:5000"
LIMIT = 10.0


class Folder(IpcFolder):
    """A directory in which the test says who listens."""

    def __init__(self) -> None:
        super().__init__("/run/nowhere")
        self.there: str | None = None

    def find(self, node_id: str) -> str | None:
        return self.there


class Desk:
    """A route, the time, and what the resolver says."""

    def __init__(self, endpoint: str = TCP, folder: Folder | None = None) -> None:
        self.now = 100.0
        self.hosts: dict[str, str] = {}
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.names = Names(self.resolve, lambda: self.now)
        self.route = Route(A, endpoint, names=self.names, folder=folder, clock=lambda: self.now)

    def resolve(self, host: str) -> str | None:
        self.asked.append(host)
        self.may_answer.wait(LIMIT)
        return self.hosts.get(host)

    def known(self) -> str:
        """What the route says as soon as it says something."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            self.now += RETRY_AFTER  # so that it is no second dial in a row
            found = self.route()
            if found is not None:
                return found
            time.sleep(0.001)  # sleep: the lookup is in a thread of its own
        raise AssertionError("nothing is known")


def test_an_address_is_dialled_as_it_is() -> None:
    for endpoint in (TCP, "tcp://[::1]:5", "tcp://[fe80::1%eth0]:5", "tcp://nonsense"):
        desk = Desk(endpoint)
        assert [desk.route(), desk.route()] == [endpoint, endpoint]
        assert desk.asked == []


def test_a_dial_soon_after_one_to_the_socket_goes_over_tcp() -> None:
    folder = Folder()
    desk = Desk(folder=folder)
    assert desk.route() == TCP
    folder.there = local = "ipc:///run/nowhere/a"
    assert desk.route() == local
    desk.now += RETRY_AFTER / 2
    assert [desk.route(), desk.route()] == [TCP, local]
    desk.now += RETRY_AFTER
    assert [desk.route(), desk.route()] == [local, TCP]


def test_a_name_is_looked_up_in_time_for_the_first_dial_and_never_waited_for() -> None:
    desk = Desk("tcp://db.example.org:7")
    desk.hosts["db.example.org"] = "10.0.0.7"
    assert desk.route() is None
    assert desk.asked == ["db.example.org"]  # when the route was made
    desk.may_answer.set()
    assert desk.known() == "tcp://10.0.0.7:7"
    assert desk.asked == ["db.example.org"]


def test_a_name_with_an_ipv6_address_gets_its_brackets() -> None:
    desk = Desk("tcp://db:7")
    desk.hosts["db"] = "fd00::7"
    desk.may_answer.set()
    assert desk.known() == "tcp://[fd00::7]:7"


def test_a_name_that_is_dialled_in_vain_is_looked_up_again() -> None:
    desk = Desk("tcp://db:7")
    desk.hosts["db"] = "10.0.0.7"
    desk.may_answer.set()
    assert desk.known() == "tcp://10.0.0.7:7"
    desk.hosts["db"] = "10.0.0.8"
    assert desk.route() == "tcp://10.0.0.7:7"  # at most once a second
    assert desk.known() == "tcp://10.0.0.8:7"


def test_a_name_that_nobody_knows_is_asked_for_again() -> None:
    desk = Desk("tcp://new:7")
    desk.may_answer.set()
    assert desk.route() is None
    desk.hosts["new"] = "10.0.0.9"
    assert desk.known() == "tcp://10.0.0.9:7"
