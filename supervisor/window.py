"""Restart intensity: a sliding window over the times of restarts."""

from __future__ import annotations

from collections import deque

from noex.supervisor.spec import RestartIntensity


class RestartWindow:
    """Admits a restart if fewer than `max_restarts` earlier ones have ``t >= now - within``.

    So exactly `max_restarts` fit in any window, and the one that is refused ends the supervisor.
    A refused restart is not recorded.
    """

    __slots__ = ("_intensity", "_times")

    def __init__(self, intensity: RestartIntensity, times: tuple[float, ...] = ()) -> None:
        self._intensity = intensity
        self._times: deque[float] = deque(times)

    def admit(self, now: float) -> bool:
        """Record a restart at `now` and return True, or return False if it is one too many."""
        while self._times and self._times[0] < now - self._intensity.within:
            self._times.popleft()
        if len(self._times) >= self._intensity.max_restarts:
            return False
        self._times.append(now)
        return True

    @property
    def times(self) -> tuple[float, ...]:
        """The recorded restarts, oldest first; at most `max_restarts` of them."""
        return tuple(self._times)
