"""What only the other operating system process knows: the tests do not import this module."""

from __future__ import annotations

from typing import Any

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer


class StrangeError(Exception):
    """A class that the caller has never heard of."""


@behavior("stranger")
class Stranger(GenServer[None]):
    """Fails in its own way."""

    def init(self) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        raise StrangeError("never heard of", 7)
