"""How one message of ours is read from a ROUTER: what is copied, and what is left where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import zmq

from noex.transport.hangup import hang_up
from noex.transport.wire_bulk import MOST_FRAMES

# plain ints: every use of pyzmq's enum flags builds another enum
_NOBLOCK: Final = int(zmq.NOBLOCK)
_RCVMORE: Final = int(zmq.RCVMORE)
PATIENCE: Final = 1000
"""Messages after a refusal: more than may be under way when it is read."""


_BLOCK: Final = 4 * 1024 * 1024 - 64 * 1024  # bytes


def keep_large_blocks() -> None:
    """Teach the allocator to keep what large messages are made of, up to 8 MiB.

    glibc gives a block of a megabyte back to the kernel at once, and takes it anew for the next
    message, page by page: half of the time that such a message costs. It stops doing so for sizes
    up to that of the largest block which was freed. This one is never touched, so it takes no
    memory. Other allocators do not notice.
    """
    bytes(_BLOCK)


def receive(router: zmq.Socket[bytes]) -> list[Any]:
    """The next message: routing id and frame as bytes, the bare frames after it as views.

    A view is of ZeroMQ's own memory, which lives as long as the view. Raises `zmq.Again` if there
    is none.
    """
    return rest_of(router, router.recv(_NOBLOCK))


def patient(refused: dict[bytes, int]) -> Callable[[zmq.Socket[bytes]], list[Any]]:
    """`receive` for a listener that has `refused` some routing ids, with how much each has said
    since: whoever goes on and on is hung up on."""

    def receive_from_all(router: zmq.Socket[bytes]) -> list[Any]:
        routing_id = router.recv(_NOBLOCK)
        said = refused.get(routing_id)
        if said is None:
            return rest_of(router, routing_id)
        refused[routing_id] = said + 1
        return rest_of(router, routing_id) if said < PATIENCE else _last_of(router, routing_id)

    return receive_from_all


def _last_of(router: zmq.Socket[bytes], routing_id: bytes) -> list[Any]:
    """Hang up on the sender of this message. Nobody looks at what it says."""
    parts: list[Any] = [routing_id]
    frame = router.recv(_NOBLOCK, copy=False)
    hang_up(frame, router)
    if frame.more:
        take_rest(router, parts)
    return [routing_id, b""]


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
