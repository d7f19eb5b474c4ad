"""How many messages may wait for a process, and what happens to one more.

By default a mailbox holds as much as there is memory. A bound counts what others send: calls, casts
and sends. What the system sends (exit signals, `Down`, `TIMEOUT`, timers, continuations, orders to
stop, system messages) always gets in, and does not count. `noex.runtime.bounded` keeps to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from noex.runtime.checks import check_count
from noex.runtime.errors import InvalidOptionError

Policy = Literal["reject", "drop_new", "drop_old"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How many messages may wait for a process, and what happens to one more.

    - `limit`: calls, casts and sends that wait, 1 or more.
    - ``policy="reject"`` (the default): the new one does not get in. `cast` and `send` return
      False, and a `call` raises `OverloadedError` at once.
    - ``"drop_new"``: the same for its sender; but the node counts it as a dead letter.
    - ``"drop_old"``: the oldest one becomes a dead letter, and the new one gets in. A call that is
      dropped so raises `OverloadedError`.

    Give it to ``node.options(mailbox=...)``, or set it on the class, which is how supervised
    children get one. An integer stands for ``Mailbox(limit)``. What did not get in is counted
    (``(await ref.info()).messages_dropped``) and logged once a minute. Senders on other nodes do
    not hear of a cast that did not get in.

    Raises `InvalidOptionError`.
    """

    limit: int
    policy: Policy = "reject"

    def __post_init__(self) -> None:
        check_count(self.limit, "limit")
        if self.policy not in POLICIES:
            raise InvalidOptionError("policy", self.policy, f"legal are {', '.join(POLICIES)}")


def mailbox_of(value: Any) -> Mailbox | None:
    """A bound, given as an option: a `Mailbox`, a limit, or None for no bound."""
    if value is None or isinstance(value, Mailbox):
        return value
    if type(value) is int:
        return Mailbox(value)
    raise InvalidOptionError("mailbox", value, "a Mailbox, the number of messages, or None")
