"""What only the other operating system process knows: the tests do not import this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer
from noex.runtime.returns import Stop
from noex.transport.message import message


class StrangeError(Exception):
    """A class that the caller has never heard of."""


@message
@dataclass(frozen=True)
class StrangeValue:
    """What the other one cannot read."""

    number: int


@behavior("stranger")
class Stranger(GenServer[None]):
    """Answers, fails and ends in its own way."""

    def init(self) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        match message:
            case "value":
                return StrangeValue(7), state
            case "end":
                return Stop(StrangeValue(7))
            case ("exit", ref):
                ref.exit(StrangeValue(7))
                return "sent", state
            case ("stop", ref):
                self.kernel.ask_to_stop(ref, StrangeValue(7))
                return "sent", state
            case ("link", ref):
                self.link(ref)
                return "linked", state
        raise StrangeError("never heard of", 7)
