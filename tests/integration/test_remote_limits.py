"""What is too large to travel: told to whoever can do something, and nobody waits in vain."""

from __future__ import annotations

from typing import Any

import pytest
from three_nodes import run_async, start_node

from noex import GenServer, MessageSerializationError, ServerCrashedError
from noex.transport.lane_settings import LaneSettings

LIMIT = 100_000
KINDS: dict[str, Any] = {"text": "x", "bytes": b"x"}  # bytes travel beside their message


class Large(GenServer[Any]):
    """Replies, crashes and ends with more than may travel."""

    def init(self, kind: str) -> Any:
        return KINDS[kind] * 2 * LIMIT

    def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case "crash":
                raise ValueError(state)
            case "large":
                return state, state
        return len(message), state


@pytest.mark.parametrize("kind", KINDS)
@run_async
async def test_what_is_larger_than_max_message_is_an_error_and_never_silence(kind: str) -> None:
    """Message, reply, state, exit reason: the caller hears of it, and the tables are empty."""
    unit = KINDS[kind]
    large = unit * 2 * LIMIT
    options = {"classes": {"large": Large}, "lane": LaneSettings(max_message=LIMIT)}
    a = await start_node("a", **options)
    b = await start_node("b", [a], **options)
    try:
        ref = await a.spawn("large", kind, on=b.id)
        monitor = a.monitor(ref)
        for call in (ref.call(large), ref.call("large"), ref.get_state()):
            with pytest.raises(MessageSerializationError):
                await call
        for use in (ref.cast, ref.send, ref.exit):
            with pytest.raises(MessageSerializationError):
                use(large)
        with pytest.raises(MessageSerializationError):
            await ref.stop(large)
        fits = unit * (LIMIT - 10_000)
        assert await ref.call(fits) == len(fits)
        with pytest.raises(ServerCrashedError) as caught:
            await ref.call("crash")
        assert f"ValueError({unit * 3!r}"[:-1] in str(caught.value.reason)  # it came as a text
        assert str(await monitor.wait(5.0)).startswith(f"ValueError({unit * 3!r}"[:-1])
        for node in (a, b):
            assert node.network is not None
            assert [peer.open_rows for peer in node.network.remote.peers.values()] == [0]
    finally:
        await b.stop()
        await a.stop()
