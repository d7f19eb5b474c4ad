"""The keys of a node: one pair that all nodes of a cluster share, or a pair of its own.

`ClusterSecret`: everybody who knows the secret is a member of equal rights. One CURVE key pair is
derived from it, and every node uses that pair, as a listener and as a dialler.

`NodeKeys`: each node has a secret key of its own, and a list of the public keys of all others, each
bound to one node id. Whoever has the key of one node cannot speak as another.

Sources: CURVE is http://curvezmq.org (rfc.zeromq.org/spec/26), keys are Curve25519 in Z85
(rfc 32). The derivation is scrypt (RFC 7914): from one recorded handshake a guess at the secret can
be tried offline, so each guess should be dear. N=2**14, r=8, p=1: 16 MiB and some 50 ms.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import zmq
from zmq.utils import z85

from noex.runtime.errors import InvalidNodeIdError, InvalidOptionError, NoexError
from noex.runtime.node_id import parse_node_id

MIN_SECRET: Final = 16
"""Bytes that a cluster secret must have at least."""
MIN_DISTINCT: Final = 6
"""Different bytes that must be among them."""
MAX_PEERS: Final = 10_000
MAX_FILE: Final = 4 * 1024 * 1024
KEY_SIZE: Final = 40
"""Characters of a key in Z85."""
HIDDEN: Final = "***"
_SALT: Final = b"noex cluster secret, CURVE key pair, 1"


class WeakSecretError(InvalidOptionError):
    """A cluster secret that could be guessed: too short, or too little in it."""


class CurveMissingError(NoexError, RuntimeError):
    """The libzmq that pyzmq uses was built without CURVE."""

    fields = ("version",)

    def __init__(self, version: str) -> None:
        super().__init__(version)

    def describe(self) -> str:
        return (
            f"libzmq {self.args[0]} was built without CURVE, so nothing can be encrypted; install "
            "pyzmq from a wheel (pip install --force-reinstall --only-binary pyzmq pyzmq)"
        )


def require_curve() -> None:
    """Raises `CurveMissingError` when the libzmq here has no CURVE."""
    if not zmq.has("curve"):
        raise CurveMissingError(zmq.zmq_version())


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85. The secret half is not shown."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Self:
        """The pair of a secret key in Z85."""
        return cls(zmq.curve_public(secret), secret)


class ClusterSecret:
    """A secret that all nodes of a cluster know. It is never shown.

    At least 16 bytes (a str counts in UTF-8), 6 different ones among them; take a random one:
    ``noex-node keygen --cluster-secret FILE``. Raises `WeakSecretError`, or `InvalidOptionError`
    for what is neither str nor bytes, and `CurveMissingError`.
    """

    __slots__ = ("_lock", "_pair", "_secret")

    def __init__(self, secret: str | bytes) -> None:
        if not isinstance(secret, str | bytes):
            reason = f"a str or bytes, not a {type(secret).__name__}"
            raise InvalidOptionError("cluster_secret", HIDDEN, reason)
        require_curve()
        self._secret = secret.encode() if isinstance(secret, str) else secret
        secret = HIDDEN  # what a traceback with local variables would show
        _check_strength(len(self._secret), len(set(self._secret)))
        self._pair: KeyPair | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, secret: str | bytes | ClusterSecret) -> ClusterSecret:
        """The secret itself, or what is made of a str or bytes."""
        return secret if isinstance(secret, ClusterSecret) else cls(secret)

    def key_pair(self) -> KeyPair:
        """The pair derived from it: takes some 50 ms the first time, without the GIL.

        The same for every cluster name, so that two clusters of one secret by mistake can still
        tell each other that the name is what differs.
        """
        with self._lock:
            if self._pair is None:
                raw = hashlib.scrypt(self._secret, salt=_SALT, n=2**14, r=8, p=1, dklen=32)
                self._pair = KeyPair.of(z85.encode(raw))
            return self._pair

    def __repr__(self) -> str:
        return f"ClusterSecret({HIDDEN})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClusterSecret):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash((ClusterSecret, self._secret))

    def __reduce__(self) -> Any:
        raise TypeError("a ClusterSecret is not to be copied out of its process")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: Any) -> Self:
        return self


def _check_strength(length: int, distinct: int) -> None:
    advice = "take a random one: noex-node keygen --cluster-secret FILE"
    if length < MIN_SECRET:
        reason = f"it has {length} bytes, at least {MIN_SECRET} are needed; {advice}"
        raise WeakSecretError("cluster_secret", HIDDEN, reason)
    if distinct < MIN_DISTINCT:
        reason = f"only {distinct} of its bytes are different; {advice}"
        raise WeakSecretError("cluster_secret", HIDDEN, reason)


class NodeKeys:
    """The key of one node, and whom it trusts: each key may speak as one node id alone.

    - `secret`: this node's secret key (40 characters of Z85). It is not shown.
    - `peers`: the public key of each node of the cluster, by node id. This node may be among them,
      so that the same list fits all.
    - `clients`: public keys of programs that are no nodes and may ask (``noex-node status``), by a
      name for the log.

    It does not change. Raises `InvalidOptionError` with the field, `InvalidNodeIdError`,
    `CurveMissingError`.
    """

    __slots__ = ("_clients", "_pair", "_peers")

    def __init__(
        self,
        secret: str | bytes,
        peers: Mapping[str, str] | None = None,
        clients: Mapping[str, str] | None = None,
    ) -> None:
        require_curve()
        self._pair = KeyPair.of(_checked_secret(secret))
        self._peers = MappingProxyType(_spelled(_checked_keys(peers or {}, "keys.peers")))
        self._clients = MappingProxyType(_checked_keys(clients or {}, "keys.clients"))
        _check_addresses(self._peers)
        _check_distinct(self._peers, self._clients)

    @property
    def public(self) -> str:
        """The public key of this node, for the `peers` of the others."""
        return self._pair.public.decode()

    @property
    def secret(self) -> str:
        """The secret key, to be kept in a safe place."""
        return self._pair.secret.decode()

    @property
    def pair(self) -> KeyPair:
        """Both halves."""
        return self._pair

    @property
    def peers(self) -> Mapping[str, str]:
        """The public keys by node id."""
        return self._peers

    @property
    def clients(self) -> Mapping[str, str]:
        """The public keys of clients by name."""
        return self._clients

    def __repr__(self) -> str:
        counts = f"{len(self._peers)} peers, {len(self._clients)} clients"
        return f"<NodeKeys public={self.public!r}, {counts}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NodeKeys):
            return NotImplemented
        mine, theirs = (self._peers, self._clients), (other._peers, other._clients)
        return hmac.compare_digest(self._pair.secret, other._pair.secret) and mine == theirs

    def __hash__(self) -> int:
        return hash((NodeKeys, self._pair.public))

    @classmethod
    def generate(
        cls,
        *,
        peers: Mapping[str, str] | None = None,
        clients: Mapping[str, str] | None = None,
    ) -> Self:
        """A fresh key."""
        require_curve()
        _, secret = zmq.curve_keypair()
        return cls(secret, peers, clients)

    def trusting(
        self, peers: Mapping[str, str], clients: Mapping[str, str] | None = None
    ) -> NodeKeys:
        """The same key with these peers (and clients) instead."""
        return NodeKeys(self.secret, peers, self._clients if clients is None else clients)

    @classmethod
    def load(cls, secret_file: str | Path, peers_file: str | Path | None = None) -> Self:
        """Read a key as ``noex-node keygen`` writes it, and the public keys that it trusts.

        `peers_file` is TOML with a table ``[peers]`` (node id = public key) and, if wanted, a
        table ``[clients]`` (name = public key). Raises `InvalidOptionError` for a file that cannot
        be read or has another form.
        """
        tables = _read_tables(peers_file) if peers_file is not None else {}
        secret = read_secret(secret_file, "keys.secret")
        return cls(secret, tables.get("peers", {}), tables.get("clients", {}))

    def __reduce__(self) -> Any:
        raise TypeError("NodeKeys are not to be copied out of their process")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: Any) -> Self:
        return self


def read_secret(path: str | Path, option: str) -> bytes:
    """The one line of a file that holds a secret, without the end of the line."""
    lines = _read(path, option).splitlines()
    if len(lines) != 1 or not lines[0]:
        raise InvalidOptionError(option, HIDDEN, f"{path} must hold one line, the secret")
    return lines[0]


def _read(path: str | Path, option: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        text = f"cannot read {path}: {error.strerror or error}"
        raise InvalidOptionError(option, str(path), text) from error
    if len(data) > MAX_FILE:
        raise InvalidOptionError(option, str(path), f"it has more than {MAX_FILE} bytes")
    return data


def _read_tables(path: str | Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(_read(path, "keys.peers").decode())
    except ValueError as error:  # also what is no UTF-8
        raise InvalidOptionError("keys.peers", str(path), f"it is no TOML: {error}") from error
    unknown = sorted(tables.keys() - {"peers", "clients"})
    if unknown:
        reason = f"unknown: {', '.join(unknown)}; the tables are [peers] and [clients]"
        raise InvalidOptionError("keys.peers", str(path), reason)
    return tables


def _checked_secret(secret: Any) -> bytes:
    text = secret.decode("ascii", "replace") if isinstance(secret, bytes) else secret
    if not isinstance(text, str) or not is_key(text):
        reason = f"a secret key of {KEY_SIZE} characters in Z85; noex-node keygen makes one"
        raise InvalidOptionError("keys.secret", HIDDEN, reason)
    return text.encode()


def is_key(text: str) -> bool:
    """Whether this is a key in Z85, of either half."""
    try:
        return len(text) == KEY_SIZE and len(z85.decode(text.encode("ascii"))) == 32
    except (ValueError, KeyError, struct.error):  # no ASCII, no Z85, beyond 32 bits
        return False


def _checked_keys(keys: Any, option: str) -> dict[str, str]:
    try:
        pairs = dict(keys)
    except (TypeError, ValueError) as error:
        raise InvalidOptionError(option, type(keys).__name__, "public keys by name") from error
    if len(pairs) > MAX_PEERS:
        raise InvalidOptionError(option, len(pairs), f"at most {MAX_PEERS} keys")
    checked = {}
    for name, key in pairs.items():
        text = key.decode("ascii", "replace") if isinstance(key, bytes) else key
        if not isinstance(name, str) or not name or not isinstance(text, str) or not is_key(text):
            # not the value: it may be a secret key in the wrong place
            reason = f"a public key of {KEY_SIZE} characters in Z85, as noex-node keygen prints it"
            raise InvalidOptionError(f"{option}[{name!r}]", HIDDEN, reason)
        checked[name] = text
    return checked


def _spelled(peers: Mapping[str, str]) -> dict[str, str]:
    """With the node ids as nodes spell their own: an address may be written in several ways."""
    return {str(parse_node_id(node_id)): key for node_id, key in peers.items()}


def _check_addresses(peers: Mapping[str, str]) -> None:
    """Each peer has an address of its own: it is by its address that a peer is dialled."""
    seen: dict[str, str] = {}
    for node_id in peers:
        address = parse_node_id(node_id)
        if address.port == 0:
            raise InvalidNodeIdError(node_id, "a key is bound to a node id with its final port")
        other = seen.setdefault(address.endpoint, node_id)
        if other != node_id:
            reason = f"{other} has the same address, and another key"
            raise InvalidOptionError("keys.peers", node_id, reason)


def _check_distinct(peers: Mapping[str, str], clients: Mapping[str, str]) -> None:
    owner: dict[str, str] = {}
    for name, key in [*peers.items(), *clients.items()]:
        other = owner.setdefault(key, name)
        if other != name or (name in peers and name in clients):
            reason = f"{other} has the same key; a key is bound to one name"
            raise InvalidOptionError("keys.peers", name, reason)
