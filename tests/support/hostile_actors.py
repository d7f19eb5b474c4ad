"""What the victim of the hostile tests runs: it answers, and says how it is."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer


@behavior("gatherer")
class Gatherer(GenServer[int]):
    """Counts what is cast, and takes nothing that is out of its turn."""

    def init(self) -> int:
        return 0

    def handle_cast(self, message: Any, state: int) -> int:
        number, _content = message
        if number != state:
            raise ValueError(f"{number} came in the place of {state}")
        return state + 1

    def handle_call(self, message: Any, state: int) -> Any:
        return (message, state) if message != "count" else (state, state)


@behavior("sentry")
class Sentry(GenServer[None]):
    """Answers with what it was asked; ``vitals``: how many tasks and threads its node has."""

    def init(self) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        if message == "vitals":
            return (len(asyncio.all_tasks()), threading.active_count()), state
        if isinstance(message, tuple) and message[0] == "stand still":
            time.sleep(message[1])  # sleep: holds the loop, which then reads nothing
        return message, state
