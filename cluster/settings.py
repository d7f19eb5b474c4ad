"""The times and limits of membership."""

from __future__ import annotations

from dataclasses import dataclass, fields

from noex.runtime.checks import check_count, check_limit
from noex.runtime.errors import InvalidOptionError


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How long membership waits for what: ``Node(..., membership=ClusterSettings(busy_cap=60))``.

    All times are seconds; the defaults are in the signature. Raises `InvalidOptionError`.

    - `cluster`: nodes of another cluster name are strangers.
    - `expect`: found a cluster only when this many joiners know each other, never alone.
    - `found_after`: how long joiners that know each other look for more before one founds.
    - `alone_after`: a node whose seeds never answer founds a cluster alone after this.
    - `hello_first`, `hello_cap`: pauses between greetings to a seed that is not a member; doubled
      from the one to the other, with jitter.
    - `join_retry`: pause between two requests to join.
    - `join_batch`: joins wait this long for others, to share one view.
    - `guest_timeout`: a joiner that cannot be dialled back in this time is refused.
    - `busy_after`: a heartbeat later than this, while the link is up, makes a peer busy.
    - `busy_lag`: an event loop that is this late makes its node busy.
    - `busy_cap`: a peer that has been busy this long is down.
    - `silence_after`: a peer whose link is lost and that is silent this long is down.
    - `stall_after`: a gap in one's own clock beyond this makes all other judgements void.
    - `stall_grace`: how long a node that was stalled listens before it judges again.
    - `alert_every`: pause between two reports of the same suspicion.
    - `tick`: how often time is looked at.
    """

    cluster: str = "noex"
    expect: int | None = None
    found_after: float = 0.3
    alone_after: float = 5.0
    hello_first: float = 0.1
    hello_cap: float = 2.0
    join_retry: float = 0.3
    join_batch: float = 0.05
    guest_timeout: float = 3.0
    busy_after: float = 1.0
    busy_lag: float = 1.0
    busy_cap: float = 30.0
    silence_after: float = 2.0
    stall_after: float = 1.0
    stall_grace: float = 1.5
    alert_every: float = 0.3
    tick: float = 0.05

    def __post_init__(self) -> None:
        if not isinstance(self.cluster, str) or not 0 < len(self.cluster) <= 100:
            raise InvalidOptionError("cluster", self.cluster, "a string of 1 to 100 characters")
        if self.expect is not None:
            check_count(self.expect, "expect")
        for each in fields(self)[2:]:
            check_limit(getattr(self, each.name), each.name)
