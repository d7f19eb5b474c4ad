"""Node ids: case 170 (bad names are errors, never crashes), and incarnations."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noex.runtime.errors import InvalidNodeIdError
from noex.runtime.incarnation import make_incarnation
from noex.runtime.node_id import checked_node_id, is_loopback, parse_node_id


@pytest.mark.parametrize(
    ("text", "name", "host", "port"),
    [
        ("a@127.0.0.1:4369", "a", "127.0.0.1", 4369),
        ("a@localhost:0", "a", "localhost", 0),
        ("worker-3.eu_1@db-7.example.org:65535", "worker-3.eu_1", "db-7.example.org", 65535),
        ("a@my_service:1", "a", "my_service", 1),
        ("a@[::1]:1", "a", "[::1]", 1),
        ("a@[fe80::1%eth0]:1", "a", "[fe80::1%eth0]", 1),
        ("a@[::ffff:10.0.0.1]:1", "a", "[::ffff:10.0.0.1]", 1),
        (f"{'n' * 63}@h:1", "n" * 63, "h", 1),
    ],
)
def test_a_node_id_has_three_parts(text: str, name: str, host: str, port: int) -> None:
    address = parse_node_id(text)
    assert address == (name, host, port)
    assert str(address) == text and address.endpoint == f"tcp://{host}:{port}"


@pytest.mark.parametrize(
    ("spelled", "short"),
    [
        ("a@[0:0:0:0:0:0:0:1]:5", "a@[::1]:5"),
        ("a@[2001:DB8::0:1]:5", "a@[2001:db8::1]:5"),
        ("a@[FE80::01%eth0]:5", "a@[fe80::1%eth0]:5"),
        ("a@[::FFFF:a00:1]:5", "a@[::ffff:10.0.0.1]:5"),
    ],
)
def test_every_spelling_of_an_ipv6_address_gives_one_node_id(spelled: str, short: str) -> None:
    assert str(parse_node_id(spelled)) == checked_node_id(spelled) == short


BAD = [
    "",
    "@",
    "a",
    "a@",
    "a@h",
    "a@:1",
    "@h:1",
    "a@h:",
    "a@h:x",
    "a@h:-1",
    "a@h:65536",
    "a@h:99999999999999999999",
    "a@h:1 ",
    " a@h:1",
    "a@h:1\n",
    "a\n@h:1",
    "a b@h:1",
    "a@h h:1",
    "a@b@h:1",
    "a@h:1:2",
    "a@::1:1",
    "a@[::1:1",
    "a@[:::::]:1",
    "a@[::1%é]:1",
    "a@[]:1",
    "a@-h:1",
    "a@h-:1",
    "a@h..h:1",
    "a@.h:1",
    "a@999.0.0.1:1",
    "a@1.2.3.256:1",
    "a@h:01",
    "a@h:00000",
    "a@h:１",
    "a@h:٣",
    "ä@h:1",
    "а@h:1",  # a Cyrillic letter
    "a@hö:1",
    "a@h\u200b:1",
    "a\u202e@h:1",
    "a\x00@h:1",
    "\ud800@h:1",
    "💥@h:1",
    "-a@h:1",
    ".a@h:1",
    f"{'n' * 64}@h:1",
    f"a@{'h' * 64}:1",
    f"a@{'h.' * 150}h:1",
    "tcp://a@h:1",
    "a@h:1/x",
    "a@*:1",
]


@pytest.mark.parametrize("text", BAD)
def test_case_170_a_bad_node_id_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(InvalidNodeIdError) as caught:
        parse_node_id(text)
    assert caught.value.input == text and caught.value.reason
    assert "name@host:port" in str(caught.value) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [None, 7, b"a@h:1", ["a@h:1"], ("a", "h", 1)])
def test_what_is_no_text_is_no_node_id(value: object) -> None:
    with pytest.raises(InvalidNodeIdError, match=type(value).__name__):
        parse_node_id(value)


@given(st.text() | st.from_regex(r"[a-z]?@?[\[a-z0-9.:\]%]{0,8}:?[0-9]{0,6}", fullmatch=True))
@example("a@[1.2.3.4]:1")
def test_any_text_is_parsed_and_printed_the_same_or_refused(text: str) -> None:
    try:
        address = parse_node_id(text)
    except InvalidNodeIdError as error:
        assert str(error)
    else:
        assert address.host.startswith("[") or str(address) == text
        assert parse_node_id(str(address)) == address and 0 <= address.port <= 65535


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("[::1]", True),
        ("::1", True),
        ("[0:0:0:0:0:0:0:1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("127.0.0.999", False),
        ("[::ffff:10.0.0.1]", False),
        ("[fe80::1%eth0]", False),
        ("*", False),
        ("[::]", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_what_no_other_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@given(st.integers(0, 2**43), st.integers(0, 2**20 - 1), st.integers(0, 2**63))
def test_an_incarnation_is_time_then_chance_and_above_what_is_known(
    unix_ms: int, random_bits: int, above: int
) -> None:
    fresh = make_incarnation(unix_ms, random_bits)
    assert fresh >> 20 == unix_ms and (fresh & 0xFFFFF == random_bits or fresh == 1)
    assert make_incarnation(unix_ms, random_bits, above) == max(fresh, above + 1)
    assert make_incarnation(unix_ms + 1, 0) > fresh


def test_an_incarnation_uses_twenty_random_bits_at_most() -> None:
    assert make_incarnation(1, 2**60 + 5) == (1 << 20) | 5
