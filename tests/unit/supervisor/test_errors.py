"""The errors of supervisors: names, fields, the two families, and that they travel."""

from __future__ import annotations

import copy

import pytest

from noex.runtime.errors import BehaviorNotFoundError, NoexError
from noex.supervisor import errors as e

PAIRS = [
    (e.DistributedDuplicateChildError("s", "c"), e.DuplicateChildError),
    (e.DistributedChildNotFoundError("s", "c"), e.ChildNotFoundError),
    (e.DistributedMaxRestartsExceededError("s", 3, 5.0), e.MaxRestartsExceededError),
    (e.DistributedMissingChildTemplateError("s"), e.MissingChildTemplateError),
    (e.DistributedInvalidSimpleOneForOneError("s", "no"), e.InvalidSimpleOneForOneError),
    (e.DistributedSupervisorError("s"), e.SupervisorError),
    (e.DistributedBehaviorNotFoundError("worker", "a@h:1"), BehaviorNotFoundError),
]
ALL = [pair[0] for pair in PAIRS] + [
    e.ChildStartError("s", "c", "unknown"),
    e.NoAvailableNodeError("c", "local_first"),
]


@pytest.mark.parametrize(("error", "local"), PAIRS, ids=lambda value: str(value)[:40])
def test_each_distributed_error_is_its_local_one(error: NoexError, local: type) -> None:
    assert isinstance(error, local)
    assert type(error).__name__ == "Distributed" + local.__name__


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_fields_are_the_args_so_that_it_travels(error: NoexError) -> None:
    again = type(error)(*error.args)
    for name, value in zip(error.fields, error.args, strict=True):
        assert getattr(again, name) == value
    assert str(again) == str(error)
    assert copy.copy(error).args == error.args


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_the_sentence_names_who(error: NoexError) -> None:
    assert "s" in str(error)
    assert str(error) != repr(error.args)


def test_a_start_error_names_its_outcome_and_its_cause() -> None:
    error = e.ChildStartError("sup", "db")
    error.__cause__ = ValueError("no dsn")
    assert error.outcome == "failed"
    assert "no dsn" in str(error)
    assert "may or may not" in str(e.ChildStartError("sup", "db", "unknown"))


def test_a_dead_supervisors_error_tells_why_it_died() -> None:
    error = e.DistributedSupervisorError("sup")
    error.__cause__ = e.DistributedMaxRestartsExceededError("sup", 3, 5.0)
    assert "more than 3 restarts within 5 s" in str(error)
