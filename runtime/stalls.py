"""When to say that something holds the loop: the pure half of the watchdog.

The watchdog takes a `Sample` of the loop's thread twice per limit. What the samples mean:

1. *Idle*: the loop waits for events, or does not run. Nothing holds it, nothing is asked of it.
2. *Busy*: the loop is asked for a sign of life (`Ask`), which it can give only between two
   callbacks. The callback that is on now is the *holder* for as long as the answer is missing and
   no other callback is seen.
3. The holder is there for the limit, unanswered: `Stuck`. Again after twice, four times, ... the
   limit, while it goes on.
4. The answer comes, or another callback is seen: `Recovered`, if `Stuck` was said.

A sample can come much too late, for one of two reasons, told apart by what the process did
meanwhile. Nothing: it did not run (stopped, suspended, starved), and the time is not the holder's.
Something: a C call kept the interpreter lock, the watchdog was one of those whom it held up, and
the time since the sample was due is the holder's, although nobody could look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SAMPLES_PER_LIMIT: Final = 2
SHORTEST_PAUSE: Final = 0.005  # seconds
BUSY_SHARE: Final = 0.2  # of the time that a sample is late: the process did run if it ran so much


@dataclass(frozen=True, slots=True)
class Sample:
    """What the watchdog sees at one moment."""

    now: float  # monotonic seconds
    ran: float  # seconds that this process is known to have run, up to now
    holder: int | None  # names the callback that is on; None: the loop is idle
    answered_at: float | None = None  # when the loop gave the sign of life, if it was asked


@dataclass(frozen=True, slots=True)
class Ask:
    """Have the loop give a sign of life."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """The holder has had the loop for at least `seconds`, and still has it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was stuck has let go, after about `seconds`."""

    seconds: float


Effect = Ask | Stuck | Recovered


class StallDetector:
    """Decides for one loop; `limit` is the seconds that one callback may have it."""

    def __init__(self, limit: float) -> None:
        self.pause = max(limit / SAMPLES_PER_LIMIT, SHORTEST_PAUSE)  # between two samples
        self._limit = limit
        self._asked = False
        self._holder: int | None = None
        self._since = 0.0  # the holder was seen first, or its clock started anew
        self._next_report = limit  # seconds after `_since`
        self._last: Sample | None = None

    @property
    def is_reported(self) -> bool:
        """Whether `Stuck` was said and `Recovered` not yet."""
        return self._next_report > self._limit

    def handle(self, sample: Sample) -> list[Effect]:
        """Judge one sample."""
        seen_from = self._account_for_delay(sample)
        if not self._asked:
            return self._ask(sample, seen_from)
        if sample.answered_at is not None:
            self._asked = False
            ended = self._let_go(sample.answered_at)
            return [*ended, *self._ask(sample, max(seen_from, sample.answered_at))]
        if sample.holder != self._holder:  # no answer, but another callback: it does move
            ended = self._let_go(sample.now)
            self._hold(sample.holder, seen_from)
            return [*ended, *self._report(sample)]
        return self._report(sample)

    def _account_for_delay(self, sample: Sample) -> float:
        """From when on what is seen now counts; moves `_since` on if this process was away."""
        last, self._last = self._last, sample
        late = 0.0 if last is None else sample.now - last.now - self.pause
        if last is None or late <= self.pause:
            return sample.now
        if sample.ran - last.ran < late * BUSY_SHARE:
            self._since += late
            return sample.now
        return sample.now - late

    def _ask(self, sample: Sample, seen_from: float) -> list[Effect]:
        if sample.holder is None:
            return []
        self._asked = True
        self._hold(sample.holder, seen_from)
        return [Ask(), *self._report(sample)]

    def _hold(self, holder: int | None, since: float) -> None:
        self._holder, self._since, self._next_report = holder, since, self._limit

    def _let_go(self, at: float) -> list[Effect]:
        if not self.is_reported:
            return []
        self._next_report = self._limit
        return [Recovered(max(at - self._since, 0.0))]

    def _report(self, sample: Sample) -> list[Effect]:
        seconds = sample.now - self._since
        if sample.holder is None or seconds < self._next_report:
            return []
        while self._next_report <= seconds:
            self._next_report *= 2
        return [Stuck(seconds)]
