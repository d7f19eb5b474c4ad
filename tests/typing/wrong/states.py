"""States of the wrong type."""

from __future__ import annotations

from typing import Any

from noex import GenServer, Reply, Stop


class Counter(GenServer[int]):
    def init(self, start: int = 0) -> int:
        # error: mypy[assignment] pyright[reportAttributeAccessIssue]
        self.state = "zero"
        # error: mypy[return-value] pyright[reportReturnType]
        return "zero"

    # error: mypy[override] pyright[reportIncompatibleMethodOverride]
    def handle_call(self, message: Any, state: str) -> Any:
        return state, state

    def handle_cast(self, message: Any, state: int) -> int:
        # error: mypy[attr-defined, no-any-return] pyright[reportAttributeAccessIssue]
        return state.upper()

    # error: mypy[override] pyright[reportIncompatibleMethodOverride]
    def handle_info(self, message: Any) -> None: ...

    async def handle_continue(self, token: Any, state: int) -> Stop:
        # error: mypy[return-value] pyright[reportReturnType]
        return Reply(5)

    def terminate(self, reason: Any, state: int) -> None:
        # error: mypy[attr-defined] pyright[reportAttributeAccessIssue]
        self.state.upper()
        # error: mypy[arg-type] pyright[reportArgumentType]
        self.send_after("1", "tick")
