"""System messages between two kernels, joined in memory: what goes wrong on the way.

That all of them work between two nodes is in tests/integration/test_system_messages.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actors import Actor, AsyncActor, Gate, started
from mesh import Member, Mesh, mesh_of, until

from noex.runtime.errors import (
    CallTimeoutError,
    InvalidOptionError,
    MessageSerializationError,
    NodeNotReachableError,
    NoProcessError,
    OverloadedError,
    ServerCrashedError,
)
from noex.runtime.ref import Ref
from noex.runtime.waiting import outcome_from_elsewhere
from noex.transport import ops


async def actor_at_b(mesh: Mesh, cls: type[Any] = Actor) -> tuple[Member, Member, Ref, Ref]:
    """The two members, and an actor at the second one: its own ref, and the first one's."""
    a, b = mesh.members["a"], mesh.members["b"]
    ref = await started(b.kernel, cls)
    return a, b, ref, a.elsewhere(ref)


def test_an_answer_leaves_no_row_behind() -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            a, b, _, ref = await actor_at_b(mesh)
            await ref.info()
            await ref.suspend()
            await ref.resume()
            assert a.open_rows == b.open_rows == 0

    asyncio.run(main())


def test_a_request_that_timed_out_is_taken_back() -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            a, b, own, ref = await actor_at_b(mesh, AsyncActor)
            gate = Gate()

            async def stand(_server: Any, _state: Any) -> None:
                await gate.passage()

            own.cast(stand)
            await gate.reached.wait()
            for order in (ref.suspend(timeout=0.02), ref.replace_state("lost", timeout=0.02)):
                with pytest.raises(CallTimeoutError):
                    await order
            await until(lambda: a.open_rows == b.open_rows == 0)
            gate.opened.set()
            assert await ref.call("served") == "served"
            assert await own.get_state() != "lost"

    asyncio.run(main())


def test_the_end_of_the_process_or_of_its_node_answers() -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            a, _, own, ref = await actor_at_b(mesh, AsyncActor)
            gate = Gate()

            async def stand(_server: Any, _state: Any) -> None:
                await gate.passage()

            own.cast(stand)
            await gate.reached.wait()
            waiting = asyncio.ensure_future(ref.get_state())
            await until(lambda: own.process is not None and own.process.mailbox)
            own.exit("kill")
            with pytest.raises(ServerCrashedError):
                await waiting
            with pytest.raises(NoProcessError):
                await ref.info()
            waiting = asyncio.ensure_future(ref.info())
            mesh.hold(a, mesh.members["b"])
            await asyncio.sleep(0)
            mesh.end_life("b")
            with pytest.raises(NodeNotReachableError):
                await waiting

    asyncio.run(main())


def test_a_full_queue_refuses_it() -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            a, b, _, ref = await actor_at_b(mesh)
            mesh.full.add((a.uid, b.uid))
            with pytest.raises(OverloadedError):
                await ref.info()
            assert a.open_rows == 0

    asyncio.run(main())


def test_what_cannot_travel_is_the_error_of_who_asks() -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            _, _, own, ref = await actor_at_b(mesh)
            with pytest.raises(MessageSerializationError) as caught:
                await ref.replace_state({"stuck": object()})
            assert caught.value.args[0] == "replace_state"
            await own.replace_state(object())
            with pytest.raises(MessageSerializationError):
                await ref.get_state()
            assert await ref.call("lives") == "lives"

    asyncio.run(main())


@pytest.mark.parametrize(
    "message",
    ["info", (), (1,), ("unknown",), ("replace_state",), ("info", 1), ("trace", "x", None)],
)
def test_a_request_of_a_strange_form_is_answered_with_an_error(message: Any) -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            a, b, own, ref = await actor_at_b(mesh)

            def send(ref: Ref, message: Any, caller: Any) -> None:
                a.operations._request(ops.SYSTEM, ref, message, caller, "strange")

            with pytest.raises((InvalidOptionError, TypeError)):
                await outcome_from_elsewhere(a.kernel, send, ref, message, 1.0)
            assert await ref.call("lives") == "lives"
            assert not (await own.info()).is_traced
            assert a.open_rows == b.open_rows == 0

    asyncio.run(main())


def test_an_ordered_stop_reaches_a_suspended_process() -> None:
    async def main() -> None:
        async with mesh_of("a", "b") as mesh:
            _, _, own, ref = await actor_at_b(mesh)
            await ref.suspend()
            ref.cast("never")
            await ref.stop("shutdown")
            assert own.process is None

    asyncio.run(main())
