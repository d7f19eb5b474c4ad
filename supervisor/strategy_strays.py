"""Attempts and processes that were given up, and must be gone before their child goes on.

A stray is a start that is not wanted any more, the old process of a child that has moved, or a
success that nobody asked for. While a child has one, nothing of it is started beside it, whoever
asked for its end is not answered, and the supervisor does not end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from noex.supervisor.spec import Shutdown
from noex.supervisor.strategy_actions import Action, CancelStart, StopChild

Key = tuple[str, int]  # child id, generation
Life = tuple[str | None, int]  # node id, incarnation


class Strays:
    """The strays of one supervisor."""

    def __init__(self, act: Callable[[Action], None], answer: Callable[[int], None]) -> None:
        self._act = act
        self._answer = answer
        self._lives: dict[Key, Life] = {}
        self._of_child: Counter[str] = Counter()
        self._waiting: dict[str, list[int]] = {}  # requests, until a child has no strays

    def __len__(self) -> int:
        return len(self._lives)

    def has(self, child_id: str) -> bool:
        """Whether something of this child is not gone yet."""
        return self._of_child[child_id] > 0

    @property
    def waiting_ids(self) -> list[int]:
        """The requests that wait for strays."""
        return [request_id for ids in self._waiting.values() for request_id in ids]

    def cancel(self, child_id: str, generation: int) -> None:
        """A start is not wanted any more."""
        self._add((child_id, generation), (None, 0))
        self._act(CancelStart(child_id, generation))

    def stop(self, key: Key, ref: Any, life: Life, shutdown: Shutdown, reason: Any) -> None:
        """A process is not wanted any more."""
        self._add(key, life)
        self._act(StopChild(*key, ref, life[0], shutdown, reason))

    def wait(self, child_id: str, request_ids: list[int]) -> None:
        """Answer these requests when nothing of the child is left."""
        if self.has(child_id):
            self._waiting.setdefault(child_id, []).extend(request_ids)
        else:
            for request_id in request_ids:
                self._answer(request_id)

    def gone(self, child_id: str, generation: int) -> None:
        """Nothing of this attempt runs, or ever will."""
        if self._lives.pop((child_id, generation), None) is None:
            return
        self._of_child[child_id] -= 1
        if not self.has(child_id):
            del self._of_child[child_id]
            for request_id in self._waiting.pop(child_id, []):
                self._answer(request_id)

    def node_lost(self, node_id: str, incarnation: int | None) -> None:
        """What ran there is gone."""
        for key, (where, life) in list(self._lives.items()):
            if where == node_id and (incarnation is None or life <= incarnation):
                self.gone(*key)

    def _add(self, key: Key, life: Life) -> None:
        if key not in self._lives:
            self._of_child[key[0]] += 1
        self._lives[key] = life
