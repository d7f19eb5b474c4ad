"""Hanging up on one peer of a socket that listens: a call that ZeroMQ does not have.

A message that came over a connection knows its descriptor, and a connection that is shut down at
this end is over for libzmq too, as if the peer had gone. The descriptor may have been closed since
the message came, and be another's by now: so it is touched only if it is a connection to the very
address of the listener. The worst that can happen then is that another peer has to dial again.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import zmq


def hang_up(frame: Any, listener: zmq.Socket[Any]) -> bool:
    """End the connection over which `frame` came in at `listener`; whether there was one."""
    try:
        descriptor = int(frame.get(zmq.SRCFD))
        endpoint = listener.getsockopt_string(zmq.LAST_ENDPOINT)
        connection = _connection(descriptor)
    except (zmq.ZMQError, OSError, ValueError, TypeError):
        return False
    with connection:
        if not _is_at(connection, endpoint):
            return False
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        return True


def _connection(descriptor: int) -> socket.socket:
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:  # it is no socket
        os.close(copy)
        raise


def _is_at(connection: socket.socket, endpoint: str) -> bool:
    """Whether it was accepted at this endpoint of ZeroMQ."""
    try:
        own = connection.getsockname()
        connection.getpeername()  # a listener has none
    except OSError:
        return False
    scheme, _, address = endpoint.partition("://")
    if scheme == "tcp" and isinstance(own, tuple):
        return address.rpartition(":")[2] == str(own[1])
    return scheme == "ipc" and own in (address, address.encode())
