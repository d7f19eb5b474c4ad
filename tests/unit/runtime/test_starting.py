"""Rule 1 of "Processes": when `start` is over, the process is up, or dead with its name free."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Actor, Gate, Mute, run, started, turns, until

from noex.runtime.errors import (
    BadReturnValueError,
    InitFailedError,
    InitTimeoutError,
    InvalidOptionError,
    NameTakenError,
    NoProcessError,
    ServerCrashedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.messages import Exit
from noex.runtime.returns import Ignore, NoReply, Ok, Reply, Stop


class Starts(GenServer[Any]):
    """Does in `init` what it is told."""

    def init(self, do: Any) -> Any:
        return do(self) if callable(do) and not isinstance(do, type) else do


class StartsLate(GenServer[Any]):
    """The same in a coroutine."""

    async def init(self, do: Any) -> Any:
        await asyncio.sleep(0)
        result = do(self) if callable(do) and not isinstance(do, type) else do
        return await result if asyncio.iscoroutine(result) else result


BOTH = pytest.mark.parametrize("cls", [Starts, StartsLate])


def fail(error: BaseException) -> Any:
    def do(_server: Any) -> Any:
        raise error

    return do


async def nothing_left(kernel: Kernel) -> None:
    """What must hold when a start has failed: at once, not some turns later."""
    assert kernel.whereis("it") is None and kernel.process_count == 0
    assert await started(kernel, Mute, options={"name": "it"})  # the name can be taken again


class NoException(BaseException):
    """What some libraries raise to get past ``except Exception``."""


@BOTH
@pytest.mark.parametrize(
    "error", [ValueError("boom"), SystemExit(3), asyncio.CancelledError(), NoException()]
)
def test_case_119_an_init_that_raises(cls: type[Any], error: BaseException) -> None:
    async def main(kernel: Kernel) -> None:
        for _ in range(5):
            with pytest.raises(InitFailedError) as caught:
                await kernel.start(cls, [fail(error)], name="it")
            assert type(caught.value.__cause__) is type(error)
            assert caught.value.name == "it"
        await nothing_left(kernel)

    run(main)


@BOTH
@pytest.mark.parametrize("ignore", [Ignore, Ignore()])
def test_case_119_an_init_that_ignores(cls: type[Any], ignore: Any) -> None:
    async def main(kernel: Kernel) -> None:
        assert await kernel.start(cls, [ignore], name="it") is None
        await nothing_left(kernel)

    run(main)


@BOTH
@pytest.mark.parametrize("rubbish", [Stop("x"), NoReply(), Reply(1), Ok, Stop, NoReply])
def test_case_119_an_init_that_returns_rubbish(cls: type[Any], rubbish: Any) -> None:
    async def main(kernel: Kernel) -> None:
        with pytest.raises(InitFailedError) as caught:
            await kernel.start(cls, [lambda _server: rubbish], name="it")
        assert isinstance(caught.value.__cause__, BadReturnValueError)
        assert "init" in str(caught.value.__cause__) and "Ignore" in str(caught.value.__cause__)
        await nothing_left(kernel)

    run(main)


def test_case_125_a_class_without_init_does_not_start() -> None:
    async def main(kernel: Kernel) -> None:
        class Nothing(GenServer[Any]):
            pass

        with pytest.raises(InitFailedError, match="has no init"):
            await kernel.start(Nothing, name="it")
        await nothing_left(kernel)

    run(main)


@BOTH
@pytest.mark.parametrize("state", [None, 0, (1, 2), {"a": 1}])
def test_whatever_else_init_returns_is_the_state(cls: type[Any], state: Any) -> None:
    async def main(kernel: Kernel) -> None:
        plain = await started(kernel, cls, lambda _server: state)
        wrapped = await started(kernel, cls, lambda _server: Ok(state))
        assert plain.process.state == wrapped.process.state == state

    run(main)


def test_case_118_an_init_beyond_its_time_limit() -> None:
    async def main(kernel: Kernel) -> None:
        gate, ended = Gate(), []

        async def stand(_server: Any) -> None:
            try:
                await gate.passage()
            finally:
                ended.append(True)

        with pytest.raises(InitTimeoutError) as caught:
            await kernel.start(StartsLate, [stand], name="it", init_timeout=0.01)
        assert isinstance(caught.value, TimeoutError) and caught.value.timeout == 0.01
        assert ended == [True]
        await nothing_left(kernel)

    run(main)


def test_a_child_whose_init_timed_out_does_not_pass_for_its_starter() -> None:
    # The starter's own `init` raised the child's InitTimeoutError and was left in the tables.
    async def main(kernel: Kernel) -> None:
        async def stand(_server: Any) -> None:
            await asyncio.sleep(3600)

        async def start_child(server: Any) -> None:
            await server.kernel.start(StartsLate, [stand], init_timeout=0.01)

        with pytest.raises(InitFailedError) as caught:
            await kernel.start(StartsLate, [start_child], name="it")
        assert isinstance(caught.value.__cause__, InitTimeoutError)
        await nothing_left(kernel)

    run(main)


def test_an_init_that_swallows_its_cancellation_becomes_a_zombie() -> None:
    async def main(kernel: Kernel) -> None:
        release = asyncio.Event()

        async def cling(_server: Any) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

        with pytest.raises(InitTimeoutError):
            await kernel.start(StartsLate, [cling], name="it", init_timeout=0.01)
        assert len(kernel.zombies) == 1
        await nothing_left(kernel)
        release.set()
        await until(lambda: not kernel.zombies)

    run(main, kill_grace=0.05)


@pytest.mark.parametrize("clings", [False, True])
def test_the_name_is_free_as_soon_as_a_starter_was_cancelled(clings: bool) -> None:
    # The task of `init` ended without anybody burying its process: the name was taken for ever.
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        async def stand(_server: Any) -> None:
            try:
                await gate.passage()
            except asyncio.CancelledError:
                if clings:
                    await gate.passage()
                raise

        starter = asyncio.create_task(kernel.start(StartsLate, [stand], name="it"))
        await gate.reached.wait()
        starter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starter
        await nothing_left(kernel)

    run(main)


@pytest.mark.parametrize("reason", ["shutdown", "killed", None, ("shutdown", 1), ValueError("x")])
def test_an_exit_signal_during_init_ends_it(reason: Any) -> None:
    async def main(kernel: Kernel) -> None:
        gate = Gate()

        async def stand(_server: Any) -> None:
            await gate.passage()

        starter = asyncio.create_task(kernel.start(StartsLate, [stand], name="it"))
        await gate.reached.wait()
        ref = kernel.whereis("it")
        assert ref is not None
        monitor = kernel.monitor(ref)
        ref.exit(reason)
        with pytest.raises(InitFailedError) as caught:
            await starter
        assert isinstance(caught.value.__cause__, ServerCrashedError)
        assert caught.value.__cause__.reason == reason
        assert await monitor.wait(1.0) == reason
        await nothing_left(kernel)

    run(main)


@BOTH
@pytest.mark.parametrize("reason", ["kill", "shutdown"])
def test_an_init_that_ends_itself(cls: type[Any], reason: str) -> None:
    async def main(kernel: Kernel) -> None:
        with pytest.raises(InitFailedError):
            await kernel.start(cls, [lambda server: server.ref.exit(reason)], name="it")
        await nothing_left(kernel)

    run(main)


def test_a_killed_init_that_clings_does_not_hold_up_its_starter() -> None:
    async def main(kernel: Kernel) -> None:
        gate, release = Gate(), asyncio.Event()

        async def cling(_server: Any) -> None:
            gate.reached.set()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

        starter = asyncio.create_task(
            kernel.start(StartsLate, [cling], name="it", init_timeout=None)
        )
        await gate.reached.wait()
        kernel.whereis("it").exit("kill")
        with pytest.raises(InitFailedError):
            await asyncio.wait_for(starter, 3.0)
        await nothing_left(kernel)
        release.set()
        await until(lambda: not kernel.zombies)

    run(main, kill_grace=0.02)


def test_case_119_a_starter_linked_to_a_failed_start_gets_no_exit_signal_as_well() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        starter = await started(kernel, Actor, seen=seen, trap=True)
        with pytest.raises(InitFailedError):
            await kernel.start(Starts, [fail(ValueError())], link_to=starter)
        with pytest.raises(InitTimeoutError):
            await kernel.start(
                StartsLate,
                [lambda _server: asyncio.sleep(3600)],
                link_to=starter,
                init_timeout=0.01,
            )
        assert await kernel.start(Starts, [Ignore], link_to=starter) is None
        assert await starter.call("still there") == "still there"
        assert seen == ["still there"]
        assert not starter.process.links

    run(main)


def test_a_link_made_at_the_start_holds_when_the_process_is_up() -> None:
    async def main(kernel: Kernel) -> None:
        seen: list[Any] = []
        starter = await started(kernel, Actor, seen=seen, trap=True)
        ref = await started(kernel, Actor, options={"link_to": starter})
        ref.exit("gone")
        await until(lambda: seen)
        assert seen == [Exit(ref, "gone")]

    run(main)


def test_a_process_whose_link_is_dead_already_does_not_start() -> None:
    async def main(kernel: Kernel) -> None:
        dead = await started(kernel, Actor)
        await dead.stop()
        with pytest.raises(InitFailedError) as caught:
            await kernel.start(Mute, name="it", link_to=dead)
        assert caught.value.__cause__.reason == "noproc"
        await nothing_left(kernel)

    run(main)


def test_messages_sent_during_init_are_handled_after_it() -> None:
    async def main(kernel: Kernel) -> None:
        gate, seen = Gate(), []

        class Late(Actor):
            async def init(self, **options: Any) -> Any:
                await gate.passage()
                return super().init(**options)

        starter = asyncio.create_task(kernel.start(Late, kwargs={"seen": seen}, name="it"))
        await gate.reached.wait()
        ref = kernel.whereis("it")
        assert ref.cast(1) and ref.send(2)
        call = asyncio.create_task(ref.call(3))
        await turns()
        assert seen == []
        gate.opened.set()
        assert await call == 3 and await starter == ref
        assert seen == [1, 2, 3]

    run(main)


def test_callers_of_an_init_that_fails_are_told() -> None:
    async def main(kernel: Kernel) -> None:
        gate, error = Gate(), ValueError("boom")

        async def stand(_server: Any) -> None:
            await gate.passage()
            raise error

        starter = asyncio.create_task(kernel.start(StartsLate, [stand], name="it"))
        await gate.reached.wait()
        call = asyncio.create_task(kernel.whereis("it").call("?"))
        await turns()
        gate.opened.set()
        with pytest.raises(ServerCrashedError) as caught:
            await call
        assert caught.value.reason is error
        with pytest.raises(InitFailedError):
            await starter

    run(main)


def test_a_name_in_use_is_refused_with_its_owner() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor, options={"name": "it"})
        with pytest.raises(NameTakenError) as caught:
            await kernel.start(Actor, name="it")
        assert caught.value.owner == ref and kernel.whereis("it") is ref
        assert kernel.process_count == 1

    run(main)


@pytest.mark.parametrize(
    ("field", "cls", "options"),
    [
        ("behavior", int, {}),
        ("behavior", Mute(), {}),
        ("name", Mute, {"name": ""}),
        ("name", Mute, {"name": 7}),
        ("init_timeout", Mute, {"init_timeout": 0}),
        ("init_timeout", Mute, {"init_timeout": float("nan")}),
    ],
)
def test_a_wrong_option_is_named(field: str, cls: Any, options: dict[str, Any]) -> None:
    async def main(kernel: Kernel) -> None:
        with pytest.raises(InvalidOptionError) as caught:
            await kernel.start(cls, **options)
        assert caught.value.field == field and kernel.process_count == 0

    run(main)


def test_a_ref_of_a_failed_start_leads_nowhere() -> None:
    async def main(kernel: Kernel) -> None:
        refs: list[Any] = []

        def note(server: Any) -> None:
            refs.append(server.ref)
            raise ValueError

        with pytest.raises(InitFailedError):
            await kernel.start(Starts, [note])
        with pytest.raises(NoProcessError):
            await refs[0].call("?")
        assert refs[0].cast("?") is False and await refs[0].wait() == "noproc"

    run(main)
