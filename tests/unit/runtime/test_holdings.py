"""What is kept for a process goes with it, whoever else fails to let go."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from actors import Mute, run, started

from noex.runtime.kernel import Kernel
from noex.runtime.ref import Ref


def test_all_who_keep_something_are_told_once_in_order() -> None:
    async def main(kernel: Kernel) -> None:
        told: list[Any] = []

        def first(ref: Ref[Any]) -> None:
            told.append(("first", ref))

        def second(ref: Ref[Any]) -> None:
            told.append(("second", ref))

        ref, other = await started(kernel, Mute), await started(kernel, Mute)
        for forget in (first, second):
            kernel.holdings.add(ref.serial, forget)
            kernel.holdings.add(other.serial, forget)
        kernel.holdings.discard(other.serial, first)
        ref.exit("kill")
        assert told == [("first", ref), ("second", ref)]
        other.exit("kill")
        assert told[2:] == [("second", other)]
        assert kernel.holdings.by_serial == {}

    run(main)


def test_one_who_fails_is_logged_and_keeps_it_from_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(kernel: Kernel) -> None:
        told: list[Any] = []

        def fails(_ref: Ref[Any]) -> None:
            raise RuntimeError("broken")

        ref = await started(kernel, Mute)
        monitor = kernel.monitor(ref)
        kernel.holdings.add(ref.serial, fails)
        kernel.holdings.add(ref.serial, told.append)
        ref.exit("odd")
        assert told == [ref] and await monitor.wait(1) == "odd"
        assert "end_not_told" in caplog.text

    with caplog.at_level(logging.ERROR, "noex"):
        run(main)


def test_what_is_given_up_leaves_nothing() -> None:
    async def main(kernel: Kernel) -> None:
        def forget(_ref: Ref[Any]) -> None:
            raise AssertionError("nothing is kept")

        ref = await started(kernel, Mute)
        kernel.holdings.add(ref.serial, forget)
        kernel.holdings.discard(ref.serial, forget)
        kernel.holdings.discard(ref.serial, forget)
        assert kernel.holdings.by_serial == {}

    run(main)
