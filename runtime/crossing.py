"""How code in another thread has things done on the loop of a node.

All that the runtime keeps belongs to the thread of the loop. A handler in a thread (`blocking =
True`) uses noex all the same, because what it asks for crosses over to the loop:

1. `post` queues it and goes on; `ask` waits for the outcome, a value or an exception.
2. The loop takes what is queued in the order of its arrival, for a turn at a time.

The outcome of a handler comes the same way. So what it has sent arrives before what follows from
its return, and its next handler, in whatever thread, comes after both.
"""

from __future__ import annotations

import asyncio
import contextvars
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from noex.runtime.errors import NodeStoppedError
from noex.runtime.turns import TURN

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel

BOUND: Final = 10_000  # posts that may wait for the loop; the next one waits for it to catch up


class Outcome:
    """What a thread waits for. The first outcome counts."""

    __slots__ = ("_done", "_error", "_over", "_value")

    def __init__(self) -> None:
        self._done = allocate_lock()  # held until there is an outcome
        self._done.acquire()
        self._over = False
        self._value: Any = None
        self._error: BaseException | None = None

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        """Here it is. On the loop only."""
        if not self._over:
            self._over = True
            self._value, self._error = value, error
            self._done.release()

    def wait(self) -> Any:
        """Wait, and return or raise it."""
        self._done.acquire()
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # it holds this frame, which would hold it


class Crossings:
    """The way from other threads to the loop of one node. Made on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, node_id: str) -> None:
        self.home = get_ident()  # the thread of the loop
        self._loop = loop
        self._node_id = node_id
        self._queue: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._lock = allocate_lock()
        self._awake = False  # the loop has been told, and will look at the queue
        self._closed = False
        self._waiting: set[Outcome] = set()
        # What is queued must not run in the context of the thread that happened to wake the loop.
        self._context = contextvars.Context()

    # ------------------------------------------------------------------ in any thread

    def post(self, function: Callable[..., object], *args: Any) -> bool:
        """Have `function` called on the loop. False when the node has ended."""
        if len(self._queue) >= BOUND and get_ident() != self.home:
            self.ask(_caught_up)
        return self._post(function, args)

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have `function` called on the loop, in the context of this thread, and wait for it."""
        outcome = self.expect()
        self._post(self._answer, (outcome, contextvars.copy_context(), function, args))
        return outcome.wait()

    def expect(self) -> Outcome:
        """An outcome to wait for. When the node ends without it, it is a `NodeStoppedError`."""
        outcome = Outcome()
        self._waiting.add(outcome)
        if self._closed:
            self._give_up(outcome)
        return outcome

    def _post(self, function: Callable[..., object], args: tuple[Any, ...]) -> bool:
        if self._closed:
            return False
        self._queue.append((function, args))
        with self._lock:
            if self._awake:
                return True
            self._awake = True
        try:
            self._loop.call_soon_threadsafe(self._drain, context=self._context)
        except RuntimeError:  # the loop was closed under a node that was not stopped
            self.close()
        return not self._closed

    # ------------------------------------------------------------------ on the loop

    def _drain(self) -> None:
        queue, end = self._queue, perf_counter() + TURN
        try:
            while queue:
                function, args = queue.popleft()
                function(*args)
                if perf_counter() > end:
                    break
        finally:  # whatever came out of one, the others have their turn
            with self._lock:
                self._awake = bool(queue)
                if queue:
                    self._loop.call_soon(self._drain, context=self._context)

    def _answer(
        self,
        outcome: Outcome,
        context: contextvars.Context,
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        try:
            value = context.run(function, *args)
        except BaseException as error:  # it belongs to whoever has asked
            self.settle(outcome, error=error)
        else:
            self.settle(outcome, value)

    def settle(
        self, outcome: Outcome, value: Any = None, error: BaseException | None = None
    ) -> None:
        """The thread has waited for this."""
        self._waiting.discard(outcome)
        outcome.settle(value, error)

    def close(self) -> None:
        """The node has ended: nothing crosses any more, and nobody waits for what is left."""
        self._closed = True
        for outcome in list(self._waiting):
            self._give_up(outcome)

    def _give_up(self, outcome: Outcome) -> None:
        self.settle(outcome, error=NodeStoppedError(self._node_id, "it was stopped"))


def _caught_up() -> None:
    """Its turn comes after all that was queued before."""


def is_foreign(kernel: Kernel) -> bool:
    """Whether this thread is not the one of the loop, and may have things done there."""
    threads = kernel.threads
    return threads is not None and get_ident() != threads.crossings.home


def needs_care(kernel: Kernel) -> bool:
    """Whether a node is guarded for more than its threads."""
    return kernel.copier is not None or bool(kernel.zombies) or kernel.forked


def may_call_inline(kernel: Kernel) -> bool:
    """Whether a guarded node is so for its threads alone, and this is none of them."""
    return not needs_care(kernel) and not is_foreign(kernel)


def on_loop(kernel: Kernel, function: Callable[..., Any], *args: Any) -> Any:
    """Have `function` called on the loop, and wait. For code that `is_foreign`."""
    assert kernel.threads is not None
    return kernel.threads.crossings.ask(function, *args)


def deliver_from(kernel: Kernel, post: Callable[..., bool], ref: Any, *rest: Any) -> bool:
    """Deliver a message from another thread; `post` does it on the loop.

    What goes to another node, or through a codec, is encoded before this returns: a message that
    cannot travel raises here, and a later change of it does not travel.
    """
    assert kernel.threads is not None
    crossings = kernel.threads.crossings
    if kernel.copier is not None or not kernel.is_own(ref):
        return bool(crossings.ask(post, ref, *rest))
    target = kernel.find(ref)
    crossed = crossings.post(post, ref, *rest)
    return crossed and target is not None and target.is_alive()
