"""CURVE on the sockets of one node, and who may say what on them.

`Curve` puts the options on each socket before it binds or dials; the lanes know nothing of keys.
There are three kinds of node:

- plain: no keys. Everybody who can reach its ports is believed; it listens on loopback.
- shared (`ClusterSecret`): one key pair for all. A listener admits that key alone, and a dialler
  accepts nobody else. All members are equal, so nothing more is checked.
- named (`NodeKeys`): a key for each node. A dialler takes for each address the key of the node that
  lives there; a listener admits the keys of its list, and libzmq puts the node id of the key on
  every message that comes in (its User-Id). A message whose routing id is not that node's is
  dropped here, before anything looks into it, so that no connection can take over another's name.

Between a plain node and another one libzmq ends the handshake, at both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import zmq
from zmq.utils import z85

from noex.runtime.errors import NoexError
from noex.runtime.node_id import parse_node_id
from noex.transport.control_sockets import Socket
from noex.transport.gate import CRYPTOGRAPHIC, MECHANISM_MISMATCH, UNKNOWN, Gate
from noex.transport.hangup import hang_up
from noex.transport.keys import ClusterSecret, KeyPair, NodeKeys
from noex.transport.receiving import receive, rest_of
from noex.transport.sockets import ZAP_DOMAIN
from noex.transport.wire import make_routing_id
from noex.transport.zap import Zap

USER_ID: Final = "User-Id"
MEMBER: Final = "member"
"""The User-Id of everybody who knows the cluster secret."""
CLIENT: Final = "client:"
"""What the User-Id of a client begins with. No node id has a colon before its ``@``."""
ANONYMOUS: Final = b"\0"
"""What the routing id of a socket begins with that has chosen none: it claims nothing."""
CONTROL_NAME: Final = 160
"""Characters of the node id at its end that the control lane's routing ids carry."""
_ZAP_ENFORCE_DOMAIN: Final = 93
DIAL_ADVICE: Final = {
    "unknown key": "its list of keys has none, or another one, for this node: look at keys.peers",
    "wrong secret": "check that cluster_secret is the same on both, or that keys.peers has its key",
    "no security": "it has no cluster_secret and no keys, and this node has",
    "unexpected security": "it has a cluster_secret or keys: give this node the same",
    "no key": "keys.peers of this node has no key for that address",
}
"""What to look at when a dial failed, by the reason that `why_failed` gives."""
_NOBLOCK: Final = int(zmq.NOBLOCK)


class UnknownPeerError(NoexError):
    """A node that is to be dialled has no key in the list of this one."""

    fields = ("peer",)

    def __init__(self, peer: str) -> None:
        super().__init__(peer)

    def describe(self) -> str:
        return f"keys.peers has no key for {self.args[0]}; add it there"


class Arrival(NamedTuple):
    """A message: the routing id, what follows it, and the node whose key it came with.

    `peer` is None where keys are not bound to names; it may be a client (``client:name``).
    """

    parts: list[Any]
    peer: str | None


@dataclass(frozen=True)
class Credentials:
    """The keys of a node, as its sockets need them. `pair` None: a plain node.

    `admitted`: User-Id by public key (32 bytes). `servers`: public key (Z85) by node id, None where
    all have the same. `addresses`: node id by control endpoint.
    """

    pair: KeyPair | None = None
    admitted: Mapping[bytes, str] = field(default_factory=dict)
    servers: Mapping[str, bytes] | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether each key is bound to a node id."""
        return self.servers is not None


def credentials_of(
    node_id: str, secret: ClusterSecret | None, keys: NodeKeys | None
) -> Credentials:
    """What `cluster_secret` or `keys` of the node `node_id` come to. It may take some 50 ms."""
    if secret is not None:
        pair = secret.key_pair()
        return Credentials(pair, {_raw(pair.public): MEMBER})
    if keys is None:
        return Credentials()
    servers = {name: key.encode() for name, key in keys.peers.items()}
    if node_id:
        servers[node_id] = keys.pair.public
    admitted = {_raw(key): name for name, key in servers.items()}
    admitted |= {_raw(key.encode()): CLIENT + name for name, key in keys.clients.items()}
    addresses = {parse_node_id(name).endpoint: name for name in servers}
    return Credentials(keys.pair, admitted, servers, addresses)


def _raw(key: bytes) -> bytes:
    return bytes(z85.decode(key))


class Curve:
    """Secures the sockets of one node. Used from the threads of both lanes; it does not change."""

    def __init__(self, credentials: Credentials, gate: Gate) -> None:
        self._credentials, self.gate = credentials, gate
        named = credentials.servers or {}
        self._claims = {name: (ANONYMOUS, *_routing_names(name)) for name in named}

    @property
    def is_secure(self) -> bool:
        """Whether anything is encrypted."""
        return self._credentials.pair is not None

    @property
    def is_named(self) -> bool:
        """Whether each key is bound to a node id."""
        return self._credentials.is_named

    def listen(self, sock: Socket, lane: str) -> None:
        """Options of a socket that is about to bind."""
        pair = self._credentials.pair
        if pair is not None:
            sock.setsockopt(zmq.CURVE_SERVER, 1)
            sock.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
            sock.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            _enforce(sock)
        self.gate.watch(sock, lane)

    def dial(self, sock: Socket, peer: str | None) -> None:
        """Options of a socket that is about to dial this node. Raises `UnknownPeerError`."""
        secure_dialler(sock, self._credentials, peer)

    def node_at(self, endpoint: str) -> str | None:
        """The node whose control socket is at `endpoint`, where keys are bound to names."""
        return self._credentials.addresses.get(endpoint)

    def receive(self, router: Socket, lane: str) -> Arrival | None:
        """One message of a listening ROUTER, None for one that claims another's name.

        Whoever does that is hung up on. Raises `zmq.Again` when there is no message.
        """
        if not self._credentials.is_named:
            return Arrival(receive(router), None)
        first = router.recv(_NOBLOCK, copy=False)
        routing_id, peer = first.bytes, user_of(first)
        parts = rest_of(router, routing_id)
        if self.may_use(peer, routing_id):
            return Arrival(parts, peer)
        self.spoofed(lane, peer, routing_id.decode("utf-8", "replace")[:200], address_in(first))
        hang_up(first, router)
        return None

    def may_use(self, peer: str, routing_id: bytes) -> bool:
        """Whether a routing id is one of this node's; one that names nobody is everybody's."""
        if not peer:  # it was never asked for its key
            return False
        return routing_id.startswith(self._claims.get(peer, ANONYMOUS))

    def spoofed(self, lane: str, peer: str, claim: str, address: str = UNKNOWN) -> None:
        """Somebody has spoken in another's name: count and log it."""
        self.gate.spoofed(lane, peer, claim, address)

    def secure_lane(self, sock: Socket, peer: str | None) -> None:
        """The user lane's hook for options: `peer` None is its listener."""
        if peer is None:
            self.listen(sock, "user")
        else:
            self.dial(sock, peer)

    def receive_checked(self, router: Socket) -> list[Any] | None:
        """The user lane's hook for reading, where keys are bound to names."""
        arrival = self.receive(router, "user")
        return None if arrival is None else arrival.parts


