"""The table of exit signals, links and monitors (case 164: all rows)."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from actors import (
    Actor,
    AsyncActor,
    Gate,
    TidyActor,
    TidyAsyncActor,
    raises,
    run,
    started,
    turns,
    until,
)

from noex.runtime.errors import InvalidOptionError, ServerCrashedError
from noex.runtime.kernel import Kernel
from noex.runtime.mailboxes import Mailbox
from noex.runtime.messages import Down, Exit
from noex.runtime.returns import Stop

ALL = pytest.mark.parametrize("cls", [Actor, AsyncActor, TidyActor, TidyAsyncActor])


class Odd:
    """A reason whose `==` cannot be used as a truth value, like an array's."""

    def __eq__(self, other: object) -> Any:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


REASONS = pytest.mark.parametrize(
    "reason", ["shutdown", "killed", None, ("shutdown", 1), ValueError("x"), Odd(), "kill"]
)


async def pair(kernel: Kernel, cls: type[Any], seen: list[Any], trap: bool) -> tuple[Any, Any]:
    """A process that can be told to stop, and one of class `cls` linked to it."""
    source = await started(kernel, Actor)
    target = await started(kernel, cls, seen=seen, trap=trap)
    kernel.link(target.process, source)
    return source, target


def ended(seen: list[Any]) -> list[Any]:
    return [item for item in seen if not (isinstance(item, tuple) and item[0] == "terminate")]


@ALL
@pytest.mark.parametrize("trap", [False, True])
def test_case_164_from_a_link_with_reason_normal(cls: type[Any], trap: bool) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        source, target = await pair(kernel, cls, seen, trap)
        await source.stop("normal")
        assert await target.call("alive") == "alive"
        assert seen == ([Exit(source, "normal"), "alive"] if trap else ["alive"])

    run(main)


@ALL
@REASONS
def test_case_164_from_a_link_with_another_reason(cls: type[Any], reason: Any) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        source, target = await pair(kernel, cls, seen, trap=False)
        monitor = kernel.monitor(target)
        source.cast(lambda _server, _state: Stop(reason))
        assert await monitor.wait(1.0) is reason
        assert ended(seen) == []

    run(main)


@ALL
@REASONS
def test_case_164_from_a_link_to_who_traps(cls: type[Any], reason: Any) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        source, target = await pair(kernel, cls, seen, trap=True)
        source.cast(lambda _server, _state: Stop(reason))
        await until(lambda: seen)
        assert seen[0].ref == source and seen[0].reason is reason
        assert await target.is_alive()

    run(main)


@ALL
@pytest.mark.parametrize("trap", [False, True])
def test_case_163_exit_normal_from_another(cls: type[Any], trap: bool) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        target = await started(kernel, cls, seen=seen, trap=trap)
        target.exit("normal")
        assert await target.call("alive") == "alive"
        assert seen == ([Exit(None, "normal"), "alive"] if trap else ["alive"])

    run(main)


@ALL
@pytest.mark.parametrize("where", ["handler", "task"])
def test_case_163_exit_normal_to_oneself_ends(cls: type[Any], where: str) -> None:
    async def main(kernel: Kernel) -> None:
        target = await started(kernel, cls)
        monitor = kernel.monitor(target)

        async def leave(server: Any) -> None:
            server.ref.exit("normal")

        if where == "handler":
            target.cast(lambda server, _state: server.ref.exit("normal"))
        else:
            target.cast(lambda server, _state: server.spawn_task(leave(server)) and None)
        assert await monitor.wait(1.0) == "normal"

    run(main)


@ALL
@pytest.mark.parametrize("reason", ["shutdown", "killed", None, ValueError("x"), Odd()])
@pytest.mark.parametrize("moment", ["idle", "queued", "in a handler"])
def test_case_164_exit_with_a_reason(cls: type[Any], reason: Any, moment: str) -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []
        target = await started(kernel, cls, seen=seen)
        monitor = kernel.monitor(target)

        async def stand(_server: Any, _state: Any) -> None:
            await gate.passage()

        if moment == "queued":
            target.cast("never")
        elif moment == "in a handler":
            target.cast(stand)
            await gate.reached.wait()
        target.exit(reason)
        gate.opened.set()
        target.cast("never")
        assert await monitor.wait(1.0) is reason
        assert ended(seen) == []
        assert len(seen) == (1 if cls in (TidyActor, TidyAsyncActor) else 0)

    run(main)


