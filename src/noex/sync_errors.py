"""What only the blocking face raises. The tree of `noex.runtime.errors` goes on here::

NoexError
├── BlockingCallError(node_id, where)    a wait on a loop that could never, or must not, wait
└── LoopHeldError(node_id, seconds)      the loop thread did not answer; also a TimeoutError
"""

from __future__ import annotations

from noex.runtime.errors import NoexError


class BlockingCallError(NoexError, RuntimeError):
    """A blocking call from a thread that runs an event loop.

    On the node's own loop thread, in a handler, it would wait for itself for ever. On another
    loop it would hold up that whole loop.
    """

    fields = ("node_id", "where")

    def __init__(self, node_id: str, where: str) -> None:
        super().__init__(node_id, where)

    def describe(self) -> str:
        node_id, where = self.args
        return (
            f"a blocking call to {node_id} from {where}, which it would hold up; there, use "
            "`await` on the plain ref or node (`ref.plain`, `node.plain`), or another thread"
        )


class LoopHeldError(NoexError, TimeoutError):
    """The loop of a blocking node did not answer: a handler holds it, as `time.sleep` would."""

    fields = ("node_id", "seconds")

    def __init__(self, node_id: str, seconds: float) -> None:
        super().__init__(node_id, seconds)

    def describe(self) -> str:
        return (
            f"the loop thread of {self.args[0]} gave no answer for {self.args[1]:g} s; "
            "a handler that blocks holds it"
        )