def secure_dialler(sock: Socket, credentials: Credentials, peer: str | None) -> None:
    """The options of `Curve.dial`, for a program that is no node."""
    pair, servers = credentials.pair, credentials.servers
    if pair is None:
        return
    server = pair.public if servers is None else servers.get(peer or "")
    if server is None:
        raise UnknownPeerError(peer or "an address that is no node's")
    sock.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
    sock.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
    sock.setsockopt(zmq.CURVE_SERVERKEY, server)


def user_of(frame: Any) -> str:
    """The User-Id that the gate gave to the sender of a frame, empty if there is none."""
    return _property(frame, USER_ID)


def address_in(frame: Any) -> str:
    """The address of the sender of a frame."""
    return _property(frame, "Peer-Address") or UNKNOWN


def _property(frame: Any, name: str) -> str:
    try:
        return str(frame.get(name))
    except (zmq.ZMQError, KeyError, ValueError, UnicodeDecodeError):
        return ""


def why_failed(event: int, value: int, *, is_secure: bool) -> str:
    """Why a dial's handshake failed, as far as libzmq tells; empty: it does not say.

    `is_secure`: whether the dialler has keys. A listener that cannot read the first encrypted box
    hangs up without a word, and so, most often, does one with another mechanism: then `mechanism`
    of its greeting tells them apart (`why_hung_up`).
    """
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "unknown key"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value == MECHANISM_MISMATCH:
            return "no security" if is_secure else "unexpected security"
        return "wrong secret" if value == CRYPTOGRAPHIC else ""
    return ""


def why_hung_up(mechanism: str, *, is_secure: bool) -> str:
    """Why a node that greets with this mechanism hangs up; empty: for another reason."""
    if is_secure:
        return {"CURVE": "wrong secret", "NULL": "no security"}.get(mechanism, "")
    return "unexpected security" if mechanism == "CURVE" else ""


def _routing_names(node_id: str) -> tuple[bytes, ...]:
    """What the routing ids of a node begin with: on the user lane, and on the control lane."""
    user = make_routing_id(node_id, 0, 0).partition(b"#")[0]
    long = make_routing_id(node_id, 2**64 - 1, 2**32 - 1).partition(b"#")[0]
    names = {user, long, node_id[-CONTROL_NAME:].encode()}
    return tuple(sorted(name + b"#" for name in names))


def _enforce(sock: Socket) -> None:
    """Without an answer of the gate nobody comes in. (Else libzmq would encrypt and ask no more.)

    Where the option is unknown, the gate is started before and stopped after all listeners.
    """
    try:
        sock.setsockopt(_ZAP_ENFORCE_DOMAIN, 1)
    except zmq.ZMQError as error:
        if error.errno != zmq.EINVAL:
            raise


def make_gate(node_id: str, context: zmq.Context[Socket], credentials: Credentials) -> Gate:
    """The gate that admits whom these credentials admit."""
    zap = Zap(credentials.admitted) if credentials.pair is not None else None
    return Gate(node_id, context, zap)
