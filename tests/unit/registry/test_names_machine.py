"""Global names: the machines of a whole cluster, in every order that chance finds."""

from __future__ import annotations

import pytest
from names_sim import NamesSim

from noex.registry import names_messages as m
from noex.registry.names_machine import NamesMachine
from noex.runtime.errors import GlobalNameConflictError, NoProcessError

NAMES = ("a", "b", "c")


def random_life(sim: NamesSim, steps: int, *, membership: bool) -> None:
    """Programs, crashes, joins and messages, all mixed."""
    chance = sim.chance
    joined = 100
    outside = []
    for _ in range(steps):
        for _ in range(chance.randrange(6)):
            sim.step()
        node = chance.choice([node for node in sim.nodes.values() if node.alive])
        what = chance.random()
        name = chance.choice(NAMES)
        if what < 0.4:
            ref = chance.choice(sorted(node.processes) or [sim.spawn(node)])
            sim.register(node, name, sim.spawn(node) if chance.random() < 0.5 else ref)
        elif what < 0.5 and node.processes:
            sim.kill(node, chance.choice(sorted(node.processes)))
        elif what < 0.6:
            sim.unregister(node, name)
        elif what < 0.8:
            sim.whereis(node, name)
        elif what < 0.87:
            if sim.requests:
                sim.expire(chance.choice(list(sim.requests)))
        elif not membership:
            continue
        elif what < 0.92 and len(sim.living()) > 1:
            oldest = sim.node_of(sim.members[0])
            sim.crash(oldest if oldest and oldest.alive and chance.random() < 0.5 else node)
        elif what < 0.95 and len(sim.living()) > 2 and node.uid in sim.members:
            sim.expel(node)
            outside.append(node)
        elif what < 0.97 and outside:
            back = outside.pop()
            if back.alive:
                sim.return_of(back)
        else:
            joined += 1
            sim.join(f"n{joined}")
    for node in outside:
        if node.alive:
            sim.return_of(node)
    sim.settle()
    sim.check_settled()


@pytest.mark.parametrize("seed", range(60))
def test_after_any_life_of_programs_all_nodes_agree(seed):
    random_life(NamesSim(seed, 1 + seed % 5), 60, membership=False)


@pytest.mark.parametrize("seed", range(60))
def test_after_any_life_of_the_cluster_all_nodes_agree(seed):
    random_life(NamesSim(seed, 2 + seed % 4), 60, membership=True)


@pytest.mark.parametrize("seed", range(60))
def test_of_concurrent_registrations_exactly_one_succeeds(seed):
    sim = NamesSim(seed, 5)
    if seed % 2:
        sim.settle()
    decider, *others = sim.nodes.values()
    idents = [sim.register(node, "leader", sim.spawn(node)) for node in others]
    if seed % 3 == 0:
        for _ in range(sim.chance.randrange(40)):
            sim.step()
        sim.crash(decider)
    else:
        idents.append(sim.register(decider, "leader", sim.spawn(decider)))
    sim.settle()
    sim.check_settled()
    answers = [sim.answers[ident] for ident in idents]
    winner = sim.nodes["n1"].machine.known("leader")
    assert answers.count(True) == 1
    for answer in answers:
        if answer is not True:
            assert isinstance(answer, GlobalNameConflictError)
            assert (answer.name, answer.owner) == ("leader", winner)


@pytest.mark.parametrize("how", ["kill", "unregister", "crash"])
@pytest.mark.parametrize("seed", range(15))
def test_a_freed_name_can_be_taken_at_once_by_anybody(how, seed):
    sim = NamesSim(seed, 4)
    owner = sim.nodes[sim.chance.choice(["n0", "n1", "n2"])]
    ref = sim.spawn(owner)
    first = sim.register(owner, "leader", ref)
    sim.settle()
    assert sim.answers[first] is True
    if how == "kill":
        sim.kill(owner, ref)
    elif how == "crash":
        sim.crash(owner)
    else:
        sim.unregister(owner, "leader")
    taker = sim.nodes["n3"]
    if how == "crash":  # seen by the taker in its view, as it would be by `NodeDown`
        while taker.mailbox or sim._has_news(taker):
            sim.step()
    second = sim.register(taker, "leader", sim.spawn(taker))
    sim.settle()
    sim.check_settled()
    assert sim.answers[second] is True


