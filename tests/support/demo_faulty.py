"""Behaviors for the demo whose workers forget a word: its comparison has to notice."""

from __future__ import annotations

from typing import Any

from noex.cli import demo_actors

_analyse = demo_actors.Worker.analyse


async def _forgetful(self: demo_actors.Worker, chunk: str) -> Any:
    result = await _analyse(self, chunk)
    if "forgettable" in result["words"]:
        del result["words"]["forgettable"]
    return result


demo_actors.Worker.analyse = _forgetful  # type: ignore[method-assign]
