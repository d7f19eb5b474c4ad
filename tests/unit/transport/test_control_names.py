"""Host names are looked up beside the thread that needs them."""

from __future__ import annotations

import threading

from noex.transport.control_names import (
    KEEP_FAILED,
    KEEP_FOUND,
    MAX_LOOKUPS,
    Names,
    is_numeric,
    resolve,
)


class Resolver:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, str | None] = {}
        self.gate = threading.Event()

    def __call__(self, host: str) -> str | None:
        self.asked.append(host)
        assert self.gate.wait(10)
        return self.answers.get(host)


def settle() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("noex-lookup-"):
            thread.join(10)
            assert not thread.is_alive()


def test_addresses_need_no_lookup() -> None:
    names = Names(resolve=lambda host: None)
    assert names.find("127.0.0.1") == "127.0.0.1"
    assert names.find("::1") == "::1"
    assert is_numeric("fe80::1%eth0")
    assert not is_numeric("localhost")


def test_a_name_is_known_once_its_lookup_has_ended() -> None:
    resolver = Resolver()
    resolver.answers["db.internal"] = "10.0.0.7"
    names = Names(resolver, clock=lambda: 100.0)
    assert names.find("db.internal") is None
    assert names.find("db.internal") is None
    resolver.gate.set()
    settle()
    assert names.find("db.internal") == "10.0.0.7"
    assert resolver.asked == ["db.internal"]


def test_at_most_a_few_lookups_run_at_a_time() -> None:
    resolver = Resolver()
    names = Names(resolver)
    for number in range(20):
        assert names.find(f"h{number}") is None
    resolver.gate.set()
    settle()
    assert len(resolver.asked) == MAX_LOOKUPS


def test_answers_and_failures_are_asked_for_again_when_they_are_old() -> None:
    resolver, now = Resolver(), [100.0]
    resolver.gate.set()
    resolver.answers["known"] = "10.0.0.1"
    names = Names(resolver, clock=lambda: now[0])
    for host in ("known", "unknown"):
        names.find(host)
    settle()
    now[0] += KEEP_FAILED + 0.1
    assert names.find("known") == "10.0.0.1"
    assert names.find("unknown") is None
    settle()
    now[0] += KEEP_FOUND
    resolver.answers["known"] = "10.0.0.2"
    assert names.find("known") is None
    settle()
    assert names.find("known") == "10.0.0.2"
    assert sorted(resolver.asked) == ["known", "known", "unknown", "unknown"]


def test_an_address_that_did_not_answer_is_looked_up_again_soon() -> None:
    resolver, now = Resolver(), [100.0]
    resolver.gate.set()
    resolver.answers["moved"] = "10.0.0.1"
    names = Names(resolver, clock=lambda: now[0])
    names.find("moved")
    settle()
    names.forget("moved")
    assert names.find("moved") == "10.0.0.1"
    now[0] += KEEP_FAILED + 0.1
    assert names.find("moved") is None
    settle()
    assert resolver.asked == ["moved", "moved"]


def test_names_out_of_date_take_no_memory() -> None:
    resolver, now = Resolver(), [100.0]
    resolver.gate.set()
    names = Names(resolver, clock=lambda: now[0])
    names.find("once")
    settle()
    assert names._found
    now[0] += KEEP_FOUND + 1
    names.prune()
    assert not names._found


def test_the_system_knows_localhost_and_not_nonsense() -> None:
    assert resolve("localhost") in ("127.0.0.1", "::1")
    assert resolve("x" * 300) is None
