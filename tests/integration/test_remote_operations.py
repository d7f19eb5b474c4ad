"""Every operation on a process, between two operating system processes over real ZeroMQ.

After each scene neither node has anything open with the other: `Stage.run` looks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from dataclasses import FrozenInstanceError
from decimal import Decimal
from typing import Any

import pytest
from arena import eventually
from pair import Pair, scene
from remote_actors import Tally, Times, Told

from noex import (
    CallTimeoutError,
    GlobalNameConflictError,
    MessageSerializationError,
    NodeNotReachableError,
    NoexError,
    NoProcessError,
    OverloadedError,
    ProcessInfo,
    RemoteError,
    ServerCrashedError,
)

NOWHERE = "nobody@127.0.0.1:9"


async def heard(ref: Any, count: int) -> list[Any]:
    """What a server heard, as soon as that is `count` things."""
    found = await eventually(lambda: ref.call("heard"), lambda items: len(items) >= count)
    assert len(found) == count
    return found


# ---------------------------------------------------------------------- messages


@scene
async def test_a_call_is_answered_by_the_other_process(two: Pair) -> None:
    ref = await two.there()
    assert await ref.call("pid") == two.cluster["far"].pid != os.getpid()
    message = ("x", [1, 2.5, None], {"k": {3}, (1, 2): b"\0"}, frozenset({True}), Decimal("1.10"))
    assert await ref.call(message) == message
    assert await ref.call((ref, "x")) == (ref, "x")


@scene
async def test_a_thousand_callers_get_each_its_own_reply(two: Pair) -> None:
    ref = await two.there()
    assert await asyncio.gather(*(ref.call(n) for n in range(1000))) == list(range(1000))


@scene
async def test_casts_and_sends_arrive_in_order_with_the_calls(two: Pair) -> None:
    ref = await two.there()
    expected = []
    for n in range(100):
        assert ref.cast(("cast", n)) is True
        assert ref.send(("send", n)) is True
        expected += [("cast", ("cast", n)), ("info", ("send", n))]
    assert await ref.call("heard") == expected


@scene
async def test_a_message_that_cannot_travel_raises_at_the_senders_line(two: Pair) -> None:
    ref = await two.there()
    unfit = ("x", {"conn": object()})
    for use in (ref.cast, ref.send):
        with pytest.raises(MessageSerializationError, match=r"message\[1\]\['conn'\]"):
            use(unfit)
    with pytest.raises(MessageSerializationError, match=r"message\[1\]\['conn'\]"):
        await ref.call(unfit)
    with pytest.raises(MessageSerializationError, match="exit"):
        ref.exit(object())
    assert await ref.call("heard") == []


@scene
async def test_a_reply_that_cannot_travel_is_the_callers_error_and_the_server_lives(
    two: Pair,
) -> None:
    ref = await two.there()
    with pytest.raises(MessageSerializationError, match="reply"):
        await ref.call("unsendable")
    assert await ref.is_alive()


@scene
async def test_a_reply_may_come_later_and_from_another_message(two: Pair) -> None:
    ref = await two.there()
    waiting = [asyncio.ensure_future(ref.call(("keep", n))) for n in range(10)]
    await heard(ref, 10)
    assert await ref.call(("answer", "late")) == [True] * 10
    assert await asyncio.gather(*waiting) == ["late"] * 10


# Case 130.
@scene
async def test_case_130_a_late_reply_reaches_nobody(two: Pair) -> None:
    ref = await two.there()
    with pytest.raises(CallTimeoutError) as caught:
        await ref.call("keep", timeout=0.05)
    assert caught.value.ref == ref and caught.value.timeout == 0.05
    assert await ref.call(("answer", "too late")) == [False]
    assert await ref.call("next") == "next"


@scene
async def test_a_call_that_is_given_up_is_cancelled_on_the_other_node(two: Pair) -> None:
    """By a message, long before its time is over there."""
    ref = await two.there()
    call = asyncio.ensure_future(ref.call("keep", timeout=60.0))
    await heard(ref, 1)
    assert await ref.call("owed") == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: ref.call("owed"), lambda owed: owed == 0)
    busy = asyncio.ensure_future(ref.call(("sleep", 0.1)))
    queued = asyncio.ensure_future(ref.call("keep", timeout=60.0))
    await asyncio.sleep(0)  # sleep: one turn of the loop, so that both calls are on their way
    queued.cancel()
    assert await busy == 0.1
    assert await ref.call("heard") == ["keep"]  # it was not carried out


@scene
async def test_a_call_carries_its_time_and_is_not_carried_out_after_it(two: Pair) -> None:
    ref = await two.there()
    busy = asyncio.ensure_future(ref.call(("sleep", 0.2)))
    late = asyncio.ensure_future(ref.call("keep", timeout=0.05))
    with pytest.raises(CallTimeoutError):
        await late
    assert await busy == 0.2
    assert await ref.call("heard") == []


@scene
async def test_a_call_to_the_dead_and_to_the_unknown(two: Pair) -> None:
    ref = await two.there()
    await ref.stop()
    with pytest.raises(NoProcessError) as caught:
        await ref.call("x")
    assert caught.value.ref == ref
    ref.cast("lost")  # it cannot know
    lost = two.near.ref("server", on=NOWHERE)
    with pytest.raises(NodeNotReachableError) as unreachable:
        await lost.call("x")
    assert unreachable.value.node_id == NOWHERE
    with pytest.raises(NodeNotReachableError):
        await lost.resolve()
    assert lost.cast("x") is False and lost.send("x") is False
    assert await lost.is_alive() is False


# ---------------------------------------------------------------------- errors


@scene
async def test_a_crash_brings_its_exception_and_the_remote_traceback(two: Pair) -> None:
    ref = await two.there()
    with pytest.raises(ServerCrashedError) as caught:
        await ref.call(("crash", Told("fall", 7)))
    reason = caught.value.reason
    assert type(reason) is Told
    assert (reason.what, reason.number, reason.args) == ("fall", 7, ("told to: fall",))
    shown = "".join(traceback.format_exception(caught.value))
    assert "remote_actors.py" in shown and "in crash" in shown and "raise error" in shown
    assert caught.value.ref == ref
    assert await ref.is_alive() is False


@pytest.mark.parametrize(
    "error",
    [
        Told("x", 3),
        GlobalNameConflictError("leader", None),
        NodeNotReachableError("x@127.0.0.1:1"),
        OverloadedError("x@127.0.0.1:1"),
        MessageSerializationError("call", "message[0]", "why"),
        FileNotFoundError(2, "No such file", "/nowhere"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        FrozenInstanceError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
@scene
async def test_an_error_arrives_as_its_class_with_its_fields(two: Pair, error: Exception) -> None:
    ref = await two.there()
    with pytest.raises(type(error)) as caught:
        await ref.call(("fail", error))
    got = caught.value
    assert type(got) is type(error) and got.args == error.args and str(got) == str(error)
    for field in error.fields if isinstance(error, NoexError) else ():
        assert getattr(got, field) == getattr(error, field)
    assert {k: v for k, v in vars(got).items() if k in vars(error)} == vars(error)
    assert await ref.is_alive()


@scene
async def test_an_error_of_an_unknown_class_arrives_as_a_remote_error(two: Pair) -> None:
    ref = await two.near.spawn("stranger", on=two.far)
    with pytest.raises(ServerCrashedError) as caught:
        await ref.call("anything")
    reason = caught.value.reason
    assert type(reason) is RemoteError
    assert reason.type_name.endswith("remote_strangers.StrangeError")
    assert "never heard of" in str(reason)
    shown = "".join(traceback.format_exception(caught.value))
    assert "remote_strangers.py" in shown and "in handle_call" in shown


@scene
async def test_what_cannot_be_read_here_is_told_as_its_text_and_nobody_waits(two: Pair) -> None:
    """A class that only the other node knows: in a reply, a reason, an exit signal, a stop."""
    stranger = await two.near.spawn("stranger", on=two.far)
    with pytest.raises(MessageSerializationError, match="StrangeValue"):
        await stranger.call("value")
    here, other, stopped = await two.here(trap=True), await two.here(), await two.here()
    ends = [two.near.monitor(ref) for ref in (stranger, other, stopped)]
    await here.call(("monitor", stranger))
    await stranger.call(("link", here))
    assert await stranger.call(("exit", here)) == await stranger.call(("exit", other)) == "sent"
    assert await stranger.call(("stop", stopped)) == "sent"
    with pytest.raises(NoexError, match="StrangeValue"):
        await stranger.call("end")
    for end in ends:
        reason = await end.wait(5.0)
        assert isinstance(reason, str) and "StrangeValue" in reason
    found = await heard(here, 3)
    assert sorted(kind for kind, _, _ in found) == ["down", "exit", "exit"]
    assert all("StrangeValue" in reason for _, _, reason in found)


# ---------------------------------------------------------------------- ends


@scene
async def test_stop_returns_when_the_process_is_gone(two: Pair) -> None:
    """Case 154."""
    ref = await two.there()
    for n in range(50):
        ref.cast(n)
    assert two.peer.open_rows == 0
    end = two.near.monitor(ref)
    await ref.stop(("shutdown", "enough"))
    assert await end.wait(0) == ("shutdown", "enough")
    with pytest.raises(NoProcessError):
        await ref.stop()
    other = await two.there()
    other.cast(("crash", Told("before", 1)))
    with pytest.raises(ServerCrashedError) as caught:
        await other.stop()
    assert type(caught.value.reason) is Told


# Cases 163, 164: the table of exit signals, with its two ends on two nodes.
@scene
async def test_case_164_exit_signals_between_two_nodes(two: Pair) -> None:
    for trap in (False, True):
        here, there = await two.both(trap=trap)
        signalled = [("exit", here, reason) for reason in ("normal", "odd")]
        await here.call(("exit", there, "normal"))  # ignored, or a message
        assert await there.call("heard") == signalled[:1] * trap
        await here.call(("exit", there, "odd"))
        if trap:
            assert await there.call("heard") == signalled
            await here.call(("exit", there, "kill"))
            assert await there.wait(5.0) in ("killed", "noproc")
        else:
            assert await there.wait(5.0) in ("odd", "noproc")
        assert await here.is_alive()


@scene
async def test_case_164_exit_signals_of_links_between_two_nodes(two: Pair) -> None:
    for trap in (False, True):
        for reason in ("normal", "odd"):
            for ends, lives in (await two.both(trap=trap), (await two.both(trap=trap))[::-1]):
                await lives.call(("link", ends))
                await ends.call("linked")
                end = two.near.monitor(lives)
                ends.cast(("end", reason))
                if trap:
                    assert await heard(lives, 1) == [("exit", ends, reason)]
                elif reason == "odd":
                    assert await end.wait(5.0) == "odd"
                    continue
                else:
                    assert await ends.wait(5.0) in ("normal", "noproc")
                assert await lives.call("here") == "here"
                end.cancel()
                await lives.stop()


@scene
async def test_case_163_normal_is_no_reason_to_end_for_another(two: Pair) -> None:
    ref = await two.there()
    ref.exit("normal")
    assert await ref.call("here") == "here"
    end = two.near.monitor(ref)
    ref.exit("kill")
    assert await end.wait(5.0) == "killed"


@scene
async def test_wait_and_is_alive(two: Pair) -> None:
    ref = await two.there()
    assert await ref.is_alive() is True
    with pytest.raises(TimeoutError):
        await ref.wait(0.02)
    waiting = asyncio.ensure_future(ref.wait())
    assert await asyncio.ensure_future(ref.call(("end", ("shutdown", 1)))) == "bye"
    assert await waiting == ("shutdown", 1)
    assert await ref.is_alive() is False
    assert await ref.wait() == "noproc"


# ---------------------------------------------------------------------- monitors and links


@scene
async def test_case_158_each_of_several_monitors_gives_one_down(two: Pair) -> None:
    """Case 179, the monitors: of a process, of a name, of the dead, of what nobody knows."""
    here, there = await two.both()
    monitors = [two.near.monitor(there) for _ in range(5)]
    await here.call(("monitor", there))
    there.cast(("crash", Told("fall", 1)))
    for monitor in monitors:
        reason = await monitor.wait(5.0)
        assert type(reason) is Told and not monitor.active
    ((kind, ref, reason),) = await heard(here, 1)
    assert (kind, ref, type(reason)) == ("down", there, Told)
    assert await two.near.monitor(there).wait(5.0) == "noproc"
    assert await two.near.monitor(two.near.ref("nobody", on=two.far)).wait(5.0) == "noproc"
    assert await two.near.monitor(two.near.ref("nobody", on=NOWHERE)).wait(5.0) == "noconnection"


@scene
async def test_the_far_node_monitors_ours(two: Pair) -> None:
    here, there = await two.both()
    await there.call(("monitor", here))
    assert (await two.rows()) == (1, 1)
    await here.stop("shutdown")
    assert await heard(there, 1) == [("down", here, "shutdown")]


@scene
async def test_case_160_on_down_the_name_can_be_taken_at_once(two: Pair) -> None:
    for _ in range(20):
        named = await two.near.options(name="taken").spawn("server", on=two.far)
        monitor = two.near.monitor(named)
        named.cast(("end", "over"))
        assert await monitor.wait(5.0) == "over"
    (await two.near.options(name="taken").spawn("server", on=two.far)).exit("kill")


@scene
async def test_case_161_after_a_wave_of_deaths_the_tables_are_empty(two: Pair) -> None:
    here = await two.here(trap=True)
    refs = await asyncio.gather(*(two.there() for _ in range(200)))
    for ref in refs:
        await here.call(("monitor", ref))
        await here.call(("link", ref))
    assert await two.rows() == (400, 400)
    for ref in refs:
        ref.exit("wave")
    found = await heard(here, 400)
    assert {(kind, ref) for kind, ref, _ in found} == {
        (k, r) for r in refs for k in ("down", "exit")
    }
    assert {reason for _, _, reason in found} == {"wave"}


@scene
async def test_demonitor_delivers_nothing_and_frees_both_nodes(two: Pair) -> None:
    here, there = await two.both()
    await here.call(("monitor", there))
    assert await two.rows() == (1, 1)
    await here.call(("demonitor", there))
    await two.until_settled()
    await there.stop()
    assert await here.call("heard") == []


@scene
async def test_the_end_of_a_watcher_does_not_overtake_its_monitor(two: Pair) -> None:
    """Which waits behind a large message of its own, when somebody else ends the watcher."""
    here, there = await two.both()
    await here.call(("burst", there, 1_000_000))
    here.exit("kill")
    assert len(await heard(there, 1)) == 1
    monitor = two.near.monitor(there)
    assert await two.rows() == (1, 1)
    monitor.cancel()


@scene
async def test_case_179_links_between_two_nodes(two: Pair) -> None:
    """Once per pair, both ways; to the dead; undone by either; not to a name elsewhere."""
    here, there = await two.both(trap=True)
    for _ in range(3):
        await here.call(("link", there))
        await there.call(("link", here))
    assert await two.rows() == (1, 1)
    assert (await there.info()).links == (here,) and (await here.info()).links == (there,)
    await there.call(("unlink", here))
    await two.until_settled()
    await here.call(("link", there))
    await here.call(("unlink", there))
    await two.until_settled()
    assert (await there.info()).links == () == (await here.info()).links
    await here.call(("link", there))
    await there.stop("odd")
    assert await heard(here, 1) == [("exit", there, "odd")]
    await here.call(("link", there))
    assert (await heard(here, 2))[1] == ("exit", there, "noproc")
    with pytest.raises(ServerCrashedError, match="a name on another node"):
        await here.call(("link", two.near.ref("server", on=two.far)))


# ---------------------------------------------------------------------- names


@scene
async def test_a_name_on_the_other_node_is_an_address(two: Pair) -> None:
    """Case 122, 128: resolved at each use."""
    name = two.near.ref("named", on=two.far)
    with pytest.raises(NoProcessError):
        await name.call("x")
    assert two.near.whereis("named") is None
    assert await name.is_alive() is False and await name.resolve() is None
    with pytest.raises(NoProcessError):
        await name.stop()
    first = await two.near.options(name="named").spawn("server", 1, on=two.far)
    assert await name.call("state") == ((1,), {})
    assert name.cast("by name") and name.send("too")
    assert await first.call("heard") == [("cast", "by name"), ("info", "too")]
    assert await name.resolve() == first == await first.resolve()
    end = two.near.monitor(name)
    await name.stop("shutdown")
    assert await end.wait(5.0) == "shutdown"
    second = await two.near.options(name="named").spawn("server", 2, on=two.far)
    assert await name.call("state") == ((2,), {})
    name.exit("kill")
    assert await second.wait(5.0) in ("killed", "noproc")


@scene
async def test_a_global_name_leads_to_the_other_node(two: Pair) -> None:
    options = two.near.options(name="leader", register="global")
    leader = await options.spawn("server", on=two.far)
    assert await two.near.whereis_global("leader") == leader
    with pytest.raises(GlobalNameConflictError) as caught:
        await options.spawn("server", on=two.far)
    assert caught.value.owner == leader
    await leader.stop()
    await eventually(lambda: two.near.whereis_global("leader"), lambda ref: ref is None)


# Case 137.
@scene
async def test_case_137_multi_call_over_two_processes(two: Pair) -> None:
    near, far = two.near, two.far
    here = await near.options(name="multi").start(type(near.kernel.find(await two.here()).server))
    there = await near.options(name="multi").spawn("server", on=far)
    replies, failed = await near.multi_call("multi", "pid")
    assert replies == {near.id: os.getpid(), far: two.cluster["far"].pid} and failed == {}
    replies, failed = await near.multi_call("multi", "keep", [far, NOWHERE], timeout=0.1)
    assert replies == {}
    assert type(failed[far]) is CallTimeoutError and type(failed[NOWHERE]) is NodeNotReachableError
    await there.stop()
    replies, failed = await near.multi_call("multi", "pid")
    assert replies == {near.id: os.getpid()} and type(failed[far]) is NoProcessError
    await here.stop()


# ---------------------------------------------------------------------- looking inside


@scene
async def test_info_and_statistics_tell_of_the_far_process(two: Pair) -> None:
    ref = await two.near.options(name="seen").spawn("server", on=two.far)
    for n in range(5):
        ref.cast(n)
    await ref.call("x")
    info = await ref.info()
    assert isinstance(info, ProcessInfo)
    assert (info.ref, info.name, info.node_id, info.behavior) == (ref, "seen", two.far, "server")
    assert (info.status, info.messages_handled, info.mailbox_length) == ("idle", 6, 0)
    found = await ref.statistics()
    assert (found.messages_handled, found.mailbox_length, found.replies_owed) == (6, 0, 0)
    busy = asyncio.ensure_future(ref.call(("sleep", 0.2)))
    assert (await eventually(ref.info, lambda info: info.status != "idle")).messages_handled == 7
    await busy
    await ref.stop()
    with pytest.raises(NoProcessError):
        await ref.info()


# Case 148.
@scene
async def test_case_148_state_suspend_and_resume(two: Pair) -> None:
    ref = await two.there(1, {2})
    assert await ref.get_state() == ((1, {2}), {})
    await ref.replace_state(["new"])
    assert await ref.get_state() == ["new"] == await ref.call("state")
    await ref.suspend()
    await ref.suspend()
    assert ref.cast("waits")
    with pytest.raises(CallTimeoutError):
        await ref.call("state", timeout=0.05)
    assert (await ref.info()).status == "suspended"
    assert await ref.get_state() == ["new"]
    await ref.resume()
    await ref.resume()
    assert await ref.call("heard") == [("cast", "waits")]
    await ref.replace_state(None)
    with pytest.raises(MessageSerializationError):
        await ref.replace_state(object())


# Case 149.
@scene
async def test_case_149_a_trace_is_switched_on_the_other_node(two: Pair) -> None:
    ref = await two.there()
    await ref.trace()
    assert (await ref.info()).is_traced
    await ref.call("traced")
    await ref.trace(False)
    await ref.call("untraced")
    log = two.cluster["far"].log()
    assert log.count("process_trace") == 2 and "'traced'" in log and "'untraced'" not in log
    assert logging.getLogger("noex").level == logging.NOTSET  # nothing was switched here


# ---------------------------------------------------------------------- types


@scene
async def test_typed_requests_and_methods(two: Pair) -> None:
    ref: Any = await two.near.spawn("tally", 10, on=two.far)
    assert await ref.call(Times(3)) == 30
    assert await ref.proxy.add(5) == 15
    assert await ref.proxy.add.with_timeout(5.0)(1, times=5) == 20
    assert ref.proxy.bump(2) is True and ref.proxy.bump.cast(3) is True
    assert await ref.proxy.add(0) == 25
    named: Any = two.near.ref("tally", on=two.far, behavior=Tally)
    with pytest.raises(NoProcessError):
        await named.proxy.add(1)
