"""Operations on processes of other nodes: two kernels, joined in memory."""

from __future__ import annotations

import asyncio
import logging
import socket
from random import Random

import pytest
from mesh import Member, Mesh, mesh_of, until

from noex.runtime.calls import LocalCaller
from noex.runtime.errors import (
    CallTimeoutError,
    GlobalNameConflictError,
    InitFailedError,
    MessageSerializationError,
    NodeNotReachableError,
    NoexError,
    NoProcessError,
    OverloadedError,
    ServerCrashedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.messages import Down, Exit
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply, Stop
from noex.transport import ops


class Server(GenServer):
    """Does what it is told, and remembers what came."""

    def init(self, trap=False):
        self.trap_exits = trap
        self.heard = []
        self.kept = []
        return 0

    def handle_call(self, message, state):
        match message:
            case "keep":
                self.kept.append(self.caller)
                return NoReply()
            case "heard":
                return list(self.heard), state
            case "unsendable":
                return socket.socket, state
            case "crash":
                raise ValueError("told so", 7)
            case "stop":
                return Stop("normal")
            case ("fail", error):
                self.caller.fail(error)
                return NoReply()
            case ("link", other):
                self.link(other)
                return None, state
            case ("unlink", other):
                self.unlink(other)
                return None, state
            case ("monitor", other):
                self.monitor(other)
                return None, state
            case ("is", ref):
                return ref is self.ref, state
        return message, state

    def handle_cast(self, message, state):
        self.heard.append(("cast", message))

    def handle_info(self, message, state):
        self.heard.append(message)


class World:
    """Two members, a server on each, and the far one's ref as the near node has it."""

    near: Member
    far: Member
    mesh: Mesh

    @property
    def idle(self):
        return self.near.open_rows == 0 and self.far.open_rows == 0

    def server(self, ref):
        return ref.process.server


def world(test):
    """Run an async test in a world of two nodes; in the end all tables must be empty."""

    def run():
        async def main():
            async with mesh_of("near", "far") as mesh:
                w = World()
                w.mesh = mesh
                w.near, w.far = mesh.members["near"], mesh.members["far"]
                w.there = await w.far.kernel.start(Server, name="server")
                w.target = w.near.elsewhere(w.there)
                w.here = await w.near.kernel.start(Server)
                await test(w)
                await until(lambda: w.idle)

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


# ---------------------------------------------------------------------- calls


@world
async def test_a_call_is_answered_by_the_far_process(w):
    message = ("x", [1, 2], {"k": {3}})
    assert await w.target.call(message) == message


@world
async def test_calls_casts_and_infos_of_one_sender_keep_their_order(w):
    for number in range(50):
        w.target.cast(number)
        w.target.send(("info", number))
    heard = await w.target.call("heard")
    assert heard == [item for n in range(50) for item in (("cast", n), ("info", n))]


@world
async def test_a_call_to_a_dead_process_says_so(w):
    await w.there.stop()
    with pytest.raises(NoProcessError) as caught:
        await w.target.call("x")
    assert caught.value.ref == w.target


@world
async def test_a_call_whose_server_crashes_brings_the_reason(w):
    with pytest.raises(ServerCrashedError) as caught:
        await w.target.call("crash")
    assert caught.value.ref == w.target
    reason = caught.value.reason
    assert type(reason) is ValueError and reason.args == ("told so", 7)


@pytest.mark.parametrize(
    "error",
    [
        NodeNotReachableError("a@h:1"),
        MessageSerializationError("send", "message[1]", "no way"),
        KeyError("k", 2),
    ],
)
def test_errors_arrive_as_their_class_with_their_fields(error):
    @world
    async def check(w):
        with pytest.raises(type(error)) as caught:
            await w.target.call(("fail", error))
        assert type(caught.value) is type(error)
        assert caught.value.args == error.args
        for field in getattr(error, "fields", ()):
            assert getattr(caught.value, field) == getattr(error, field)
        assert str(caught.value) == str(error)

    check()


@world
async def test_an_error_brings_its_cause_and_the_refs_in_it(w):
    error = InitFailedError("worker", "w")
    error.__cause__ = GlobalNameConflictError("leader", w.here)
    with pytest.raises(InitFailedError) as caught:
        await w.target.call(("fail", error))
    cause = caught.value.__cause__
    assert isinstance(cause, GlobalNameConflictError) and cause.owner is w.here


@world
async def test_a_reply_that_cannot_travel_is_an_error_at_the_caller_and_the_server_lives(w):
    with pytest.raises(MessageSerializationError):
        await w.target.call("unsendable")
    assert await w.target.call("still there") == "still there"


@world
async def test_a_message_that_cannot_travel_is_an_error_at_the_senders_line(w):
    posted = w.mesh.posted
    for operation in (w.target.cast, w.target.send):
        with pytest.raises(MessageSerializationError):
            operation([1, {"s": socket.socket}])
    with pytest.raises(MessageSerializationError) as caught:
        await w.target.call([1, {"s": socket.socket}])
    assert caught.value.operation == "call" and "[1]" in caught.value.path
    assert w.mesh.posted == posted


@world
async def test_a_call_that_times_out_is_cancelled_on_the_other_side(w):
    with pytest.raises(CallTimeoutError) as caught:
        await w.target.call("keep", timeout=0.05)
    assert caught.value.timeout == 0.05 and caught.value.ref == w.target
    (kept,) = w.server(w.there).kept
    await until(lambda: kept.expired)
    assert kept.reply("too late") is False


@world
async def test_a_call_whose_task_is_cancelled_is_cancelled_on_the_other_side(w):
    task = asyncio.ensure_future(w.target.call("keep", timeout=None))
    await until(lambda: w.server(w.there).kept)
    task.cancel()
    await asyncio.wait([task])
    (kept,) = w.server(w.there).kept
    await until(lambda: kept.expired)


@world
async def test_a_cancelled_call_that_was_not_begun_is_not_carried_out(w):
    w.mesh.hold(w.near, w.far)
    task = asyncio.ensure_future(w.target.call("keep", timeout=0.02))
    await asyncio.wait([task])
    w.mesh.release(w.near, w.far)
    assert await w.target.call("after") == "after"
    assert w.server(w.there).kept == []


@world
async def test_a_reply_after_the_deadline_reaches_nobody(w):
    w.mesh.hold(w.far, w.near)
    with pytest.raises(CallTimeoutError):
        await w.target.call("slow reply", timeout=0.05)
    w.mesh.release(w.far, w.near)
    assert await w.target.call("next") == "next"


@world
async def test_a_deferred_reply_finds_its_caller_once(w):
    task = asyncio.ensure_future(w.target.call("keep"))
    await until(lambda: w.server(w.there).kept)
    (kept,) = w.server(w.there).kept
    assert kept.reply("first") is True
    assert kept.reply("second") is False
    assert await task == "first"


@world
async def test_a_full_queue_fails_calls_and_casts_but_not_signals(w):
    w.mesh.full.add((w.near.uid, w.far.uid))
    with pytest.raises(OverloadedError) as caught:
        await w.target.call("x")
    assert caught.value.node_id == w.far.kernel.node_id
    assert w.target.cast("x") is False and w.target.send("x") is False
    w.target.exit("enough")
    assert await w.there.wait(1.0) == "enough"


@world
async def test_a_reply_for_which_there_is_no_room_is_an_error_that_says_so(w):
    post = w.far.operations.post

    def crowded(uid, data, **options):
        return len(data) < 1000 and post(uid, data, **options)

    w.far.operations.post = crowded
    with pytest.raises(MessageSerializationError, match=f"queue to node {w.near.uid[0]} is full"):
        await w.target.call("x" * 2000)
    assert await w.target.call("small") == "small"


@world
async def test_an_unknown_node_is_not_reachable(w):
    nowhere = w.near.kernel.ref_for("no@127.0.0.1:9", 1, 5)
    with pytest.raises(NodeNotReachableError) as caught:
        await nowhere.call("x")
    assert caught.value.node_id == "no@127.0.0.1:9"
    assert nowhere.cast("x") is False and nowhere.send("x") is False
    assert await nowhere.is_alive() is False
    assert await nowhere.wait(1.0) == "noconnection"
    nowhere.exit("x")
    with pytest.raises(NodeNotReachableError):
        await nowhere.stop()


@world
async def test_a_ref_of_an_earlier_life_leads_to_nobody(w):
    again = w.mesh.add("again", incarnation=5)
    ref = await again.kernel.start(Server)
    earlier = w.near.kernel.ref_for(ref.node_id, 4, ref.serial)
    with pytest.raises(NoProcessError) as caught:
        await earlier.call("x")
    assert caught.value.ref == earlier
    assert await earlier.wait(1.0) == "noproc"
    assert await earlier.is_alive() is False
    assert earlier.cast("x") is False
    await w.here.call(("link", earlier))
    assert await w.here.wait(1.0) == "noproc"
    to_come = w.near.kernel.ref_for(ref.node_id, 6, ref.serial)
    with pytest.raises(NodeNotReachableError):
        await to_come.call("x")
    assert await to_come.wait(1.0) == "noconnection"


@world
async def test_a_new_life_of_a_peer_ends_the_one_before(w):
    call = asyncio.ensure_future(w.target.call("keep"))
    await until(lambda: w.server(w.there).kept)
    w.near.operations.peer_up(w.far.uid)  # known already: nothing happens
    assert w.near.open_rows == 1
    w.near.operations.peer_up((w.far.kernel.node_id, 2))
    with pytest.raises(NodeNotReachableError):
        await call
    w.far.operations.peer_down(w.near.uid)


# ---------------------------------------------------------------------- names and refs


@world
async def test_a_name_is_an_address_in_any_life_or_in_one(w):
    for incarnation in (0, w.far.uid[1]):
        named = w.near.kernel.named_ref("server", w.far.kernel.node_id, incarnation)
        assert await named.call("hello") == "hello"
        assert named.cast("c") and named.send("i")
        assert await named.is_alive() is True
    nobody = w.near.kernel.named_ref("nobody", w.far.kernel.node_id)
    with pytest.raises(NoProcessError):
        await nobody.call("hello")
    assert await nobody.is_alive() is False
    assert await nobody.wait(1.0) == "noproc"
    assert nobody.cast("lost") is True  # it travels, and is a dead letter there
    await until(lambda: w.far.kernel.dead_letters == 1)


@world
async def test_a_named_process_can_be_monitored_stopped_and_told_to_exit(w):
    named = w.near.kernel.named_ref("server", w.far.kernel.node_id)
    monitor = w.near.kernel.monitor(named)
    named.exit("normal")  # ignored
    await named.stop()
    assert await monitor.wait(1.0) == "normal"
    assert w.far.kernel.whereis("server") is None


@world
async def test_a_ref_that_comes_home_is_the_same_object(w):
    assert await w.target.call(("is", w.target)) is True
    assert await w.target.call(w.here) is w.here
    assert await w.target.call([w.there]) == [w.target]


@world
async def test_refs_of_an_ended_life_of_this_node_travel_as_of_the_present_one(w):
    w.far.kernel.new_life(9)
    w.near.operations.peer_down((w.far.kernel.node_id, 1))
    w.far.operations.peer_down(w.near.uid)
    w.near.operations.peer_up((w.far.kernel.node_id, 9))
    w.far.operations.peer_up(w.near.uid)
    probe = w.near.kernel.named_ref("server", w.far.kernel.node_id)
    w.server(w.there).kept = w.there
    got = await w.far.kernel.call(w.far.elsewhere(w.here), w.there, 1.0)
    assert got is w.there  # it has travelled there and back
    assert w.there.incarnation == 1
    fresh = w.near.kernel.ref_for(w.there.node_id, 9, w.there.serial)
    assert await fresh.call("hello") == "hello"
    assert await probe.call("hello") == "hello"


def test_a_dead_letter_from_another_node_is_counted_and_told(caplog):
    @world
    async def main(w):
        await w.there.stop()
        count = w.far.kernel.dead_letters
        w.target.cast("late")
        w.target.send("late")
        await until(lambda: w.far.kernel.dead_letters == count + 2)
        told = [r.noex for r in caplog.records if r.getMessage().startswith("dead_letter")]
        assert [event["kind"] for event in told] == ["cast", "info"]
        assert {event["node"] for event in told} == {w.far.kernel.node_id}
        assert all("#1 at far@127.0.0.1:1" in event["ref"] for event in told)
        assert all("bytes" in event["message"] for event in told)

    with caplog.at_level(logging.DEBUG, "noex"):
        main()


# ---------------------------------------------------------------------- life and death


@world
async def test_stop_returns_when_the_process_is_gone(w):
    await w.target.stop("shutdown")
    assert w.far.kernel.process_count == 0
    with pytest.raises(NoProcessError):
        await w.target.stop()


@world
async def test_case_154_a_stop_tells_for_what_other_reason_a_far_process_ended(w):
    both = asyncio.gather(w.target.call("crash"), w.target.stop(), return_exceptions=True)
    for error in await both:
        assert isinstance(error, ServerCrashedError) and error.ref == w.target
        assert isinstance(error.reason, ValueError) and error.reason.args == ("told so", 7)
    assert w.far.kernel.process_count == 0


@world
async def test_case_154_a_reason_that_has_travelled_is_still_the_one_that_was_asked_for(w):
    for reason in (ValueError("asked"), ("shutdown", KeyError("why")), [1, {2: 3.0}], ("x", None)):
        there = await w.far.kernel.start(Server)
        await w.near.elsewhere(there).stop(reason)
    assert w.far.kernel.process_count == 1


@world
async def test_case_154_a_stop_whose_node_is_lost_meanwhile_says_so(w):
    w.mesh.hold(w.near, w.far)
    stop = asyncio.create_task(w.target.stop())
    await asyncio.sleep(0)
    w.mesh.part(w.near, w.far)
    with pytest.raises(NodeNotReachableError):
        await asyncio.wait_for(stop, 2.0)
    w.mesh.release(w.near, w.far)
    assert await w.there.is_alive()


@world
async def test_exit_signals_follow_the_local_rules(w):
    trapping = await w.far.kernel.start(Server, (True,))
    far_trapping = w.near.elsewhere(trapping)
    w.target.exit("normal")
    far_trapping.exit("reason")
    heard = await far_trapping.call("heard")
    assert heard == [Exit(None, "reason")]
    assert await w.target.is_alive() is True
    far_trapping.exit("kill")
    assert await far_trapping.wait(1.0) in ("killed", "noproc")
    w.target.exit(("shutdown", {"why": [1]}))
    assert await w.there.wait(1.0) in (("shutdown", {"why": [1]}), "noproc")


@world
async def test_an_exit_names_its_sender(w):
    class Sender(Server):
        def handle_call(self, message, state):
            message.exit("from me")
            return self.ref, state

    sender = await w.near.kernel.start(Sender)
    trapping = await w.far.kernel.start(Server, (True,))
    assert await sender.call(w.near.elsewhere(trapping)) is sender
    await until(lambda: w.server(trapping).heard)
    assert w.server(trapping).heard == [Exit(w.far.elsewhere(sender), "from me")]


@world
async def test_is_alive_asks_the_other_node(w):
    assert await w.target.is_alive() is True
    await w.there.stop()
    assert await w.target.is_alive() is False


@world
async def test_is_alive_without_an_answer_times_out_and_leaves_nothing(w):
    w.mesh.hold(w.near, w.far)
    with pytest.raises(CallTimeoutError):
        await w.target.is_alive(timeout=0.02)
    assert w.near.open_rows == 0
    w.mesh.release(w.near, w.far)


# ---------------------------------------------------------------------- monitors


@world
async def test_each_monitor_fires_once_with_the_reason(w):
    monitors = [w.near.kernel.monitor(w.target) for _ in range(3)]
    assert await w.here.call(("monitor", w.target)) is None
    w.target.exit("bye")
    assert [await monitor.wait(1.0) for monitor in monitors] == ["bye"] * 3
    await until(lambda: w.server(w.here).heard)
    (down,) = w.server(w.here).heard
    assert isinstance(down, Down) and (down.ref, down.reason) == (w.target, "bye")


@world
async def test_a_monitor_of_a_dead_process_fires_at_once_with_noproc(w):
    await w.there.stop()
    assert await w.target.wait(1.0) == "noproc"


@world
async def test_a_cancelled_monitor_delivers_nothing(w):
    w.mesh.hold(w.far, w.near)
    await w.here.call(("monitor", w.target))
    await until(lambda: w.far.open_rows == 1)
    (monitor,) = w.here.process.monitoring
    await w.there.stop()
    monitor.cancel()
    w.mesh.release(w.far, w.near)
    await until(lambda: w.idle)
    assert w.server(w.here).heard == []


@world
async def test_demonitor_frees_both_sides(w):
    monitor = w.near.kernel.monitor(w.target)
    await until(lambda: w.far.open_rows == 1)
    monitor.cancel()
    await until(lambda: w.idle)
    assert not w.there.process.watchers


@world
async def test_a_reason_that_cannot_travel_arrives_as_its_text(w):
    monitor = w.near.kernel.monitor(w.target)
    await until(lambda: w.far.open_rows == 1)
    w.there.exit(socket.socket)
    reason = await monitor.wait(1.0)
    assert isinstance(reason, str) and "socket" in reason


class Nameless:
    """Cannot travel, and cannot be shown."""

    def __repr__(self):
        raise RuntimeError("no repr")


@world
async def test_a_reason_that_cannot_be_shown_either_is_told_all_the_same(w):
    monitor = w.near.kernel.monitor(w.target)
    await until(lambda: w.far.open_rows == 1)
    w.there.exit((Nameless(),))
    assert "tuple" in await monitor.wait(1.0)


@world
async def test_an_orderly_end_with_a_detail_that_cannot_travel_stays_orderly(w):
    """Else a transient child would be started again after it was told to end."""
    monitor = w.near.kernel.monitor(w.target)
    await until(lambda: w.far.open_rows == 1)
    w.there.exit(("shutdown", Nameless()))
    word, detail = await monitor.wait(1.0)
    assert word == "shutdown" and "Nameless" in detail


# ---------------------------------------------------------------------- links


@world
async def test_a_link_ends_both_whichever_dies_first(w):
    await w.here.call(("link", w.target))
    w.target.exit("far end")
    assert await w.here.wait(1.0) == "far end"


@world
async def test_a_link_works_in_the_other_direction_too(w):
    await w.here.call(("link", w.target))
    await until(lambda: w.far.open_rows == 1)
    w.here.exit("near end")
    assert await w.there.wait(1.0) == "near end"


@world
async def test_a_link_to_a_dead_process_brings_noproc(w):
    await w.there.stop()
    await w.here.call(("link", w.target))
    assert await w.here.wait(1.0) == "noproc"


@world
async def test_a_normal_end_breaks_a_link_silently(w):
    await w.here.call(("link", w.target))
    await w.target.stop()
    await until(lambda: w.idle)
    assert await w.here.call("still here") == "still here"
    assert not w.here.process.links


@world
async def test_after_unlink_nothing_arrives(w):
    await w.here.call(("link", w.target))
    await until(lambda: w.far.open_rows == 1)
    await w.here.call(("unlink", w.target))
    await until(lambda: w.idle)
    assert not w.there.process.links
    w.target.exit("alone")
    assert await w.there.wait(1.0) == "alone"
    assert await w.here.call("alive") == "alive"


@world
async def test_unlink_crossing_the_exit_is_silent(w):
    await w.here.call(("link", w.target))
    await until(lambda: w.far.open_rows == 1)
    w.mesh.hold(w.far, w.near)
    await w.there.stop("shutdown")
    await w.here.call(("unlink", w.target))
    w.mesh.release(w.far, w.near)
    await until(lambda: w.idle)
    assert await w.here.call("alive") == "alive"


@world
async def test_case_157_an_unlink_that_crosses_a_link_leaves_no_half_link(w):
    """Both are linked; one takes the link back while the other makes it again."""
    await w.here.call(("link", w.target))
    await until(lambda: w.far.open_rows == 1)
    for direction in ((w.near, w.far), (w.far, w.near)):
        w.mesh.hold(*direction)
    w.near.kernel.unlink(w.here.process, w.target)
    w.far.kernel.link(w.there.process, w.far.elsewhere(w.here))
    for direction in ((w.near, w.far), (w.far, w.near)):
        w.mesh.release(*direction)
    await until(lambda: w.idle or w.near.open_rows == w.far.open_rows == 1)
    await settled(w)
    assert bool(w.here.process.links) == bool(w.there.process.links)


async def settled(w):
    """Until nothing is on its way."""
    posted = None
    while posted != w.mesh.posted:
        posted = w.mesh.posted
        for _ in range(5):
            await asyncio.sleep(0)


@world
async def test_case_157_links_and_unlinks_from_both_sides_at_once(w):
    """However they cross: in the end both have the link, or none has it, and a death tells."""
    random = Random(157)
    for _ in range(1500):
        near = await w.near.kernel.start(Server, (True,))
        far = await w.far.kernel.start(Server, (True,))
        sides = (
            (w.near.kernel, near.process, w.near.elsewhere(far)),
            (w.far.kernel, far.process, w.far.elsewhere(near)),
        )
        for _ in range(random.randint(2, 8)):
            kernel, process, other = random.choice(sides)
            random.choice((kernel.link, kernel.unlink))(process, other)
            for _ in range(random.choice((0, 0, 1, 2, 3))):
                await asyncio.sleep(0)
        await settled(w)
        linked = bool(near.process.links)
        assert linked == bool(far.process.links)
        assert w.near.open_rows == w.far.open_rows == linked
        heard = w.server(far).heard
        near.exit("kill")
        await settled(w)
        assert heard == ([Exit(sides[1][2], "killed")] if linked else [])
        assert not far.process.links
        far.exit("kill")


# ---------------------------------------------------------------------- a life ends


@world
async def test_the_end_of_a_life_settles_everything_once_and_empties_the_tables(w):
    watcher = await w.near.kernel.start(Server)
    linked = await w.near.kernel.start(Server, (True,))
    await watcher.call(("monitor", w.target))
    await linked.call(("link", w.target))
    outside = w.near.kernel.monitor(w.target)
    alive = asyncio.ensure_future(w.target.is_alive())
    calls = [asyncio.ensure_future(w.target.call("keep", timeout=None)) for _ in range(3)]
    owed = asyncio.ensure_future(w.far.elsewhere(w.here).call("keep", timeout=None))
    other_way = w.far.kernel.monitor(w.far.elsewhere(w.here))
    await until(lambda: len(w.server(w.there).kept) == 3 and w.server(w.here).kept)
    assert await alive is True
    w.mesh.hold(w.far, w.near)  # what is still under way is not delivered
    w.there.exit("shutdown")
    w.near.operations.peer_down(w.far.uid)
    w.mesh.release(w.far, w.near)
    for call in [*calls]:
        with pytest.raises(NodeNotReachableError) as caught:
            await call
        assert caught.value.node_id == w.far.kernel.node_id
    assert await outside.wait(1.0) == "noconnection"
    await until(lambda: w.server(watcher).heard and w.server(linked).heard)
    assert [d.reason for d in w.server(watcher).heard] == ["noconnection"]
    assert w.server(linked).heard == [Exit(w.target, "noconnection")]
    assert not linked.process.links and not watcher.process.monitoring
    (kept,) = w.server(w.here).kept
    assert kept.expired and kept.reply("nobody is there") is False
    assert not w.here.process.watchers
    assert w.near.operations.peers == {}
    w.far.operations.peer_down(w.near.uid)
    with pytest.raises(NodeNotReachableError):
        await owed
    assert await other_way.wait(1.0) == "noconnection"
    for operations in (w.near.operations, w.far.operations):  # once more: nothing happens
        operations.peer_down(w.far.uid)
        operations.peer_down(w.near.uid)
    assert len(w.server(watcher).heard) == 1


@world
async def test_the_end_of_another_life_touches_nothing(w):
    call = asyncio.ensure_future(w.target.call("keep"))
    await until(lambda: w.server(w.there).kept)
    w.near.operations.peer_down((w.far.kernel.node_id, w.far.uid[1] - 1))
    w.server(w.there).kept[0].reply("fine")
    assert await call == "fine"


@world
async def test_nothing_of_an_ended_life_is_delivered(w):
    w.mesh.hold(w.far, w.near)
    far_here = w.far.elsewhere(w.here)
    far_here.cast("late")
    w.near.operations.peer_down(w.far.uid)
    w.mesh.release(w.far, w.near)
    for _ in range(5):
        await asyncio.sleep(0)
    assert w.server(w.here).heard == []
    w.far.operations.peer_down(w.near.uid)


# ---------------------------------------------------------------------- what a stranger may send


@world
async def test_a_call_that_cannot_be_read_is_answered_with_an_error(w):
    (peer,) = w.far.operations.peers.values()
    far_side = next(iter(w.near.operations.peers.values()))
    future = asyncio.get_running_loop().create_future()
    caller = LocalCaller(future, w.target)
    far_side.calls[77] = caller
    w.far.inbound.receive(peer.uid, [ops.pack_op(ops.CALL, w.there.serial, 77, 0, b"\xc1\xff")])
    with pytest.raises(MessageSerializationError):
        await future
    assert await w.target.call("the link lives") == "the link lives"


@world
async def test_a_reply_that_cannot_be_read_fails_the_caller(w):
    call = asyncio.ensure_future(w.target.call("keep"))
    await until(lambda: w.server(w.there).kept)
    (ident,) = next(iter(w.near.operations.peers.values())).calls
    w.near.inbound.receive(w.far.uid, [ops.pack_op(ops.REPLY, ident=ident, body=b"\xc1\xff")])
    with pytest.raises(MessageSerializationError):
        await call
    w.server(w.there).kept[0].reply(None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 7,
        ops.pack_op(99, 1, 2, 3),
        ops.pack_op(ops.CAST, 1, body=b"\xc1"),
        ops.pack_op(ops.EXIT, 1, body=b"\x01"),
        ops.pack_op(ops.DOWN, ident=5, body=b"\xc1"),
        ops.pack_op(ops.REPLY, ident=12345, body=b"\xc0"),
        ops.pack_op(ops.ERROR, ident=12345, body=b"\xc0"),
        ops.pack_op(ops.CANCEL, ident=12345),
        ops.pack_op(ops.DEMONITOR, ident=12345),
        ops.pack_op(ops.UNLINK, 1, 12345),
        ops.pack_op(ops.LINK_EXIT, 1, 12345, body=b"\xc0"),
        ops.pack_op(ops.CALL, name="x" * 9)[:-4],
        ops.pack_op(ops.CAST, name="n")[:-1] + b"\xff",
        ops.pack_op(ops.CAST, name="n")[:22],
    ],
)
def test_a_message_that_makes_no_sense_costs_only_itself(data):
    @world
    async def check(w):
        good = ops.pack_op(ops.CAST, w.there.serial, body=w.near.operations.codec.encode("good"))
        w.far.inbound.receive(w.near.uid, [data, good])
        assert await w.target.call("heard") == [("cast", "good")]

    check()


