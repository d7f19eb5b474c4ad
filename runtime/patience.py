"""How long callers wait: the timeouts of calls, of which there are millions and hardly one comes.

Those of one length fall due in the order in which the calls were made, so they stand in a line, and
only the first of a line has a deadline. Who has the outcome just stays where he is, and is dropped
when he comes to the front, or when the line has grown to twice what was alive in it: so a call that
is answered in time costs one append, and no memory. Timeouts of many different lengths (what is
left of another one, say) have deadlines of their own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from noex.runtime.alarm import Alarm

if TYPE_CHECKING:
    import asyncio

    from noex.runtime.calls import LocalCaller

SHORT: Final = 1024  # up to here a line is not looked through
MOST_LINES: Final = 64
MOST: Final = 512  # callers that are told in one iteration of the loop


class _Line:
    """Callers that wait equally long, the first to give up in front."""

    __slots__ = ("callers", "limit", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.callers: deque[LocalCaller] = deque()
        self.limit = SHORT

    def sweep(self) -> None:
        """Drop those in front who wait no more."""
        callers = self.callers
        while callers and callers[0].is_answered:
            callers.popleft()

    def thin_out(self) -> None:
        """Drop all who wait no more."""
        self.callers = deque(caller for caller in self.callers if not caller.is_answered)
        self.limit = max(SHORT, 2 * len(self.callers))


class Patience:
    """The waiting callers of one node."""

    __slots__ = ("_alarm", "_lines", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._alarm = Alarm(loop)
        self._lines: dict[float, _Line] = {}

    @property
    def waiting(self) -> int:
        """How many callers wait, each for its timeout or for what comes before."""
        lines = self._lines.values()
        in_line = sum(not caller.is_answered for line in lines for caller in line.callers)
        return in_line + len(self._alarm) - len(lines)

    def close(self) -> None:
        """Disarm; nobody is told any more."""
        self._alarm.close()
        self._lines.clear()

    def bound(self, caller: LocalCaller, timeout: float) -> None:
        """Tell `caller` in `timeout` seconds that it has waited long enough."""
        caller.until = self._loop.time() + timeout
        line = self._lines.get(timeout)
        if line is None:
            if len(self._lines) < MOST_LINES:
                self._open(timeout, caller)
            else:
                caller.deadline = self._alarm.after(timeout, caller.expire)
            return
        callers = line.callers
        callers.append(caller)
        while callers[0]._answered:  # at the latest it ends at the one just added
            callers.popleft()
        if len(callers) > line.limit:
            line.thin_out()

    def _open(self, timeout: float, caller: LocalCaller) -> None:
        line = self._lines[timeout] = _Line(timeout)
        line.callers.append(caller)
        self._alarm.after(timeout, lambda: self._ring(line))

    def _ring(self, line: _Line) -> None:
        """The first of a line may be due: the one for whom the alarm was set, or a later one."""
        now, callers, told = self._loop.time() + 1e-6, line.callers, 0
        line.sweep()
        while callers and callers[0].until <= now:
            if told == MOST:
                self._loop.call_soon(self._ring, line)
                return
            told += 1
            callers.popleft().expire()
            line.sweep()
        if callers:
            self._alarm.after(callers[0].until - now, lambda: self._ring(line))
        else:
            self._lines.pop(line.timeout, None)
