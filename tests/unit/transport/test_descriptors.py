"""The budget of file descriptors: what is decided, and what is done about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Container
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.runtime.log import get_logger
from noex.testing import capture_events
from noex.transport import descriptors
from noex.transport.descriptors import (
    OF_NODE,
    PER_PEER,
    SPARE,
    UNLIMITED,
    Limits,
    count_open,
    needed_for,
    plan,
    prepare,
)

COUNTS = st.integers(0, 5000)


def test_enough_is_left_as_it_is() -> None:
    decided = plan(20, 10, Limits(1024, 4096))
    assert (decided.soft, decided.is_raise, decided.suffices) == (1024, False, True)


def test_the_soft_limit_is_raised_as_far_as_needed_and_no_further() -> None:
    decided = plan(100, 10, Limits(256, 1 << 20))
    assert decided.soft == decided.needed == 10 + OF_NODE + SPARE + 100 * PER_PEER
    assert decided.is_raise and decided.suffices


def test_a_hard_limit_that_does_not_suffice_is_reached_and_told() -> None:
    decided = plan(100, 10, Limits(256, 512))
    assert (decided.soft, decided.is_raise, decided.suffices) == (512, True, False)
    assert not decided.is_hopeless


def test_a_limit_without_room_for_one_peer_is_hopeless() -> None:
    assert plan(1, 40, Limits(64, 64)).is_hopeless
    assert not plan(100, 40, Limits(128, 128)).is_hopeless


@given(peers=COUNTS, in_use=COUNTS, soft=COUNTS, more=st.one_of(COUNTS, st.just(UNLIMITED)))
def test_no_limit_is_ever_lowered_or_raised_without_need(
    peers: int, in_use: int, soft: int, more: int
) -> None:
    limits = Limits(soft, soft + more)
    decided = plan(peers, in_use, limits)
    assert soft <= decided.soft <= max(soft, min(limits.hard, decided.needed))
    assert decided.is_raise == (decided.soft > soft)
    assert decided.suffices == (needed_for(peers, in_use) <= decided.soft)


def test_open_descriptors_are_counted() -> None:
    before = count_open()
    if before == 0:
        pytest.skip("this platform does not show them")
    pipe = os.pipe()
    try:
        assert count_open() == before + 2
    finally:
        for one in pipe:
            os.close(one)


def test_a_platform_without_such_a_limit_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "resource", None)
    assert prepare(10_000, get_logger()) is None


def test_a_system_that_refuses_to_raise_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

        def getrlimit(self, _which: int) -> tuple[int, int]:
            return 256, -1

        def setrlimit(self, _which: int, _limits: tuple[int, int]) -> None:
            raise ValueError("not allowed")

    monkeypatch.setattr(descriptors, "resource", Refusing())
    with capture_events() as events:
        decided = prepare(1000, get_logger())
    assert decided is not None and (decided.soft, decided.suffices) == (256, False)
    (short,) = events.named("descriptors_short")
    assert short["limit"] == 256 and short["needed"] > 10_000
    assert "LimitNOFILE" in short["advice"] and "ulimit" in short["advice"]


STARTER = """
import asyncio, json, logging, resource, sys
soft, hard, peers = map(int, sys.argv[1:])
from noex import Node
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
told = []
class Keep(logging.Handler):
    def emit(self, record):
        told.append(record.noex["event"])
logging.getLogger("noex").addHandler(Keep())
logging.getLogger("noex").setLevel("INFO")
async def main():
    async with Node("a@127.0.0.1:0", expected_peers=peers):
        return resource.getrlimit(resource.RLIMIT_NOFILE)
try:
    found = asyncio.run(main())
except OSError as error:
    found = type(error).__name__
print(json.dumps([found, [name for name in told if name.startswith("descriptors")]]))
"""


def start(soft: int, hard: int, peers: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", STARTER, *map(str, (soft, hard, peers))],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(descriptors.resource is None, reason="no such limit on this platform")
@pytest.mark.parametrize(
    ("before", "hard", "after", "told"),
    [
        (128, 4096, range(1000, 1300), ["descriptors_raised"]),
        (128, 512, (512,), ["descriptors_raised", "descriptors_short"]),
        (24, 24, None, []),
    ],
)
def test_a_starting_node_raises_the_limit_warns_or_refuses(
    before: int, hard: int, after: Container[int] | None, told: list[str]
) -> None:
    found, said = start(before, hard, 100)
    assert said == told
    if after is None:
        assert found == "TooFewDescriptorsError"
    else:
        assert found[0] in after and found[1] == hard
