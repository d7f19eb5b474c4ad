"""Ray: a driver, its daemons, and a process for each actor. Big arguments go by shared memory."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray  # type: ignore[import-untyped, import-not-found, unused-ignore]

from distant.peer import Distant


class Echo:
    """Adds."""

    def __init__(self) -> None:
        self.total = self.casts = 0

    def handle(self, message: Any) -> int:
        if type(message) is bytes:
            return len(message)
        self.total += message[1]
        return self.total

    def note(self, message: Any) -> None:
        self.casts += 1
        self.total += message[1]

    def received(self) -> int:
        return self.casts

    def pid(self) -> int:
        return os.getpid()


class Ray(Distant):
    """The worker of the actor is the server; all daemons count to the client."""

    has_server = False
    spawns_at_most = 3  # processes of a hundred megabytes

    async def connect(self, address: str) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing leaves this machine
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=500 << 20,
            _node_ip_address="127.0.0.1",
        )
        self.echo: Any = ray.remote(num_cpus=0)(Echo)
        actor, second = self.echo.remote(), self.echo.remote()
        self.server_pid = await actor.pid.remote()
        await second.pid.remote()
        self.call, self.other = actor.handle.remote, second.handle.remote
        self.cast = actor.note.remote
        self.actors = [actor, second]

    async def close(self) -> None:
        ray.shutdown()

    async def received(self) -> int:
        return int(await self.actors[0].received.remote())

    async def spawn(self) -> Any:
        actor = self.echo.remote()
        await actor.pid.remote()
        return actor


__all__ = ["Ray"]
