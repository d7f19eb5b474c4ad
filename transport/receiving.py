"""How one message of ours is read from a ROUTER: what is copied, and what is left where it is."""

from __future__ import annotations

from typing import Any, Final

import zmq

from noex.transport.wire_bulk import MOST_FRAMES

# plain ints: every use of pyzmq's enum flags builds another enum
_NOBLOCK: Final = int(zmq.NOBLOCK)
_RCVMORE: Final = int(zmq.RCVMORE)


def receive(router: zmq.Socket[bytes]) -> list[Any]:
    """The next message: routing id and frame as bytes, the bare frames after it as views.

    A view is of ZeroMQ's own memory, which lives as long as the view. Raises `zmq.Again` if there
    is none.
    """
    return rest_of(router, router.recv(_NOBLOCK))


def rest_of(router: zmq.Socket[bytes], routing_id: bytes) -> list[Any]:
    """The same, of a message whose routing id has been read."""
    parts: list[Any] = [routing_id, router.recv(_NOBLOCK)]
    if router.getsockopt(_RCVMORE):
        take_rest(router, parts)
    return parts


def take_rest(router: zmq.Socket[bytes], parts: list[Any]) -> None:
    """The bare frames of a message whose first frames have been read. Too many are not kept: the
    message is refused then, as what it says of itself does not hold."""
    while True:
        frame = router.recv(_NOBLOCK, copy=False)
        if len(parts) < MOST_FRAMES + 2:
            parts.append(frame.buffer)
        if not frame.more:
            return
