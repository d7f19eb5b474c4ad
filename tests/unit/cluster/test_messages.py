"""Control messages: there and back, and nothing else."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noex.cluster import messages as wire
from noex.cluster.view import Gone, Lineage, Member, View

ME = Member(
    "a@h:1", 1 << 63, "draining", "tcp://h:1", "tcp://h:2", "tcp://h:3", ("w",), (("z", "1"),), 7
)
OTHER = Member("b@h:2", 9, born=8)
VIEW = View(
    Lineage("a@h:1", 1 << 63, 7), 9, (ME, OTHER), {"c@h:3": Gone(4, "connection_closed")}, 3, 1
)
BODIES: list[wire.Body] = [
    wire.Hello("joining", ME, (wire.Known("b@h:2", 9, "tcp://h:2"),)),
    wire.Welcome("member", ME, (), VIEW),
    wire.Welcome("joining", ME, (wire.Known("b@h:2", 9, "tcp://h:2"),), None),
    wire.Join(ME, True),
    wire.Refused(("b@h:2", 9), "id_in_use", 12),
    wire.Alert(("b@h:2", 9), "connection_closed", True),
    wire.Leave("leaving"),
    wire.News(VIEW),
    wire.Ack(),
    wire.Admin(7, "status", b"\x00"),
    wire.AdminReply(7, False, b"no"),
]


def envelope(body: wire.Body, lineage: Lineage | None = VIEW.lineage) -> wire.Envelope:
    return wire.Envelope("noex", ME.uid, lineage, 9, VIEW.digest(), body)


@pytest.mark.parametrize("body", BODIES, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("lineage", [None, VIEW.lineage])
def test_a_message_arrives_as_it_was_sent(body: wire.Body, lineage: Lineage | None) -> None:
    sent = envelope(body, lineage)
    assert wire.decode(wire.encode(sent)) == sent


@given(st.binary(max_size=200))
def test_bytes_of_strangers_are_refused_with_one_error(data: bytes) -> None:
    with pytest.raises(wire.BadControlMessageError):
        wire.decode(data)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**64 - 1) | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def places(value: object, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    found = [path] if path else []
    if isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


@pytest.mark.parametrize(
    "joiner",
    [
        ME._replace(control_endpoint="tcp://h:7"),
        ME._replace(control_endpoint="tcp://elsewhere:1"),
        ME._replace(control_endpoint=""),
        ME._replace(node_id="nobody"),
        ME._replace(node_id=""),
    ],
)
def test_a_joiner_is_at_the_address_in_its_name_or_is_not_heard(joiner: Member) -> None:
    """It is let in when it answers there: elsewhere, anybody could answer in its name."""
    with pytest.raises(wire.BadControlMessageError, match="a joiner"):
        wire.decode(wire.encode(envelope(wire.Join(joiner))))


@given(st.sampled_from(BODIES), st.data())
def test_one_changed_field_is_read_or_refused(body: wire.Body, data: st.DataObject) -> None:
    fields = msgpack.unpackb(wire.encode(envelope(body)))
    path = data.draw(st.sampled_from(places(fields)))
    holder = fields
    for index in path[:-1]:
        holder = holder[index]
    holder[path[-1]] = data.draw(values)
    try:
        message = wire.decode(msgpack.packb(fields))
    except wire.BadControlMessageError:
        return
    assert wire.decode(wire.encode(message)) == message


@pytest.mark.parametrize(
    "view",
    [
        View(VIEW.lineage, 9, (), {}),
        View(VIEW.lineage, 9, (OTHER, ME), {}),
        View(VIEW.lineage, 9, (ME, ME), {}),
        View(VIEW.lineage, 9, (ME, OTHER), {"b@h:2": Gone(9, "x")}),
    ],
    ids=["empty", "out of order", "twice", "gone"],
)
def test_a_view_that_cannot_be_is_refused(view: View) -> None:
    with pytest.raises(wire.BadControlMessageError):
        wire.decode(wire.encode(envelope(wire.News(view))))


def test_another_version_is_named() -> None:
    fields = msgpack.unpackb(wire.encode(envelope(wire.Ack())))
    fields[0] = 2
    with pytest.raises(wire.BadControlMessageError, match="version 2"):
        wire.decode(msgpack.packb(fields))


@pytest.mark.parametrize("kind", ["pickle", 7, None, ["hello"]])
def test_an_unknown_kind_is_refused(kind: object) -> None:
    fields = msgpack.unpackb(wire.encode(envelope(wire.Ack())))
    fields[7] = kind
    with pytest.raises(wire.BadControlMessageError, match="unknown kind"):
        wire.decode(msgpack.packb(fields))


def test_a_text_beyond_its_limit_is_refused() -> None:
    long = wire.Alert(("x" * (wire.MAX_TEXT + 1), 1), "r", True)
    with pytest.raises(wire.BadControlMessageError):
        wire.decode(wire.encode(envelope(long)))


@pytest.mark.parametrize("body", BODIES, ids=lambda b: type(b).__name__)
def test_no_life_is_said_to_be_the_last_one_that_its_node_could_have(body: wire.Body) -> None:
    """Else one message would end a node for good: it has to find an incarnation above."""
    last = (1 << 64) - 1

    def highest(value: object) -> object:
        if isinstance(value, list):
            return [highest(inner) for inner in value]
        return last if value in (9, 1 << 63, 12, 4) and type(value) is int else value

    data = msgpack.packb(highest(msgpack.unpackb(wire.encode(envelope(body)))))
    with pytest.raises(wire.BadControlMessageError, match="incarnation"):
        wire.decode(data)