@world
async def test_messages_of_an_unknown_life_are_not_read(w):
    w.far.inbound.receive((w.near.kernel.node_id, 99), [b"junk"])
    w.far.inbound.receive(("x@h:1", 1), [ops.pack_op(ops.EXIT, w.there.serial, body=b"\xc0")])
    assert await w.target.is_alive() is True


@world
async def test_a_call_failed_by_an_answer_that_is_no_exception_is_still_failed(w):
    call = asyncio.ensure_future(w.target.call("keep"))
    await until(lambda: w.server(w.there).kept)
    (ident,) = next(iter(w.near.operations.peers.values())).calls
    w.near.inbound.receive(w.far.uid, [ops.pack_op(ops.ERROR, ident=ident, body=b"\x2a")])
    with pytest.raises(NoexError):
        await call
    w.server(w.there).kept[0].reply(None)


def test_an_operation_survives_packing():
    op = ops.unpack_op(ops.pack_op(ops.CALL, 2**63, 7, 9, b"body"))
    assert (op.kind, op.target, op.ident, op.extra, op.name) == (ops.CALL, 2**63, 7, 9, None)
    assert bytes(op.body) == b"body"
    op = ops.unpack_op(ops.pack_op(ops.CAST, body=b"b", name="häns"))
    assert (op.kind, op.name, bytes(op.body)) == (ops.CAST, "häns", b"b")


