"""`noex.blocking`: a node for programs without asyncio.

The node lives on a loop thread of its own. What ends it:

- ``with`` or `stop`: the node stops in order, the loop ends, the thread is joined.
- Ctrl-C in the main thread while it waits: KeyboardInterrupt comes out of that call at once, and
  ``with`` stops the node. A second Ctrl-C during that hurries the end.
- A program that forgets to stop it: the same at its exit.
- A fork: the child has the objects but no thread, and they raise `NodeStoppedError`.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, overload

from noex.node import Node
from noex.runtime.errors import InvalidOptionError, NodeStoppedError, NoexError
from noex.runtime.log import get_logger
from noex.runtime.typed import Startable, State
from noex.supervisor.handle import SupervisorHandle
from noex.sync_errors import LoopHeldError
from noex.sync_face import TO_FACE, TO_PLAIN, Face, blocked, convert
from noex.sync_job import Job
from noex.sync_loop import LoopThread
from noex.sync_ref import BlockingEvents, BlockingMonitor, BlockingRef
from noex.sync_start import BlockingStartOptions, G, spawned
from noex.sync_supervisor import BlockingRegistry, BlockingSupervisor, subscribed

P = ParamSpec("P")
T = TypeVar("T")

HELD: Final = 5.0
"""Seconds without an answer after which a stopping node's loop counts as held by a handler."""

_open: set[BlockingNode] = set()


@atexit.register
def _stop_all() -> None:
    """At the exit of a program that has not stopped its nodes."""
    for node in list(_open):
        try:
            node.stop()
        except (KeyboardInterrupt, NoexError):
            continue  # it was hurried, or it told the log why it cannot


def blocking(node: Node) -> BlockingNode:
    """The same node without ``await``: for scripts, Flask, a REPL.

    ::

        with noex.blocking(Node()) as node:
            counter = node.start(Counter, 10)
            counter.cast(("add", 5))
            print(counter.call("get"))

    `node` must not have been started. It starts with ``with`` (or `start_up`), on a thread of its
    own; then everything may be used from any thread that runs no event loop, by many at once.
    """
    if not isinstance(node, Node):
        raise InvalidOptionError("node", node, "a Node that has not been started")
    return BlockingNode(LoopThread(lambda: node.id), node)