@pytest.mark.parametrize("seed", range(15))
def test_a_registered_name_is_found_on_every_node_at_once(seed):
    sim = NamesSim(seed, 4)
    owner = sim.chance.choice(list(sim.nodes.values()))
    ref = sim.spawn(owner)
    ident = sim.register(owner, "leader", ref)
    while ident not in sim.answers:
        sim.step()
    lookups = [sim.whereis(node, "leader") for node in sim.nodes.values()]
    sim.settle()
    assert [sim.answers[lookup] for lookup in lookups] == [ref] * 4


@pytest.mark.parametrize("seed", range(15))
def test_a_name_unregistered_is_found_nowhere_once_that_is_answered(seed):
    sim = NamesSim(seed, 4)
    owner = sim.chance.choice(list(sim.nodes.values()))
    sim.register(owner, "leader", sim.spawn(owner))
    sim.settle()
    ident = sim.unregister(owner, "leader")
    while ident not in sim.answers:
        sim.step()
    oldest = sim.nodes["n0"]
    lookups = [sim.whereis(owner, "leader"), sim.whereis(oldest, "leader")]
    sim.settle()
    assert [sim.answers[lookup] for lookup in lookups] == [None, None]


@pytest.mark.parametrize("seed", range(15))
def test_names_of_an_ended_life_are_claimed_again_and_the_loser_is_told(seed):
    sim = NamesSim(seed, 3)
    victim = sim.nodes[sim.chance.choice(["n1", "n2"])]
    kept, contested = sim.spawn(victim), sim.spawn(victim)
    sim.register(victim, "kept", kept)
    sim.register(victim, "contested", contested)
    sim.settle()
    sim.expel(victim)
    other = sim.nodes["n0"]
    usurper = sim.spawn(other)
    while sim._has_news(other) or other.mailbox:
        sim.step()
    taken = sim.register(other, "contested", usurper)
    sim.settle()
    assert sim.answers[taken] is True
    sim.return_of(victim)
    sim.settle()
    sim.check_settled()
    assert other.machine.known("kept") == kept
    assert sim.dispossessed == [(contested, "contested", usurper)]


def test_a_claim_is_not_decided_before_all_members_have_reported():
    sim = NamesSim(1, 3)
    n0, n1, n2 = sim.nodes.values()
    sim.register(n2, "leader", sim.spawn(n2))
    sim.settle()
    sim.crash(n0)
    n1.machine.view_changed(4, (n1.uid, n2.uid))
    effects = n1.machine.register_asked(99, "leader", (n1.name, 77))
    assert effects == [m.Watch((n1.name, 77))]
    rows = (("leader", n2.machine.known("leader"), (3, 1)),)
    effects = n1.machine.received(n2.uid, m.Snapshot(rows, ()))
    assert [type(effect.message) for effect in effects] == [m.Check]


def test_a_node_alone_decides_at_once():
    machine = NamesMachine(("a", 1))
    machine.view_changed(0, (("a", 1),))
    effects = machine.register_asked(1, "leader", "ref")
    assert effects == [m.Watch("ref"), m.Answer(1, True)]
    assert machine.known("leader") == "ref"
    assert machine.whereis_asked(2, "nobody") == [m.Answer(2, None)]
    assert machine.process_down("ref") == []
    assert machine.names() == []


def test_a_request_without_a_view_waits_until_it_expires():
    machine = NamesMachine(("a", 1))
    assert machine.register_asked(1, "leader", "ref") == [m.Watch("ref")]
    assert machine.whereis_asked(2, "leader") == []
    assert machine.expired(1) == [m.Unwatch("ref")]
    assert machine.expired(2) == []
    assert machine.open_rows == 0


