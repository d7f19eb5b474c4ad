"""What the log of a distributed supervisor's node says of crashes, lost nodes and waiting."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from three_nodes import Trio, run_async, trio, until

from noex import ChildSpec, DistributedSupervisor, ServerCrashedError


def said(caplog: Any, *events: str) -> list[dict[str, Any]]:
    """These events, in order."""
    records = [record.noex for record in caplog.records if hasattr(record, "noex")]
    return [record for record in records if record["event"] in events]


async def two_on(nodes: Trio, node: Any) -> Any:
    """A supervisor on `a` with two children on `node`, as long as it is there."""

    def chosen(members: Any, child_id: str) -> str:
        ids = [member.id for member in members]
        return node.id if node.id in ids else ids[0]

    children = [ChildSpec(name, "worker", node_selector=chosen) for name in ("x", "y")]
    return await nodes.supervise(name="it", children=children)


def test_a_crash_and_the_loss_of_a_node_are_told_once_each(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "noex")

    async def main() -> None:
        async with trio() as nodes:
            a, b, c = nodes.nodes
            sup = await two_on(nodes, b)
            for handle in (sup, await DistributedSupervisor.find(c, "it")):
                handle.on_lifecycle_event(lambda event: None)
            with pytest.raises(ServerCrashedError):
                await (await sup.get_child("x")).ref.call(("crash", "x"))
            await until(lambda: nodes.told("child_restarted"), "the restart")
            (failed,) = said(caplog, "child_failed")
            assert failed["node"] == a.id and failed["supervisor"] == sup.id
            assert (failed["child"], failed["on"], failed["restart_count"]) == ("x", b.id, 0)
            (restarted,) = said(caplog, "child_restarted")
            assert (restarted["child"], restarted["on"]) == ("x", b.id)

            await nodes.lose(b)
            await until(lambda: len(nodes.told("child_migrated")) == 2, "the moves")
            (lost,) = said(caplog, "node_failure_detected")
            assert (lost["peer"], lost["children"]) == (b.id, ("x", "y"))
            moved = said(caplog, "child_migrated")
            assert sorted(event["child"] for event in moved) == ["x", "y"]
            assert {(event["source"], event["target"]) for event in moved} == {(b.id, a.id)}
            assert len(said(caplog, "child_failed")) == 1  # a lost node is no fault of a child

    run_async(main)()


def test_a_child_without_a_node_is_a_warning_with_the_reason(caplog: Any) -> None:
    async def main() -> None:
        async with trio(2) as nodes:
            b = nodes.b
            sup = await nodes.supervise(
                children=[ChildSpec("x", "worker", node_selector={"node": b.id})]
            )
            await nodes.lose(b)
            await until(lambda: nodes.told("child_pending"), "it waits")
            (pending,) = said(caplog, "child_pending")
            assert pending["supervisor"] == sup.id and pending["child"] == "x"
            assert b.id in pending["reason"]

    run_async(main)()
