"""For whom a control message speaks; and who is turned away for its key founds nothing."""

from __future__ import annotations

from typing import Any

import pytest

from noex.cluster import messages as wire
from noex.cluster.claims import speaks_for
from noex.cluster.joining import FRESH, Joining
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Member, found

A, B, C = "a@127.0.0.1:4001", "b@127.0.0.1:4002", "c@127.0.0.1:4003"


def member(node_id: str) -> Member:
    endpoint = f"tcp://{node_id.partition('@')[2]}"
    return Member(node_id, 7, "up", endpoint, endpoint, endpoint, (), ())


def said(sender: str, body: Any) -> wire.Envelope:
    return wire.Envelope("noex", (sender, 7), None, 0, 0, body)


BODIES = {
    "hello": lambda name: wire.Hello("member", member(name)),
    "welcome": lambda name: wire.Welcome("member", member(name)),
    "join": lambda name: wire.Join(member(name)),
}
OTHERS = {
    "a relayed join": wire.Join(member(C), relayed=True),
    "a refusal": wire.Refused((C, 7), "id_in_use"),
    "an accusation": wire.Alert((C, 7), "connection_closed", True),
    "a farewell": wire.Leave("leaving"),
    "a view": wire.News(found(member(C), 1)),
    "nothing": wire.Ack(),
}


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES.keys())
def test_who_speaks_of_itself_is_whose_key_it_is(make: Any) -> None:
    """Case 172: a key may claim the node id that it is bound to, and no other."""
    assert speaks_for(said(A, make(A)), A)
    assert not speaks_for(said(B, make(B)), A)
    assert not speaks_for(said(A, make(B)), A)
    assert not speaks_for(said(B, make(A)), A)


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS.keys())
def test_a_member_speaks_of_others_in_its_own_name(body: Any) -> None:
    assert speaks_for(said(A, body), A)
    assert not speaks_for(said(B, body), A)


@pytest.mark.parametrize("body", [wire.Admin(1, "status"), wire.AdminReply(1, True)])
def test_everybody_with_a_key_may_ask(body: Any) -> None:
    for peer in (A, "client:ops"):
        assert speaks_for(said("client@localhost:1", body), peer)


@pytest.mark.parametrize("make", [*BODIES.values(), *(lambda _, b=b: b for b in OTHERS.values())])
def test_a_client_is_no_member_whatever_it_calls_itself(make: Any) -> None:
    for name in ("client:ops", A):
        assert not speaks_for(said(name, make(name)), "client:ops")


def test_who_is_turned_away_for_its_key_does_not_found() -> None:
    settings = ClusterSettings(alone_after=1.0)
    joining = Joining((A, 7), settings, 0.0)
    assert not joining.may_found(1, 0.9) and joining.may_found(1, 1.0)
    joining.unwelcome(1.0)
    assert not joining.may_found(1, 1.0 + FRESH - 0.1)
    joining.unwelcome(4.0)  # at each dial
    assert not joining.may_found(1, 4.0 + FRESH - 0.1)
    assert joining.may_found(1, 4.0 + FRESH)  # nobody is there any more


def test_who_knows_other_joiners_founds_in_spite_of_one_that_turns_it_away() -> None:
    """One node with a wrong key must not keep the others from starting."""
    settings = ClusterSettings(alone_after=1.0, found_after=0.5)
    joining = Joining((A, 7), settings, 0.0)
    joining.joiner((B, 7), "tcp://127.0.0.1:4002", 0.1)
    joining.unwelcome(0.2)
    assert joining.may_found(2, 1.0)
