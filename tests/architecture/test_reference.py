"""`docs/from-the-reference.md` maps every name of the reference, and each of ours exists."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re

import pytest
from house import ROOT

import noex
from noex.supervisor.options import SupervisorOptions

PAGE = ROOT / "docs" / "from-the-reference.md"
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)

# The names of the reference: an owner, and what it has.
REFERENCE = """
DistributedSupervisor
BehaviorRegistry: register
Cluster: start stop
Cluster.start: nodeName port seeds
GenServerBehavior: init handleCall handleCast terminate
GenServerRef
start
stop: reason
startChild
terminateChild
restartChild
getChildren
getChild
countChildren
isRunning
getStats
onLifecycleEvent
DistributedSupervisorRef: id nodeId
DistributedSupervisorOptions: strategy nodeSelector children childTemplate restartIntensity
DistributedSupervisorOptions: autoShutdown name
DistributedChildSpec: id behavior args restart nodeSelector shutdownTimeout significant
DistributedChildTemplate: behavior restart nodeSelector shutdownTimeout significant
SupervisorStrategy: one_for_one one_for_all rest_for_one simple_one_for_one
DistributedAutoShutdown: never any_significant all_significant
ChildRestartStrategy: permanent transient temporary
RestartIntensity: maxRestarts withinMs
NodeSelector: node
NodeSelectorType: local_first round_robin least_loaded random
NodeSelectorFn
NodeInfo: id
NodeId
DistributedChildInfo: id ref spec nodeId restartCount startedAt
DistributedSupervisorStats: id strategy childCount childrenByNode totalRestarts
DistributedSupervisorStats: nodeFailureRestarts startedAt uptimeMs
DistributedSupervisorEvent
DistributedSupervisorEventHandler
supervisor_started: ref
supervisor_stopped: ref reason
child_started: supervisorId childId nodeId
child_stopped: supervisorId childId reason
child_restarted: supervisorId childId nodeId attempt
child_migrated: supervisorId childId fromNode toNode
node_failure_detected: supervisorId nodeId affectedChildren
DistributedDuplicateChildError: name supervisorId childId
DistributedChildNotFoundError: name supervisorId childId
DistributedMaxRestartsExceededError: name supervisorId maxRestarts withinMs
DistributedMissingChildTemplateError: name supervisorId
DistributedInvalidSimpleOneForOneError: name supervisorId reason
DistributedBehaviorNotFoundError: name behaviorName nodeId
NoAvailableNodeError: name childId selector
DistributedSupervisorError: name supervisorId cause
DISTRIBUTED_SUPERVISOR_DEFAULTS: NODE_SELECTOR STRATEGY MAX_RESTARTS RESTART_WITHIN_MS
DISTRIBUTED_SUPERVISOR_DEFAULTS: SHUTDOWN_TIMEOUT AUTO_SHUTDOWN SPAWN_TIMEOUT
DISTRIBUTED_SUPERVISOR_DEFAULTS: CHILD_CHECK_INTERVAL
GlobalRegistry
RemoteSpawn
RemoteMonitor
"""
# What the page writes as `node`, `sup` and `ref`.
STANDS_FOR = {"node": "Node", "sup": "SupervisorHandle", "ref": "Ref"}

# Names of ours that the page promises and that do not exist yet. It must become empty.
PENDING: set[str] = set()


def reference_names() -> set[str]:
    names = set()
    for line in REFERENCE.split("\n"):
        owner, _, members = line.partition(": ")
        names |= {owner.rstrip(":"), *(f"{owner}.{member}" for member in members.split())}
    return names - {""}


@functools.cache
def rows() -> list[tuple[str, str]]:
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def missing_part(target: str) -> str | None:
    """The first part of a target that does not exist, e.g. `Node.stop`; None if all does."""
    called = target.partition("(")[0].partition("[")[0]
    names = called.split(".")
    names[0] = STANDS_FOR.get(names[0], names[0])
    value: object = noex
    for depth, name in enumerate(names, start=1):
        if not has(value, name):
            return ".".join(names[:depth])
        value = getattr(value, name, None)
    return missing_detail(value, ".".join(names), target[len(called) :])


def has(value: object, name: str) -> bool:
    """Whether a value has an attribute, or its instances do."""
    if hasattr(value, name):
        return True
    if not inspect.isclass(value):
        return False
    annotated = any(name in vars(base).get("__annotations__", {}) for base in value.__mro__)
    return annotated or name in getattr(value, "fields", ())


def missing_detail(value: object, path: str, detail: str) -> str | None:
    """Check `["KEY"]`, `(parameter=)` and `(parameter="value")`."""
    if detail.startswith("["):
        found = ast.literal_eval(detail)[0] in value
    elif detail:
        parameter, _, text = detail[1:-1].partition("=")
        found = parameter in inspect.signature(value).parameters
        if text and found:
            found = accepts(path, parameter, ast.literal_eval(text))
    else:
        found = True
    return None if found else f"{path}{detail}"


def accepts(path: str, parameter: str, value: object) -> bool:
    check = {
        "ChildSpec": functools.partial(noex.ChildSpec, "id", "worker"),
        "DistributedSupervisor.start": SupervisorOptions,
    }[path]
    try:
        check(**{parameter: value})
    except ValueError:
        return False
    return True


def missing() -> set[str]:
    return {part for _, target in rows() if (part := missing_part(target)) is not None}


def test_every_name_of_the_reference_is_on_the_page_once() -> None:
    mapped = [name for name, _ in rows()]
    assert sorted(mapped) == sorted(reference_names())


def test_every_name_of_ours_on_the_page_exists() -> None:
    assert sorted(missing() - PENDING) == []


def test_what_has_come_to_exist_is_no_longer_pending() -> None:
    assert sorted(PENDING - missing()) == [], "take these out of PENDING"


def test_events_carry_the_names_of_the_reference() -> None:
    events = [(name, target) for name, target in rows() if re.fullmatch("[a-z]+(_[a-z]+)+", name)]
    assert len(events) == 7
    for name, target in events:
        if missing_part(target) is None:
            types = {f.name: f.default for f in dataclasses.fields(getattr(noex, target))}
            assert types["type"] == name


@pytest.mark.parametrize("target", ["Nothing", "__doc__.nothing", "sup.nothing", "node.nothing"])
def test_a_name_that_does_not_exist_is_seen(target: str) -> None:
    assert missing_part(target) is not None
