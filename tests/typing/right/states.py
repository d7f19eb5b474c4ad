"""The type of the state runs through the callbacks. Nothing here is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, assert_type

from noex import Caller, GenServer, NoReply, Ok, Reply, Stop


class Bare(GenServer):
    """Without a type, the state is anything."""

    def init(self, start: int = 0) -> dict[str, int]:
        return {"start": start}

    def handle_call(self, message: Any, state: dict[str, int]) -> Any:
        self.state["x"] = 1
        return state["start"], state


@dataclass
class Basket:
    """A state."""

    items: list[str] = field(default_factory=list[str])
    waiting: Caller | None = None


class Shop(GenServer[Basket]):
    """All callbacks, some of them async, with the returns that they may have."""

    def init(self, first: str) -> Ok:
        return Ok(Basket([first]), continue_with="more", timeout=5.0)

    def handle_continue(self, token: Any, state: Basket) -> Basket:
        state.items.append(token)
        return state

    async def handle_call(self, message: Any, state: Basket) -> Reply | NoReply | Stop:
        assert_type(state, Basket)
        assert_type(self.state, Basket)
        match message:
            case "wait":
                state.waiting = self.caller
                return NoReply()
            case "stop":
                return Stop("shutdown", reply=len(state.items))
            case _:
                return Reply(state.items, state)

    def handle_cast(self, message: Any, state: Basket) -> Basket | None:
        if state.waiting is not None:
            state.waiting.reply(message)
        self.state = Basket()
        return None

    async def handle_info(self, message: Any, state: Basket) -> NoReply:
        return NoReply(state, timeout=1.0)

    def terminate(self, reason: Any, state: Basket) -> None:
        state.items.clear()

    def format_status(self, state: Basket) -> str:
        return f"{len(state.items)} items"
