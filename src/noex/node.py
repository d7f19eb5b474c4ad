"""Node: the front door. It puts the floors of the house together and takes them down again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from noex import system
from noex.cluster.info import NodeInfo
from noex.config import NodeConfig
from noex.network import Network
from noex.node_events import NodeEvents, Subscription
from noex.registry.behaviors import BehaviorRegistry, default_behaviors
from noex.registry.names import GlobalRegistry
from noex.runtime.checks import (
    check_count,
    check_handler,
    check_limit,
    check_name,
    check_timeout,
)
from noex.runtime.clock import SystemClock
from noex.runtime.errors import InvalidOptionError, NodeStoppedError, NoProcessError
from noex.runtime.incarnation import RANDOM_BITS, make_incarnation
from noex.runtime.kernel import Kernel
from noex.runtime.methods import casts_of
from noex.runtime.monitors import Monitor
from noex.runtime.node_id import checked_node_id
from noex.runtime.ref import Ref, check_ref
from noex.runtime.starting import behavior_class, start
from noex.runtime.typed import Startable, State
from noex.runtime.watchdog import Watchdog
from noex.start_options import StartOptions
from noex.supervisor.lifecycle import LifecycleEvents
from noex.transport.codec import Codec
from noex.transport.keys import HIDDEN, ClusterSecret, NodeKeys
from noex.transport.remote import RefBinding

NO_CLUSTER_ID = "nonode@localhost:0"
STOP_ATTEMPTS = 3

P = ParamSpec("P")
G = TypeVar("G")


class Node:
    """A node: the runtime for processes, and, with a node id, a member of a cluster.

    ``async with Node() as node`` is just the runtime, without sockets. With an id it listens, joins
    through `seeds` (or founds a cluster) and is a member when `start` returns.

    - `node_id`: ``name@host:port``; None for no cluster.
    - `seeds`: node ids to join through.
    - `behaviors`: a registry of its own instead of the process-wide one.
    - `cluster_secret`: what all nodes of the cluster know, or `keys`, a key for each: encryption.
    - `config`: a whole `NodeConfig`, over which the other options go.
    - any other field of `NodeConfig`, by name.

    Nothing is opened before it is started. Raises what `NodeConfig` raises. It belongs to one
    loop, is started once, and may not be used after a fork (`NodeStoppedError`).
    """

    def __init__(
        self,
        node_id: str | None = None,
        *,
        seeds: Iterable[str] | None = None,
        behaviors: BehaviorRegistry | None = None,
        cluster_secret: str | bytes | ClusterSecret | None = None,
        keys: NodeKeys | None = None,
        config: NodeConfig | None = None,
        **options: Any,
    ) -> None:
        self._node_id = NO_CLUSTER_ID
        if cluster_secret is not None:  # from here on only what does not show itself
            cluster_secret = ClusterSecret.of(cluster_secret)
        given = {"node_id": node_id, "seeds": seeds, "cluster_secret": cluster_secret, "keys": keys}
        self.config = _configure(config, given, options)
        if behaviors is not None and not isinstance(behaviors, BehaviorRegistry):
            raise InvalidOptionError("behaviors", behaviors, "a BehaviorRegistry, or None")
        self.behaviors = behaviors if behaviors is not None else default_behaviors
        self.lifecycle = LifecycleEvents()
        self._node_id = self.config.node_id or NO_CLUSTER_ID
        self._kernel: Kernel | None = None
        self._network: Network | None = None
        self._events: NodeEvents | None = None
        self._registry: GlobalRegistry | None = None
        self._watchdog: Watchdog | None = None
        self._stopping: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ identity

    @property
    def id(self) -> str:
        """``name@host:port``; final once the node has started (port 0 is chosen then)."""
        return self._node_id

    @property
    def incarnation(self) -> int:
        """The number of this life; a later life of the node has a larger one."""
        return self.kernel.incarnation

    @property
    def kernel(self) -> Kernel:
        """The runtime below. Raises `NodeStoppedError` before `start`."""
        if self._kernel is None:
            raise NodeStoppedError(self._node_id, "it has not been started")
        return self._kernel

    @property
    def network(self) -> Network | None:
        """What connects it to other nodes; None without a cluster."""
        return self._network

    @property
    def registry(self) -> GlobalRegistry:
        """Global names: `register`, `unregister`, `whereis`, `names` (see `GlobalRegistry`)."""
        if self._registry is None:
            raise NodeStoppedError(self._node_id, "it has not been started")
        return self._registry

    def __repr__(self) -> str:
        return f"<Node {self._node_id}>"

    # ------------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        await self.start_up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start_up(self) -> None:
        """Start: bind, start the system processes, join. ``async with`` does this.

        Raises `PortInUseError`, or `JoinTimeoutError` when the node is not a member within
        `join_timeout`. Whatever it raises, nothing is left behind.
        """
        if self._kernel is not None:
            raise NodeStoppedError(self._node_id, "it was started before; make a new Node")
        self._kernel = self._make_kernel()
        self._events = NodeEvents()
        try:
            self._start_watchdog()
            if self.config.node_id is not None:
                self._network = Network(self)
                await self._network.bind()
                self._node_id = self._kernel.node_id
            self._registry = await system.start(
                self._kernel,
                self.behaviors,
                alone=self._network is None,
                on_loss=self._system_process_lost,
            )
            if self._network is not None:
                await self._network.join(self._registry)
        except BaseException:
            await self._tear_down()
            raise

    def _make_kernel(self) -> Kernel:
        config = self.config
        random_bits = int.from_bytes(os.urandom(RANDOM_BITS // 8 + 1), "big")
        kernel = Kernel(
            self._node_id,
            make_incarnation(int(time.time() * 1000), random_bits),
            kill_grace=config.kill_grace,
            terminate_timeout=config.terminate_timeout,
            blocking_threads=config.blocking_threads,
        )
        kernel.node = self
        kernel.on_interrupt = self._interrupted
        if config.copy_messages:
            codec = Codec(refs=RefBinding(kernel, Ref))
            kernel.set_copier(lambda message: codec.decode(codec.encode(message)))
        return kernel

    def _start_watchdog(self) -> None:
        kernel, limit = self.kernel, self.config.slow_handler
        # In virtual time (`noex.testing`) nothing takes time, and no thread may interfere.
        if limit is not None and isinstance(kernel.clock, SystemClock):
            watchdog = Watchdog(kernel, limit)
            watchdog.start()
            self._watchdog = watchdog

    async def stop(self) -> None:
        """Stop: idempotent, and bounded by `drain_timeout` and the children's shutdown times.

        1. The distributed supervisors of this node end, with their children wherever they run.
        2. The children that this node hosts for other nodes move away (`drain`).
        3. All processes end, the youngest first.
        4. The node leaves the cluster, and its sockets close.
        """
        if self._kernel is None:
            return
        for _ in range(STOP_ATTEMPTS):
            if self._stopping is None or self._stopping.cancelled():
                self._stopping = asyncio.create_task(self._stop(), name=f"stop {self._node_id}")
            try:
                return await asyncio.shield(self._stopping)
            except asyncio.CancelledError:
                # asyncio.run cancels every task there is when Ctrl-C comes out of a handler,
                # the one that stops the node included; the caller still has to stop it.
                if not self._stopping.cancelled():
                    raise

    async def _stop(self) -> None:
        kernel, limit = self._kernel, self.config.drain_timeout
        if self._network is not None and kernel is not None and kernel.closed is None:
            await system.stop_supervisors(kernel, limit)
            await self._network.drain(limit)
        await self._tear_down()

    def _system_process_lost(self, name: str, reason: Any) -> None:
        """Without it this node would be a member that can do nothing: it leaves."""
        self.kernel.log.error("system_process_lost", name=name, reason=repr(reason))
        self._stop_soon()

    def _stop_soon(self) -> None:
        if self._stopping is None:
            self._stopping = self.kernel.loop.create_task(self._stop())

    async def _tear_down(self) -> None:
        try:
            await self._close_floors()
        finally:
            if self._watchdog is not None:  # the last to go: what ends may hold the loop, too
                await self._watchdog.stop()
                self._watchdog = None

    async def _close_floors(self) -> None:
        kernel, network = self._kernel, self._network
        if kernel is not None and kernel.closed is None:
            if network is not None:  # else the supervisors of all children are here, too
                await system.stop_hosted(kernel, self.config.drain_timeout)
            await kernel.shutdown(timeout=self.config.drain_timeout)
        if network is not None:
            await network.leave()
            await network.close()
        if self._events is not None:
            self._events.close()

    async def drain(self, timeout: float = 30.0) -> None:
        """Have the children that this node hosts moved to other nodes, before a `stop`.

        No new ones are placed here meanwhile. Raises TimeoutError when some are left after
        `timeout` seconds.
        """
        check_limit(timeout, "timeout")
        if self._network is not None and not await self._network.drain(timeout):
            raise TimeoutError(f"{self._node_id} still hosts children after {timeout:g} s")

    def _interrupted(self, _error: BaseException) -> None:
        """Ctrl-C came out of a handler: the node stops, and the interrupt goes its way."""
        self._stop_soon()

    # ------------------------------------------------------------------ the cluster

    def members(self) -> list[NodeInfo]:
        """The members of the cluster, this node included, the oldest first."""
        if self._network is not None:
            return self._network.members()
        return [system.own_info(self.kernel, self.behaviors)]

    @property
    def is_frozen(self) -> bool:
        """Whether this node has no say, for want of a quorum. The present decider: always False."""
        return self._network is not None and self._network.is_frozen

    async def wait_for_members(self, count: int, timeout: float | None = 10.0) -> list[NodeInfo]:
        """Wait until the cluster has at least `count` members, this node included; returns them.

        Raises TimeoutError, which names the members, after `timeout` seconds (None: no limit), and
        `NodeStoppedError` when the node stops meanwhile.
        """
        check_count(count, "count")
        check_timeout(timeout)
        events = self.events()
        try:
            async with asyncio.timeout(timeout):
                while len(self.members()) < count:
                    await anext(events)
        except TimeoutError:
            found = [info.id for info in self.members()]
            text = f"{self._node_id} sees {len(found)} members after {timeout:g} s, not {count}"
            raise TimeoutError(f"{text}: {', '.join(found)}") from None
        except StopAsyncIteration:
            raise NodeStoppedError(self._node_id) from None
        finally:
            events.close()
        return self.members()

    def events(self) -> Subscription:
        """What happens from now on: ``async for event in node.events()``.

        `NodeUp`, `NodeDown`, `NodeBusy`, `NodeIdle`, `ViewChanged`, `LifeEnded`. A reader that is
        more than 1024 events behind loses the oldest (`subscription.lost`).
        """
        if self._events is None:
            raise NodeStoppedError(self._node_id, "it has not been started")
        return self._events.subscribe()

    def publish(self, event: Any) -> None:
        """Tell the subscribers of `events` (for the floors of the node)."""
        if self._events is not None:
            self._events.publish(event)

    def monitor_nodes(self, ref: Ref[Any]) -> Callable[[], None]:
        """Have `NodeUp` and `NodeDown` sent to the `handle_info` of a local process.

        `ViewChanged` and `NodeIdle` come too. Returns the function that ends this. Raises
        `NoProcessError` when `ref` is no living process, and `InvalidOptionError` when it is none
        of this node.
        """
        check_ref(ref)
        if not self.kernel.is_own(ref):
            raise InvalidOptionError("ref", ref, f"a process of this node, {self._node_id}")
        process = self.kernel.find(ref)
        if process is None:
            raise NoProcessError(ref)
        return self.kernel.node_watchers.add(process)

    # ------------------------------------------------------------------ processes

    # With `init` as `async def` or `def`; where it may return `Ignore` there may be no ref.
    @overload
    async def start(
        self,
        behavior: Startable[P, Coroutine[Any, Any, State | None], G],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Ref[G]: ...
    @overload
    async def start(
        self,
        behavior: Startable[P, Coroutine[Any, Any, object], G],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Ref[G] | None: ...
    @overload
    async def start(
        self, behavior: Startable[P, State | None, G], *args: P.args, **kwargs: P.kwargs
    ) -> Ref[G]: ...
    @overload
    async def start(
        self, behavior: Startable[P, object, G], *args: P.args, **kwargs: P.kwargs
    ) -> Ref[G] | None: ...
    def start(self, behavior: Any, *args: Any, **kwargs: Any) -> Any:
        """Start a process here; all arguments are for its `init`. Returns its `Ref`.

        Type checkers compare the arguments with the signature of `init`. It returns when `init`
        has returned, None if that says `Ignore`. Raises `InitFailedError` (with the cause),
        `InitTimeoutError` after 30 s, or `NodeStoppedError`. See `options` for a name and other
        settings.
        """
        return start(self._kernel or self.kernel, behavior, args, kwargs)

    def options(self, **options: Any) -> StartOptions:
        """Settings for one `start` or `spawn`: ``node.options(name="db").start(Database)``.

        - `name`: what it is found by; `register` says where.
        - `register`: ``"local"`` (default: by `whereis` on its node) or ``"global"``.
        - `link`: tie it to the calling process; only for `start`, and only in a process.
        - `mailbox`: how many messages may wait for it: a `Mailbox`, or a number; by default what
          its class says, else no limit.
        - `init_timeout`: seconds that `init` may take, by default 30; None: no limit.
        - `timeout`: seconds for the whole of a `spawn`, by default 10.
        - `key`: names a `spawn`, so that it may be asked for again, within a minute, whatever
          became of the answer: whoever gives the same key gets the process that it started.

        Raises `InvalidOptionError`.
        """
        return StartOptions(self, **options)

    async def spawn(
        self, behavior: str, *args: Any, on: str | None = None, **kwargs: Any
    ) -> Ref[Any]:
        """Start the registered `behavior` on the node `on` (default: here). Returns its `Ref`.

        All other arguments are for its `init`; None is returned if that says `Ignore`. Raises
        `BehaviorNotFoundError`, `InitFailedError`, `NodeNotReachableError`, `OverloadedError`,
        `MessageSerializationError` for arguments that cannot travel, and `CallTimeoutError` after
        10 s: what starts too late is stopped. It is not supervised.
        """
        return await StartOptions(self).spawn(behavior, *args, on=on, **kwargs)

    def whereis(self, name: str) -> Ref[Any] | None:
        """The process with this local name, or None."""
        check_name(name)
        return self.kernel.whereis(name)

    async def whereis_global(self, name: str, timeout: float = 5.0) -> Ref[Any] | None:
        """The process with this global name, or None (see `GlobalRegistry.whereis`)."""
        return await self.registry.whereis(name, timeout=timeout)

    @overload
    def ref(self, name: str, on: str | None = None) -> Ref[Any]: ...
    @overload
    def ref(self, name: str, on: str | None = None, *, behavior: type[G]) -> Ref[G]: ...
    def ref(self, name: str, on: str | None = None, *, behavior: Any = None) -> Any:
        """A local name, here or on another node, as an address: it is resolved at each use.

        `behavior` is the class that is expected there, for `proxy`: of a process on another node
        a name alone does not tell which methods are marked `@cast`.
        """
        check_name(name)
        ref = self.kernel.named_ref(name, None if on is None else checked_node_id(on))
        if behavior is not None:
            ref.casts = casts_of(behavior_class(behavior))
        return ref

    def monitor(self, ref: Ref[Any]) -> Monitor:
        """Watch a process from outside: ``reason = await node.monitor(ref).wait()``.

        It fires once: with the exit reason, ``"noproc"`` for one that is dead, ``"noconnection"``
        when its node is lost.
        """
        check_ref(ref)
        return self.kernel.monitor(ref)

    async def multi_call(
        self,
        name: str,
        message: Any,
        nodes: Iterable[str] | None = None,
        timeout: float = 5.0,
    ) -> tuple[dict[str, Any], dict[str, Exception]]:
        """Call whoever has the local name `name` on each of `nodes` (default: all members).

        Returns the replies by node and the errors by node; each call has `timeout` seconds.
        """
        check_name(name)
        check_timeout(timeout)
        if isinstance(nodes, str) or not (nodes is None or isinstance(nodes, Iterable)):
            raise InvalidOptionError("nodes", nodes, "a list of node ids, or None for all members")
        ids = [info.id for info in self.members()] if nodes is None else [*nodes]
        refs = [self.ref(name, on=node_id) for node_id in ids]
        calls = (ref.call(message, timeout=timeout) for ref in refs)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        replies = {n: r for n, r in zip(ids, outcomes, strict=True) if not _failed(r)}
        failed = {n: r for n, r in zip(ids, outcomes, strict=True) if isinstance(r, Exception)}
        return replies, failed

    def on_lifecycle_event(self, handler: Callable[[Any], Any]) -> Callable[[], None]:
        """Call `handler` with every event of every supervisor on this node.

        Returns the function that ends this. A handler that raises is logged and harms nobody.
        """
        check_handler(handler)
        return self.lifecycle.subscribe(handler)


def _failed(outcome: Any) -> bool:
    if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
        raise outcome
    return isinstance(outcome, Exception)


def _configure(
    config: NodeConfig | None, named: dict[str, Any], options: dict[str, Any]
) -> NodeConfig:
    known = NodeConfig.__dataclass_fields__
    for name in options:
        if name not in known:
            # not the value: a misspelt name may be that of a secret
            raise InvalidOptionError(name, HIDDEN, f"unknown; known are {', '.join(known)}")
    given = options | {name: value for name, value in named.items() if value is not None}
    if config is not None and not isinstance(config, NodeConfig):
        raise InvalidOptionError("config", config, "a NodeConfig, or None")
    base = {} if config is None else {name: getattr(config, name) for name in known}
    return NodeConfig(**{**base, **given})
