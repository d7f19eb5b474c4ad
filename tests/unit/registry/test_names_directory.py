"""What a node knows of all names."""

from __future__ import annotations

from noex.registry.names_directory import Directory
from noex.registry.names_messages import Entry

A, B = ("a", 1), ("b", 1)


def test_of_two_holders_the_later_grant_counts_whatever_came_first():
    for order in ((A, B), (B, A)):
        for later in (A, B):
            directory = Directory()
            for uid in order:
                directory.put(uid, "x", Entry(uid[0], (2, 1) if uid == later else (1, 9)))
            assert directory.whereis("x") == later[0]
            assert directory.remove(later, "x") is True
            assert directory.whereis("x") == (B if later == A else A)[0]


def test_what_is_removed_leaves_no_trace():
    directory = Directory()
    directory.put(A, "x", Entry("ref", (1, 1)))
    assert directory.remove(B, "x") is False and directory.remove(A, "y") is False
    assert directory.remove(A, "x") is True
    assert directory.remove(A, "x") is False
    assert directory.whereis("x") is None and directory.holder("x") is None
    assert (directory.names(), len(directory)) == ([], 0)
    assert directory._names == {}


def test_a_snapshot_replaces_all_that_one_node_had():
    directory = Directory()
    directory.put(A, "gone", Entry("a1", (1, 1)))
    directory.put(A, "kept", Entry("a2", (1, 2)))
    directory.put(B, "other", Entry("b1", (1, 3)))
    assert directory.replace(A, (("kept", "a3", (1, 4)), ("new", "a4", (1, 5)))) == ["gone"]
    assert directory.names() == ["kept", "new", "other"]
    assert directory.whereis("kept") == "a3"
    directory.drop(A)
    assert directory.names() == ["other"]


def test_disputed_names_come_with_their_holders_the_oldest_grant_first():
    directory = Directory()
    directory.put(A, "x", Entry("a1", (2, 1)))
    directory.put(B, "x", Entry("b1", (1, 1)))
    directory.put(B, "y", Entry("b2", (1, 2)))
    assert list(directory.disputed()) == [
        ("x", [(B, Entry("b1", (1, 1))), (A, Entry("a1", (2, 1)))])
    ]
