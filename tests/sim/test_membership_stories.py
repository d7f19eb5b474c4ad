"""The rules of membership, one story each, on the simulated network."""

from __future__ import annotations

import pytest
from cluster_sim import Network, Process

from noex.cluster.settings import ClusterSettings

SEEDS = range(12)
TICK = 0.1


def ids(count: int) -> list[str]:
    return [f"n{i}@127.0.0.1:{5000 + i}" for i in range(count)]


def formed(seed: int, count: int = 3, **options: float) -> tuple[Network, list[Process]]:
    """A cluster of nodes that started together; in age order."""
    net = Network(seed, **options)
    names = tuple(ids(count))
    for name in names:
        net.start(name, names)
    assert net.run_until(net.settled, 3.0), net.describe()
    net.run(2.0)
    view = net.living()[0].view
    assert view is not None
    by_id = {p.node_id: p for p in net.living()}
    return net, [by_id[m.node_id] for m in view.members]


def members(process: Process) -> list[str]:
    return [m.node_id for m in process.view.members] if process.view else []


def last(process: Process) -> tuple[str, str, str]:
    what, uid, reason = process.lives[-1].story[-1]
    return what, uid[0], reason


# -- bootstrap ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_b2_three_that_start_together_are_one_cluster_within_a_second(seed: int) -> None:
    net = Network(seed)
    names = tuple(ids(3))
    for name in names:
        net.later(net.rng.random() * 0.05, lambda n=name: net.start(n, names))
    assert net.run_until(lambda: len(net.living()) == 3 and net.settled(), 1.0), net.describe()


def test_a_view_that_is_decided_brings_its_links_at_once() -> None:
    net = Network(1)
    names = tuple(ids(3))
    for name in names:
        net.start(name, names)
    leader = net.living()[0]
    assert net.run_until(lambda: len(members(leader)) == 3, 2.0)
    net.run(TICK + 0.001)
    assert leader.pubs == {p.endpoint + "2" for p in net.living()[1:]}


def test_b2_a_node_without_seeds_founds_at_once() -> None:
    net = Network(1)
    net.start(ids(1)[0])
    assert net.run_until(net.settled, 2 * TICK)


def test_b2_a_node_whose_only_seed_is_itself_founds_at_once() -> None:
    net = Network(1)
    net.start(ids(1)[0], (ids(1)[0],))
    assert net.run_until(net.settled, 2 * TICK)


def test_b2_a_node_whose_seeds_never_answer_founds_after_alone_after() -> None:
    net = Network(1)
    process = net.start(ids(2)[0], tuple(ids(2)))
    assert not net.run_until(net.settled, net.settings.alone_after - TICK)
    assert net.run_until(net.settled, 4 * TICK)
    net.run(1)
    assert process.notes == ["seed_does_not_answer"]


def test_b2_the_first_to_found_takes_in_whoever_comes_later() -> None:
    net = Network(1)
    for delay, name in zip((0.0, 7.0, 9.0), ids(3), strict=True):
        net.later(delay, lambda n=name: net.start(n, tuple(ids(3))))
    net.run(8.9)
    assert net.settled() and len(net.living()) == 2
    net.run(1.0)
    assert net.settled() and len(net.living()) == 3


def test_b3_with_expect_nobody_founds_before_so_many_know_each_other() -> None:
    net = Network(1, settings=ClusterSettings(expect=3))
    names = tuple(ids(3))
    for name in names[:2]:
        net.start(name, names)
    net.run(20)
    assert all(p.view is None for p in net.living())
    net.start(names[2], names)
    assert net.run_until(net.settled, 3.0), net.describe()


