"""Wrong arguments of supervisors, their specs and their handles: an error, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from actors import run
from family import Bare, Diary, Plain, child, family, statuses
from wrong import (
    HUGE,
    NAN,
    NO_DELAYS,
    NO_FLAGS,
    NO_LIMITS,
    NO_NAMES,
    NO_REFS,
    NO_TIMES,
    NO_WAITS,
    each,
    plain,
    refusal,
    refused,
    table,
)

from noex.runtime.errors import InvalidOptionError, UnhandledMessageError
from noex.runtime.kernel import Kernel
from noex.supervisor.distributed import DistributedSupervisor
from noex.supervisor.errors import (
    ChildNotFoundError,
    InvalidSimpleOneForOneError,
    SupervisorError,
)
from noex.supervisor.local import Supervisor
from noex.supervisor.selectors import find_selector, selector, unregister_selector
from noex.supervisor.spec import ChildSpec, ChildTemplate, RestartIntensity

NO_WORDS: tuple[Any, ...] = (None, "", "always", "PERMANENT", 5, True, ["permanent"], object())

# ---------------------------------------------------------------------- specs


@pytest.mark.parametrize("make", [lambda **f: ChildSpec("a", Plain, **f), ChildTemplate])
@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("restart", "", NO_WORDS),
        ("shutdown", "", (None, "", "forever", NAN, HUGE, -1, True, "5", [], object())),
        ("backoff", "", NO_DELAYS[1:]),
        ("significant", "", NO_FLAGS),
        ("overlap", "", NO_FLAGS),
        ("replace_zombies", "", NO_FLAGS),
        ("args", "", (None, "dsn", b"dsn", 5, {1, 2}, {"a": 1}, object())),
        ("kwargs", "", (None, [("a", 1)], "a", 5, {1: 2}, object())),
        ("node_selector", "", ("", 5, {}, {"node": "x"}, {"nodes": "a@b:1"}, ["random"], plain)),
    ),
)
def test_case_14_each_field_of_a_spec_has_its_own_error(
    make: Any, call: Any, value: Any, request: pytest.FixtureRequest
) -> None:
    field = request.node.callspec.id.rpartition("-")[0].split("-")[0]
    if make is ChildTemplate:
        refusal(lambda: ChildTemplate(Plain, **{field: value}), field, value)
    else:
        refusal(lambda: make(**{field: value}), field, value)


@pytest.mark.parametrize("behavior", each((None, "", 5, object, plain, Plain(), [Plain])))
def test_the_behavior_of_a_spec(behavior: Any) -> None:
    refusal(lambda: ChildSpec("a", behavior), "behavior", behavior)
    refusal(lambda: ChildTemplate(behavior), "behavior", behavior)


@pytest.mark.parametrize("child_id", each((None, "", 5, b"a", ["a"], object())))
def test_the_id_of_a_spec(child_id: Any) -> None:
    refusal(lambda: ChildSpec(child_id, Plain), "id", child_id, "string")


@pytest.mark.parametrize("count", each((None, -1, 1.0, NAN, "3", True, [])))
def test_max_restarts(count: Any) -> None:
    refusal(lambda: RestartIntensity(max_restarts=count), "max_restarts", count, "0 or more")


@pytest.mark.parametrize("within", each(NO_LIMITS))
def test_within(within: Any) -> None:
    refusal(lambda: RestartIntensity(within=within), "within", within, "seconds")


# ---------------------------------------------------------------------- options

ONE = ChildSpec("a", Plain)


@pytest.mark.parametrize("kind", [Supervisor, DistributedSupervisor])
@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("strategy", "", (None, "", "one_for_none", 5, ["one_for_one"], object())),
        ("auto_shutdown", "", (None, "", "always", True, 5, object())),
        ("children", "", (None, "a", 5, ONE, {"a": ONE}, iter([ONE]), object())),
        ("child_template", "", (5, "worker", ONE, Plain, ChildTemplate, {"behavior": "x"})),
        ("restart_intensity", "", (0, "", False, 3, (3, 5.0), {}, RestartIntensity)),
        ("name", "", NO_NAMES[1:]),
        ("timeout", "", NO_WAITS),
    ),
)
def test_each_option_of_a_supervisor_has_its_own_error(
    kind: Any, call: Any, value: Any, request: pytest.FixtureRequest
) -> None:
    field = request.node.callspec.id.split("-")[0]

    async def main(kernel: Kernel) -> None:
        await refused(lambda: kind.start(Bare(kernel), **{field: value}), field, value)
        assert kernel.process_count == 0

    run(main)


@pytest.mark.parametrize("spec", each((None, "a", 5, Plain, ("a", Plain), {"id": "a"})))
def test_each_of_the_children_is_a_spec(spec: Any) -> None:
    async def main(kernel: Kernel) -> None:
        start = lambda: Supervisor.start(Bare(kernel), children=[ONE, spec])  # noqa: E731
        await refused(start, "children", spec, "ChildSpec")
        assert kernel.process_count == 0

    run(main)


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("node_failure_counts", "", (None, "", "twice", 1, True)),
        ("node_selector", "", (None, "", 5, {}, {"node": 5}, ["random"], plain)),
        ("spawn_timeout", "", NO_LIMITS),
    ),
)
def test_options_of_a_distributed_supervisor(
    call: Any, value: Any, request: pytest.FixtureRequest
) -> None:
    field = request.node.callspec.id.split("-")[0]

    async def main(kernel: Kernel) -> None:
        start = DistributedSupervisor.start
        await refused(lambda: start(Bare(kernel), **{field: value}), field, value)

    run(main)


@pytest.mark.parametrize("node", each((None, "a@127.0.0.1:1", 5, Kernel, object())))
@pytest.mark.parametrize(
    "call",
    [
        Supervisor.start,
        DistributedSupervisor.start,
        lambda node: Supervisor.find(node, "x"),
        lambda node: DistributedSupervisor.find(node, "x"),
        lambda node: DistributedSupervisor.ensure(node, name="x"),
    ],
    ids=["start", "distributed start", "find", "distributed find", "ensure"],
)
def test_the_node_of_a_supervisor(call: Any, node: Any) -> None:
    async def main(_kernel: Kernel) -> None:
        await refused(lambda: call(node), "node", node, "a Node that has been started")

    run(main)


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("name", Supervisor.find, NO_NAMES),
        ("name", DistributedSupervisor.find, NO_NAMES),
        ("name", lambda node, bad: DistributedSupervisor.ensure(node, name=bad), NO_NAMES),
        (
            "timeout",
            lambda node, bad: DistributedSupervisor.find(node, "x", timeout=bad),
            NO_LIMITS,
        ),
        (
            "timeout",
            lambda node, bad: DistributedSupervisor.ensure(node, name="x", timeout=bad),
            NO_LIMITS,
        ),
        ("ref", lambda node, bad: Supervisor.handle_of(bad), NO_REFS),
    ),
)
def test_what_finds_a_supervisor(call: Any, value: Any, request: pytest.FixtureRequest) -> None:
    field = request.node.callspec.id.split("-")[0]

    async def main(kernel: Kernel) -> None:
        await refused(lambda: call(Bare(kernel), value), field, value)

    run(main)


# ---------------------------------------------------------------------- handles


@pytest.mark.parametrize(
    ("call", "value"),
    table(
        ("child_id", lambda sup, bad: sup.terminate_child(bad), NO_NAMES),
        ("child_id", lambda sup, bad: sup.restart_child(bad), NO_NAMES),
        ("child_id", lambda sup, bad: sup.get_child(bad), NO_NAMES),
        ("child_id", lambda sup, bad: sup.explain(bad), NO_NAMES),
        ("ref", lambda sup, bad: sup.which_child(bad), NO_REFS),
        ("timeout", lambda sup, bad: sup.start_child(ONE, timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.terminate_child("a", timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.restart_child("a", timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.get_children(timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.get_child("a", timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.count_children(timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.which_child(sup.ref, timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.explain("a", timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.get_stats(timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.is_running(timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.stop(timeout=bad), NO_WAITS),
        ("timeout", lambda sup, bad: sup.wait(timeout=bad), NO_TIMES),
        ("handler", lambda sup, bad: sup.on_lifecycle_event(bad), (None, 5, "print", plain)),
    ),
)
def test_wrong_arguments_of_a_handle_do_not_touch_the_supervisor(
    call: Any, value: Any, request: pytest.FixtureRequest
) -> None:
    field = request.node.callspec.id.split("-")[0]

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", child("a", Diary()))
        before = await sup.get_children()
        await refused(lambda: call(sup, value), field, value)
        assert await sup.get_children() == before

    run(main)


@pytest.mark.parametrize("wrong", each((None, 5, "a", Plain, ("a", Plain), [1], {"id": "a"})))
def test_what_is_no_spec_is_refused_by_start_child_and_shown(wrong: Any) -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        with pytest.raises(InvalidSimpleOneForOneError, match="ChildSpec") as caught:
            await sup.start_child(wrong)
        assert repr(wrong)[:20] in str(caught.value)
        assert await statuses(sup) == {}

    run(main)


@pytest.mark.parametrize("wrong", each((None, 5, "args", b"args", ONE, {"a": 1}, {1})))
def test_what_are_no_args_is_refused_by_start_child_and_shown(wrong: Any) -> None:
    async def main(kernel: Kernel) -> None:
        template = ChildTemplate(Plain)
        sup = await family(kernel, "simple_one_for_one", child_template=template)
        with pytest.raises(InvalidSimpleOneForOneError, match="list of args") as caught:
            await sup.start_child(wrong)
        assert repr(wrong)[:10] in str(caught.value)
        assert await statuses(sup) == {}

    run(main)


@pytest.mark.parametrize(
    "message",
    each(
        (
            ("terminate_child", []),
            ("restart_child", None),
            ("child", {}),
            ("which", []),
            ("explain", []),
            ("children", 1),
            "children",
            None,
            [],
        )
    ),
)
def test_nonsense_in_a_message_does_not_hurt_a_supervisor(message: Any) -> None:
    """It was looked up in a dict, and what cannot be hashed ended the supervisor."""

    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one", child("a", Diary()))
        with pytest.raises(UnhandledMessageError):
            await sup.ref.call(message)
        sup.ref.cast(message)
        sup.ref.send(message)
        assert await statuses(sup) == {"a": "running"}

    run(main)


def test_ids_that_are_legal_but_unknown() -> None:
    async def main(kernel: Kernel) -> None:
        sup = await family(kernel, "one_for_one")
        for work in (sup.terminate_child, sup.restart_child):
            with pytest.raises(ChildNotFoundError, match="nobody"):
                await work("nobody")
        assert await sup.get_child("nobody") is None
        assert "nobody" in await sup.explain("nobody")
        with pytest.raises(SupervisorError, match="nobody"):
            await Supervisor.find(Bare(kernel), "nobody")

    run(main)


# ---------------------------------------------------------------------- selectors


@pytest.mark.parametrize("name", each((None, "", 5, "random", lambda nodes, child: "a")))
def test_the_name_of_a_selector(name: Any) -> None:
    """Also ``@selector`` without its parentheses."""
    refusal(lambda: selector(name), "selector", name)


@pytest.mark.parametrize("function", each((None, 5, "geo", plain, Plain)))
def test_the_function_of_a_selector(function: Any) -> None:
    refusal(lambda: selector("geo-x")(function), "selector", function, "function")
    assert find_selector("geo-x") is None


def test_a_name_that_is_taken_by_a_function_without_a_name() -> None:
    from functools import partial

    selector("geo-y")(partial(max))  # type: ignore[type-var]
    try:
        with pytest.raises(InvalidOptionError, match="belongs to"):
            selector("geo-y")(partial(min))  # type: ignore[type-var]
    finally:
        assert unregister_selector("geo-y")