def test_one_process_may_have_many_names_and_loses_all_with_its_life():
    machine = NamesMachine(("a", 1))
    machine.view_changed(0, (("a", 1),))
    assert machine.register_asked(1, "x", "ref")[0] == m.Watch("ref")
    assert machine.register_asked(2, "y", "ref") == [m.Answer(2, True)]
    assert machine.unregister_asked(3, "x") == [m.Answer(3, True)]
    assert machine.names() == ["y"]
    assert machine.register_asked(4, "x", "ref") == [m.Answer(4, True)]
    machine.process_down("ref")
    assert machine.names() == []


def test_the_claims_of_a_process_that_ends_fail():
    machine = NamesMachine(("a", 1))
    machine.register_asked(1, "leader", "ref")
    (refusal,) = machine.process_down("ref")
    assert refusal.ident == 1 and isinstance(refusal.error, NoProcessError)


def test_nothing_is_heard_of_a_life_that_is_no_member():
    machine = NamesMachine(("a", 1))
    machine.view_changed(1, (("a", 1),))
    stranger = ("b", 7)
    assert machine.received(stranger, m.Added("leader", "ref", (1, 1))) == []
    assert machine.received(stranger, m.Claim(1, "leader", "ref")) == []
    assert machine.names() == []


def test_only_the_oldest_member_may_grant():
    machine = NamesMachine(("b", 1))
    machine.view_changed(1, (("a", 1), ("b", 1), ("c", 1)))
    machine.register_asked(1, "leader", "ref")
    assert machine.received(("c", 1), m.Grant(1, "leader", (1, 1))) == []
    assert m.Answer(1, True) in machine.received(("a", 1), m.Grant(1, "leader", (1, 1)))
    again = machine.received(("a", 1), m.Grant(1, "leader", (1, 1)))
    assert again == [m.Send(("a", 1), m.Withdraw(1, "leader"))]  # nobody waits for it (any more)


@pytest.mark.parametrize("seed", range(60))
def test_dropped_messages_are_made_good_by_resync(seed):
    sim = NamesSim(seed, 4)
    sim.settle()
    nodes = list(sim.nodes.values())
    idents = []
    lost = set()
    for step in range(200):
        if step % 20 == 0:
            node = sim.chance.choice(nodes)
            idents.append(sim.register(node, sim.chance.choice(NAMES), sim.spawn(node)))
        sim.step()
        for key, channel in sim.channels.items():
            if channel and sim.chance.random() < 0.03:
                channel.clear()
                lost.add(key)
    for _ in range(2):  # also when both ends, or one end twice, say all again
        for origin, to in lost:
            for effect in sim.node_of(origin).machine.resync(to):
                sim._perform(sim.node_of(origin), effect)
    sim.settle()
    sim.check_settled()
    taken = {sim.requests[ident][1] for ident in idents}
    assert [sim.answers[ident] for ident in idents].count(True) == len(taken)


A, B, C = ("a", 1), ("b", 1), ("c", 1)


def deciding(*others):
    """The machine of the oldest member, in a view with others that have reported."""
    machine = NamesMachine(A)
    machine.view_changed(1, (A, *others))
    for uid in others:
        machine.received(uid, m.Snapshot((), ()))
    return machine


def test_a_claim_that_came_after_the_question_is_checked_anew():
    machine = deciding(B, C)
    machine.received(B, m.Claim(1, "x", "b1"))
    machine.received(B, m.Added("x", "b1", (1, 1)))
    assert machine.received(C, m.Claim(1, "x", "c1")) == [m.Send(B, m.Check("x", 1))]
    assert machine.received(C, m.Claim(2, "x", "c2")) == []
    assert machine.received(B, m.Checked("x", 1, "b1")) == [
        m.Send(C, m.Deny(1, "x", "b1")),
        m.Send(B, m.Check("x", 2)),
    ]
    machine.received(B, m.Removed("x"))
    assert machine.received(B, m.Checked("x", 2, None)) == []
    machine.received(C, m.Added("x", "c2", (1, 2)))
    assert machine.known("x") == "c2"
    assert machine.open_rows == 0


