"""`ref.proxy` of a blocking node: methods with their own signatures, without await."""

from __future__ import annotations

from typing import Any

import pytest

import noex
from noex import CallTimeoutError, GenServer, Node, NoReply, UnknownMethodError, call, cast


class Typed(GenServer[int]):
    """Methods of both kinds."""

    def init(self) -> int:
        return 0

    @call
    def add(self, amount: int) -> int:
        self.state += amount
        return self.state

    @call
    async def kind_of(self, value: Any) -> str:
        return type(value).__name__

    @call
    def never(self) -> NoReply:
        return NoReply()

    @cast
    def plus(self, amount: int) -> None:
        self.state += amount


def test_typed_calls_work_without_await() -> None:
    with noex.blocking(Node()) as node:
        ref = node.start(Typed)
        assert ref.proxy.add(5) == 5
        assert ref.proxy.add.cast(1) is True and ref.proxy.plus(1) is True
        assert ref.proxy.plus.cast(amount=1) is True
        assert ref.proxy.kind_of(ref) == "Ref"
        with pytest.raises(CallTimeoutError):
            ref.proxy.never.with_timeout(0.02)()
        with pytest.raises(UnknownMethodError):
            ref.proxy.nothing_of_the_kind()
        assert node.run(ref.plain.proxy.add, 2) == 10
        assert "add" in repr(ref.proxy.add) and repr(ref) in repr(ref.proxy)
