"""File descriptors: whether there will be enough of them for the cluster that is expected.

A node takes about `OF_NODE` descriptors for itself and `PER_PEER` for each other member, measured
in a full mesh: the control DEALER and its monitor (4), the user DEALER (2), the connections of the
peer to our three listening sockets (3), and ours to its PUB (1). A usual soft limit of 1024 is
reached near 95 members, and what happens then is ugly: connections fail at random, and libzmq ends
the process when it can make no socket. So the budget is looked at when the node starts.

The decision is `plan`, pure; `prepare` carries it out. A limit is raised, never lowered, and only
as far as needed: programs that still use ``select()`` cannot take descriptors beyond 1024.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any, Final, NamedTuple

from noex.runtime.errors import NoexError

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows: no such limit
    resource = None

PER_PEER: Final = 10
OF_NODE: Final = 24
SPARE: Final = 64
"""For the program itself, and for redials, where the old and the new are there at once."""

UNLIMITED: Final = sys.maxsize
ADVICE: Final = (
    "raise the hard limit (`ulimit -Hn`, LimitNOFILE= of the systemd unit, nofile in "
    "limits.conf, --ulimit nofile= of a container)"
)
_FOLDERS: Final = ("/proc/self/fd", "/dev/fd")


class TooFewDescriptorsError(NoexError, OSError):
    """The limit of open files does not suffice for a node and one peer."""

    fields = ("limit", "needed")

    def __init__(self, limit: int, needed: int) -> None:
        super().__init__(limit, needed)

    def describe(self) -> str:
        return (
            f"a node with one peer needs {self.args[1]} open files here, the hard limit is "
            f"{self.args[0]}; {ADVICE}"
        )


class Limits(NamedTuple):
    """How many descriptors a process may have: now, and at most without privileges."""

    soft: int
    hard: int


class Plan(NamedTuple):
    """What to do. `soft` is the limit to be set, or the present one."""

    needed: int
    soft: int
    is_raise: bool
    suffices: bool
    is_hopeless: bool


def needed_for(peers: int, in_use: int) -> int:
    """How many descriptors there will be with so many peers. `in_use` are open already."""
    return in_use + OF_NODE + SPARE + PER_PEER * peers


def plan(peers: int, in_use: int, limits: Limits) -> Plan:
    """Raise the soft limit to what is needed, or as far as the hard one goes."""
    needed = needed_for(peers, in_use)
    soft = max(limits.soft, min(needed, limits.hard))
    least = in_use + OF_NODE + PER_PEER
    return Plan(needed, soft, soft > limits.soft, needed <= soft, least > limits.hard)


def prepare(peers: int, log: Any) -> Plan | None:
    """See to it that there are descriptors for so many peers.

    Logs `descriptors_raised`, and `descriptors_short` when even the hard limit does not suffice.
    Raises `TooFewDescriptorsError` when not even one peer fits. None: there is no such limit on
    this platform.
    """
    limits = current_limits()
    if limits is None:
        return None
    decided = plan(peers, count_open(), limits)
    if decided.is_hopeless:
        raise TooFewDescriptorsError(limits.hard, needed_for(1, count_open()) - SPARE)
    soft = _raise_to(decided.soft) if decided.is_raise else decided.soft
    if soft > limits.soft:
        log.info("descriptors_raised", limit=soft, before=limits.soft, peers=peers)
    if soft < decided.needed:
        log.warning(
            "descriptors_short",
            limit=soft,
            needed=decided.needed,
            peers=peers,
            fit=max((soft - decided.needed) // PER_PEER + peers, 0),
            advice=ADVICE,
        )
    return decided._replace(soft=soft, suffices=soft >= decided.needed)


def current_limits() -> Limits | None:
    """What holds for this process; None where there are no such limits."""
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits(_number(soft), _number(hard))


def count_open() -> int:
    """How many descriptors this process has; 0 where that cannot be seen."""
    for folder in _FOLDERS:
        try:
            return len(os.listdir(folder)) - 1  # one of them was opened for looking
        except OSError:
            continue
    return 0


def _number(limit: int) -> int:
    assert resource is not None
    return UNLIMITED if limit in (resource.RLIM_INFINITY, -1) else limit


def _raise_to(soft: int) -> int:
    """Set the soft limit. Returns what holds then: a system may allow less than it says."""
    assert resource is not None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (OSError, ValueError):
        pass  # macOS says "unlimited" and means another number
    found = current_limits()
    return found.soft if found is not None else soft
