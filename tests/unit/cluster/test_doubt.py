"""Doubt: which answers confirm a life that stood still, and which may be from before."""

from __future__ import annotations

from typing import Any

import pytest

from noex.cluster.doubt import Doubt
from noex.cluster.events import Ask
from noex.cluster.messages import Ack, Envelope
from noex.cluster.outbox import Outbox
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member, View, found, successor

ME, PEER = (Member(f"{n}@127.0.0.1:{p}", 7, control_endpoint=n) for n, p in (("me", 1), ("it", 2)))
VIEW = successor(found(ME, 1000), joins=[PEER])
SETTINGS = ClusterSettings()


class Life:
    """A doubt, and what it says."""

    def __init__(self, view: View = VIEW) -> None:
        self.out = Outbox(ME.uid, "noex")
        self.out.stand(view)
        self.greeted: list[str] = []
        self.welcomed: list[Any] = []
        self.doubt = Doubt(ME.uid, self.out, SETTINGS, self.greeted.append, self.welcomed.append)

    def stall(self, now: float = 100.0) -> int:
        """Returns the token that was sent."""
        self.doubt.begin(3.0, VIEW, now)
        (ask,) = (effect for effect in self.out.take() if isinstance(effect, Ask))
        assert ask.endpoint == "it"
        return ask.token

    def welcome(self, address: str = "it", *, view: View = VIEW) -> None:
        standing = (view.lineage, view.epoch, view.digest())
        self.doubt.welcomed(address, Envelope("noex", PEER.uid, *standing, Ack()), VIEW)


@pytest.fixture
def life() -> Life:
    return Life()


def test_an_answer_behind_the_echo_of_the_token_confirms(life: Life) -> None:
    life.doubt.answered("it", life.stall())
    assert life.greeted == ["it", "it"]  # at once, and again: the first answer may be an old one
    life.welcome()
    assert not life.doubt


def test_an_answer_that_waited_since_before_the_stall_does_not_confirm(life: Life) -> None:
    """Found by a storm: stopped again while its first greeting was answered."""
    old = life.stall(100.0)
    life.doubt.answered("it", old)
    new = life.stall(105.0)
    assert new != old
    life.welcome()
    life.doubt.answered("it", old)
    life.doubt.answered("it", 0)
    life.welcome()
    assert life.doubt
    life.doubt.answered("it", new)
    life.welcome()
    assert not life.doubt


def test_an_answer_from_elsewhere_or_of_another_view_does_not_confirm(life: Life) -> None:
    life.doubt.answered("it", life.stall())
    life.welcome("another connection")
    life.welcome(view=successor(VIEW, removals={ME.uid: "heartbeat_timeout"}))
    assert life.doubt


def test_greetings_of_members_wait_until_it_is_over_or_for_the_grace(life: Life) -> None:
    token = life.stall(100.0)
    assert life.doubt.defers(PEER.uid, b"origin", VIEW, 100.1)
    assert not life.doubt.defers(("stranger@127.0.0.1:3", 1), b"other", VIEW, 100.1)
    assert life.welcomed == []
    life.doubt.look(VIEW, 100.0 + SETTINGS.stall_grace)
    assert life.welcomed == [b"origin"]
    assert not life.doubt.defers(PEER.uid, b"origin", VIEW, 100.1 + SETTINGS.stall_grace)
    life.doubt.answered("it", token)
    life.welcome()
    assert not life.doubt.defers(PEER.uid, b"origin", VIEW, 110.0)
