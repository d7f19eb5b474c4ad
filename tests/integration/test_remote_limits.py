"""What is too large to travel: told to whoever can do something, and nobody waits in vain."""

from __future__ import annotations

from typing import Any

import pytest
from three_nodes import run_async, start_node

from noex import GenServer, MessageSerializationError, ServerCrashedError
from noex.transport.lane_settings import LaneSettings

LIMIT = 100_000
LARGE = "x" * 2 * LIMIT


class Large(GenServer[str]):
    """Replies, crashes and ends with more than may travel."""

    def init(self) -> str:
        return LARGE

    def handle_call(self, message: Any, state: str) -> Any:
        match message:
            case "crash":
                raise ValueError(LARGE)
            case "large":
                return LARGE, state
        return len(message), state


@run_async
async def test_what_is_larger_than_max_message_is_an_error_and_never_silence() -> None:
    """Message, reply, state, exit reason: the caller hears of it, and the tables are empty."""
    options = {"classes": {"large": Large}, "lane": LaneSettings(max_message=LIMIT)}
    a = await start_node("a", **options)
    b = await start_node("b", [a], **options)
    try:
        ref = await a.spawn("large", on=b.id)
        monitor = a.monitor(ref)
        for call in (ref.call(LARGE), ref.call("large"), ref.get_state()):
            with pytest.raises(MessageSerializationError):
                await call
        for use in (ref.cast, ref.send, ref.exit):
            with pytest.raises(MessageSerializationError):
                use(LARGE)
        with pytest.raises(MessageSerializationError):
            await ref.stop(LARGE)
        fits = "x" * (LIMIT - 10_000)
        assert await ref.call(fits) == len(fits)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call("crash")
        assert "ValueError('xxx" in str(caught.value.reason)  # it came as a text
        assert str(await monitor.wait(5.0)).startswith("ValueError('xxx")
        for node in (a, b):
            assert node.network is not None
            assert [peer.open_rows for peer in node.network.remote.peers.values()] == [0]
    finally:
        await b.stop()
        await a.stop()
