"""What the victim of the hostile tests runs: it answers, and says how it is."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer


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
