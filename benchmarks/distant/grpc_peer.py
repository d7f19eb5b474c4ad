"""grpcio (grpc.aio): one channel, generic methods with msgpack in them; casts are a stream.

It knows no actors: an object that adds stands for one, and there is nothing to spawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from typing import Any

import grpc  # type: ignore[import-untyped, import-not-found, unused-ignore]
import msgpack

from distant.peer import BURST, MESSAGE, Distant

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def _pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, use_list=False)


class Service:
    """Adds."""

    def __init__(self) -> None:
        self.total = self.casts = 0

    async def call(self, message: Any, context: Any) -> int:
        if type(message) is bytes:
            return len(message)
        if message == "received":
            return self.casts
        self.total += message[1]
        return self.total

    async def cast(self, messages: AsyncIterator[Any], context: Any) -> int:
        async for message in messages:
            self.casts += 1
            self.total += message[1]
        return self.casts

    def handler(self) -> Any:
        codec: dict[str, Callable[[Any], Any]] = {
            "request_deserializer": _unpack,
            "response_serializer": _pack,
        }
        methods = {
            "Call": grpc.unary_unary_rpc_method_handler(self.call, **codec),
            "Cast": grpc.stream_unary_rpc_method_handler(self.cast, **codec),
        }
        return grpc.method_handlers_generic_handler("Echo", methods)


class Grpc(Distant):
    """The handlers run on the server's loop, as everywhere."""

    async def serve(self) -> str:
        self.server = grpc.aio.server(options=OPTIONS)
        self.server.add_generic_rpc_handlers((Service().handler(),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return f"127.0.0.1:{port}"

    async def connect(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        codec = {"request_serializer": _pack, "response_deserializer": _unpack}
        self.call = self.other = self.channel.unary_unary("/Echo/Call", **codec)
        self.stream = self.channel.stream_unary("/Echo/Cast", **codec)

    async def close(self) -> None:
        await self.channel.close()

    async def received(self) -> int:
        return int(await self.call("received"))

    async def casts(self, seconds: float) -> int:
        sent, end = 0, perf_counter() + seconds
        before = await self.received()
        stream = self.stream()
        while perf_counter() < end:
            for _ in range(BURST):
                await stream.write(MESSAGE)
            sent += BURST
            await asyncio.sleep(0)
        await stream.done_writing()
        await stream
        await self.arrived(before + sent)
        return sent

    async def spawns(self, seconds: float) -> int:
        return 0


__all__ = ["Grpc"]
