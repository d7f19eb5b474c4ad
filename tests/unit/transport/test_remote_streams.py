"""What an operation says to the lane: whose stream it is of; buffers; kinds that are not known."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from mesh import Member, mesh_of, until

from noex.runtime.genserver import GenServer
from noex.transport import ops
from noex.transport.codec_apart import APART_FROM
from noex.transport.ops import UnsupportedOperationError
from noex.transport.parcel import Parcel

BIG = bytes(APART_FROM)


class Actor(GenServer[None]):
    """Does to others what it is told to do."""

    def init(self) -> None:
        self.trap_exits = True
        return None

    def handle_call(self, message: Any, state: None) -> Any:
        match message:
            case ("cast", ref, value):
                ref.cast(value)
            case ("exit", ref):
                ref.exit("why not")
            case ("link", ref):
                self.link(ref)
            case ("unlink", ref):
                self.unlink(ref)
            case ("monitor", ref):
                self.monitor(ref)
            case ("raise",):
                raise ValueError("told so")
            case _:
                return message, state
        return None, state

    async def handle_cast(self, message: Any, state: None) -> None:
        pass

    def handle_info(self, message: Any, state: None) -> None:
        pass


class Recorder:
    """What a member posts, with its stream."""

    def __init__(self, member: Member) -> None:
        self.posted: list[tuple[int, int, bytes | Parcel]] = []
        post = member.operations.post

        def record(uid: Any, data: Any, *, signal: bool = False, sender: int = 0) -> bool:
            kind = (data.data if isinstance(data, Parcel) else data)[0] & 0x7F
            self.posted.append((kind, sender, data))
            return post(uid, data, signal=signal, sender=sender)

        member.operations.post = record

    def streams(self, kind: int) -> set[int]:
        return {sender for posted, sender, _ in self.posted if posted == kind}


def test_everything_that_a_process_sends_is_of_one_stream() -> None:
    async def main() -> None:
        async with mesh_of("near", "far") as mesh:
            near, far = mesh.members["near"], mesh.members["far"]
            here, there = await near.kernel.start(Actor), await far.kernel.start(Actor)
            assert here is not None and there is not None
            out, back = Recorder(near), Recorder(far)
            target, own = near.elsewhere(there), here.serial
            for what in (("cast", target, 1), ("exit", target), ("link", target)):
                await here.call(what)
            await here.call(("monitor", target))
            await here.call(("unlink", target))
            await here.call(("link", target))
            await target.call("answer")
            await until(lambda: back.streams(ops.UNLINKED))
            assert out.streams(ops.CALL) == {0}  # this test is no process
            for kind in (ops.CAST, ops.EXIT, ops.LINK, ops.MONITOR, ops.UNLINK):
                assert out.streams(kind) == {own}, kind
            assert back.streams(ops.REPLY) == back.streams(ops.UNLINKED) == {there.serial}
            with pytest.raises(Exception, match="told so"):
                await target.call(("raise",))
            await until(lambda: back.streams(ops.DOWN) and back.streams(ops.LINK_EXIT))
            for kind in (ops.ERROR, ops.DOWN, ops.LINK_EXIT):
                assert back.streams(kind) == {there.serial}, kind

    asyncio.run(main())


def test_a_large_binary_goes_beside_and_comes_back_beside() -> None:
    async def main() -> None:
        async with mesh_of("near", "far") as mesh:
            near, far = mesh.members["near"], mesh.members["far"]
            there = await far.kernel.start(Actor, name="it")
            assert there is not None
            out, back = Recorder(near), Recorder(far)
            for target in (near.elsewhere(there), near.kernel.named_ref("it", there.node_id)):
                message = ("echo", BIG, bytearray(BIG))
                assert await target.call(message) == message
            assert [type(data) for _, _, data in out.posted] == [Parcel, Parcel]
            assert [type(data) for _, _, data in back.posted] == [Parcel, Parcel]

    asyncio.run(main())


def test_a_call_of_an_unknown_kind_is_answered_and_ends_in_a_clear_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with mesh_of("near", "far") as mesh:
            near, far = mesh.members["near"], mesh.members["far"]
            there = await far.kernel.start(Actor)
            assert there is not None
            target = near.elsewhere(there)
            with monkeypatch.context() as newer:
                newer.setattr(ops, "CALL", 99)
                call = asyncio.ensure_future(target.call("x", timeout=5.0))
                await asyncio.sleep(0)
            with pytest.raises(UnsupportedOperationError, match="kind 99"):
                await call
            assert near.open_rows == far.open_rows == 0
            assert await target.call("the link lives") == "the link lives"

    with caplog.at_level(logging.WARNING, "noex"):
        asyncio.run(main())
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert sorted(told) == ["operation_unknown", "operation_unsupported"]


def test_a_monitor_that_is_not_supported_fires() -> None:
    async def main() -> None:
        async with mesh_of("near", "far") as mesh:
            near, far = mesh.members["near"], mesh.members["far"]
            there = await far.kernel.start(Actor)
            assert there is not None
            mesh.hold(near, far)
            monitor = near.kernel.monitor(near.elsewhere(there))
            answer = ops.pack_op(ops.UNSUPPORTED, ident=monitor.id, extra=ops.MONITOR)
            near.inbound.receive(far.uid, [answer, answer])
            assert await monitor.wait(1.0) == "noconnection"
            mesh.release(near, far)
            for kind in (ops.CALL, ops.DOWN, ops.LINK, 99):  # for nobody
                answer = ops.pack_op(ops.UNSUPPORTED, ident=12345, extra=kind)
                near.inbound.receive(far.uid, [answer])

    asyncio.run(main())


def test_a_large_structure_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with mesh_of("near", "far") as mesh:
            near, far = mesh.members["near"], mesh.members["far"]
            there = await far.kernel.start(Actor)
            assert there is not None
            target = near.elsewhere(there)
            await target.call(bytes(3_000_000))  # large, but no structure
            assert caplog.records == []
            for _ in range(3):
                await target.call(["x" * 100] * 20_000)
            target.cast(["x" * 100] * 20_000)
            await target.call("done")

    with caplog.at_level(logging.WARNING, "noex"):
        asyncio.run(main())
    told = [getattr(record, "noex", {}) for record in caplog.records]
    assert [(event["behavior"], event["operation"]) for event in told] == [
        ("", "call"),
        ("Actor", "reply"),
        ("", "cast"),
    ]
    assert all(event["bytes"] > 2_000_000 for event in told)
