"""The ZAP machine: request frames in, answer out; and what a gate makes of libzmq's events."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from noex.transport.control_greeting import mechanism_at
from noex.transport.curve import Curve, credentials_of, why_failed, why_hung_up
from noex.transport.gate import (
    CRYPTOGRAPHIC,
    MECHANISM_MISMATCH,
    UNKNOWN,
    Gate,
    _Listener,
    address_of,
)
from noex.transport.keys import NodeKeys
from noex.transport.wire import make_routing_id
from noex.transport.zap import Zap

KEY, OTHER = b"k" * 32, b"o" * 32
A, B = "a@127.0.0.1:4001", "b@127.0.0.1:4002"


def question(
    *,
    version: bytes = b"1.0",
    request: bytes = b"1",
    mechanism: bytes = b"CURVE",
    credentials: tuple[bytes, ...] = (KEY,),
) -> list[bytes]:
    return [version, request, b"noex", b"10.0.0.7", b"", mechanism, *credentials]


def test_a_key_of_the_list_comes_in_under_its_name() -> None:
    verdict = Zap({KEY: A}).handle(question(request=b"77"))
    assert verdict.reply == [b"1.0", b"77", b"200", b"OK", A.encode(), b""]
    assert verdict.reason == ""


@pytest.mark.parametrize(
    ("asked", "status", "reason"),
    [
        ({"credentials": (OTHER,)}, b"400", "unknown key"),
        ({"mechanism": b"NULL", "credentials": ()}, b"400", "no security"),
        ({"mechanism": b"PLAIN", "credentials": (b"admin", b"admin")}, b"400", "no security"),
        ({"version": b"2.0"}, b"500", "another version of ZAP"),
        ({"credentials": ()}, b"500", "no key"),
        ({"credentials": (KEY, KEY)}, b"500", "no key"),
        ({"credentials": (KEY[:-1],)}, b"500", "no key"),
    ],
)
def test_everybody_else_is_refused_with_a_reason(
    asked: dict[str, Any], status: bytes, reason: str
) -> None:
    """Case 172 (`allowed`): the list refuses others."""
    verdict = Zap({KEY: A}).handle(question(**asked))
    assert verdict.reply[1:3] == [b"1", status]
    assert verdict.reply[4:] == [b"", b""]
    assert (verdict.address, verdict.reason) == ("10.0.0.7", reason)


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_no_frames_let_a_stranger_in_or_break_the_machine(frames: list[bytes]) -> None:
    verdict = Zap({KEY: A}).handle(frames)
    assert verdict.reason
    assert verdict.reply == [] or (len(verdict.reply) == 6 and verdict.reply[2] != b"200")


# ---------------------------------------------------------------------- who may say what


@contextmanager
def a_curve(node_id: str) -> Iterator[Curve]:
    """Of a node that trusts B."""
    keys = NodeKeys.generate(peers={B: NodeKeys.generate().public})
    with zmq.Context() as context:
        gate = Gate(node_id, context, None)
        try:
            yield Curve(credentials_of(node_id, None, keys), gate)
        finally:
            gate.end()


@pytest.fixture
def curve() -> Iterator[Curve]:
    with a_curve(A) as curve:
        yield curve


def test_a_key_may_use_the_routing_ids_of_its_node_alone(curve: Curve) -> None:
    for peer, other in ((A, B), (B, A)):
        assert curve.may_use(peer, make_routing_id(peer, 7, 8))  # the user lane
        assert curve.may_use(peer, f"{peer}#7#salt.8".encode())  # the control lane
        assert curve.may_use(peer, b"\0abcd")  # a client, which names nobody
        assert not curve.may_use(peer, make_routing_id(other, 7, 8))
        assert not curve.may_use(peer, peer.encode())
        assert not curve.may_use(peer, b"")
    assert not curve.may_use("", b"\0abcd")  # a connection that was never asked
    assert not curve.may_use("client:ops", make_routing_id(A, 7, 8))
    assert curve.may_use("client:ops", b"\0abcd")


def test_a_node_id_that_is_cut_or_hashed_is_still_its_own() -> None:
    long = "n" * 60 + "@" + ".".join(["h" * 60] * 4) + ":4001"
    with a_curve(long) as curve:
        for incarnation, connection in ((0, 0), (2**64 - 1, 2**32 - 1)):
            assert curve.may_use(long, make_routing_id(long, incarnation, connection))
            assert not curve.may_use(B, make_routing_id(long, incarnation, connection))
        assert curve.may_use(long, f"{long[-160:]}#1#s.1".encode())


# ---------------------------------------------------------------------- why a handshake failed


@pytest.mark.parametrize(
    ("event", "value", "is_secure", "reason"),
    [
        (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, True, "unknown key"),
        (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, MECHANISM_MISMATCH, True, "no security"),
        (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, MECHANISM_MISMATCH, False, "unexpected security"),
        (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, CRYPTOGRAPHIC, True, "wrong secret"),
        (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, 0x10000001, True, ""),
        (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 32, True, ""),
        (zmq.EVENT_DISCONNECTED, 7, True, ""),
    ],
)
def test_what_libzmq_tells_a_dialler(event: int, value: int, is_secure: bool, reason: str) -> None:
    assert why_failed(event, value, is_secure=is_secure) == reason


@pytest.mark.parametrize(
    ("mechanism", "is_secure", "reason"),
    [
        ("CURVE", True, "wrong secret"),
        ("NULL", True, "no security"),
        ("CURVE", False, "unexpected security"),
        ("NULL", False, ""),
        ("PLAIN", True, ""),
        ("", True, ""),
    ],
)
def test_what_the_greeting_of_who_hung_up_tells(
    mechanism: str, is_secure: bool, reason: str
) -> None:
    assert why_hung_up(mechanism, is_secure=is_secure) == reason


@pytest.mark.parametrize("mechanism", ["NULL", "CURVE"])
def test_a_node_says_its_mechanism_to_anybody(mechanism: str) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        if mechanism == "CURVE":
            _, secret = zmq.curve_keypair()
            router.setsockopt(zmq.CURVE_SERVER, 1)
            router.setsockopt(zmq.CURVE_SECRETKEY, secret)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        assert mechanism_at(("127.0.0.1", port), timeout=5.0) == mechanism


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 60, b"\xff" * 5])
def test_what_is_no_node_has_no_mechanism(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert mechanism_at(address, timeout=5.0) == ""
        thread.join(5.0)
    assert mechanism_at(address, timeout=5.0) == ""  # nobody listens


# ---------------------------------------------------------------------- what a listener hears


def listener(context: zmq.Context[Any]) -> _Listener:
    return _Listener(context.socket(zmq.PAIR), "control")


def test_a_failed_handshake_is_told_with_the_address_that_hung_up() -> None:
    with zmq.Context() as context, socket.create_server(("127.0.0.1", 0)) as server:
        heard = listener(context)
        with socket.create_connection(server.getsockname()), server.accept()[0] as peer:
            number = peer.fileno()
            assert heard.heard(zmq.EVENT_ACCEPTED, number) == []
            failed = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            assert heard.heard(failed, CRYPTOGRAPHIC) == []
            told = heard.heard(zmq.EVENT_DISCONNECTED, number)
            assert told == [("127.0.0.1", "wrong secret")]
            assert heard.heard(failed, MECHANISM_MISMATCH) == []
            assert heard.heard(zmq.EVENT_DISCONNECTED, number) == [(UNKNOWN, "no security")]
            assert heard.heard(failed, 0x10000001) == []  # garbage is nobody's wrong key
            assert heard.heard(zmq.EVENT_DISCONNECTED, number) == []
        heard.monitor.close(0)


def test_the_refused_are_counted_and_logged_once_a_minute_for_each_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "noex")
    now = 0.0

    def said() -> list[str]:
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [text.partition("address='")[2].partition("'")[0] for text in texts]

    with zmq.Context() as context:
        gate = Gate(A, context, None, now=lambda: now)
        try:
            for address in ("10.0.0.7", "10.0.0.7", UNKNOWN, "10.0.0.8", "10.0.0.7"):
                gate.refuse("control", address, "wrong secret")
            assert said() == ["10.0.0.7", "10.0.0.8"]  # the unknown one is likely one of them
            gate.refuse("control", "10.0.0.7", "no security")
            assert said() == ["10.0.0.7"]  # another reason is another line
            now = 61.0
            for address in (UNKNOWN, "10.0.0.7", "10.0.0.7"):
                gate.refuse("control", address, "wrong secret")
            assert said() == [UNKNOWN, "10.0.0.7"]
            assert gate.refused == {"wrong secret": 8, "no security": 1}
        finally:
            gate.end()


def test_the_address_of_what_is_no_connection_is_unknown() -> None:
    reader, writer = os.pipe()
    try:
        files = len(os.listdir("/proc/self/fd"))
        assert address_of(reader) == UNKNOWN
        assert address_of(999_999) == UNKNOWN
        assert len(os.listdir("/proc/self/fd")) == files
    finally:
        os.close(reader)
        os.close(writer)
