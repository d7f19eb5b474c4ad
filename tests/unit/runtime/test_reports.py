"""What the log says of messages that reach nobody, and what it costs when nobody listens."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from actors import Actor, run, started

from noex.runtime import states
from noex.runtime.kernel import Kernel
from noex.runtime.reports import KINDS, report_dead_letter


class Unseen:
    """A message that counts how often it was shown."""

    shown = 0

    def __repr__(self) -> str:
        self.shown += 1
        return "<unseen>"


def dead_letters(caplog: Any) -> list[dict[str, Any]]:
    found = [record.noex for record in caplog.records if record.name == "noex"]
    return [event for event in found if event["event"] == "dead_letter"]


@pytest.mark.parametrize(
    ("kind", "word"), [(states.CALL, "call"), (states.CAST, "cast"), (states.INFO, "info")]
)
def test_a_dead_letter_is_told_at_debug(kind: int, word: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "noex")

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        report_dead_letter(kernel, ref, kind, ("late", 1))
        (event,) = dead_letters(caplog)
        assert event["ref"] == str(ref) and event["kind"] == word
        assert event["message"] == "('late', 1)" and event["node"] == kernel.node_id
        (record,) = [r for r in caplog.records if r.getMessage().startswith("dead_letter")]
        assert record.levelno == logging.DEBUG

    run(main)


def test_a_dead_letter_is_shown_in_brief(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "noex")

    async def main(kernel: Kernel) -> None:
        ref = await started(kernel, Actor)
        report_dead_letter(kernel, ref, states.CAST, "x" * 1_000_000)
        assert len(dead_letters(caplog)[0]["message"]) < 1000

    run(main)


def test_with_debug_off_a_dead_letter_is_not_even_looked_at(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "noex")

    async def main(kernel: Kernel) -> None:
        message = Unseen()
        ref = await started(kernel, Actor)
        report_dead_letter(kernel, ref, states.CAST, message)
        assert message.shown == 0 and dead_letters(caplog) == []

    run(main)


def test_every_kind_of_message_has_its_word() -> None:
    assert KINDS[states.CONTINUE] == "continue" and KINDS[states.STOP] == "stop"
    assert KINDS[states.EXIT] == "exit" and len(KINDS) == states.EXIT + 1