def test_a_second_grant_for_one_process_is_not_settled_by_news_of_the_first():
    machine = deciding(B, C)
    machine.received(B, m.Claim(1, "x", "b1"))
    machine.received(B, m.Added("x", "b1", (1, 1)))
    assert machine.received(B, m.Claim(2, "x", "b1")) == [m.Send(B, m.Grant(2, "x", (1, 2)))]
    machine.received(B, m.Snapshot((("x", "b1", (1, 1)),), None))
    machine.received(B, m.Removed("x"))
    (question,) = machine.received(C, m.Claim(1, "x", "c1"))
    assert question.to == B and isinstance(question.message, m.Check)


def test_a_question_that_expired_is_forgotten_by_a_decider_that_waits():
    machine = NamesMachine(A)
    machine.view_changed(1, (A, B, C))
    machine.received(B, m.Snapshot((), ()))
    machine.received(B, m.Where(1, "x"))
    machine.received(B, m.Where(2, "y"))
    assert machine.open_rows == 2
    machine.received(B, m.Withdraw(1, "x"))
    assert machine.received(C, m.Snapshot((), ())) == [m.Send(B, m.Found(2, None))]


def test_a_name_registered_twice_outlives_one_caller_who_gave_up():
    machine = deciding()
    machine.register_asked(1, "x", "a1")
    machine.register_asked(2, "x", "a1")
    assert machine.given_up("x", "a1") == []
    assert machine.known("x") == "a1"
    assert machine.given_up("x", "another") == []
    assert machine.given_up("x", "a1") == [m.Unwatch("a1")]
    assert machine.known("x") is None


def test_a_snapshot_frees_what_it_lacks():
    machine = deciding(B, C)
    machine.received(B, m.Claim(1, "x", "b1"))
    machine.received(B, m.Added("x", "b1", (1, 1)))
    machine.received(C, m.Claim(1, "x", "c1"))
    assert machine.received(B, m.Snapshot((), None)) == [m.Send(C, m.Grant(1, "x", (1, 2)))]


def test_of_two_nodes_with_one_name_the_one_with_the_older_grant_keeps_it():
    machine = NamesMachine(A)
    machine.view_changed(9, (A, B, C))
    machine.received(B, m.Snapshot((("x", "b1", (5, 1)),), ()))
    effects = machine.received(C, m.Snapshot((("x", "c1", (4, 7)),), ()))
    assert effects == [m.Send(B, m.Lost("x", "c1"))]


def test_the_loser_of_a_dispute_gives_the_name_up_and_its_process_is_told():
    machine = NamesMachine(B)
    machine.view_changed(1, (A, B, C))
    machine.register_asked(1, "x", "b1")
    machine.received(A, m.Grant(1, "x", (1, 1)))
    effects = machine.received(A, m.Lost("x", "c1"))
    assert effects == [
        m.Unwatch("b1"),
        m.Send(A, m.Removed("x")),
        m.Send(C, m.Removed("x")),
        m.Dispossess("b1", "x", "c1"),
    ]
    assert machine.received(A, m.Lost("x", "c1")) == []


def test_an_older_view_and_a_view_without_this_life_say_nothing():
    machine = deciding(B)
    machine.received(B, m.Added("x", "b1", (1, 1)))
    assert machine.view_changed(0, (A,)) == []
    assert machine.view_changed(5, (B,)) == []
    assert machine.known("x") == "b1" and machine.oldest == A


def test_a_claim_that_comes_twice_is_answered_once():
    machine = deciding(B, C)
    machine.received(B, m.Claim(1, "x", "b1"))
    machine.received(B, m.Added("x", "b1", (1, 1)))
    machine.received(C, m.Claim(1, "x", "c1"))
    assert machine.received(C, m.Claim(1, "x", "c1")) == []
    assert machine.received(B, m.Checked("x", 1, "b1")) == [m.Send(C, m.Deny(1, "x", "b1"))]
