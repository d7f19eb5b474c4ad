"""Real nodes in one process, over real sockets; one can die without a word."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

from noex import DistributedSupervisor, Node
from noex.cluster.settings import ClusterSettings
from noex.registry.behaviors import BehaviorRegistry
from noex.runtime.genserver import GenServer
from noex.runtime.ref import Ref
from noex.runtime.returns import Stop
from noex.supervisor.host import HOST

FAST = ClusterSettings(
    found_after=0.02, hello_first=0.02, join_retry=0.1, join_batch=0.005, tick=0.01
)
DEADLINE = 15.0


def run_async(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine test, with a deadline for the whole; no task or complaint may be left."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(_watched(test(*args, **kwargs)))

    del run.__dict__["__wrapped__"]  # else pytest takes it for a coroutine
    run.__dict__["__signature__"] = inspect.signature(test)  # the parameters that pytest fills
    return run


async def _watched(test: Awaitable[None]) -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(str(context)))
    async with asyncio.timeout(30.0):
        await test
    gc.collect(1)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == [], f"tasks left behind: {left}"
    assert complaints == []


async def until(condition: Callable[[], Any], what: str, timeout: float = DEADLINE) -> Any:
    """Wait until `condition()` is true; it may be a coroutine function. Returns its value."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.002)


class Worker(GenServer[Any]):
    """Holds its args, answers, and ends as it is told."""

    # (node id, args, reason), in the order of the ends
    ended: ClassVar[list[tuple[str, Any, Any]]] = []

    def init(self, *args: Any, **kwargs: Any) -> Any:
        return (args, kwargs) if kwargs else args

    def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case "args":
                return state, state
            case "fence":
                return self.fence, state
            case ("crash", text):
                raise ValueError(text)
            case ("end", reason):
                return Stop(reason, reply="bye")
        return message, state

    def terminate(self, reason: Any, state: Any) -> None:
        Worker.ended.append((self.kernel.node_id, state, reason))


def behaviors(**classes: type[GenServer[Any]]) -> BehaviorRegistry:
    """A registry of its own, with `worker` and the given ones."""
    registry = BehaviorRegistry()
    registry.register("worker", Worker)
    for name, cls in classes.items():
        registry.register(name, cls)
    return registry


async def start_node(
    name: str, seeds: Iterable[Node] = (), *, port: int = 0, classes: Any = None, **options: Any
) -> Node:
    """One node, fast to join; `classes` are behaviors besides `worker`."""
    node = Node(
        f"{name}@127.0.0.1:{port}",
        seeds=[seed.id for seed in seeds],
        behaviors=behaviors(**(classes or {})),
        **{"membership": FAST, "drain_timeout": 5.0, **options},
    )
    await node.start_up()
    return node


class Trio:
    """Some nodes that know each other: `trio.a`, `trio.b`, ..."""

    def __init__(self, classes: Any = None) -> None:
        self.nodes: list[Node] = []
        self.dead: list[Node] = []
        self.classes = classes
        self.events: list[Any] = []

    def __getattr__(self, name: str) -> Node:
        for node in self.nodes:
            if node.id.startswith(f"{name}@"):
                return node
        raise AttributeError(name)

    async def add(self, name: str, **options: Any) -> Node:
        """One more node; returns when every living one knows it."""
        node = await start_node(name, self.living[:1], classes=self.classes, **options)
        self.nodes.append(node)
        living = self.living
        await asyncio.gather(*(each.wait_for_members(len(living)) for each in living))
        return node

    @property
    def living(self) -> list[Node]:
        """The nodes that run."""
        return [
            node
            for node in self.nodes
            if node not in self.dead and node._stopping is None and node.kernel.closed is None
        ]

    async def kill(self, node: Node) -> None:
        """The node dies: its sockets close, it says nothing, and nothing runs there any more."""
        self.dead.append(node)
        network = node.network
        assert network is not None
        kernel = node.kernel
        kernel.remote = None
        await network._membership.stop()  # type: ignore[union-attr]
        await network._lane.stop(linger=0)  # type: ignore[union-attr]
        await network._control.stop()  # type: ignore[union-attr]
        await network._close_gate()
        network._context.destroy(linger=0)  # waits until libzmq has let go of the ports
        await kernel.shutdown(timeout=0.5)
        if node._watchdog is not None:
            await node._watchdog.stop()

    async def lose(self, node: Node) -> None:
        """As `kill`; returns when all others know."""
        await self.kill(node)
        await until(
            lambda: not any(node.id == m.id for each in self.living for m in each.members()),
            f"all see the death of {node.id}",
        )

    async def supervise(self, on: Node | None = None, **options: Any) -> Any:
        """A supervisor (on the first node) whose events go to `events`, from before it starts."""
        on = on or self.nodes[0]
        on.on_lifecycle_event(self.events.append)
        return await DistributedSupervisor.start(on, **options)

    def told(self, kind: str) -> list[Any]:
        """The events so far of this type."""
        return [event for event in self.events if event.type == kind]

    async def close(self) -> None:
        """Stop what still runs, the youngest first."""
        for node in reversed(self.nodes):
            if node not in self.dead:
                await node.stop()
            else:
                node.network._context.destroy(linger=0)  # type: ignore[union-attr]


@asynccontextmanager
async def trio(count: int = 3, **classes: Any) -> AsyncIterator[Trio]:
    """`count` nodes named a, b, c, ... with behavior ``worker`` and the given `classes`."""
    async with AsyncExitStack() as stack:
        Worker.ended.clear()
        group = Trio(classes)
        stack.push_async_callback(group.close)
        for name in "abcdefgh"[:count]:
            await group.add(name)
        yield group


def hosted(node: Node) -> dict[str, Ref[Any]]:
    """What the host of this node runs at this moment, by child id."""
    host = node.kernel.whereis(HOST)
    assert host is not None
    state = node.kernel.find(host).state  # type: ignore[union-attr]
    return {child.child_id: ref for child, phase, ref in state.children() if ref is not None}
