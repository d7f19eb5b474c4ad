"""Child specs, templates and options: each wrong field is refused by its own name (rule 11)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from noex.runtime.errors import InvalidChildSpecError, InvalidOptionError
from noex.runtime.genserver import GenServer
from noex.supervisor import errors as e
from noex.supervisor.options import SupervisorOptions
from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity

WRONG_FIELDS: list[tuple[str, Any]] = [
    ("id", ""),
    ("id", 7),
    ("behavior", ""),
    ("behavior", 7),
    ("behavior", dict),
    ("args", "text"),
    ("args", 7),
    ("kwargs", [1]),
    ("kwargs", {1: 2}),
    ("restart", "always"),
    ("node_selector", ""),
    ("node_selector", 7),
    ("node_selector", {"host": "b@127.0.0.1:1"}),
    ("node_selector", {"node": "nowhere"}),
    ("shutdown", -1),
    ("shutdown", math.inf),
    ("shutdown", math.nan),
    ("shutdown", True),
    ("shutdown", None),
    ("shutdown", "kill"),
    ("significant", 1),
    ("backoff", -0.1),
    ("backoff", "soon"),
    ("overlap", "yes"),
    ("replace_zombies", None),
]


def build(**changes: Any) -> ChildSpec:
    values: dict[str, Any] = {"id": "a", "behavior": "worker", **changes}
    return ChildSpec(values.pop("id"), values.pop("behavior"), **values)


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS)
def test_case_14_each_wrong_field_has_its_own_error(field: str, value: Any) -> None:
    with pytest.raises(InvalidChildSpecError) as raised:
        build(**{field: value})
    assert raised.value.field == field
    assert raised.value.reason
    assert field in str(raised.value)


@pytest.mark.parametrize(("field", "value"), [w for w in WRONG_FIELDS if w[0] != "id"])
def test_a_template_is_checked_like_a_spec(field: str, value: Any) -> None:
    with pytest.raises(InvalidChildSpecError) as raised:
        ChildTemplate(**{"behavior": "worker", field: value})
    assert raised.value.field == field


def test_case_13_defaults() -> None:
    spec = build()
    assert (spec.restart, spec.shutdown, spec.significant) == ("permanent", 5.0, False)
    assert (spec.args, spec.kwargs, spec.node_selector, spec.backoff) == ((), {}, None, None)


@pytest.mark.parametrize(
    "selector",
    ["local_first", "geo", {"node": "b@127.0.0.1:4370"}, lambda nodes, child_id: "b@h:1"],
)
def test_every_shape_of_selector_is_accepted(selector: Any) -> None:
    assert build(node_selector=selector).node_selector is selector


@pytest.mark.parametrize("shutdown", [0, 1.5, "infinity", "brutal_kill"])
def test_every_shape_of_shutdown_is_accepted(shutdown: Any) -> None:
    assert build(shutdown=shutdown).shutdown == shutdown


def test_arguments_are_copied_so_that_a_restart_sees_what_was_given() -> None:
    args, kwargs = [1], {"k": 1}
    spec = build(args=args, kwargs=kwargs)
    args.append(2)
    kwargs["k"] = 2
    assert spec.args == (1,)
    assert spec.kwargs == {"k": 1}


def test_a_spec_with_unhashable_arguments_can_be_hashed() -> None:
    assert hash(build(args=([],))) == hash(build(args=([],)))


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("auto_shutdown", ["never", "any_significant", "all_significant"])
def test_case_16_significant_matrix(restart: Any, auto_shutdown: Any) -> None:
    legal = restart != "permanent" and auto_shutdown != "never"
    if legal:
        spec = build(restart=restart, significant=True)
        SupervisorOptions(auto_shutdown=auto_shutdown, children=[spec]).check("s")
    else:
        with pytest.raises(InvalidChildSpecError) as raised:
            spec = build(restart=restart, significant=True)
            SupervisorOptions(auto_shutdown=auto_shutdown, children=[spec]).check("s")
        assert raised.value.field == "significant"


@pytest.mark.parametrize("distributed", [False, True])
def test_case_17_simple_one_for_one_needs_exactly_one_template(distributed: bool) -> None:
    template = ChildTemplate("worker")
    simple: dict[str, Any] = {"strategy": "simple_one_for_one", "distributed": distributed}
    SupervisorOptions(**simple, child_template=template).check("s")
    family = SupervisorOptions(**simple).errors
    with pytest.raises(family.missing_template) as missing:
        SupervisorOptions(**simple).check("s")
    assert missing.value.supervisor_id == "s"
    with pytest.raises(family.invalid_simple):
        SupervisorOptions(**simple, child_template=template, children=[build()]).check("s")


def test_a_template_goes_with_simple_one_for_one_only() -> None:
    with pytest.raises(InvalidOptionError) as raised:
        SupervisorOptions(child_template=ChildTemplate("worker")).check("s")
    assert raised.value.field == "child_template"


def test_case_25_a_template_puts_its_args_before_the_childs() -> None:
    template = ChildTemplate("worker", args=(1,), restart="transient", shutdown="infinity")
    spec = template.spec("child_1", [2, 3])
    assert (spec.id, spec.behavior, spec.args) == ("child_1", "worker", (1, 2, 3))
    assert (spec.restart, spec.shutdown) == ("transient", "infinity")


def test_two_children_of_one_id_are_refused() -> None:
    with pytest.raises(e.DuplicateChildError) as raised:
        SupervisorOptions(children=[build(), build()]).check("s")
    assert raised.value.child_id == "a"


def test_a_distributed_supervisor_needs_registered_names() -> None:
    spec = ChildSpec("a", GenServer)
    SupervisorOptions(children=[spec]).check("s")
    with pytest.raises(InvalidChildSpecError) as raised:
        SupervisorOptions(children=[spec], distributed=True).check("s")
    assert raised.value.field == "behavior"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "one_for_some"),
        ("auto_shutdown", True),
        ("node_failure_counts", "twice"),
        ("restart_intensity", (3, 5)),
        ("child_template", "worker"),
        ("children", "abc"),
        ("children", ["worker"]),
        ("node_selector", 3),
        ("name", ""),
    ],
)
def test_each_wrong_option_has_its_own_error(field: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        SupervisorOptions(**{field: value})
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_restarts", -1),
        ("max_restarts", 1.5),
        ("max_restarts", True),
        ("within", 0),
        ("within", -1.0),
        ("within", math.inf),
        ("within", "5"),
    ],
)
def test_intensity_is_checked(field: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        RestartIntensity(**{field: value})
    assert raised.value.field == field
