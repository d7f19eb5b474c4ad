"""Whether this life may have ended unnoticed, because its node stood still (part of a machine).

A process that was stopped for seconds goes on where it stood, with messages in its sockets that
were sent to it before the others removed it. Obeying those would start a second copy of a child
that runs elsewhere by now. So from the moment at which a stall is noticed the life is *in doubt*,
and nothing of other nodes is handed to it, until one of these is true:

- another member, not in doubt itself, has answered a greeting and holds the same view. Answers from
  before the stall may wait in the socket, too, so one counts only if it comes behind the echo of a
  token that was sent after the stall, on the same connection;
- this node has decided a view itself, or is the only member of the one it holds;
- the life is over, as somebody has told it.

A member in doubt answers the greetings of members only when that is over, or after `grace`: if all
have stood still together (a laptop that slept), nobody was there to remove anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from noex.cluster.events import Address, Ask, Note
from noex.cluster.messages import Envelope
from noex.cluster.outbox import Outbox
from noex.cluster.settings import ClusterSettings
from noex.cluster.view import Uid, View


class Doubt:
    """The doubt of the life `me`. `greet` and `welcome` say hello, and answer one."""

    def __init__(
        self,
        me: Uid,
        out: Outbox,
        settings: ClusterSettings,
        greet: Callable[[str], None],
        welcome: Callable[[Address], None],
    ) -> None:
        self._me = me
        self._out = out
        self._grace = settings.stall_grace
        self._pause = settings.alert_every
        self._greet = greet
        self._welcome = welcome
        self._since: float | None = None
        self._greeted_at = -inf
        self._token = 0  # of the present doubt
        self._fresh: set[Address] = set()  # endpoints from which its echo has come
        self._callers: dict[Uid, Address] = {}  # members whose greetings wait for an answer

    def __bool__(self) -> bool:
        return self._since is not None

    def begin(self, gap: float, view: View | None, now: float) -> None:
        """The node stood still for `gap` seconds: ask the others what has become of us."""
        self._out.add(Note("warning", "node_was_stalled", {"seconds": round(gap, 3)}))
        if view is not None:
            self._since, self._greeted_at = now, -inf
            self._token += 1
            self._fresh.clear()
            self.look(view, now)

    def look(self, view: View | None, now: float) -> None:
        """Go on asking; say what was not said when that has taken too long."""
        if self._since is None or view is None:
            return
        others = [member for member in view.members if member.uid != self._me]
        if not others:
            self.end()
        elif now - self._greeted_at >= self._pause:
            self._greeted_at = now
            for member in others:
                self._out.add(Ask(member.control_endpoint, self._token))
                self._greet(member.control_endpoint)
        if self._since is not None and now - self._since >= self._grace:
            self._answer()

    def answered(self, endpoint: str, token: int) -> None:
        """An echo: what comes from there now was sent after the stall."""
        if self._since is not None and token == self._token and endpoint not in self._fresh:
            self._fresh.add(endpoint)
            self._greet(endpoint)

    def welcomed(self, address: Address, message: Envelope, view: View | None) -> None:
        """A greeting was answered: by a member that holds the same view?"""
        if address not in self._fresh:
            return
        same = (message.lineage, message.epoch, message.digest) == self._out.standing
        if same and view is not None and view.find(message.sender) is not None:
            self.end()

    def defers(self, caller: Uid, address: Address, view: View | None, now: float) -> bool:
        """Whether a greeting must wait for its answer: that would be taken for a confirmation."""
        if self._since is None or now - self._since >= self._grace:
            return False
        if view is None or view.find(caller) is None:
            return False
        self._callers[caller] = address
        return True

    def end(self) -> None:
        """It is certain that this life goes on."""
        self._since = None
        self._answer()

    def _answer(self) -> None:
        callers, self._callers = self._callers, {}
        for address in callers.values():
            self._welcome(address)
