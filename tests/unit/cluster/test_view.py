"""Views as values: what follows from what."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from noex.cluster.view import (
    MAX_GONE,
    Gone,
    Lineage,
    Member,
    View,
    found,
    is_quorum,
    outranks,
    settle,
    stronger,
    successor,
)

LINEAGE = Lineage("n0", 1, 100)


def member(name: str, incarnation: int = 1, born: int = 100) -> Member:
    return Member(name, incarnation, born=born)


def view(*members: Member, epoch: int = 100, gone: dict[str, Gone] | None = None) -> View:
    ordered = tuple(sorted(members, key=lambda m: m.age_key))
    return View(LINEAGE, epoch, ordered, gone or {}, len(members))


names = st.sampled_from(["n0", "n1", "n2", "n3"])
joins = st.builds(member, names, st.integers(1, 4))
steps = st.tuples(st.lists(joins, max_size=2), st.lists(names, max_size=2), st.booleans())


@st.composite
def histories(draw: st.DrawFn) -> View:
    """A view that some chain of decisions may have made."""
    current = found(member("n0"), 100)
    for newcomers, leavers, drain in draw(st.lists(steps, max_size=4)):
        removals = {m.uid: "connection_closed" for m in current.members[1:] if m.node_id in leavers}
        statuses = {current.oldest.uid: "draining" if drain else "up"}
        current = successor(
            current,
            joins=newcomers,
            removals=removals,
            statuses=statuses,  # type: ignore[arg-type]
        )
    return current


def survivors(*views: View) -> bool:
    """Whether anybody is left when all that any of these removed is removed."""
    lives = [m.uid for v in views for m in v.members]
    return any(not any(v.removed(uid) for v in views) for uid in lives)


def contents(v: View) -> tuple[object, object]:
    return v.members, v.gone


@given(histories())
def test_a_view_keeps_its_invariants_through_any_history(v: View) -> None:
    ages = [m.age_key for m in v.members]
    assert ages == sorted(ages)
    assert len({m.node_id for m in v.members}) == len(v.members)
    assert not any(v.removed(m.uid) for m in v.members)
    assert v.peak >= len(v.members)


@given(histories(), histories())
def test_two_members_that_meet_the_same_two_views_settle_on_the_same(a: View, b: View) -> None:
    assert contents(settle(a, b)) == contents(settle(b, a))
    assert settle(a, b).epoch == settle(b, a).epoch
    if a.epoch == b.epoch and a.digest() != b.digest() and survivors(a, b):
        assert settle(a, b).epoch == a.epoch + 1


@given(histories(), histories(), histories())
def test_the_order_in_which_views_are_met_does_not_matter(a: View, b: View, c: View) -> None:
    assume(survivors(a, b, c))
    assert contents(settle(settle(a, b), c)) == contents(settle(settle(a, c), b))


@given(histories(), histories())
def test_what_was_settled_includes_both_and_is_newer(a: View, b: View) -> None:
    assume(survivors(a, b))
    s = settle(a, b)
    assert s.epoch >= max(a.epoch, b.epoch)
    assert settle(s, a) is s and settle(s, b) is s
    for old in (a, b):
        for m in old.members:
            assert s.find(m.uid) or s.removed(m.uid)
        for node_id, gone in old.gone.items():
            assert s.gone[node_id].incarnation >= gone.incarnation


def test_two_sides_that_removed_each_other_altogether_settle_on_the_stronger() -> None:
    both = successor(found(member("n0"), 100), joins=[member("n1")])
    older = successor(both, removals={("n1", 1): "heartbeat_timeout"})
    younger = successor(both, removals={("n0", 1): "heartbeat_timeout"})
    assert settle(older, younger) is older and settle(younger, older) is older


def test_the_newer_of_two_views_of_one_chain_is_taken_as_it_is() -> None:
    a = found(member("n0"), 100)
    b = successor(a, joins=[member("n1")])
    assert settle(a, b) is b and settle(b, a) is b


def test_j1_a_life_that_was_removed_is_never_added() -> None:
    a = successor(found(member("n0"), 100), joins=[member("n1", 5)])
    b = successor(a, removals={("n1", 5): "connection_closed"})
    assert b.removed(("n1", 5)) and b.removed(("n1", 4)) and not b.removed(("n1", 6))
    assert successor(b, joins=[member("n1", 5), member("n1", 4)]).members == b.members
    assert successor(b, joins=[member("n1", 6)]).find(("n1", 6))


def test_j4_a_later_life_supersedes_and_comes_last() -> None:
    a = successor(found(member("n0"), 100), joins=[member("n1", 5), member("n2", 1)])
    b = successor(a, joins=[member("n1", 6)])
    assert [m.uid for m in b.members] == [("n0", 1), ("n2", 1), ("n1", 6)]
    assert b.why_gone(("n1", 5)) == "superseded"
    assert b.removed(("n1", 5))


def test_the_reason_for_a_life_that_several_views_took_away_is_superseded() -> None:
    a = successor(found(member("n0"), 100), joins=[member("n1", 5)])
    b = successor(a, joins=[member("n1", 6)])
    c = successor(b, removals={("n1", 6): "connection_closed"})
    assert c.why_gone(("n1", 6)) == "connection_closed"
    assert c.why_gone(("n1", 5)) == "superseded"


def test_a_status_only_goes_forward() -> None:
    a = found(member("n0"), 100)
    b = successor(a, statuses={("n0", 1): "draining"})
    assert successor(b, statuses={("n0", 1): "up"}).oldest.status == "draining"


def test_only_so_many_removed_ids_are_remembered_and_two_views_still_settle() -> None:
    gone = {f"x{i}": Gone(i + 1, "connection_closed") for i in range(MAX_GONE)}
    a = view(member("n0"), gone=gone)
    b = successor(
        successor(a, joins=[member("n1", 10**9)]), removals={("n1", 10**9): "connection_closed"}
    )
    assert len(b.gone) == MAX_GONE and "x0" not in b.gone
    assert settle(a, b) is b and settle(b, a) is b


def test_m_rank_is_peak_then_age_and_total() -> None:
    young = found(member("n1"), 200)
    old = found(member("n0"), 100)
    large = View(young.lineage, 201, young.members, {}, peak=2)
    assert outranks(old, young) and not outranks(young, old)
    assert outranks(large, old) and not outranks(old, large)
    assert not outranks(old, old)


@given(histories(), histories())
def test_of_two_sides_exactly_one_is_stronger(a: View, b: View) -> None:
    if [m.uid for m in a.members] != [m.uid for m in b.members]:
        assert stronger(a, b) != stronger(b, a)


def test_q_half_with_the_oldest_is_a_quorum_half_without_is_none() -> None:
    v = view(member("n0"), member("n1"), member("n2"), member("n3"))
    assert is_quorum([("n0", 1), ("n1", 1)], v)
    assert not is_quorum([("n2", 1), ("n1", 1)], v)
    assert is_quorum([("n1", 1), ("n2", 1), ("n3", 1)], v)
    assert not is_quorum([("n0", 1), ("x", 1), ("y", 1)], v)


@given(st.integers(1, 7), st.data())
def test_q1_two_quorums_of_one_view_meet(size: int, data: st.DataObject) -> None:
    v = view(*(member(f"m{i}") for i in range(size)))
    uids = [m.uid for m in v.members]
    a, b = data.draw(st.sets(st.sampled_from(uids))), data.draw(st.sets(st.sampled_from(uids)))
    if is_quorum(a, v) and is_quorum(b, v):
        assert a & b
