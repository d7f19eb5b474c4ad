"""Storms over one node: whatever happens, each call has one outcome, and order is kept.

Eight senders send numbered messages of all kinds to eight processes of all kinds: plain, with
coroutines, with threads, with bounded mailboxes. Meanwhile these crash, stop, are killed, suspended
and traced, and calls time out or are cancelled. Whoever dies is replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from actors import run, started

from noex.runtime.errors import NoexError
from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.mailboxes import Mailbox
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply, Reply, Stop
from noex.runtime.states import IDLE
from noex.testing import run_virtual

Sent = tuple[int, int, str]  # by whom, its number, what to do
Noted = list[tuple[int, int]]

HARMLESS = ["answer"] * 10 + ["wait", "nap", "ask", "keep", "task", "continue", "timeout"] * 2
FATAL = ["crash", "stop", "stop badly"]
PATIENCE = 30.0  # seconds, of calls that have no outcome


async def in_time(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, in real time and in virtual time, which passes only in a sleep."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < end, "the condition did not come true in time"
        await asyncio.sleep(0.001)  # sleep: lets the time pass for which the condition waits


class Stormy(GenServer[None]):
    """Notes the number of each message, and does what it says."""

    def init(self, noted: Noted, others: list[Ref[Any]], trap: bool) -> None:
        self.noted, self.others, self.kept = noted, others, list[Any]()
        self.trap_exits = trap

    def handle_call(self, message: Sent, state: None) -> Any:
        return self.obey(message, True)

    def handle_cast(self, message: Sent, state: None) -> Any:
        return self.obey(message, False)

    def handle_info(self, message: Any, state: None) -> Any:
        return self.obey(message, False) if isinstance(message, tuple) else None

    def handle_continue(self, token: Any, state: None) -> Any:
        return None

    def obey(self, message: Sent, is_call: bool) -> Any:
        sender, number, what = message
        self.noted.append((sender, number))
        match what:
            case "crash":
                raise ValueError("boom")
            case "stop":
                return Stop("shutdown", reply=number) if is_call else Stop("shutdown")
            case "stop badly":
                return Stop("bad")
            case "keep" if is_call:
                return self.keep(number)
            case "task" if is_call:
                self.spawn_task(self.answer_later(number))
                return NoReply()
            case "continue":
                return Reply(number, continue_with=1) if is_call else NoReply(continue_with=1)
            case "timeout":
                return Reply(number, timeout=0) if is_call else NoReply(timeout=0)
        return (number, None) if is_call else None

    def keep(self, number: int) -> NoReply:
        self.kept.append((self.caller, number))
        if len(self.kept) > 3:
            for caller, kept in self.kept:
                caller.reply(kept)
            self.kept.clear()
        return NoReply()

    async def answer_later(self, number: int) -> None:
        await asyncio.sleep(0)  # sleep: gives way to the loop once
        assert self.caller is not None
        self.caller.reply(number)


class Async(Stormy):
    async def handle_call(self, message: Sent, state: None) -> Any:
        await self.linger(message)
        return self.obey(message, True)

    async def handle_cast(self, message: Sent, state: None) -> Any:
        await self.linger(message)
        return self.obey(message, False)

    async def linger(self, message: Sent) -> None:
        _, number, what = message
        if what == "wait":
            await asyncio.sleep(0)  # sleep: gives way to the loop once
        elif what == "nap":
            await asyncio.sleep(0.001)  # sleep: what a handler may do
        elif what == "ask":
            try:
                await self.others[number % len(self.others)].call((-1, 0, "wait"), timeout=0.01)
            except NoexError:
                pass


class Mixed(Async):
    def handle_cast(self, message: Sent, state: None) -> Any:  # type: ignore[override]
        return self.obey(message, False)


class Tidy(Async):
    async def terminate(self, reason: Any, state: None) -> None:
        await asyncio.sleep(0.001)  # sleep: what a handler may do


class TidyPlain(Stormy):
    def terminate(self, reason: Any, state: None) -> None:
        self.kept.clear()


class Bounded(Stormy):
    mailbox = Mailbox(20, "drop_old")


class BoundedAsync(Async):
    mailbox = Mailbox(20, "reject")


class Blocking(Stormy):
    blocking = True


ON_LOOP: list[type[Stormy]] = [Stormy, Async, Mixed, Tidy, TidyPlain, Bounded, BoundedAsync]


class Storm:
    """One storm. `fatal`: processes die, too."""

    def __init__(
        self, kernel: Kernel, seed: int, classes: list[type[Stormy]], fatal: bool, count: int
    ) -> None:
        self.kernel, self.classes, self.fatal, self.count = kernel, classes, fatal, count
        self.random = random.Random(seed)
        self.refs: list[Ref[Any]] = []
        self.noted: dict[Ref[Any], Noted] = {}
        self.outcomes = self.calls = 0
        self.steps: list[Callable[[Ref[Any], Sent], Coroutine[Any, Any, None]]] = [
            *([self.call] * 40 + [self.cast] * 35 + [self.send] * 15),
            *([self.abandon] * 5 + [self.suspend] * 2 + [self.trace] * 2 + [self.pause] * 2),
            *([self.kill, self.exit, self.stop] if fatal else []),
        ]

    async def rage(self) -> None:
        for _ in range(8):
            self.refs.append(await self.new())
        await asyncio.gather(*(self.sender(number) for number in range(8)))
        self.check_order()
        assert self.outcomes == self.calls
        await in_time(lambda: all(self.is_quiet(ref) for ref in self.refs))

    async def new(self) -> Ref[Any]:
        noted: Noted = []
        cls = self.random.choice(self.classes)
        ref = await started(self.kernel, cls, noted, self.refs, self.random.random() < 0.3)
        self.noted[ref] = noted
        return ref

    async def sender(self, sender: int) -> None:
        what = HARMLESS + (FATAL if self.fatal else [])
        for number in range(self.count):
            place = self.random.randrange(len(self.refs))
            ref = self.refs[place]
            step = self.random.choice(self.steps)
            await step(ref, (sender, number, self.random.choice(what)))
            if ref.process is None:
                self.refs[place] = await self.new()
            if number % 50 == 0:
                self.check_mailboxes()

    # ------------------------------------------------------------------ steps

    async def call(self, ref: Ref[Any], message: Sent) -> None:
        timeout = self.random.choice([None, 5.0, 5.0, 0.002, 0.0005])
        if message[2] == "keep":  # perhaps for ever
            timeout = 0.01
        self.calls += 1
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                assert await ref.call(message, timeout=timeout) == message[1]
        except NoexError:
            pass
        assert not patience.expired(), f"no outcome of {message} to {ref}"
        self.outcomes += 1

    async def abandon(self, ref: Ref[Any], message: Sent) -> None:
        task = asyncio.create_task(ref.call(message))
        for _ in range(self.random.randrange(3)):
            await self.pause(ref, message)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done()
        if not task.cancelled():
            task.exception()

    async def cast(self, ref: Ref[Any], message: Sent) -> None:
        ref.cast(message)

    async def send(self, ref: Ref[Any], message: Sent) -> None:
        ref.send(message)

    async def pause(self, ref: Ref[Any], message: Sent) -> None:
        await asyncio.sleep(0)  # sleep: gives way to the loop once

    async def suspend(self, ref: Ref[Any], message: Sent) -> None:
        try:
            await ref.suspend()
            await self.pause(ref, message)
        except NoexError:
            return
        finally:
            if ref.process is not None:
                try:
                    await ref.resume()
                except NoexError:
                    pass

    async def trace(self, ref: Ref[Any], message: Sent) -> None:
        try:
            await ref.trace(lambda _event: None)
            await self.pause(ref, message)
            await ref.trace(False)
        except NoexError:
            pass

    async def kill(self, ref: Ref[Any], message: Sent) -> None:
        ref.exit("kill")

    async def exit(self, ref: Ref[Any], message: Sent) -> None:
        ref.exit("bad")

    async def stop(self, ref: Ref[Any], message: Sent) -> None:
        try:
            await ref.stop()
        except NoexError:
            pass

    # ------------------------------------------------------------------ what must hold

    def check_order(self) -> None:
        for ref, noted in self.noted.items():
            last: dict[int, int] = {}
            for sender, number in noted:
                if sender >= 0:
                    assert number > last.get(sender, -1), f"{ref}: {number} of {sender}"
                    last[sender] = number

    def check_mailboxes(self) -> None:
        """No two processes share one, and those that lie ready are empty."""
        spare = self.kernel.spare_mailboxes
        assert not any(spare)
        in_use = [process.mailbox for process in self.kernel.processes.values()]
        all_of_them = [id(each) for each in (*in_use, *spare) if each is not None]
        assert len(set(all_of_them)) == len(all_of_them)

    def is_quiet(self, ref: Ref[Any]) -> bool:
        process = ref.process
        return process is None or (
            process.status == IDLE
            and not process.open_calls
            and process.waiting_on is None
            and process.worker is None
        )


async def storm(
    kernel: Kernel, seed: int, fatal: bool, *, threads: bool = False, count: int = 300
) -> None:
    classes = [*ON_LOOP, Blocking] if threads else ON_LOOP
    await Storm(kernel, seed, classes, fatal, count).rage()
    for process in list(kernel.processes.values()):
        process.ref.exit("kill")
    await in_time(lambda: not kernel.processes)
    assert not kernel.names and not kernel.zombies and not kernel.holdings.by_serial
    assert not kernel.turns._line and not kernel._obituaries


@pytest.mark.parametrize("fatal", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_each_call_has_one_outcome_and_order_is_kept(seed: int, fatal: bool) -> None:
    run(lambda kernel: storm(kernel, seed, fatal))


@pytest.mark.parametrize("seed", range(2))
def test_each_call_has_one_outcome_with_threads(seed: int) -> None:
    run(lambda kernel: storm(kernel, seed, True, threads=True, count=200))


@pytest.mark.parametrize("seed", range(2))
def test_each_call_has_one_outcome_in_virtual_time(seed: int) -> None:
    async def main() -> None:
        kernel = Kernel(kill_grace=0.2)
        await storm(kernel, seed, True)
        await kernel.shutdown()

    run_virtual(main())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 30))
def test_each_call_has_one_outcome_in_many_storms(seed: int) -> None:
    run(lambda kernel: storm(kernel, seed, seed % 3 > 0, threads=seed % 2 == 0, count=500))