def test_m2_of_two_clusters_that_meet_the_younger_ends_and_joins_the_older() -> None:
    net = Network(1)
    older = net.start(ids(2)[0])
    net.run(1)
    younger = net.start(ids(2)[1])
    net.run(1)
    assert members(older) == [older.node_id] and members(younger) == [younger.node_id]
    before = younger.incarnation
    net.crash(younger)
    met = net.start(ids(2)[1], (ids(2)[0],))
    assert net.run_until(net.settled, 2.0)
    assert met.incarnation > before and members(older) == ids(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_m2_a_cluster_that_was_larger_outranks_an_older_one(seed: int) -> None:
    net = Network(seed)
    names = ids(3)
    lone = net.start(names[0], (names[1],))
    pair = frozenset((net.endpoint(names[0]), net.endpoint(names[1])))
    net.cut.add(pair)
    net.run(6)
    assert members(lone) == [names[0]]
    net.start(names[1], (names[2],))
    net.start(names[2], (names[1],))
    net.run(3)
    net.heal()
    assert net.run_until(net.settled, 15.0), net.describe()
    assert lone.over == ["outranked"]
    assert members(lone)[-1] == names[0]


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_crash_is_known_to_all_survivors_within_tens_of_milliseconds(
    seed: int, victim: int
) -> None:
    net, nodes = formed(seed)
    net.crash(nodes[victim])
    assert net.run_until(net.settled, 0.05), net.describe()
    for process in net.living():
        assert last(process) == ("down", nodes[victim].node_id, "connection_closed")


def test_all_but_one_may_crash_in_the_same_instant() -> None:
    net, nodes = formed(1, 5)
    for process in nodes[:4]:
        net.crash(process)
    assert net.run_until(net.settled, 0.1), net.describe()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quick_restart_is_down_then_up_at_everybody(seed: int) -> None:
    net, nodes = formed(seed)
    old = nodes[seed % 3]
    net.crash(old)
    new = net.start(old.node_id, tuple(ids(3)))
    assert net.run_until(net.settled, 2.0), net.describe()
    for process in net.living():
        if process is not new:
            (down, old_uid, reason), (up, new_uid, _) = process.lives[-1].story[-2:]
            assert (down, old_uid, up, new_uid) == ("down", old.uid, "up", new.uid)
            assert reason in {"superseded", "connection_closed"}
    assert members(new)[-1] == new.node_id  # J4: last in age


@pytest.mark.parametrize("gil", [False, True])
def test_a_busy_node_is_reported_and_never_down(gil: bool) -> None:
    net, nodes = formed(1)
    net.block(nodes[0], 12.0, gil=gil)
    net.run(20.0)
    assert net.settled()
    for process in nodes[1:]:
        assert process.busy_story == [(nodes[0].uid, True), (nodes[0].uid, False)]
        assert all(what == "up" for what, _, _ in process.lives[-1].story)
    assert nodes[0].over == []


@pytest.mark.parametrize("gil", [False, True])
def test_a_crash_does_not_wait_for_a_busy_leader(gil: bool) -> None:
    net, nodes = formed(1, 4)
    net.block(nodes[0], 15.0, gil=gil)
    net.run(5.0)
    net.crash(nodes[1])
    assert net.run_until(lambda: all(len(members(p)) == 3 for p in nodes[2:]), 0.1)
    net.start(nodes[1].node_id, tuple(ids(4)))
    net.run(2.0)
    assert all(len(members(p)) == 4 for p in nodes[2:])
    assert net.run_until(net.settled, 12.0), net.describe()
    assert nodes[0].over == []


@pytest.mark.parametrize("gil", [False, True])
def test_busy_has_a_cap(gil: bool) -> None:
    net, nodes = formed(1)
    net.block(nodes[0], 60.0, gil=gil)
    net.run(net.settings.busy_cap - 1.0)
    assert len(members(nodes[1])) == 3
    net.run(3.0)
    assert len(members(nodes[1])) == 2
    assert last(nodes[1]) == ("down", nodes[0].node_id, "heartbeat_timeout")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stopped_node_is_down_in_seconds_and_comes_back_as_a_new_life(seed: int) -> None:
    net, nodes = formed(seed)
    stopped = nodes[seed % 3]
    old = stopped.uid
    net.stop(stopped)
    net.run(1.0)
    assert all(len(members(p)) == 3 for p in nodes)
    net.run(4.0)
    for process in nodes:
        if process is not stopped:
            assert last(process) == ("down", stopped.node_id, "heartbeat_timeout")
    net.run(seed)
    net.resume(stopped)
    assert net.run_until(net.settled, 3.0), net.describe()
    assert stopped.over == ["removed"]
    assert stopped.incarnation > old[1]
    ended = stopped.lives[0]
    assert ended.up == {} and {r for w, _, r in ended.story if w == "down"} == {"fenced"}


@pytest.mark.parametrize("stopped_for", [3.0, 4.0, 30.0])
def test_a_node_that_was_stopped_does_not_declare_the_others_dead(stopped_for: float) -> None:
    net, nodes = formed(3)
    net.stop(nodes[0])
    net.run(stopped_for)
    net.resume(nodes[0])
    net.run(10.0)
    assert net.settled(), net.describe()
    for life in nodes[0].lives:
        assert all(reason in {"", "fenced"} for _, _, reason in life.story)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_life_that_was_removed_while_it_stood_still_is_in_doubt_until_its_end(seed: int) -> None:
    net, nodes = formed(seed)
    stopped = nodes[seed % 3]
    net.stop(stopped)
    net.run(5.0)
    net.resume(stopped)
    stopped.tick()
    views = stopped.views
    assert views.doubt
    assert net.run_until(lambda: not views.doubt or stopped.views is not views, 3.0)
    assert views.doubt and stopped.over == ["removed"]
    assert net.run_until(net.settled, 3.0), net.describe()
    assert not stopped.views.doubt


@pytest.mark.parametrize("seed", SEEDS)
def test_the_doubt_of_a_life_that_goes_on_is_over_with_one_answer(seed: int) -> None:
    net, nodes = formed(seed)
    stopped = nodes[seed % 3]
    net.stop(stopped)
    net.run(1.2)  # a stall, and no death
    net.resume(stopped)
    stopped.tick()
    assert stopped.views.doubt
    assert net.run_until(lambda: not stopped.views.doubt, 10 * net.delay)
    assert stopped.over == []


def test_all_that_stood_still_together_go_on_after_the_grace() -> None:
    net, nodes = formed(1)
    for process in nodes:
        net.stop(process)
    net.run(1000.0)
    for process in nodes:
        net.resume(process)
    net.run(0.5)
    assert all(process.views.doubt for process in nodes)
    net.run(net.settings.stall_grace + 0.5)
    assert not any(process.views.doubt for process in nodes)
    assert all(process.over == [] for process in nodes)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_that_stood_still_do_not_confirm_each_other(seed: int) -> None:
    net, nodes = formed(seed, 5)
    for process in nodes[:2]:
        net.stop(process)
    net.run(8.0)
    lives = [process.views for process in nodes[:2]]
    for process in nodes[:2]:
        net.resume(process)
        process.tick()
    assert all(views.doubt for views in lives)
    assert net.run_until(net.settled, 5.0), net.describe()
    assert all(views.doubt for views in lives), "one of them believed the other"
    assert [process.over for process in nodes[:2]] == [["removed"], ["removed"]]


def test_a_life_whose_peers_have_all_gone_decides_and_is_certain() -> None:
    net, nodes = formed(2, 2)
    net.stop(nodes[0])
    net.run(1.2)
    net.crash(nodes[1])
    net.resume(nodes[0])
    nodes[0].tick()
    assert nodes[0].views.doubt
    assert net.run_until(lambda: members(nodes[0]) == [nodes[0].node_id], 5.0)
    assert not nodes[0].views.doubt and nodes[0].over == []


def test_two_of_three_stopped_at_once_are_not_outvoted_by_the_third() -> None:
    # P3: without hard evidence the accusers must be a quorum of the view.
    net, nodes = formed(1)
    for process in nodes[:2]:
        net.stop(process)
    net.run(20.0)
    assert len(members(nodes[2])) == 3
    for process in nodes[:2]:
        net.resume(process)
    assert net.run_until(net.settled, 5.0), net.describe()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minority_decides_nothing_and_rejoins_after_the_heal(seed: int) -> None:
    net, nodes = formed(seed, 5)
    for lost in nodes[:2]:
        for other in nodes[2:]:
            net.partition(lost, other)
    net.run(10.0)
    assert [len(members(p)) for p in nodes] == [5, 5, 3, 3, 3]
    net.heal()
    assert net.run_until(net.settled, 10.0), net.describe()
    assert [p.over for p in nodes] == [["removed"]] * 2 + [[]] * 3


def test_p4_a_minority_lets_nobody_in() -> None:
    net, nodes = formed(1, 5)
    newcomer = "n9@127.0.0.1:5009"
    for lost in nodes[:2]:
        for other in nodes[2:]:
            net.partition(lost, other)
    net.run(10.0)
    for other in nodes[2:]:
        net.cut.add(frozenset((net.endpoint(newcomer), other.endpoint)))
    outside = net.start(newcomer, tuple(ids(5)))
    net.run(10.0)
    assert outside.view is None and len(members(nodes[0])) == 5
    net.heal()
    assert net.run_until(net.settled, 10.0), net.describe()


def test_of_two_nodes_that_removed_each_other_the_older_goes_on() -> None:
    net, nodes = formed(1, 2)
    net.partition(nodes[0], nodes[1])
    net.run(10.0)
    assert [len(members(p)) for p in nodes] == [1, 1]
    net.heal()
    assert net.run_until(net.settled, 10.0), net.describe()
    assert [p.over for p in nodes] == [[], ["removed"]]


def test_two_nodes_without_seeds_find_each_other_again_after_a_partition() -> None:
    net = Network(1)
    older = net.start(ids(2)[0])
    net.run(0.5)
    younger = net.start(ids(2)[1], (ids(2)[0],))
    net.run(3.0)
    net.partition(older, younger)
    net.run(10.0)
    net.heal()
    assert net.run_until(net.settled, 10.0), net.describe()


def test_one_cut_link_removes_nobody() -> None:
    net, nodes = formed(1, 4)
    net.partition(nodes[0], nodes[3])
    net.run(20.0)
    assert net.settled()
    assert all(p.over == [] for p in nodes)


# -- the door -------------------------------------------------------------------------------------


def test_j2_a_second_process_with_the_id_of_a_living_node_is_refused() -> None:
    net, nodes = formed(1)
    twin = net.start_unreachable(nodes[1].node_id, tuple(ids(3)))
    net.run(6.0)
    assert twin.view is None and "id_in_use" in twin.rejected
    assert all(p.over == [] and p.view is not None for p in nodes)
    assert all(len(members(p)) == 3 for p in nodes)


def test_j2_a_node_that_cannot_be_dialled_back_is_refused() -> None:
    net, nodes = formed(1)
    hermit = net.start_unreachable("n9@127.0.0.1:5009", tuple(ids(3)))
    net.run(6.0)
    assert hermit.view is None and "unreachable" in hermit.rejected
    assert all(len(members(p)) == 3 for p in nodes)


def test_j1_a_life_with_a_clock_set_back_takes_a_higher_incarnation() -> None:
    net, nodes = formed(1)
    known = nodes[1].incarnation
    net.crash(nodes[1])
    net.run(1.0)
    net.set_incarnations_back(known - 500)
    late = net.start(nodes[1].node_id, tuple(ids(3)))
    assert net.run_until(net.settled, 3.0), net.describe()
    assert late.over == ["stale"] and late.incarnation > known


def test_a_node_of_another_cluster_name_stays_outside_and_is_told() -> None:
    net, nodes = formed(1)
    stranger = net.start(
        "n9@127.0.0.1:5009", tuple(ids(3)), settings=ClusterSettings(cluster="other")
    )
    net.run(8.0)
    assert members(stranger) == [stranger.node_id]
    assert stranger.notes.count("peer_of_another_cluster") == 3
    assert all(len(members(p)) == 3 for p in nodes)


# -- leaving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_g_a_graceful_leave_is_told_as_such_at_once(seed: int, victim: int) -> None:
    net, nodes = formed(seed)
    nodes[victim].want_to_leave()
    assert net.run_until(lambda: nodes[victim].left, 0.2), net.describe()
    assert net.run_until(net.settled, 0.2), net.describe()
    for process in net.living():
        assert last(process) == ("down", nodes[victim].node_id, "graceful_shutdown")


def test_g_all_may_leave_at_once() -> None:
    net, nodes = formed(1, 4)
    for process in nodes:
        process.want_to_leave()
    assert net.run_until(lambda: not net.living(), 4.0), net.describe()


def test_g2_the_last_member_just_stops() -> None:
    net, nodes = formed(1, 2)
    net.crash(nodes[1])
    net.run(0.5)
    nodes[0].want_to_leave()
    assert net.run_until(lambda: nodes[0].left, 0.2)


def test_a_node_that_leaves_before_it_joined_just_stops() -> None:
    net = Network(1)
    process = net.start(ids(2)[0], tuple(ids(2)))
    net.run(1.0)
    process.want_to_leave()
    assert net.run_until(lambda: process.left, 0.2)
