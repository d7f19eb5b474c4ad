"""NodeConfig: everything that can be set on a node, checked when it is said."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from noex.cluster.settings import ClusterSettings
from noex.runtime.checks import check_count, check_limit
from noex.runtime.errors import InsecureBindError, InvalidNodeIdError, InvalidOptionError
from noex.runtime.node_id import (
    NodeAddress,
    checked_node_id,
    is_loopback,
    parse_node_id,
)
from noex.transport.control_events import ControlSettings
from noex.transport.ipc import check_ipc_dir
from noex.transport.keys import HIDDEN, ClusterSecret, NodeKeys
from noex.transport.lane_settings import LaneSettings

MAX_LABELS: Final = 64
MAX_CLUSTER_NAME: Final = 100
MAX_THREADS: Final = 10_000
_KINDS: Final[dict[str, type[Any]]] = {
    "cluster": str,
    "insecure": bool,
    "copy_messages": bool,
    "membership": ClusterSettings,
    "lane": LaneSettings,
    "control": ControlSettings,
}


@dataclass(frozen=True)
class NodeConfig:
    """The settings of a node: what `Node` takes by name, and most of it `noex-node start` as flags.

    All times are seconds.

    - `node_id`: ``name@host:port`` (port 0: chosen at start); None for a node without a cluster.
    - `seeds`: node ids to join through. A node without seeds founds a cluster, others join it.
    - `cluster` ("noex"): the cluster's name; nodes of another name are strangers.
    - `bind`: the address to listen on, if not the host of the node id.
    - `user_port`, `pub_port` (0): the other two ports; 0 is chosen, and told to the peers.
    - `ipc_dir`: a directory for sockets of this host; messages between nodes that name the same one
      go through ``ipc://`` instead of TCP. It is made if need be, readable by this user alone.
    - `labels`: up to 64 strings by string, shown in `NodeInfo`, for selectors.
    - `cluster_secret`: a str or bytes (at least 16 bytes) that all nodes of the cluster know; all
      that they send is encrypted, and nobody else comes in. It is never shown.
    - `keys`: `NodeKeys` instead: a key for each node, bound to its node id.
    - `insecure` (False): allow an address beyond loopback, without encryption.
    - `expected_peers` (100): for how many other members there must be file descriptors. The soft
      limit of open files is raised as far as needed; too low a hard one is logged at the start.
    - `copy_messages` (False): send every local message through the codec, to find in tests what
      would not survive the wire.
    - `kill_grace` (1): what a killed handler has to end before it counts as a zombie.
    - `terminate_timeout` (5): how long `terminate` of an unsupervised process may take.
    - `blocking_threads` (64): in how many threads the handlers of `blocking = True` classes run;
      each is made when it is needed.
    - `slow_handler` (0.5): a handler that holds the loop longer is logged by the watchdog's thread
      (`handler_stuck`), while it does; None: no watchdog.
    - `join_timeout` (15): how long the start waits for membership.
    - `drain_timeout` (10): what `stop` gives the children of other nodes' supervisors to move.
    - `membership` (`ClusterSettings`), `lane`, `control`: times and limits of the floors below.

    Raises `InvalidOptionError` with the field, `InvalidNodeIdError` for `node_id` and `seeds`, and
    `InsecureBindError` for an address beyond loopback without `cluster_secret`, `keys` or
    `insecure`, `WeakSecretError`, and `CurveMissingError` where libzmq cannot encrypt.
    """

    node_id: str | None = None
    seeds: tuple[str, ...] = ()
    cluster: str = "noex"
    bind: str | None = None
    user_port: int = 0
    pub_port: int = 0
    ipc_dir: str | os.PathLike[str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster_secret: str | bytes | ClusterSecret | None = field(default=None, repr=False)
    keys: NodeKeys | None = None
    insecure: bool = False
    expected_peers: int = 100
    copy_messages: bool = False
    kill_grace: float = 1.0
    terminate_timeout: float = 5.0
    blocking_threads: int = 64
    slow_handler: float | None = 0.5
    join_timeout: float = 15.0
    drain_timeout: float = 10.0
    membership: ClusterSettings = ClusterSettings()
    lane: LaneSettings = LaneSettings()
    control: ControlSettings = ControlSettings()

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))
        object.__setattr__(self, "labels", _checked_labels(self.labels))
        _check_times(self)
        _check_ports(self)
        _check_threads(self.blocking_threads)
        check_count(self.expected_peers, "expected_peers")
        object.__setattr__(self, "ipc_dir", check_ipc_dir(self.ipc_dir))
        _check_kinds(self)
        _check_security(self)
        if self.node_id is None:
            _refuse_without_cluster(self)
            return
        address = self.address
        host = self.bind or address.host
        if not (self.insecure or self.is_secure or is_loopback(host)):
            raise InsecureBindError(host)
        if self.keys is not None:
            _check_keys(self.keys, self)

    @property
    def is_secure(self) -> bool:
        """Whether what this node sends to others is encrypted."""
        return self.cluster_secret is not None or self.keys is not None

    @property
    def address(self) -> NodeAddress:
        """The parts of the node id."""
        return parse_node_id(self.node_id)


def _checked_seeds(seeds: Any) -> tuple[str, ...]:
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise InvalidOptionError("seeds", seeds, "a list of node ids, not one string")
    checked = tuple(checked_node_id(seed) for seed in seeds)
    for seed in checked:
        if parse_node_id(seed).port == 0:
            raise InvalidNodeIdError(seed, "a seed needs the port on which it listens")
    return checked


def _checked_labels(labels: Any) -> dict[str, str]:
    try:
        pairs = dict(labels)
    except (TypeError, ValueError) as error:
        raise InvalidOptionError("labels", labels, "a dict of strings by string") from error
    strings = all(isinstance(text, str) for pair in pairs.items() for text in pair)
    if not strings or len(pairs) > MAX_LABELS:
        raise InvalidOptionError("labels", labels, f"up to {MAX_LABELS} strings by string")
    return pairs


def _check_times(config: NodeConfig) -> None:
    for name in ("kill_grace", "terminate_timeout", "join_timeout", "drain_timeout"):
        check_limit(getattr(config, name), name)
    check_limit(config.slow_handler, "slow_handler", optional=True)


def _check_threads(threads: Any) -> None:
    is_number = isinstance(threads, int) and not isinstance(threads, bool)
    if not is_number or not 1 <= threads <= MAX_THREADS:
        raise InvalidOptionError("blocking_threads", threads, f"a number from 1 to {MAX_THREADS}")


def _check_ports(config: NodeConfig) -> None:
    for name in ("user_port", "pub_port"):
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
            raise InvalidOptionError(name, value, "a port from 0 (chosen) to 65535")


def _check_kinds(config: NodeConfig) -> None:
    for name, kind in _KINDS.items():
        value = getattr(config, name)
        if not isinstance(value, kind):
            raise InvalidOptionError(name, value, f"it must be a {kind.__name__}")
    if not config.cluster or len(config.cluster) > MAX_CLUSTER_NAME:
        limit = f"it must be 1 to {MAX_CLUSTER_NAME} characters"
        raise InvalidOptionError("cluster", config.cluster, limit)
    if config.bind is not None and not (isinstance(config.bind, str) and config.bind):
        raise InvalidOptionError("bind", config.bind, "it must be a host, or None")


def _check_security(config: NodeConfig) -> None:
    secret, keys = config.cluster_secret, config.keys
    if secret is not None:
        # from here on only what does not show itself
        object.__setattr__(config, "cluster_secret", ClusterSecret.of(secret))
    if keys is not None and not isinstance(keys, NodeKeys):
        raise InvalidOptionError("keys", HIDDEN, "NodeKeys, or None")
    if secret is not None and keys is not None:
        reason = "one or the other: cluster_secret is one key for all nodes, keys one for each"
        raise InvalidOptionError("keys", keys, reason)


def _check_keys(keys: NodeKeys, config: NodeConfig) -> None:
    """A key is bound to a node id, so the node must have that id, and know those that it dials."""
    node_id = str(config.address)
    if config.address.port == 0:
        reason = "with keys the port is part of what the other nodes know; choose one"
        raise InvalidNodeIdError(node_id, reason)
    if keys.peers.get(node_id, keys.public) != keys.public:
        reason = f"the key of {node_id} in it is not the public key of this node's secret"
        raise InvalidOptionError("keys.peers", node_id, reason)
    owner = next((name for name, key in keys.peers.items() if key == keys.public), node_id)
    if owner != node_id:
        reason = f"it has the key of this node, whose id is {node_id}"
        raise InvalidOptionError("keys.peers", owner, reason)
    known = {parse_node_id(name).endpoint for name in (*keys.peers, node_id)}
    for seed in config.seeds:
        if parse_node_id(seed).endpoint not in known:
            raise InvalidOptionError("seeds", seed, "keys.peers has no key for it; add it there")


def _refuse_without_cluster(config: NodeConfig) -> None:
    for name in ("seeds", "bind", "user_port", "pub_port", "ipc_dir", "cluster_secret", "keys"):
        if getattr(config, name):
            raise InvalidOptionError(name, getattr(config, name), "it needs a node id")
