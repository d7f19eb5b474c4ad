"""Supervisors, and global names, for threads without a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from noex.registry.names import GlobalRegistry
from noex.runtime.ref import Ref
from noex.supervisor.events import SupervisorStarted, SupervisorStopped
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.info import ChildInfo
from noex.supervisor.spec import ChildSpec
from noex.sync_face import INSTANT, TO_FACE, TO_PLAIN, Face, blocked, convert
from noex.sync_loop import NOT_STARTED, LoopThread
from noex.sync_ref import BlockingEvents, BlockingRef, at_home


class BlockingSupervisor(Face[SupervisorHandle]):
    """A running supervisor, as `SupervisorHandle`: what `node.run` of a `start` returns.

    ::

        sup = node.run(DistributedSupervisor.start, node, name="workers", children=[...])
        for child in sup.get_children():
            print(child.ref.call("where"))

    The refs in its `ChildInfo` are `BlockingRef`. `plain` is the handle itself.
    """

    __slots__ = ()

    @property
    def id(self) -> str:
        """Its name, or a made one."""
        return self._plain.id

    @property
    def ref(self) -> BlockingRef[Any]:
        """Its process."""
        return BlockingRef(self._thread, self._plain.ref)

    @property
    def node_id(self) -> str:
        """The node on which the supervisor itself runs."""
        return self._plain.node_id

    @property
    def distributed(self) -> bool:
        """Whether its children may run on any node."""
        return self._plain.distributed

    start_child = blocked(SupervisorHandle.start_child)
    terminate_child = blocked(SupervisorHandle.terminate_child)
    restart_child = blocked(SupervisorHandle.restart_child)
    get_children = blocked(SupervisorHandle.get_children)
    get_child = blocked(SupervisorHandle.get_child)
    count_children = blocked(SupervisorHandle.count_children)
    explain = blocked(SupervisorHandle.explain)
    get_stats = blocked(SupervisorHandle.get_stats)
    is_running = blocked(SupervisorHandle.is_running)
    stop = blocked(SupervisorHandle.stop)
    wait = blocked(SupervisorHandle.wait)

    def which_child(self, ref: BlockingRef[Any], *, timeout: float | None = 5.0) -> str | None:
        """The id of the child whose process is `ref`, or None."""
        child_id: str | None = self._call("which_child", ref, timeout=timeout)
        return child_id

    def events(self) -> BlockingEvents:
        """The events from now on: ``for event in sup.events()``. Ends with the supervisor."""
        events: BlockingEvents = self._call("events")
        return events

    def on_lifecycle_event(self, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Call `handler` with each event from now on; returns the function that ends this.

        The handler runs on the loop thread: it should be short, and may not block. `events` is
        for more than that.
        """
        return subscribed(self._thread, self._plain.on_lifecycle_event, handler)


class BlockingRegistry(Face[GlobalRegistry]):
    """Global names, as `GlobalRegistry`: ``node.registry``."""

    __slots__ = ()

    unregister = blocked(GlobalRegistry.unregister)
    names = blocked(GlobalRegistry.names)

    def register(self, name: str, ref: BlockingRef[Any], timeout: float = 5.0, **how: Any) -> None:
        """Give `ref` the name `name`; as `GlobalRegistry.register`, which takes `how`."""
        self._call("register", name, ref, timeout, **how)

    def whereis(self, name: str, timeout: float = 5.0) -> BlockingRef[Any] | None:
        """The process with this name, or None; as `GlobalRegistry.whereis`."""
        found: BlockingRef[Any] | None = self._call("whereis", name, timeout)
        return found


def subscribed(
    thread: LoopThread,
    subscribe: Callable[[Callable[[Any], object]], Callable[[], None]],
    handler: Callable[[Any], object],
) -> Callable[[], None]:
    """Subscribe on the loop, for a handler that sees faces; returns how any thread ends it.

    Before there is a loop, nobody else is at work either.
    """

    def see(event: Any) -> object:
        return handler(convert(TO_FACE, thread, event))

    if thread.unusable is NOT_STARTED:
        unsubscribe = subscribe(see)
    else:
        unsubscribe = thread.run(subscribe, see, limit=INSTANT)

    def end() -> None:
        if not thread.post(unsubscribe):
            unsubscribe()

    return end


def _with_face(thread: LoopThread, value: Any) -> Any:
    """A record of noex whose `ref` is a ref or a handle."""
    return replace(value, ref=convert(TO_FACE, thread, value.ref))


def _handle_at_home(thread: LoopThread, handle: SupervisorHandle) -> SupervisorHandle:
    ref: Ref[Any] = at_home(thread, handle.ref)
    return handle if ref is handle.ref else replace(handle, ref=ref)


def _plain_spec(thread: LoopThread, spec: ChildSpec) -> ChildSpec:
    args = convert(TO_PLAIN, thread, spec.args)
    kwargs = convert(TO_PLAIN, thread, spec.kwargs)
    if args is spec.args and kwargs is spec.kwargs:
        return spec
    return replace(spec, args=args, kwargs=kwargs)


TO_FACE.update(
    {
        SupervisorHandle: BlockingSupervisor,
        GlobalRegistry: BlockingRegistry,
        ChildInfo: _with_face,
        SupervisorStarted: _with_face,
        SupervisorStopped: _with_face,
    }
)
TO_PLAIN.update(
    {
        SupervisorHandle: _handle_at_home,
        BlockingSupervisor: lambda thread, face: _handle_at_home(thread, face.plain),
        BlockingRegistry: lambda _thread, face: face.plain,
        ChildSpec: _plain_spec,
    }
)
