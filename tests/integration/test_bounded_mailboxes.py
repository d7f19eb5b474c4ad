"""Bounded mailboxes with senders on another node, and under a supervisor."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from three_nodes import run_async, trio, until

from noex import (
    ChildSpec,
    GenServer,
    InvalidOptionError,
    Mailbox,
    Node,
    OverloadedError,
    Supervisor,
)


class Sink(GenServer[list[Any]]):
    """Keeps what comes."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, message: Any, state: list[Any]) -> Any:
        return list(state), state

    def handle_cast(self, message: Any, state: list[Any]) -> list[Any]:
        return [*state, message]


class Narrow(Sink):
    """With a bound of its own."""

    mailbox: ClassVar[Mailbox | int | None] = Mailbox(2, "drop_old")


@run_async
async def test_a_remote_call_is_refused_and_a_remote_cast_is_dropped() -> None:
    async with trio(2, sink=Sink) as group:
        a, b = group.nodes
        ref = await a.options(mailbox=Mailbox(2)).spawn("sink", on=b.id)
        assert (await ref.info()).mailbox == Mailbox(2)
        await ref.suspend()
        for number in range(5):
            assert ref.cast(number)  # that it does not get in is not known here
        with pytest.raises(OverloadedError) as caught:
            await ref.call("list")
        assert caught.value.args == (b.id, ref)
        assert (await ref.info()).messages_dropped == 4
        await ref.resume()
        assert await ref.call("list") == [0, 1]
        assert all(peer.open_rows == 0 for peer in b.kernel.remote.peers.values())  # type: ignore[union-attr, attr-defined]


@run_async
async def test_a_remote_call_that_makes_room_is_told() -> None:
    async with trio(2, sink=Sink) as group:
        a, b = group.nodes
        ref = await a.options(mailbox=Mailbox(1, "drop_old"), name="sink").spawn("sink", on=b.id)
        await ref.suspend()
        oldest = asyncio.ensure_future(ref.call("list"))
        await until(lambda: b.kernel.names["sink"].mailbox, "it waits")
        ref.cast("newest")
        with pytest.raises(OverloadedError):
            await oldest
        await ref.resume()
        assert await ref.call("list") == ["newest"]


@run_async
async def test_a_supervised_child_has_the_bound_of_its_class() -> None:
    async with Node() as node:
        supervisor = await Supervisor.start(node, children=[ChildSpec("narrow", Narrow)])
        child = await supervisor.get_child("narrow")
        assert child is not None and child.ref is not None
        assert (await child.ref.info()).mailbox == Narrow.mailbox
        child.ref.exit("kill")

        async def restarted() -> Any:
            again = await supervisor.get_child("narrow")
            return again is not None and again.ref not in (None, child.ref) and again.ref

        ref = await until(restarted, "the child is back")
        assert (await ref.info()).mailbox == Narrow.mailbox


@run_async
async def test_the_bound_is_an_option_of_a_start() -> None:
    async with Node() as node:
        ref = await node.options(mailbox=1).start(Sink)
        await ref.suspend()
        assert ref.cast("in") and not ref.cast("out")
        with pytest.raises(InvalidOptionError) as caught:
            node.options(mailbox="big")
        assert caught.value.args[0] == "mailbox"


@run_async
async def test_answers_are_copied_where_messages_are() -> None:
    async with Node(copy_messages=True) as node:
        ref = await node.options(mailbox=1).start(Sink)
        info = await ref.info()
        assert (info.ref, info.mailbox) == (ref, Mailbox(1))
        given: list[Any] = [1]
        await ref.replace_state(given)
        given.append(2)
        assert await ref.get_state() == [1]
