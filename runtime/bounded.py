"""A process whose mailbox has a bound. All others know nothing of this, and pay nothing for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.errors import OverloadedError
from noex.runtime.mailboxes import Mailbox
from noex.runtime.process import Process
from noex.runtime.reports import report_full_mailbox
from noex.runtime.states import INFO, Item

if TYPE_CHECKING:
    from noex.runtime.calls import Caller

REPORT_EVERY: Final = 60.0  # seconds


class _OfTheSystem(tuple[int, Any, "Caller | None"]):
    """An item of the kind INFO that is not counted."""

    __slots__ = ()


def _counts(item: Item) -> bool:
    return item[0] <= INFO and type(item) is not _OfTheSystem


class _Counted(deque[Item]):
    """The messages of a bounded process. It knows how many of them count."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0

    def popleft(self) -> Item:
        item = super().popleft()
        if _counts(item):
            self.counted -= 1
        return item

    def drop_oldest(self) -> Item:
        """Take out the first that counts."""
        place = next(place for place, item in enumerate(self) if _counts(item))
        item = self[place]
        del self[place]
        self.counted -= 1
        return item


class BoundedProcess(Process):
    """A process whose mailbox has a bound."""

    __slots__ = ()

    bound: Mailbox
    _reported_at: float | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.mailbox = _Counted()

    def deliver(self, item: Item) -> bool:
        """Append a message, unless it is one too many."""
        mailbox = self.mailbox
        if item[0] > INFO or not isinstance(mailbox, _Counted):  # None: it was killed
            return super().deliver(item)
        if mailbox.counted >= self.bound.limit:
            if self.bound.policy != "drop_old":
                self._refuse(item)
                return item[2] is not None  # whoever calls is told in another way
            self._refuse(mailbox.drop_oldest())
        mailbox.counted += 1
        return super().deliver(item)

    def deliver_info(self, message: Any) -> bool:
        """Append what the system sends: it always gets in."""
        return super().deliver(_OfTheSystem((INFO, message, None)))

    def deliver_first(self, item: Item) -> None:
        """Put something before all that is queued, which only the system does."""
        super().deliver_first(_OfTheSystem(item) if item[0] <= INFO else item)

    def _refuse(self, item: Item) -> None:
        """`item` is one too many."""
        self._count()
        if self.bound.policy != "reject":
            self._lose(item)
        caller = item[2]
        if caller is not None:
            # In a turn of its own, so that a caller that tries again and again lets others run.
            error = OverloadedError(self.kernel.node_id, self.ref)
            self.kernel.loop.call_soon(caller.fail, error)

    def _count(self) -> None:
        self.dropped += 1
        now = self.kernel.clock.now()
        if self._reported_at is None or now - self._reported_at >= REPORT_EVERY:
            self._reported_at = now
            report_full_mailbox(self)
