"""Large messages between two nodes: they hold up nobody, and nothing of their own passes them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from lanes import until

from noex import Down, Exit, GenServer, Node
from noex.runtime.ref import Ref

pytestmark = pytest.mark.timeout(60)
MIB = 1 << 20
LARGE = os.urandom(20 * MIB)


class Hearer(GenServer[None]):
    """Notes what it hears, and how large it is."""

    def init(self) -> None:
        self.trap_exits = True
        self.heard: list[Any] = []
        return None

    def note(self, message: Any) -> None:
        match message:
            case bytes() | bytearray():
                self.heard.append(len(message))
            case Down(reason=reason):
                self.heard.append(("down", reason))
            case Exit(reason=reason):
                self.heard.append(("exit", reason))
            case _:
                self.heard.append(message)

    def handle_call(self, message: Any, state: None) -> Any:
        match message:
            case "heard":
                return list(self.heard), state
            case ("watch", ref):
                self.monitor(ref)
                self.link(ref)
            case _:
                self.note(message)
        return None, state

    def handle_cast(self, message: Any, state: None) -> None:
        self.note(message)

    def handle_info(self, message: Any, state: None) -> None:
        self.note(message)


class Speaker(GenServer[None]):
    """Says to another what it is told to say, large things first."""

    def init(self) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        match message:
            case ("large, then small", ref):
                ref.cast(LARGE)
                ref.cast("cast")
                ref.send("info")
                ref.cast(LARGE[: 3 * MIB])
                ref.exit("exit signal")
                return None, state
            case ("large, then the reply", ref):
                ref.cast(LARGE)
                return "reply", state
            case ("large, then the end", ref):
                ref.cast(LARGE)
                raise RuntimeError("after a large one")
            case _:
                return message, state


class World:
    """Two nodes, a hearer on the first, speakers on the second."""

    near: Node
    far: Node
    hearer: Ref[Any]
    there: Ref[Any]

    async def speaker(self) -> Ref[Any]:
        """A speaker on the far node, as the near one has it."""
        ref = await self.far.start(Speaker)
        assert self.near.kernel is not None
        return self.near.kernel.ref_for(ref.node_id, ref.incarnation, ref.serial)


def world(test: Any) -> Any:
    def run() -> None:
        async def main() -> None:
            async with (
                Node("near@127.0.0.1:0") as near,
                Node("far@127.0.0.1:0", seeds=[near.id]) as far,
            ):
                w = World()
                w.near, w.far = near, far
                await until(lambda: len(near.members()) == 2, "both are members")
                w.hearer = await near.start(Hearer)
                here = w.hearer
                w.there = far.kernel.ref_for(here.node_id, here.incarnation, here.serial)
                await test(w)

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def heard(w: World, count: int) -> list[Any]:
    answer: list[Any] = []
    async with asyncio.timeout(30):
        while len(answer) < count:
            answer = await w.hearer.call("heard")
            await asyncio.sleep(0.002)  # sleep: between two looks
    return answer


@world
async def test_nothing_that_a_process_sends_passes_a_large_message_of_its_own(w: World) -> None:
    speaker = await w.speaker()
    await speaker.call(("large, then small", w.there))
    assert await heard(w, 5) == [
        len(LARGE), "cast", "info", 3 * MIB, ("exit", "exit signal"),
    ]  # fmt: skip


@world
async def test_a_reply_comes_after_what_was_sent_before_it(w: World) -> None:
    speaker = await w.speaker()
    assert await speaker.call(("large, then the reply", w.there), timeout=30) == "reply"
    assert await w.hearer.call("heard") == [len(LARGE)]


@world
async def test_the_end_of_a_process_is_heard_after_its_last_large_message(w: World) -> None:
    speaker = await w.speaker()
    await w.hearer.call(("watch", speaker))
    await until(lambda: w.far.kernel.find(speaker).links, "linked")
    with pytest.raises(Exception, match="after a large one"):
        await speaker.call(("large, then the end", w.there), timeout=30)
    size, *ends = await heard(w, 3)
    assert size == len(LARGE)
    assert sorted(kind for kind, _ in ends) == ["down", "exit"]


@world
async def test_a_small_call_passes_a_large_one_of_another_process(w: World) -> None:
    one, other = await w.speaker(), await w.speaker()
    order: list[str] = []

    async def call(ref: Ref[Any], message: Any, name: str) -> None:
        await ref.call(message, timeout=30)
        order.append(name)

    class Caller(GenServer[None]):
        def init(self) -> None:
            return None

        async def handle_call(self, message: Any, state: None) -> Any:
            await call(*message)
            return None, state

    callers = [await w.near.start(Caller) for _ in range(2)]
    large = asyncio.ensure_future(callers[0].call((one, LARGE * 2, "large"), timeout=30))
    await asyncio.sleep(0)
    await callers[1].call((other, b"x" * 50, "small"), timeout=30)
    await large
    assert order == ["small", "large"]


@world
async def test_large_values_of_every_kind_come_back_exactly(w: World) -> None:
    speaker = await w.speaker()
    for value in (LARGE, bytearray(LARGE[: 5 * MIB]), ["x" * 2 * MIB, LARGE[:MIB]], {1: LARGE}):
        back = await speaker.call(value, timeout=30)
        assert type(back) is type(value)
        assert back == value