@ALL
def test_case_164_exit_with_a_reason_to_who_traps(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        sender = await started(kernel, Actor)
        target = await started(kernel, cls, seen=seen, trap=True)
        sender.cast(lambda _server, _state: target.exit("please"))
        await until(lambda: seen)
        assert seen == [Exit(sender, "please")] and await target.is_alive()

    run(main)


@ALL
@pytest.mark.parametrize("trap", [False, True])
def test_case_164_a_kill_cannot_be_trapped(cls: type[Any], trap: bool) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        source, target = await pair(kernel, cls, seen, trap)
        watched: list[Any] = []
        partner = await started(kernel, Actor, seen=watched, trap=True)
        kernel.link(partner.process, target)
        target.exit("kill")
        assert await target.wait(1.0) in ("killed", "noproc")
        await until(lambda: watched)
        assert watched == [Exit(target, "killed")] and seen == []
        assert not await source.is_alive()  # the link carries "killed", which it does not trap

    run(main)


@ALL
@pytest.mark.parametrize("linked", [False, True])
def test_case_146_a_parent_s_order_is_obeyed_by_who_traps(cls: type[Any], linked: bool) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        parent = await started(kernel, Actor)
        options = {"parent": parent, "link_to": parent} if linked else {"parent": parent}
        child = await started(kernel, cls, seen=seen, trap=True, options=options)
        monitor = kernel.monitor(child)
        if linked:
            parent.cast(lambda _server, _state: Stop("shutdown"))
        else:
            parent.cast(lambda _server, _state: child.exit("shutdown"))
        assert await monitor.wait(1.0) == "shutdown" and ended(seen) == []

    run(main)


def test_a_parent_that_ends_normally_takes_nobody_along_who_does_not_trap() -> None:
    async def main(kernel: Kernel) -> None:
        parent = await started(kernel, Actor)
        child = await started(kernel, Actor, options={"parent": parent, "link_to": parent})
        await parent.stop("normal")
        assert await child.call("alive") == "alive"

    run(main)


@ALL
def test_of_several_signals_the_first_decides(cls: type[Any]) -> None:
    # The later one went before the earlier one.
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        async def stand(_server: Any, _state: Any) -> None:
            await gate.passage()

        target = await started(kernel, cls)
        monitor = kernel.monitor(target)
        target.cast(stand)
        await gate.reached.wait()
        target.exit("first")
        for _ in range(100):
            target.exit("second")
        assert len(target.process.mailbox or ()) <= 1  # they do not pile up either
        gate.opened.set()
        assert await monitor.wait(1.0) == "first"

    run(main)


# ---------------------------------------------------------------------- links


def test_links_are_both_ways_and_at_most_one_per_pair() -> None:
    async def main(kernel: Kernel) -> None:
        seen_a: list[Any] = []
        seen_b: list[Any] = []
        a = await started(kernel, Actor, seen=seen_a, trap=True)
        b = await started(kernel, Actor, seen=seen_b, trap=True)
        await a.call(lambda server, state: (server.link(b), state))
        await a.call(lambda server, state: (server.link(b), state))
        await b.call(lambda server, state: (server.link(a), state))
        assert a.process.links == {b} and b.process.links == {a}
        b.exit("kill")
        await until(lambda: seen_a)
        await turns()
        assert seen_a == [Exit(b, "killed")] and not a.process.links

    run(main)


def test_unlink_undoes_it_from_either_side() -> None:
    async def main(kernel: Kernel) -> None:
        a, b = [await started(kernel, Actor) for _ in range(2)]
        await a.call(lambda server, state: (server.link(b), state))
        await b.call(lambda server, state: (server.unlink(a), state))
        assert not a.process.links and not b.process.links
        a.exit("boom")
        assert await b.call("alive") == "alive"

    run(main)


def test_a_link_to_the_dead_is_an_exit_signal_noproc() -> None:
    async def main(kernel: Kernel) -> None:
        dead = await started(kernel, Actor)
        await dead.stop()
        seen: list[Any] = []
        traps = await started(kernel, Actor, seen=seen, trap=True)
        await traps.call(lambda server, state: (server.link(dead), state))
        await turns()
        assert seen == [Exit(dead, "noproc")] and not traps.process.links
        plain = await started(kernel, Actor)
        monitor = kernel.monitor(plain)
        plain.cast(lambda server, _state: server.link(dead))
        assert await monitor.wait(1.0) == "noproc"

    run(main)


def test_a_link_to_a_node_that_cannot_be_reached_is_noconnection() -> None:
    async def main(kernel: Kernel) -> None:
        far = kernel.ref_for("b@127.0.0.1:1", 1, 1)
        seen: list[Any] = []
        traps = await started(kernel, Actor, seen=seen, trap=True)
        await traps.call(lambda server, state: (server.link(far), state))
        await turns()
        assert seen == [Exit(far, "noconnection")] and not traps.process.links

    run(main)


def test_a_link_to_oneself_is_nothing() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        await ref.call(lambda server, state: (server.link(server.ref), state))
        assert not ref.process.links
        await ref.stop()

    run(main)


def test_a_task_of_an_ended_process_can_link_nobody() -> None:
    # The other side kept half a link to the dead.
    async def main(kernel: Kernel) -> None:
        gone, other = [await started(kernel, Actor) for _ in range(2)]
        process = gone.process
        await gone.stop()
        kernel.link(process, other)
        assert not other.process.links and not process.links

    run(main)


@pytest.mark.parametrize(("cls", "length"), [(Actor, 10_000), (TidyActor, 2_000)])
def test_a_chain_of_ten_thousand_links_dies_without_recursion(cls: type[Any], length: int) -> None:
    async def main(kernel: Kernel) -> None:
        refs = [await started(kernel, cls) for _ in range(length)]
        for one, other in pairwise(refs):
            kernel.link(one.process, other)
        last = kernel.monitor(refs[-1])
        refs[0].exit("domino")
        assert await last.wait(5.0) == "domino"
        assert kernel.process_count == 0

    run(main)


# ---------------------------------------------------------------------- monitors


@pytest.mark.parametrize("reason", ["normal", "shutdown", "kill"])
def test_case_158_each_monitor_fires_exactly_once(reason: str) -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watcher = await started(kernel, Actor, seen=seen)
        target = await started(kernel, Actor)
        monitors = [
            await watcher.call(lambda server, state: (server.monitor(target), state))
            for _ in range(3)
        ]
        outside = kernel.monitor(target)
        if reason == "normal":
            await target.stop()
        else:
            target.exit(reason)
        told = "killed" if reason == "kill" else reason
        await until(lambda: len(seen) == 3)
        await turns()
        assert seen == [Down(monitor, target, told) for monitor in monitors]
        assert [down async for down in outside] == [Down(outside, target, told)]
        assert await outside.wait() == told and not outside.active
        assert not watcher.process.monitoring

    run(main)


def test_case_161_a_monitor_of_the_dead_fires_at_once() -> None:
    async def main(kernel: Kernel) -> None:
        dead = await started(kernel, Actor)
        await dead.stop()
        seen: list[Any] = []
        watcher = await started(kernel, Actor, seen=seen)
        for ref in (dead, kernel.named_ref("nobody"), kernel.ref_for("b@127.0.0.1:1", 1, 1)):
            await watcher.call(lambda server, state, ref=ref: (server.monitor(ref), state))
        await turns()
        assert [(down.ref, down.reason) for down in seen] == [
            (dead, "noproc"),
            (kernel.named_ref("nobody"), "noproc"),
            (kernel.ref_for("b@127.0.0.1:1", 1, 1), "noconnection"),
        ]
        assert not watcher.process.monitoring

    run(main)


def test_case_160_on_down_the_name_can_be_taken_again() -> None:
    async def main(kernel: Kernel) -> None:
        taken: list[Any] = []

        class Heir(Actor):
            async def handle_info(self, message: Any, state: Any) -> None:
                assert self.kernel.whereis("it") is None
                taken.append(await self.kernel.start(Actor, name="it"))

        owner = await started(kernel, Actor, options={"name": "it"})
        heir = await started(kernel, Heir)
        kernel.monitor(kernel.named_ref("it"), heir.process)
        owner.exit("kill")
        await until(lambda: taken)
        assert kernel.whereis("it") is taken[0]

    run(main)


def test_after_cancel_nothing_is_delivered() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watcher = await started(kernel, Actor, seen=seen)
        target = await started(kernel, Actor)
        monitor = await watcher.call(lambda server, state: (server.monitor(target), state))
        outside = kernel.monitor(target)
        waiting = asyncio.create_task(outside.wait())
        await turns()
        monitor.cancel()
        outside.cancel()
        monitor.cancel()
        assert not target.process.watchers and not watcher.process.monitoring
        await target.stop()
        with pytest.raises(RuntimeError, match="cancelled"):
            await waiting
        with pytest.raises(RuntimeError, match="cancelled"):
            await outside.wait()
        assert [down async for down in outside] == []
        await turns()
        assert seen == []

    run(main)


def test_a_down_that_is_queued_is_taken_back_by_a_cancel() -> None:
    """It had fired while the watcher was busy; the others that wait keep their places."""

    async def main(kernel: Kernel) -> None:
        gate = Gate()
        seen: list[Any] = []

        async def wait(server: Any, state: Any) -> Any:
            monitors = [server.monitor(target) for _ in range(3)]
            await gate.passage()
            monitors[1].cancel()
            monitors[1].cancel()
            return "cancelled", state

        watcher = await started(kernel, AsyncActor, seen=seen)
        target = await started(kernel, Actor)
        call = asyncio.create_task(watcher.call(wait))
        await gate.reached.wait()
        watcher.cast("before")
        await target.stop()
        watcher.cast("after")
        gate.opened.set()
        assert await call == "cancelled"
        assert await watcher.call("all") == "all"
        assert seen[0] == "before" and seen[3:] == ["after", "all"]
        assert [down.ref for down in seen[1:3]] == [target, target]
        assert seen[1].monitor is not seen[2].monitor
        seen[1].monitor.cancel()  # it was handled: nothing is left of it
        assert (await watcher.statistics()).messages_handled == 6

    run(main)


def test_a_down_that_was_all_that_waited_is_taken_back_by_a_cancel() -> None:
    async def main(kernel: Kernel) -> None:
        for limit in (None, Mailbox(1)):
            for cls in (Actor, AsyncActor):
                seen: list[Any] = []
                watcher = await started(kernel, cls, seen=seen, options={"mailbox": limit})
                target = await started(kernel, Actor)
                monitor = await watcher.call(
                    lambda server, state, t=target: (server.monitor(t), state)
                )
                target.exit("kill")
                assert not monitor.active
                monitor.cancel()
                await turns()
                assert seen == [] and (await watcher.info()).mailbox_length == 0
                assert await watcher.call("next") == "next"
                await watcher.stop()

    run(main)


def test_waiting_for_a_monitor_has_a_limit() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        with pytest.raises(TimeoutError):
            await ref.wait(0.01)
        assert not ref.process.watchers
        monitor = kernel.monitor(ref)
        with pytest.raises(TimeoutError):
            await monitor.wait(0.01)
        assert monitor.active
        await ref.stop()
        assert await monitor.wait() == "normal"

    run(main)


def test_a_down_comes_after_what_the_process_sent() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watcher = await started(kernel, AsyncActor, seen=seen)
        target = await started(kernel, Actor)
        kernel.monitor(target, watcher.process)

        def farewell(_server: Any, _state: Any) -> Any:
            watcher.send(1)
            watcher.cast(2)
            return Stop("bye")

        target.cast(farewell)
        await until(lambda: len(seen) == 3)
        assert seen[:2] == [1, 2] and seen[2].reason == "bye"

    run(main)


def test_case_161_after_a_wave_of_deaths_all_tables_are_empty() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watcher = await started(kernel, Actor, seen=seen, trap=True)
        refs = [await started(kernel, Actor, options={"name": f"n{n}"}) for n in range(10_000)]
        for n, ref in enumerate(refs):
            kernel.monitor(ref, watcher.process)
            kernel.monitor(watcher, ref.process)
            if n % 2:
                kernel.link(watcher.process, ref)
            await ref.call(lambda server, state: (server.send_after(60.0, "?"), state))
        for n, ref in enumerate(refs):
            ref.exit("kill" if n % 3 else "shutdown")
        await until(lambda: len(seen) == 15_000)
        process = watcher.process
        assert kernel.process_count == 1 and kernel.names == {}
        assert not process.monitoring and not process.links and not process.watchers
        assert len(kernel.alarm) == 0 and not kernel.leaving and not kernel.zombies

    run(main)


def test_exits_and_crashes_in_one_instant_are_all_told() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watcher = await started(kernel, Actor, seen=seen)
        refs = [await started(kernel, cls) for cls in (Actor, AsyncActor, TidyAsyncActor) * 5]
        for ref in refs:
            kernel.monitor(ref, watcher.process)
            ref.cast(raises(ValueError("boom")))
        await until(lambda: len(seen) == 15)
        assert {down.ref for down in seen} == set(refs)

    run(main)


def test_one_who_cannot_be_told_keeps_it_from_nobody_else(caplog: Any) -> None:
    async def main(kernel: Kernel) -> None:
        class Deaf:
            def fire(self, reason: Any) -> None:
                raise ValueError("cannot be told")

        seen: list[Any] = []
        ref = await started(kernel, Actor)
        linked = await started(kernel, Actor, seen=seen, trap=True)
        kernel.watch(ref.process, "deaf", Deaf())
        monitor = kernel.monitor(ref)
        kernel.link(linked.process, ref)
        ref.exit("gone")
        assert await monitor.wait(1.0) == "gone"
        await until(lambda: seen)
        assert seen == [Exit(ref, "gone")]
        assert [record.noex["event"] for record in caplog.records] == ["end_not_told"]

    run(main)


def test_a_monitor_that_is_told_twice_tells_once() -> None:
    # As when the word of a death and the loss of its node cross each other.
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        watcher = await started(kernel, Actor, seen=seen)
        target = await started(kernel, Actor)
        monitor = kernel.monitor(target, watcher.process)
        outside = kernel.monitor(target)
        for reason in ("first", "second"):
            monitor.fire(reason)
            outside.fire(reason)
        await target.stop()
        await turns()
        assert seen == [Down(monitor, target, "first")] and await outside.wait() == "first"

    run(main)


def test_a_link_by_name_is_undone_by_name() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor, trap=True)
        other = await started(kernel, Actor, options={"name": "it"})
        name = kernel.named_ref("it")
        await ref.call(lambda server, state: (server.link(name), state))
        assert ref.process.links == {other} and other.process.links == {ref}
        await ref.call(lambda server, state: (server.unlink(name), state))
        assert not ref.process.links and not other.process.links

    run(main)


def test_a_name_on_another_node_is_no_process_to_be_linked_with() -> None:
    """Whom it means is known there alone, and one of two would not know with whom it is linked."""

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        name = kernel.named_ref("it", "b@127.0.0.1:1")
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call(lambda server, state: (server.link(name), state))
        assert isinstance(caught.value.reason, InvalidOptionError)
        assert "'it' at b@127.0.0.1:1" in str(caught.value.reason)

    run(main)
