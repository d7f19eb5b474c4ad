"""Requests with a type and marked methods, between two nodes: all as on one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from three_nodes import Trio, Worker, run_async, trio, until

from noex import (
    BadArgumentsError,
    CallTimeoutError,
    GenServer,
    InvalidOptionError,
    MessageSerializationError,
    NoProcessError,
    NoReply,
    Ref,
    Request,
    ServerCrashedError,
    Stop,
    UnknownMethodError,
    call,
    cast,
    message,
)

T = TypeVar("T")


@message
@dataclass(frozen=True, slots=True)
class Add(Request[int]):
    """A request that travels."""

    amount: int


class Account(GenServer[int]):
    """Requests, methods, and a message that is neither."""

    def init(self, start: int = 0) -> int:
        self.noted: list[str] = []
        return start

    def handle_call(self, message: Any, state: int) -> Any:
        if isinstance(message, Add):
            return state + message.amount, state + message.amount
        return message, state

    @call
    def add(self, amount: int, *, times: int = 1) -> int:
        self.state += amount * times
        return self.state

    @call
    async def later(self) -> int:
        await asyncio.sleep(0)
        return self.state

    @call
    def never(self) -> NoReply:
        return NoReply()

    @call
    def whole(self) -> tuple[Ref[Any], list[str]]:
        return self.ref, self.noted

    @call
    def stuck(self) -> Any:
        return object()

    @call
    def close(self) -> str | Stop:
        return Stop("shutdown", reply="closed")

    @call
    def fail(self) -> None:
        raise ValueError("no money")

    @cast
    def note(self, text: str, *, mark: str = "") -> None:
        self.noted.append(text + mark)


async def elsewhere(nodes: Trio, *args: Any, **options: Any) -> Ref[Account]:
    """An account on b, as a knows it."""
    return await nodes.a.options(**options).spawn("account", *args, on=nodes.b.id)


@run_async
async def test_methods_and_requests_work_from_another_node() -> None:
    async with trio(2, account=Account) as nodes:
        ref = await elsewhere(nodes, 10)
        assert not ref.is_local
        assert await ref.call(Add(5)) == 15
        assert await ref.proxy.add(5) == 20
        assert await ref.proxy.add(amount=5, times=2) == 30
        assert await ref.proxy.later() == 30
        assert ref.proxy.add.cast(1) is True
        assert ref.proxy.note("x", mark="!") is True
        assert ref.proxy.note.cast("y") is True
        assert await ref.proxy.whole() == (ref, ["x!", "y"])
        assert await ref.call("plain") == "plain"
        assert await ref.proxy.add(0) == 31
        assert await ref.proxy.close() == "closed"
        await ref.wait()
        with pytest.raises(NoProcessError):
            await ref.proxy.add(1)


@run_async
async def test_a_ref_that_was_handed_on_still_knows_which_methods_are_casts() -> None:
    async with trio(3, account=Account) as nodes:
        ref = await elsewhere(nodes)
        holder = await nodes.c.start(Worker, ref)
        (handed,) = await nodes.b.kernel.ref_for(
            holder.node_id, holder.incarnation, holder.serial
        ).call("args")
        assert handed is nodes.b.kernel.find(ref).ref  # type: ignore[union-attr]
        (handed,) = await holder.call("args")
        assert handed.proxy.note("again") is True
        assert (await handed.proxy.whole())[1] == ["again"]
        found = await nodes.a.options(name="bank", register="global").spawn(
            "account", on=nodes.b.id
        )
        by_name = await nodes.c.whereis_global("bank")
        assert by_name == found
        assert by_name.proxy.note("global") is True
        assert (await by_name.proxy.whole())[1] == ["global"]


@run_async
async def test_a_name_on_another_node_takes_casts_of_a_class_it_is_told() -> None:
    async with trio(2, account=Account) as nodes:
        await elsewhere(nodes, name="bank")
        bank = nodes.a.ref("bank", on=nodes.b.id, behavior=Account)
        assert bank.proxy.note("x") is True
        assert await bank.proxy.add(1) == 1
        untold: Ref[Account] = nodes.a.ref("bank", on=nodes.b.id)
        assert untold.proxy.note.cast("y") is True
        assert await untold.call(("no", "method")) == ("no", "method")
        assert (await untold.proxy.whole())[1] == ["x", "y"]


@run_async
async def test_mistakes_are_told_to_the_caller_on_the_other_node_and_the_server_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trio(2, account=Account) as nodes:
        ref = await elsewhere(nodes)
        with pytest.raises(UnknownMethodError) as unknown:
            await ref.proxy.sub(1)  # type: ignore[attr-defined]
        assert (unknown.value.method, unknown.value.behavior) == ("sub", "Account")
        assert "add" in unknown.value.known
        with pytest.raises(BadArgumentsError, match=r"missing .* 'amount'") as unfit:
            await ref.proxy.add()  # type: ignore[call-arg]
        assert unfit.value.signature == "(amount: int, *, times: int = 1) -> int"
        with pytest.raises(MessageSerializationError, match=r"message\.args\[0\]"):
            await ref.proxy.add(object())  # type: ignore[arg-type]
        with pytest.raises(MessageSerializationError, match=r"message\.kwargs\['mark'\]"):
            ref.proxy.note("x", mark=object())  # type: ignore[arg-type]
        with pytest.raises(MessageSerializationError, match="reply"):
            await ref.proxy.stuck()
        with pytest.raises(CallTimeoutError):
            await ref.proxy.never.with_timeout(0.05)()
        assert ref.proxy.note(1, 2, 3) is True  # type: ignore[call-arg, arg-type]
        assert await ref.proxy.add(1) == 1
        (record,) = [r for r in caplog.records if r.noex["event"] == "cast_refused"]
        assert "Account.note(text: str, *, mark: str = '') -> None" in record.noex["error"]
        with pytest.raises(ServerCrashedError) as crashed:
            await ref.proxy.fail()
        assert repr(crashed.value.reason) == "ValueError('no money')"


@run_async
async def test_a_class_without_methods_on_another_node_never_sees_a_method_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trio(2) as nodes:
        ref = await nodes.a.spawn("worker", 1, on=nodes.b.id)
        with pytest.raises(UnknownMethodError, match="Worker has no method 'add'"):
            await ref.proxy.add(1)
        ref.proxy.add.cast(1)
        assert await ref.call("args") == (1,)
        await until(lambda: [r for r in caplog.records if "no method 'add'" in str(r.msg)], "a log")


class Cell(GenServer[T]):
    """A generic class."""

    def init(self, value: T) -> T:
        return value

    @call
    def get(self) -> T:
        return self.state


@run_async
async def test_a_class_with_its_types_filled_in_can_be_started() -> None:
    async with trio(1) as nodes:
        ref = await nodes.a.start(Cell[int], 5)
        assert await ref.proxy.get() == 5
        named = await nodes.a.options(name="cell").start(Cell[str], "x")
        assert await named.proxy.get() == "x"
        assert await nodes.a.ref("cell", behavior=Cell[str]).proxy.get() == "x"
        for wrong in (int, 5, "Cell"):
            with pytest.raises(InvalidOptionError, match="behavior"):
                nodes.a.ref("cell", behavior=wrong)
