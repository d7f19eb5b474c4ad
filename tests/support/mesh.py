"""Several kernels in one loop, joined in memory: real operations and codec, no sockets.

What one kernel posts to another arrives in order, each message in a turn of the loop of its own.
A test may hold a direction, fill its queue, or end a life.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref
from noex.transport.codec import Codec
from noex.transport.inbound import Inbound
from noex.transport.parcel import Parcel
from noex.transport.remote import RefBinding, RemoteOperations

Uid = tuple[str, int]
DEADLINE = 5.0


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait until `condition()` is true."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"not within {seconds} s: {condition}")
        await asyncio.sleep(0)


class Member:
    """One kernel of a mesh, with what joins it to the others."""

    def __init__(self, mesh: Mesh, node_id: str, incarnation: int) -> None:
        self.mesh = mesh
        self.kernel = Kernel(node_id, incarnation, kill_grace=0.2)
        codec = Codec(refs=RefBinding(self.kernel, Ref))
        self.operations = RemoteOperations(self.kernel, codec, self._post)
        self.inbound = Inbound(self.operations)
        self.kernel.remote = self.operations

    @property
    def uid(self) -> Uid:
        return (self.kernel.node_id, self.kernel.incarnation)

    @property
    def open_rows(self) -> int:
        """What is open with all peers."""
        return sum(peer.open_rows for peer in self.operations.peers.values())

    def elsewhere(self, ref: Ref) -> Ref:
        """A ref of another member, as it would be had here."""
        return self.kernel.ref_for(ref.node_id, ref.incarnation, ref.serial, ref.label)

    def _post(
        self, uid: Uid, data: bytes | Parcel, *, signal: bool = False, sender: int = 0
    ) -> bool:
        return self.mesh.post(self.uid, uid, data, signal=signal)


class Mesh:
    """Members by name; all know each other from the start."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.full: set[tuple[Uid, Uid]] = set()
        self.posted = 0
        self._held: dict[tuple[Uid, Uid], deque[bytes | Parcel]] = {}

    def add(self, name: str, incarnation: int = 1) -> Member:
        """A new kernel, up at all others and they at it."""
        member = Member(self, f"{name}@127.0.0.1:1", incarnation)
        for other in self.members.values():
            other.operations.peer_up(member.uid)
            member.operations.peer_up(other.uid)
        self.members[name] = member
        return member

    def part(self, one: Member, other: Member) -> None:
        """Each is down for the other."""
        one.operations.peer_down(other.uid)
        other.operations.peer_down(one.uid)

    def end_life(self, name: str) -> Member:
        """The member is gone: down for all others, and nothing of it arrives any more."""
        gone = self.members.pop(name)
        for other in self.members.values():
            self.part(gone, other)
        return gone

    def hold(self, origin: Member, target: Member) -> None:
        """Keep what is posted in this direction until `release`."""
        self._held.setdefault((origin.uid, target.uid), deque())

    def release(self, origin: Member, target: Member) -> None:
        """Let what was held go on its way, and all that follows."""
        for data in self._held.pop((origin.uid, target.uid)):
            self._send(origin.uid, target.uid, data)

    def post(self, origin: Uid, target: Uid, data: bytes | Parcel, *, signal: bool) -> bool:
        """What a session would do with a message."""
        if (origin, target) in self.full and not signal:
            return False
        self.posted += 1
        held = self._held.get((origin, target))
        if held is not None:
            held.append(data)
        else:
            self._send(origin, target, data)
        return True

    def _send(self, origin: Uid, target: Uid, data: bytes | Parcel) -> None:
        asyncio.get_running_loop().call_soon(self._arrive, origin, target, data)

    def _arrive(self, origin: Uid, target: Uid, data: bytes | Parcel) -> None:
        for member in self.members.values():
            if member.uid == target:
                member.inbound.receive(origin, [data])


@asynccontextmanager
async def mesh_of(*names: str) -> AsyncIterator[Mesh]:
    """A mesh with these members; afterwards all their processes are ended."""
    mesh = Mesh()
    kernels = []
    for name in names:
        kernels.append(mesh.add(name).kernel)
    try:
        yield mesh
    finally:
        for kernel in {*kernels, *(member.kernel for member in mesh.members.values())}:
            await kernel.shutdown(timeout=1.0)
