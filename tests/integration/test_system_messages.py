"""System messages between two real nodes: each works as on one (cases 148, 149, 151)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from three_nodes import run_async, trio, until

from noex import (
    CallTimeoutError,
    GenServer,
    InvalidOptionError,
    NoProcessError,
    ProcessInfo,
    ProcessStatistics,
    TraceEvent,
)


class Ledger(GenServer[list[Any]]):
    """Notes what comes, and shows it."""

    def init(self, *entries: Any) -> list[Any]:
        return list(entries)

    def handle_call(self, message: Any, state: list[Any]) -> Any:
        return len(state), state

    def handle_cast(self, message: Any, state: list[Any]) -> list[Any]:
        return [*state, message]


@run_async
async def test_info_travels_with_all_that_it_shows() -> None:
    async with trio(2, ledger=Ledger) as group:
        a, b = group.nodes
        other = await b.start(Ledger)
        watcher = await a.start(Ledger)
        ref = await a.options(name="ledger").spawn("ledger", 1, on=b.id)
        process = b.kernel.names["ledger"]
        b.kernel.link(process, other)
        b.kernel.monitor(watcher, process)
        monitor = a.monitor(ref)
        process.fence = (3, 7)
        process.trap_exits = True
        ref.cast("x")
        await ref.call("length")
        info = await ref.info()
        assert info == ProcessInfo(
            ref=ref,
            behavior="Ledger",
            name="ledger",
            node_id=b.id,
            status="idle",
            mailbox_length=0,
            messages_handled=2,
            started_at=process.started_at,
            links=(other,),
            monitors=(watcher,),
            monitored_by=1,
            trap_exits=True,
            fence=(3, 7),
        )
        assert info.monitors[0] is watcher  # a ref that came home is the process's own
        assert info == await process.ref.info()
        monitor.cancel()


@run_async
async def test_statistics_travel() -> None:
    async with trio(2, ledger=Ledger) as group:
        a, b = group.nodes
        ref = await a.spawn("ledger", on=b.id)
        for number in range(5):
            ref.cast(number)
        await ref.call("length")
        found = await ref.statistics()
        assert isinstance(found, ProcessStatistics)
        assert (found.messages_handled, found.mailbox_length, found.replies_owed) == (6, 0, 0)


@run_async
async def test_state_is_read_and_replaced_from_another_node_in_order() -> None:
    async with trio(2, ledger=Ledger) as group:
        a, b = group.nodes
        ref = await a.spawn("ledger", on=b.id)
        ref.cast("one")
        assert await ref.get_state() == ["one"]
        assert await ref.replace_state(["two", (3, {"x"})]) is None  # type: ignore[func-returns-value]
        ref.cast("four")
        assert await ref.get_state() == ["two", (3, {"x"}), "four"]


@run_async
async def test_a_process_is_suspended_and_resumed_from_another_node() -> None:
    """Case 148."""
    async with trio(2, ledger=Ledger) as group:
        a, b = group.nodes
        ref = await a.spawn("ledger", on=b.id)
        await ref.suspend()
        await ref.suspend()
        ref.cast("waits")
        with pytest.raises(CallTimeoutError):
            await ref.call("length", timeout=0.05)
        info = await ref.info()
        assert info.status == "suspended" and info.mailbox_length >= 1
        assert await ref.get_state() == []
        await ref.resume()
        await ref.resume()
        assert await ref.call("length") == 1
        assert (await ref.info()).status == "idle"


@run_async
async def test_a_trace_to_the_log_is_switched_from_another_node() -> None:
    """Case 149. A hook stays at home (case 151)."""
    records: list[Any] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.noex)  # type: ignore[attr-defined, method-assign]
    logger = logging.getLogger("noex")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with trio(2, ledger=Ledger) as group:
            a, b = group.nodes
            ref = await a.spawn("ledger", on=b.id)
            await ref.trace()
            assert (await ref.info()).is_traced
            await ref.call("length")
            await ref.untrace(True)
            await ref.call("length")
            assert not (await ref.info()).is_traced
            await ref.trace(True)
            await ref.trace(False)
            assert not (await ref.info()).is_traced
            told: list[TraceEvent] = []
            with pytest.raises(InvalidOptionError) as caught:
                await ref.trace(told.append)
            assert caught.value.args[0] == "hook"
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    traced = [record for record in records if record["event"] == "process_trace"]
    assert [(t["direction"], t["message"], t["node"]) for t in traced] == [
        ("in", "'length'", b.id),
        ("out", "0", b.id),
    ]


@run_async
async def test_a_name_elsewhere_may_be_asked_too() -> None:
    async with trio(2, ledger=Ledger) as group:
        a, b = group.nodes
        started = await b.options(name="ledger").start(Ledger)
        named = a.ref("ledger", on=b.id)
        assert (await named.info()).name == "ledger"
        await named.suspend()
        assert (await started.info()).status == "suspended"
        await named.resume()
        await started.stop()
        await until(lambda: b.whereis("ledger") is None, "the name is free")
        with pytest.raises(NoProcessError):
            await named.info()


@run_async
async def test_two_nodes_may_ask_each_other_at_once() -> None:
    async with trio(2, ledger=Ledger) as group:
        a, b = group.nodes
        at_a, at_b = await b.spawn("ledger", on=a.id), await a.spawn("ledger", on=b.id)
        infos = await asyncio.gather(*(ref.info() for ref in (at_a, at_b) * 50))
        assert {info.node_id for info in infos} == {a.id, b.id}
