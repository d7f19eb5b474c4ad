"""Two nodes in two processes on loopback, against raw blocking pyzmq, in one run, with ratios.

python benchmarks/remote.py [--seconds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import platform
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import zmq

from noex import GenServer, Node

CALLERS = 1000
BATCH = 20_000


class Echo(GenServer[int]):
    """Answers, and counts casts."""

    def init(self) -> int:
        return 0

    def handle_call(self, message: Any, state: int) -> Any:
        return (state if message == "count" else message), state

    def handle_cast(self, message: Any, state: int) -> int:
        return state + 1


def serve(pipe: Connection) -> None:
    """The other process: a node with an echo, and a raw echo socket."""

    async def main() -> None:
        async with Node("server@127.0.0.1:0") as node:
            await node.options(name="echo").start(Echo)
            pipe.send(node.id)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(main())


def serve_raw(pipe: Connection) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        pipe.send(router.bind_to_random_port("tcp://127.0.0.1"))
        while True:
            frames = router.recv_multipart()
            if frames[-1] == b"end":
                return
            router.send_multipart(frames)


def raw_round_trip(seconds: float) -> float:
    """Median of a blocking DEALER/ROUTER round trip, in microseconds."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve_raw, args=(theirs,))
    process.start()
    try:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.connect(f"tcp://127.0.0.1:{mine.recv()}")
            times, end = [], time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                dealer.send(b"x" * 20)
                dealer.recv()
                times.append(time.perf_counter() - start)
            dealer.send(b"end")
        process.join(5)
    finally:
        process.kill()
    return statistics.median(times) * 1e6


async def measure(server: str, seconds: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    async with Node("client@127.0.0.1:0", seeds=[server]) as node:
        echo = node.ref("echo", on=server)
        figures["sequential call, p50 us"] = await round_trip(echo, seconds)
        figures["calls/s, 1000 callers"] = await many_callers(echo, seconds)
        figures["casts/s"] = await casts(echo, seconds)
    return figures


async def round_trip(echo: Any, seconds: float) -> float:
    times, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await echo.call(("add", 1))
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


async def many_callers(echo: Any, seconds: float) -> float:
    done, start = 0, time.perf_counter()
    end = start + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await echo.call(("add", 1))
            done += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (time.perf_counter() - start)


async def casts(echo: Any, seconds: float) -> float:
    before = await echo.call("count")
    sent, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        sent += sum(echo.cast(("add", 1)) for _ in range(500))
        await asyncio.sleep(0)
    while await echo.call("count", timeout=60) - before < sent:
        pass
    return sent / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="Two nodes on loopback.")
    parser.add_argument("--seconds", type=float, default=2.0, help="per figure")
    seconds = parser.parse_args().seconds
    print(f"Python {platform.python_version()}, pyzmq {zmq.__version__}, {platform.machine()}")
    raw = raw_round_trip(seconds)
    print(f"{'blocking pyzmq round trip':28}{raw:12,.0f} us")
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs,))
    process.start()
    try:
        figures = asyncio.run(measure(mine.recv(), seconds))
        mine.send("end")
        process.join(10)
    finally:
        process.kill()
    for name, value in figures.items():
        print(f"{name:28}{value:12,.0f}")
    print(f"{'sequential / raw':28}{figures['sequential call, p50 us'] / raw:12.2f}")


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