class BlockingNode(Face[Node]):
    """A node, as `Node`, for threads without a loop: what `blocking` returns.

    Methods have the parameters and the errors of those of `Node`. All may be called from many
    threads at once; on a thread that runs a loop (a handler does) they raise `BlockingCallError`.
    `plain` is the `Node` itself. `run` does whatever else has to be done on the loop.
    """

    __slots__ = ()

    # ------------------------------------------------------------------ life

    def start_up(self) -> None:
        """Start the thread and the node; ``with`` does this.

        Raises what `Node.start_up` raises, after which no thread is left.
        """
        thread = self._thread
        thread.check_startable()
        job: Job | None = None
        try:
            _open.add(self)
            thread.start()
            job = thread.begin(self._plain.start_up)
            job.is_over(None)  # `join_timeout` bounds it
            job.result()
            thread.kernel = self._plain.kernel
        except BaseException:
            self._abandon(job)
            raise

    def _abandon(self, job: Job | None) -> None:
        """The start failed, or Ctrl-C: the node takes itself down, then the thread ends."""
        try:
            if job is not None:
                self._thread.give_up(job)
                job.is_over(self._plain.config.drain_timeout + HELD)
            self._thread.end()
        except KeyboardInterrupt:
            self._hurry()
            raise
        finally:
            _open.discard(self)

    def stop(self) -> None:
        """Stop the node, as `Node.stop`, and join the thread. Idempotent.

        Raises `LoopHeldError` when a handler holds the loop; the thread ends when it returns, and
        keeps no program from ending. A KeyboardInterrupt that came out of a handler, and that no
        call has raised yet, is raised here. Ctrl-C meanwhile hurries the end.
        """
        thread = self._thread
        if thread.unusable is not None:
            return
        try:
            self._stop_node()
            thread.end()
        except LoopHeldError:
            thread.end_soon()
            get_logger(node=self.id).error("loop_thread_held", thread=f"noex {self.id}")
            raise
        except KeyboardInterrupt:
            self._hurry()
            raise
        finally:
            _open.discard(self)
        thread.raise_interrupt()

    def _stop_node(self) -> None:
        """As long as the loop answers, the node has its time."""
        thread = self._thread
        try:
            job = thread.begin(self._plain.stop)
            while not job.is_over(HELD):
                if not thread.answers(HELD):
                    raise LoopHeldError(thread.name(), HELD)
            job.result()
        except NodeStoppedError:
            return  # another thread was faster

    def _hurry(self) -> None:
        self._thread.end(self._close_at_once)

    async def _close_at_once(self) -> None:
        node = self._plain
        try:
            await node.kernel.shutdown(timeout=0.01)
        finally:
            if node.network is not None:
                await node.network.close()

    def __enter__(self) -> Self:
        self.start_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        except LoopHeldError:
            if error is None:
                raise

    # ------------------------------------------------------------------ anything else

    @overload
    def run(
        self,
        what: Callable[P, Coroutine[Any, Any, SupervisorHandle]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> BlockingSupervisor: ...
    @overload
    def run(self, what: Coroutine[Any, Any, T], /) -> T: ...
    @overload
    def run(
        self, what: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def run(self, what: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def run(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine, or ``what(*args, **kwargs)``, on the loop thread; returns the result.

        ::

            sup = node.run(Supervisor.start, node, children=[ChildSpec("db", Database)])

        What it returns is awaited if need be. Faces among the arguments (this node, refs) arrive
        as plain objects, and plain refs and handles in the result become faces. There is no time
        limit but that of `what`; Ctrl-C cancels it. Raises `InvalidOptionError` for anything else.
        """
        if not asyncio.iscoroutine(what):
            if not callable(what):
                raise InvalidOptionError(
                    "what", what, "a coroutine, or a function and its arguments"
                )
            return self._invoke(what, args, kwargs, None)
        try:
            return self._invoke(lambda: what, (), {}, None)
        finally:
            what.close()  # if it was refused before its first step

    # ------------------------------------------------------------------ identity, cluster

    @property
    def id(self) -> str:
        """``name@host:port``; final once the node has started (port 0 is chosen then)."""
        return self._plain.id

    @property
    def incarnation(self) -> int:
        """The number of this life; a later life of the node has a larger one."""
        return self._plain.incarnation

    @property
    def is_frozen(self) -> bool:
        """Whether this node has no say, for want of a quorum (see `Node.is_frozen`)."""
        return self._plain.is_frozen

    @property
    def registry(self) -> BlockingRegistry:
        """Global names: `register`, `unregister`, `whereis`, `names`."""
        return BlockingRegistry(self._thread, self._plain.registry)

    members = blocked(Node.members)
    wait_for_members = blocked(Node.wait_for_members)
    drain = blocked(Node.drain)

    def events(self) -> BlockingEvents:
        """What happens from now on: ``for event in node.events()``; see `Node.events`."""
        events: BlockingEvents = self._call("events")
        return events

    def monitor_nodes(self, ref: BlockingRef[Any]) -> Callable[[], None]:
        """Have `NodeUp` and `NodeDown` sent to the `handle_info` of a local process.

        As `Node.monitor_nodes`: returns the function that ends this.
        """
        unsubscribe = self._call("monitor_nodes", ref)

        def end() -> None:
            self._thread.post(unsubscribe)

        return end

    def on_lifecycle_event(self, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Call `handler` with every event of every supervisor on this node, from now on.

        It runs on the loop thread: it should be short, and may not block. Returns the function
        that ends this. Works before the node has started.
        """
        return subscribed(self._thread, self._plain.on_lifecycle_event, handler)

    # ------------------------------------------------------------------ processes

    @overload
    def start(
        self,
        behavior: Startable[P, Coroutine[Any, Any, State | None], G],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> BlockingRef[G]: ...
    @overload
    def start(
        self,
        behavior: Startable[P, Coroutine[Any, Any, object], G],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> BlockingRef[G] | None: ...
    @overload
    def start(
        self, behavior: Startable[P, State | None, G], *args: P.args, **kwargs: P.kwargs
    ) -> BlockingRef[G]: ...
    @overload
    def start(
        self, behavior: Startable[P, object, G], *args: P.args, **kwargs: P.kwargs
    ) -> BlockingRef[G] | None: ...
    def start(self, behavior: Any, *args: Any, **kwargs: Any) -> Any:
        """Start a process here; all arguments are for its `init`. Returns its `BlockingRef`.

        As `Node.start`: type checkers compare the arguments with the signature of `init`; it
        returns when `init` has returned, None if that says `Ignore`.
        """
        return self._invoke(self._plain.start, (behavior, *args), kwargs, None)

    def options(self, **options: Any) -> BlockingStartOptions:
        """Settings for one `start` or `spawn`, as `Node.options`:
        ``node.options(name="db").start(Database)``.
        """
        return BlockingStartOptions(self._thread, self._plain.options(**options))

    def spawn(
        self, behavior: str, *args: Any, on: str | None = None, **kwargs: Any
    ) -> BlockingRef[Any]:
        """Start the registered `behavior` on the node `on` (default: here), as `Node.spawn`.

        Returns its `BlockingRef`, or None if its `init` says `Ignore`.
        """
        return spawned(self, behavior, args, {**kwargs, "on": on})

    def whereis(self, name: str) -> BlockingRef[Any] | None:
        """The process with this local name, or None."""
        found: BlockingRef[Any] | None = self._call("whereis", name)
        return found

    def whereis_global(self, name: str, timeout: float = 5.0) -> BlockingRef[Any] | None:
        """The process with this global name, or None (see `GlobalRegistry.whereis`)."""
        found: BlockingRef[Any] | None = self._call("whereis_global", name, timeout)
        return found

    @overload
    def ref(self, name: str, on: str | None = None) -> BlockingRef[Any]: ...
    @overload
    def ref(self, name: str, on: str | None = None, *, behavior: type[G]) -> BlockingRef[G]: ...
    def ref(self, name: str, on: str | None = None, *, behavior: Any = None) -> Any:
        """A local name, here or on another node, as an address: it is resolved at each use.

        As `Node.ref`: `behavior` is the class that is expected there, for `proxy`.
        """
        return BlockingRef(self._thread, self._plain.ref(name, on, behavior=behavior))

    def monitor(self, ref: BlockingRef[Any]) -> BlockingMonitor:
        """Watch a process: ``reason = node.monitor(ref).wait()``; see `Node.monitor`."""
        monitor: BlockingMonitor = self._call("monitor", ref)
        return monitor

    def multi_call(
        self,
        name: str,
        message: Any,
        nodes: Iterable[str] | None = None,
        timeout: float = 5.0,
    ) -> tuple[dict[str, Any], dict[str, Exception]]:
        """Call whoever has the local name `name` on each of `nodes`, as `Node.multi_call`."""
        replies, failed = self._call("multi_call", name, message, nodes, timeout)
        return convert(TO_FACE, self._thread, replies), failed


def _node_at_home(thread: LoopThread, face: BlockingNode) -> Node:
    if face._thread is not thread:
        reason = "it lives on another loop; use its own `run`"
        raise InvalidOptionError("node", face, reason)
    return face.plain


TO_PLAIN[BlockingNode] = _node_at_home
