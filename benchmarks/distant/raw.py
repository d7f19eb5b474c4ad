"""Blocking pyzmq, a DEALER and a ROUTER, no asyncio: what is to be had from Python at all.

`Raw` sends each message as a ZeroMQ message of its own, and does not look into it. `Packed` packs
and unpacks each with msgpack, and sends a thousand of them as one ZeroMQ message.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import msgpack
import zmq

from distant.peer import MESSAGE, PATIENCE, Distant

ONE_WAY, COUNT, DATA, ECHO = b"o", b"n", b"d", b"e"
SMALL = b"x" * 19
SLICE = 1000  # messages in one of `Packed`
UNDER_WAY = 4  # slices without an answer
COPIED = 1 << 16  # bytes; larger ones are not
CHECK = 200  # messages between two looks at the clock


def _socket(kind: int) -> Any:
    """Without a bound to its queues."""
    socket: Any = zmq.Context.instance().socket(kind)
    socket.set_hwm(0)
    socket.linger = 0
    return socket


class Raw(Distant):
    """Both ends block, so whoever measures does nothing else meanwhile."""

    blocks = True

    async def serve(self) -> str:
        self.router = _socket(zmq.ROUTER)
        port: int = self.router.bind_to_random_port("tcp://127.0.0.1")
        return f"tcp://127.0.0.1:{port}"

    def run(self) -> None:
        """Answer for ever. A message is a routing id and a frame that begins with its kind."""
        router, more, count = self.router, zmq.SNDMORE, 0
        while True:
            ident, frame = router.recv(), router.recv()
            kind = frame[:1]
            if kind == ONE_WAY:
                count += self.handle(frame)
                continue
            router.send(ident, more)
            if kind == ECHO:
                router.send(self.answer(frame))
            elif kind == COUNT:
                router.send(str(count).encode())
            else:  # the data are in a frame of their own
                router.send(str(len(router.recv(copy=False).buffer)).encode())

    def handle(self, frame: bytes) -> int:
        """How many casts are in it."""
        return 1

    def answer(self, frame: bytes) -> bytes:
        """The answer to a call."""
        return frame

    async def connect(self, address: str) -> None:
        self.dealer = _socket(zmq.DEALER)
        self.dealer.rcvtimeo = int(PATIENCE * 1000)
        self.dealer.connect(address)
        self.other = self.call = self._call

    async def close(self) -> None:
        self.dealer.close()

    async def _call(self, message: Any) -> int:
        self.dealer.send(ECHO + SMALL)
        return len(self.dealer.recv())

    async def received(self) -> int:
        self.dealer.send(COUNT)
        return int(self.dealer.recv())

    async def latencies(self, seconds: float) -> list[float]:
        times, end, frame = [], perf_counter() + seconds, ECHO + SMALL
        start = perf_counter()
        while start < end:
            self.dealer.send(frame)
            self.dealer.recv()
            now = perf_counter()
            times.append(now - start)
            start = now
        return times

    async def calls(self, callers: int, seconds: float) -> int:
        frame = ECHO + SMALL
        return self._windowed(lambda: self.dealer.send(frame), callers, CHECK, seconds)

    def _windowed(self, send: Any, window: int, step: int, seconds: float) -> int:
        """Always `window` messages without an answer, until the time is over."""
        end, done, receive = perf_counter() + seconds, 0, self.dealer.recv
        for _ in range(window):
            send()
        while perf_counter() < end:
            for _ in range(step):
                receive()
                send()
            done += step
        for _ in range(window):
            receive()
        return done + window

    async def casts(self, seconds: float) -> int:
        before, sent, end = await self.received(), 0, perf_counter() + seconds
        frame, send = ONE_WAY + SMALL, self.dealer.send
        while perf_counter() < end:
            for _ in range(CHECK):
                send(frame)
            sent += CHECK
            if sent % (100 * CHECK) == 0:
                await self.received()  # the queues have no bound
        await self.arrived(before + sent)
        return sent

    async def payloads(self, callers: int, size: int, seconds: float) -> int:
        data, copy = bytes(size), size < COPIED

        def send() -> None:
            self.dealer.send(DATA, zmq.SNDMORE)
            self.dealer.send(data, copy=copy)

        return self._windowed(send, callers, 1, seconds)

    async def spawns(self, seconds: float) -> int:
        return 0

    async def beside(self, size: int, seconds: float) -> tuple[list[float], int]:
        return [], 0


class Packed(Raw):
    """A batch of messages in each, all of them encoded."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer().pack

    def handle(self, frame: bytes) -> int:
        return len(self._unpack(frame))

    def answer(self, frame: bytes) -> bytes:
        return b"".join([self.pack(message[1]) for message in self._unpack(frame)])

    def _unpack(self, frame: bytes) -> list[Any]:
        unpacker = msgpack.Unpacker(max_buffer_size=len(frame), use_list=False)
        unpacker.feed(frame[1:])
        return list(unpacker)

    def _slice(self, kind: bytes, count: int = SLICE) -> bytes:
        pack = self.pack
        return b"".join([kind, *[pack(MESSAGE) for _ in range(count)]])

    async def latencies(self, seconds: float) -> list[float]:
        return []

    async def calls(self, callers: int, seconds: float) -> int:
        end, done, size = perf_counter() + seconds, 0, max(callers // UNDER_WAY, 1)
        for _ in range(UNDER_WAY):
            self.dealer.send(self._slice(ECHO, size))
        while perf_counter() < end:
            done += self._answers()
            self.dealer.send(self._slice(ECHO, size))
        for _ in range(UNDER_WAY):
            done += self._answers()
        return done

    def _answers(self) -> int:
        return len(self._unpack(b" " + self.dealer.recv()))

    async def casts(self, seconds: float) -> int:
        before, sent, end = await self.received(), 0, perf_counter() + seconds
        while perf_counter() < end:
            for _ in range(20):
                self.dealer.send(self._slice(ONE_WAY))
            sent += 20 * SLICE
            await self.received()
        await self.arrived(before + sent)
        return sent

    async def payloads(self, callers: int, size: int, seconds: float) -> int:
        return 0
