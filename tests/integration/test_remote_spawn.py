"""Starting processes in another operating system process: each once, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import eventually
from pair import Pair, scene
from remote_actors import Told

from noex import (
    CallTimeoutError,
    GlobalNameConflictError,
    InitFailedError,
    InitTimeoutError,
    InvalidOptionError,
    Mailbox,
    MessageSerializationError,
    NameTakenError,
    NodeNotReachableError,
    OverloadedError,
)
from noex.registry.spawner import SPAWNER
from noex.runtime.errors import BehaviorNotFoundError

NOWHERE = "nobody@127.0.0.1:9"


async def until_nothing_starts(two: Pair) -> None:
    """The far spawner has nothing under way, and a name that a late start took is free again."""
    spawner = two.near.kernel.named_ref(SPAWNER, two.far)
    await eventually(lambda: spawner.call(("under_way",)), lambda count: count == 0)


async def runs(two: Pair, *what: Any) -> int:
    """How often the far node has run the init of `Trouble` with this."""
    probe = await two.near.spawn("trouble", "probe", on=two.far)
    count: int = await probe.call(("runs", *what))
    probe.exit("kill")
    return count


@scene
async def test_arguments_travel_and_the_process_is_there(two: Pair) -> None:
    ref = await two.near.spawn("server", 1, (2, {3}), on=two.far, key="v", timeout=4)
    assert ref.node_id == two.far and not ref.is_local
    assert await ref.call("state") == ((1, (2, {3})), {"key": "v", "timeout": 4})
    assert await two.near.spawn("trouble", "ignore", on=two.far) is None
    here = await two.near.spawn("server", 5)
    assert here.is_local and await here.call("state") == ((5,), {})


# Case 178.
@scene
async def test_case_178_what_the_other_node_does_not_have_is_refused(two: Pair) -> None:
    with pytest.raises(BehaviorNotFoundError) as caught:
        await two.near.spawn("nothing", on=two.far)
    assert (caught.value.behavior_name, caught.value.node_id) == ("nothing", two.far)
    # It has what this node does not have, and takes no code from it.
    assert not two.near.behaviors.has("stranger")
    assert await (await two.near.spawn("stranger", on=two.far)).is_alive()
    with pytest.raises(InvalidOptionError, match="registered behavior"):
        await two.near.spawn(Told, on=two.far)  # type: ignore[arg-type]
    with pytest.raises(NodeNotReachableError) as nowhere:
        await two.near.spawn("server", on=NOWHERE)
    assert nowhere.value.node_id == NOWHERE


@scene
async def test_a_start_that_fails_says_why_and_leaves_nothing(two: Pair) -> None:
    with pytest.raises(InitFailedError) as caught:
        await two.near.options(name="failing").spawn("trouble", "raise", on=two.far)
    cause = caught.value.__cause__
    assert type(cause) is Told and (cause.what, cause.number) == ("start", 1)
    assert "remote_actors.py" in cause.remote_traceback  # type: ignore[attr-defined]
    with pytest.raises(InitTimeoutError):
        options = two.near.options(name="failing", init_timeout=0.05)
        await options.spawn("trouble", "sleep", 60, on=two.far)
    with pytest.raises(MessageSerializationError, match=r"args\[1\]\.x|args\[1\]"):
        await two.near.spawn("server", 0, object(), on=two.far)
    with pytest.raises(MessageSerializationError, match="kwargs"):
        await two.near.spawn("server", on=two.far, conn=object())
    assert await two.near.ref("failing", on=two.far).is_alive() is False


@scene
async def test_a_name_is_local_or_global_and_taken_once(two: Pair) -> None:
    near, far = two.near, two.far
    local = await near.options(name="both").spawn("server", on=far)
    assert near.whereis("both") is None and await near.whereis_global("both") is None
    assert (await near.ref("both", on=far).info()).ref == local
    with pytest.raises(NameTakenError) as taken:
        await near.options(name="both").spawn("server", on=far)
    assert (taken.value.name, taken.value.owner) == ("both", local)
    everywhere = await near.options(name="both", register="global").spawn("server", on=far)
    assert await near.whereis_global("both") == everywhere
    count = await two.far_processes()
    with pytest.raises(GlobalNameConflictError) as conflict:
        await near.options(name="both", register="global").spawn("server", on=far)
    assert conflict.value.owner == everywhere
    assert await two.far_processes() == count  # the loser is gone
    for ref in (local, everywhere):
        await ref.stop()


@scene
async def test_the_options_of_a_start_travel(two: Pair) -> None:
    options = two.near.options(mailbox=Mailbox(2))
    ref = await options.spawn("server", on=two.far)
    busy = asyncio.ensure_future(ref.call(("sleep", 0.3)))
    await eventually(ref.info, lambda info: info.status != "idle" and info.mailbox_length == 0)
    waiting = [asyncio.ensure_future(ref.call(n)) for n in range(4)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(o) for o in outcomes] == [int, int, OverloadedError, OverloadedError]
    assert await busy == 0.3


@scene
async def test_a_start_whose_requester_has_given_up_is_stopped(two: Pair) -> None:
    """It timed out, or its task was cancelled: `init` ends, and nothing is left."""
    with pytest.raises(CallTimeoutError):
        options = two.near.options(name="late", timeout=0.1)
        await options.spawn("trouble", "sleep", 59, on=two.far)
    options = two.near.options(name="later")
    starting = asyncio.ensure_future(options.spawn("trouble", "sleep", 58, on=two.far))
    await eventually(lambda: runs(two, "sleep", 58), lambda count: count == 1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until_nothing_starts(two)
    for name in ("late", "later"):
        assert await two.near.ref(name, on=two.far).is_alive() is False
    assert await runs(two, "sleep", 59) == 1


# ---------------------------------------------------------------------- the same again


@scene
async def test_the_same_key_gives_the_same_process(two: Pair) -> None:
    keyed = two.near.options(key=("job", 1))
    together = [keyed.spawn("trouble", "sleep", 0.05, on=two.far) for _ in range(10)]
    first, *others = await asyncio.gather(*together)
    assert set(others) == {first}
    assert await keyed.spawn("trouble", "sleep", 0.05, on=two.far) == first
    assert await runs(two, "sleep", 0.05) == 1
    other = await two.near.options(key=("job", 2)).spawn("trouble", "sleep", 0.05, on=two.far)
    assert other != first and await runs(two, "sleep", 0.05) == 2
    with pytest.raises(InvalidOptionError, match="hashable"):
        two.near.options(key=["job"])  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="not repeated"):
        await two.near.options(key="x").start(type(two.near.kernel.find(await two.here()).server))


@scene
async def test_after_a_lost_answer_the_same_key_gives_the_same_process(two: Pair) -> None:
    keyed = two.near.options(key="lost", name="lost", timeout=0.5)
    asking = asyncio.ensure_future(keyed.spawn("trouble", "sleep", 0.01, on=two.far))
    await asyncio.sleep(0)  # sleep: one turn of the loop, in which the request is sent
    (ident,) = two.peer.calls
    del two.peer.calls[ident]  # so the answer will find nobody, and nobody takes the request back
    with pytest.raises(CallTimeoutError):
        await asking
    started = await two.near.ref("lost", on=two.far).info()
    assert await keyed.spawn("trouble", "sleep", 0.01, on=two.far) == started.ref
    assert await runs(two, "sleep", 0.01) == 1


@scene
async def test_without_a_key_every_spawn_is_a_process_of_its_own(two: Pair) -> None:
    refs = await asyncio.gather(*(two.there(n) for n in range(100)))
    assert len(set(refs)) == 100
    states = await asyncio.gather(*(ref.call("state") for ref in refs))
    assert states == [((n,), {}) for n in range(100)]
