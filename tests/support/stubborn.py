"""Behaviors for nodes that are slow to end, or that stop answering."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer


@behavior("stubborn")
class Stubborn(GenServer[None]):
    """Says what it does, and takes for ever over it."""

    def init(self) -> None:
        return None

    def handle_cast(self, message: Any, state: None) -> None:
        print("holding the loop", flush=True)
        time.sleep(3600)

    async def terminate(self, reason: Any, state: None) -> None:
        print("terminating", flush=True)
        await asyncio.sleep(3600)
