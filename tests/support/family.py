"""Children and supervisors for tests of real supervision, and how to look at them."""

from __future__ import annotations

import asyncio
from typing import Any

from noex.runtime.genserver import GenServer
from noex.runtime.kernel import Kernel
from noex.runtime.returns import Ignore, Stop
from noex.supervisor.handle import SupervisorHandle
from noex.supervisor.local import Supervisor
from noex.supervisor.spec import ChildSpec, RestartIntensity


class Bare:
    """As much of a node as a local supervisor needs."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel


class Boom(Exception):
    """How children crash."""


class Diary:
    """What happened to children, in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.faults: dict[str, list[Any]] = {}  # what the next inits of a child do

    def note(self, what: str, who: str) -> None:
        self.lines.append((what, who))

    def fail(self, who: str, *faults: Any) -> None:
        """The next inits of `who`: an exception to raise, Ignore, an awaitable event, or None."""
        self.faults.setdefault(who, []).extend(faults)

    def clear(self) -> None:
        self.lines.clear()


class Child(GenServer[Any]):
    """A child that keeps a diary and dies on request."""

    async def init(self, who: str, diary: Diary, ending: float | None = None) -> Any:
        self.who, self.diary, self.ending = who, diary, ending
        faults = diary.faults.get(who)
        fault = faults.pop(0) if faults else None
        if isinstance(fault, asyncio.Event):
            diary.note("wait", who)
            await fault.wait()
        elif isinstance(fault, BaseException):
            diary.note("fail", who)
            raise fault
        elif fault is Ignore:
            return Ignore
        diary.note("start", who)
        return ()

    def handle_call(self, message: Any, state: Any) -> Any:
        return self.fence if message == "fence" else message, state

    def handle_cast(self, message: Any, state: Any) -> Any:
        match message:
            case ("end", reason):
                return Stop(reason)
            case "crash":
                raise Boom(self.who)
            case ("unlink", ref):
                self.unlink(ref)
        return None

    async def terminate(self, reason: Any, state: Any) -> None:
        self.diary.note("end", self.who)
        if self.ending is not None:
            await asyncio.sleep(self.ending)


class Plain(GenServer[int]):
    """A child with plain callbacks and no `terminate`."""

    def init(self, *args: Any) -> int:
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        return message, state


def child(who: str, diary: Diary, *args: Any, **fields: Any) -> ChildSpec:
    return ChildSpec(who, Child, args=(who, diary, *args), **fields)


async def family(
    kernel: Kernel, strategy: Any, *children: ChildSpec, most: int = 3, **options: Any
) -> SupervisorHandle:
    return await Supervisor.start(
        Bare(kernel),
        strategy=strategy,
        children=children,
        restart_intensity=RestartIntensity(most, 5.0),
        **options,
    )


async def ref_of(sup: SupervisorHandle, child_id: str) -> Any:
    info = await sup.get_child(child_id)
    assert info is not None, f"no child {child_id}"
    return info.ref


async def statuses(sup: SupervisorHandle) -> dict[str, str]:
    return {info.id: info.status for info in await sup.get_children()}


async def settled(sup: SupervisorHandle, limit: float = 3.0) -> dict[str, str]:
    """Wait until nothing is under way; the statuses then."""
    end = asyncio.get_running_loop().time() + limit
    while True:
        found = await statuses(sup)
        if not {"starting", "restarting", "stopping"} & set(found.values()):
            return found
        assert asyncio.get_running_loop().time() < end, f"it does not settle: {found}"
        await asyncio.sleep(0)


async def kill(sup: SupervisorHandle, *child_ids: str, reason: Any = "kill") -> None:
    """Send exit signals to children in one instant, and wait until they are gone."""
    refs = [await ref_of(sup, child_id) for child_id in child_ids]
    for ref in refs:
        ref.exit(reason)
    for ref in refs:
        await ref.wait(timeout=3.0)
