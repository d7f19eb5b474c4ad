"""Settings that cannot work are refused by name."""

from __future__ import annotations

import pytest

from noex.runtime.errors import InvalidOptionError
from noex.transport.control_events import ControlSettings
from noex.transport.control_sockets import endpoint_of, parse_endpoint


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("pulse_interval", {"pulse_interval": 0}),
        ("linger", {"linger": float("inf")}),
        ("max_message", {"max_message": -1}),
        ("dial_timeout", {"dial_timeout": float("nan")}),
        ("heartbeat_timeout", {"heartbeat_interval": 2.0, "heartbeat_timeout": 2.0}),
        ("dial_backoff_max", {"dial_backoff_min": 2.0, "dial_backoff_max": 1.0}),
    ],
)
def test_a_wrong_setting_is_named(field: str, options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match=f"control.{field}"):
        ControlSettings(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("tcp://127.0.0.1:4369", ("127.0.0.1", 4369)),
        ("tcp://db.internal:1", ("db.internal", 1)),
        ("tcp://[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_endpoint_has_a_host_and_a_port(endpoint: str, address: tuple[str, int]) -> None:
    assert parse_endpoint(endpoint) == address
    assert endpoint_of(address) == endpoint


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:1", "tcp://", "tcp://:1", "tcp://h", "tcp://h:", "tcp://h:0",
             "tcp://h:65536", "tcp://h:-1", "tcp://h:x", "ipc://h:1", "inproc://a:1"]
)  # fmt: skip
def test_anything_else_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError):
        parse_endpoint(text)
