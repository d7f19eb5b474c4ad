"""Mailboxes with a bound: what gets in, what does not, and who hears of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import pytest
from actors import Actor, AsyncActor, TidyActor, run, started, turns, until

from noex.runtime.bounded import REPORT_EVERY
from noex.runtime.errors import InvalidOptionError, OverloadedError, ServerCrashedError
from noex.runtime.kernel import Kernel
from noex.runtime.mailboxes import POLICIES, Mailbox, mailbox_of
from noex.runtime.messages import TIMEOUT, Down, Exit, TaskResult
from noex.runtime.process import Process
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply

BOTH = pytest.mark.parametrize("cls", [Actor, AsyncActor])


async def bounded(
    kernel: Kernel, bound: Any, cls: type[Any] = Actor, **options: Any
) -> tuple[Ref[Any], list[Any]]:
    """A suspended actor, whose mailbox nobody empties, and what it has seen."""
    seen: list[Any] = []
    ref = await started(kernel, cls, seen=seen, options={"mailbox": bound}, **options)
    await ref.suspend()
    return ref, seen


async def goes_on(ref: Ref[Any]) -> None:
    """It handles what waits."""
    await ref.resume()
    await until(lambda: ref.process is not None and not ref.process.mailbox)
    await turns()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    wall = spent = now


# ---------------------------------------------------------------------- policies


@BOTH
@pytest.mark.parametrize("policy", ["reject", "drop_new"])
def test_one_too_many_does_not_get_in(policy: Any, cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, Mailbox(3, policy), cls)
        assert [ref.cast(1), ref.send(2), ref.cast(3)] == [True, True, True]
        assert [ref.cast(4), ref.send(5)] == [False, False]
        with pytest.raises(OverloadedError) as caught:
            await ref.call(6, timeout=1.0)
        assert caught.value.args == (kernel.node_id, ref)
        assert str(ref) in str(caught.value)
        info = await ref.info()
        assert (info.mailbox_length, info.messages_dropped) == (3, 3)
        assert info.mailbox == Mailbox(3, policy)
        assert kernel.dead_letters == (3 if policy == "drop_new" else 0)
        await goes_on(ref)
        assert seen == [1, 2, 3]
        assert ref.cast(7) and await ref.call(8) == 8
        assert seen == [1, 2, 3, 7, 8]

    run(main)


@BOTH
def test_the_oldest_makes_room_for_the_newest(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, Mailbox(3, "drop_old"), cls)
        oldest = asyncio.ensure_future(ref.call("oldest"))
        await asyncio.sleep(0)
        assert all(ref.cast(number) for number in range(5))
        with pytest.raises(OverloadedError):
            await oldest
        newest = asyncio.ensure_future(ref.call("newest"))
        await asyncio.sleep(0)
        assert ref.send("last")
        statistics = await ref.statistics()
        assert (statistics.mailbox_length, statistics.messages_dropped) == (3, 5)
        assert kernel.dead_letters == 5
        await goes_on(ref)
        assert seen == [4, "newest", "last"]
        assert await newest == "newest"

    run(main)


def test_a_bound_of_one() -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, Mailbox(1, "drop_old"))
        for number in range(100):
            assert ref.cast(number)
        await goes_on(ref)
        assert seen == [99]

    run(main)


def test_a_call_that_was_given_up_makes_room_like_any_other() -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, Mailbox(1, "drop_old"))
        with pytest.raises(TimeoutError):
            await ref.call("given up", timeout=0.01)
        assert ref.cast("in")
        await goes_on(ref)
        assert seen == ["in"]

    run(main)


def test_who_calls_an_overloaded_process_again_and_again_lets_others_run() -> None:
    async def main(kernel: Kernel) -> None:
        ref, _ = await bounded(kernel, 1)
        ref.cast("full")
        over = False

        async def insist() -> int:
            refused = 0
            while not over:
                try:
                    await ref.call("in")
                except OverloadedError:
                    refused += 1
            return refused

        insisting = asyncio.ensure_future(insist())
        await turns()
        await ref.resume()
        await turns()
        over = True
        assert await insisting > 0

    run(main)


@BOTH
def test_the_count_follows_what_is_handled(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, 10, cls)
        for round_ in range(20):
            if round_:
                await ref.suspend()
            accepted = [ref.cast((round_, number)) for number in range(15)]
            assert accepted == [True] * 10 + [False] * 5
            await goes_on(ref)
        assert len(seen) == 200

    run(main)


# ---------------------------------------------------------------------- what is not counted


@BOTH
def test_what_the_system_sends_gets_in_and_does_not_count(cls: type[Any]) -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, 2, cls, trap=True)
        other = await started(kernel, Actor)
        process = ref.process
        assert process is not None
        monitor = kernel.monitor(other, process)
        kernel.link(process, other)
        process.server.send_after(0, "timer")
        task = process.server.spawn_task(asyncio.sleep(0, "value"))
        ref.exit("odd")
        await other.stop("shutdown")
        await until(lambda: len(process.mailbox or ()) == 5)
        assert ref.cast(1) and ref.cast(2) and not ref.cast(3)
        assert await ref.get_state() is process.state
        await goes_on(ref)
        assert sorted(map(str, seen)) == sorted(
            map(
                str,
                [
                    "timer",
                    TaskResult(task, "value"),
                    Exit(None, "odd"),
                    Down(monitor, other, "shutdown"),
                    Exit(other, "shutdown"),
                    1,
                    2,
                ],
            )
        )

    run(main)


def test_continuations_and_zero_timeouts_do_not_count() -> None:
    async def main(kernel: Kernel) -> None:
        ref, seen = await bounded(kernel, 2)
        ref.cast(lambda _server, _state: NoReply(continue_with="token"))
        ref.cast(lambda _server, _state: NoReply(timeout=0))
        await goes_on(ref)
        assert seen == [("continue", "token"), TIMEOUT]
        await ref.suspend()
        assert [ref.cast(1), ref.cast(2), ref.cast(3)] == [True, True, False]

    run(main)


def test_a_full_mailbox_holds_up_no_order_to_end() -> None:
    async def main(kernel: Kernel) -> None:
        for policy in POLICIES:
            for end in ("stop", "exit", "kill"):
                ref, _ = await bounded(kernel, Mailbox(1, policy), TidyActor)
                ref.cast("full")
                gone = kernel.monitor(ref)
                if end == "stop":
                    await ref.resume()
                    await ref.stop()
                else:
                    ref.exit("odd" if end == "exit" else "kill")
                ended = {"stop": "normal", "exit": "odd", "kill": "killed"}[end]
                assert await gone.wait(1.0) == ended
                assert not ref.cast("gone")

    run(main)


def test_an_end_answers_the_calls_that_wait() -> None:
    async def main(kernel: Kernel) -> None:
        ref, _ = await bounded(kernel, 2)
        waiting = [asyncio.ensure_future(ref.call(number)) for number in range(2)]
        await asyncio.sleep(0)
        ref.exit("kill")
        for call in waiting:
            with pytest.raises(ServerCrashedError):
                await call

    run(main)


def test_an_idle_process_is_called_at_once_also_with_a_bound() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor, options={"mailbox": 1})
        for number in range(10):
            assert await ref.call(number) == number
        assert (await ref.info()).messages_dropped == 0

    run(main)


# ---------------------------------------------------------------------- saying so


class OnTheClass(Actor):
    mailbox: ClassVar[Mailbox | int | None] = Mailbox(2, "drop_old")


class Bare(Actor):
    mailbox: ClassVar[Mailbox | int | None] = 2


class Unbound(OnTheClass):
    mailbox: ClassVar[Mailbox | int | None] = None


@pytest.mark.parametrize(
    ("cls", "option", "bound"),
    [
        (Actor, None, None),
        (Actor, 5, Mailbox(5)),
        (Actor, Mailbox(5, "drop_new"), Mailbox(5, "drop_new")),
        (OnTheClass, None, Mailbox(2, "drop_old")),
        (OnTheClass, 5, Mailbox(5)),
        (Bare, None, Mailbox(2)),
        (Unbound, None, None),
    ],
)
def test_the_option_comes_before_the_class(cls: type[Any], option: Any, bound: Any) -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, cls, options={"mailbox": option})
        assert (await ref.info()).mailbox == bound
        assert (type(ref.process) is Process) == (bound is None)

    run(main)


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (lambda: Mailbox(0), "limit", 0),
        (lambda: Mailbox(-1), "limit", -1),
        (lambda: Mailbox(True), "limit", True),
        (lambda: Mailbox(1.5), "limit", 1.5),  # type: ignore[arg-type]
        (lambda: Mailbox("3"), "limit", "3"),  # type: ignore[arg-type]
        (lambda: Mailbox(3, "drop"), "policy", "drop"),  # type: ignore[arg-type]
        (lambda: Mailbox(3, None), "policy", None),  # type: ignore[arg-type]
        (lambda: Mailbox(3, []), "policy", []),  # type: ignore[arg-type]
        (lambda: mailbox_of(0), "limit", 0),
        (lambda: mailbox_of("drop_old"), "mailbox", "drop_old"),
        (lambda: mailbox_of(True), "mailbox", True),
        (lambda: mailbox_of((3, "reject")), "mailbox", (3, "reject")),
    ],
)
def test_a_bound_that_is_none_is_refused_by_its_field(make: Any, field: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        make()
    assert caught.value.args[:2] == (field, value)


def test_a_wrong_bound_starts_nothing() -> None:
    class Wrong(Actor):
        mailbox = "big"  # type: ignore[assignment]

    async def main(kernel: Kernel) -> None:
        for cls, option in ((Wrong, None), (Actor, "big")):
            with pytest.raises(InvalidOptionError) as caught:
                await kernel.start(cls, name="it", mailbox=option)
            assert caught.value.args[0] == "mailbox"
        assert kernel.process_count == 0 and kernel.names == {}

    run(main)


def test_a_full_mailbox_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()

    async def main(kernel: Kernel) -> None:
        kernel.clock = clock
        ref, _ = await bounded(kernel, Mailbox(1))
        for _ in range(11):
            ref.cast("x")
        clock.time += REPORT_EVERY - 1
        ref.cast("x")
        clock.time += 1
        ref.cast("x")

    with caplog.at_level(logging.INFO, "noex"):
        run(main)
    full = [r.noex for r in caplog.records if r.noex["event"] == "mailbox_full"]  # type: ignore[attr-defined]
    assert [(f["limit"], f["policy"], f["dropped"]) for f in full] == [
        (1, "reject", 1),
        (1, "reject", 12),
    ]
