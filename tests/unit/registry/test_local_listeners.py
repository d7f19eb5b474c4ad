"""Listeners hear of every entry that comes and goes, also by death (case 209)."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from actors import Actor, Mute, run, started, turns, until

from noex.registry.local import Registry
from noex.registry.local_entries import Registered, Unregistered
from noex.runtime.current import current_process
from noex.runtime.errors import InvalidOptionError, NameTakenError
from noex.runtime.kernel import Kernel
from noex.runtime.messages import Down


def registry_of(kernel: Kernel, keys: Any, *listeners: Any) -> Registry[Any, Any]:
    return Registry(SimpleNamespace(kernel=kernel), keys, name="users", listeners=listeners)


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
def test_functions_and_processes_hear_what_comes_and_goes(keys: str) -> None:
    async def main(kernel: Kernel) -> None:
        events: list[Any] = []
        audit = await started(kernel, Actor)
        heard = kernel.find(audit).server.seen
        registry = registry_of(kernel, keys, events.append, audit, "metrics")
        metrics = await started(kernel, Actor, options={"name": "metrics"})
        ref = await started(kernel, Actor)
        registry.register("a", 1, ref=ref)
        registry.register("b", ref=ref)
        assert registry.unregister("a", ref=ref) == 1
        assert events == [
            Registered("users", "a", ref, 1),
            Registered("users", "b", ref, None),
            Unregistered("users", "a", ref, 1),
        ]
        registry.register("c", 3, ref=ref)
        await ref.stop()
        assert events[3:] == [
            Registered("users", "c", ref, 3),
            Unregistered("users", "b", ref, None),
            Unregistered("users", "c", ref, 3),
        ]
        await turns()
        assert heard == events == kernel.find(metrics).server.seen

    run(main)


def test_the_entries_of_the_dead_go_in_the_order_in_which_they_came() -> None:
    async def main(kernel: Kernel) -> None:
        events: list[Any] = []
        registry = registry_of(kernel, "duplicate", events.append)
        ref = await started(kernel, Mute)
        for key, value in (("a", 1), ("b", 2), ("a", 3)):
            registry.register(key, value, ref=ref)
        registry.unregister_match("a", 1, ref=ref)
        await ref.stop()
        assert events[4:] == [
            Unregistered("users", "b", ref, 2),
            Unregistered("users", "a", ref, 3),
        ]
        assert registry.count() == 0

    run(main)


def test_what_changes_nothing_is_not_told() -> None:
    async def main(kernel: Kernel) -> None:
        events: list[Any] = []
        registry = registry_of(kernel, "unique", events.append)
        ref, other = await started(kernel, Mute), await started(kernel, Mute)
        registry.register("a", 1, ref=ref)
        del events[:]
        with pytest.raises(NameTakenError):
            registry.register("a", 2, ref=other)
        with pytest.raises(InvalidOptionError):
            registry.register([], ref=other)
        registry.unregister("a", ref=other)
        registry.unregister_match("a", 2, ref=ref)
        registry.update_value("a", lambda value: value + 1, ref=ref)
        assert events == []
        registry.unregister("a", ref=ref)
        assert events == [Unregistered("users", "a", ref, 2)]

    run(main)


def test_a_listener_hears_of_a_death_before_its_monitor_fires() -> None:
    async def main(kernel: Kernel) -> None:
        audit = await started(kernel, Actor)
        registry = registry_of(kernel, "unique", audit)
        ref = await started(kernel, Actor)
        await audit.call(lambda server, state: (server.monitor(ref), state))
        registry.register("a", ref=ref)
        ref.exit("kill")
        seen = kernel.find(audit).server.seen
        await until(lambda: len(seen) == 3)
        assert [type(message) for message in seen] == [Registered, Unregistered, Down]

    run(main)


def test_a_listener_that_raises_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(kernel: Kernel) -> None:
        events: list[Any] = []
        errors = [ValueError("broken"), SystemExit(3), asyncio.CancelledError()]

        def broken(event: Any) -> None:
            raise errors[event.value]

        registry = registry_of(kernel, "unique", broken, events.append)
        for number in range(3):
            ref = await started(kernel, Mute)
            reason = asyncio.ensure_future(ref.wait(1))
            await turns()
            registry.register("a", number, ref=ref)
            ref.exit("odd")
            assert await reason == "odd"
            assert registry.count() == 0 and kernel.find(ref) is None
        assert [event.type for event in events] == ["registered", "unregistered"] * 3
        records = [r for r in caplog.records if "registry_listener_failed" in r.message]
        assert len(records) == 6 and "registry='users'" in records[0].message
        assert records[0].exc_info is not None

    with caplog.at_level(logging.ERROR, "noex"):
        run(main)


def test_ctrl_c_in_a_listener_ends_the_node_after_the_death_in_progress() -> None:
    async def main() -> None:
        kernel = Kernel()
        interrupts: list[BaseException] = []
        raised: list[Any] = []
        kernel.on_interrupt = interrupts.append

        def broken(event: Any) -> None:
            if event.type == "unregistered":
                raise KeyboardInterrupt

        registry = registry_of(kernel, "unique", broken)
        ref = await started(kernel, Mute)
        registry.register("a", ref=ref)
        # The loop lets it out of `run_forever`; here it is looked at before that.
        kernel.loop.call_soon = lambda call, *args, **kw: raised.append(args)  # type: ignore
        try:
            ref.exit("odd")
        finally:
            del kernel.loop.call_soon
        assert registry.count() == 0 and kernel.processes == {}
        assert len(interrupts) == 1 and raised == [(interrupts[0],)]
        await kernel.shutdown()

    asyncio.run(main())


def test_what_a_listener_does_to_the_registry_is_told_to_all_in_one_order() -> None:
    async def main(kernel: Kernel) -> None:
        standby = await started(kernel, Mute)
        early: list[Any] = []
        late: list[Any] = []

        def takes_over(event: Any) -> None:
            if event.type == "unregistered" and event.ref != standby:
                registry.register(event.key, "standby", ref=standby)

        registry = registry_of(kernel, "unique", early.append, takes_over, late.append)
        ref = await started(kernel, Mute)
        registry.register("leader", ref=ref)
        registry.register("clerk", ref=ref)
        await ref.stop()
        assert early == late
        assert [(event.type, event.key) for event in late[2:]] == [
            ("unregistered", "leader"),
            ("registered", "leader"),
            ("unregistered", "clerk"),
            ("registered", "clerk"),
        ]
        assert registry.lookup("leader") == [(standby, "standby")]

    run(main)


def test_a_listener_is_not_taken_for_the_process_that_caused_the_event() -> None:
    async def main(kernel: Kernel) -> None:
        current: list[Any] = []
        registry = registry_of(
            kernel, "unique", lambda event: current.append(current_process.get())
        )
        ref = await started(kernel, Actor)
        await ref.call(lambda server, state: (registry.register("a"), state))
        await ref.call(lambda server, state: (registry.unregister("a"), state))
        assert current == [None, None]

    run(main)


def test_a_listener_may_kill_others_that_are_registered() -> None:
    async def main(kernel: Kernel) -> None:
        events: list[Any] = []

        def spreads(event: Any) -> None:
            if event.type == "unregistered" and event.key > 0:
                kernel.exit(registry.whereis(event.key - 1), "kill")

        registry = registry_of(kernel, "unique", spreads, events.append)
        refs = [await started(kernel, Mute) for _ in range(4)]
        for number, ref in enumerate(refs):
            registry.register(number, ref=ref)
        del events[:]
        refs[3].exit("kill")
        assert [event.key for event in events] == [3, 2, 1, 0]
        assert registry.count() == 0 and kernel.process_count == 0

    run(main)


def test_a_name_without_a_process_and_a_dead_listener_are_passed_over() -> None:
    async def main(kernel: Kernel) -> None:
        audit = await started(kernel, Actor)
        registry = registry_of(kernel, "unique", "nobody", audit)
        await audit.stop()
        registry.register("a", ref=await started(kernel, Mute))
        assert registry.count() == 1

    run(main)
