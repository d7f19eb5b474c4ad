"""Settings of a node that cannot work: each is refused by its own name, when it is said."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from wrong import NO_FLAGS, NO_LIMITS, NO_NODE_IDS, each, refusal

from noex.cluster.settings import ClusterSettings
from noex.config import NodeConfig
from noex.runtime.errors import InsecureBindError
from noex.transport.control_events import ControlSettings
from noex.transport.lane_settings import LaneSettings

NO_COUNTS = (*NO_LIMITS, 1.5)
SETTINGS = (ClusterSettings, LaneSettings, ControlSettings)


def of_type(cls: type[Any], kind: str) -> list[Any]:
    return [
        pytest.param(cls, field.name, id=f"{cls.__name__}.{field.name}")
        for field in fields(cls)
        if field.type == kind and field.name != "features"  # bits: see below
    ]


@pytest.mark.parametrize(("cls", "field"), [p for s in SETTINGS for p in of_type(s, "float")])
def test_each_time_of_each_settings_is_checked(cls: Any, field: str) -> None:
    for value in NO_LIMITS:
        refusal(lambda bad=value: cls(**{field: bad}), field, value, "seconds above 0")


@pytest.mark.parametrize(("cls", "field"), [p for s in SETTINGS for p in of_type(s, "int")])
def test_each_size_of_each_settings_is_checked(cls: Any, field: str) -> None:
    for value in (*NO_COUNTS, -1):
        if value == 10**400:
            continue  # an int; the largest sizes have limits of their own
        refusal(lambda bad=value: cls(**{field: bad}), field, value, "an int, 1 or more")


@pytest.mark.parametrize("features", each((-1, 1 << 20, 1.0, "3", None, True)))
def test_features_are_known_bits(features: Any) -> None:
    refusal(lambda: LaneSettings(features=features), "features", features, "bits of")


def test_settings_are_all_checked() -> None:
    kinds = {field.type for cls in SETTINGS for field in fields(cls)}
    assert kinds == {"float", "int", "str", "int | None"}


@pytest.mark.parametrize("expect", each((0, -1, True, 1.0, "3", [])))
def test_expect(expect: Any) -> None:
    refusal(lambda: ClusterSettings(expect=expect), "expect", expect, "1 or more")


@pytest.mark.parametrize("cluster", each(("", None, 5, b"noex", "x" * 101, ["noex"])))
@pytest.mark.parametrize("cls", [NodeConfig, ClusterSettings])
def test_cluster_names(cls: Any, cluster: Any) -> None:
    refusal(lambda: cls(cluster=cluster), "cluster", cluster)


# ---------------------------------------------------------------------- NodeConfig


@pytest.mark.parametrize("value", each(NO_LIMITS))
@pytest.mark.parametrize(
    "field", ["kill_grace", "terminate_timeout", "join_timeout", "drain_timeout", "slow_handler"]
)
def test_times_of_a_node(field: str, value: Any) -> None:
    if field != "slow_handler" or value is not None:
        refusal(lambda: NodeConfig(**{field: value}), field, value, "seconds above 0")


@pytest.mark.parametrize("value", each((-1, 65536, 1.0, "80", None, True, [])))
@pytest.mark.parametrize("field", ["user_port", "pub_port"])
def test_ports(field: str, value: Any) -> None:
    options = {"node_id": "a@127.0.0.1:0", field: value}
    refusal(lambda: NodeConfig(**options), field, value, "from 0", "65535")


@pytest.mark.parametrize("value", each(NO_FLAGS))
@pytest.mark.parametrize("field", ["insecure", "copy_messages"])
def test_flags(field: str, value: Any) -> None:
    refusal(lambda: NodeConfig(**{field: value}), field, value, "bool")


@pytest.mark.parametrize("value", each((None, {}, 5, "fast", ClusterSettings)))
@pytest.mark.parametrize("field", ["membership", "lane", "control"])
def test_settings_of_the_floors_below(field: str, value: Any) -> None:
    refusal(lambda: NodeConfig(**{field: value}), field, value, "Settings")


@pytest.mark.parametrize("node_id", each(NO_NODE_IDS))
@pytest.mark.parametrize("options", [{}, {"bind": "127.0.0.1"}], ids=["plain", "with bind"])
def test_node_ids(node_id: Any, options: dict[str, Any]) -> None:
    refusal(lambda: NodeConfig(node_id=node_id, **options), "node id", node_id, "name@host:port")


@pytest.mark.parametrize("seeds", each(("b@127.0.0.1:1", 5, None, object())))
def test_seeds_are_a_list(seeds: Any) -> None:
    refusal(lambda: NodeConfig(node_id="a@127.0.0.1:0", seeds=seeds), "seeds", seeds, "a list")


@pytest.mark.parametrize("seed", each((*NO_NODE_IDS, "b@127.0.0.1:0", None)))
def test_each_seed_is_a_node_id_with_a_port(seed: Any) -> None:
    refusal(lambda: NodeConfig(node_id="a@127.0.0.1:0", seeds=[seed]), "node id", seed)


@pytest.mark.parametrize("labels", each((5, "x", None, [1], {"a": 1}, {1: "a"}, {"a": None})))
def test_labels(labels: Any) -> None:
    refusal(lambda: NodeConfig(labels=labels), "labels", labels, "strings by string")


@pytest.mark.parametrize("bind", each(("", 5, b"127.0.0.1", ["127.0.0.1"], True)))
def test_bind(bind: Any) -> None:
    refusal(lambda: NodeConfig(node_id="a@127.0.0.1:0", bind=bind), "bind", bind, "a host")


@pytest.mark.parametrize(
    ("field", "value"), [("seeds", ["b@127.0.0.1:1"]), ("bind", "127.0.0.1"), ("user_port", 1)]
)
def test_what_needs_a_node_id(field: str, value: Any) -> None:
    told = tuple(value) if field == "seeds" else value
    refusal(lambda: NodeConfig(**{field: value}), field, told, "it needs a node id")


def test_a_bind_beyond_loopback_names_the_address_and_both_ways_out() -> None:
    with pytest.raises(InsecureBindError, match=r"0\.0\.0\.0.*loopback.*insecure=True"):
        NodeConfig(node_id="a@127.0.0.1:0", bind="0.0.0.0")
