"""Many entries: no step may look at all of them. Counted in steps of Python, not in seconds."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from actors import Mute, run, started

from noex.registry.local import Registry
from noex.runtime.kernel import Kernel

MANY = 20_000


def lines_run(action: Callable[[], Any]) -> int:
    """How many lines of Python `action` runs."""
    count = 0

    def trace(_frame: Any, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # what it finds may have finalizers, which are lines, too
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
def test_a_step_costs_the_same_among_many_entries(keys: Any) -> None:
    async def main(kernel: Kernel) -> None:
        registry = Registry[Any, Any](SimpleNamespace(kernel=kernel), keys)
        crowd = await started(kernel, Mute)

        async def costs() -> list[int]:
            ref, other = await started(kernel, Mute), await started(kernel, Mute)
            registry.register("second", ref=other)
            return [
                lines_run(lambda: registry.register("key", 1, ref=ref)),
                lines_run(lambda: registry.lookup("key")),
                lines_run(lambda: registry.keys(ref)),
                lines_run(lambda: registry.unregister("key", ref=ref)),
                lines_run(lambda: other.exit("kill")),
            ]

        among_none = await costs()
        for number in range(MANY):
            registry.register(number, ref=crowd)
        assert await costs() == among_none
        assert registry.count() == MANY

    run(main)


def test_leaving_a_crowded_topic_does_not_look_at_the_others_in_it() -> None:
    async def main(kernel: Kernel) -> None:
        registry = Registry[Any, Any](SimpleNamespace(kernel=kernel), "duplicate")
        for number in range(1000):
            ref = await started(kernel, Mute)
            registry.register("topic", number, ref=ref)
            if number in (1, 999):
                leaves = lines_run(lambda r=ref: registry.unregister("topic", ref=r))
                registry.register("topic", number, ref=ref)
                dies = lines_run(lambda r=ref: r.exit("kill"))
                if number == 1:
                    expected = (leaves, dies)
        assert (leaves, dies) == expected

    run(main)


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
def test_memory_is_flat_after_churn(keys: Any) -> None:
    async def main(kernel: Kernel) -> None:
        registry = Registry[Any, Any](SimpleNamespace(kernel=kernel), keys)
        stays = await started(kernel, Mute)

        async def churn(rounds: int) -> None:
            for number in range(rounds):
                ref = await started(kernel, Mute)
                registry.register(("key", number), number, ref=ref)
                registry.register(("more", number), number, ref=ref)
                registry.register(("own", number), ref=stays)
                assert len(kernel.holdings.by_serial[ref.serial]) == 1
                registry.unregister(("own", number), ref=stays)
                ref.exit("kill")

        await churn(200)
        gc.collect()
        tracemalloc.start()
        try:
            await churn(2000)
            gc.collect()
            left, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert registry.count() == 0 and kernel.holdings.by_serial == {}
        assert left < 200_000, f"{left} bytes are left of 2000 processes"

    run(main)
