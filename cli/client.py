"""A client of a running node: one question over its control lane, one answer.

It is no member: it dials, asks, and goes. Everything has a deadline.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

import zmq

from noex.cluster import messages
from noex.cluster.messages import Admin, AdminReply, BadControlMessageError, Envelope
from noex.runtime.errors import InvalidNodeIdError
from noex.runtime.node_id import NodeAddress, parse_node_id
from noex.transport import control_frames
from noex.transport.control_frames import BadControlFrameError
from noex.transport.control_greeting import mechanism_at
from noex.transport.curve import Credentials, credentials_of, secure_dialler
from noex.transport.keys import ClusterSecret, NodeKeys


class NoAnswerError(Exception):
    """The node did not answer in time, or is no noex node."""


class RefusedError(Exception):
    """The node answered that it cannot."""


def ask(
    node_id: str,
    command: str,
    *,
    timeout: float = 3.0,
    cluster_secret: str | bytes | None = None,
    keys: NodeKeys | None = None,
) -> dict[str, Any]:
    """Ask a node for `command` and return its answer.

    `cluster_secret` or `keys` are those of a node of its cluster; `keys` may be a client's.

    Raises `InvalidNodeIdError`, `NoAnswerError` after `timeout` seconds, `RefusedError`,
    `UnknownPeerError` when `keys` has no key for the node, `WeakSecretError`.
    """
    secret = None if cluster_secret is None else ClusterSecret.of(cluster_secret)
    credentials = credentials_of("", secret, keys)
    address = parse_node_id(node_id)
    if address.port == 0:
        raise InvalidNodeIdError(node_id, "a running node has a port")
    _try_to_connect(address, timeout)
    _compare(address, credentials, timeout)
    endpoint = address.endpoint
    request = int.from_bytes(os.urandom(4), "big")
    with zmq.Context() as context:
        context.linger = 0
        with context.socket(zmq.DEALER) as dealer:
            dealer.set(zmq.IPV6, 1)
            dealer.set(zmq.MAXMSGSIZE, 16 * 1024 * 1024)
            secure_dialler(dealer, credentials, str(address))
            dealer.connect(endpoint)
            dealer.send(_question(request, command))
            is_secure = credentials.pair is not None
            return _await_answer(dealer, request, node_id, timeout, is_secure=is_secure)


def _try_to_connect(address: NodeAddress, timeout: float) -> None:
    """ZeroMQ would try again until the time is over; this says at once why nobody can answer."""
    try:
        socket.create_connection((address.host.strip("[]"), address.port), timeout).close()
    except OSError as error:
        text = f"cannot connect to {address}: {error.strerror or error}; is the node running?"
        raise NoAnswerError(text) from error


def _compare(address: NodeAddress, credentials: Credentials, timeout: float) -> None:
    """ZeroMQ would only fall silent when one of both is secured and the other is not."""
    mechanism = mechanism_at((address.host.strip("[]"), address.port), timeout)
    if mechanism == "CURVE" and credentials.pair is None:
        text = "is secured: give its --cluster-secret-file, or a --key-file that it trusts"
        raise NoAnswerError(f"{address} {text} and a --peers-file")
    if mechanism == "NULL" and credentials.pair is not None:
        text = "is not secured, so it knows no cluster secret and no keys: leave them out here"
        raise NoAnswerError(f"{address} {text} (NOEX_CLUSTER_SECRET too)")


def _question(request: int, command: str) -> bytes:
    body = Admin(request, command)
    # A client has no life: incarnation 0 and no lineage.
    envelope = Envelope("", (f"client@localhost:{os.getpid() % 65536}", 0), None, 0, 0, body)
    return control_frames.data_frame(messages.encode(envelope))


def _await_answer(
    dealer: zmq.Socket[bytes], request: int, node_id: str, timeout: float, *, is_secure: bool
) -> dict[str, Any]:
    end = time.monotonic() + timeout
    while True:
        left_ms = int((end - time.monotonic()) * 1000)
        if left_ms <= 0 or not dealer.poll(left_ms):
            text = f"{node_id} did not answer within {timeout:g} s; is it running, and a noex node?"
            if is_secure:
                text += " Has it the same secret, or does it trust this key, and is it the node "
                text += "whose key is in the peers file?"
            raise NoAnswerError(text)
        reply = _reply_in(dealer.recv(), request)
        if reply is None:
            continue
        answer: dict[str, Any] = json.loads(reply.value)
        if not reply.ok:
            raise RefusedError(f"{node_id}: {answer.get('error', 'refused')}")
        return answer


def _reply_in(frame: bytes, request: int) -> AdminReply | None:
    """The answer to our question in a frame, None for anything else."""
    try:
        kind, data = control_frames.read_frame(frame)
        if kind != control_frames.DATA:
            return None
        body = messages.decode(data).body
    except (BadControlFrameError, BadControlMessageError):
        return None
    return body if isinstance(body, AdminReply) and body.request_id == request else None
