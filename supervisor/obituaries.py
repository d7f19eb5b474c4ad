"""Why processes ended, for those who ask later: a bounded memory per node."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.monitors import Monitor
    from noex.runtime.ref import Ref

REMEMBERED: Final = 1024

_watches: WeakKeyDictionary[Kernel, OrderedDict[Ref[Any], Monitor]] = WeakKeyDictionary()


def watch(ref: Ref[Any]) -> Monitor:
    """A monitor on `ref` that all who ask for it share; the longest unused is given up."""
    watches = _watches.setdefault(ref.kernel, OrderedDict())
    monitor = watches.get(ref)
    if monitor is None:
        monitor = watches[ref] = ref.kernel.monitor(ref)
        if len(watches) > REMEMBERED:
            watches.popitem(last=False)[1].cancel()
    watches.move_to_end(ref)
    return monitor


def reason_of(ref: Ref[Any]) -> Any:
    """Why the process of `ref` ended, or None if that is not known."""
    watches = _watches.get(ref.kernel)
    monitor = watches.get(ref) if watches is not None else None
    return None if monitor is None else monitor.reason
