"""Addresses, names and the guard of a node."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from actors import Actor, run, started

from noex.runtime.errors import NodeStoppedError, NoProcessError
from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref


def test_a_ref_is_a_value() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor, options={"name": "it"})
        same = Ref(kernel, ref.node_id, ref.incarnation, ref.serial)
        assert ref == same and hash(ref) == hash(same) and {ref: 1}[same] == 1
        assert await same.call("through a copy") == "through a copy"
        for other in (
            Ref(kernel, "b@h:1", ref.incarnation, ref.serial),
            Ref(kernel, ref.node_id, ref.incarnation + 1, ref.serial),
            Ref(kernel, ref.node_id, ref.incarnation, ref.serial + 1),
            kernel.named_ref("it"),
            "it",
        ):
            assert ref != other
        assert kernel.named_ref("it") == kernel.named_ref("it") != kernel.named_ref("that")
        assert repr(ref) == f"<it #{ref.serial} at {kernel.node_id}>"
        assert repr(kernel.named_ref("it")) == f"<name 'it' at {kernel.node_id}>"
        assert ref.is_local and not Ref(kernel, "b@h:1", 1, 1).is_local
        assert kernel.named_ref("it").is_name and not ref.is_name

    run(main)


def test_ref_for_gives_the_process_its_own_ref() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        assert kernel.ref_for(ref.node_id, ref.incarnation, ref.serial) is ref
        await ref.stop()
        again = kernel.ref_for(ref.node_id, ref.incarnation, ref.serial)
        assert again == ref and again is not ref

    run(main)


def test_case_128_a_name_is_looked_up_at_each_use() -> None:
    async def main(kernel: Kernel) -> None:
        named = kernel.named_ref("it")
        assert kernel.whereis("it") is None and not await named.is_alive()
        with pytest.raises(NoProcessError):
            await named.call("?")
        first = await started(kernel, Actor, options={"name": "it"})
        assert kernel.whereis("it") is first and await named.call(1) == 1
        await first.stop()
        second = await started(kernel, Actor, options={"name": "it"})
        assert await named.call(2) == 2 and kernel.whereis("it") is second
        assert named.cast(3) and second.process.server.seen == [2]
        far = kernel.named_ref("it", "b@127.0.0.1:1")
        assert far.node_id == "b@127.0.0.1:1" and not far.is_local

    run(main)


def test_serials_are_never_used_twice() -> None:
    async def main(kernel: Kernel) -> None:
        serials = []
        for _ in range(5):
            ref = await started(kernel, Actor)
            serials.append(ref.serial)
            await ref.stop()
        assert sorted(set(serials)) == serials

    run(main)


def test_processes_are_counted() -> None:
    async def main(kernel: Kernel) -> None:
        refs = [await started(kernel, Actor) for _ in range(3)]
        assert kernel.process_count == 3
        refs[1].exit("kill")
        assert kernel.process_count == 2

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_copy_of_a_node_refuses_to_be_used() -> None:
    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        child = os.fork()
        if child == 0:
            os._exit(refusals(kernel, ref))  # nothing of the parent's is unwound
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 4
        assert await ref.call("the parent goes on") == "the parent goes on"
        assert kernel.guarded is False

    run(main)


def refusals(kernel: Kernel, ref: Any) -> int:
    """How many operations refuse; a coroutine is driven by hand, for the loop is the parent's."""
    attempts = (
        lambda: ref.cast(1),
        lambda: ref.exit("kill"),
        lambda: ref.call(1).send(None),
        lambda: kernel.start(Actor).send(None),
    )
    refused = 0
    for attempt in attempts:
        try:
            attempt()
        except NodeStoppedError as error:
            refused += "fork" in str(error)
        except BaseException:
            return 99
    return refused


def test_a_kernel_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        Kernel()
    loop = asyncio.new_event_loop()
    try:
        assert Kernel(loop=loop).loop is loop
    finally:
        loop.close()