def test_a_ref_knows_whether_it_is_local():
    async def main():
        async with mesh_of("near", "far") as mesh:
            near, far = mesh.members["near"], mesh.members["far"]
            ref: Ref = await far.kernel.start(Server)
            assert ref.is_local and not near.elsewhere(ref).is_local
            assert near.elsewhere(ref) == ref and hash(near.elsewhere(ref)) == hash(ref)

    asyncio.run(main())


@world
async def test_a_call_that_is_alone_leaves_at_once_and_one_of_many_with_the_others(w):
    pushed = []
    w.near.operations.push = lambda: pushed.append(1)
    for n in range(5):
        await w.target.call(n)
    assert len(pushed) == 4  # only after the first answer it is known to be alone
    pushed.clear()

    async def caller():
        for n in range(10):
            await w.target.call(n)

    await asyncio.gather(*(caller() for _ in range(100)))
    assert len(pushed) <= 100  # of a thousand: this mesh brings each answer by itself
    pushed.clear()
    w.near.operations.peers[w.far.uid[0]].is_alone = False
    w.target.cast("not waited for")
    assert pushed == []


@world
async def test_a_batch_ends_where_the_life_of_its_sender_does(w):
    """What lies behind the end of a life is not delivered, though it came with it."""

    def end_life(_peer, _op):
        w.near.operations.peer_down(w.far.uid)

    w.near.inbound._handlers[ops.DOWN] = end_life
    down = ops.pack_op(ops.DOWN, ident=1, body=b"\xa4gone")
    cast = ops.pack_op(ops.CAST, w.here.serial, body=b"\xa4late")
    w.near.inbound.receive(w.far.uid, [cast, down, cast, cast])
    w.mesh.part(w.near, w.far)
    assert await w.here.call("heard") == [("cast", "late")]
